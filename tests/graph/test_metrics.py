"""Figures of a network, with networkx as the oracle."""

from __future__ import annotations

import math
import warnings

import networkx as nx
import numpy as np
import pytest
from cisterna.graph.metrics import network_metrics
from hypothesis import given, settings
from hypothesis import strategies as st


def oracle(nodes: int, ends: list[tuple[int, int]]) -> dict[str, float]:
    multi: nx.MultiGraph = nx.MultiGraph()
    multi.add_nodes_from(range(nodes))
    multi.add_edges_from(ends)
    plain = nx.Graph(multi)
    plain.remove_edges_from(list(nx.selfloop_edges(plain)))
    parts = list(nx.connected_components(multi))
    best = max(parts, key=lambda p: (len(p), multi.subgraph(p).number_of_edges()))
    nx.set_node_attributes(multi, dict(multi.degree()), "branches")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        numeric = nx.degree_assortativity_coefficient(multi) if ends else math.nan
        try:
            categorical = nx.attribute_assortativity_coefficient(multi, "branches") if ends else math.nan
        except ZeroDivisionError:
            categorical = math.nan
    return {
        "nodes": nodes,
        "edges": len(ends),
        "density": 2 * len(ends) / (nodes * (nodes - 1)) if nodes > 1 else math.nan,
        "transitivity": nx.transitivity(plain),
        "average_clustering": nx.average_clustering(plain),
        "degree_assortativity": numeric,
        "categorical_assortativity": categorical,
        "components": len(parts),
        "largest_component_node_share": len(best) / nodes,
        "largest_component_edge_share": multi.subgraph(best).number_of_edges() / len(ends) if ends else math.nan,
        **{f"degree_{d}": sum(k == d for _, k in multi.degree()) for d in range(6)},
        "degree_6_or_more": sum(k >= 6 for _, k in multi.degree()),
    }


@st.composite
def multigraphs(draw: st.DrawFn) -> tuple[int, list[tuple[int, int]]]:
    nodes = draw(st.integers(1, 12))
    node = st.integers(0, nodes - 1)
    return nodes, draw(st.lists(st.tuples(node, node), max_size=30))


@settings(max_examples=150, deadline=None)
@given(multigraphs())
def test_every_figure_agrees_with_networkx(graph: tuple[int, list[tuple[int, int]]]):
    nodes, ends = graph
    array = np.array(ends, np.int64).reshape(-1, 2)
    found = network_metrics(nodes, array, np.ones(len(ends)))
    for name, value in oracle(nodes, ends).items():
        assert found[name] == pytest.approx(value, abs=1e-9, nan_ok=True), name


def test_nothing_has_no_figures_rather_than_zero():
    found = network_metrics(0, np.zeros((0, 2), np.int64), np.zeros(0))
    for name in ("density", "transitivity", "average_clustering", "degree_assortativity", "categorical_assortativity"):
        assert math.isnan(found[name]), name
    assert found["components"] == 0
    assert math.isnan(found["largest_component_node_share"])


def test_isolated_nodes_are_ordinary():
    found = network_metrics(3, np.zeros((0, 2), np.int64), np.zeros(0))
    assert (found["degree_0"], found["degree_6_or_more"], found["components"]) == (3, 0, 3)
    assert found["largest_component_node_share"] == pytest.approx(1 / 3)
    assert math.isnan(found["largest_component_edge_share"])
    assert math.isnan(found["degree_assortativity"])


def test_a_hand_made_network():
    # A triangle with a tail: 0-1-2-0, 2-3.
    found = network_metrics(4, np.array([[0, 1], [1, 2], [0, 2], [2, 3]]), np.array([1.0, 2, 3, 4]))
    assert found["transitivity"] == pytest.approx(3 / 5)
    assert found["average_clustering"] == pytest.approx((1 + 1 + 1 / 3 + 0) / 4)
    assert found["density"] == pytest.approx(4 * 2 / 12)
    assert found["total_length_um"] == 10
    assert found["tips"] == 1
