"""Small synthetic results: a volume with spheres as vesicles and sheets as ER, a movie of a jittering honeycomb."""

import dataclasses
import types

import numpy as np
import pandas as pd
import pytest
from cisterna.chunks import block_edge
from cisterna.report.document import RunDocument
from cisterna.report.movie import MovieReportData
from cisterna.report.movie_figures import FrameView
from cisterna.report.volume import VolumeReportData
from cisterna.report.volume_figures import Plane
from cisterna.store.arrays import ImageSpec, create_image, downsample, write_block
from cisterna.store.objects import connect, json_bytes
from cisterna.tables.networks import EDGES, FRAMES, JUNCTIONS, NODES
from cisterna.tables.volumes import LINKS, OBJECTS, SITE_CLASSES, SITES
from scipy import ndimage
from scipy.spatial import Voronoi

VOXEL_NM = 8.0
ALONE = "extent 412.0 nm in x exceeds 400 nm; excluded by extent alone: otherwise vesicular_standalone (ER at 8.0 nm)"


MADE = {
    "objects": "class object_id voxels volume_nm3 centroid_z_nm centroid_y_nm centroid_x_nm min_z_nm min_y_nm min_x_nm "
    "max_z_nm max_y_nm max_x_nm diameter_mask_nm mean_probability mean_grey touches_edge er_distance_nm site_id",
    "sites": "site_id kind site_class objects cluster_size centroid_z_nm centroid_y_nm centroid_x_nm extent_z_nm "
    "extent_y_nm extent_x_nm er_distance_nm linked_sites reason near_volume_edge",
    "links": "vesicular_site_id tubular_site_id distance_nm",
    "frames": "frame time_s snr_power snr_mean_std snr_flag nodes edges density transitivity average_clustering "
    "degree_assortativity categorical_assortativity components largest_component_node_share "
    "largest_component_edge_share degree_0 degree_1 degree_2 degree_3 degree_4 degree_5 degree_6_or_more "
    "total_length_um tubule_share sheet_share sbt_share er_share_of_image mean_confidence",
    "nodes": "frame node_id y_um x_um degree kind component junction_id",
    "edges": "frame edge_id node_a node_b length_um width_um component path_yx_um",
    "junctions": "junction_id first_frame last_frame lifetime_s censored mean_degree y_um x_um changes",
}
EMPTY = {"string": "-", "bool": False, "int64": 0, "int32": 0, "uint32": 0}


def table(schema, rows, names=None):
    """Rows of the columns `names` (those above) as the whole table; every other column is 0, False, "-" or NaN."""
    names = list(names or MADE[schema.name].split())
    others = {c.name: EMPTY.get(c.dtype, np.nan) for c in schema.columns if c.name not in names}
    return schema.frame(pd.DataFrame(rows, columns=names).assign(**others)[schema.names])


@dataclasses.dataclass(frozen=True)
class Volume:
    """Arrays and tables that agree with each other; voxel size 8 nm."""

    raw: np.ndarray
    denoised: np.ndarray
    labels: dict
    objects: pd.DataFrame
    sites: pd.DataFrame
    links: pd.DataFrame


def make_volume(shape=(72, 128, 160), bodies=24, seed=1):
    rng = np.random.default_rng(seed)
    field = ndimage.gaussian_filter(rng.normal(size=shape), 7)
    er = np.abs(field) < 0.12 * field.std()
    away = ndimage.distance_transform_edt(~er) * VOXEL_NM
    labels = {
        "er": er.astype(np.uint32),
        "copi": np.zeros(shape, np.uint32),
        "tubular_eres": np.zeros(shape, np.uint32),
    }
    objects, sites = [], []
    for i in range(bodies):
        site_class = SITE_CLASSES[i % 6]
        name = "tubular_eres" if site_class.startswith("tubular") else "copi"
        centre = np.array([rng.integers(14, n - 14) for n in shape])
        around = tuple(slice(c - 14, c + 15) for c in centre)
        radius = rng.normal(4.7, 0.5) * np.array([1, 1, 2.2 if name == "tubular_eres" else 1])
        body = ((np.indices((29, 29, 29)) - 14) ** 2 / radius.reshape(3, 1, 1, 1) ** 2).sum(0) <= 1
        body &= (labels["copi"][around] == 0) & (labels["tubular_eres"][around] == 0)
        if not body.any():
            continue
        object_id, site_id = int(labels[name].max()) + 1, len(sites) + 1
        labels[name][around][body] = object_id
        points = np.argwhere(body) + centre - 14
        low, high = points.min(0) * VOXEL_NM, (points.max(0) + 1) * VOXEL_NM
        middle = (points.mean(0) + 0.5) * VOXEL_NM
        distance = float(away[around][body].min()) if i % 7 else np.inf
        volume = float(body.sum() * VOXEL_NM**3)
        diameter = 2 * (3 * volume / (4 * np.pi)) ** (1 / 3)
        objects.append(
            (name, object_id, body.sum(), volume, *middle, *low, *high, diameter, 0.9, 100.0, False, distance, site_id)
        )
        kind, reason = site_class.split("_")[0], ALONE if site_class == "golgi_associated" else "ER at 8.0 nm"
        kind = "tubular" if kind == "tubular" else "vesicular"
        links, size = int("mixed" in site_class), int(rng.integers(1, 9))
        sites.append((site_id, kind, site_class, 1, size, *middle, *(high - low), distance, links, reason, i % 5 == 0))
    site_table = table(SITES, sites)
    mixed = site_table.loc[site_table.site_class == "vesicular_mixed", "site_id"].tolist()
    tubes = site_table.loc[site_table.site_class == "tubular_mixed", "site_id"].tolist()
    links = [(v, t, 20.0 + v / 10) for v, t in zip(mixed, tubes, strict=False)]
    if len(mixed) > 1 and len(tubes) > 1:
        links.append((mixed[0], tubes[1], 41.5))
    solid = er | (labels["copi"] > 0) | (labels["tubular_eres"] > 0)
    clean = 190 - 90 * ndimage.gaussian_filter(solid.astype(float), 0.8)
    raw = np.clip(clean + rng.normal(0, 18, shape), 0, 255).astype(np.uint8)
    return Volume(raw, clean.astype(np.uint8), labels, table(OBJECTS, objects), site_table, table(LINKS, links))


def document(recipe="fibsem", **changes):
    base = RunDocument(
        run_id=f"{recipe}-3f0a1b2c4d5e",
        recipe=recipe,
        state="SUCCEEDED",
        acquisition="cell-7",
        created="2026-11-20T09:00:00Z",
        finished="2026-11-20T09:12:30Z",
        cisterna_version="0.1.0",
        stages={
            "denoise": {
                "stage_key": "ab" * 32,
                "blocks": 12,
                "done": 12,
                "path": "stages/denoise/x",
                "model": "demo-fastfib",
            },
            "denoise-pyramid1": {"stage_key": "cd" * 32, "blocks": 2, "done": 2, "path": "stages/p/x", "model": None},
        },
        models={"demo-fastfib": {"family": "fastfib", "digest": "cd" * 32, "licence": "BSD-3-Clause", "demo": True}},
        warnings=[
            "Model demo-fastfib was trained on phantoms only: judge its results on your own data before citing them."
        ],
        notes=["A pixel size of 108 nm is assumed."],
        parameters={"eres": {"rules": {"name": "nair2025", "link_nm": 50.0}}},
        versions={"numpy": "2.4.0", "cisterna": "0.1.0"},
        timings={"denoise": {"read_s": 1.5, "compute_s": 22.25, "write_s": 0.5, "wall_s": 13.0, "blocks": 12}},
    )
    return dataclasses.replace(base, **changes)


def volume_data(volume, **changes):
    planes = []
    for axis, name in ((0, "yx"), (1, "zx"), (2, "zy")):
        at = volume.raw.shape[axis] // 2
        cut = {k: np.take(v, at, axis) for k, v in volume.labels.items()}
        er = cut.pop("er") > 0
        raw, denoised = np.take(volume.raw, at, axis), np.take(volume.denoised, at, axis)
        planes.append(Plane(name, at * VOXEL_NM, (VOXEL_NM, VOXEL_NM), raw, denoised, er, cut))
    data = VolumeReportData(
        run=document(),
        size_nm=tuple(n * VOXEL_NM for n in volume.raw.shape),
        voxel_size_nm=(VOXEL_NM,) * 3,
        objects=volume.objects,
        sites=volume.sites,
        links=volume.links,
        planes=planes,
        er_projection=volume.labels["er"].mean(0),
        er_volume_share=0.08,
        chance_near_er=0.81,
    )
    return dataclasses.replace(data, **changes)


@dataclasses.dataclass(frozen=True)
class Movie:
    """Arrays and tables that agree with each other; 0.1 µm pixels, 1.5 s a frame."""

    raw: np.ndarray
    classes: np.ndarray
    frames: pd.DataFrame
    nodes: pd.DataFrame
    edges: pd.DataFrame
    junctions: pd.DataFrame


def make_movie(count=12, size=96, seed=2, pixel_um=0.1, cells=42):
    rng = np.random.default_rng(seed)
    seeds = rng.uniform(-0.2, 1.2, (cells, 2)) * size * pixel_um
    raw, classes = np.zeros((count, size, size), np.uint8), np.zeros((count, size, size), np.uint8)
    frames, nodes, edges = [], [], []
    for t in range(count):
        voronoi = Voronoi(seeds + 0.05 * np.sin(t / 3 + np.arange(cells)[:, None]) * [1, 0.6])
        degree, lines = {}, []
        for a, b in voronoi.ridge_vertices:
            ends = voronoi.vertices[[a, b]]
            if min(a, b) < 0 or ends.min() < 0 or ends.max() >= size * pixel_um:
                continue
            lines.append((a, b, np.linspace(*ends, 12)))
            for v in (a, b):
                degree[v] = degree.get(v, 0) + 1
        number = {v: n for n, v in enumerate(degree)}
        empty = np.ones((size, size), bool)
        total = 0.0
        for n, (a, b, path) in enumerate(lines):
            empty[tuple(np.clip((np.linspace(path[0], path[-1], 200) / pixel_um).astype(int), 0, size - 1).T)] = False
            length = float(np.linalg.norm(path[-1] - path[0]))
            total += length
            edges.append((t, n, number[a], number[b], length, 0.2, 0, path.astype(np.float32).ravel()))
        for v, n in number.items():
            nodes.append((t, n, *voronoi.vertices[v], degree[v], "junction" if degree[v] > 2 else "tip", 0, n + 1))
        near = ndimage.distance_transform_edt(empty)
        classes[t][near <= 1.5] = 2
        classes[t][20:36, 20:40] = 3
        classes[t][26:29, 22:38] = 1
        raw[t] = np.clip(180 * np.exp(-(near**2) / 4) + 40 + rng.normal(0, 14, near.shape), 0, 255)
        snr = 8 - 0.22 * t
        by_degree = np.bincount(list(degree.values()), minlength=7)[:7]
        n, e = len(degree), len(lines)
        metrics = (2 * e / (n * (n - 1)), 0.02 + t / 1e3, 0.03, -0.1 + t / 200, 0.2, 2, 0.9 - t / 100, 0.93 - t / 100)
        shares = (0.7, 0.2, 0.1, 0.3, 0.8)
        frames.append((t, t * 1.5, snr, 2.0, "low" if snr < 5 else "ok", n, e, *metrics, *by_degree, total, *shares))
    lives = rng.exponential(12, 60).clip(1.5, count * 1.5)
    junctions = [
        (i + 1, 0, 3, v, v >= count * 1.5 or i % 9 == 0, 3.0 if i % 4 else 4.2, 1.0, 1.0, i % 3)
        for i, v in enumerate(lives)
    ]
    of_junctions = ["junction_id", "first_frame", "last_frame", "lifetime_s", "censored", "mean_degree"]
    of_junctions += ["y_um", "x_um", "changes"]
    return Movie(
        raw,
        classes,
        table(FRAMES, frames),
        table(NODES, nodes),
        table(EDGES, edges),
        table(JUNCTIONS, junctions, of_junctions),
    )


def movie_data(movie, **changes):
    shown = sorted({0, len(movie.raw) // 2, len(movie.raw) - 1})
    data = MovieReportData(
        run=document("er-movie"),
        shape=movie.raw.shape,
        pixel_size_um=(0.1, 0.1),
        frame_interval_s=1.5,
        frames=movie.frames,
        nodes=movie.nodes,
        edges=movie.edges,
        junctions=movie.junctions,
        views=[FrameView(t, t * 1.5, (0.1, 0.1), movie.raw[t], movie.classes[t]) for t in shown],
    )
    return dataclasses.replace(data, **changes)


def put_image(store, path, data, axes, scale, leave_out=()):
    """A multiscale image with all its levels; blocks of level 0 named in `leave_out` are never written."""
    edge = block_edge(data.shape)
    spec = ImageSpec(data.shape, str(data.dtype), (edge,) * 3 if axes == "zyx" else (1, *data.shape[1:]), axes, scale)
    create_image(store, path, spec)
    for n, level in enumerate(spec.levels):
        for index in range(level.grid.blocks):
            box = level.grid.box(index)
            if n or index not in leave_out:
                write_block(store, f"{path}/{n}", box, np.ascontiguousarray(data[box.slices]))
        data = downsample(data, level.factor, "nearest")


def run_json(run, arrays, tables):
    return json_bytes({**dataclasses.asdict(run), "arrays": arrays, "tables": tables})


def put_volume_run(store, volume, leave_out=(), **changes):
    """A finished FIB-SEM run in a store; returns its id."""
    run = document(**changes)
    images = {"raw": volume.raw, "denoised": volume.denoised, **{f"labels/{c}": v for c, v in volume.labels.items()}}
    arrays = {}
    for name, data in images.items():
        arrays[name] = f"stages/{name.replace('/', '-')}/k/image.ome.zarr"
        put_image(store, arrays[name], data, "zyx", (VOXEL_NM,) * 3, leave_out if name == "labels/copi" else ())
    tables = {}
    for schema, frame in ((OBJECTS, volume.objects), (SITES, volume.sites), (LINKS, volume.links)):
        tables[schema.name] = f"runs/{run.run_id}/tables/{schema.name}.parquet"
        store.put(tables[schema.name], schema.to_parquet_bytes(frame))
    store.put(f"runs/{run.run_id}/run.json", run_json(run, arrays, tables))
    return run.run_id


def put_movie_run(store, movie, **changes):
    """A finished movie run in a store; returns its id."""
    run = document("er-movie", **changes)
    arrays = {"raw": "acquisitions/m/raw.ome.zarr", "ernet/classes": "stages/ernet/k/classes.ome.zarr"}
    put_image(store, arrays["raw"], movie.raw, "tyx", (1.5, 0.1, 0.1))
    put_image(store, arrays["ernet/classes"], movie.classes, "tyx", (1.5, 0.1, 0.1))
    tables = {}
    for schema in (FRAMES, NODES, EDGES, JUNCTIONS):
        tables[schema.name] = f"runs/{run.run_id}/tables/{schema.name}.parquet"
        store.put(tables[schema.name], schema.to_parquet_bytes(getattr(movie, schema.name)))
    store.put(f"runs/{run.run_id}/run.json", run_json(run, arrays, tables))
    return run.run_id


@pytest.fixture(scope="session")
def volume():
    return make_volume()


@pytest.fixture(scope="session")
def movie():
    return make_movie()


@pytest.fixture(autouse=True)
def small_films(monkeypatch):
    """Films in reports are a third as wide as for users: encoding is what takes time."""
    monkeypatch.setattr("cisterna.report.movie_source.REPORT_PANEL_PX", 96)


@pytest.fixture
def store():
    return connect("memory://")


@pytest.fixture(scope="session")
def make():
    """The makers above, for tests that change what goes in."""
    return types.SimpleNamespace(
        volume=make_volume,
        movie=make_movie,
        document=document,
        volume_data=volume_data,
        movie_data=movie_data,
        put_image=put_image,
        put_volume_run=put_volume_run,
        put_movie_run=put_movie_run,
    )
