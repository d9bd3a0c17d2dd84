"""Curves through pixels: smoothing, length, and where the branches of a junction meet."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cisterna.graph.skeleton import Chains, Floats, Ints

# Rounds of the (1, 2, 1)/4 filter: a standard deviation of 1.4 pixels, enough to remove the staircase of a
# thinned line and little enough to keep the bends of a tubule.
SMOOTHING_ROUNDS = 4


@dataclass(frozen=True)
class Curves:
    """Polylines of all edges in one array: edge k is `points[start[k]:start[k + 1]]`, in pixels, axis order z,y,x."""

    points: Floats
    start: Ints

    def lengths(self, spacing: Floats) -> Floats:
        """Length of every curve; `spacing` is the pixel size per axis."""
        if len(self.start) < 2:
            return np.zeros(0)
        steps = np.linalg.norm(np.diff(self.points, axis=0) * spacing, axis=1)
        along = np.concatenate([[0.0], np.cumsum(steps)])
        # The step from the last point of one curve to the first of the next lies outside both sums.
        return np.asarray(along[self.start[1:] - 1] - along[self.start[:-1]])

    def path(self, edge: int) -> Floats:
        """Points (n, d) of one curve."""
        return self.points[self.start[edge] : self.start[edge + 1]]


def curves(chains: Chains, coords: Ints, positions: Floats) -> Curves:
    """Chains as smooth curves from node position to node position.

    `positions` (nodes, d) are sub-pixel places of the nodes, in pixels.
    """
    points = coords[chains.pixels].astype(np.float64)
    if len(points) == 0:
        return Curves(points.reshape(0, coords.shape[1]), chains.start)
    first, last = chains.start[:-1], chains.start[1:] - 1
    begins, ends = positions[chains.ends[:, 0]], positions[chains.ends[:, 1]]
    for _ in range(SMOOTHING_ROUNDS):
        points[first], points[last] = begins, ends
        # Over all curves in one sweep; what this does to the ends is put right before and after.
        points[1:-1] = 0.5 * points[1:-1] + 0.25 * (points[:-2] + points[2:])
    points[first], points[last] = begins, ends
    return Curves(points, chains.start)


def mean_over_chains(values: NDArray[np.float64], chains: Chains) -> Floats:
    """Mean of a per-pixel value over each chain, its two end pixels left out where others exist."""
    taken = values[chains.pixels]
    first, last = chains.start[:-1], chains.start[1:] - 1
    weight = np.ones(len(taken))
    longer = (last - first) >= 2
    weight[first[longer]] = 0
    weight[last[longer]] = 0
    chain_of = chains.chain_of
    count = len(chains.ends)
    total = np.bincount(chain_of, weights=taken * weight, minlength=count)
    return np.asarray(total / np.maximum(np.bincount(chain_of, weights=weight, minlength=count), 1))


def node_centres(found: Chains, coords: NDArray[np.generic]) -> Floats:
    """Mean pixel of every node, (nodes, d)."""
    member = found.node_of >= 0
    node = found.node_of[member]
    count = np.maximum(np.bincount(node, minlength=found.nodes), 1)
    axes = [np.bincount(node, weights=coords[member, a], minlength=found.nodes) / count for a in range(coords.shape[1])]
    return np.stack(axes, axis=1)
