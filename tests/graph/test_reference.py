"""The published CSV's columns, and their known faults beside our values."""

from __future__ import annotations

import math
import re

import networkx as nx
import numpy as np
import pytest
import sknw
from cisterna.graph import trace_network
from cisterna.graph.reference import csv_text, reference_graph
from scipy import ndimage
from skimage.measure import label
from skimage.morphology import skeletonize

COLUMNS = [
    *("Filename", "no_nodes", "no_edges", "assortativity", "clustering", "compo", "ratio_nodes", "ratio_edges"),
    *(f"degree {d}" for d in range(1, 7)),
]


def ridges(seed: int, smoothness: float = 3.0, size: int = 128) -> np.ndarray:
    field = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=(size, size)), smoothness)
    return np.abs(field) < 0.3 * field.std()


def straightforward(mask: np.ndarray) -> dict[str, float]:
    """The same route written the long way, part by part."""
    kept = np.zeros(mask.shape, bool)
    parts = label(mask, connectivity=2)
    for number in range(1, parts.max() + 1):
        part = parts == number
        if part.sum() >= 50:
            kept |= part
    graph = sknw.build_sknw(skeletonize(kept).astype(np.uint16))
    biggest = max(nx.connected_components(graph), key=len)
    inside = sum(1 for a, b in graph.edges if a in biggest and b in biggest)
    return {
        "no_nodes": len(graph),
        "no_edges": len(graph.edges),
        "assortativity": nx.degree_assortativity_coefficient(graph),
        "clustering": sum(nx.clustering(graph).values()) / len(graph),
        "compo": nx.number_connected_components(graph),
        "ratio_nodes": len(biggest) / len(graph),
        "ratio_edges": inside / len(graph.edges),
        **{f"degree {d}": sum(1 for n in graph if graph.degree(n) == d) for d in range(1, 7)},
    }


@pytest.mark.parametrize("seed", range(6))
def test_columns_equal_a_direct_reconstruction(seed: int):
    mask = ridges(seed)
    row = dict(trace_network(mask, 0.1).reference_columns("frame_0.png"))
    assert list(row) == COLUMNS
    assert row.pop("Filename") == "frame_0.png"
    assert row == pytest.approx(straightforward(mask), abs=1e-12)


def test_small_parts_are_dropped_there_and_kept_here():
    mask = np.zeros((64, 64), bool)
    mask[10:13, 5:60] = True
    mask[40:43, 10:26] = True  # 48 pixels
    network = trace_network(mask, 1.0)
    assert network.reference_columns("f")["compo"] == 1
    assert network.metrics()["components"] == 2


def test_isolated_nodes_are_not_of_degree_six():
    y, x = np.mgrid[:64, :64]
    mask = np.hypot(y - 20, x - 20) <= 6
    mask[50:53, 4:60] = True
    row = trace_network(mask, 1.0).reference_columns("f")
    assert row["degree 6"] == 0
    assert trace_network(mask, 1.0).metrics()["degree_0"] == 1


@pytest.mark.parametrize("pixels", [0, 1])
def test_a_frame_without_tubules_has_a_row(pixels: int):
    mask = np.zeros((32, 32), bool)
    mask.ravel()[:pixels] = True
    row = trace_network(mask, 1.0).reference_columns("empty")
    assert (row["no_nodes"], row["no_edges"], row["compo"]) == (0, 0, 0)
    assert math.isnan(row["assortativity"])


def test_a_frame_with_nodes_and_no_edges_has_a_row():
    y, x = np.mgrid[:64, :64]
    row = trace_network(np.hypot(y - 30, x - 30) <= 8, 1.0).reference_columns("disc")
    assert row["no_edges"] == 0
    assert row["no_nodes"] >= 1
    assert math.isnan(row["ratio_edges"])


def test_parallel_tubules_merge_there_and_not_here():
    y, x = np.mgrid[:96, :96]
    mask = np.abs(np.hypot(y - 48, x - 48) - 30) <= 2
    mask[46:50, 18:78] = True
    network = trace_network(mask, 1.0)
    assert len(network.edges) == 3
    assert network.reference_columns("theta")["no_edges"] == 1


def test_volumes_have_no_reference_columns():
    with pytest.raises(ValueError, match="flat frames"):
        trace_network(np.zeros((4, 8, 8)), 1.0).reference_columns("stack")


@pytest.mark.parametrize("form", ["bool", "0 and 255", "float", "fortran order", "read-only view"])
def test_the_same_mask_in_any_form_has_the_same_columns(form: str):
    mask = ridges(3)
    given = {
        "bool": mask,
        "0 and 255": mask.astype(np.uint8) * 255,
        "float": mask.astype(np.float64),
        "fortran order": np.asfortranarray(mask),
        "read-only view": np.broadcast_to(mask, (2, *mask.shape))[1],
    }[form]
    row = trace_network(given, 0.1).reference_columns("f")
    assert {k: v for k, v in row.items() if k != "Filename"} == pytest.approx(straightforward(mask), abs=1e-12)


@pytest.mark.parametrize("seed", [11, 12])
def test_dense_and_sparse_noise_and_frames_cut_at_the_border(seed: int):
    for smoothness, size in ((1.5, 96), (6.0, 200)):
        mask = ridges(seed, smoothness, size)
        row = dict(trace_network(mask, 0.1).reference_columns("f"))
        del row["Filename"]
        assert row == pytest.approx(straightforward(mask), abs=1e-12, nan_ok=True)


def test_counts_are_whole_numbers_and_figures_are_floats():
    row = trace_network(ridges(0), 0.1).reference_columns("f")
    assert [type(row[name]) for name in COLUMNS] == [str, int, int, float, float, int, float, float, *[int] * 6]


def test_a_ring_alone_is_a_node_with_a_loop_of_degree_two_there():
    y, x = np.mgrid[:96, :96]
    row = trace_network(np.abs(np.hypot(y - 48, x - 48) - 30) <= 2, 1.0).reference_columns("ring")
    assert (row["no_nodes"], row["no_edges"], row["degree 2"]) == (1, 1, 1)
    assert math.isnan(row["assortativity"])
    assert row["ratio_edges"] == 1.0


def test_nodes_of_degree_above_six_are_in_no_column():
    y, x = np.mgrid[:129, :129]
    angle = np.arctan2(y - 64, x - 64)
    star = (np.abs(np.sin(4 * angle)) * np.hypot(y - 64, x - 64) / 4 <= 1.2) & (np.hypot(y - 64, x - 64) < 55)
    row = trace_network(star, 1.0).reference_columns("star")
    counted = sum(row[f"degree {d}"] for d in range(1, 7))
    assert row["no_nodes"] - counted == sum(1 for _, d in reference_graph(star).degree() if d > 6 or d == 0)
    assert row["degree 1"] == 8


def test_the_file_is_written_as_it_was_published():
    rows = [
        trace_network(ridges(0), 0.1).reference_columns("a.png"),
        trace_network(np.zeros((32, 32)), 0.1).reference_columns("b.png"),
    ]
    header, first, second = csv_text(rows).splitlines()
    assert header.split(",") == COLUMNS
    assert re.fullmatch(r"a\.png,\d+,\d+,-?\d\.\d{5},\d\.\d{5},\d+\.00000,\d\.\d{5},\d\.\d{5}(,\d+){6}", first)
    assert second == "b.png,0,0,nan,nan,0.00000,nan,nan,0,0,0,0,0,0"
