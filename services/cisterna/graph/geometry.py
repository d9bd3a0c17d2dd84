"""Curves through pixels: smoothing, length, and where the branches of a junction meet."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cisterna.compiled import compiled
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
        return chain_lengths(self.points, self.start, np.asarray(spacing, np.float64))

    def path(self, edge: int) -> Floats:
        """Points (n, d) of one curve."""
        return self.points[self.start[edge] : self.start[edge + 1]]


def curves(chains: Chains, coords: Ints, positions: Floats) -> Curves:
    """Chains as smooth curves from node position to node position.

    `positions` (nodes, d) are sub-pixel places of the nodes, in pixels. A node may lie off the thinned line, which ends
    in the corner between two tubules: pixels nearer to the line's end than the node is give way to the straight line.
    """
    points = smoothed_points(chains.pixels, chains.start, chains.ends, coords, positions)
    return Curves(points, chains.start)


@compiled
def chain_lengths(points: Floats, start: Ints, spacing: Floats) -> Floats:
    length = np.zeros(len(start) - 1)
    for k in range(len(length)):
        for i in range(start[k], start[k + 1] - 1):
            square = 0.0
            for a in range(len(spacing)):
                square += ((points[i + 1, a] - points[i, a]) * spacing[a]) ** 2
            length[k] += np.sqrt(square)
    return length


@compiled
def smoothed_points(pixels: Ints, start: Ints, ends: Ints, coords: Ints, positions: Floats) -> Floats:
    axes = coords.shape[1]
    points = np.empty((len(pixels), axes))
    for i in range(len(pixels)):
        for a in range(axes):
            points[i, a] = coords[pixels[i], a]
    for k in range(len(ends)):
        first, last = start[k], start[k + 1] - 1
        _straighten(points, first, last, 1, positions[ends[k, 0]])
        _straighten(points, last, first, -1, positions[ends[k, 1]])
        for a in range(axes):
            points[first, a] = positions[ends[k, 0], a]
            points[last, a] = positions[ends[k, 1], a]
        for _ in range(SMOOTHING_ROUNDS):
            for a in range(axes):
                before = points[first, a]
                for i in range(first + 1, last):
                    here = points[i, a]
                    points[i, a] = 0.5 * here + 0.25 * (before + points[i + 1, a])
                    before = here
    return points


@compiled
def _straighten(points: Floats, end: int, other: int, step: int, place: Floats) -> None:
    """Lets the pixels within the node's shift from the line's end lie on the straight line from there to the node."""
    square = 0.0
    for a in range(len(place)):
        square += (points[end, a] - place[a]) ** 2
    count = min(int(np.ceil(np.sqrt(square))), (other - end) * step // 2)
    if count < 2:
        return
    anchor = end + step * count
    for k in range(1, count):
        for a in range(len(place)):
            points[end + step * k, a] = place[a] + (points[anchor, a] - place[a]) * k / count


def mean_over_chains(values: NDArray[np.float64], chains: Chains) -> Floats:
    """Mean of a per-pixel value over each chain, its two end pixels left out where others exist."""
    return chain_means(values, chains.pixels, chains.start)


@compiled
def chain_means(values: Floats, pixels: Ints, start: Ints) -> Floats:
    mean = np.empty(len(start) - 1)
    for k in range(len(mean)):
        first, end = start[k], start[k + 1]
        if end - first > 2:
            first, end = first + 1, end - 1
        total = 0.0
        for i in range(first, end):
            total += values[pixels[i]]
        mean[k] = total / max(end - first, 1)
    return mean


def node_centres(found: Chains, coords: Ints) -> Floats:
    """Mean pixel of every node, (nodes, d)."""
    return node_means(found.node_of, found.nodes, coords)


@compiled
def node_means(node_of: Ints, nodes: int, coords: Ints) -> Floats:
    centre = np.zeros((nodes, coords.shape[1]))
    count = np.zeros(nodes)
    for i in range(len(node_of)):
        node = node_of[i]
        if node >= 0:
            count[node] += 1
            for a in range(coords.shape[1]):
                centre[node, a] += coords[i, a]
    for node in range(nodes):
        for a in range(coords.shape[1]):
            centre[node, a] /= max(count[node], 1)
    return centre
