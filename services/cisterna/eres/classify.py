"""Exit sites of a volume held in memory: the same functions as block by block, with one block."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cisterna.chunks import Box
from cisterna.eres.components import LAST_ID, label_components
from cisterna.eres.distances import measure_block, measure_regions
from cisterna.eres.er_form import measure_er_form
from cisterna.eres.objects import objects_frame
from cisterna.eres.profiles import measure_on_image
from cisterna.eres.rules import Rules, find_rules
from cisterna.eres.sites import Sites, classify, region_members
from cisterna.eres.splitting import SPLITTING, Splitting, split_touching
from cisterna.eres.sums import ObjectSums
from cisterna.tables.volumes import TUBULAR, VESICLES


def classify_sites(
    vesicle_labels: ArrayLike,
    tubular_labels: ArrayLike,
    er_mask: ArrayLike,
    voxel_size_nm: Sequence[float],
    rules: str | Rules | Mapping[str, object] = "nair2025",
    golgi_mask: ArrayLike | None = None,
    image: ArrayLike | None = None,
    ccv_mask: ArrayLike | None = None,
    invert: bool = False,
    splitting: Splitting = SPLITTING,
) -> Sites:
    """Classifies ER exit sites.

    Arrays are (Z,Y,X) on one grid of ``voxel_size_nm`` (z,y,x). Labels are whole numbers, 0 background, one number
    per object, kept as ``object_id``; a bool array becomes its 26-connected components, and touching vesicles in it
    are cut apart as ``splitting`` says (``NO_SPLITTING``: left as they are). Masks count where they are not 0.
    ``rules`` is a name, a :class:`Rules`, its JSON, or a mapping of changed fields. ``image`` (grey values, NaN =
    unknown; ``invert``: membranes are bright) fills ``mean_grey`` and ``diameter_image_nm`` of the objects.
    ``ccv_mask`` is what the rule ``exclude_overlap_with`` speaks of.

    Raises ValueError for shapes that differ, negative labels or labels beyond uint32, NaN in a mask, or a voxel
    size that is not three positive numbers.
    """
    chosen = find_rules(rules)
    size = check_voxel_size(voxel_size_nm)
    vesicles = as_labels(vesicle_labels, "vesicle_labels")
    if np.asarray(vesicle_labels).dtype == bool:
        vesicles = split_touching(vesicles, size, splitting)
    tubular = as_labels(tubular_labels, "tubular_labels", vesicles.shape)
    er = as_mask(er_mask, "er_mask", vesicles.shape)
    golgi = None if golgi_mask is None else as_mask(golgi_mask, "golgi_mask", vesicles.shape)
    ccv = None if ccv_mask is None else as_mask(ccv_mask, "ccv_mask", vesicles.shape)
    grey = None if image is None else np.asarray(image)
    if grey is not None and grey.shape != vesicles.shape:
        raise ValueError(f"image has shape {grey.shape}, vesicle_labels {vesicles.shape}: give arrays on one grid")
    whole = Box.whole(vesicles.shape)
    frames = [
        objects_frame(name, ObjectSums.of_labels(labels), size, vesicles.shape)
        for name, labels in ((VESICLES, vesicles), (TUBULAR, tubular))
    ]
    if grey is not None:
        frames = [
            measure_on_image(frame, labels, grey, whole, (0, 0, 0), size, invert).fill(frame)
            for frame, labels in zip(frames, (vesicles, tubular), strict=True)
        ]
    frames = [measure_er_form(frame, er, whole, (0, 0, 0), size).fill(frame) for frame in frames]
    distances = measure_block(vesicles, tubular, er, golgi, whole, size, chosen, ccv)
    if not chosen.golgi_from_mask(golgi is not None):
        members, _, _ = region_members(frames[0], distances.vesicle_vesicle, chosen)
        distances = replace(distances, vesicle_region=measure_regions(vesicles, members, whole, size, chosen))
    return classify(frames[0], frames[1], distances, size, vesicles.shape, chosen, golgi is not None)


def check_voxel_size(voxel_size_nm: Sequence[float]) -> tuple[float, float, float]:
    """Three positive finite numbers (z,y,x) in nm, or ValueError."""
    values = tuple(float(v) for v in np.ravel(np.asarray(voxel_size_nm, np.float64)))
    if len(values) != 3 or not all(np.isfinite(v) and v > 0 for v in values):
        raise ValueError(f"voxel_size_nm = {values}: give three positive lengths in nm, z, y, x")
    return values[0], values[1], values[2]


def as_labels(values: ArrayLike, name: str, shape: tuple[int, ...] | None = None) -> NDArray[np.integer]:
    """Labels as an integer volume; components of a bool volume. ValueError naming ``name`` otherwise."""
    array = np.asarray(values)
    _check_shape(array, name, shape)
    if array.dtype == bool:
        return label_components(array)
    if array.dtype.kind not in "iu":
        raise ValueError(f"{name} has type {array.dtype}: give whole-number labels, or a bool mask to be labelled here")
    if array.size and array.dtype.kind == "i" and int(array.min()) < 0:
        raise ValueError(f"{name} has the label {int(array.min())}: labels start at 1, 0 is background")
    if array.size and int(array.max()) > LAST_ID:
        raise ValueError(f"{name} has the label {int(array.max())}, beyond uint32: relabel it consecutively first")
    return array


def as_mask(values: ArrayLike, name: str, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """A mask: True where ``values`` is not 0. ValueError naming ``name`` for NaN or another shape."""
    array = np.asarray(values)
    _check_shape(array, name, shape)
    if array.dtype.kind == "f" and np.isnan(array).any():
        raise ValueError(f"{name} holds NaN: threshold the probabilities first, deciding what unknown voxels are")
    mask: NDArray[np.bool_] = array != 0
    return mask


def _check_shape(array: NDArray[np.generic], name: str, shape: tuple[int, ...] | None) -> None:
    if array.ndim != 3:
        raise ValueError(f"{name} has {array.ndim} axes: give a volume (z,y,x)")
    if shape is not None and array.shape != shape:
        raise ValueError(f"{name} has shape {array.shape}, vesicle_labels {shape}: give arrays on one grid")
