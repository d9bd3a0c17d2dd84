"""Removing what thinning invents: short free ends, and stars inside blobs."""

from __future__ import annotations

import numpy as np

from cisterna.compiled import compiled
from cisterna.graph.geometry import chain_lengths, chain_means, node_means, smoothed_points
from cisterna.graph.parameters import TracingParameters
from cisterna.graph.skeleton import Bools, Chains, Floats, Ints, PixelGraph, chains, root_of, without_pixels

_MAX_ROUNDS = 20
# A blob's skeleton is a cross at most; a larger tree of short branches is a network.
_MAX_BLOB_EDGES = 5


def prune(
    pixels: PixelGraph,
    shape: tuple[int, ...],
    width: Floats,
    radius: Floats,
    relative_spacing: Floats,
    parameters: TracingParameters,
) -> tuple[PixelGraph, Floats, Floats, Chains]:
    """Removes free ends shorter than `spur_widths` tubule widths, shortest first, round by round.

    In each round a junction keeps at least two branches, so a tubule never disappears together with its side
    branches. The length of an end that reaches the frame's border runs beyond it. A component that is a tree of short
    branches only is a blob: its widest pixel stays, an isolated node. Returns the remaining pixels, their widths and
    radii, and their chains.
    """
    found = chains(pixels)
    size = np.array(shape, np.int64)
    for _ in range(_MAX_ROUNDS):
        gone, again = _spur_pixels(
            found.node_of,
            found.nodes,
            found.ends,
            found.pixels,
            found.start,
            pixels.coords,
            size,
            width,
            radius,
            relative_spacing,
            float(parameters.spur_widths),
        )
        if not gone.any():
            break
        keep = ~gone
        pixels = without_pixels(pixels, gone)
        width, radius = width[keep], radius[keep]
        found = chains(pixels)
        if not again:
            break
    return pixels, width, radius, found


def node_width(found: Chains, edge_width: Floats, length: Floats) -> Floats:
    """Local tubule width at each node: mean over its edges, weighted by length, so that long tubules speak."""
    return _node_width(found.ends, found.nodes, edge_width, length)


@compiled
def _node_width(ends: Ints, nodes: int, edge_width: Floats, length: Floats) -> Floats:
    total = np.zeros(nodes)
    weight = np.zeros(nodes)
    for k in range(len(ends)):
        for side in range(2):
            share = max(length[k], 1e-6)
            total[ends[k, side]] += share * edge_width[k]
            weight[ends[k, side]] += share
    return total / np.maximum(weight, 1e-12)


@compiled
def _spur_pixels(
    node_of: Ints,
    nodes: int,
    ends: Ints,
    pixels: Ints,
    start: Ints,
    coords: Ints,
    shape: Ints,
    width: Floats,
    radius: Floats,
    spacing: Floats,
    spur_widths: float,
) -> tuple[Bools, bool]:
    """Pixels that go in one round, and whether what is left may hold new free ends."""
    gone = np.zeros(len(coords), np.bool_)
    edges = len(ends)
    points = smoothed_points(pixels, start, ends, coords, node_means(node_of, nodes, coords))
    length = chain_lengths(points, start, spacing)
    at_node = _node_width(ends, nodes, chain_means(width, pixels, start), length)
    # In a blob the ball around the junction is larger than any tubule: a branch counts beyond that ball only.
    reach = at_node.copy()
    for i in range(len(node_of)):
        if node_of[i] >= 0:
            reach[node_of[i]] = max(reach[node_of[i]], radius[i])
    degree = np.zeros(nodes, np.int64)
    parent = np.arange(nodes)
    for k in range(edges):
        degree[ends[k, 0]] += 1
        degree[ends[k, 1]] += 1
        a, b = root_of(parent, ends[k, 0]), root_of(parent, ends[k, 1])
        parent[max(a, b)] = min(a, b)
    short = np.zeros(edges, np.bool_)
    long_edges = np.zeros(nodes, np.int64)
    edges_of = np.zeros(nodes, np.int64)
    nodes_of = np.zeros(nodes, np.int64)
    for node in range(nodes):
        nodes_of[root_of(parent, node)] += 1
    some = False
    for k in range(edges):
        whole = length[k]
        tips = 0
        for side in range(2):
            if degree[ends[k, side]] == 1:
                tips += 1
                at = pixels[start[k]] if side == 0 else pixels[start[k + 1] - 1]
                whole += _missing_to_border(coords[at], shape, radius[at], spacing, length[k])
        short[k] = whole < spur_widths * max(reach[ends[k, 0]], reach[ends[k, 1]])
        length[k] = whole
        some |= short[k] and tips > 0
        part = root_of(parent, ends[k, 0])
        edges_of[part] += 1
        if not short[k]:
            long_edges[part] += 1
    if not some:
        return gone, False
    blobs = False
    for part in range(nodes):
        blobs |= _is_blob(part, long_edges, edges_of, nodes_of)
    candidates = np.flatnonzero(short)
    tips_at = np.zeros(nodes, np.int64)
    for k in range(edges):
        if (degree[ends[k, 0]] == 1) != (degree[ends[k, 1]] == 1):
            tips_at[ends[k, 1] if degree[ends[k, 0]] == 1 else ends[k, 0]] += 1
    again = False
    removed = np.zeros(nodes, np.int64)
    for k in candidates[np.argsort(length[candidates], kind="mergesort")]:
        part = root_of(parent, ends[k, 0])
        tip_a, tip_b = degree[ends[k, 0]] == 1, degree[ends[k, 1]] == 1
        if tip_a == tip_b or _is_blob(part, long_edges, edges_of, nodes_of):
            continue
        base = ends[k, 1] if tip_a else ends[k, 0]
        # A junction that keeps another free end may pass it on, longer, to the next round.
        again |= tips_at[base] > 1
        if removed[base] >= degree[base] - 2:
            continue
        removed[base] += 1
        gone[pixels[start[k]] if tip_a else pixels[start[k + 1] - 1]] = True
        for i in range(start[k], start[k + 1]):
            if node_of[pixels[i]] < 0:
                gone[pixels[i]] = True
    if not blobs:
        return gone, again
    widest = np.full(nodes, -1, np.int64)
    part_of = np.full(len(coords), -1, np.int64)
    for i in range(len(coords)):
        if node_of[i] >= 0:
            part_of[i] = root_of(parent, node_of[i])
    for k in range(edges):
        for i in range(start[k], start[k + 1]):
            part_of[pixels[i]] = root_of(parent, ends[k, 0])
    for i in range(len(coords)):
        part = part_of[i]
        if part >= 0 and _is_blob(part, long_edges, edges_of, nodes_of):
            if widest[part] < 0 or radius[i] > radius[widest[part]]:
                widest[part] = i
            gone[i] = True
    for part in range(nodes):
        if widest[part] >= 0:
            gone[widest[part]] = False
    return gone, again


@compiled
def _is_blob(part: int, long_edges: Ints, edges_of: Ints, nodes_of: Ints) -> bool:
    """A component that is a small tree of short edges."""
    few = 0 < edges_of[part] <= _MAX_BLOB_EDGES
    return bool(few and long_edges[part] == 0 and edges_of[part] == nodes_of[part] - 1)


@compiled
def _missing_to_border(place: Ints, shape: Ints, radius: float, spacing: Floats, length: float) -> float:
    """What a branch that leaves the frame lacks: the way from its last pixel to the border, and the round end of half a
    width that the frame cut off. 0 where the mask does not reach the border; no round end within a single ball."""
    gap = np.inf
    for a in range(len(shape)):
        gap = min(gap, min(place[a], shape[a] - 1 - place[a]) * spacing[a])
    if gap > radius:
        return 0.0
    return gap + radius if length > radius else gap
