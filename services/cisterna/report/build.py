"""From a finished run in a store to its report: reads run.json and what it lists, writes nothing."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from scipy import ndimage

from cisterna.report.denoising import read_denoising
from cisterna.report.document import RunDocument, read_document, run_path
from cisterna.report.dynamics import DYNAMICS_TABLES, DynamicsTables
from cisterna.report.levels import Pyramid, match_grid, read_pyramid, read_slice, read_small
from cisterna.report.movie import MovieReportData, render_movie_report
from cisterna.report.movie_figures import FrameView
from cisterna.report.movie_source import report_film
from cisterna.report.review_section import read_review_report
from cisterna.report.segmentation import read_segmentation
from cisterna.report.site_statistics import read_statistics
from cisterna.report.stack import StackReportData, render_stack_report
from cisterna.report.stack_source import stack_views
from cisterna.report.tallies import finite
from cisterna.report.volume import VolumeReportData, render_volume_report
from cisterna.report.volume_figures import Plane
from cisterna.store import ObjectMissing, ObjectStore
from cisterna.tables.networks import CELLS, EDGES, FLOOR_FRAMES, FRAMES, JUNCTIONS, MULTI_WAY, NODES
from cisterna.tables.schema import Table
from cisterna.tables.stacks import STACK_EDGES, STACK_FRAMES, STACK_NODES
from cisterna.tables.volumes import LINKS, OBJECTS, SITES

PICTURE_SIDE = 1024
SHOWN_FRAMES = 3
OBJECT_CLASSES = ("copi", "tubular_eres", "ccv", "golgi")
STATISTICS_VOXELS = 4_000_000
COARSEST_FOR_CHANCE_NM = 40.0
HALF = 128


def build_report(store: ObjectStore, run_id: str) -> bytes:
    """The report of a run as self-contained HTML, UTF-8.

    Raises ObjectMissing where there is no such run, ValueError where its documents cannot be read. Arrays and tables
    that an unfinished run never wrote are left out and named.
    """
    run = read_document(store.get(run_path(run_id, "run.json")))
    if run.recipe == "fibsem":
        return render_volume_report(read_volume(store, run)).encode("utf-8")
    if run.recipe == "er-movie" and STACK_FRAMES.name in run.tables:
        return render_stack_report(read_stack(store, run)).encode("utf-8")
    if run.recipe == "er-movie":
        return render_movie_report(read_movie(store, run)).encode("utf-8")
    raise ValueError(f"run {run_id} has recipe {run.recipe!r}; reports exist for fibsem and er-movie")


def read_table(store: ObjectStore, run: RunDocument, table: Table) -> tuple[pd.DataFrame, bool]:
    """A table of the run, checked against its schema, and whether it was there; an absent one is empty."""
    path = run.tables.get(table.name)
    if path:
        try:
            return table.from_parquet_bytes(store.get(path)), True
        except ObjectMissing:
            pass
    return table.frame(), False


def _pyramid(store: ObjectStore, run: RunDocument, name: str) -> Pyramid | None:
    path = run.arrays.get(name)
    return read_pyramid(store, path) if path else None


def _raw(store: ObjectStore, run: RunDocument) -> Pyramid:
    raw = _pyramid(store, run, "raw")
    if raw is None:
        raise ValueError(f"run {run.run_id} has no raw image at {run.arrays.get('raw', '?')}; run `cisterna verify`")
    return raw


def with_absent(run: RunDocument, absent: list[str]) -> RunDocument:
    """The run with a note naming what it never wrote."""
    if not absent:
        return run
    return replace(
        run, notes=[*run.notes, f"Not in this report, because the run did not write it: {', '.join(absent)}."]
    )


def read_volume(store: ObjectStore, run: RunDocument) -> VolumeReportData:
    """What a FIB-SEM report shows, read at levels that fit."""
    raw = _raw(store, run)
    tables = {table.name: read_table(store, run, table) for table in (OBJECTS, SITES, LINKS)}
    absent = [f"table {name}" for name, (_, there) in tables.items() if not there]
    objects, sites, links = (tables[t.name][0] for t in (OBJECTS, SITES, LINKS))
    objects = _with_other_classes(store, run, objects)
    images: dict[str, Pyramid] = {}
    for name in ("denoised", "labels/er", "probability/er", *(f"labels/{c}" for c in OBJECT_CLASSES)):
        pyramid = _pyramid(store, run, name)
        if pyramid is not None:
            images[name] = pyramid
    voxel, shape = raw.levels[0].scale, raw.levels[0].shape
    planes, gaps = [], []
    for axis in range(3):
        plane, missing = _plane(store, raw, images, axis, best_position(objects, axis, shape[axis], voxel[axis]))
        if plane is not None:
            planes.append(plane)
        gaps += missing
    if gaps:
        absent.append("parts of " + ", ".join(sorted(set(gaps))))
    rules = _rules(store, run)
    near_er_nm = float(rules["rules"].get("near_er_nm", 120.0))
    projection, share, chance = _er_statistics(store, images, objects, near_er_nm)
    statistics = read_statistics(store, run)
    if statistics is None:
        absent.append("statistics (chance, densities, effects, sensitivity)")
    notes = [n for n in rules["notes"] if n.startswith(("Extent alone", "The Golgi reference")) or "more group(s)" in n]
    return VolumeReportData(
        run=with_absent(run, absent),
        size_nm=tuple(n * v for n, v in zip(shape, voxel, strict=True)),  # type: ignore[arg-type]
        voxel_size_nm=voxel,  # type: ignore[arg-type]
        objects=objects, sites=sites, links=links, planes=planes, er_projection=projection, er_volume_share=share,
        chance_near_er=chance, near_er_nm=near_er_nm, link_nm=float(rules["rules"].get("link_nm", 50.0)), remarks=notes,
        review=read_review_report(store, run.run_id, sites), statistics=statistics,
        denoising=read_denoising(store, run, shape), segmentation=read_segmentation(store, run),
    )  # fmt: skip


def _with_other_classes(store: ObjectStore, run: RunDocument, objects: pd.DataFrame) -> pd.DataFrame:
    """Adds the objects of classes that the rules do not speak of (CCV, Golgi), which have tables of their own."""
    frames = [objects]
    for name, path in sorted(run.tables.items()):
        if name.startswith("merged/") and name.removeprefix("merged/") not in set(objects["class"]):
            try:
                frames.append(OBJECTS.from_parquet_bytes(store.get(path)))
            except ObjectMissing:
                continue
    frames = [f for f in frames if len(f)]
    return pd.concat(frames, ignore_index=True) if frames else objects


def _rules(store: ObjectStore, run: RunDocument) -> dict[str, Any]:
    """The exit-site rules that were applied and the remarks beside them; empty where the stage did not finish."""
    folder = run.stages.get("eres-sites", {}).get("path")
    try:
        found: Mapping[str, Any] = store.get_json(f"{folder}/tables/rules.json") if folder else {}
    except ObjectMissing:
        found = {}
    return {"rules": found.get("rules", {}), "notes": found.get("notes", [])}


def best_position(objects: pd.DataFrame, axis: int, size: int, voxel_nm: float) -> float:
    """Where along an axis (nm from the corner) a cut meets most objects of sites; the middle where there are none.

    Of several equally good cuts the one nearest the middle.
    """
    letter = "zyx"[axis]
    own = objects[objects["site_id"] > 0] if len(objects) else objects
    if not len(own):
        return (size // 2 + 0.5) * voxel_nm
    low = np.clip(np.floor(own[f"min_{letter}_nm"].to_numpy(float) / voxel_nm + 1e-6).astype(int), 0, size - 1)
    high = np.clip(np.ceil(own[f"max_{letter}_nm"].to_numpy(float) / voxel_nm - 1e-6).astype(int), low + 1, size)
    change = np.zeros(size + 1)
    np.add.at(change, low, 1)
    np.add.at(change, high, -1)
    met = np.cumsum(change[:-1])
    best = np.flatnonzero(met == met.max())
    return (int(best[np.argmin(np.abs(best - size / 2))]) + 0.5) * voxel_nm


def _plane(
    store: ObjectStore, raw: Pyramid, images: Mapping[str, Pyramid], axis: int, position: float
) -> tuple[Plane | None, list[str]]:
    """The slice of all images at a position, on the grid of the raw one; names of images with holes in it."""
    base = read_slice(store, raw, axis, position, PICTURE_SIDE)
    if base is None:
        return None, ["raw"]
    found: dict[str, np.ndarray] = {}
    gaps = ["raw"] if base.missing else []
    for name, pyramid in images.items():
        cut = read_slice(store, pyramid, axis, position, PICTURE_SIDE)
        if cut is None or cut.missing:
            gaps.append(name)
        if cut is not None:
            ratio = [b / c for b, c in zip(base.pixel_size, cut.pixel_size, strict=True)]
            found[name] = match_grid(cut.pixels, base.pixels.shape, ratio)
    er = found["labels/er"] > 0 if "labels/er" in found else None
    if er is None and "probability/er" in found:
        er = found["probability/er"] >= HALF
    name = "".join(letter for n, letter in enumerate("zyx") if n != axis)
    labels = {c: found[f"labels/{c}"] for c in OBJECT_CLASSES if f"labels/{c}" in found}
    return Plane(name, position, base.pixel_size, base.pixels, found.get("denoised"), er, labels), gaps


def _er_statistics(
    store: ObjectStore, images: Mapping[str, Pyramid], objects: pd.DataFrame, near_er_nm: float
) -> tuple[np.ndarray | None, float | None, float | None]:
    """(ER along z, its share of the volume, what chance alone puts near it), from a level small enough to hold.

    Chance: the share of places outside the ER where a sphere of the median vesicle diameter, centred there, has its
    surface within `near_er_nm` of the ER. It is not given where the level is too coarse for that.
    """
    source = images.get("labels/er") or images.get("probability/er")
    small = read_small(store, source, STATISTICS_VOXELS) if source else None
    if small is None:
        return None, None, None
    data, voxel = small
    er = data > 0 if "labels/er" in images else data >= HALF
    share = float(er.mean())
    chance = None
    if 0 < share < 1 and max(voxel) <= COARSEST_FOR_CHANCE_NM:
        diameters = finite(objects.loc[objects["class"] == "copi", "diameter_mask_nm"])
        radius = float(np.median(diameters)) / 2 if diameters.size else 0.0
        distance = ndimage.distance_transform_edt(~er, sampling=voxel)
        outside = distance[~er]
        chance = float((outside <= near_er_nm + radius).mean())
    return er.mean(axis=0), share, chance


def read_stack(store: ObjectStore, run: RunDocument) -> StackReportData:
    """What the report of a z-stack shows: all tables, and a few time points from first to last."""
    raw = _raw(store, run)
    tables = {table.name: read_table(store, run, table) for table in (STACK_FRAMES, STACK_NODES, STACK_EDGES)}
    absent = [f"table {name}" for name, (_, there) in tables.items() if not there]
    views = stack_views(store, raw, _pyramid(store, run, "ernet/classes"), PICTURE_SIDE, absent.append)
    interval, *voxel = raw.levels[0].scale
    frames, nodes, edges = (tables[t.name][0] for t in (STACK_FRAMES, STACK_NODES, STACK_EDGES))
    return StackReportData(
        run=with_absent(run, absent), shape=raw.levels[0].shape, voxel_size_um=tuple(voxel),  # type: ignore[arg-type]
        frame_interval_s=interval, frames=frames, nodes=nodes, edges=edges, views=views,
    )  # fmt: skip


def read_movie(store: ObjectStore, run: RunDocument) -> MovieReportData:
    """What a movie report shows: all tables, and a few frames from first to last."""
    raw = _raw(store, run)
    tables = {table.name: read_table(store, run, table) for table in (FRAMES, NODES, EDGES, JUNCTIONS)}
    absent = [f"table {name}" for name, (_, there) in tables.items() if not there]
    classes = _pyramid(store, run, "ernet/classes")
    count = raw.levels[0].shape[0]
    interval = raw.levels[0].scale[0]
    views = []
    for frame in sorted({round(t) for t in np.linspace(0, count - 1, SHOWN_FRAMES)}):
        position = (frame + 0.5) * interval
        picture = read_slice(store, raw, 0, position, PICTURE_SIDE)
        if picture is None:
            absent.append(f"raw frame {frame}")
            continue
        cut = read_slice(store, classes, 0, position, PICTURE_SIDE) if classes else None
        found = None
        if cut is not None and not cut.missing:
            ratio = [a / b for a, b in zip(picture.pixel_size, cut.pixel_size, strict=True)]
            found = match_grid(cut.pixels, picture.pixels.shape, ratio)
        else:
            absent.append(f"classes of frame {frame}")
        views.append(FrameView(frame, frame * interval, picture.pixel_size, picture.pixels, found))
    frames, nodes, edges, junctions = (tables[t.name][0] for t in (FRAMES, NODES, EDGES, JUNCTIONS))
    dynamics = DynamicsTables(*(read_table(store, run, table)[0] for table in DYNAMICS_TABLES))
    film = report_film(store, raw, classes, nodes, edges)
    return MovieReportData(
        run=with_absent(run, absent), shape=raw.levels[0].shape, pixel_size_um=raw.levels[0].scale[1:],  # type: ignore[arg-type]
        frame_interval_s=interval, frames=frames, nodes=nodes, edges=edges, junctions=junctions, views=views, film=film,
        dynamics=dynamics, cells=read_table(store, run, CELLS)[0],
        multi_way=read_table(store, run, MULTI_WAY)[0], floor_frames=read_table(store, run, FLOOR_FRAMES)[0],
    )  # fmt: skip
