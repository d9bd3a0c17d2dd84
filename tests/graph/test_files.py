"""Networks and parameters as files and text."""

from __future__ import annotations

import io
import os
from pathlib import Path

import networkx as nx
import numpy as np
import pytest
from cisterna.graph import TracingParameters, TrackingParameters, trace_network
from cisterna.graph.exports import graphml, network_from_tables, read_net, write_net
from cisterna.graph.frames import from_npz, join, to_npz, trace_frame
from cisterna.phantoms.er_movie import er_movie

PUBLISHED = {
    "WT_COS7_KDEL_Cell3_um.net": (693, 835, {1: 135, 2: 154, 3: 389, 4: 15}, 734.519, 1),
    "WT_circreg_1.net": (301, 403, {1: 11, 2: 86, 3: 193, 4: 11}, 248.332, None),
}


def network():
    y, x = np.mgrid[:64, :64]
    mask = (np.abs(np.hypot(y - 30, x - 30) - 18) <= 1.5) | (np.abs(y - 30) <= 1) & (x < 60)
    return trace_network(mask, 0.1)


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_graphs_are_read_with_their_totals_and_written_without_change(name: str):
    folder = os.environ.get("CISTERNA_TEST_DATA")
    if not folder:
        pytest.skip("CISTERNA_TEST_DATA is not set: the published graphs are not at hand")
    graph = read_net((Path(folder) / "er_network_graphs" / name).read_text())
    nodes, edges, degrees, length, parts = PUBLISHED[name]
    assert (graph.number_of_nodes(), graph.number_of_edges()) == (nodes, edges)
    found = [d for _, d in graph.degree()]
    assert {d: found.count(d) for d in sorted(set(found))} == degrees
    assert sum(d["length_um"] for *_, d in graph.edges(data=True)) == pytest.approx(length, abs=5e-4)
    if parts:
        assert nx.number_connected_components(graph) == parts
    again = read_net(write_net(graph))
    assert dict(again.nodes(data=True)) == dict(graph.nodes(data=True))
    assert list(again.edges(data=True)) == list(graph.edges(data=True))


def test_a_traced_network_survives_the_net_format():
    traced = network().graph
    again = read_net(write_net(traced))
    assert sorted(d for _, d in again.degree()) == sorted(d for _, d in traced.degree())
    lengths = [sorted(d["length_um"] for *_, d in g.edges(data=True)) for g in (again, traced)]
    assert lengths[0] == pytest.approx(lengths[1], abs=1e-9)
    assert again.nodes[1]["y_um"] == pytest.approx(traced.nodes[0]["y_um"])


def test_an_edge_without_length_is_straight():
    graph = read_net("NODE 1 0 0\nNODE 2 3 4 # a comment\nEDGE 1 1 2\n")
    assert graph.edges[1, 2, 0]["length_um"] == 5


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("NODE 1 0\n", "line 1.*x and y"),
        ("NODE 1 0 0\nEDGE 1 1 2 3.0\n", "line 2.*node 2 is not defined"),
        ("NODE 1 0 0\nNODE 1 0 0\n", "occurs twice"),
        ("VERTEX 1 0 0\n", "neither NODE nor EDGE"),
        ("EDGE 1 1\n", "line 1"),
    ],
)
def test_a_torn_net_file_names_its_line(text: str, says: str):
    with pytest.raises(ValueError, match=says):
        read_net(text)


def test_graphml_carries_places_lengths_and_parallels():
    traced = network()
    graph = nx.read_graphml(io.BytesIO(graphml(traced.graph)), node_type=int, force_multigraph=True)
    assert graph.number_of_edges() == len(traced.edges)
    assert [graph.nodes[n]["x_um"] for n in sorted(graph)] == pytest.approx(traced.nodes["x_um"].tolist())
    rows = traced.nodes.to_dict("records"), traced.edges.to_dict("records")
    assert graphml(network_from_tables(*rows)).count(b"<edge ") == len(traced.edges)


def test_parts_come_back_as_they_were_and_are_the_same_bytes():
    movie = er_movie(frames=2, shape_yx=(96, 96), seed=2)
    parts = []
    for t, classes in enumerate([movie.classes[0], np.zeros_like(movie.classes[0])]):
        parts.append(trace_frame(classes, None, movie.frames[t], t, [0.1, 0.1], 1.0, TracingParameters())[1])
    whole = join(parts)
    data = to_npz(whole)
    again = from_npz(data)
    assert to_npz(again) == data
    assert again.frames.equals(whole.frames)
    assert again.nodes.equals(whole.nodes)
    assert all(np.array_equal(a, b) for a, b in zip(again.edges["path_yx_um"], whole.edges["path_yx_um"], strict=True))
    assert to_npz(from_npz(to_npz(join([])))) == to_npz(join([]))
    for torn in (b"", data[: len(data) // 2], b"PK"):
        with pytest.raises(ValueError):
            from_npz(torn)


def test_sheet_based_tubules_are_traced_when_asked():
    classes = np.zeros((64, 64), np.uint8)
    classes[30:33, 4:30], classes[30:33, 30:60] = 2, 1
    raw = np.zeros((64, 64))
    only = trace_frame(classes, None, raw, 0, [1.0, 1.0], 1.0, TracingParameters())[0]
    both = trace_frame(classes, None, raw, 0, [1.0, 1.0], 1.0, TracingParameters(classes=("tubule", "sbt")))[0]
    assert both.length_um.sum() > 1.8 * only.length_um.sum()


@pytest.mark.parametrize("parameters", [TracingParameters(classes=("tubule", "sbt")), TrackingParameters(gap_frames=2)])
def test_parameters_come_back_from_their_json(parameters: TracingParameters | TrackingParameters):
    text = parameters.to_json()
    assert type(parameters).from_json(text) == parameters
    assert type(parameters).from_json(text).to_json() == text
    assert type(parameters).from_json("{}") == type(parameters)()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{"spur_width": 1}', "unknown key spur_width"),
        ('{"classes": ["background"]}', "at least one of"),
        ('{"classes": []}', "at least one of"),
        ('{"spur_widths": -1}', "outside"),
        ('{"spur_widths": "long"}', "must be a number"),
        ('{"merge_widths": NaN}', "must be a number"),
        ("[1]", "JSON object"),
        ("{", "not JSON"),
    ],
)
def test_wrong_parameters_are_named(text: str, says: str):
    with pytest.raises(ValueError, match=says):
        TracingParameters.from_json(text)


def test_a_gap_of_three_frames_is_refused():
    with pytest.raises(ValueError, match="choose 0, 1 or 2"):
        TrackingParameters(gap_frames=3)
