"""Tubules that end in sheets, and the network with each sheet as one node."""

from __future__ import annotations

import networkx as nx
import numpy as np
import pytest
from cisterna.graph import trace_network
from cisterna.graph.assembly import Assembly, with_sheets
from cisterna.graph.contacts import Contacts, contacts
from cisterna.graph.network import Network
from drawing import draw

SBT, TUBULE, SHEET = 1, 2, 3


def look(classes: np.ndarray, traced: tuple[str, ...] = ("tubule",)) -> tuple[Network, Contacts, Assembly]:
    names = {"sbt": SBT, "tubule": TUBULE, "sheet": SHEET}
    network = trace_network(np.isin(classes, [names[t] for t in traced]), 1.0)
    touched = contacts(network, classes, traced)
    return network, touched, with_sheets(len(network.positions), network.ends, network.lines.start, touched)


def scene(segments: list, sheet: tuple[slice, slice], kind: int = SHEET) -> np.ndarray:
    classes = np.where(draw(segments), TUBULE, 0)
    classes[sheet] = kind
    return classes


BLOCK = (slice(30, 66), slice(60, 90))


@pytest.mark.parametrize("width", [3, 4, 6])
@pytest.mark.parametrize(("kind", "name"), [(SHEET, "sheet"), (SBT, "sbt")])
def test_a_tubule_that_ends_in_a_sheet_is_no_growth_tip(width: int, kind: int, name: str):
    classes = np.where(draw([((48, 10), (48, 70))], width), TUBULE, 0)
    classes[BLOCK] = kind
    network, touched, joined = look(classes)
    assert sorted(touched.kind(network)) == sorted(["tip", name])
    assert (touched.node_sheet.sum(), touched.node_sbt.sum()) == ((1, 0) if kind == SHEET else (0, 1))
    assert (joined.nodes, joined.sheets, len(joined.ends)) == (2, 1, 1)


@pytest.mark.parametrize("gap", [1, 2, 5])
def test_a_tip_beside_a_sheet_but_not_at_it_stays_a_tip(gap: int):
    classes = np.where(draw([((48, 10), (48, 57 - gap))]), TUBULE, 0)
    classes[BLOCK] = SHEET
    network, touched, joined = look(classes)
    assert touched.kind(network).tolist() == ["tip", "tip"]
    assert (joined.nodes, len(joined.ends)) == (3, 1)


def test_a_fleck_of_sheet_is_noise_of_the_classes():
    network, touched, joined = look(scene([((48, 10), (48, 70))], (slice(46, 51), slice(66, 74))))
    assert touched.areas == joined.sheets == 0
    assert set(touched.kind(network)) == {"tip"}


def test_a_sheet_joins_the_tubules_around_it():
    arms = [((48, 10), (48, 70)), ((10, 75), (40, 75)), ((90, 75), (60, 75))]
    network, _, joined = look(scene(arms, BLOCK))
    assert network.metrics()["components"] == 3
    graph = nx.MultiGraph(joined.ends.tolist())
    assert nx.number_connected_components(graph) == 1
    assert sorted(d for _, d in graph.degree()) == [1, 1, 1, 3]


def test_a_tubule_that_passes_a_sheet_is_cut_there_and_one_along_it_belongs_to_it():
    passing = scene([((28, 10), (28, 95))], BLOCK)  # runs along the block's upper side
    network, touched, joined = look(passing)
    assert len(network.ends) == 1
    assert 0.2 < touched.edge_sheet[0] < 0.6
    assert joined.nodes == 3
    assert sorted(map(sorted, joined.ends.tolist())) == [[0, 2], [1, 2]]
    assert joined.edge_of.tolist() == [0, 0]
    along = scene([((28, 64), (28, 86))], BLOCK)
    _, touched, joined = look(along)
    assert touched.edge_sheet[0] == 1
    assert (joined.nodes, len(joined.ends)) == (1, 0)


def test_a_handle_on_a_sheet_is_a_loop():
    handle = [((48, 60), (48, 20)), ((48, 20), (80, 20)), ((80, 20), (80, 50)), ((80, 50), (60, 70))]
    _, _, joined = look(scene(handle, BLOCK))
    assert joined.ends.tolist() == [[0, 0]]


def test_sheets_that_nothing_touches_are_isolated_nodes():
    classes = scene([((10, 10), (10, 40))], BLOCK)
    _, _, joined = look(classes)
    assert (joined.nodes, joined.sheets, len(joined.ends)) == (3, 1, 1)


def test_traced_classes_are_no_contacts():
    classes = scene([((48, 10), (48, 70))], BLOCK, SBT)
    _, touched, joined = look(classes, ("tubule", "sbt"))
    assert touched.areas == joined.sheets == 0


def test_empty_frames_and_frames_of_sheet_alone():
    _, touched, joined = look(np.zeros((32, 32), np.uint8))
    assert (touched.areas, joined.nodes, len(joined.ends)) == (0, 0, 0)
    _, touched, joined = look(np.full((32, 32), SHEET, np.uint8))
    assert (touched.areas, joined.nodes, len(joined.ends)) == (1, 1, 0)
