"""Diameters on the image: where the membrane is, seen from a vesicle's centre, whatever the segmentation's threshold.

Grey values are averaged over directions at each radius. A membrane is dark, so the profile falls towards it and rises
again outside; the vesicle ends where it has risen half-way from its least value to the cytosol outside. Rays end where
they meet another object, so touching neighbours do not count.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from cisterna.chunks import Box
from cisterna.eres.objects import NO_IMAGE
from cisterna.tables.volumes import VESICLES

LARGEST_DIAMETER_NM = 160.0
"""Objects of a larger mask are no vesicles: no profile is taken."""

STEP_NM = 1.5
BEYOND_NM = 36.0
REACH_NM = LARGEST_DIAMETER_NM / 2 * 1.25 + BEYOND_NM
DIRECTIONS = 200
LEAST_SHARE = 0.35
"""Share of directions that must still be free for a radius to count."""
LEAST_CONTRAST = 4.0
"""Depth of the membrane over the standard error of the profile, at least."""

TOO_LARGE = f"larger than {LARGEST_DIAMETER_NM:g} nm"
NO_MEMBRANE = "no clear membrane in the profile"
NO_VESICLE = "only vesicles have a membrane profile"
OUTSIDE = "too much of the surroundings lies outside the volume or in other objects"

REASONS = ("", TOO_LARGE, NO_MEMBRANE, OUTSIDE, NO_VESICLE)
"""Reasons by the number that a part holds; 0: there is a diameter."""


@dataclass(frozen=True)
class Profile:
    """Mean grey (membranes dark) by radius in nm, its standard error, and the share of directions that counted."""

    radius_nm: NDArray[np.float64]
    grey: NDArray[np.float64]
    error: NDArray[np.float64]
    share: NDArray[np.float64]


@dataclass(frozen=True)
class Measured:
    """What the image says of objects: diameters (NaN with a reason ≠ 0) of those centred in a block, and sums of grey
    values of all that have voxels in it."""

    object_id: NDArray[np.int64]
    diameter_nm: NDArray[np.float64]
    reason: NDArray[np.int64]
    grey_id: NDArray[np.int64]
    grey: NDArray[np.float64]
    imaged: NDArray[np.int64]

    @classmethod
    def joined(cls, parts: Sequence[Measured]) -> Measured:
        """All objects of all parts (one at least), by id; sums added."""
        every = {f.name: np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(cls)}
        order = np.argsort(every["object_id"], kind="stable")
        ids, at = np.unique(every["grey_id"], return_inverse=True)
        imaged = np.zeros(len(ids), np.int64)
        np.add.at(imaged, at, every["imaged"])
        grey = np.bincount(at, every["grey"], minlength=len(ids))
        owned = {n: every[n][order] for n in ("object_id", "diameter_nm", "reason")}
        return cls(**owned, grey_id=ids.astype(np.int64), grey=grey.astype(np.float64), imaged=imaged)

    def fill(self, objects: pd.DataFrame) -> pd.DataFrame:
        """The rows of one class with ``diameter_image_nm``, its reason and ``mean_grey``."""
        ids = objects["object_id"].to_numpy(np.int64)
        diameter, reason = np.full(len(ids), np.nan), np.full(len(ids), NO_IMAGE, dtype=object)
        hit, at = _found(self.object_id, ids)
        diameter[hit] = self.diameter_nm[at]
        reason[hit] = np.array(REASONS, dtype=object)[self.reason[at]]
        grey = np.full(len(ids), np.nan)
        hit, at = _found(self.grey_id, ids)
        with np.errstate(invalid="ignore"):
            # Whole grey values add up exactly; others must not show the order of blocks.
            grey[hit] = np.round(self.grey[at] / self.imaged[at], 6)
        return objects.assign(diameter_image_nm=diameter, diameter_image_reason=reason, mean_grey=grey)


def _found(known: NDArray[np.int64], ids: NDArray[np.int64]) -> tuple[NDArray[np.bool_], NDArray[np.intp]]:
    """Which of ``ids`` are known, and where (for these)."""
    if not len(known):
        return np.zeros(len(ids), bool), np.zeros(0, np.intp)
    at = np.minimum(np.searchsorted(known, ids), len(known) - 1)
    hit = known[at] == ids
    return hit, at[hit]


def halo_voxels(voxel_size_nm: Sequence[float]) -> tuple[int, ...]:
    """Voxels around a block that the profiles of objects centred in it reach."""
    return tuple(math.ceil(REACH_NM / s) + 3 for s in voxel_size_nm)


def measure_on_image(
    objects: pd.DataFrame,
    labels: NDArray[np.integer],
    image: NDArray[np.generic],
    core: Box,
    offset: Sequence[int],
    voxel_size_nm: Sequence[float],
    invert: bool = False,
) -> Measured:
    """What the image says of the objects of one class, seen from one block.

    ``labels`` and ``image`` (Z,Y,X) hold the block and :func:`halo_voxels` around it, clipped to the volume, and begin
    at ``offset`` in it; ``core`` is the block's box within them. ``objects``: rows of the objects table, one class.
    ``invert``: membranes are bright.
    """
    size = np.asarray(voxel_size_nm, np.float64)
    centre = objects[[f"centroid_{a}_nm" for a in "zyx"]].to_numpy(np.float64) / size - 0.5 - np.asarray(offset)
    at = np.floor(centre + 0.5)
    own = np.flatnonzero(np.all((at >= core.offset) & (at < core.end), axis=1))
    ids, wide = objects["object_id"].to_numpy(np.int64), objects["diameter_mask_nm"].to_numpy(np.float64)
    vesicles = objects["class"].to_numpy() == VESICLES
    diameter, reason = np.full(len(own), np.nan), np.full(len(own), REASONS.index(NO_VESICLE))
    for i, o in enumerate(own.tolist()):
        if not vesicles[o]:
            continue
        why = TOO_LARGE
        if wide[o] <= LARGEST_DIAMETER_NM:
            profile = radial_profile(image, labels, int(ids[o]), centre[o], voxel_size_nm, float(wide[o]), invert)
            diameter[i], why = membrane_diameter_nm(profile, float(wide[o]))
        reason[i] = REASONS.index(why)
    inside, seen = labels[core.slices], image[core.slices]
    filled = inside != 0
    values = seen[filled].astype(np.float64)
    known = np.isfinite(values)
    numbers, back = np.unique(inside[filled][known], return_inverse=True)
    grey = np.bincount(back, values[known], minlength=len(numbers)).astype(np.float64)
    count = np.bincount(back, minlength=len(numbers))
    return Measured(ids[own], np.round(diameter, 6), reason, numbers.astype(np.int64), grey, count.astype(np.int64))


def radial_profile(
    image: NDArray[np.generic],
    labels: NDArray[np.integer],
    label: int,
    centre: NDArray[np.float64],
    voxel_size_nm: Sequence[float],
    diameter_nm: float,
    invert: bool = False,
) -> Profile:
    """Profile of one object. ``image`` and ``labels`` (Z,Y,X) hold it and its surroundings; ``centre`` in voxel
    indices of these arrays (0 = centre of the first voxel); ``diameter_nm`` of the mask sets the range; NaN = unknown.
    """
    radius = np.arange(0.0, diameter_nm / 2 * 1.25 + BEYOND_NM, STEP_NM)
    size = np.asarray(voxel_size_nm, np.float64)
    reach = np.ceil(radius[-1] / size).astype(int) + 2
    low = np.clip(np.rint(centre).astype(int) - reach, 0, np.asarray(image.shape) - 1)
    high = np.clip(np.rint(centre).astype(int) + reach + 1, low + 1, image.shape)
    cut = tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
    image, labels, centre = image[cut], labels[cut], centre - low
    steps = _sphere()[:, None, :] * radius[None, :, None] / size
    at = (centre + steps).reshape(-1, 3).T
    nearest = np.rint(at).astype(np.int64)
    shape = np.asarray(image.shape)[:, None]
    inside = np.all((nearest >= 0) & (nearest < shape), axis=0)
    held = np.clip(nearest, 0, shape - 1)
    met = labels[tuple(held)]
    free = (inside & ((met == 0) | (met == label))).reshape(len(steps), -1)
    free = np.logical_and.accumulate(free, axis=1)
    grey = map_coordinates(image.astype(np.float32, copy=False), at, order=1, mode="nearest", prefilter=False)
    grey = (-grey if invert else grey).reshape(free.shape).astype(np.float64)
    free &= np.isfinite(grey)
    count = free.sum(axis=0)
    grey = np.where(free, grey, 0.0)
    n = np.maximum(count, 1)
    mean = grey.sum(axis=0) / n
    variance = np.maximum((grey * grey).sum(axis=0) / n - mean * mean, 0.0)
    return Profile(radius, np.where(count > 0, mean, np.nan), np.sqrt(variance / n), count / len(steps))


def membrane_diameter_nm(profile: Profile, diameter_nm: float) -> tuple[float, str]:
    """Diameter in nm and "", or NaN and the reason; ``diameter_nm`` of the mask says where to look."""
    r, g = profile.radius_nm, profile.grey
    good = profile.share >= LEAST_SHARE
    last = int(np.argmin(good)) if not good.all() else len(r)
    low = int(np.searchsorted(r, max(8.0, 0.25 * diameter_nm)))
    high = min(last, int(np.searchsorted(r, 0.65 * diameter_nm + 8.0)))
    if high - low < 4 or last - high < 3:
        return np.nan, OUTSIDE
    bottom = low + int(np.argmin(g[low:high]))
    # At the inner end the lumen is too narrow to be seen, which is no harm; at the outer end nothing rises.
    if bottom == high - 1:
        return np.nan, NO_MEMBRANE
    rise = g[bottom:last]
    # The first summit outside the membrane, not a brighter place farther off.
    top = _first_summit(rise)
    depth = rise[top] - g[bottom]
    if depth < LEAST_CONTRAST * max(float(profile.error[bottom]), 1e-12) or depth <= 0:
        return np.nan, NO_MEMBRANE
    half = g[bottom] + depth / 2
    above = int(np.argmax(rise >= half))
    before, after = rise[above - 1], rise[above]
    edge = r[bottom + above - 1] + STEP_NM * (half - before) / (after - before)
    return 2.0 * float(edge), ""


def _first_summit(rise: NDArray[np.float64], within: int = 6) -> int:
    """Index of the first value that none of the next ``within`` exceeds."""
    for i in range(1, len(rise)):
        if rise[i] >= rise[i : i + within + 1].max():
            return i
    return len(rise) - 1


def _sphere() -> NDArray[np.float64]:
    """Unit vectors evenly over the sphere (Fibonacci), z,y,x."""
    i = np.arange(DIRECTIONS) + 0.5
    z = 1 - 2 * i / DIRECTIONS
    angle = np.pi * (1 + np.sqrt(5.0)) * i
    around = np.sqrt(1 - z * z)
    return np.stack([z, around * np.sin(angle), around * np.cos(angle)], axis=1)
