"""Which points of one frame are those of the frame before: assignment with a price for births and deaths."""

from __future__ import annotations

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.spatial import cKDTree

from cisterna.graph.skeleton import groups

LINK_WORTH = 1.6
"""What a link may cost at most. A pair at the limit of reach costs 1, a frame of absence 0.3, so two poor links
replace one good link only where they are clearly better than a death and a birth."""
ABSENCE_COST = 0.3


def pair_points(before: np.ndarray, after: np.ndarray, reach: float, absent: np.ndarray | None = None) -> np.ndarray:
    """One-to-one pairs (k, 2) of points (n, d) and (m, d) within `reach`: the assignment of most worth.

    A pair costs its squared distance over `reach`², plus 0.3 for every frame that the first point has been `absent`,
    and is worth 1.6 less that. Points that can reach only each other are paired at once, clusters of more
    are solved on their own (Jonker & Volgenant 1987), so the work grows with the number of points.
    """
    if len(before) == 0 or len(after) == 0:
        return np.zeros((0, 2), np.int64)
    near = cKDTree(before).sparse_distance_matrix(cKDTree(after), reach, output_type="coo_matrix")
    a, b = near.row.astype(np.int64), near.col.astype(np.int64)
    cost = (near.data / reach) ** 2 + (ABSENCE_COST * absent[a] if absent is not None else 0.0)
    alone = (np.bincount(a, minlength=len(before))[a] == 1) & (np.bincount(b, minlength=len(after))[b] == 1)
    found = [np.stack([a[alone], b[alone]], axis=1)]
    a, b, cost = a[~alone], b[~alone], cost[~alone]
    if len(a):
        count, label = groups(np.stack([a, len(before) + b], axis=1), len(before) + len(after))
        order = np.argsort(label[a], kind="stable")
        bounds = np.searchsorted(label[a][order], np.arange(count + 1))
        for k in np.flatnonzero(np.diff(bounds)).tolist():
            some = order[bounds[k] : bounds[k + 1]]
            left, i = np.unique(a[some], return_inverse=True)
            right, j = np.unique(b[some], return_inverse=True)
            # Every entry is at most 0 and "no link" is 0: a full assignment is then also the best partial one.
            table = np.zeros((len(left), len(right)))
            table[i, j] = np.minimum(cost[some] - LINK_WORTH, 0.0)
            p, q = linear_sum_assignment(table)
            linked = table[p, q] < 0
            found.append(np.stack([left[p[linked]], right[q[linked]]], axis=1))
    pairs = np.concatenate(found)
    return pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]
