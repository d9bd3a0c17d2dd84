"""What a block looked like to a network and what came out, in counts: whether a model met data it was not made for.

Grey values become levels, 0 to 255 over the network's input range, as the intensity rule maps them. Everything kept of
a block is a count or a sum of whole numbers, so blocks add up to the volume exactly and the same block gives the same
bytes on any machine:

* histograms of the input (32 bins over the network's range, as ``metrics.input_histogram`` of model.json) and of the
  probability (32 bins over 0 to 256, as ``metrics.probability_histogram``), and the ambiguous voxels;
* per cube of 16³ voxels, what tells structure from noise, and the positives in it.

A cube's noise is that of differences between neighbours. For white noise their mean square is twice its variance, so
what the cube's own variance has beyond half of it varies more slowly than voxels do and is structure (von Neumann et
al. 1941, The mean square successive difference). Noise that neighbours share counts as structure: a cube is called
featureless too rarely rather than too often. 16 voxels are 64 to 160 nm at 4 to 10 nm: cytosol seldom has nothing in
a cube of that size, resin always.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

CUBE = 16
"""Edge of a cube in voxels; the edges of blocks are multiples of it, so cubes stand on one lattice in the volume."""
BINS = 32
LEVELS = 256
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
        ``input_histogram``, ``probability_histogram``: (32,) int64. ``ambiguous``, ``not_finite``, ``threshold``: ().
        Per cube (cz, cy, cx), clipped at the far faces, of finite voxels: ``voxels``; ``level_sum`` and
        ``square_sum`` of the levels and of their squares; ``pairs`` of neighbours (each voxel in at most one an axis)
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
        "ambiguous": given[AMBIGUOUS[0] : AMBIGUOUS[1] + 1].sum(),
        "not_finite": lost[0],
        "threshold": np.int64(threshold),
        **{name: np.concatenate([s[name] for s in slabs]) for name in slabs[0]},
    }


def _moments(levels: NDArray[np.uint8], finite: Image | None) -> dict[str, Image]:
    """Counts and sums of one layer of cubes."""
    wide = levels.astype(np.int32)
    if finite is not None:
        wide[~finite] = 0
    inside = np.ones(levels.shape, bool) if finite is None else finite
    pairs, differences = [], []
    for axis in range(3):
        even, odd = (tuple(slice(first, None, 2) if a == axis else slice(None) for a in range(3)) for first in (0, 1))
        count = wide[odd].shape[axis]
        left = tuple(slice(0, count) if a == axis else slice(None) for a in range(3))
        step = wide[even][left] - wide[odd]
        both = None if finite is None else finite[even][left] & finite[odd]
        if both is not None:
            step = step * both
        edges = tuple(CUBE // 2 if a == axis else CUBE for a in range(3))
        cubes = tuple(-(-n // CUBE) for n in levels.shape)
        differences.append(_per_cube(step * step, edges, cubes))
        pairs.append(_per_cube(np.ones(step.shape, bool) if both is None else both, edges, cubes))
    return {
        "voxels": _per_cube(inside),
        "level_sum": _per_cube(wide),
        "square_sum": _per_cube(wide * wide),
        "pairs": pairs[0] + pairs[1] + pairs[2],
        "difference_sum": differences[0] + differences[1] + differences[2],
    }


def _per_cube(
    values: Image, edges: tuple[int, int, int] = (CUBE,) * 3, cubes: tuple[int, ...] | None = None
) -> NDArray[np.uint32]:
    """Sums over cubes: at most 4096 x 255² an axis, so 32 bits hold them."""
    cubes = cubes or tuple(-(-n // e) for n, e in zip(values.shape, edges, strict=True))
    for axis, edge in ((2, edges[2]), (1, edges[1]), (0, edges[0])):
        length = values.shape[axis]
        if length == 0:
            return np.zeros(cubes, np.uint32)
        values = np.add.reduceat(values, np.arange(0, length, edge), axis=axis, dtype=np.uint32)
        if values.shape[axis] < cubes[axis]:  # one last voxel has no neighbour
            grow = [(0, cubes[a] - values.shape[a] if a == axis else 0) for a in range(3)]
            values = np.pad(values, grow)
    return values
