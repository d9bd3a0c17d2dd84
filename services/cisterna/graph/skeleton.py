"""Skeletons as graphs of pixels, in 2-D and 3-D: neighbour pairs, chains, widths.

Everything here works on flat arrays; no Python loop runs over pixels.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class PixelGraph:
    """Skeleton pixels (n, d) in raster order and the pairs (m, 2) of them that touch.

    A diagonal pair is left out where a step along the axes joins the same two pixels, so a pixel's number of
    pairs is the number of branches that meet there.
    """

    coords: Ints
    pairs: Ints

    @property
    def degree(self) -> Ints:
        return np.bincount(self.pairs.ravel(), minlength=len(self.coords)).astype(np.int64)


@dataclass(frozen=True)
class Chains:
    """The graph of a skeleton: which node each pixel belongs to, and the pixel chains between nodes.

    `node_of` (n,) is -1 on chain pixels. Chain k runs through `pixels[start[k]:start[k + 1]]`, whose first and last
    entries are pixels of the nodes `ends[k]`.
    """

    node_of: Ints
    nodes: int
    ends: Ints
    pixels: Ints
    start: Ints

    @property
    def chain_of(self) -> Ints:
        """For each entry of `pixels` its chain."""
        return np.repeat(np.arange(len(self.ends)), np.diff(self.start))


def groups(pairs: Ints, count: int) -> tuple[int, Ints]:
    """Connected components of an undirected graph given as index pairs."""
    matrix = coo_array((np.ones(len(pairs), np.int8), (pairs[:, 0], pairs[:, 1])), shape=(count, count))
    number, labels = connected_components(matrix, directed=False)
    return int(number), labels.astype(np.int64)


def pixel_graph(skeleton: Bools) -> PixelGraph:
    """Pairs of touching pixels without redundant diagonals (see `PixelGraph`)."""
    padded = np.pad(skeleton, 1)
    flat = np.flatnonzero(padded)
    strides = np.array([int(np.prod(padded.shape[a + 1 :])) for a in range(padded.ndim)], np.int64)
    on = padded.ravel()
    index = np.full(padded.size, -1, np.int64)
    index[flat] = np.arange(len(flat))
    found = []
    for offset in itertools.product((-1, 0, 1), repeat=padded.ndim):
        if offset <= (0,) * padded.ndim:
            continue
        here = np.flatnonzero(on[flat + int(np.dot(offset, strides))])
        axes = [a for a, step in enumerate(offset) if step]
        for size in range(1, len(axes)):
            for some in itertools.combinations(axes, size):
                between = sum(offset[a] * int(strides[a]) for a in some)
                here = here[~on[flat[here] + between]]
        found.append(np.stack([here, index[flat[here] + int(np.dot(offset, strides))]], axis=1))
    pairs = np.concatenate(found) if found else np.zeros((0, 2), np.int64)
    coords = np.stack(np.unravel_index(flat, padded.shape), axis=1).astype(np.int64) - 1
    return PixelGraph(coords, pairs.astype(np.int64))


def chains(graph: PixelGraph, absorbed: Bools | None = None) -> Chains:
    """Splits a skeleton into nodes (junction clusters, tips, isolated pixels, one pixel of each ring) and chains.

    `absorbed` marks pixels that belong to a junction although they look like tubule: pixels of merged edges.
    """
    n = len(graph.coords)
    degree = graph.degree
    joint = degree >= 3
    if absorbed is not None:
        joint = joint | absorbed
    node = joint | (degree < 2)
    # A component without any node is an isolated ring: its first pixel becomes the node.
    parts, part_of = groups(graph.pairs, n)
    empty = np.bincount(part_of, weights=node, minlength=parts) == 0
    if empty.any():
        first = np.full(parts, n, np.int64)
        np.minimum.at(first, part_of, np.arange(n))
        node[first[empty]] = True
    inside = joint[graph.pairs].all(axis=1) if len(graph.pairs) else np.zeros(0, bool)
    _, cluster = groups(graph.pairs[inside], n)
    node_of = np.full(n, -1, np.int64)
    names, inverse = np.unique(cluster[node], return_inverse=True)
    node_of[node] = inverse
    ends, pixels, start = _follow(graph.pairs[~inside], node, node_of)
    return Chains(node_of, len(names), ends, pixels, start)


def _follow(pairs: Ints, node: Bools, node_of: Ints) -> tuple[Ints, Ints, Ints]:
    """Orders the pixels of every chain at once, by pointer doubling over directed steps.

    Step h leads from source[h] to target[h]; h ^ 1 is the way back. At a chain pixel a step has one successor; at
    a node it ends.
    """
    source = pairs.ravel()
    target = pairs[:, ::-1].ravel()
    steps = len(source)
    if steps == 0:
        return np.zeros((0, 2), np.int64), np.zeros(0, np.int64), np.zeros(1, np.int64)
    through = np.flatnonzero(~node[source])
    through = through[np.argsort(source[through], kind="stable")]
    out_a, out_b = through[0::2], through[1::2]
    following = np.arange(steps)
    following[out_a ^ 1] = out_b
    following[out_b ^ 1] = out_a
    last = following.copy()
    ahead = (last != np.arange(steps)).astype(np.int64)
    while True:
        further = last[last]
        if np.array_equal(further, last):
            break
        ahead += ahead[last]
        last = further
    begins = np.flatnonzero(node[source])
    begins = begins[begins < (last[begins] ^ 1)]
    count = ahead[begins] + 1
    chain_of_end = np.full(steps, -1, np.int64)
    chain_of_end[last[begins]] = np.arange(len(begins))
    member = np.flatnonzero(chain_of_end[last] >= 0)
    chain = chain_of_end[last[member]]
    start = np.concatenate([[0], np.cumsum(count + 1)])
    pixels = np.empty(int(start[-1]), np.int64)
    pixels[start[:-1]] = source[begins]
    pixels[start[chain + 1] - 1 - ahead[member]] = target[member]
    ends = np.stack([node_of[source[begins]], node_of[target[last[begins]]]], axis=1)
    return ends, pixels, start


def distance_inside(mask: Bools, relative_spacing: Floats) -> Floats:
    """Distance of each mask pixel to the nearest pixel outside, in units of the finest spacing, padded by one pixel.

    The frame's border is not an edge of the mask: the mask goes on outside as it stands at the border. A mask without
    any outside has half the frame's diagonal everywhere.
    """
    padded = np.pad(mask, 1, mode="edge") if mask.size else np.ones(np.add(mask.shape, 2), bool)
    if padded.all():
        return np.full(padded.shape, float(np.linalg.norm(np.array(mask.shape) * relative_spacing)) / 2)
    return np.asarray(ndimage.distance_transform_edt(padded, sampling=relative_spacing))


def width_at(distance: Floats, coords: Ints) -> tuple[Floats, Floats]:
    """Width of the mask at given pixels, and the radius of the largest ball there, in units of the finest spacing.

    `distance` is that of `distance_inside`. It is averaged over the pixel and its neighbours: the maximum alone
    cannot tell a width of 3 from 4 pixels.
    """
    around = np.zeros(len(coords))
    offsets = list(itertools.product((-1, 0, 1), repeat=distance.ndim))
    for offset in offsets:
        around += distance[tuple((coords + 1 + np.array(offset)).T)]
    return _width_from_mean(around / len(offsets), distance.ndim), np.asarray(distance[tuple((coords + 1).T)])


def _width_from_mean(mean_distance: Floats, ndim: int) -> Floats:
    # Calibrated on drawn tubules 2–9 pixels wide at all angles (tests/graph/test_width.py).
    return np.maximum(2 * mean_distance + (0.5 if ndim == 2 else 1.6), 1.0)
