"""Small finished runs in a store: phantom movies traced, and painted exit sites classified, without the services."""

import dataclasses
import json
import types

import numpy as np
import pandas as pd
import pytest
import tifffile
from cisterna.acquire import ingest_movie, ingest_volume
from cisterna.compare.aggregates import Aggregates
from cisterna.compare.study import study_of
from cisterna.eres import classify_sites
from cisterna.graph.dynamics import measure_dynamics
from cisterna.graph.frames import join, trace_frame
from cisterna.graph.parameters import TracingParameters
from cisterna.phantoms import er_movie, save_movie
from cisterna.report.document import RunDocument
from cisterna.store import open_store
from cisterna.store.arrays import ImageSpec, create_image, write_block
from cisterna.store.objects import json_bytes
from cisterna.tables.networks import DYNAMICS, FRAMES, JUNCTIONS, TIPS
from cisterna.tables.volumes import LINKS, OBJECTS, SITES

VOXEL_NM = 8.0


def put_tables(store, run_id, acquisition, recipe, tables, arrays=(), **changes):
    paths = {}
    for schema, frame in tables:
        paths[schema.name] = f"stages/summary/{run_id}/tables/{schema.name}.parquet"
        store.put(paths[schema.name], schema.to_parquet_bytes(frame))
    document = dataclasses.asdict(
        RunDocument(run_id, recipe, "SUCCEEDED", acquisition=acquisition.id, cisterna_version="0.1.0", tables=paths)
    )
    document |= {"arrays": {"raw": acquisition.manifest["arrays"]["raw"]["path"], **dict(arrays)}, **changes}
    store.put(f"runs/{run_id}/run.json", json_bytes(document))
    return run_id


def movie_run(store, folder, run_id, seed=0, snr=12.0, density=0.2, frames=2, size=80, low=(), tables=(), **changes):
    """A run over a phantom movie whose class maps are the true ones. `low`: frames flagged low in SNR."""
    phantom = er_movie(frames, (size, size), snr=snr, seed=seed, seeds_per_um2=density, sheet=False, sbt=False)
    save_movie(folder / run_id, phantom)
    acquisition = ingest_movie(store, folder / run_id / "movie.tif")
    confidence = np.full(phantom.classes.shape[1:], 255, np.uint8)
    parameters = TracingParameters()
    traced = join(
        [
            trace_frame(phantom.classes[t], confidence, phantom.frames[t], t, (0.1, 0.1), 1.0, parameters)[1]
            for t in range(frames)
        ]
    )
    rows = traced.frames.copy()
    rows.loc[rows["frame"].isin(low), "snr_flag"] = "low"
    moved = measure_dynamics(traced.nodes, traced.edges, frames, 1.0)
    classes = f"stages/ernet/{run_id}/classes.ome.zarr"
    spec = ImageSpec(phantom.classes.shape, "uint8", (1, size, size), "tyx", (1.0, 0.1, 0.1))
    create_image(store, classes, spec)
    for t in range(frames):
        write_block(store, f"{classes}/0", spec.grid.box(t), np.ascontiguousarray(phantom.classes[t : t + 1]))
    tables = [(FRAMES, rows), (JUNCTIONS, moved.junctions), (DYNAMICS, moved.dynamics), (TIPS, moved.tips), *tables]
    stages = {"ernet": {"stage_key": f"{seed:064d}", "blocks": frames, "done": frames, "path": "stages/ernet/x"}}
    more = {"stages": stages, "parameters": {"recipe": "er-movie"}, **changes}
    put_tables(store, run_id, acquisition, "er-movie", tables, {"ernet/classes": classes}, **more)
    store.put(f"runs/{run_id}/recipe.yaml", b"recipe: er-movie\n")
    return run_id


def sites_run(store, folder, run_id, seed=0, vesicles=12, tubular=4, shape=(48, 96, 96)):
    """A run over a volume with an ER plane and spheres at several distances from it."""
    rng = np.random.default_rng(seed)
    er = np.zeros(shape, bool)
    er[4:6] = True
    labels = {name: np.zeros(shape, np.uint32) for name in ("copi", "tubular")}
    grid = np.indices(shape)
    for name, count in (("copi", vesicles), ("tubular", tubular)):
        for n in range(count):
            centre = np.array([rng.choice([10, 14, 40]), *rng.integers(6, 90, 2)])
            ball = ((grid - centre.reshape(3, 1, 1, 1)) ** 2).sum(0) <= 9
            labels[name][ball & (labels["copi"] == 0) & (labels["tubular"] == 0)] = n + 1
    found = classify_sites(labels["copi"], labels["tubular"], er, (VOXEL_NM,) * 3)
    place = folder / f"{run_id}.tif"
    tifffile.imwrite(place, np.where(er, 90, 160).astype(np.uint8) + rng.integers(0, 20, shape, np.uint8))
    acquisition = ingest_volume(store, place, voxel_size_nm=VOXEL_NM, polarity="dark")
    tables = [(OBJECTS, found.objects), (SITES, found.sites), (LINKS, found.links)]
    return put_tables(store, run_id, acquisition, "fibsem", tables)


def aggregates(rows, metric="m"):
    """Aggregates of one metric from (condition, experiment, cell, value) rows."""
    cells = pd.DataFrame(rows, columns=["condition", "experiment", "cell", "value"]).assign(batch="", metric=metric)
    known = cells[np.isfinite(cells["value"])]
    means = known.groupby(["condition", "experiment", "metric"], sort=False)["value"]
    return Aggregates(pd.DataFrame(), cells, pd.DataFrame({"value": means.mean(), "cells": means.size()}).reset_index())


def table_of(rows, columns=("run", "condition", "experiment", "cell")):
    return pd.DataFrame(rows, columns=list(columns))


@pytest.fixture(scope="session")
def movies(tmp_path_factory):
    """A file store with two conditions × three experiments × two cells, unpaired, and its study."""
    folder = tmp_path_factory.mktemp("movies")
    store = open_store(f"file://{folder}/store")
    rows = []
    for c, (condition, density) in enumerate((("control", 0.2), ("knock-out", 0.4))):
        for e in range(3):
            for k in range(2):
                seed = 100 * c + 10 * e + k
                run = movie_run(store, folder, f"er-movie-{seed:03d}", seed, density=density, low=(0,) if k else ())
                rows.append((run, condition, f"{condition[0]}{e}", f"cell {k}"))
    return types.SimpleNamespace(store=store, folder=folder, table=table_of(rows), study=study_of(table_of(rows), "s"))


@pytest.fixture(scope="session")
def volumes(tmp_path_factory):
    """A file store with two conditions × three experiments, paired, and its study."""
    folder = tmp_path_factory.mktemp("volumes")
    store = open_store(f"file://{folder}/store")
    rows = []
    for e in range(3):
        for c, (condition, vesicles) in enumerate((("control", 16), ("depleted", 7))):
            run = sites_run(store, folder, f"fibsem-{e}{c}", 10 * e + c, vesicles)
            rows.append((run, condition, f"day {e}", ""))
    return types.SimpleNamespace(store=store, folder=folder, table=table_of(rows), study=study_of(table_of(rows), "v"))


@pytest.fixture(scope="session")
def make():
    """The makers above, for tests that change what goes in."""
    return types.SimpleNamespace(
        movie_run=movie_run, sites_run=sites_run, aggregates=aggregates, table=table_of, json=json
    )
