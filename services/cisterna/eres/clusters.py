"""How many vesicles of a group lie within one region of a given size."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cisterna.eres.rules import TOLERANCE_NM


def cluster_size(low_nm: NDArray[np.float64], high_nm: NDArray[np.float64], region_nm: float) -> int:
    """Most objects whose common box has an extent of at most ``region_nm`` in every axis.

    ``low_nm``, ``high_nm`` (n,3): outer faces of the objects' boxes. An object larger than the region lies in none.
    Exact: some best region begins, in every axis, at the low face of one of its objects.
    """
    limit = region_nm + TOLERANCE_NM
    fits = np.all(high_nm - low_nm <= limit, axis=1)
    low, high = low_nm[fits], high_nm[fits]
    if not len(low):
        return 0
    if np.all(high.max(axis=0) - low.min(axis=0) <= limit):
        return len(low)
    return _most(low, high, limit, 0, 0)


def _most(low: NDArray[np.float64], high: NDArray[np.float64], limit: float, axis: int, best: int) -> int:
    if axis == low.shape[1] - 1:
        # One axis left: count the boxes that begin at or after each start and end within the limit of it.
        starts = low[:, axis]
        inside = (starts[None, :] >= starts[:, None]) & (high[None, :, axis] <= starts[:, None] + limit)
        return max(best, int(inside.sum(axis=1).max()))
    for start in np.unique(low[:, axis]):
        inside = (low[:, axis] >= start) & (high[:, axis] <= start + limit)
        if int(inside.sum()) > best:
            best = _most(low[inside], high[inside], limit, axis + 1, best)
    return best
