"""One folder with everything of a run, for people and programs that know nothing of the store."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import networkx
import numpy as np
import pandas as pd
import tifffile

from cisterna.chunks import Box
from cisterna.report.build import build_report, read_table
from cisterna.report.document import read_document, run_path
from cisterna.report.levels import Pyramid, read_pyramid
from cisterna.report.neuroglancer import build_viewer_state
from cisterna.store import ObjectStore
from cisterna.store.arrays import read_box
from cisterna.tables.networks import EDGES, FRAMES, JUNCTIONS, NODES
from cisterna.tables.schema import Table
from cisterna.tables.volumes import LINKS, OBJECTS, SITES

TABLES: dict[str, tuple[Table, ...]] = {
    "fibsem": (OBJECTS, SITES, LINKS),
    "er-movie": (FRAMES, NODES, EDGES, JUNCTIONS),
}


@dataclass(frozen=True)
class Exported:
    """What was written: paths relative to the folder, and their bytes in sum; `absent` names what the run has not."""

    folder: Path
    files: tuple[str, ...]
    bytes: int
    absent: tuple[str, ...]


def export_run(
    store: ObjectStore, run_id: str, folder: Path | str, say: Callable[[str], None] = lambda _: None
) -> Exported:
    """Writes arrays (OME-Zarr and TIFF), tables (Parquet and CSV), networks (GraphML), report and viewer state.

    `folder` must not exist or be empty. `say` is called with each file's name as it begins. Raises ObjectMissing for an
    unknown run, ValueError for a folder that holds something, CorruptObject where a block that an array needs is gone.
    """
    target = Path(folder)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise ValueError(f"{target} is not an empty folder: choose another, nothing is overwritten")
    run = read_document(store.get(run_path(run_id, "run.json")))
    target.mkdir(parents=True, exist_ok=True)
    absent: list[str] = []
    _copy(store, run_path(run_id, "run.json"), target / "run.json")
    for name in ("recipe.yaml",):
        if store.exists(run_path(run_id, name)):
            _copy(store, run_path(run_id, name), target / name)
    say("report.html")
    (target / "report.html").write_bytes(build_report(store, run_id))
    (target / "neuroglancer.json").write_bytes(build_viewer_state(store, run_id))
    for name, path in run.arrays.items():
        pyramid = read_pyramid(store, path)
        if pyramid is None:
            absent.append(name)
            continue
        say(name)
        _copy_image(store, path, target / "arrays" / f"{name}.ome.zarr")
        if name == "raw" or name.startswith(("labels/", "ernet/classes")):
            write_tiff(store, pyramid, target / "tiff" / f"{name.replace('/', '_')}.tif")
    tables = {}
    for table in TABLES.get(run.recipe, ()):
        frame, there = read_table(store, run, table)
        if not there:
            absent.append(f"table {table.name}")
            continue
        say(f"table {table.name}")
        tables[table.name] = frame
        place = target / "tables"
        place.mkdir(exist_ok=True)
        (place / f"{table.name}.parquet").write_bytes(table.to_parquet_bytes(frame))
        (place / f"{table.name}.csv").write_text(to_csv(frame), encoding="utf-8")
    if {"frames", "nodes", "edges"} <= tables.keys():
        write_graphs(tables["frames"], tables["nodes"], tables["edges"], target / "graphml")
    files = tuple(sorted(str(p.relative_to(target)) for p in target.rglob("*") if p.is_file()))
    return Exported(target, files, sum((target / f).stat().st_size for f in files), tuple(absent))


def _copy(store: ObjectStore, path: str, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(store.get(path))


def _copy_image(store: ObjectStore, path: str, target: Path) -> None:
    """Every object of an image, as it is: the copy is the same OME-Zarr 0.5."""
    for source in store.list(path):
        _copy(store, source, target / source.removeprefix(path).lstrip("/"))


def write_tiff(store: ObjectStore, pyramid: Pyramid, target: Path) -> None:
    """Level 0 as a TIFF stack, plane by plane, with the voxel size where Fiji reads it (nm or µm; seconds a frame)."""
    level = pyramid.levels[0]
    target.parent.mkdir(parents=True, exist_ok=True)
    probe = read_box(store, level.path, Box((0, 0, 0), (1, 1, 1)))
    movie = pyramid.axes[0] == "t"
    unit = "um" if movie else "nm"
    # Fiji opens uint32 only as its 32-bit float type, exact to 2**24: smaller labels go out as uint16 where they fit.
    about = {"axes": "TYX" if movie else "ZYX", "unit": unit}
    about["finterval" if movie else "spacing"] = level.scale[0]  # type: ignore[assignment]
    dtype = _label_type(store, pyramid, probe.dtype)
    size = int(np.prod(level.shape)) * dtype.itemsize
    with tifffile.TiffWriter(
        target, imagej=dtype.itemsize <= 2 and size < 2**32 - 2**20, bigtiff=size >= 2**32 - 2**20
    ) as writer:
        writer.write(
            _planes(store, pyramid, dtype), shape=level.shape, dtype=dtype, photometric="minisblack", metadata=about,
            resolution=(1 / level.scale[2], 1 / level.scale[1]),
        )  # fmt: skip


def _label_type(store: ObjectStore, pyramid: Pyramid, dtype: np.dtype) -> np.dtype:
    if dtype != np.uint32:
        return dtype
    largest = max(int(plane.max()) for plane in _planes(store, pyramid, dtype))
    return np.dtype(np.uint16) if largest < 2**16 else dtype


def _planes(store: ObjectStore, pyramid: Pyramid, dtype: np.dtype):  # type: ignore[no-untyped-def]
    """Planes of level 0, read in slabs of one chunk so that no chunk is decoded twice."""
    level = pyramid.levels[0]
    depth = 1 if pyramid.axes[0] == "t" else 64
    for start in range(0, level.shape[0], depth):
        count = min(depth, level.shape[0] - start)
        slab = read_box(store, level.path, Box((start, 0, 0), (count, *level.shape[1:])))
        yield from slab.astype(dtype, copy=False)


def to_csv(frame: pd.DataFrame) -> str:
    """The table as CSV; lists (edge paths) become one cell of numbers separated by spaces."""
    plain = frame.copy()
    for name in plain.columns:
        if plain[name].dtype == object and len(plain) and isinstance(plain[name].iloc[0], np.ndarray):
            plain[name] = [" ".join(f"{v:.6g}" for v in cell) for cell in plain[name]]
    return str(plain.to_csv(index=False))


def frame_graph(nodes: pd.DataFrame, edges: pd.DataFrame) -> networkx.MultiGraph:
    """The network of one frame: parallel tubules and loops are kept, every attribute has its unit in its name."""
    graph = networkx.MultiGraph()
    for row in nodes.to_dict("records"):
        graph.add_node(
            int(row["node_id"]), **{str(k): _plain(v) for k, v in row.items() if k not in ("frame", "node_id")}
        )
    for row in edges.to_dict("records"):
        path = " ".join(f"{v:.6g}" for v in row["path_yx_um"])
        about = {k: _plain(row[k]) for k in ("edge_id", "length_um", "width_um", "component")}
        graph.add_edge(int(row["node_a"]), int(row["node_b"]), key=int(row["edge_id"]), path_yx_um=path, **about)
    return graph


def _plain(value: object) -> object:
    return value.item() if isinstance(value, np.generic) else value


def write_graphs(frames: pd.DataFrame, nodes: pd.DataFrame, edges: pd.DataFrame, folder: Path) -> None:
    """One GraphML file a frame, empty ones included, so that file n is frame n."""
    folder.mkdir(parents=True, exist_ok=True)
    for frame, time_s in zip(frames["frame"], frames["time_s"], strict=True):
        graph = frame_graph(nodes[nodes["frame"] == frame], edges[edges["frame"] == frame])
        graph.graph.update(frame=int(frame), time_s=float(time_s))
        networkx.write_graphml(graph, folder / f"frame_{int(frame):05d}.graphml")
