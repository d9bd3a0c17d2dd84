"""Networks of a movie as files, one a frame: GraphML, `.net` and VTK, all with coordinates in µm."""

from pathlib import Path

import networkx
import numpy as np
import pandas as pd

from cisterna.graph.exports import write_net, write_vtk
from cisterna.report.source import Tell

FORMATS = ("graphml", "net", "vtk")


def frame_graph(nodes: pd.DataFrame, edges: pd.DataFrame) -> networkx.MultiGraph:
    """The network of one frame: parallel tubules and loops are kept, every attribute has its unit in its name.

    `path_um` is the curve (n, 2) y,x from node_a to node_b; (n, 3) z,y,x of a z-stack.
    """
    graph: networkx.MultiGraph = networkx.MultiGraph()
    for row in nodes.to_dict("records"):
        graph.add_node(
            int(row["node_id"]), **{str(k): _plain(v) for k, v in row.items() if k not in ("frame", "node_id")}
        )
    column = "path_zyx_um" if "path_zyx_um" in edges else "path_yx_um"
    keys = ("frame", "node_a", "node_b", column)
    for row in edges.to_dict("records"):
        about = {str(k): _plain(v) for k, v in row.items() if k not in keys}
        path = np.asarray(row[column], np.float64).reshape(-1, 3 if column == "path_zyx_um" else 2)
        graph.add_edge(int(row["node_a"]), int(row["node_b"]), key=int(row["edge_id"]), path_um=path, **about)
    return graph


def _plain(value: object) -> object:
    return value.item() if isinstance(value, np.generic) else value


def graphml_bytes(graph: networkx.MultiGraph) -> bytes:
    """GraphML; curves become text, `path_yx_um` = "y0 x0 y1 x1 …" (`path_zyx_um` in a z-stack)."""
    plain = networkx.MultiGraph(**graph.graph)
    plain.add_nodes_from(graph.nodes(data=True))
    for a, b, key, data in graph.edges(keys=True, data=True):
        about = {k: v for k, v in data.items() if k != "path_um"}
        name = "path_zyx_um" if data["path_um"].shape[1] == 3 else "path_yx_um"
        about[name] = " ".join(f"{v:.6g}" for v in data["path_um"].ravel())
        plain.add_edge(a, b, key=key, **about)
    return "\n".join(networkx.generate_graphml(plain)).encode("utf-8") + b"\n"


def write_graphs(frames: pd.DataFrame, nodes: pd.DataFrame, edges: pd.DataFrame, folder: Path, tell: Tell) -> None:
    """`graphml/`, `net/` and `vtk/`, one file a frame, empty frames included, so that file n is frame n.

    In `.net`, whose numbers begin at 1, node n of the table is node n + 1.
    """
    for kind in FORMATS:
        (folder / kind).mkdir(parents=True, exist_ok=True)
    own_nodes, own_edges = (dict(tuple(t.groupby("frame"))) for t in (nodes, edges))
    for done, (frame, time_s) in enumerate(zip(frames["frame"], frames["time_s"], strict=True), 1):
        graph = frame_graph(own_nodes.get(frame, nodes.iloc[:0]), own_edges.get(frame, edges.iloc[:0]))
        graph.graph.update(frame=int(frame), time_s=float(time_s))
        stem = f"frame_{int(frame):05d}"
        (folder / "graphml" / f"{stem}.graphml").write_bytes(graphml_bytes(graph))
        (folder / "net" / f"{stem}.net").write_text(write_net(graph), encoding="utf-8")
        vtk = write_vtk(graph, f"frame {int(frame)} at {time_s:g} s")
        (folder / "vtk" / f"{stem}.vtk").write_text(vtk, encoding="utf-8")
        tell("networks", done / len(frames))
