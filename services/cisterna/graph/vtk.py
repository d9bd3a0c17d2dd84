"""Networks for ParaView and other VTK programs: legacy PolyData, positions in µm."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import networkx as nx
import numpy as np

if TYPE_CHECKING:
    from cisterna.graph.network import Network

_ON_CURVE = -1
SAME_PLACE_UM = 1e-5


def write_vtk(network: Network | nx.MultiGraph, title: str = "network") -> str:
    """A network, 2-D or 3-D, as legacy VTK PolyData (ASCII): nodes as vertices, tubules as polylines, x y z in µm.

    Point data: `node_id` and `degree` (-1 on curves between nodes), `radius_um` (half the mean width of the tubule, at
    a node that of its widest one: what ParaView's Tube filter takes). Cell data: `edge_id` (-1 for a vertex),
    `length_um`, `width_um`, `component`. 2-D networks lie at z = 0. Nodes without a number get their place in the list.
    """
    graph = network if isinstance(network, nx.MultiGraph) else network.graph
    ids = {node: number for number, node in enumerate(graph.nodes)}
    points = [_place(data) for _, data in graph.nodes(data=True)]
    radius = [0.0] * len(points)
    degree = [int(d) for _, d in graph.degree()]
    lines: list[list[int]] = []
    cells: list[tuple[int, float, float, int]] = [
        (-1, math.nan, math.nan, int(data.get("component", -1))) for _, data in graph.nodes(data=True)
    ]
    for number, (a, b, data) in enumerate(graph.edges(data=True)):
        half = float(data.get("width_um", math.nan)) / 2
        between = _between(data.get("path_um"), points[ids[a]], points[ids[b]])
        first = len(points)
        points += between
        radius += [half] * len(between)
        for end in (ids[a], ids[b]):
            radius[end] = max(radius[end], half) if half == half else radius[end]
        lines.append([ids[a], *range(first, first + len(between)), ids[b]])
        part = int(data.get("component", graph.nodes[a].get("component", -1)))
        width = float(data.get("width_um", math.nan))
        cells.append((int(data.get("edge_id", number)), float(data["length_um"]), width, part))
    curve = [_ON_CURVE] * (len(points) - len(ids))
    node_ids = [n if isinstance(n, int) else ids[n] for n in graph.nodes]
    text = ["# vtk DataFile Version 3.0", f"{_title(title)}; positions in um", "ASCII", "DATASET POLYDATA"]
    text.append(f"POINTS {len(points)} double")
    text += [" ".join(f"{v:.9g}" for v in point) for point in points]
    text.append(f"VERTICES {len(ids)} {2 * len(ids)}")
    text += [f"1 {n}" for n in range(len(ids))]
    text.append(f"LINES {len(lines)} {sum(len(line) + 1 for line in lines)}")
    text += [" ".join(map(str, (len(line), *line))) for line in lines]
    if points:
        text.append(f"POINT_DATA {len(points)}")
        text += _scalars("node_id", "int", [*node_ids, *curve])
        text += _scalars("degree", "int", [*degree, *curve])
        text += _scalars("radius_um", "double", radius)
        text.append(f"CELL_DATA {len(cells)}")
        for column, (name, kind) in enumerate(
            (("edge_id", "int"), ("length_um", "double"), ("width_um", "double"), ("component", "int"))
        ):
            text += _scalars(name, kind, [cell[column] for cell in cells])
    return "\n".join(text) + "\n"


def _title(title: str) -> str:
    """The second line of the file: at most 256 characters, no line break."""
    return " ".join(title.split())[:200]


def _place(data: dict[str, float]) -> tuple[float, float, float]:
    return float(data["x_um"]), float(data["y_um"]), float(data.get("z_um", 0.0))


def _between(path: Any, start: tuple[float, ...], end: tuple[float, ...]) -> list[tuple[float, float, float]]:
    """The curve's points x,y,z without those that are its nodes; none where the edge has no curve."""
    if path is None or np.size(path) == 0:
        return []
    curve = np.asarray(path, np.float64)
    placed = [(float(p[-1]), float(p[-2]), float(p[-3]) if len(p) == 3 else 0.0) for p in curve]
    if math.dist(placed[0], start) < SAME_PLACE_UM:
        placed = placed[1:]
    if placed and math.dist(placed[-1], end) < SAME_PLACE_UM:
        placed = placed[:-1]
    return placed


def _scalars(name: str, kind: str, values: Iterable[float]) -> list[str]:
    words = (str(int(v)) if kind == "int" else f"{v:.9g}" for v in values)
    return [f"SCALARS {name} {kind} 1", "LOOKUP_TABLE default", *words]
