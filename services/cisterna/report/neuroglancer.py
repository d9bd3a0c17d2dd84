"""A viewer state for a run: its images, labels and sites as Neuroglancer layers.

The state names images by URL. `BASE_URL` stands where the address of the store, as a browser reaches it, belongs;
`viewer_state` puts the real one in.
"""

import json
from collections.abc import Mapping
from typing import Any

import pandas as pd

from cisterna.report.build import read_table
from cisterna.report.document import RunDocument, read_document, run_path
from cisterna.report.levels import Pyramid, read_pyramid
from cisterna.report.palette import NETWORK_CLASSES, SITE_CLASSES, SITE_COLOURS
from cisterna.store import ObjectStore
from cisterna.tables.volumes import SITES

BASE_URL = "http://BASE_URL"
LABEL_COLOURS = {"er": "#56D4F5", "copi": "#D55E00", "tubular_eres": "#0072B2", "ccv": "#F5F1E6", "golgi": "#E69F00"}
SI = {"nanometer": (1e-9, "m"), "micrometer": (1e-6, "m"), "second": (1.0, "s")}


def build_viewer_state(store: ObjectStore, run_id: str, base_url: str = BASE_URL) -> bytes:
    """neuroglancer.json of a run, as bytes. Raises ObjectMissing where there is no such run."""
    run = read_document(store.get(run_path(run_id, "run.json")))
    pyramids = {name: p for name, path in run.arrays.items() if (p := read_pyramid(store, path)) is not None}
    sites, _ = read_table(store, run, SITES) if run.recipe == "fibsem" else (SITES.frame(), False)
    state = viewer_state(run, pyramids, sites, base_url)
    return (json.dumps(state, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n").encode("utf-8")


def viewer_state(
    run: RunDocument, pyramids: Mapping[str, Pyramid], sites: pd.DataFrame, base_url: str = BASE_URL
) -> dict[str, Any]:
    """Image layers for raw, denoised and probabilities, segmentation layers for labels and classes, points for sites.

    `pyramids` names the images that exist; those without one are left out. Layers that are heavy to look at together
    start hidden.
    """
    layers = []
    # Later layers are drawn over earlier ones: pictures first, then what was found in them.
    for name in sorted(
        run.arrays, key=lambda name: (name != "raw", name.startswith(("labels/", "ernet/classes")), name)
    ):
        if name in pyramids:
            source = f"zarr3://{base_url.rstrip('/')}/{run.arrays[name]}/"
            layers.append(_layer(name, source))
    state: dict[str, Any] = {"layers": layers, "layout": "4panel" if run.recipe == "fibsem" else "xy"}
    raw = pyramids.get("raw")
    if raw is None:
        return state
    base = raw.levels[0]
    # x first: Neuroglancer draws the first dimension to the right and the second downwards.
    state["dimensions"] = {
        axis: _dimension(axis, scale, raw.axes) for axis, scale in zip(raw.axes[::-1], base.scale[::-1], strict=True)
    }
    state["position"] = [n / 2 - 0.5 for n in base.shape[::-1]]
    state["crossSectionScale"] = max(base.shape[1:]) / 400
    if run.recipe == "fibsem":
        state["projectionScale"] = max(base.shape) * 1.5
        layers.append(site_layer(sites, base.scale))
        state["selectedLayer"] = {"layer": "sites", "visible": True}
    return state


def _dimension(axis: str, scale: float, axes: str) -> list[Any]:
    unit = "second" if axis == "t" else "micrometer" if "t" in axes else "nanometer"
    factor, symbol = SI[unit]
    return [float(f"{scale * factor:.12g}"), symbol]


def _layer(name: str, source: str) -> dict[str, Any]:
    if name.startswith("labels/"):
        colour = LABEL_COLOURS.get(name.removeprefix("labels/"))
        layer: dict[str, Any] = {"type": "segmentation", "name": name, "source": source, "selectedAlpha": 0.4}
        if colour:
            layer["segmentDefaultColor"] = colour
        return layer | {"notSelectedAlpha": 0.25, "visible": name != "labels/er"}
    if name == "ernet/classes":
        colours = {str(n): swatch.colour for n, swatch in enumerate(NETWORK_CLASSES) if n}
        return {
            "type": "segmentation",
            "name": name,
            "source": source,
            "segments": list(colours),
            "segmentColors": colours,
        }
    return {"type": "image", "name": name, "source": source, "visible": name == "raw"}


def site_layer(sites: pd.DataFrame, voxel_size_nm: tuple[float, ...]) -> dict[str, Any]:
    """The sites as points in nm, coloured by class.

    Our tables measure from the outer corner of the first voxel. OME-Zarr, and so Neuroglancer, puts the centre of that
    voxel at zero: half a voxel is taken off.
    """
    points = []
    for row in sites.to_dict("records"):
        zyx = [float(row[f"centroid_{a}_nm"]) - v / 2 for a, v in zip("zyx", voxel_size_nm, strict=True)]
        points.append(
            {
                "type": "point",
                "id": f"site-{int(row['site_id'])}",
                "point": [round(v, 3) for v in zyx[::-1]],
                "description": f"{row['site_class']}: {row['reason']}",
                "props": [SITE_COLOURS.get(str(row["site_class"]), "#D5DAE0"), int(row["site_id"])],
            }
        )
    return {
        "type": "annotation",
        "name": "sites",
        "tab": "annotations",
        "source": {"url": "local://annotations", "transform": {"outputDimensions": {a: [1e-9, "m"] for a in "xyz"}}},
        "annotationProperties": [
            {"id": "colour", "type": "rgb", "default": SITE_CLASSES[0].colour},
            {"id": "site_id", "type": "uint32"},
        ],
        "shader": "void main() {\n  setColor(prop_colour());\n  setPointMarkerSize(9.0);\n}\n",
        "annotations": points,
    }
