"""Intervals over uncertain edges, with networkx doing the same the long way."""

from __future__ import annotations

import math

import networkx as nx
import numpy as np
import pytest
from cisterna.graph.metrics import network_metrics
from cisterna.graph.resampling import intervals, kept_edges, resampled
from cisterna.tables.networks import RESAMPLED
from hypothesis import given, settings
from hypothesis import strategies as st


@st.composite
def multigraphs(draw: st.DrawFn) -> tuple[int, np.ndarray, np.ndarray]:
    nodes = draw(st.integers(1, 10))
    node = st.integers(0, nodes - 1)
    ends = draw(st.lists(st.tuples(node, node), max_size=24))
    kept = draw(st.lists(st.booleans(), min_size=len(ends), max_size=len(ends)))
    return nodes, np.array(ends, np.int64).reshape(-1, 2), np.array(kept, bool)


def by_networkx(nodes: int, ends: np.ndarray, kept: np.ndarray) -> dict[str, float]:
    """What is left is traced anew: bare nodes go, nodes with two branches dissolve, one stays on each ring."""
    graph: nx.MultiGraph = nx.MultiGraph()
    graph.add_nodes_from(range(nodes))
    graph.add_edges_from(ends[kept].tolist())
    before = set(ends.ravel().tolist())
    graph.remove_nodes_from([v for v in list(graph) if graph.degree(v) == 0 and v in before])
    while True:
        through = [v for v in graph if graph.degree(v) == 2 and not graph.has_edge(v, v)]
        if not through:
            break
        (_, a, _), (_, b, _) = list(graph.edges(through[0], keys=True))
        graph.remove_node(through[0])
        graph.add_edge(a, b)
    names = {v: n for n, v in enumerate(graph)}
    new = np.array([(names[a], names[b]) for a, b in graph.edges()], np.int64).reshape(-1, 2)
    return network_metrics(len(names), new, np.zeros(len(new)))


@settings(max_examples=300)
@given(multigraphs())
def test_every_figure_of_a_resample_agrees_with_tracing_what_is_left(
    graph: tuple[int, np.ndarray, np.ndarray],
):
    nodes, ends, kept = graph
    length = np.arange(1.0, len(ends) + 1)
    found = dict(zip(RESAMPLED, resampled(nodes, ends, length, kept[None])[0], strict=True))
    expected = by_networkx(nodes, ends, kept) | {"total_length_um": length[kept].sum()}
    for name in RESAMPLED:
        assert found[name] == pytest.approx(expected[name], abs=1e-9, nan_ok=True), name


def ladder(rungs: int) -> np.ndarray:
    rails = [(2 * k, 2 * k + 2) for k in range(rungs)] + [(2 * k + 1, 2 * k + 3) for k in range(rungs)]
    return np.array(rails + [(2 * k, 2 * k + 1) for k in range(rungs + 1)])


def test_certain_edges_have_no_interval_and_doubtful_ones_widen_it():
    ends = ladder(30)
    nodes, length = 62, np.ones(len(ends))
    figures = network_metrics(nodes, ends, length)
    plain = resampled(nodes, ends, length, np.ones((1, len(ends)), bool))[0]
    sure = intervals(nodes, ends, length, np.ones(len(ends)), 200, (0,))
    for name, value in zip(RESAMPLED, plain, strict=True):
        assert sure[name] == pytest.approx((value, value), nan_ok=True), name
    # Corners of degree 2 dissolve as they would in tracing.
    assert plain[0] == figures["nodes"] - 4
    spread = [
        intervals(nodes, ends, length, np.full(len(ends), p), 400, (0,))["total_length_um"] for p in (0.98, 0.9, 0.7)
    ]
    widths = [high - low for low, high in spread]
    assert 0 < widths[0] < widths[1] < widths[2]
    assert [high for _, high in spread] == sorted((high for _, high in spread), reverse=True)


def test_lengths_are_binomial():
    length = np.full(400, 0.5)
    ends = np.stack([np.arange(0, 800, 2), np.arange(1, 801, 2)], axis=1)
    low, high = intervals(800, ends, length, np.full(400, 0.8), 4000, (3,))["total_length_um"]
    spread = 1.96 * 0.5 * math.sqrt(400 * 0.8 * 0.2)
    assert (low, high) == pytest.approx((160 - spread, 160 + spread), abs=1.0)


def test_equal_seeds_are_equal_intervals_and_other_seeds_are_not():
    ends = ladder(20)
    keep = np.full(len(ends), 0.8)
    first = intervals(42, ends, np.ones(len(ends)), keep, 200, (5,))
    assert intervals(42, ends, np.ones(len(ends)), keep, 200, (5,)) == first
    assert intervals(42, ends, np.ones(len(ends)), keep, 200, (6,)) != first
    assert kept_edges(np.array([0.0, 1.0]), 500, (0,)).mean(axis=0).tolist() == [0.0, 1.0]


def test_nothing_and_isolated_nodes_have_intervals_too():
    nothing = intervals(0, np.zeros((0, 2), np.int64), np.zeros(0), np.zeros(0), 200, (0,))
    assert nothing["nodes"] == (0, 0)
    assert all(math.isnan(v) for v in nothing["density"])
    dots = intervals(3, np.zeros((0, 2), np.int64), np.zeros(0), np.zeros(0), 200, (0,))
    assert (dots["nodes"], dots["components"]) == ((3, 3), (3, 3))
    gone = intervals(2, np.array([[0, 1]]), np.ones(1), np.zeros(1), 200, (0,))
    assert gone["nodes"] == (0, 0)
