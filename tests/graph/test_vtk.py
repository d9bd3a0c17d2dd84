"""Networks as VTK: read back by a parser of the format, 2-D and 3-D, rings, parallels and nothing at all."""

import math

import networkx as nx
import numpy as np
import pytest
from cisterna.graph import trace_network, write_vtk


def read_polydata(text):
    """(points, vertices, lines, point data, cell data) of a legacy ASCII PolyData file."""
    head, title, kind, words = *text.split("\n", 3)[:3], text.split("\n", 3)[3].split()
    assert head == "# vtk DataFile Version 3.0"
    assert len(title) <= 256
    assert (kind, words[:2]) == ("ASCII", ["DATASET", "POLYDATA"])
    at, cells, data, count, target = 2, {}, {"POINT_DATA": {}, "CELL_DATA": {}}, 0, None
    points = None
    while at < len(words):
        word = words[at]
        if word == "POINTS":
            n = int(words[at + 1])
            points = np.array(words[at + 3 : at + 3 + 3 * n], float).reshape(n, 3)
            at += 3 + 3 * n
        elif word in ("VERTICES", "LINES"):
            n, size = int(words[at + 1]), int(words[at + 2])
            body, cells[word], k = words[at + 3 : at + 3 + size], [], 0
            for _ in range(n):
                length = int(body[k])
                cells[word].append([int(v) for v in body[k + 1 : k + 1 + length]])
                k += 1 + length
            assert k == size
            at += 3 + size
        elif word in data:
            target, count = data[word], int(words[at + 1])
            at += 2
        else:
            assert word == "SCALARS"
            name, kind, one, table, default = words[at + 1 : at + 6]
            assert (one, table, default) == ("1", "LOOKUP_TABLE", "default")
            target[name] = np.array(words[at + 6 : at + 6 + count], int if kind == "int" else float)
            at += 6 + count
    return points, cells["VERTICES"], cells["LINES"], data["POINT_DATA"], data["CELL_DATA"]


def tubes(shape, lines, radius=2):
    mask = np.zeros(shape, bool)
    for a, b in lines:
        for t in np.linspace(0, 1, 200):
            centre = np.round(np.array(a) + t * (np.array(b) - a)).astype(int)
            mask[tuple(slice(max(c - radius, 0), c + radius + 1) for c in centre)] = True
    return mask


@pytest.mark.parametrize("dimensions", [2, 3])
def test_a_traced_network_comes_back(dimensions):
    middle = [16, 40, 40][-dimensions:]
    ends = ([16, 40, 8], [16, 8, 60], [16, 70, 64]) if dimensions == 2 else ([4, 40, 8], [16, 8, 60], [28, 70, 64])
    lines = [(middle, end[-dimensions:]) for end in ends]
    pixel = 0.1 if dimensions == 2 else (0.3, 0.1, 0.1)
    network = trace_network(tubes((32, 80, 80)[-dimensions:], lines), pixel_size_um=pixel)
    points, vertices, polylines, of_point, of_cell = read_polydata(write_vtk(network, "three\nways"))
    count = len(network.nodes)
    assert len(vertices) == count
    assert of_point["node_id"][:count].tolist() == network.nodes["node_id"].tolist()
    assert of_point["degree"][:count].tolist() == network.nodes["degree"].tolist()
    for column, name in enumerate("xyz"[:dimensions]):
        assert points[:count, column] == pytest.approx(network.nodes[f"{name}_um"].to_numpy(), rel=1e-6)
    if dimensions == 2:
        assert (points[:, 2] == 0).all()
    lengths = of_cell["length_um"][count:]
    assert sorted(lengths) == pytest.approx(sorted(network.edges["length_um"]), rel=1e-6)
    for line, length, width, a in zip(
        polylines, lengths, of_cell["width_um"][count:], of_cell["edge_id"][count:], strict=True
    ):
        row = network.edges[network.edges["edge_id"] == a].iloc[0]
        assert {line[0], line[-1]} == {row["node_a"], row["node_b"]}
        along = np.linalg.norm(np.diff(points[line], axis=0), axis=1).sum()
        assert along == pytest.approx(length, rel=0.1)
        assert of_point["radius_um"][line[1]] == pytest.approx(width / 2, rel=1e-6)


def test_parallel_tubules_loops_and_isolated_nodes_keep_their_cells():
    graph = nx.MultiGraph()
    graph.add_node("a", x_um=0.0, y_um=0.0)
    graph.add_node("b", x_um=1.0, y_um=0.0)
    graph.add_node("alone", x_um=5.0, y_um=5.0)
    graph.add_edge("a", "b", length_um=1.0)
    graph.add_edge("a", "b", length_um=1.5, width_um=0.2, path_um=np.array([[0.0, 0.0], [0.5, 0.5], [0.0, 1.0]]))
    graph.add_edge("b", "b", length_um=2.0, path_um=np.array([[0.0, 1.0], [0.5, 1.5], [0.0, 1.0]]))
    points, vertices, lines, of_point, of_cell = read_polydata(write_vtk(graph))
    assert len(vertices) == 3
    assert [(line[0], line[-1]) for line in lines] == [(0, 1), (0, 1), (1, 1)]
    assert [len(line) for line in lines] == [2, 3, 3]
    assert of_point["degree"].tolist() == [2, 4, 0, -1, -1]
    assert points[lines[1][1]].tolist() == [0.5, 0.5, 0.0]
    assert of_point["radius_um"][:3].tolist() == [0.1, 0.1, 0.0]
    assert math.isnan(of_cell["width_um"][3])


def test_an_empty_network_is_a_file_too():
    points, vertices, lines, _, _ = read_polydata(write_vtk(trace_network(np.zeros((8, 8), bool), pixel_size_um=0.1)))
    assert (len(points), vertices, lines) == (0, [], [])
