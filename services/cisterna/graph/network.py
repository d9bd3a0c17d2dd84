"""A traced network: positions, tubules and what can be asked of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import networkx as nx
import numpy as np
import pandas as pd

from cisterna.graph.geometry import Curves
from cisterna.graph.metrics import network_metrics
from cisterna.graph.skeleton import Bools, Floats, Ints, groups

AXES = {2: ("y", "x"), 3: ("z", "y", "x")}


@dataclass(frozen=True)
class Unmerged:
    """The graph before junctions were merged: `nodes` nodes, edges `ends` (m, 2) of `length_px` (finest spacing)."""

    nodes: int
    ends: Ints
    length_px: Floats


@dataclass(frozen=True)
class Network:
    """A multigraph in space. `positions` and `lines` are in pixels, z,y,x or y,x; everything public is in µm.

    Nodes and edges are numbered from 0. Degree-2 nodes occur on isolated rings only.
    """

    mask: Bools
    spacing_um: Floats
    positions: Floats
    ends: Ints
    lines: Curves
    length_um: Floats
    width_um: Floats
    border: Bools
    unmerged: Unmerged

    @property
    def axes(self) -> tuple[str, ...]:
        return AXES[len(self.spacing_um)]

    @cached_property
    def degree(self) -> Ints:
        """Branches at each node; a loop counts twice, parallel tubules count each."""
        return np.bincount(self.ends.ravel(), minlength=len(self.positions)).astype(np.int64)

    @cached_property
    def ring(self) -> Bools:
        """Edges that are isolated rings: a loop at a node where nothing else ends."""
        return np.asarray((self.ends[:, 0] == self.ends[:, 1]) & (self.degree[self.ends[:, 0]] == 2))

    @cached_property
    def kind(self) -> np.ndarray:
        """Per node: junction, tip, border, ring or isolated."""
        kind = np.full(len(self.positions), "junction", dtype=object)
        kind[self.degree == 0] = "isolated"
        kind[self.degree == 1] = "tip"
        kind[self.degree == 2] = "ring"
        kind[self.border & (self.degree == 1)] = "border"
        return kind

    @cached_property
    def component(self) -> Ints:
        """Connected component of each node; 0 is the one with most nodes (most edges among equals)."""
        count, labels = groups(self.ends, len(self.positions))
        if count == 0:
            return labels
        nodes = np.bincount(labels, minlength=count)
        edges = np.bincount(labels[self.ends[:, 0]], minlength=count)
        rank = np.empty(count, np.int64)
        rank[np.lexsort((np.arange(count), -edges, -nodes))] = np.arange(count)
        return rank[labels]

    @cached_property
    def nodes(self) -> pd.DataFrame:
        """Columns node_id, [z_um,] y_um, x_um, degree, kind, component."""
        columns: dict[str, object] = {"node_id": np.arange(len(self.positions))}
        for axis, name in enumerate(self.axes):
            columns[f"{name}_um"] = self.positions[:, axis] * self.spacing_um[axis]
        columns |= {"degree": self.degree, "kind": self.kind, "component": self.component}
        return pd.DataFrame(columns)

    @cached_property
    def edges(self) -> pd.DataFrame:
        """Columns edge_id, node_a, node_b, length_um, width_um, ring, component, path_yx_um (or path_zyx_um).

        The path is flat: y0, x0, y1, x1 … from node_a to node_b.
        """
        paths = np.empty(len(self.ends), dtype=object)
        points = (self.lines.points * self.spacing_um).astype(np.float32).ravel()
        start = self.lines.start * len(self.spacing_um)
        for edge in range(len(self.ends)):
            paths[edge] = points[start[edge] : start[edge + 1]]
        return pd.DataFrame(
            {
                "edge_id": np.arange(len(self.ends)),
                "node_a": self.ends[:, 0],
                "node_b": self.ends[:, 1],
                "length_um": self.length_um,
                "width_um": self.width_um,
                "ring": self.ring,
                "component": self.component[self.ends[:, 0]],
                f"path_{''.join(self.axes)}_um": paths,
            }
        )

    @cached_property
    def graph(self) -> nx.MultiGraph:
        """The network as a networkx multigraph.

        Node attributes: [z_um,] y_um, x_um, kind, component. Edge attributes: edge_id, length_um, width_um, ring,
        path_um (n, d).
        """
        graph: nx.MultiGraph = nx.MultiGraph()
        names = [f"{n}_um" for n in self.axes]
        places = (self.positions * self.spacing_um).tolist()
        for node, (place, kind, part) in enumerate(zip(places, self.kind, self.component.tolist(), strict=True)):
            graph.add_node(node, **dict(zip(names, place, strict=True)), kind=kind, component=part)
        rows = zip(self.ends.tolist(), self.length_um.tolist(), self.width_um.tolist(), self.ring.tolist(), strict=True)
        for edge, ((a, b), length, width, ring) in enumerate(rows):
            path = self.lines.path(edge) * self.spacing_um
            graph.add_edge(a, b, edge_id=edge, length_um=length, width_um=width, ring=ring, path_um=path)
        return graph

    def metrics(self) -> dict[str, float | int]:
        """Every figure of the network under its exact name; see `cisterna.graph.metrics.network_metrics`."""
        return network_metrics(len(self.positions), self.ends, self.length_um)

    def reference_columns(self, name: str) -> Mapping[str, object]:
        """The published CSV's columns for this mask, measured on a second, plain graph; see docs/graph.md."""
        from cisterna.graph.reference import reference_columns

        return reference_columns(self.mask, name)
