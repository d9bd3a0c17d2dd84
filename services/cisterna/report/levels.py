"""Pictures out of a store: the pyramid level that fits, slices of it, and gaps where blocks were given up."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cisterna.chunks import Box
from cisterna.store import ObjectStore
from cisterna.store.pyramids import Level, Pyramid, read_pyramid, read_with_gaps

__all__ = ["Level", "Pyramid", "Slice", "match_grid", "read_pyramid", "read_slice", "read_small", "read_with_gaps"]


@dataclass(frozen=True)
class Slice:
    """A 2-D cut: `pixels` (rows, columns), their size, and the share that is missing."""

    pixels: np.ndarray
    pixel_size: tuple[float, float]
    missing: float


def read_slice(store: ObjectStore, pyramid: Pyramid, axis: int, position: float, limit: int) -> Slice | None:
    """The cut across `axis` at `position` (from the outer corner, in the axis' unit), at most `limit` pixels a side.

    A level of which nothing is there (its pyramid stage never ran) is replaced by the next finer one, thinned out.
    None when no level has anything.
    """
    others = [n for n in range(3) if n != axis]
    first = pyramid.fitting(limit, "".join(pyramid.axes[n] for n in others))
    for n in range(first, -1, -1):
        level = pyramid.levels[n]
        index = min(max(int(position / level.scale[axis] + 1e-9), 0), level.shape[axis] - 1)
        offset = tuple(index if k == axis else 0 for k in range(3))
        shape = tuple(1 if k == axis else size for k, size in enumerate(level.shape))
        data, missing = read_with_gaps(store, level, Box(offset, shape))
        if missing >= 1:
            continue
        pixels = np.take(data, 0, axis)
        step = [max(1, -(-size // limit)) for size in pixels.shape]
        thin = pixels[:: step[0], :: step[1]]
        return Slice(thin, (level.scale[others[0]] * step[0], level.scale[others[1]] * step[1]), missing)
    return None


def match_grid(pixels: np.ndarray, shape: Sequence[int], ratio: Sequence[float]) -> np.ndarray:
    """Nearest pixels of a picture on another grid: `ratio` = target pixel size / own pixel size, corners coincide."""
    rows, columns = (
        np.clip(((np.arange(n) + 0.5) * r).astype(int), 0, own - 1)
        for n, r, own in zip(shape, ratio, pixels.shape, strict=True)
    )
    found: np.ndarray = pixels[rows[:, None], columns[None, :]]
    return found


def read_small(store: ObjectStore, pyramid: Pyramid, max_voxels: int) -> tuple[np.ndarray, tuple[float, ...]] | None:
    """The whole image at its finest level of at most `max_voxels` (the coarsest if none is), with its voxel size.

    None where a block of that level is missing, or where even the coarsest level is larger than eight times that.
    """
    sizes = [int(np.prod(level.shape)) for level in pyramid.levels]
    n = next((n for n, size in enumerate(sizes) if size <= max_voxels), len(sizes) - 1)
    level = pyramid.levels[n]
    if sizes[n] > 8 * max_voxels:
        return None
    data, missing = read_with_gaps(store, level, Box((0, 0, 0), level.shape))
    return None if missing else (data, level.scale)
