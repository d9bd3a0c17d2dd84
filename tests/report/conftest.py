"""Small synthetic results: a volume with spheres as vesicles and sheets as ER, a movie of a moving ring of junctions."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from scipy import ndimage

from cisterna.report.document import RunDocument
from cisterna.report.movie import MovieReportData
from cisterna.report.movie_figures import FrameView
from cisterna.report.volume import VolumeReportData
from cisterna.report.volume_figures import Plane

OBJECT_COLUMNS = (
    "class object_id voxels volume_nm3 centroid_z_nm centroid_y_nm centroid_x_nm min_z_nm min_y_nm min_x_nm max_z_nm max_y_nm "
    "max_x_nm diameter_mask_nm mean_probability touches_edge er_distance_nm site_id"
).split()
SITE_COLUMNS = (
    "site_id kind site_class objects cluster_size centroid_z_nm centroid_y_nm centroid_x_nm extent_z_nm extent_y_nm extent_x_nm "
    "er_distance_nm linked_sites reason near_volume_edge"
).split()
LINK_COLUMNS = ["vesicular_site_id", "tubular_site_id", "distance_nm"]
FRAME_COLUMNS = (
    "frame time_s snr_power snr_mean_std snr_flag nodes edges density transitivity average_clustering degree_assortativity "
    "categorical_assortativity components largest_component_node_share largest_component_edge_share degree_0 degree_1 degree_2 "
    "degree_3 degree_4 degree_5 degree_6_or_more total_length_um tubule_share sheet_share sbt_share er_share_of_image mean_confidence"
).split()
NODE_COLUMNS = "frame node_id y_um x_um degree kind component junction_id".split()
EDGE_COLUMNS = "frame edge_id node_a node_b length_um width_um component path_yx_um".split()
JUNCTION_COLUMNS = "junction_id first_frame last_frame lifetime_s censored mean_degree y_um x_um changes".split()


@dataclasses.dataclass(frozen=True)
class Volume:
    """Arrays and tables that agree with each other; voxel size 8 nm."""

    raw: np.ndarray
    denoised: np.ndarray
    labels: dict[str, np.ndarray]
    objects: pd.DataFrame
    sites: pd.DataFrame
    links: pd.DataFrame
    voxel_nm: tuple[float, float, float] = (8.0, 8.0, 8.0)


def make_volume(shape=(72, 128, 160), vesicles=24, seed=1) -> Volume:
    rng = np.random.default_rng(seed)
    field = ndimage.gaussian_filter(rng.normal(size=shape), 7)
    er = np.abs(field) < 0.12 * field.std()
    away = ndimage.distance_transform_edt(~er) * 8
    grid = np.indices(shape)
    labels = {
        "er": er.astype(np.uint32),
        "copi": np.zeros(shape, np.uint32),
        "tubular_eres": np.zeros(shape, np.uint32),
    }
    classes = [
        "vesicular_standalone",
        "vesicular_mixed",
        "dispersed",
        "golgi_associated",
        "tubular_isolated",
        "tubular_mixed",
    ]
    object_rows, site_rows, link_rows = [], [], []
    for i in range(vesicles):
        site_class = classes[i % 6]
        kind = "tubular" if site_class.startswith("tubular") else "vesicular"
        name = "tubular_eres" if kind == "tubular" else "copi"
        centre = np.array([rng.integers(6, n - 6) for n in shape])
        radius = rng.normal(4.7, 0.5) * (np.array([1, 1, 2.2]) if kind == "tubular" else 1)
        body = (((grid - centre.reshape(3, 1, 1, 1)) / np.reshape(radius, (-1, 1, 1, 1))) ** 2).sum(0) <= 1
        body &= (labels["copi"] == 0) & (labels["tubular_eres"] == 0)
        object_id = int(labels[name].max()) + 1
        if not body.any():
            continue
        labels[name][body] = object_id
        points = np.argwhere(body)
        low, high, middle = points.min(0) * 8.0, (points.max(0) + 1) * 8.0, points.mean(0) * 8.0
        distance = float(away[body].min()) if i % 7 else np.inf
        diameter = 2 * (3 * body.sum() * 512 / (4 * np.pi)) ** (1 / 3)
        site_id = len(site_rows) + 1
        object_rows.append(
            (
                name,
                object_id,
                int(body.sum()),
                body.sum() * 512.0,
                *middle,
                *low,
                *high,
                diameter,
                0.9,
                False,
                distance,
                site_id,
            )
        )
        site_rows.append(
            (site_id, kind, site_class, 1, int(rng.integers(1, 9)), *middle, *(high - low), distance, int("mixed" in site_class),
             "golgi_extent" if site_class == "golgi_associated" else "near_er", bool(i % 5 == 0))
        )  # fmt: skip
    sites = pd.DataFrame(site_rows, columns=SITE_COLUMNS)
    mixed = sites[sites.site_class == "vesicular_mixed"].site_id.tolist()
    tubes = sites[sites.site_class == "tubular_mixed"].site_id.tolist()
    for v, t in zip(mixed, tubes, strict=False):
        link_rows.append((v, t, 20.0 + v / 10))
    if len(mixed) > 1:
        link_rows.append((mixed[0], tubes[1], 41.5))
    solid = er | (labels["copi"] > 0) | (labels["tubular_eres"] > 0)
    clean = 190 - 90 * ndimage.gaussian_filter(solid.astype(float), 0.8)
    raw = np.clip(clean + rng.normal(0, 18, shape), 0, 255).astype(np.uint8)
    objects = pd.DataFrame(object_rows, columns=OBJECT_COLUMNS)
    return Volume(raw, clean.astype(np.uint8), labels, objects, sites, pd.DataFrame(link_rows, columns=LINK_COLUMNS))


def document(recipe="fibsem", **changes) -> RunDocument:
    base = RunDocument(
        run_id="fibsem-3f0a1b2c", recipe=recipe, state="SUCCEEDED", acquisition="cell-7", created="2026-11-20T09:00:00Z",
        finished="2026-11-20T09:12:30Z", cisterna_version="0.1.0",
        stages={"denoise": {"stage_key": "ab" * 32, "blocks": 12, "done": 12, "path": "stages/denoise/x", "model": "demo-fastfib", "params": {}}},
        models={"demo-fastfib": {"family": "fastfib", "digest": "cd" * 32, "licence": "BSD-3-Clause", "demo": True}},
        warnings=["Polarity was inverted."], notes=["A pixel size of 108 nm is assumed."],
        parameters={"eres": {"rules": "nair2025", "link_nm": 50.0}}, versions={"numpy": "2.4.0", "cisterna": "0.1.0"},
        timings={"denoise": {"read_s": 1.5, "compute_s": 22.25, "write_s": 0.5, "wall_s": 13.0, "blocks": 12}},
    )  # fmt: skip
    return dataclasses.replace(base, **changes)


def volume_data(volume: Volume, **changes) -> VolumeReportData:
    shape, step = volume.raw.shape, volume.voxel_nm
    planes = []
    for axis, name in ((0, "yx"), (1, "zx"), (2, "zy")):
        at = shape[axis] // 2
        cut = {k: np.take(v, at, axis) for k, v in volume.labels.items()}
        er = cut.pop("er") > 0
        pixel = tuple(s for i, s in enumerate(step) if i != axis)
        planes.append(
            Plane(
                name, at * step[axis], pixel, np.take(volume.raw, at, axis), np.take(volume.denoised, at, axis), er, cut
            )
        )
    data = VolumeReportData(
        run=document(), size_nm=tuple(n * s for n, s in zip(shape, step, strict=True)), voxel_size_nm=step, objects=volume.objects,
        sites=volume.sites, links=volume.links, planes=planes, er_projection=volume.labels["er"].mean(0), er_volume_share=0.08,
        chance_near_er=0.81,
    )  # fmt: skip
    return dataclasses.replace(data, **changes)


def make_movie(count=12, size=96, seed=2, pixel_um=0.1):
    """(raw, classes, frames, nodes, edges, junctions) of a jittering honeycomb."""
    from scipy.spatial import Voronoi

    rng = np.random.default_rng(seed)
    seeds = rng.uniform(-0.2, 1.2, (42, 2)) * size * pixel_um
    raw = np.zeros((count, size, size), np.uint8)
    classes = np.zeros((count, size, size), np.uint8)
    frames, nodes, edges = [], [], []
    for t in range(count):
        drift = seeds + 0.05 * np.sin(t / 3 + np.arange(len(seeds))[:, None]) * [1, 0.6]
        cells = Voronoi(drift)
        kept, degree, lines = {}, {}, []
        for a, b in cells.ridge_vertices:
            if a < 0 or b < 0:
                continue
            pa, pb = cells.vertices[a], cells.vertices[b]
            if min(pa.min(), pb.min()) < 0 or max(pa.max(), pb.max()) >= size * pixel_um:
                continue
            for v in (a, b):
                kept.setdefault(v, len(kept) + 1)
                degree[v] = degree.get(v, 0) + 1
            lines.append((a, b, np.linspace(pa, pb, 12)))
        skeleton = np.ones((size, size), bool)
        for number, (a, b, path) in enumerate(lines, 1):
            step = np.linspace(path[0], path[-1], 200)
            skeleton[tuple(np.clip((step / pixel_um).astype(int), 0, size - 1).T)] = False
            length = float(np.linalg.norm(path[-1] - path[0]))
            edges.append((t, number, kept[a], kept[b], length, 0.2, 1, path.astype(np.float32).ravel()))
        for v, n in kept.items():
            kind = "junction" if degree[v] > 2 else "tip"
            nodes.append((t, n, *cells.vertices[v], degree[v], kind, 1, n))
        near = ndimage.distance_transform_edt(skeleton)
        classes[t][near <= 1.5] = 2
        classes[t][20:36, 20:40] = 3
        classes[t][26:29, 22:38] = 1
        raw[t] = np.clip(180 * np.exp(-(near**2) / 4) + 40 + rng.normal(0, 14, near.shape), 0, 255)
        counts = np.bincount(list(degree.values()), minlength=7)[:7]
        n, e = len(kept), len(lines)
        frames.append(
            (t, t * 1.5, 8 - 0.22 * t, 2.0, "low" if 8 - 0.22 * t < 5 else "ok", n, e, 2 * e / (n * (n - 1)), 0.02 + t / 1e3, 0.03,
             -0.1 + t / 200, 0.2, 2, 0.9 - t / 100, 0.93 - t / 100, *counts, sum(x[4] for x in edges if x[0] == t), 0.7, 0.2, 0.1, 0.3, 0.8)
        )  # fmt: skip
    life = rng.exponential(12, 60).clip(1.5, count * 1.5)
    junctions = pd.DataFrame(
        [
            (i + 1, 0, 3, float(v), bool(v >= count * 1.5 or i % 9 == 0), 3.0 if i % 4 else 4.2, 1.0, 1.0, i % 3)
            for i, v in enumerate(life)
        ],
        columns=JUNCTION_COLUMNS,
    )
    return (
        raw, classes, pd.DataFrame(frames, columns=FRAME_COLUMNS), pd.DataFrame(nodes, columns=NODE_COLUMNS),
        pd.DataFrame(edges, columns=EDGE_COLUMNS), junctions,
    )  # fmt: skip


def movie_data(movie, **changes) -> MovieReportData:
    raw, classes, frames, nodes, edges, junctions = movie
    shown = sorted({0, len(raw) // 2, len(raw) - 1})
    data = MovieReportData(
        run=document("er-movie", run_id="er-movie-77"), shape=raw.shape, pixel_size_um=(0.1, 0.1), frame_interval_s=1.5, frames=frames,
        nodes=nodes, edges=edges, junctions=junctions,
        views=[FrameView(t, t * 1.5, (0.1, 0.1), raw[t], classes[t]) for t in shown],
    )  # fmt: skip
    return dataclasses.replace(data, **changes)


@pytest.fixture(scope="session")
def volume() -> Volume:
    return make_volume()


@pytest.fixture(scope="session")
def movie():
    return make_movie()


@pytest.fixture(scope="session")
def small():
    """The makers themselves, for tests that change what goes in."""
    import types

    return types.SimpleNamespace(
        volume_data=volume_data, movie_data=movie_data, document=document, make_movie=make_movie, make_volume=make_volume,
        columns={"objects": OBJECT_COLUMNS, "sites": SITE_COLUMNS, "links": LINK_COLUMNS, "frames": FRAME_COLUMNS,
                 "nodes": NODE_COLUMNS, "edges": EDGE_COLUMNS, "junctions": JUNCTION_COLUMNS},
    )  # fmt: skip
