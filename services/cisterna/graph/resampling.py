"""Intervals of a network's figures: what remains when tubules are there only as surely as the segmentation says.

Compiled by numba, which takes seconds once per machine; the compiled code is kept beside this file or in the user's
cache.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from cisterna.compiled import compiled
from cisterna.graph.skeleton import Floats, Ints
from cisterna.tables.networks import RESAMPLED

SHARE_INSIDE = 0.95
LEAST_RESAMPLES = 200


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
    share = (0.5 * (1 - SHARE_INSIDE), 0.5 * (1 + SHARE_INSIDE))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # no values at all: NaN is the answer
        low, high = np.nanquantile(values, share, axis=0).tolist()
    return {name: (low[column], high[column]) for column, name in enumerate(RESAMPLED)}


def kept_edges(keep: Floats, resamples: int, seed: tuple[int, ...]) -> np.ndarray:
    """(resamples, m) bool: which edges each resample keeps."""
    rng = np.random.default_rng(seed)
    return rng.random((resamples, len(keep)), np.float32) < np.asarray(keep, np.float32)


def resampled(nodes: int, ends: Ints, length_um: Floats, kept: np.ndarray) -> Floats:
    """`RESAMPLED` figures (resamples, k) of the network with the edges of each row of `kept` alone."""
    out = np.full((len(kept), len(RESAMPLED)), np.nan)
    ends = np.ascontiguousarray(ends, np.int64).reshape(-1, 2)
    degree = np.bincount(ends.ravel(), minlength=nodes)
    begins = np.concatenate([[0], np.cumsum(degree)]).astype(np.int32)
    halves = np.argsort(ends.ravel(), kind="stable").astype(np.int32)
    length_um = np.ascontiguousarray(length_um, np.float64)
    _resample(nodes, ends.astype(np.int32), length_um, begins, halves, np.ascontiguousarray(kept), out)
    return out


@compiled
def _root(parent: Any, node: int) -> int:
    while parent[node] != node:
        parent[node] = parent[parent[node]]
        node = parent[node]
    return node


@compiled
def _resample(nodes: int, ends: Any, length: Any, begins: Any, halves: Any, kept: Any, out: Any) -> None:
    m = len(ends)
    degree = np.zeros(nodes, np.int32)
    through = np.zeros(nodes, np.bool_)
    used = np.zeros(m, np.bool_)
    new_a = np.empty(m, np.int32)
    new_b = np.empty(m, np.int32)
    simple = np.zeros(m, np.bool_)
    parent = np.empty(nodes, np.int32)
    of_nodes = np.zeros(nodes, np.int32)
    of_edges = np.zeros(nodes, np.int32)
    # Neighbours in the simple graph: a node has at most as many as it has half-edges.
    beside = np.empty(2 * m, np.int32)
    neighbours = np.zeros(nodes, np.int32)
    for r in range(len(kept)):
        row = kept[r]
        degree[:] = 0
        total = 0.0
        for e in range(m):
            used[e] = not row[e]
            if row[e]:
                degree[ends[e, 0]] += 1
                degree[ends[e, 1]] += 1
                total += length[e]
        for v in range(nodes):
            through[v] = degree[v] == 2
            parent[v] = v
            neighbours[v] = 0
            of_nodes[v] = 0
            of_edges[v] = 0
        for e in range(m):
            if ends[e, 0] == ends[e, 1] and row[e]:
                through[ends[e, 0]] = False
        # Chains of through nodes become one edge; what is left are rings of them, of which one node stays.
        count = 0
        for ring in range(2):
            for e in range(m):
                for side in range(2):
                    first = ends[e, side]
                    if used[e] or (through[first] and not ring):
                        continue
                    through[first] = False
                    used[e] = True
                    edge, last = e, ends[e, 1 - side]
                    while through[last]:
                        for k in range(begins[last], begins[last + 1]):
                            other = halves[k] >> 1
                            if row[other] and other != edge:
                                edge = other
                                last = ends[edge, 0] if ends[edge, 1] == last else ends[edge, 1]
                                break
                        used[edge] = True
                    new_a[count] = first
                    new_b[count] = last
                    simple[count] = False
                    count += 1
                    if first == last:
                        continue
                    a, b = _root(parent, first), _root(parent, last)
                    # Every root is the smallest of its component, so that one pass upwards flattens all.
                    parent[max(a, b)] = min(a, b)
                    known = False
                    for k in range(begins[first], begins[first] + neighbours[first]):
                        known = known or beside[k] == last
                    simple[count - 1] = not known
                    if not known:
                        beside[begins[first] + neighbours[first]] = last
                        beside[begins[last] + neighbours[last]] = first
                        neighbours[first] += 1
                        neighbours[last] += 1
        size = 0
        junctions = 0
        multi = 0
        parts = 0
        highest = 0
        triples = 0.0
        for v in range(nodes):
            parent[v] = parent[parent[v]]
            if through[v] or (degree[v] == 0 and begins[v + 1] > begins[v]):
                continue
            size += 1
            junctions += degree[v] >= 3
            multi += degree[v] > 3
            highest = max(highest, degree[v])
            parts += of_nodes[parent[v]] == 0
            of_nodes[parent[v]] += 1
            triples += neighbours[v] * (neighbours[v] - 1)
        out[r, 0] = size
        out[r, 1] = count
        if size > 1:
            out[r, 2] = 2.0 * count / (size * (size - 1.0))
        out[r, 7] = parts
        out[r, 10] = junctions
        if junctions:
            out[r, 11] = multi / junctions
        out[r, 12] = total
        if size == 0:
            continue
        # Assortativity: a loop counts once, other edges both ways.
        marginal = np.zeros(highest + 1)
        same = 0.0
        pairs = 0.0
        product = 0.0
        for k in range(count):
            of_edges[parent[new_a[k]]] += 1
            da, db = degree[new_a[k]], degree[new_b[k]]
            both = 1.0 if new_a[k] == new_b[k] else 2.0
            pairs += both
            marginal[da] += both / 2
            marginal[db] += both / 2
            product += both * da * db
            if da == db:
                same += both
        largest = 0
        for v in range(1, nodes):
            if of_nodes[v] > of_nodes[largest] or (
                of_nodes[v] == of_nodes[largest] and of_edges[v] > of_edges[largest]
            ):
                largest = v
        out[r, 8] = of_nodes[largest] / size
        if count:
            out[r, 9] = of_edges[largest] / count
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
        # Triangles of the simple graph: common neighbours at the ends of each of its edges.
        closed = 0.0
        local = 0.0
        for k in range(count):
            if not simple[k]:
                continue
            a, b = new_a[k], new_b[k]
            shared = 0
            for i in range(begins[a], begins[a] + neighbours[a]):
                for j in range(begins[b], begins[b] + neighbours[b]):
                    shared += beside[i] == beside[j]
            if shared:
                closed += 2.0 * shared
                local += shared / (neighbours[a] * (neighbours[a] - 1.0))
                local += shared / (neighbours[b] * (neighbours[b] - 1.0))
        out[r, 3] = closed / triples if triples else 0.0
        out[r, 4] = local / size
