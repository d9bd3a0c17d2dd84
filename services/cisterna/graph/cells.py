"""The part of a network that lies in one cell."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cisterna.graph.skeleton import Bools, Floats, Ints


@dataclass(frozen=True)
class Inside:
    """Nodes and edges of a part: its own nodes first, then one `border` end for each edge that leaves it.

    `nodes` counts both, `own` (n,) are the old numbers of the own ones; `edges` (k,) the old numbers of the edges,
    `ends` (k, 2) their ends in new numbers; `leaves` (k,) says which edges leave the part.
    """

    nodes: int
    own: Ints
    edges: Ints
    ends: Ints
    leaves: Bools


def inside(member: Bools, ends: Ints) -> Inside:
    """The part of a graph on the nodes `member` (n,), edges to other nodes cut off where they leave it."""
    own = np.flatnonzero(member)
    name = np.full(len(member), -1, np.int64)
    name[own] = np.arange(len(own))
    here = name[ends].reshape(-1, 2)
    edges = np.flatnonzero((here >= 0).any(axis=1))
    cut = here[edges].copy()
    outside = cut < 0
    cut[outside] = len(own) + np.arange(int(outside.sum()))
    return Inside(len(own) + int(outside.sum()), own, edges, cut, np.asarray(outside.any(axis=1)))


def label_at(labels: np.ndarray, points: Floats) -> Ints:
    """The label under each point (n, 2), pixels."""
    at = np.clip(np.rint(points).astype(np.int64), 0, np.array(labels.shape) - 1)
    return np.asarray(labels[tuple(at.T)], np.int64)


def share_inside(point_label: Ints, start: Ints, edges: Ints, cell: int) -> Floats:
    """Share of the points of some curves that lie in a cell."""
    total = np.concatenate([[0], np.cumsum(point_label == cell)])
    return np.asarray((total[start[edges + 1]] - total[start[edges]]) / np.maximum(np.diff(start)[edges], 1))
