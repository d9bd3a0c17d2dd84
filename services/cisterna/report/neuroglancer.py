"""A viewer state for a run: its images, labels and sites as Neuroglancer layers.

The state names images by URL. `BASE_URL` stands where the address of the store, as a browser reaches it, belongs;
`viewer_state` puts the real one in.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

import pandas as pd

from cisterna.report.build import read_table
from cisterna.report.document import RunDocument, read_document, run_path
from cisterna.report.levels import Pyramid, read_pyramid
from cisterna.report.palette import NETWORK_CLASSES, SITE_CLASSES, SITE_COLOURS
from cisterna.report.site_layers import class_shader
from cisterna.store import ObjectStore
from cisterna.tables.volumes import SITES

BASE_URL = "http://BASE_URL"
LABEL_COLOURS = {"er": "#56D4F5", "copi": "#D55E00", "tubular_eres": "#0072B2", "ccv": "#F5F1E6", "golgi": "#E69F00"}
RELATED = {"sites": ("copi", "tubular_eres"), "site_boxes": ()}
VIEWER = "https://neuroglancer-demo.appspot.com"
SITE_MARGIN_NM = 300.0
VIEW_PX = 400
SI = {"nanometer": (1e-9, "m"), "micrometer": (1e-6, "m"), "second": (1.0, "s")}


def build_viewer_state(store: ObjectStore, run_id: str, base_url: str = BASE_URL) -> bytes:
    """neuroglancer.json of a run, as bytes. Raises ObjectMissing where there is no such run."""
    run = read_document(store.get(run_path(run_id, "run.json")))
    pyramids = {name: p for name, path in run.arrays.items() if (p := read_pyramid(store, path)) is not None}
    sites, _ = read_table(store, run, SITES) if run.recipe == "fibsem" else (SITES.frame(), False)
    state = viewer_state(run, pyramids, sites, base_url)
    return state_bytes(state)


def viewer_state(
    run: RunDocument, pyramids: Mapping[str, Pyramid], sites: pd.DataFrame, base_url: str = BASE_URL,
    places: Mapping[str, str] | None = None, collections: Mapping[str, str] | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Image layers for raw, denoised and probabilities, segmentation layers for labels and classes, points for sites.

    `pyramids` names the images that exist; those without one are left out. Layers that are heavy to look at together
    start hidden. `places` says where below `base_url` an image lies, if not where it lies in the store. With
    `collections` (name and shape of precomputed annotations below `<base_url>/annotations`), those stand in place of
    points inside the state.
    """
    layers = []
    base_url = base_url.rstrip("/")
    # Later layers are drawn over earlier ones: pictures first, then what was found in them.
    for name in sorted(
        run.arrays, key=lambda name: (name != "raw", name.startswith(("labels/", "ernet/classes")), name)
    ):
        if name in pyramids:
            source = f"zarr3://{base_url}/{(places or run.arrays)[name]}/"
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
    state["crossSectionScale"] = max(base.shape[1:]) / VIEW_PX
    if run.recipe == "fibsem":
        state["projectionScale"] = max(base.shape) * 1.5
        if collections is None:
            layers.append(site_layer(sites, base.scale))
        else:
            layers += [collection_layer(n, shape, base_url, pyramids) for n, shape in collections.items()]
        state["selectedLayer"] = {"layer": "sites", "visible": True}
    return state


def collection_layer(name: str, shape: str, base_url: str, pyramids: Mapping[str, Pyramid]) -> dict[str, Any]:
    """Precomputed annotations as a layer, coloured by class; linked with the label images that their ids name."""
    linked = [kind for kind in RELATED.get(name, (name,)) if f"labels/{kind}" in pyramids]
    return {
        "type": "annotation",
        "name": name,
        "tab": "annotations",
        "source": f"precomputed://{base_url}/annotations/{name}",
        "shader": class_shader(shape),
        "visible": name == "sites",
        "linkedSegmentationLayer": {kind: f"labels/{kind}" for kind in linked},
    }


def opened_at(state: Mapping[str, Any], site: Mapping[Any, Any], voxel_size_nm: Sequence[float]) -> dict[str, Any]:
    """The state as it opens at one site (a row of the sites table): centred, close, the site selected."""
    centre = [float(site[f"centroid_{a}_nm"]) / v - 0.5 for a, v in zip("zyx", voxel_size_nm, strict=True)]
    extents = [float(site[f"extent_{a}_nm"]) for a in "zyx"]
    voxels = (max(extents) + 2 * SITE_MARGIN_NM) / min(voxel_size_nm)
    number = int(site["site_id"])
    return {
        **state,
        "position": [round(v, 3) for v in centre[::-1]],
        "crossSectionScale": voxels / VIEW_PX,
        "projectionScale": 1.5 * voxels,
        "selection": {"layers": {"sites": {"annotationId": str(number), "annotationSource": 0}}, "visible": True},
        "title": f"site {number}: {site['site_class']}",
    }


def viewer_link(state: Mapping[str, Any], viewer: str = VIEWER) -> str:
    """The address that opens a viewer with this state."""
    text = json.dumps(state, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return f"{viewer.rstrip('/')}/#!{quote(text, safe='')}"


def state_bytes(state: Mapping[str, Any]) -> bytes:
    """JSON, keys as they are: the order of `dimensions` is the order of every position."""
    return (json.dumps(state, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode("utf-8")


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
