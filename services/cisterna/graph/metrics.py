"""Figures of a network, by numpy and sparse matrices; networkx is the oracle in the tests, not the hot loop.

NaN stands where a figure has no value (no nodes, no edges, no variance), never zero.
"""

from __future__ import annotations

import math

import numpy as np
from scipy.sparse import coo_array

from cisterna.graph.skeleton import Floats, Ints, groups


def network_metrics(nodes: int, ends: Ints, length_um: Floats) -> dict[str, float | int]:
    """Figures of a multigraph with `nodes` nodes and edges `ends` (m, 2).

    nodes, edges; density 2E/(N(N-1)); transitivity (share of closed triples) and average_clustering (mean of local
    coefficients), both on the simple graph without loops and parallels; degree_assortativity (Pearson over the ends
    of edges) and categorical_assortativity (degree as a category, the formula of Lu et al. 2023), both on the
    multigraph; components; shares of nodes and edges in the largest component; degree_0 … degree_5,
    degree_6_or_more; total_length_um; tips (degree 1 nodes), multi_way_share (junctions with more than three
    branches among all junctions), loops, parallel_edges.
    """
    edges = len(ends)
    degree = np.bincount(ends.ravel(), minlength=nodes)
    pairs = _pairs(nodes, ends)
    transitivity, clustering = _clustering(nodes, pairs)
    numeric, categorical = _assortativity(ends, degree)
    count, labels = groups(ends, nodes)
    node_share = edge_share = math.nan
    if nodes:
        size = np.bincount(labels, minlength=count)
        of_edges = np.bincount(labels[ends[:, 0]], minlength=count)
        largest = int(np.lexsort((np.arange(count), -of_edges, -size))[0])
        node_share = float(size[largest] / nodes)
        edge_share = float(of_edges[largest] / edges) if edges else math.nan
    junctions = int((degree >= 3).sum())
    loops = int((ends[:, 0] == ends[:, 1]).sum())
    found: dict[str, float | int] = {
        "nodes": nodes,
        "edges": edges,
        "density": 2 * edges / (nodes * (nodes - 1)) if nodes > 1 else math.nan,
        "transitivity": transitivity,
        "average_clustering": clustering,
        "degree_assortativity": numeric,
        "categorical_assortativity": categorical,
        "components": count,
        "largest_component_node_share": node_share,
        "largest_component_edge_share": edge_share,
    }
    for d in range(6):
        found[f"degree_{d}"] = int((degree == d).sum())
    found["degree_6_or_more"] = int((degree >= 6).sum())
    found["total_length_um"] = float(length_um.sum())
    found["junctions"] = junctions
    found["tips"] = int((degree == 1).sum())
    found["multi_way_share"] = float((degree > 3).sum() / junctions) if junctions else math.nan
    found["loops"] = loops
    found["parallel_edges"] = edges - len(pairs)
    return found


def _pairs(nodes: int, ends: Ints) -> Ints:
    """The distinct pairs of nodes that edges join, each as smaller × nodes + larger."""
    code = np.sort(ends.min(axis=1) * nodes + ends.max(axis=1)) if len(ends) else np.zeros(0, np.int64)
    return np.asarray(code[np.diff(code, prepend=-1) > 0])


def _clustering(nodes: int, pairs: Ints) -> tuple[float, float]:
    """Transitivity and average local clustering of the simple graph; 0 where no triple exists, as networkx has it."""
    if nodes == 0:
        return math.nan, math.nan
    first, second = np.divmod(pairs, nodes)
    first, second = first[first != second], second[first != second]
    if len(first) == 0:
        return 0.0, 0.0
    rows, cols = np.concatenate([first, second]), np.concatenate([second, first])
    adjacency = coo_array((np.ones(len(rows), np.int64), (rows, cols)), shape=(nodes, nodes)).tocsr()
    closed = np.asarray((adjacency @ adjacency).multiply(adjacency).sum(axis=1)).ravel().astype(np.float64)
    degree = np.bincount(rows, minlength=nodes)
    triples = degree * (degree - 1)
    local = np.divide(closed, triples, out=np.zeros(nodes), where=triples > 0)
    return float(closed.sum() / triples.sum()) if triples.sum() else 0.0, float(local.mean())


def _assortativity(ends: Ints, degree: Ints) -> tuple[float, float]:
    """Pearson and categorical assortativity of the degrees at the two ends of each edge.

    A loop counts once, as in networkx. NaN without edges; the numeric one is NaN too when all ends have one degree.
    """
    if len(ends) == 0:
        return math.nan, math.nan
    loop = ends[:, 0] == ends[:, 1]
    there, back = degree[ends], degree[ends[~loop]][:, ::-1]
    pairs = np.concatenate([there, back])
    levels = np.arange(int(pairs.max()) + 1)
    k = len(levels)
    mixing = np.bincount(pairs[:, 0] * k + pairs[:, 1], minlength=k * k).reshape(k, k) / len(pairs)
    a, b = mixing.sum(axis=1), mixing.sum(axis=0)
    several = int((a > 0).sum()) > 1
    by_chance = float(a @ b)
    categorical = (float(np.trace(mixing)) - by_chance) / (1 - by_chance) if several else math.nan
    mean = float(a @ levels)
    variance = float(a @ levels.astype(np.float64) ** 2) - mean**2
    if not several or variance <= 0:
        return math.nan, categorical
    covariance = float(levels @ mixing @ levels) - mean**2
    return covariance / variance, categorical
