"""The parts of a volume's export: contact sheet, surfaces, class stack, viewer and WEBKNOSSOS files."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup, escape

from cisterna.chunks import Box
from cisterna.report.annotations import Annotations, write_annotations
from cisterna.report.choices import Choices, Written
from cisterna.report.contact_sheet import SheetData, write_sheet
from cisterna.report.contents import Entry
from cisterna.report.images import site_class_planes, write_stack
from cisterna.report.meshes import Numbering, Surface, TooManyFaces, surfaces, write_glb
from cisterna.report.neuroglancer import BASE_URL, opened_at, state_bytes, viewer_link, viewer_state
from cisterna.report.palette import CCV, ER_OUTLINE, SITE_CLASSES
from cisterna.report.site_layers import CLASS_NUMBERS, site_collections
from cisterna.report.source import RunSource, Tell
from cisterna.report.webknossos import datasource_properties, sites_nml
from cisterna.store.arrays import open_level
from cisterna.store.objects import json_bytes
from cisterna.store.pyramids import Level, Pyramid
from cisterna.tables.volumes import SITES

SHEET_IMAGES = ("raw", "denoised", "labels/er", "labels/copi", "labels/tubular_eres")
MESH_VOXELS = {"er": 48_000_000, "objects": 400_000_000}
SITE_MARGIN_NM = 300.0
LINKED_SITES = 1000
OPACITY = {"er": 0.35}


def _sites(source: RunSource) -> pd.DataFrame:
    found = source.table("sites")
    return SITES.frame() if found is None else found


def _notes(source: RunSource) -> dict[int, str]:
    """What reviewers said about a site, in a few words."""
    reviewed = source.table("reviewed_sites")
    notes: dict[int, str] = {}
    for row in [] if reviewed is None else reviewed.to_dict("records"):
        words = [str(row.get(name, "")) for name in ("form", "exit_site") if row.get(name)]
        seen = row.get("vesicles")
        words += [f"{seen:g} vesicles"] if isinstance(seen, float) and np.isfinite(seen) else []
        number = int(row["site_id"])
        notes[number] = "; ".join([*([notes[number]] if number in notes else []), "reviewed: " + ", ".join(words)])
    return notes


def contact_sheet_part(source: RunSource, choices: Choices, folder: Path, tell: Tell) -> Written:
    sites = _sites(source)
    if not len(sites):
        return [], []
    images = {name: source.pyramids[name] for name in SHEET_IMAGES if name in source.pyramids}
    title = f"Sites of {source.run.acquisition or source.run.run_id}"
    data = SheetData(source.store, images, sites, source.objects, title, _notes(source))
    place = folder / "contact_sheet"
    paths = write_sheet(data, place, choices.sites_per_class, lambda share: tell("contact sheet", share))
    what = f"up to {choices.sites_per_class} sites of each class: raw, denoised and overlay in three planes"
    entries = [Entry("contact_sheet/contact_sheet.pdf", what, "any PDF viewer; prints on A4")]
    return entries + [
        Entry(p.relative_to(folder).as_posix(), f"page {n} of the sheet", "any picture viewer")
        for n, p in enumerate(paths[1:], 1)
    ], []


def site_class_tiff(source: RunSource, folder: Path, tell: Tell) -> list[Entry]:
    """A stack in which the objects of each site have the number of its class."""
    sites = _sites(source)
    if not len(sites) or "raw" not in source.pyramids:
        return []
    stack = site_class_planes(source, sites, source.objects, tell)
    write_stack(stack, source.base, np.dtype(np.uint8), folder / "tiff" / "site_classes.tif")
    numbers = ", ".join(f"{n} {s.label}" for s, n in ((s, CLASS_NUMBERS[s.key]) for s in SITE_CLASSES))
    return [Entry("tiff/site_classes.tif", f"objects of sites by class: {numbers}", "Fiji, Imaris, Amira")]


def _level(pyramid: Pyramid, voxels: int, source: RunSource) -> int:
    """The finest level with at most that many voxels whose blocks were made."""
    for n, level in enumerate(pyramid.levels):
        if int(np.prod(level.shape)) <= voxels and _was_made(source, level):
            return n
    return 0


def _was_made(source: RunSource, level: Level) -> bool:
    return bool(source.store.list(f"{level.path}/c"))


def _site_numbering(source: RunSource, name: str) -> Numbering:
    """Object ids of a class → the number of their site's class; objects without a site are 0."""
    classes = _sites(source).set_index("site_id")["site_class"].to_dict()
    own = source.objects[source.objects["class"] == name]
    table = np.zeros(int(own["object_id"].max() if len(own) else 0) + 2, np.uint8)
    table[own["object_id"].to_numpy(int)] = [CLASS_NUMBERS.get(classes.get(s, ""), 0) for s in own["site_id"].tolist()]
    return lambda labels: table[np.minimum(labels, len(table) - 1)]


def _any(labels: np.ndarray) -> np.ndarray:
    return (labels > 0).astype(np.uint8)


def _kinds(source: RunSource) -> list[tuple[str, str, Numbering, dict[int, Any]]]:
    """(file stem, image, numbering, names) of every surface file: organelles, then objects of sites by class."""
    found: list[tuple[str, str, Numbering, dict[int, Any]]] = []
    for name, swatch in (("er", ER_OUTLINE), ("ccv", CCV)):
        if f"labels/{name}" in source.pyramids:
            found.append((name, f"labels/{name}", _any, {1: (name, swatch.colour, OPACITY.get(name, 1.0))}))
    for name, kind in (("copi", "vesicles"), ("tubular_eres", "tubules")):
        if f"labels/{name}" in source.pyramids:
            names = {CLASS_NUMBERS[s.key]: (f"{kind}, {s.label}", s.colour, 1.0) for s in SITE_CLASSES}
            found.append((name, f"labels/{name}", _site_numbering(source, name), names))
    return found


def meshes_part(source: RunSource, choices: Choices, folder: Path, tell: Tell) -> Written:
    entries = []
    facts = {"run": source.run.run_id, "acquisition": source.run.acquisition}
    for stem, image, numbering, names in _kinds(source):
        pyramid = source.pyramids[image]
        n = _level(pyramid, MESH_VOXELS.get(stem, MESH_VOXELS["objects"]), source)
        found, level = _coarse_enough(source, pyramid, n, numbering, names, f"surface of {stem}", tell)
        if not found:
            continue
        voxel = " × ".join(f"{v:g}" for v in level.scale)
        write_glb(folder / "meshes" / f"{stem}.glb", found, {**facts, "voxel_size_nm": voxel})
        what = f"{', '.join(s.name for s in found)}; 1 unit is 1 µm, cut at {voxel} nm"
        entries.append(Entry(f"meshes/{stem}.glb", what, "Blender, PowerPoint (as a 3D model), three.js viewers"))
    if choices.at_site is not None:
        entries.append(_site_mesh(source, choices.at_site, folder, facts))
    return entries, []


def _coarse_enough(
    source: RunSource, pyramid: Pyramid, n: int, numbering: Numbering, names: Mapping[int, Any], what: str, tell: Tell,
) -> tuple[list[Surface], Level]:  # fmt: skip
    """The surfaces at level n, or at the first coarser one that a viewer can open."""
    while True:
        level = pyramid.levels[n]
        try:
            return surfaces(source.store, level, numbering, names, tell=lambda share: tell(what, share)), level
        except TooManyFaces:
            if n + 1 == len(pyramid.levels) or not _was_made(source, pyramid.levels[n + 1]):
                raise ValueError(
                    f"the {what} has too many triangles at {level.scale} nm: leave the part meshes out"
                ) from None
            n += 1


def _site_mesh(source: RunSource, number: int, folder: Path, facts: Mapping[str, str]) -> Entry:
    """Everything around one site at full resolution, in one scene."""
    row = _sites(source).set_index("site_id").loc[number]
    own = source.objects[source.objects["site_id"] == number]
    low = np.array([own[f"min_{a}_nm"].min() for a in "zyx"]) - SITE_MARGIN_NM
    high = np.array([own[f"max_{a}_nm"].max() for a in "zyx"]) + SITE_MARGIN_NM
    found: list[Surface] = []
    for _, image, numbering, names in _kinds(source):
        level = source.pyramids[image].levels[0]
        ends = [np.clip(np.round(v / level.scale), 0, level.shape).astype(int).tolist() for v in (low, high)]
        box = Box.from_bounds(*ends)
        found += surfaces(source.store, level, numbering, names, box)
    path = f"meshes/site_{number}.glb"
    write_glb(folder / path, found, {**facts, "site": str(number), "site_class": str(row["site_class"])})
    return Entry(path, f"site {number} and {SITE_MARGIN_NM:g} nm around it, full resolution", "Blender, any GLB viewer")


def webknossos_part(source: RunSource, choices: Choices, folder: Path, tell: Tell) -> Written:
    dtypes = {name: str(open_level(source.store, p.levels[0].path).dtype) for name, p in source.pyramids.items()}
    objects = source.table("objects")
    largest = {} if objects is None else objects.groupby("class")["object_id"].max().astype(int).to_dict()
    named = {f"labels/{name}": number for name, number in largest.items()}
    name = source.run.acquisition or source.run.run_id
    document = datasource_properties(name, source.pyramids, dtypes, named)
    (folder / "arrays" / "datasource-properties.json").write_bytes(json_bytes(document))
    (folder / "webknossos").mkdir()
    (folder / "webknossos" / "sites.nml").write_bytes(sites_nml(name, source.voxel_size, _sites(source)))
    opens = "WEBKNOSSOS: put the folder arrays/ into its binaryData, or add its address as a remote dataset"
    return [
        Entry("arrays/datasource-properties.json", "makes arrays/ a WEBKNOSSOS dataset", opens),
        Entry("webknossos/sites.nml", "sites as points with reasons, by class", "WEBKNOSSOS: drop it on the dataset"),
    ], []


def viewer_part(source: RunSource, choices: Choices, folder: Path, tell: Tell) -> Written:
    """Annotations, a state of the viewer, and a page that opens it at each site."""
    places = {name: f"arrays/{name}.ome.zarr" for name in source.pyramids}
    collections: dict[str, str] = {}
    entries: list[Entry] = []
    sites = _sites(source) if source.run.recipe == "fibsem" else SITES.frame()
    if source.run.recipe == "fibsem" and source.table("objects") is not None:
        half = np.array(source.voxel_size) / 2
        far = np.array(source.base.levels[0].shape) * source.voxel_size - half
        for name, made in site_collections(sites, source.objects, source.voxel_size).items():
            low, high = _bounds(made, -half, far)
            write_annotations(folder / "annotations" / name, made, low, high, _told(tell, f"annotations {name}"))
            collections[name] = made.shape
            opens = f"Neuroglancer: precomputed://…/annotations/{name}"
            entries.append(Entry(f"annotations/{name}", f"{len(made.ids)} {name} as annotations by class", opens))
    state = viewer_state(source.run, source.pyramids, sites, choices.base_url, places, collections)
    shown = state
    if choices.at_site is not None:
        row = sites.set_index("site_id", drop=False).loc[choices.at_site].to_dict()
        shown = opened_at(state, row, source.voxel_size)
    (folder / "neuroglancer.json").write_bytes(state_bytes(shown))
    where = f"at site {choices.at_site}" if choices.at_site is not None else "on the whole"
    served = "by: cisterna view FOLDER" if choices.base_url == BASE_URL else f"at {choices.base_url}"
    opens = f"Neuroglancer, once this folder is served {served}"
    entries.append(Entry("neuroglancer.json", f"state of the viewer, opening {where}", opens))
    if len(sites):
        page = _site_links(state, sites.head(LINKED_SITES), source)
        (folder / "sites.html").write_text(page, encoding="utf-8")
        opens = f"any browser; the links work once this folder is served {served}"
        entries.append(Entry("sites.html", "every site with a link that opens the viewer at it", opens))
    return entries, []


def _bounds(made: Annotations, low: np.ndarray, high: np.ndarray) -> tuple[list[float], list[float]]:
    """The volume's corners, widened where a sphere or box reaches beyond it."""
    if not len(made.ids):
        return low.tolist(), high.tolist()
    near, far = made.bounds
    return np.minimum(low, near.min(axis=0)).tolist(), np.maximum(high, far.max(axis=0)).tolist()


def _told(tell: Tell, what: str) -> Callable[[float], None]:
    return lambda share: tell(what, share)


def _site_links(state: Mapping[str, Any], sites: pd.DataFrame, source: RunSource) -> str:
    items = [
        Markup('<li><a href="{}">site {}</a> {}: {}</li>').format(
            viewer_link(opened_at(state, row, source.voxel_size)), row["site_id"], row["site_class"], row["reason"]
        )
        for row in sites.to_dict("records")
    ]
    title = escape(f"Sites of {source.run.acquisition or source.run.run_id}")
    head = Markup(
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{0}</title></head><body><h1>{0}</h1>'
    )
    return str(head.format(title) + Markup("<ul>\n{}\n</ul></body></html>\n").format(Markup("\n").join(items)))
