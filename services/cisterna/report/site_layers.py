"""Sites, their boxes and their vesicles as annotation collections, and how a viewer colours them by class."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from cisterna.report.annotations import BOX, ELLIPSOID, POINT, Annotations, Property
from cisterna.report.palette import CCV, SITE_CLASSES

NO_SITE = "no site"
CLASS_NUMBERS = {swatch.key: n for n, swatch in enumerate(SITE_CLASSES, 1)}
CLASS_LABELS = {0: NO_SITE, **{n: swatch.label for n, swatch in enumerate(SITE_CLASSES, 1)}}
SPHERES = ("copi", "ccv")
_NUMBERS = {
    "objects": "int32", "cluster_size": "int32", "linked_sites": "int32", "site_id": "int32",
    "er_distance_nm": "float32", "diameter_mask_nm": "float32", "diameter_image_nm": "float32",
    "mean_probability": "float32", "sphericity": "float32", "touches_edge": "uint8", "near_volume_edge": "uint8",
}  # fmt: skip


def site_collections(
    sites: pd.DataFrame, objects: pd.DataFrame, voxel_size_nm: tuple[float, float, float]
) -> dict[str, Annotations]:
    """By name: `sites` (points), `site_boxes` (the box around all members), and spheres for each class of vesicles.

    OME-Zarr puts the centre of the first voxel at zero, our tables its outer corner: half a voxel is taken off.
    """
    half = np.asarray(voxel_size_nm, float) / 2
    classes = dict(zip(sites["site_id"].tolist(), sites["site_class"].tolist(), strict=True))
    members = objects[objects["site_id"].isin(list(classes))] if len(objects) else objects
    found = {"sites": _points(sites, members, half)}
    boxes = _boxes(sites, members, half)
    if len(boxes.ids):
        found["site_boxes"] = boxes
    for name in SPHERES:
        own = objects[objects["class"] == name]
        if len(own):
            found[name] = _spheres(own, name, classes, half)
    return found


def _numbers(rows: pd.DataFrame, leave_out: str = "") -> list[Property]:
    return [
        Property(name, dtype, rows[name].to_numpy().astype(dtype), name.replace("_", " "))
        for name, dtype in _NUMBERS.items()
        if name in rows and name != leave_out
    ]


def _class_property(classes: list[str]) -> Property:
    values = np.array([CLASS_NUMBERS.get(c, 0) for c in classes], np.uint8)
    return Property("site_class", "uint8", values, "class of the site", CLASS_LABELS)


def _zyx(rows: pd.DataFrame, stem: str) -> np.ndarray:
    return rows[[f"{stem}_{a}_nm" for a in "zyx"]].to_numpy(float)


def _related(site_ids: list[int], members: pd.DataFrame) -> dict[str, list[list[int]]]:
    """Object ids of each site, by class of object."""
    found = {}
    for name, own in members.groupby("class") if len(members) else ():
        ids = own.groupby("site_id")["object_id"].apply(list).to_dict()
        found[str(name)] = [ids.get(site, []) for site in site_ids]
    return found


def _points(sites: pd.DataFrame, members: pd.DataFrame, half: np.ndarray) -> Annotations:
    ids = sites["site_id"].to_numpy(np.uint64)
    properties = [_class_property(sites["site_class"].tolist()), *_numbers(sites, "site_id")]
    related = _related(sites["site_id"].tolist(), members)
    return Annotations(POINT, ids, _zyx(sites, "centroid") - half, None, properties, related)


def _boxes(sites: pd.DataFrame, members: pd.DataFrame, half: np.ndarray) -> Annotations:
    corners = {f"{end}_{a}_nm": end for end in ("min", "max") for a in "zyx"}
    around = members.groupby("site_id").agg({c: how for c, how in corners.items() if c in members})
    own = sites[sites["site_id"].isin(around.index)]
    around = around.loc[own["site_id"]] if len(own) else around.iloc[:0]
    properties = [_class_property(own["site_class"].tolist()), *_numbers(own, "site_id")]
    low, high = (_zyx(around, end) - half for end in ("min", "max"))
    return Annotations(BOX, own["site_id"].to_numpy(np.uint64), low, high, properties)


def _spheres(own: pd.DataFrame, name: str, classes: Mapping[int, str], half: np.ndarray) -> Annotations:
    """Vesicles as spheres of their mask's volume."""
    radius = np.nan_to_num(own["diameter_mask_nm"].to_numpy(float)) / 2
    named = [classes.get(site, "") for site in own["site_id"].tolist()]
    properties = [_class_property(named), *_numbers(own)]
    related = {name: [[n] for n in own["object_id"].tolist()]}
    radii = np.repeat(radius[:, None], 3, axis=1)
    return Annotations(
        ELLIPSOID, own["object_id"].to_numpy(np.uint64), _zyx(own, "centroid") - half, radii, properties, related
    )


def class_shader(shape: str) -> str:
    """GLSL for an annotation layer: the class's colour, and a tick for each class to show or hide it."""
    controls = [
        f"#uicontrol bool {swatch.key} checkbox(default=true)" for swatch in SITE_CLASSES
    ] + [f"#uicontrol bool no_site checkbox(default={'true' if shape == ELLIPSOID else 'false'})"]  # fmt: skip
    lines = ["void main() {", f"  vec3 colour = {_vec3(CCV.colour)};", "  bool shown = no_site;"]
    for swatch in SITE_CLASSES:
        number = CLASS_NUMBERS[swatch.key]
        lines.append(
            f"  if (int(prop_site_class()) == {number}) {{ colour = {_vec3(swatch.colour)}; shown = {swatch.key}; }}"
        )
    lines.append("  if (!shown) discard;")
    if shape == POINT:
        lines += ["  setColor(colour);", "  setPointMarkerSize(9.0);"]
    elif shape == BOX:
        lines += ["  setColor(colour);", "  setBoundingBoxBorderWidth(1.5);"]
    else:
        lines.append("  setEllipsoidFillColor(vec4(colour, 0.5));")
    return "\n".join([*controls, *lines, "}"]) + "\n"


def _vec3(colour: str) -> str:
    return "vec3(" + ", ".join(f"{int(colour[n : n + 2], 16) / 255:.3f}" for n in (1, 3, 5)) + ")"
