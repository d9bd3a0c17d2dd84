"""Exact Euclidean distance transform on an anisotropic grid, bounded in reach and in memory.

Lines of parabolas, axis by axis (Felzenszwalb & Huttenlocher 2012), in float64: exact to the last bits, where float32
transforms are off by up to 1e-5 nm.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cisterna.compiled import compiled


def squared_distance_nm2(mask: NDArray[np.bool_], voxel_size_nm: Sequence[float]) -> NDArray[np.float64]:
    """Squared distance (nm²) of every voxel centre to the nearest voxel centre of the mask (Z,Y,X).

    8 bytes a voxel. inf everywhere where the mask is empty.
    """
    size = np.asarray(voxel_size_nm, np.float64)
    out = np.empty(mask.shape, np.float64)
    _along_x(mask, size[2], out)
    _along_y(out, size[1])
    _along_z(out, size[0])
    return out


@compiled
def _along_x(mask: NDArray[np.bool_], size: float, out: NDArray[np.float64]) -> None:
    depth, height, width = mask.shape
    square = np.empty(width + 1)
    for n in range(width):
        square[n] = (n * size) * (n * size)
    for z in range(depth):
        for y in range(height):
            last = -1
            for x in range(width):
                if not mask[z, y, x]:
                    continue
                # From the mask's voxel before to this one: the first half is nearer to that one, the rest to this.
                middle = (last + x) // 2 if last >= 0 else -1
                for k in range(last + 1, middle + 1):
                    out[z, y, k] = square[k - last]
                for k in range(middle + 1, x + 1):
                    out[z, y, k] = square[x - k]
                last = x
            for k in range(last + 1, width):
                out[z, y, k] = square[k - last] if last >= 0 else np.inf


@compiled
def _along_y(field: NDArray[np.float64], size: float) -> None:
    depth, height, width = field.shape
    line, apex, begin = np.empty(height), np.empty(height, np.int64), np.empty(height + 1)
    for z in range(depth):
        for x in range(width):
            for y in range(height):
                line[y] = field[z, y, x]
            if _envelope(line, size, apex, begin):
                k = 0
                for y in range(height):
                    while begin[k + 1] < y:
                        k += 1
                    d = (y - apex[k]) * size
                    field[z, y, x] = line[apex[k]] + d * d


@compiled
def _along_z(field: NDArray[np.float64], size: float) -> None:
    depth, height, width = field.shape
    line, apex, begin = np.empty(depth), np.empty(depth, np.int64), np.empty(depth + 1)
    for y in range(height):
        for x in range(width):
            for z in range(depth):
                line[z] = field[z, y, x]
            if _envelope(line, size, apex, begin):
                k = 0
                for z in range(depth):
                    while begin[k + 1] < z:
                        k += 1
                    d = (z - apex[k]) * size
                    field[z, y, x] = line[apex[k]] + d * d


@compiled
def _envelope(line: NDArray[np.float64], size: float, apex: NDArray[np.int64], begin: NDArray[np.float64]) -> bool:
    """Lower envelope of the parabolas that stand on a line; False where the line is empty."""
    k = -1
    square = size * size
    for q in range(len(line)):
        if line[q] == np.inf:
            continue
        s = -np.inf
        while k >= 0:
            p = apex[k]
            s = ((line[q] - line[p]) / square + q * q - p * p) / (2.0 * (q - p))
            if s > begin[k]:
                break
            k -= 1
        if k < 0:
            s = -np.inf
        k += 1
        apex[k] = q
        begin[k] = s
    if k < 0:
        return False
    begin[k + 1] = np.inf
    return True
