"""NML, the annotation file of WEBKNOSSOS: points with comments, in named, coloured trees.

Positions are voxels x,y,z from the outer corner of the first voxel, so that voxel i reaches from i to i + 1: our nm
from that corner, divided by the voxel size. Radii are nm.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from xml.etree import ElementTree as Xml


@dataclass(frozen=True)
class Node:
    """One point; `position_zyx_nm` counts from the outer corner of the first voxel."""

    position_zyx_nm: tuple[float, float, float]
    radius_nm: float = 50.0
    comment: str = ""


@dataclass(frozen=True)
class Tree:
    """Points under one name and colour (#rrggbb); successive nodes are joined by a line when `joined`."""

    name: str
    nodes: tuple[Node, ...]
    colour: str = "#ffffff"
    group: str = ""
    joined: bool = False


def nml_bytes(dataset: str, voxel_size_nm: Sequence[float], trees: Sequence[Tree], description: str = "") -> bytes:
    """The trees as NML, UTF-8; `voxel_size_nm` is z,y,x. Trees of one `group` stand in one folder of the tree list.

    Raises ValueError for a position that is not finite.
    """
    root = Xml.Element("things")
    parameters = Xml.SubElement(root, "parameters")
    about = {"description": description} if description else {}
    Xml.SubElement(parameters, "experiment", {"name": dataset, **about})
    z, y, x = (f"{v:.10g}" for v in voxel_size_nm)
    Xml.SubElement(parameters, "scale", {"x": x, "y": y, "z": z, "unit": "nanometer"})
    groups = {name: n for n, name in enumerate(dict.fromkeys(t.group for t in trees if t.group), 1)}
    comments: list[tuple[int, str]] = []
    number = 0
    for tree_id, tree in enumerate(trees, 1):
        about = {"id": str(tree_id), "name": tree.name, **_colour(tree.colour)}
        if tree.group:
            about["groupId"] = str(groups[tree.group])
        thing = Xml.SubElement(root, "thing", about)
        nodes, edges = Xml.SubElement(thing, "nodes"), Xml.SubElement(thing, "edges")
        for place, node in enumerate(tree.nodes):
            number += 1
            if not all(map(math.isfinite, node.position_zyx_nm)):
                raise ValueError(f"{tree.name}: the position {node.position_zyx_nm} nm is not finite")
            at = (p / v for p, v in zip(node.position_zyx_nm, voxel_size_nm, strict=True))
            z, y, x = (f"{v:.4f}" for v in at)
            Xml.SubElement(
                nodes, "node", {"id": str(number), "radius": f"{node.radius_nm:.3f}", "x": x, "y": y, "z": z}
            )
            if tree.joined and place:
                Xml.SubElement(edges, "edge", {"source": str(number - 1), "target": str(number)})
            if node.comment:
                comments.append((number, node.comment))
    Xml.SubElement(root, "branchpoints")
    said = Xml.SubElement(root, "comments")
    for node_id, text in comments:
        Xml.SubElement(said, "comment", {"node": str(node_id), "content": text})
    folders = Xml.SubElement(root, "groups")
    for name, group_id in groups.items():
        Xml.SubElement(folders, "group", {"id": str(group_id), "name": name})
    Xml.indent(root, " ")
    return bytes(Xml.tostring(root, encoding="utf-8", xml_declaration=True)) + b"\n"


def read_nml(data: bytes) -> tuple[tuple[float, float, float], tuple[Tree, ...]]:
    """(voxel size z,y,x in nm, trees) of an NML file, in the order of the file.

    Raises ValueError where it is no NML or names no voxel size.
    """
    try:
        root = Xml.fromstring(data)
    except Xml.ParseError as error:
        raise ValueError(f"this is no NML file ({error}); download it from WEBKNOSSOS again") from error
    scale = root.find("parameters/scale")
    if root.tag != "things" or scale is None:
        raise ValueError("this is no NML file: it has no <things> with <parameters><scale>")
    voxel = tuple(float(scale.get(a, "nan")) for a in "zyx")
    if scale.get("unit", "nanometer") != "nanometer" or not all(v > 0 for v in voxel):
        raise ValueError(f"the NML file's voxel size {voxel} {scale.get('unit', '')} is not in nanometer")
    said = {c.get("node"): c.get("content", "") for c in root.iterfind("comments/comment")}
    folders = {g.get("id"): g.get("name", "") for g in root.iter("group")}
    trees = []
    for thing in root.iterfind("thing"):
        nodes = tuple(
            Node(
                tuple(float(n.get(a, "nan")) * v for a, v in zip("zyx", voxel, strict=True)),  # type: ignore[arg-type]
                float(n.get("radius", "0")),
                said.get(n.get("id"), ""),
            )
            for n in thing.iterfind("nodes/node")
        )
        rgb = (round(255 * float(thing.get(f"color.{c}", "1"))) for c in "rgb")
        trees.append(
            Tree(
                thing.get("name", ""), nodes, "#" + "".join(f"{c:02x}" for c in rgb),
                folders.get(thing.get("groupId"), ""), thing.find("edges/edge") is not None,
            )
        )  # fmt: skip
    return voxel, tuple(trees)  # type: ignore[return-value]


def _colour(colour: str) -> dict[str, str]:
    parts = {c: int(colour[1 + 2 * n : 3 + 2 * n], 16) / 255 for n, c in enumerate("rgb")}
    return {f"color.{c}": f"{v:.6f}" for c, v in parts.items()} | {"color.a": "1.0"}
