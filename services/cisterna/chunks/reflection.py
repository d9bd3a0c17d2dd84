"""What lies beyond the edge of an array: its mirror image."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def reflect_indices(start: int, stop: int, size: int) -> NDArray[np.intp]:
    """Array indices of positions ``start … stop-1`` of an axis of ``size`` voxels, mirrored at its ends.

    The edge voxel is not repeated (numpy's ``reflect``), and the mirror folds as often as needed, so any halo
    works on any array. An axis of one voxel repeats that voxel.
    """
    if size < 1:
        raise ValueError(f"an axis needs at least one voxel, got {size}")
    position = np.arange(start, stop, dtype=np.intp)
    if size == 1:
        return np.zeros_like(position)
    period = 2 * (size - 1)
    folded = np.mod(position, period)
    return np.asarray(np.minimum(folded, period - folded), dtype=np.intp)
