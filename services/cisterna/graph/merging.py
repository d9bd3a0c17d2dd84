"""Junctions closer than a tubule is wide are one junction; nodes where nothing meets are none."""

from __future__ import annotations

import numpy as np

from cisterna.graph.geometry import curves
from cisterna.graph.parameters import TracingParameters
from cisterna.graph.skeleton import Bools, Chains, Floats, Ints, PixelGraph

# Between junctions closer than this (local widths) the thinned line wanders through corners: the straight line from
# place to place is nearer to the tubule's length.
STRAIGHT_WIDTHS = 4.0


def lengths_between(
    found: Chains, pixels: PixelGraph, placed: Floats, node_width: Floats, relative_spacing: Floats
) -> Floats:
    """Length of every chain from place to place, in units of the finest spacing.

    `placed` are the places of the nodes in pixels, `node_width` the local widths.
    """
    length = curves(found, pixels.coords, placed).lengths(relative_spacing)
    a, b = found.ends.T
    straight = np.linalg.norm((placed[a] - placed[b]) * relative_spacing, axis=1)
    close = (length < STRAIGHT_WIDTHS * (node_width[a] + node_width[b]) / 2) & (a != b)
    return np.where(close, straight, length)


def merged_pixels(found: Chains, length: Floats, node_width: Floats, parameters: TracingParameters) -> Bools:
    """Pixels of edges between junctions that are too short to be seen as edges.

    An edge is too short when its length is at most `merge_widths` local widths plus `merge_pixels`, a loop when it is
    at most `loop_widths` widths. All such edges are taken at once, so a chain of close junctions becomes one.
    """
    absorbed = np.zeros(len(found.node_of), bool)
    a, b = found.ends.T
    degree = np.bincount(found.ends.ravel(), minlength=found.nodes)
    junctions = (degree[a] >= 3) & (degree[b] >= 3)
    local = (node_width[a] + node_width[b]) / 2
    limit = np.where(a == b, parameters.loop_widths * local, parameters.merge_widths * local + parameters.merge_pixels)
    absorbed[found.pixels[(junctions & (length <= limit))[found.chain_of]]] = True
    return absorbed


def without_through_nodes(found: Chains) -> Chains:
    """Joins the two chains at every node of degree 2 that is not the one node of a ring.

    Such nodes appear where a small mesh was merged into a tubule. They are rare, so a plain loop does.
    """
    degree = np.bincount(found.ends.ravel(), minlength=found.nodes)
    loops = np.bincount(found.ends[found.ends[:, 0] == found.ends[:, 1], 0], minlength=found.nodes)
    through = set(np.flatnonzero((degree == 2) & (loops == 0)).tolist())
    if not through:
        return found
    paths: dict[int, Ints] = {}
    ends: dict[int, tuple[int, int]] = {}
    touching: dict[int, list[int]] = {}
    is_through = np.zeros(found.nodes, bool)
    is_through[list(through)] = True
    touched: Bools = np.asarray(is_through[found.ends].any(axis=1))
    for edge in np.flatnonzero(touched).tolist():
        a, b = found.ends[edge].tolist()
        paths[edge] = found.pixels[found.start[edge] : found.start[edge + 1]]
        ends[edge] = (a, b)
        for node in (a, b):
            if node in through:
                touching.setdefault(node, []).append(edge)
    removed = set()
    for node in sorted(through):
        first, second = touching[node]
        if first == second:
            continue  # both chains became one loop: the node of a ring
        removed.add(node)
        head = paths[first] if ends[first][1] == node else paths[first][::-1]
        tail = paths[second] if ends[second][0] == node else paths[second][::-1]
        a = ends[first][0] if ends[first][1] == node else ends[first][1]
        b = ends[second][1] if ends[second][0] == node else ends[second][0]
        paths[first] = np.concatenate([head, tail[1:] if tail[0] == head[-1] else tail])
        ends[first] = (a, b)
        del paths[second], ends[second]
        if b in touching:
            touching[b] = [first if e == second else e for e in touching[b]]
    joined = sorted(paths)
    sizes = np.concatenate([np.diff(found.start)[~touched], [len(paths[e]) for e in joined]]).astype(np.int64)
    name = np.full(found.nodes + 1, -1, np.int64)
    staying = np.setdiff1d(np.arange(found.nodes), list(removed))
    name[staying] = np.arange(len(staying))
    return Chains(
        node_of=name[found.node_of],
        nodes=len(staying),
        ends=name[np.concatenate([found.ends[~touched], np.array([ends[e] for e in joined], np.int64).reshape(-1, 2)])],
        pixels=np.concatenate([found.pixels[~touched[found.chain_of]], *(paths[e] for e in joined)]),
        start=np.concatenate([[0], np.cumsum(sizes)]),
    )
