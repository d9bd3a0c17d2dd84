"""Decisions as a WEBKNOSSOS skeleton (NML), both ways.

A site is a tree of one node that carries its judgement as the node's comment; a length is a tree of two nodes beside
it, in the same group. Positions are voxels x,y,z from the outer corner of voxel 0; `scale` gives their size.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from cisterna.review.decisions import Decision, Length, Point, form_of
from cisterna.review.sampling import Sample
from cisterna.review.sheet import read_count

FARTHEST_NM = 1000.0
"""A length drawn outside every site's group belongs to the nearest site, if that is not farther than this."""

_SITE = re.compile(r"site (\S+)")
_REVIEWER = "reviewer "
_EMPTY = "vesicles: ; form: ; bud: ; why: "


def write_skeleton(sample: Sample, decisions: Sequence[Decision] = (), reviewer: str = "", dataset: str = "") -> bytes:
    """The sample as NML: with decisions, one group a reviewer; without, empty comments to fill in.

    `dataset` is the name of the WEBKNOSSOS dataset (the sample's id where it is not given).
    """
    root = Element("things")
    SubElement(root, "meta", name="writer", content="cisterna")
    parameters = SubElement(root, "parameters")
    SubElement(parameters, "experiment", name=dataset or sample.sample, description=f"review {sample.sample}")
    z, y, x = sample.voxel_size_nm
    SubElement(parameters, "scale", x=repr(x), y=repr(y), z=repr(z), unit="nanometer")
    SubElement(parameters, "offset", x="0", y="0", z="0")
    SubElement(parameters, "time", ms="0")
    first = sample.items[0].position_nm
    SubElement(parameters, "editPosition", _whole(first, sample.voxel_size_nm))
    SubElement(parameters, "editRotation", xRot="0.0", yRot="0.0", zRot="0.0")
    SubElement(parameters, "zoomLevel", zoom="1.0")
    draw = _Drawing(root, sample)
    top = draw.group(draw.groups, f"review {sample.sample}")
    if decisions:
        for who in dict.fromkeys(d.reviewer for d in decisions):
            group = draw.group(top, _REVIEWER + who)
            for d in decisions:
                if d.reviewer == who:
                    draw.site(group, d.item, comment_of(d), d.lengths)
    else:
        group = draw.group(top, _REVIEWER + reviewer) if reviewer else top
        for item in sample.items:
            draw.site(group, item.item, _EMPTY, ())
    for part in (Element("branchpoints"), draw.comments, draw.groups):
        root.append(part)
    ElementTree.indent(root, " ")
    body: str = ElementTree.tostring(root, encoding="unicode")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{body}\n'.encode()


def _whole(position_nm: Point, voxel_size_nm: Sequence[float]) -> dict[str, str]:
    """The voxel that holds a position, as x, y, z attributes: what every version of WEBKNOSSOS reads."""
    voxels = [math.floor(p / v) for p, v in zip(position_nm, voxel_size_nm, strict=True)]
    return dict(zip("zyx", map(str, voxels), strict=True))


@dataclass
class _Drawing:
    """Trees, comments and groups as they are added, with their numbers."""

    root: Element
    sample: Sample
    comments: Element = field(default_factory=lambda: Element("comments"))
    groups: Element = field(default_factory=lambda: Element("groups"))
    trees: int = 0
    nodes: int = 0
    group_ids: int = 0

    def group(self, parent: Element, name: str) -> Element:
        self.group_ids += 1
        return SubElement(parent, "group", id=str(self.group_ids), name=name, isExpanded="true")

    def site(self, parent: Element, item: str, comment: str, lengths: Sequence[Length]) -> None:
        group = self.group(parent, f"site {item}")
        found = self.sample.item(item)
        if found is None:
            raise ValueError(f"sample {self.sample.sample} has no item {item!r}")
        voxel = self.sample.voxel_size_nm
        self._tree(group, f"site {item}", [_whole(found.position_nm, voxel)], (0.84, 0.37, 0.0))
        SubElement(self.comments, "comment", node=str(self.nodes), content=comment)
        for n, length in enumerate(lengths, 1):
            ends = [
                {axis: repr(p / v) for axis, p, v in zip("zyx", point, voxel, strict=True)}
                for point in (length.start, length.end)
            ]
            self._tree(group, f"length {n}", ends, (0.0, 0.62, 0.45))

    def _tree(self, group: Element, name: str, points: list[dict[str, str]], colour: tuple[float, ...]) -> None:
        self.trees += 1
        rgb = {f"color.{c}": str(v) for c, v in zip("rgba", (*colour, 1.0), strict=True)}
        tree = SubElement(
            self.root, "thing", {"id": str(self.trees), "groupId": group.attrib["id"], "name": name, **rgb}
        )
        nodes, edges = SubElement(tree, "nodes"), SubElement(tree, "edges")
        first = self.nodes + 1
        for point in points:
            self.nodes += 1
            SubElement(
                nodes, "node", {"id": str(self.nodes), "radius": "20.0", **point},
                rotX="0.0", rotY="0.0", rotZ="0.0", inVp="0", inMag="0", bitDepth="8", interpolation="false", time="0",
            )  # fmt: skip
        if len(points) == 2:
            SubElement(edges, "edge", source=str(first), target=str(self.nodes))


def comment_of(decision: Decision) -> str:
    """The judgement as one comment; `why` comes last, because it may hold anything."""
    count = "" if decision.vesicles is None else str(decision.vesicles)
    parts = [f"vesicles: {count}", f"form: {decision.form}", f"bud: {decision.bud}", f"when: {decision.when_utc}"]
    if decision.revision:
        parts.append(f"revision: {decision.revision}")
    if decision.tool_version:
        parts.append(f"tool: {decision.tool_version}")
    return "; ".join([*parts, f"why: {decision.why}"])


def read_comment(text: str) -> dict[str, str]:
    """The entries of a comment; ValueError for an entry that is none of ours."""
    entries, rest = {}, text.lstrip()
    while rest:
        name, colon, tail = rest.partition(":")
        name = name.strip().lower()
        if not colon or name not in ("vesicles", "form", "bud", "when", "revision", "tool", "why"):
            raise ValueError(
                f"the comment {text[:60]!r} is not understood: write `vesicles: 7; form: vesicle cluster; bud: yes; "
                "why: your words`"
            )
        if name in entries:
            raise ValueError(f"the comment names {name} twice")
        if name == "why":
            entries[name] = tail.removeprefix(" ")
            break
        value, *after = re.split("[;\n]", tail, maxsplit=1)
        entries[name], rest = value.strip(), "".join(after).lstrip()
    return entries


@dataclass
class _Site:
    """A site's tree as read: who (from its group), its comment, and the lengths beside it."""

    item: str
    reviewer: str
    comment: str
    lengths: list[Length]


def read_skeleton(
    data: bytes, find_sample: Callable[[str], Sample], sample: str, reviewer: str, when_utc: str, tool_version: str
) -> tuple[list[Decision], list[str]]:
    """Decisions of an NML file and the items left blank; arguments as `read_sheet` takes them.

    `find_sample` gives a sample by its id, which the file's groups name where `sample` is empty. Raises ValueError
    naming tree and value.
    """
    root = _parse(data)
    names = {g.get("id", ""): chain for g, chain in _groups(root)}
    told = {c.removeprefix("review ") for chain in names.values() for c in chain[:1] if c.startswith("review ")}
    if sample and told - {sample}:
        raise ValueError(f"the file belongs to sample {', '.join(sorted(told))}, not to {sample}")
    if not sample and len(told) != 1:
        raise ValueError(f"the file names {len(told)} samples in its groups: add --sample ID")
    key = find_sample(sample or told.pop())
    _check_scale(root, key)
    comments = {c.get("node", ""): c.get("content", "") for c in root.iter("comment")}
    sites: list[_Site] = []
    places: dict[str, _Site] = {}
    lines: list[tuple[str, Element, list[Element]]] = []
    for tree in root.iter("thing"):
        nodes, name, group = list(tree.iter("node")), tree.get("name", ""), tree.get("groupId", "")
        match = _SITE.fullmatch(name.strip())
        if not nodes:
            continue
        if match and key.item(match[1]) is None:
            raise ValueError(f"tree {name!r}: sample {key.sample} has no item {match[1]!r}")
        if match and len(nodes) != 1:
            raise ValueError(f"tree {name!r} has {len(nodes)} nodes: draw each length as a tree of its own, two nodes")
        if match:
            who = next((c.removeprefix(_REVIEWER) for c in names.get(group, ()) if c.startswith(_REVIEWER)), "")
            sites.append(_Site(match[1], who, comments.get(nodes[0].get("id", ""), ""), []))
            places[group] = sites[-1]
        else:
            lines.append((group, tree, nodes))
    for group, tree, nodes in lines:
        length = _length(tree, nodes, key)
        site = places.get(group) if any(c.startswith("site ") for c in names.get(group, ())) else None
        (site or _nearest(length, sites, key, tree.get("name", ""))).lengths.append(length)
    found, blank = [], []
    for site in sites:
        try:
            decision = _decision(site, key, reviewer, when_utc, tool_version)
        except ValueError as e:
            raise ValueError(f"site {site.item}: {e}") from None
        if decision is None:
            blank.append(site.item)
        else:
            found.append(decision)
    return found, blank


def _parse(data: bytes) -> Element:
    # No entity is ever declared in an NML file; one that is could expand without end.
    if b"<!DOCTYPE" in data or b"<!ENTITY" in data:
        raise ValueError("the file declares entities: no NML file of WEBKNOSSOS does, it is not read")
    try:
        root = ElementTree.fromstring(data)
    except ElementTree.ParseError as e:
        raise ValueError(f"the file is no XML ({e}): download the annotation as NML from WEBKNOSSOS") from None
    if root.tag != "things":
        raise ValueError(f"the file begins with <{root.tag}>, an NML file with <things>")
    return root


def _groups(root: Element) -> Iterator[tuple[Element, tuple[str, ...]]]:
    """Every group with the names from the top down to it."""

    def below(parent: Element, chain: tuple[str, ...]) -> Iterator[tuple[Element, tuple[str, ...]]]:
        for group in parent.findall("group"):
            names = (*chain, group.get("name", ""))
            yield group, names
            yield from below(group, names)

    for groups in root.findall("groups"):
        yield from below(groups, ())


def _check_scale(root: Element, sample: Sample) -> None:
    scale = root.find("parameters/scale")
    found = tuple(_number(scale, axis) for axis in "zyx") if scale is not None else (math.nan,) * 3
    unit = scale.get("unit", "nanometer") if scale is not None else ""
    same = all(abs(a - b) <= 1e-3 * b for a, b in zip(found, sample.voxel_size_nm, strict=True))
    if unit not in ("nanometer", "nm") or not same:
        told = " × ".join(f"{v:g}" for v in found)
        own = " × ".join(f"{v:g}" for v in sample.voxel_size_nm)
        raise ValueError(
            f"the file's voxels are {told} {unit} (z × y × x), the run's {own} nm: annotate a dataset with the run's "
            "voxel size"
        )


def _number(element: Element, name: str) -> float:
    try:
        value = float(element.get(name, ""))
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(f"<{element.tag}> {element.get('id', '')} has {name}={element.get(name)!r}, no number")
    return value


def _length(tree: Element, nodes: list[Element], sample: Sample) -> Length:
    name = tree.get("name", "")
    if len(nodes) != 2:
        raise ValueError(f"tree {name!r} has {len(nodes)} node(s): a length has two, a site's tree is named `site 07`")
    ids = {n.get("id") for n in nodes}
    if not any({e.get("source"), e.get("target")} == ids for e in tree.iter("edge")):
        raise ValueError(f"the two nodes of tree {name!r} are not joined: draw the length again")
    z, y, x = sample.voxel_size_nm
    start, end = ((_number(n, "z") * z, _number(n, "y") * y, _number(n, "x") * x) for n in nodes)
    return Length(start, end)


def _nearest(length: Length, sites: Sequence[_Site], sample: Sample, name: str) -> _Site:
    """The site nearest to the middle of a length that was drawn outside every site's group."""
    middle = [(a + b) / 2 for a, b in zip(length.start, length.end, strict=True)]
    positions: Mapping[str, Point] = {i.item: i.position_nm for i in sample.items}
    if len({s.reviewer for s in sites}) > 1:
        raise ValueError(f"tree {name!r} is in no site's group, and several reviewers are: move it into its group")
    near = min(sites, key=lambda s: math.dist(middle, positions[s.item]), default=None)
    if near is None or math.dist(middle, positions[near.item]) > FARTHEST_NM:
        raise ValueError(f"tree {name!r} is in no site's group and farther than {FARTHEST_NM:g} nm from every site")
    return near


def _decision(site: _Site, sample: Sample, reviewer: str, when_utc: str, tool_version: str) -> Decision | None:
    entry = read_comment(site.comment)
    if not site.lengths and not any(entry.get(n, "").strip() for n in ("vesicles", "form", "bud", "why")):
        return None
    if site.reviewer and reviewer and site.reviewer != reviewer:
        raise ValueError(f"it is {site.reviewer}'s decision: import it with --reviewer '{site.reviewer}'")
    if not (site.reviewer or reviewer):
        raise ValueError("nobody is named: add --reviewer WHO")
    revision = entry.get("revision", "") or "0"
    if not re.fullmatch(r"\d{1,6}", revision):
        raise ValueError(f"revision {revision!r} is no whole number")
    return Decision(
        sample=sample.sample,
        item=site.item,
        reviewer=site.reviewer or reviewer,
        when_utc=entry.get("when", "") or when_utc,
        vesicles=read_count(entry.get("vesicles", "")),
        form=form_of(entry.get("form", "")),
        bud=entry.get("bud", "").lower(),
        why=entry.get("why", ""),
        lengths=tuple(site.lengths),
        revision=int(revision),
        tool_version=entry.get("tool", "") or tool_version,
    )
