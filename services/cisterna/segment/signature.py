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

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

CUBE = 16
"""Edge of a cube in voxels; the edges of blocks are multiples of it, so cubes stand on one lattice in the volume."""
BINS = 32
LEVELS = 256
DISTANCE = 3
AMBIGUOUS = (77, 178)
"""Of the uint8 probability, both included: 0.3 to 0.7."""
_PAIRS = [
    (
        tuple(slice(None, -DISTANCE if a == axis else None) for a in range(3)),
        tuple(slice(DISTANCE if a == axis else 0, None) for a in range(3)),
    )
    for axis in range(3)
]
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
        slabs.append(
            {**_moments(levels, finite), "positives": _per_cube(probability[layer] >= threshold, levels.shape)}
        )
    return {
        "input_histogram": seen.reshape(BINS, -1).sum(axis=1),
        "probability_histogram": given.reshape(BINS, -1).sum(axis=1),
        "ambiguous": given[AMBIGUOUS[0] : AMBIGUOUS[1] + 1].sum(keepdims=True),
        "not_finite": lost,
        "threshold": np.array([threshold]),
        **{name: np.concatenate([s[name] for s in slabs]) for name in slabs[0]},
    }


def _moments(levels: NDArray[np.uint8], finite: Image | None) -> dict[str, Image]:
    """Counts and sums of one layer of cubes, up to 16 planes."""
    wide = levels.astype(np.int16)
    if finite is not None:
        wide[~finite] = 0
    differences = []
    for axis, (near, far) in enumerate(_PAIRS):
        step = wide[far] - wide[near]
        if finite is not None:
            step *= finite[far] & finite[near]
        differences.append(_per_cube(_squares(step), levels.shape, axis))
    voxels, pairs = _whole_layer(levels.shape) if finite is None else _counts(finite)
    return {
        "voxels": voxels,
        "level_sum": _per_cube(wide, levels.shape),
        "square_sum": _per_cube(_squares(wide), levels.shape),
        "pairs": pairs,
        "difference_sum": differences[0] + differences[1] + differences[2],
    }


def _counts(finite: Image) -> tuple[Image, Image]:
    """Voxels and pairs in each cube of a layer."""
    pairs = [_per_cube(finite[far] & finite[near], finite.shape, a) for a, (near, far) in enumerate(_PAIRS)]
    return _per_cube(finite, finite.shape), pairs[0] + pairs[1] + pairs[2]


@lru_cache(maxsize=8)
def _whole_layer(shape: tuple[int, ...]) -> tuple[Image, Image]:
    return _counts(np.ones(shape, bool))


def _squares(values: NDArray[np.int16]) -> NDArray[np.uint16]:
    """Of numbers from -255 to 255: the largest is 65025."""
    size = np.abs(values).view(np.uint16)
    return size * size


def _per_cube(values: Image, shape: tuple[int, ...], axis: int = 0) -> NDArray[np.uint32]:
    """Sums over the cubes of one layer of ``shape``, (1, cy, cx).

    ``values`` are those of voxels, or of the pairs that begin at voxels along ``axis``; pairs of two cubes are left
    out. At most 3 x 13 x 256 x 255² for one cube, which 32 bits hold.
    """
    sums = values.sum(axis=0, dtype=np.uint32)
    whole = np.zeros(shape[1:], np.uint32)
    whole[: sums.shape[0], : sums.shape[1]] = sums
    if axis:
        crossing = np.arange(shape[axis]) % CUBE >= CUBE - DISTANCE
        whole[(slice(None),) * (axis - 1) + (crossing,)] = 0
    for a in (0, 1):
        whole = np.add.reduceat(whole, np.arange(0, whole.shape[a], CUBE), axis=a, dtype=np.uint32)
    return whole[None]
