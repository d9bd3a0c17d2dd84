"""A finished run on a small anisotropic volume: vesicles as dark balls, one at each site."""

import dataclasses
import types

import numpy as np
import pandas as pd
import pytest
from cisterna.chunks import block_edge
from cisterna.store import open_store
from cisterna.store.arrays import ImageSpec, create_image, downsample, write_block
from cisterna.store.objects import connect, json_bytes
from cisterna.tables.volumes import LINKS, OBJECTS, SITE_CLASSES, SITES

VOXEL_NM = (10.0, 4.0, 5.0)
SHAPE = (60, 140, 90)
RUN = "fibsem-0123456789ab"
BLANK = {"string": "", "bool": False}


def fill(schema, rows):
    """Rows of a table in which columns that the test does not speak of are empty."""
    blank = {c.name: BLANK.get(c.dtype, 0) for c in schema.columns}
    return schema.frame(pd.DataFrame([blank | row for row in rows], columns=schema.names) if rows else ())


def site_rows(count, seed=3, classes=SITE_CLASSES):
    rng = np.random.default_rng(seed)
    size = np.array(SHAPE) * VOXEL_NM
    rows = []
    for n in range(count):
        z, y, x = rng.uniform(0.15, 0.85, 3) * size
        name = classes[n % len(classes)]
        rows.append(
            {"site_id": n + 1, "site_class": name, "kind": "tubular" if name.startswith("tubular") else "vesicular",
             "cluster_size": 1 + n % 4, "objects": 1 + n % 4,
             "centroid_z_nm": z, "centroid_y_nm": y, "centroid_x_nm": x}
        )  # fmt: skip
    return rows


@dataclasses.dataclass(frozen=True)
class Run:
    store: object
    run_id: str
    sites: pd.DataFrame
    raw: np.ndarray


def put_image(store, path, data):
    spec = ImageSpec(data.shape, str(data.dtype), (block_edge(data.shape),) * 3, "zyx", VOXEL_NM)
    create_image(store, path, spec)
    for n, level in enumerate(spec.levels):
        for index in range(level.grid.blocks):
            box = level.grid.box(index)
            write_block(store, f"{path}/{n}", box, np.ascontiguousarray(data[box.slices]))
        data = downsample(data, level.factor, "nearest")


def put_run(store, count=24, run_id=RUN, denoised=True, rows=None):
    """A finished run with `count` sites; the acquisition has a condition in its name."""
    rows = site_rows(count) if rows is None else rows
    sites = fill(SITES, rows)
    rng = np.random.default_rng(1)
    raw = rng.normal(170, 20, SHAPE)
    z, y, x = np.meshgrid(*((np.arange(n) + 0.5) * v for n, v in zip(SHAPE, VOXEL_NM, strict=True)), indexing="ij")
    for row in rows:
        away = (z - row["centroid_z_nm"]) ** 2 + (y - row["centroid_y_nm"]) ** 2 + (x - row["centroid_x_nm"]) ** 2
        raw[away <= 35.0**2] -= 90
    raw = np.clip(raw, 0, 255).astype(np.uint8)
    arrays = {"raw": "acquisitions/brefeldin-dish2/raw.ome.zarr"}
    put_image(store, arrays["raw"], raw)
    if denoised:
        arrays["denoised"] = "stages/denoise/k/denoised.ome.zarr"
        put_image(store, arrays["denoised"], raw)
    tables = {}
    for schema, frame in ((OBJECTS, fill(OBJECTS, [])), (SITES, sites), (LINKS, fill(LINKS, []))):
        tables[schema.name] = f"stages/eres-sites/k/tables/{schema.name}.parquet"
        store.put(tables[schema.name], schema.to_parquet_bytes(frame))
    document = {
        "run_id": run_id, "recipe": "fibsem", "state": "SUCCEEDED", "acquisition": "brefeldin-dish2",
        "created": "2026-11-20T09:00:00Z", "finished": "2026-11-20T09:10:00Z", "cisterna_version": "0.1.0",
        "stages": {}, "arrays": arrays, "tables": tables, "models": {}, "warnings": [], "notes": [], "quarantined": [],
        "parameters": {}, "versions": {}, "timings": {}, "uses": {}, "skipped": [],
    }  # fmt: skip
    store.put(f"runs/{run_id}/run.json", json_bytes(document))
    return Run(store, run_id, sites, raw)


@pytest.fixture
def run():
    """Without images: for what needs the tables alone."""
    store = connect("memory://")
    sites = fill(SITES, site_rows(24))
    path = "stages/eres-sites/k/tables/sites.parquet"
    store.put(path, SITES.to_parquet_bytes(sites))
    store.put(f"runs/{RUN}/run.json", json_bytes({"run_id": RUN, "tables": {"sites": path}, "arrays": {}}))
    return Run(store, RUN, sites, np.zeros(0))


@pytest.fixture
def folder_run(tmp_path, monkeypatch):
    """With images, in a directory store that the command line finds."""
    monkeypatch.setenv("CISTERNA_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("CISTERNA_STORE", f"file://{tmp_path}/store")
    monkeypatch.chdir(tmp_path)
    return put_run(open_store(f"file://{tmp_path}/store"))


@pytest.fixture(scope="session")
def make():
    return types.SimpleNamespace(put_run=put_run, site_rows=site_rows, fill=fill, voxel_nm=VOXEL_NM, run_id=RUN)
