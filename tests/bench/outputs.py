"""Times the outputs that are drawn or cut: film, contact sheet, surfaces, annotations, on synthetic results.

python tests/bench/outputs.py
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
from cisterna.report.annotations import ELLIPSOID, Annotations, Property, write_annotations
from cisterna.report.contact_sheet import SheetData, write_sheet
from cisterna.report.film import FilmFrame, Screen, panel_size, write_film
from cisterna.report.meshes import surfaces
from cisterna.store.arrays import ImageSpec, create_image, write_block
from cisterna.store.objects import connect
from cisterna.store.pyramids import read_pyramid
from scipy import ndimage


def clocks(what, started):
    wall, core = (now - then for now, then in zip((time.perf_counter(), time.process_time()), started, strict=True))
    print(f"{what}: {wall:.1f} s, {core:.1f} s of one core", flush=True)


def now():
    return time.perf_counter(), time.process_time()


def film(folder, frames, side):
    rng = np.random.default_rng(0)
    smooth = ndimage.gaussian_filter(rng.normal(size=(side, side)), 6)
    classes = np.where(np.abs(smooth) < 0.15 * smooth.std(), 2, 0).astype(np.uint8)
    nodes = pd.DataFrame(
        {"x_um": rng.uniform(0, side / 10, 3000), "y_um": rng.uniform(0, side / 10, 3000), "degree": 3}
    )
    ends = nodes[["y_um", "x_um"]].to_numpy()
    paths = [np.r_[p, p + 0.6, p + np.array([1.2, 0.8])] for p in ends]
    edges = pd.DataFrame({"path_yx_um": paths})

    def draw():
        for t in range(frames):
            raw = 40 + 150 * (classes > 0) + rng.normal(0, 15, classes.shape)
            yield FilmFrame(1.5 * t, np.clip(raw, 0, 255).astype(np.uint8), classes, nodes, edges)

    screen = Screen((side / 10, side / 10), (0.1, 0.1), (0, 255), panel_size((side, side), (0.1, 0.1)), 0.3)
    started = now()
    made = write_film(folder / "film.mp4", screen, draw(), frames)
    size = made.path.stat().st_size / 1e6
    clocks(f"film, {frames} frames of {side}² as {made.width_px} × {made.height_px}, {size:.1f} MB", started)


def volume(side, count):
    """Raw, denoised, ER sheets and balls of 60–80 nm on a 4 nm grid, with their tables."""
    store, shape, rng = connect("memory://"), (side,) * 3, np.random.default_rng(0)
    field = ndimage.gaussian_filter(rng.normal(size=(side // 4,) * 3), 6).repeat(4, 0).repeat(4, 1).repeat(4, 2)
    er = (np.abs(field) < 0.1 * field.std()).astype(np.uint32)
    balls = np.zeros(shape, np.uint32)
    rows = []
    grid = np.indices((21,) * 3) - 10
    ball = (grid**2).sum(0) <= 81
    for number in range(1, count + 1):
        centre = rng.integers(12, side - 12, 3)
        balls[tuple(slice(c - 10, c + 11) for c in centre)][ball] = number
        place = dict(zip(("centroid_z_nm", "centroid_y_nm", "centroid_x_nm"), (centre + 0.5) * 4.0, strict=True))
        rows.append({"class": "copi", "object_id": number, "site_id": number, **place})
    raw = (
        (160 + 20 * rng.standard_normal(shape, np.float32) - 80 * ((balls > 0) | (er > 0)))
        .clip(0, 255)
        .astype(np.uint8)
    )
    for name, data in (("raw", raw), ("labels/er", er), ("labels/copi", balls)):
        create_image(store, name, ImageSpec(shape, str(data.dtype), (128,) * 3, "zyx", (4.0,) * 3))
        level = ImageSpec(shape, str(data.dtype), (128,) * 3, "zyx", (4.0,) * 3)
        for index in range(level.grid.blocks):
            box = level.grid.box(index)
            write_block(store, f"{name}/0", box, np.ascontiguousarray(data[box.slices]))
    objects = pd.DataFrame(rows)
    extents = {f"extent_{a}_nm": 76.0 for a in "zyx"}
    more = {"site_class": "vesicular_standalone", "objects": 1, "cluster_size": 1, "er_distance_nm": 20.0}
    sites = objects.drop(columns=["class", "object_id"]).assign(**extents, **more, near_volume_edge=False, reason="ER")
    return store, objects, sites


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=60)
    parser.add_argument("--movie-side", type=int, default=1024)
    parser.add_argument("--volume-side", type=int, default=384)
    parser.add_argument("--sites", type=int, default=300)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        film(folder, args.frames, args.movie_side)
        store, objects, sites = volume(args.volume_side, args.sites)
        images = {name: read_pyramid(store, name) for name in ("raw", "labels/er", "labels/copi")}
        data = SheetData(store, images, sites, objects, "Sites", {})
        started = now()
        paths = write_sheet(data, folder / "sheet", args.sites, lambda share: None)
        clocks(f"contact sheet, {args.sites} sites on {len(paths) - 1} pages", started)
        for name in ("labels/er", "labels/copi"):
            started = now()
            level = images[name].levels[0]
            found = surfaces(
                store, level, lambda a: (a > 0).astype(np.uint8), {1: ("s", "#ffffff", 1.0)}, most_faces=10**9
            )
            clocks(f"surface of {name}, {args.volume_side}³, {len(found[0].faces):,} triangles", started)
        count = 50_000
        rng = np.random.default_rng(0)
        vesicles = Annotations(
            ELLIPSOID, np.arange(1, count + 1, dtype=np.uint64), rng.uniform(0, 8000, (count, 3)),
            np.full((count, 3), 30.0), [Property("site_class", "uint8", rng.integers(0, 7, count))],
            {"copi": [[n] for n in range(1, count + 1)]},
        )  # fmt: skip
        started = now()
        write_annotations(folder / "a", vesicles, (-50.0,) * 3, (8050.0,) * 3)
        clocks(f"annotations, {count:,} vesicles, {sum(p.is_file() for p in (folder / 'a').rglob('*'))} files", started)


if __name__ == "__main__":
    main()
