"""Junctions closer than a tubule is wide are one junction; nodes where nothing meets are none."""

from __future__ import annotations

import numpy as np

from cisterna.graph.geometry import curves, mean_over_chains, node_centres
from cisterna.graph.parameters import TracingParameters
from cisterna.graph.pruning import node_width
from cisterna.graph.skeleton import Bools, Chains, Floats, Ints, PixelGraph


def merged_pixels(
    found: Chains, pixels: PixelGraph, width: Floats, relative_spacing: Floats, parameters: TracingParameters
) -> Bools:
    """Pixels of edges between junctions that are too short to be seen as edges.

    An edge is too short when its length along the curve is at most `merge_widths` local widths plus `merge_pixels`, a
    loop when it is at most `loop_widths` widths. All such edges are taken at once, so a chain of close junctions
    becomes one.
    """
    absorbed = np.zeros(len(pixels.coords), bool)
    if len(found.ends) == 0:
        return absorbed
    length = curves(found, pixels.coords, node_centres(found, pixels.coords)).lengths(relative_spacing)
    at_node = node_width(found, mean_over_chains(width, found), length)
    degree = np.bincount(found.ends.ravel(), minlength=found.nodes)
    junctions = (degree[found.ends] >= 3).all(axis=1)
    loop = found.ends[:, 0] == found.ends[:, 1]
    local = at_node[found.ends].mean(axis=1)
    limit = np.where(loop, parameters.loop_widths * local, parameters.merge_widths * local + parameters.merge_pixels)
    short = junctions & (length <= limit)
    absorbed[found.pixels[short[found.chain_of]]] = True
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
    touched = np.isin(found.ends, list(through)).any(axis=1)
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
    kept = np.flatnonzero(~touched).tolist()
    all_paths = [found.pixels[found.start[e] : found.start[e + 1]] for e in kept] + [paths[e] for e in sorted(paths)]
    all_ends = [tuple(found.ends[e].tolist()) for e in kept] + [ends[e] for e in sorted(ends)]
    name = np.full(found.nodes + 1, -1, np.int64)
    staying = np.setdiff1d(np.arange(found.nodes), list(removed))
    name[staying] = np.arange(len(staying))
    return Chains(
        node_of=name[found.node_of],
        nodes=len(staying),
        ends=name[np.array(all_ends, np.int64).reshape(-1, 2)],
        pixels=np.concatenate(all_paths) if all_paths else np.zeros(0, np.int64),
        start=np.concatenate([[0], np.cumsum([len(p) for p in all_paths])]).astype(np.int64),
    )
