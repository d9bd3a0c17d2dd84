"""Skeletons as graphs of pixels, in 2-D and 3-D: neighbour pairs, chains, widths.

Everything here works on flat arrays in compiled loops, the same in both.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from cisterna.compiled import compiled

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
    # Where the pixels stand in the skeleton padded by one pixel and laid flat, and the shape of that.
    flat: Ints
    padded_shape: tuple[int, ...]

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
    coords = _unravel(flat, np.array(padded.shape, np.int64))
    return PixelGraph(coords, _pairs(padded, flat), flat, padded.shape)


def without_pixels(graph: PixelGraph, gone: Bools) -> PixelGraph:
    """The graph of the pixels that are left. Pixels that one between them kept apart may now touch."""
    left = np.zeros(graph.padded_shape, bool)
    flat = graph.flat[~gone]
    left.ravel()[flat] = True
    return PixelGraph(graph.coords[~gone], _pairs(left, flat), flat, graph.padded_shape)


def _pairs(padded: Bools, flat: Ints) -> Ints:
    return _touching_pairs(padded.ravel(), flat, *_forward_steps(padded.ndim, np.array(padded.strides, np.int64)))


def _forward_steps(ndim: int, strides: Ints) -> tuple[Ints, Ints, Ints]:
    """Steps to the neighbours that come later in raster order; for each the places that make it redundant, and their
    number."""
    steps, between = [], []
    for offset in itertools.product((-1, 0, 1), repeat=ndim):
        if offset <= (0,) * ndim:
            continue
        axes = [a for a, step in enumerate(offset) if step]
        steps.append(int(np.dot(offset, strides)))
        some = [c for size in range(1, len(axes)) for c in itertools.combinations(axes, size)]
        between.append([sum(offset[a] * int(strides[a]) for a in c) for c in some])
    padded = [places + [0] * (6 - len(places)) for places in between]
    return np.array(steps, np.int64), np.array(padded, np.int64), np.array([len(p) for p in between], np.int64)


@compiled
def _touching_pairs(on: Bools, flat: Ints, steps: Ints, between: Ints, places: Ints) -> Ints:
    index = np.empty(len(on), np.int32)
    for i in range(len(flat)):
        index[flat[i]] = i
    pairs = np.empty((2 * len(flat) + 16, 2), np.int64)
    count = 0
    for k in range(len(steps)):
        for i in range(len(flat)):
            p = flat[i]
            if not on[p + steps[k]]:
                continue
            direct = True
            for m in range(places[k]):
                direct &= not on[p + between[k, m]]
            if direct:
                if count == len(pairs):
                    pairs = np.concatenate((pairs, np.empty_like(pairs)))
                pairs[count, 0] = i
                pairs[count, 1] = index[p + steps[k]]
                count += 1
    return pairs[:count]


@compiled
def _unravel(flat: Ints, padded_shape: Ints) -> Ints:
    coords = np.empty((len(flat), len(padded_shape)), np.int64)
    for i in range(len(flat)):
        rest = flat[i]
        for axis in range(len(padded_shape) - 1, -1, -1):
            coords[i, axis] = rest % padded_shape[axis] - 1
            rest //= padded_shape[axis]
    return coords


def chains(graph: PixelGraph, absorbed: Bools | None = None) -> Chains:
    """Splits a skeleton into nodes (junction clusters, tips, isolated pixels, one pixel of each ring) and chains.

    `absorbed` marks pixels that belong to a junction although they look like tubule: pixels of merged edges. Nodes are
    numbered by their first pixel, chains by where they begin.
    """
    n = len(graph.coords)
    return Chains(*_chains(n, graph.pairs, np.zeros(n, bool) if absorbed is None else absorbed))


@compiled
def neighbour_lists(count: int, pairs: Ints) -> tuple[Ints, Ints]:
    """Neighbours of item i: `beside[start[i]:start[i + 1]]`."""
    start = np.zeros(count + 1, np.int64)
    for k in range(len(pairs)):
        start[pairs[k, 0] + 1] += 1
        start[pairs[k, 1] + 1] += 1
    for i in range(count):
        start[i + 1] += start[i]
    fill = start[:-1].copy()
    beside = np.empty(2 * len(pairs), np.int64)
    for k in range(len(pairs)):
        a, b = pairs[k, 0], pairs[k, 1]
        beside[fill[a]] = b
        fill[a] += 1
        beside[fill[b]] = a
        fill[b] += 1
    return start, beside


@compiled
def root_of(parent: Ints, i: int) -> int:
    while parent[i] != i:
        parent[i] = parent[parent[i]]
        i = parent[i]
    return i


@compiled
def _chains(n: int, pairs: Ints, absorbed: Bools) -> tuple[Ints, int, Ints, Ints, Ints]:
    start, beside = neighbour_lists(n, pairs)
    joint = np.empty(n, np.bool_)
    node = np.empty(n, np.bool_)
    for i in range(n):
        degree = start[i + 1] - start[i]
        joint[i] = absorbed[i] or degree >= 3
        node[i] = joint[i] or degree < 2
    # The first pixel of a cluster of joined junction pixels stands for it.
    parent = np.arange(n)
    for k in range(len(pairs)):
        a, b = pairs[k, 0], pairs[k, 1]
        if joint[a] and joint[b]:
            a, b = root_of(parent, a), root_of(parent, b)
            parent[max(a, b)] = min(a, b)
    walked = np.zeros(len(beside), np.bool_)
    seen = node.copy()
    pixels = np.empty(n + 2 * len(pairs) + 2, np.int64)
    begin = np.zeros(len(pairs) + 1, np.int64)
    ends = np.empty((len(pairs), 2), np.int64)
    used = 0
    edges = 0
    for rings in (False, True):
        for i in range(n):
            if rings:
                # What no chain has passed is an isolated ring: its first pixel becomes the node.
                if seen[i]:
                    continue
                node[i] = True
                seen[i] = True
            elif not node[i]:
                continue
            for h in range(start[i], start[i + 1]):
                if walked[h] or (joint[i] and joint[beside[h]]):
                    continue
                pixels[used] = i
                used += 1
                last, here = i, beside[h]
                walked[h] = True
                while not node[here]:
                    seen[here] = True
                    pixels[used] = here
                    used += 1
                    first = beside[start[here]]
                    ahead = beside[start[here] + 1] if first == last else first
                    last, here = here, ahead
                pixels[used] = here
                used += 1
                # The same chain is not walked back. A ring's node meets itself by its other neighbour.
                for back in range(start[here], start[here + 1]):
                    if beside[back] == last and not walked[back]:
                        walked[back] = True
                        break
                ends[edges, 0], ends[edges, 1] = root_of(parent, i), root_of(parent, here)
                edges += 1
                begin[edges] = used
    name = np.full(n, -1, np.int64)
    node_of = np.full(n, -1, np.int64)
    nodes = 0
    for i in range(n):
        if node[i]:
            root = root_of(parent, i)
            if name[root] < 0:
                name[root] = nodes
                nodes += 1
            node_of[i] = name[root]
    for k in range(edges):
        ends[k, 0], ends[k, 1] = name[ends[k, 0]], name[ends[k, 1]]
    return node_of, nodes, ends[:edges].copy(), pixels[:used].copy(), begin[: edges + 1].copy()


def distance_inside(mask: Bools, relative_spacing: Floats) -> NDArray[np.float32]:
    """Distance of each mask pixel to the nearest pixel outside, in units of the finest spacing, padded by one pixel.

    The frame's border is not an edge of the mask: the mask goes on outside as it stands at the border. A mask without
    any outside has half the frame's diagonal everywhere. Exact: axis by axis (Saito & Toriwaki 1994); the search along
    an axis ends at the distance found so far, which in a network of thin tubules is a few pixels.
    """
    padded = np.pad(mask, 1, mode="edge") if mask.size else np.ones(np.add(mask.shape, 2), bool)
    diagonal = float(np.linalg.norm(np.array(mask.shape) * relative_spacing)) / 2
    rows = padded.reshape(-1, padded.shape[-1])
    runs = _runs(rows)
    squared = _squared_along_rows(runs, rows.shape[0], rows.shape[1], float(relative_spacing[-1]))
    for axis in range(padded.ndim - 2, -1, -1):
        # Rows of one line along this axis lie this many rows apart.
        apart = int(np.prod(padded.shape[axis + 1 : -1]))
        squared = _squared_along(squared, runs, padded.shape[axis], apart, float(relative_spacing[axis]))
    _take_roots(squared, runs, diagonal)
    return squared.reshape(padded.shape)


_FAR = np.float32(1e12)


@compiled
def _runs(rows: Bools) -> Ints:
    """Runs of set pixels: row, first, end."""
    height, width = rows.shape
    runs = np.empty((1024, 3), np.int64)
    count = 0
    for y in range(height):
        row = rows[y]
        before = False
        for x in range(width):
            here = row[x]
            if here == before:
                continue
            before = here
            if not here:
                runs[count - 1, 2] = x
                continue
            if count == len(runs):
                runs = np.concatenate((runs, np.empty_like(runs)))
            runs[count, 0], runs[count, 1], runs[count, 2] = y, x, width
            count += 1
    return runs[:count]


@compiled
def _squared_along_rows(runs: Ints, rows: int, size: int, spacing: float) -> NDArray[np.float32]:
    squared = np.zeros((rows, size), np.float32)
    for k in range(len(runs)):
        y, first, end = runs[k, 0], runs[k, 1], runs[k, 2]
        for x in range(first, end):
            steps = size
            if first > 0:
                steps = x - first + 1
            if end < size:
                steps = min(steps, end - x)
            squared[y, x] = _FAR if steps == size else np.float32((steps * spacing) ** 2)
    return squared


@compiled
def _squared_along(
    squared: NDArray[np.float32], runs: Ints, size: int, apart: int, spacing: float
) -> NDArray[np.float32]:
    found = np.zeros_like(squared)
    steps = np.empty(size + 1, np.float32)
    for k in range(size + 1):
        steps[k] = (k * spacing) ** 2
    for r in range(len(runs)):
        row = runs[r, 0]
        place = row // apart % size
        for x in range(runs[r, 1], runs[r, 2]):
            best = squared[row, x]
            for k in range(1, max(place, size - 1 - place) + 1):
                step = steps[k]
                if step >= best:
                    break
                if place >= k:
                    best = min(best, squared[row - k * apart, x] + step)
                if place + k < size:
                    best = min(best, squared[row + k * apart, x] + step)
            found[row, x] = best
    return found


@compiled
def _take_roots(squared: NDArray[np.float32], runs: Ints, instead_of_far: float) -> None:
    for r in range(len(runs)):
        row = runs[r, 0]
        for x in range(runs[r, 1], runs[r, 2]):
            value = squared[row, x]
            squared[row, x] = instead_of_far if value >= _FAR else np.sqrt(value)


def width_at(distance: NDArray[np.float32], coords: Ints) -> tuple[Floats, Floats]:
    """Width of the mask at given pixels, and the radius of the largest ball there, in units of the finest spacing.

    `distance` is that of `distance_inside`. It is averaged over the pixel and its neighbours: the maximum alone
    cannot tell a width of 3 from 4 pixels.
    """
    strides = np.array(distance.strides, np.int64) // distance.itemsize
    around = np.array(list(itertools.product((-1, 0, 1), repeat=distance.ndim))) @ strides
    mean, radius = _means_around(distance.ravel(), (coords + 1) @ strides, around)
    return _width_from_mean(mean, distance.ndim), radius


@compiled
def _means_around(distance: NDArray[np.float32], flat: Ints, around: Ints) -> tuple[Floats, Floats]:
    mean = np.zeros(len(flat))
    radius = np.empty(len(flat))
    for i in range(len(flat)):
        for step in around:
            mean[i] += distance[flat[i] + step]
        radius[i] = distance[flat[i]]
    return mean / len(around), radius


def _width_from_mean(mean_distance: Floats, ndim: int) -> Floats:
    # Calibrated on drawn tubules 2–9 pixels wide at all angles (tests/graph/test_width.py).
    return np.maximum(2 * mean_distance + (0.5 if ndim == 2 else 1.6), 1.0)
