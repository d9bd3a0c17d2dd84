"""A folder of OME-Zarr images as a WEBKNOSSOS dataset, and the sites as its annotation.

`datasource-properties.json` beside the images makes the folder a dataset: the images are read where they lie, as
zarr3 arrays without a channel axis. Sites are an NML of points, one tree for each class.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from cisterna.report.nml import Node, Tree, nml_bytes
from cisterna.report.palette import SITE_CLASSES
from cisterna.store.pyramids import Pyramid

SMALLEST_RADIUS_NM = 20.0


def layer_name(name: str) -> str:
    """`labels/copi` becomes `labels_copi`: a slash cannot stand in the name of a layer."""
    return name.replace("/", "_")


def datasource_properties(
    name: str, pyramids: Mapping[str, Pyramid], dtypes: Mapping[str, str], largest: Mapping[str, int]
) -> dict[str, Any]:
    """The dataset of these images, each at `<name>.ome.zarr` beside the document.

    `dtypes` names each image's type; `largest` the largest id of a label image, where it is known.
    """
    base = pyramids["raw"].levels[0]
    layers = []
    for image, pyramid in pyramids.items():
        labels = image.startswith("labels/")
        whole = pyramid.levels[0]
        layer: dict[str, Any] = {
            "name": layer_name(image),
            "category": "segmentation" if labels else "color",
            "dataFormat": "zarr3",
            "elementClass": dtypes[image],
            "boundingBox": {
                "topLeft": [0, 0, 0], "width": whole.shape[2], "height": whole.shape[1], "depth": whole.shape[0],
            },
            "mags": [
                {
                    "mag": [round(s / b) for s, b in zip(level.scale[::-1], whole.scale[::-1], strict=True)],
                    "path": f"./{image}.ome.zarr/{level.path.rsplit('/', 1)[1]}",
                    "axisOrder": {"x": 2, "y": 1, "z": 0},
                }
                for level in pyramid.levels
            ],
            "defaultViewConfiguration": {"isDisabled": image not in ("raw", "labels/copi", "labels/tubular_eres")},
        }  # fmt: skip
        if labels:
            layer["largestSegmentId"] = largest.get(image)
        layers.append(layer)
    z, y, x = base.scale
    return {
        "version": 1, "id": {"name": name, "team": ""}, "scale": {"factor": [x, y, z], "unit": "nanometer"},
        "dataLayers": layers,
    }  # fmt: skip


def sites_nml(dataset: str, voxel_size_nm: tuple[float, float, float], sites: pd.DataFrame) -> bytes:
    """All sites as one annotation: a tree for each class, a point for each site, its number and reason as comment."""
    trees = []
    for swatch in SITE_CLASSES:
        own = sites[sites["site_class"] == swatch.key]
        nodes = []
        for row in own.to_dict("records"):
            extent = max(float(row[f"extent_{a}_nm"]) for a in "zyx")
            place = tuple(float(row[f"centroid_{a}_nm"]) for a in "zyx")
            radius = max(extent / 2 if np.isfinite(extent) else 0.0, SMALLEST_RADIUS_NM)
            nodes.append(Node(place, radius, f"site {int(row['site_id'])}: {row['reason']}"))  # type: ignore[arg-type]
        if nodes:
            trees.append(Tree(swatch.label, tuple(nodes), swatch.colour, str(own["kind"].iloc[0])))
    return nml_bytes(dataset, voxel_size_nm, trees, "Exit-site candidates found by Cisterna")
