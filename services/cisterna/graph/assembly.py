"""The network with each connected sheet as one node: assembly as a protein in the ER would see it."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

from cisterna.graph.contacts import Contacts
from cisterna.graph.skeleton import Ints


@dataclass(frozen=True)
class Assembly:
    """`nodes` nodes, the sheets last, and edges `ends` (k, 2); `edge_of` (k,) is the tubule each comes from."""

    nodes: int
    sheets: int
    ends: Ints
    edge_of: Ints
    node_name: Ints


def with_sheets(nodes: int, ends: Ints, start: Ints, contacts: Contacts) -> Assembly:
    """Joins what touches one area of sheet and SBT into one node.

    Nodes that touch an area become it; a tubule that passes an area between its ends is cut there into two that end in
    it; one that runs along an area all the way is part of it. A tubule that leaves an area and comes back stays, as a
    loop. Areas that nothing touches are nodes without edges. `node_name` (nodes,) is each node's new number.
    """
    own = contacts.node_area == 0
    name = np.cumsum(own) - 1
    left = int(own.sum())
    name = np.where(own, name, left + contacts.node_area - 1)
    total = left + contacts.areas
    if len(ends) == 0 or contacts.areas == 0:
        return Assembly(total, contacts.areas, name[ends].reshape(-1, 2), np.arange(len(ends)), name)
    joined = name[ends]
    length = np.diff(start)
    touching = np.add.reduceat(contacts.point_area > 0, start[:-1]) if len(contacts.point_area) else np.zeros(0)
    beside = np.flatnonzero((touching > 0) & (length > 0))
    plain = np.ones(len(ends), bool)
    extra: list[tuple[int, int]] = []
    origin: list[int] = []
    for edge in beside.tolist():
        a, b = joined[edge].tolist()
        area = contacts.point_area[start[edge] : start[edge + 1]]
        stops = _stops(area, a, b, left)
        if stops == [a, b]:
            continue
        plain[edge] = False
        extra += list(itertools.pairwise(stops))
        origin += [edge] * (len(stops) - 1)
    kept = np.flatnonzero(plain)
    return Assembly(
        total,
        contacts.areas,
        np.concatenate([joined[kept], np.array(extra, np.int64).reshape(-1, 2)]),
        np.concatenate([kept, np.array(origin, np.int64)]),
        name,
    )


def _stops(area: np.ndarray, a: int, b: int, left: int) -> list[int]:
    """Nodes that a tubule passes from a to b, areas between included."""
    change = np.flatnonzero(np.diff(area)) + 1
    runs = area[np.concatenate([[0], change])].tolist()
    stops = [a]
    away = False  # whether the tubule has left the node that it came to last
    for run in runs:
        if run == 0:
            away = True
        elif (here := left + run - 1) != stops[-1] or away:
            stops.append(here)
            away = False
    if stops[-1] != b or away:
        stops.append(b)
    return stops
