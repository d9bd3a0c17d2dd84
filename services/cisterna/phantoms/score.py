"""How close a result comes to the planted truth. Every match is one-to-one."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist


@dataclass(frozen=True)
class Agreement:
    """Counts of a one-to-one matching; `pairs` (m, 2) are indices (found, true)."""

    found: int
    true: int
    matched: int
    pairs: NDArray[np.intp]

    @property
    def precision(self) -> float:
        """Share of what was found that is true; NaN when nothing was found."""
        return self.matched / self.found if self.found else float("nan")

    @property
    def recall(self) -> float:
        """Share of the truth that was found; NaN when there is none."""
        return self.matched / self.true if self.true else float("nan")

    @property
    def f1(self) -> float:
        """2 matched / (found + true); 1 when both are empty."""
        both = self.found + self.true
        return 2 * self.matched / both if both else 1.0


def dice(mask: ArrayLike, truth: ArrayLike) -> float:
    """Dice overlap 2|A and B| / (|A| + |B|) of two masks (nonzero = inside); 1 when both are empty."""
    a, b = np.asarray(mask) != 0, np.asarray(truth) != 0
    if a.shape != b.shape:
        raise ValueError(f"the mask is {a.shape}, the truth {b.shape}: compare them on the same grid")
    total = int(a.sum()) + int(b.sum())
    return 2 * int((a & b).sum()) / total if total else 1.0


def match_points(found: ArrayLike, true: ArrayLike, tolerance: float) -> Agreement:
    """Match two point sets (n, d) within `tolerance`: as many pairs as possible, then the smallest total distance."""
    a, b = np.asarray(found, float), np.asarray(true, float)
    if a.size == 0 or b.size == 0:
        return Agreement(len(a), len(b), 0, np.zeros((0, 2), np.intp))
    distance = cdist(a, b)
    # a forbidden pair costs more than any set of allowed ones, so the count is maximised first
    cost = np.where(distance <= tolerance, distance, (min(len(a), len(b)) + 1) * (tolerance + 1.0))
    i, j = linear_sum_assignment(cost)
    close = distance[i, j] <= tolerance
    return Agreement(len(a), len(b), int(close.sum()), np.column_stack([i[close], j[close]]))


def vesicle_recall_precision(
    found: ArrayLike, truth: pd.DataFrame, voxel_size_nm: ArrayLike = 1.0, tolerance_nm: float = 40.0
) -> Agreement:
    """Match found vesicles to the planted ones.

    `found` is a label volume (z, y, x; 0 = nothing), matched by overlap with planted spheres through its centroids, or
    centroids (n, 3) in nm from the outer corner. `truth` holds `centroid_{z,y,x}_nm` (rows of `CellPhantom.objects`).
    """
    given = np.asarray(found)
    if given.ndim == 3:
        size = np.broadcast_to(np.asarray(voxel_size_nm, float), (3,))
        at = np.nonzero(given)
        names, which = np.unique(given[at], return_inverse=True)
        count = np.bincount(which, minlength=len(names))
        given = np.column_stack(
            [
                (np.bincount(which, p, len(names)) / np.maximum(count, 1) + 0.5) * s
                for p, s in zip(at, size, strict=True)
            ]
        )
    return match_points(given, truth[["centroid_z_nm", "centroid_y_nm", "centroid_x_nm"]].to_numpy(float), tolerance_nm)


def merged_truth(nodes: pd.DataFrame, edges: pd.DataFrame, merge_px: float) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The true graph of one frame as a picture can show it: edges below `merge_px` (tubule width + 2) contracted.

    Returns nodes (node_id, y_px, x_px, degree) at the mean place of what was merged, and the edges that are left with
    their new ends. A loop counts twice in a degree.
    """
    if len(nodes) and nodes["frame"].nunique() > 1:
        raise ValueError("the tables hold several frames: select one frame before merging")
    names = nodes["node_id"].to_numpy()
    parent = {int(n): int(n) for n in names}

    def root(n: int) -> int:
        while parent[n] != n:
            parent[n] = parent[parent[n]]
            n = parent[n]
        return n

    short = edges["length_px"].to_numpy(float) < merge_px
    for a, b in edges.loc[short, ["node_a", "node_b"]].to_numpy():
        parent[root(int(a))] = root(int(b))
    heads = np.array([root(int(n)) for n in names], dtype=np.int64)
    left = edges.loc[~short].copy()
    left["node_a"] = [root(int(n)) for n in left["node_a"]]
    left["node_b"] = [root(int(n)) for n in left["node_b"]]
    merged = nodes.assign(node_id=heads).groupby("node_id", as_index=False)[["y_px", "x_px"]].mean()
    degree = pd.concat([left["node_a"], left["node_b"]]).value_counts()
    merged["degree"] = [int(degree.get(n, 0)) for n in merged["node_id"]]
    return merged, left.reset_index(drop=True)


def junction_f1(found_yx: ArrayLike, true_yx: ArrayLike, tolerance_px: float = 3.0) -> Agreement:
    """Match junctions (nodes of degree 3 or more; n, 2 in px) one-to-one within `tolerance_px`."""
    return match_points(
        np.asarray(found_yx, float).reshape(-1, 2), np.asarray(true_yx, float).reshape(-1, 2), tolerance_px
    )
