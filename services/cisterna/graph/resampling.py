"""Intervals of a network's figures: what remains when tubules are there only as surely as the segmentation says.

Compiled by numba, which takes seconds once per machine; the compiled code is kept beside this file or in the user's
cache.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numba
import numpy as np

from cisterna.graph.skeleton import Floats, Ints

FIGURES = (
    "nodes",
    "edges",
    "density",
    "transitivity",
    "average_clustering",
    "degree_assortativity",
    "categorical_assortativity",
    "components",
    "largest_component_node_share",
    "largest_component_edge_share",
    "junctions",
    "multi_way_share",
    "total_length_um",
)
"""Figures that have intervals, in the order of the compiled results."""
SHARE_INSIDE = 0.95
LEAST_RESAMPLES = 200


def _compiled(function: Callable[..., Any]) -> Any:
    try:
        return numba.njit(cache=True)(function)
    except RuntimeError:  # nowhere to keep compiled code: compile in every process
        return numba.njit(function)


def intervals(
    nodes: int, ends: Ints, length_um: Floats, keep: Floats, resamples: int, seed: tuple[int, ...]
) -> dict[str, tuple[float, float]]:
    """Central 95 % of every figure over networks in which each edge is kept with probability `keep` (m,).

    Where edges go, the rules of tracing hold: nodes that lose all their tubules go, two tubules left at a node become
    one, isolated nodes that were there stay. Figures without a value in a resample are left out of its interval; an
    interval without values is NaN. Only what was found is put in doubt, never what was missed: counts can only fall,
    so their intervals lie below or at the figure. Equal arguments give equal intervals.
    """
    values = resampled(nodes, ends, length_um, kept_edges(keep, resamples, seed))
    low, high = 50 * (1 - SHARE_INSIDE), 50 * (1 + SHARE_INSIDE)
    found = {}
    for column, name in enumerate(FIGURES):
        known = values[:, column]
        known = known[~np.isnan(known)]
        bounds = np.percentile(known, (low, high)) if len(known) else (math.nan, math.nan)
        found[name] = (float(bounds[0]), float(bounds[1]))
    return found


def kept_edges(keep: Floats, resamples: int, seed: tuple[int, ...]) -> np.ndarray:
    """(resamples, m) bool: which edges each resample keeps."""
    rng = np.random.default_rng(seed)
    return rng.random((resamples, len(keep)), np.float32) < np.asarray(keep, np.float32)


def resampled(nodes: int, ends: Ints, length_um: Floats, kept: np.ndarray) -> Floats:
    """`FIGURES` (resamples, k) of the network with the edges of each row of `kept` alone."""
    out = np.full((len(kept), len(FIGURES)), np.nan)
    ends = np.ascontiguousarray(ends, np.int64).reshape(-1, 2)
    degree = np.bincount(ends.ravel(), minlength=nodes)
    begins = np.concatenate([[0], np.cumsum(degree)]).astype(np.int32)
    halves = np.argsort(ends.ravel(), kind="stable").astype(np.int32)
    length_um = np.ascontiguousarray(length_um, np.float64)
    _resample(nodes, ends.astype(np.int32), length_um, begins, halves, np.ascontiguousarray(kept), out)
    return out


@_compiled
def _root(parent: Any, node: int) -> int:
    while parent[node] != node:
        parent[node] = parent[parent[node]]
        node = parent[node]
    return node


@_compiled
def _resample(nodes: int, ends: Any, length: Any, begins: Any, halves: Any, kept: Any, out: Any) -> None:
    m = len(ends)
    degree = np.zeros(nodes, np.int32)
    through = np.zeros(nodes, np.bool_)
    there = np.zeros(nodes, np.bool_)
    used = np.zeros(m, np.bool_)
    new_a = np.empty(m, np.int32)
    new_b = np.empty(m, np.int32)
    parent = np.empty(nodes, np.int32)
    of_nodes = np.zeros(nodes, np.int32)
    of_edges = np.zeros(nodes, np.int32)
    fill = np.empty(nodes + 1, np.int32)
    beside = np.empty(2 * m, np.int32)
    plain = np.zeros(nodes, np.int32)
    for r in range(len(kept)):
        row = kept[r]
        degree[:] = 0
        through[:] = False
        used[:] = False
        total = 0.0
        for e in range(m):
            if row[e]:
                degree[ends[e, 0]] += 1
                degree[ends[e, 1]] += 1
                total += length[e]
        for v in range(nodes):
            through[v] = degree[v] == 2
            there[v] = degree[v] > 0 or begins[v + 1] == begins[v]
        for e in range(m):
            if row[e] and ends[e, 0] == ends[e, 1]:
                through[ends[e, 0]] = False
        # Chains of through nodes become one edge.
        count = 0
        for e in range(m):
            if not row[e] or used[e]:
                continue
            for side in range(2):
                if used[e] or through[ends[e, side]]:
                    continue
                used[e] = True
                edge, v = e, ends[e, 1 - side]
                while through[v]:
                    for k in range(begins[v], begins[v + 1]):
                        other = halves[k] >> 1
                        if row[other] and other != edge:
                            edge = other
                            v = ends[edge, 0] if ends[edge, 1] == v else ends[edge, 1]
                            break
                    used[edge] = True
                new_a[count] = ends[e, side]
                new_b[count] = v
                count += 1
        # What is left are rings of through nodes: one of them stays.
        for e in range(m):
            if row[e] and not used[e]:
                first = ends[e, 0]
                through[first] = False
                used[e] = True
                edge, v = e, ends[e, 1]
                while v != first:
                    for k in range(begins[v], begins[v + 1]):
                        other = halves[k] >> 1
                        if row[other] and other != edge:
                            edge = other
                            v = ends[edge, 0] if ends[edge, 1] == v else ends[edge, 1]
                            break
                    used[edge] = True
                new_a[count] = first
                new_b[count] = first
                count += 1
        size = 0
        junctions = 0
        multi = 0
        highest = 0
        for v in range(nodes):
            there[v] = there[v] and not through[v]
            if there[v]:
                size += 1
                junctions += degree[v] >= 3
                multi += degree[v] > 3
                highest = max(highest, degree[v])
        out[r, 0] = size
        out[r, 1] = count
        if size > 1:
            out[r, 2] = 2.0 * count / (size * (size - 1.0))
        out[r, 10] = junctions
        if junctions:
            out[r, 11] = multi / junctions
        out[r, 12] = total
        # Components.
        for v in range(nodes):
            parent[v] = v
        of_nodes[:] = 0
        of_edges[:] = 0
        for k in range(count):
            a, b = _root(parent, new_a[k]), _root(parent, new_b[k])
            if a != b:
                parent[b] = a
        parts = 0
        for v in range(nodes):
            if there[v]:
                root = _root(parent, v)
                parts += of_nodes[root] == 0
                of_nodes[root] += 1
        for k in range(count):
            of_edges[_root(parent, new_a[k])] += 1
        largest = -1
        for v in range(nodes):
            if of_nodes[v] and (
                largest < 0
                or of_nodes[v] > of_nodes[largest]
                or (of_nodes[v] == of_nodes[largest] and of_edges[v] > of_edges[largest])
            ):
                largest = v
        out[r, 7] = parts
        if largest >= 0:
            out[r, 8] = of_nodes[largest] / size
            if count:
                out[r, 9] = of_edges[largest] / count
        # Assortativity: a loop counts once, other edges both ways.
        marginal = np.zeros(highest + 1)
        same = 0.0
        pairs = 0.0
        product = 0.0
        for k in range(count):
            da, db = degree[new_a[k]], degree[new_b[k]]
            both = 1.0 if new_a[k] == new_b[k] else 2.0
            pairs += both
            marginal[da] += both / 2
            marginal[db] += both / 2
            product += both * da * db
            if da == db:
                same += both
        if pairs > 0:
            mean = 0.0
            square = 0.0
            chance = 0.0
            levels = 0
            for d in range(highest + 1):
                share = marginal[d] / pairs
                mean += share * d
                square += share * d * d
                chance += share * share
                levels += share > 0
            if levels > 1:
                out[r, 5] = (product / pairs - mean * mean) / (square - mean * mean)
                out[r, 6] = (same / pairs - chance) / (1 - chance)
        # Clustering of the simple graph.
        if size == 0:
            continue
        fill[:] = 0
        for k in range(count):
            if new_a[k] != new_b[k]:
                fill[new_a[k] + 1] += 1
                fill[new_b[k] + 1] += 1
        for v in range(nodes):
            fill[v + 1] += fill[v]
            plain[v] = 0
        for k in range(count):
            if new_a[k] != new_b[k]:
                for a, b in ((new_a[k], new_b[k]), (new_b[k], new_a[k])):
                    known = False
                    for j in range(fill[a], fill[a] + plain[a]):
                        known = known or beside[j] == b
                    if not known:
                        beside[fill[a] + plain[a]] = b
                        plain[a] += 1
        closed = 0.0
        triples = 0.0
        local = 0.0
        for v in range(nodes):
            if there[v] and plain[v] > 1:
                own = 0
                for i in range(fill[v], fill[v] + plain[v]):
                    for j in range(fill[v], i):
                        for k in range(fill[beside[i]], fill[beside[i]] + plain[beside[i]]):
                            own += beside[k] == beside[j]
                possible = plain[v] * (plain[v] - 1)
                closed += 2 * own
                triples += possible
                local += 2.0 * own / possible
        out[r, 3] = closed / triples if triples else 0.0
        out[r, 4] = local / size
