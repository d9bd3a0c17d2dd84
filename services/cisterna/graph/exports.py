"""Networks as files of other programs: GraphML, VTK, and the `.net` text of network simulators.

A `.net` file lists `NODE id x y [z] [label]` and `EDGE id node_a node_b length`, ids from 1, `#` starting a
comment; lengths run along the curve. networkx multigraphs are what goes in and out.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterable

import networkx as nx
import numpy as np

from cisterna.graph.vtk import write_vtk

__all__ = ["graphml", "network_from_tables", "read_net", "write_net", "write_vtk"]


def graphml(graph: nx.MultiGraph) -> bytes:
    """A network as GraphML, curves as text "y x, y x, …" in µm, everything else as typed attributes."""
    plain: nx.MultiGraph = nx.MultiGraph()
    for node, data in graph.nodes(data=True):
        plain.add_node(node, **{k: _scalar(v) for k, v in data.items()})
    for a, b, key, data in graph.edges(keys=True, data=True):
        plain.add_edge(a, b, key=key, **{k: _scalar(v) for k, v in data.items()})
    out = io.BytesIO()
    nx.write_graphml_xml(plain, out, encoding="utf-8")
    return out.getvalue()


def network_from_tables(nodes: Iterable[dict[str, object]], edges: Iterable[dict[str, object]]) -> nx.MultiGraph:
    """The multigraph of one frame from rows of the tables nodes and edges."""
    graph: nx.MultiGraph = nx.MultiGraph()
    for row in nodes:
        graph.add_node(row["node_id"], **{k: v for k, v in row.items() if k not in ("node_id", "frame", "degree")})
    for row in edges:
        path = np.asarray(row["path_yx_um"], np.float64).reshape(-1, 2)
        kept = {k: row[k] for k in ("edge_id", "length_um", "width_um")}
        graph.add_edge(row["node_a"], row["node_b"], **kept, path_um=path)
    return graph


def read_net(text: str) -> nx.MultiGraph:
    """Reads a `.net` network: node attributes x_um, y_um[, z_um, label], edge attributes edge_id, length_um.

    Ids stay as they are in the file. An edge without a length gets the straight distance. Raises ValueError naming
    the line that cannot be read.
    """
    graph: nx.MultiGraph = nx.MultiGraph()
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split("#", 1)[0].split()
        if not words:
            continue
        try:
            if words[0] == "NODE":
                _add_node(graph, words)
            elif words[0] == "EDGE":
                _add_edge(graph, words)
            else:
                raise ValueError(f"{words[0]} is neither NODE nor EDGE")
        except (ValueError, IndexError) as error:
            raise ValueError(f"line {number} of the network, {line.strip()!r}: {error}") from error
    return graph


def write_net(graph: nx.MultiGraph) -> str:
    """A network as `.net` text. Ids are written as they are when all are positive, else counted from 1."""
    ids = list(graph.nodes)
    keep = all(isinstance(n, int) and n > 0 for n in ids)
    name = {n: n if keep else i for i, n in enumerate(ids, 1)}
    lines = ["# network: node number, x y [z] in µm"]
    for node, data in graph.nodes(data=True):
        place = [data["x_um"], data["y_um"], *([data["z_um"]] if "z_um" in data else [])]
        label = f" {data['label']}" if "label" in data else ""
        lines.append(f"NODE {name[node]} " + " ".join(f"{v:.10f}" for v in place) + label)
    lines.append("# edge number, its two nodes, length along the curve in µm")
    for count, (a, b, data) in enumerate(graph.edges(data=True), 1):
        lines.append(
            f"EDGE {data.get('edge_id', count) if keep else count} {name[a]} {name[b]} {data['length_um']:.10f}"
        )
    return "\n".join(lines) + "\n"


def _add_node(graph: nx.MultiGraph, words: list[str]) -> None:
    numbers = []
    for word in words[2:5]:
        try:
            numbers.append(float(word))
        except ValueError:
            break
    if len(numbers) < 2 or not all(map(math.isfinite, numbers)):
        raise ValueError("a node needs a number, x and y")
    node = int(words[1])
    if node in graph:
        raise ValueError(f"node {node} occurs twice")
    place = dict(zip(("x_um", "y_um", "z_um"), numbers, strict=False))
    label = words[2 + len(numbers) :]
    graph.add_node(node, **place, **({"label": " ".join(label)} if label else {}))


def _add_edge(graph: nx.MultiGraph, words: list[str]) -> None:
    number, a, b = (int(w) for w in words[1:4])
    for node in (a, b):
        if node not in graph:
            raise ValueError(f"node {node} is not defined above")
    if len(words) > 4:
        length = float(words[4])
    else:
        at = [[graph.nodes[n].get(k, 0.0) for k in ("x_um", "y_um", "z_um")] for n in (a, b)]
        length = math.dist(*at)
    graph.add_edge(a, b, edge_id=number, length_um=length)


def _scalar(value: object) -> object:
    if isinstance(value, np.ndarray):
        return ", ".join(" ".join(f"{v:.4f}" for v in point) for point in np.atleast_2d(value))
    return value.item() if isinstance(value, np.generic) else value
