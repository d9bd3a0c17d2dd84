"""What a block looked like to a network and what came out, in counts: whether a model met data it was not made for.

Grey values become levels, 0 to 255 over the network's input range, as the intensity rule maps them. Everything kept of
a block is a count or a sum of whole numbers, so blocks add up to the volume exactly and the same block gives the same
bytes on any machine:

* histograms of the input (32 bins over the network's range, as ``metrics.input_histogram`` of model.json) and of the
  probability (32 bins over 0 to 256, as ``metrics.probability_histogram``), and the ambiguous voxels;
* per cube of 16³ voxels, what tells structure from noise, and the positives in it.

A cube's noise is that of differences between voxels three apart. For noise their mean square is twice its variance, so
what the cube's own variance has beyond half of it is structure (von Neumann et al. 1941, The mean square successive
difference). Neighbours would do for white noise, but noise of a scanned, resampled or filtered picture is shared by
neighbours and would pass for structure; three voxels apart it no longer is, and membranes, vesicles and organelles
keep three quarters of their deviation (docs/segment.md).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

CUBE = 16
"""Edge of a cube in voxels; the edges of blocks are multiples of it, so cubes stand on one lattice in the volume."""
BINS = 32
LEVELS = 256
DISTANCE = 3
FIRST = (0, 1, 2, 6, 7, 8, 12)
"""Voxels of a cube that are compared with the one three further on: each stands in one pair an axis."""
AMBIGUOUS = (77, 178)
"""Of the uint8 probability, both included: 0.3 to 0.7."""
POSITIVE = 128
"""Threshold of a model that names none."""

Image = NDArray[Any]


def grey_levels(grey: Image, low: float, high: float, invert: bool = False) -> tuple[NDArray[np.uint8], Image | None]:
    """Grey values as levels 0 to 255 of the network's input range, and where they are finite (None: everywhere).

    ``low``, ``high``, ``invert``: those of `IntensityRule`; what is not finite has the level of ``low``, as there.

    Raises:
        ValueError: a range of no width.
    """
    if not high > low:
        raise ValueError(f"an intensity range needs low < high, got low {low}, high {high}: is the volume constant?")
    if grey.dtype.kind in "iu" and grey.dtype.itemsize <= 2 and grey.size > 2 ** (8 * grey.dtype.itemsize):
        info = np.iinfo(grey.dtype)
        table = grey_levels(np.arange(info.min, info.max + 1), low, high, invert)[0]
        return table[grey.astype(np.intp) - info.min if info.min else grey], None
    finite = np.isfinite(grey) if grey.dtype.kind == "f" else None
    share = (np.asarray(grey, np.float64) - low) / (high - low)
    share = np.clip(np.nan_to_num(share, nan=0.0), 0, 1)
    if invert:
        share = 1 - share
    return np.minimum(share * LEVELS, LEVELS - 1).astype(np.uint8), None if finite is None or finite.all() else finite


def block_signature(
    grey: Image,
    probability: NDArray[np.uint8],
    low: float,
    high: float,
    *,
    invert: bool = False,
    threshold: int = POSITIVE,
) -> dict[str, Image]:
    """All counts of a block.

    Args:
        grey: (z, y, x) voxels of the block without its halo, as the network gets them (equalised, where it wants that).
        probability: uint8 of the same shape.
        low, high, invert: the intensity rule's.
        threshold: what counts as positive, of 255.

    Returns:
        ``input_histogram``, ``probability_histogram``: (32,) int64. ``ambiguous``, ``not_finite``, ``threshold``: (1,).
        Per cube (cz, cy, cx), clipped at the far faces, of finite voxels: ``voxels``; ``level_sum`` and
        ``square_sum`` of the levels and of their squares; ``pairs`` of voxels three apart along an axis
        and ``difference_sum``, the sum of their squared differences; ``positives`` of all voxels. uint32.

    Raises:
        ValueError: shapes differ or are not those of a volume; a range of no width.
    """
    if grey.ndim != 3 or grey.size == 0 or grey.shape != probability.shape:
        raise ValueError(
            f"a signature needs grey values and a probability of one shape (z, y, x), got {grey.shape} and "
            f"{probability.shape}"
        )
    slabs: list[dict[str, Image]] = []
    seen, given, lost = (np.zeros(n, np.int64) for n in (LEVELS, LEVELS, 1))
    for z in range(0, grey.shape[0], CUBE):  # a layer of cubes at a time: what is held stays small
        layer = slice(z, z + CUBE)
        levels, finite = grey_levels(grey[layer], low, high, invert)
        seen += np.bincount(levels.ravel(), minlength=LEVELS)
        given += np.bincount(probability[layer].ravel(), minlength=LEVELS)
        if finite is not None:
            lost += levels.size - np.count_nonzero(finite)
        slabs.append({**_moments(levels, finite), "positives": _per_cube(probability[layer] >= threshold)})
    return {
        "input_histogram": seen.reshape(BINS, -1).sum(axis=1),
        "probability_histogram": given.reshape(BINS, -1).sum(axis=1),
        "ambiguous": given[AMBIGUOUS[0] : AMBIGUOUS[1] + 1].sum(keepdims=True),
        "not_finite": lost,
        "threshold": np.array([threshold]),
        **{name: np.concatenate([s[name] for s in slabs]) for name in slabs[0]},
    }


def _moments(levels: NDArray[np.uint8], finite: Image | None) -> dict[str, Image]:
    """Counts and sums of one layer of cubes."""
    wide = levels.astype(np.int32)
    if finite is not None:
        wide[~finite] = 0
    pairs, differences = [], []
    for axis, length in enumerate(levels.shape):
        first = np.array([n for n in range(length - DISTANCE) if n % CUBE in FIRST], np.intp)
        near, far = (np.take(wide, first + d, axis) for d in (0, DISTANCE))
        both = np.ones(near.shape, bool)
        if finite is not None:
            both = np.take(finite, first, axis) & np.take(finite, first + DISTANCE, axis)
        step = (near - far) * both
        starts = np.searchsorted(first, np.arange(0, length, CUBE))
        pairs.append(_per_cube(both, axis, starts))
        differences.append(_per_cube(step * step, axis, starts))
    inside = np.ones(levels.shape, bool) if finite is None else finite
    return {
        "voxels": _per_cube(inside),
        "level_sum": _per_cube(wide),
        "square_sum": _per_cube(wide * wide),
        "pairs": pairs[0] + pairs[1] + pairs[2],
        "difference_sum": differences[0] + differences[1] + differences[2],
    }


def _per_cube(values: Image, axis: int = -1, starts: NDArray[np.intp] | None = None) -> NDArray[np.uint32]:
    """Sums over cubes, which begin at ``starts`` along ``axis``: at most 3 x 7 x 256 x 255², which 32 bits hold."""
    for a in (2, 1, 0):
        edges = np.arange(0, values.shape[a], CUBE) if starts is None or a != axis else starts
        some = edges[edges < values.shape[a]]  # of a last cube there may be no pair
        shape = tuple(len(some) if b == a else n for b, n in enumerate(values.shape))
        sums = np.add.reduceat(values, some, axis=a, dtype=np.uint32) if len(some) else np.zeros(shape, np.uint32)
        values = np.pad(sums, [(0, len(edges) - len(some) if b == a else 0) for b in range(3)])
    return values
