"""The parts of an export: what each writes, and one line on what opens it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from cisterna.report.build import build_report
from cisterna.report.choices import Choices, Written
from cisterna.report.connectivity import component_figure
from cisterna.report.contents import Entry
from cisterna.report.document import run_path
from cisterna.report.film import write_film
from cisterna.report.images import copy_image, write_tiff
from cisterna.report.movie_figures import network_figure
from cisterna.report.movie_source import evenly, film_frames, film_screen
from cisterna.report.network_files import write_graphs
from cisterna.report.source import RunSource, Tell
from cisterna.report.table_files import columns_csv, file_stem, write_table
from cisterna.report.volume_parts import (
    contact_sheet_part,
    meshes_part,
    site_class_tiff,
    viewer_part,
    webknossos_part,
)

VOLUMES, MOVIES = ("fibsem",), ("er-movie",)
BOTH = (*VOLUMES, *MOVIES)
DRAWN_FRAMES = 3
STACK_TABLES = ("stack_frames", "stack_nodes", "stack_edges")
EXPECTED_TABLES = {"fibsem": ("objects", "sites", "links"), "er-movie": ("frames", "nodes", "edges", "junctions")}


@dataclass(frozen=True)
class Part:
    """One part. `needs` are parts that are written with it: its files point at theirs."""

    name: str
    title: str
    recipes: tuple[str, ...]
    write: Callable[[RunSource, Choices, Path, Tell], Written]
    needs: tuple[str, ...] = ()


def _report(source: RunSource, choices: Choices, folder: Path, tell: Tell) -> Written:
    tell("report.html", 0.0)
    what = "the report, made anew, self-contained"
    stored = run_path(source.run.run_id, "report.html")
    try:
        page = build_report(source.store, source.run.run_id)
    except ValueError:
        # Tables of an earlier version: the report it wrote still stands.
        if not source.store.exists(stored):
            raise
        page, what = source.store.get(stored), "the report as the run wrote it, with an earlier version"
    (folder / "report.html").write_bytes(page)
    tell("report.html", 1.0)
    entries = [Entry("report.html", what, "any browser; prints on A4")]
    for name, what in (("run.json", "what the run used, made and suffered"), ("recipe.yaml", "every parameter")):
        path = run_path(source.run.run_id, name)
        if source.store.exists(path):
            (folder / name).write_bytes(source.store.get(path))
            entries.append(Entry(name, what, "any text editor"))
    manifest = f"acquisitions/{source.run.acquisition}/manifest.json"
    if source.store.exists(manifest):  # `cisterna compare` reads sizes and added noise from it
        (folder / "acquisition.json").write_bytes(source.store.get(manifest))
        entries.append(Entry("acquisition.json", "the acquisition: sizes, statistics, notes", "any text editor"))
    return entries, []


def _tables(source: RunSource, choices: Choices, folder: Path, tell: Tell) -> Written:
    entries, absent = [], []
    expected = STACK_TABLES if _of_stack(source) else EXPECTED_TABLES[source.run.recipe]
    names = dict.fromkeys([*expected, *source.table_paths])
    for done, name in enumerate(names, 1):
        written = write_table(source, name, folder / "tables")
        if written is None:
            absent.append(f"table {name}")
        for path in written or ():
            opens = {
                ".parquet": "pandas, R (arrow), DuckDB",
                ".csv": "Excel, R, Prism; edge paths are one cell of numbers",
            }.get(path.suffix, "any text editor")
            entries.append(Entry(path.relative_to(folder).as_posix(), f"table {name}", opens))
        tell("tables", done / len(names))
    described = [n for n in names if f"tables/{file_stem(n)}.parquet" in {e.path for e in entries}]
    if described:
        (folder / "tables" / "columns.csv").write_text(columns_csv(source, described), encoding="utf-8")
        what = "unit and meaning of every column of every table"
        entries.insert(0, Entry("tables/columns.csv", what, "Excel, any text editor"))
    return entries, absent


def _arrays(source: RunSource, choices: Choices, folder: Path, tell: Tell) -> Written:
    entries = []
    for name in source.pyramids:
        path = f"arrays/{name}.ome.zarr"
        copy_image(source.store, source.run.arrays[name], folder / path, tell, name)
        opens = "napari, Neuroglancer, zarr and dask in Python"
        entries.append(Entry(path, f"{name}, OME-Zarr 0.5, all levels", opens))
    return entries, [name for name in source.run.arrays if name not in source.pyramids]


def _tiff(source: RunSource, choices: Choices, folder: Path, tell: Tell) -> Written:
    entries = []
    for name, pyramid in source.pyramids.items():
        if name == "raw" or name.startswith("labels/") or name == "ernet/classes":
            path = f"tiff/{name.replace('/', '_')}.tif"
            write_tiff(source.store, pyramid, folder / path, tell)
            entries.append(Entry(path, f"{name} at full resolution, voxel size inside", "Fiji, Imaris, Amira"))
    if source.run.recipe == "fibsem":
        entries += site_class_tiff(source, folder, tell)
    return entries, []


def _networks(source: RunSource, choices: Choices, folder: Path, tell: Tell) -> Written:
    tables = [source.table(name) for name in (STACK_TABLES if _of_stack(source) else ("frames", "nodes", "edges"))]
    frames, nodes, edges = tables
    if frames is None or nodes is None or edges is None:
        return [], ["networks"]
    write_graphs(frames, nodes, edges, folder / "networks", tell)
    drawn = _connectivity(source, frames, nodes, edges, folder) if not _of_stack(source) else []
    one = "one file a frame, positions and lengths in µm"
    return [
        Entry("networks/graphml", f"networks as GraphML, {one}", "networkx, Cytoscape, Gephi, yEd"),
        Entry("networks/net", f"networks as .net text, {one}; numbers begin at 1", "network simulators of the ER"),
        Entry("networks/vtk", f"networks as VTK PolyData, {one}", "ParaView (a time series), napari, PyVista"),
        *drawn,
    ], []


def _connectivity(
    source: RunSource, frames: pd.DataFrame, nodes: pd.DataFrame, edges: pd.DataFrame, folder: Path
) -> list[Entry]:
    """The connectivity graph of the first, middle and last frame by degree and by component, as vectors."""
    if "raw" not in source.pyramids or not len(frames):
        return []
    _, height, width = source.base.levels[0].shape
    _, y, x = source.voxel_size
    place = folder / "networks" / "figures"
    place.mkdir()
    numbers = frames["frame"].to_numpy()
    for frame in numbers[evenly(len(numbers), DRAWN_FRAMES)].tolist():
        own = (nodes[nodes["frame"] == frame], edges[edges["frame"] == frame], (width * x, height * y), (y, x))
        for name, draw in (("degree", network_figure), ("component", component_figure)):
            path = place / f"frame_{frame:05d}_{name}.pdf"
            draw(*own).savefig(path, format="pdf", metadata={"CreationDate": None, "Creator": "Cisterna"})
    what = "connectivity graph at true coordinates, by degree and by component"
    return [Entry("networks/figures", f"{what}: first, middle and last frame", "any PDF viewer, Illustrator, Inkscape")]


def _of_stack(source: RunSource) -> bool:
    """Whether every section of a z-stack was kept: its networks are in 3-D, and no frame is a picture of one."""
    return STACK_TABLES[0] in source.run.tables


def _film(source: RunSource, choices: Choices, folder: Path, tell: Tell) -> Written:
    if _of_stack(source):
        return [], ["film (of flat movies only)"]
    nodes, edges = source.table("nodes"), source.table("edges")
    if nodes is None or edges is None or "raw" not in source.pyramids:
        return [], ["film"]
    raw, classes = source.base, source.pyramids.get("ernet/classes")
    screen = film_screen(source.store, raw, nodes)
    count = raw.levels[0].shape[0]
    frames = film_frames(source.store, raw, classes, nodes, edges, screen.panel, range(count))
    film = write_film(folder / "film.mp4", screen, frames, count, tell=tell)
    what = f"raw, classes and network, all {count} frames at {film.frames_per_second:g} a second (VP9)"
    return [Entry("film.mp4", what, "any browser, VLC, mpv")], []


PARTS: dict[str, Part] = {
    part.name: part
    for part in (
        Part("report", "Report", BOTH, _report),
        Part("tables", "Tables", BOTH, _tables),
        Part("film", "Film", MOVIES, _film),
        Part("networks", "Networks", MOVIES, _networks),
        Part("contact-sheet", "Contact sheet of sites", VOLUMES, contact_sheet_part),
        Part("meshes", "Surfaces", VOLUMES, meshes_part),
        Part("arrays", "Images", BOTH, _arrays),
        Part("tiff", "Images as TIFF stacks", BOTH, _tiff),
        Part("viewer", "Neuroglancer", BOTH, viewer_part, needs=("arrays",)),
        Part("webknossos", "WEBKNOSSOS", VOLUMES, webknossos_part, needs=("arrays",)),
    )
}
