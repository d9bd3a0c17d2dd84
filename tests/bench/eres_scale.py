"""Objects, distances, sites and statistics at scale: the service's own calls on a file store, in worker processes.

    OMP_NUM_THREADS=1 python tests/bench/eres_scale.py FOLDER [--shape 2048 1024 1024] [--workers 2] [--json]

Writes an image and probabilities of ER, vesicles and tubular sites (one object per 43,000 voxels: 50,000 at
2048×1024×1024) as a plan with `--use` arrays would find them, then runs every exit-site stage of that plan as the
driver does, one after the other. Printed: seconds of wall and of cores, ns of one core a voxel (so that a busy machine
matters little), and the peak memory of all processes together. FOLDER keeps what is done and how long it took: with
`--stop-after S` a large volume can be done in several calls.
`--in-core` labels the vesicles of the same volume with cc3d in memory, for comparison.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import json
import math
import multiprocessing
import resource
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from cisterna.chunks import BlockGrid, Box, block_edge
from cisterna.eres.service import EresService
from cisterna.rpc.server import ServerConfig, Worker
from cisterna.runs.acquisition import Acquisition, Source
from cisterna.runs.building import Builder, UsedArray
from cisterna.runs.fibsem import plan_fibsem
from cisterna.runs.recipes import DenoiseRecipe, EresRecipe, FibsemRecipe, SegmentRecipe
from cisterna.store import open_store
from cisterna.store.arrays import ImageSpec, create_image, read_box, write_block

SIZE_NM = (5.24, 4.0, 4.0)
SITE_PITCH = (50, 65, 65)
"""Voxels between sites; each holds five objects, so one object has 42,250 voxels to itself."""
CLASSES = ("er", "copi", "tubular_eres")


def balls(box: Box, shape: tuple[int, ...]) -> dict[str, np.ndarray]:
    """Probabilities (uint8) of three classes in a box: sites of four or five vesicles, every third with a tubule."""
    out = {name: np.zeros(box.shape, np.uint8) for name in CLASSES}
    reach = np.array([40, 50, 50])
    low = (np.maximum(0, np.array(box.offset) - reach) // SITE_PITCH).astype(int)
    high = -(-(np.array(box.end) + reach) // SITE_PITCH)
    for cell in itertools.product(*(range(a, b) for a, b in zip(low, high, strict=True))):
        rng = np.random.default_rng([*cell, 7])
        centre = (np.array(cell) + 0.5) * SITE_PITCH * SIZE_NM + rng.uniform(-12, 12, 3)
        corners = np.array([(1, 1, 1), (1, -1, -1), (-1, 1, -1), (-1, -1, 1), (0, 0, 0)]) * 52.0
        tubular = sum(cell) % 3 == 0
        for i, step in enumerate(corners):
            radius = rng.uniform(30, 38)
            if i == 4:
                step = np.array([0.0, 0.0, 105.0])
            name = "tubular_eres" if tubular and i == 4 else "copi"
            place_ball(out[name], box, centre + step, radius)
    z, y = (np.arange(o, e) * s for o, e, s in zip(box.offset[:2], box.end[:2], SIZE_NM[:2], strict=True))
    rods = (np.abs(z % 262 - 20)[:, None] ** 2 + np.abs(y % 260 - 20)[None, :] ** 2) < 35**2
    out["er"][rods] = 230
    return {k: v[tuple(slice(0, n) for n in box.shape)] for k, v in out.items()}


def place_ball(out: np.ndarray, box: Box, centre: np.ndarray, radius: float) -> None:
    first = np.maximum(np.floor((centre - radius) / SIZE_NM).astype(int), box.offset)
    last = np.minimum(np.ceil((centre + radius) / SIZE_NM).astype(int) + 1, box.end)
    if np.any(first >= last):
        return
    axes = [((np.arange(a, b) + 0.5) * s - c) ** 2 for a, b, s, c in zip(first, last, SIZE_NM, centre, strict=True)]
    inside = axes[0][:, None, None] + axes[1][None, :, None] + axes[2][None, None, :] < radius**2
    out[tuple(slice(a - o, b - o) for a, b, o in zip(first, last, box.offset, strict=True))][inside] = 210


class Call:
    def is_active(self) -> bool:
        return True

    def abort_with_status(self, status: Any) -> None:
        raise RuntimeError(f"{status.code}: {status.details}")


STATE: dict[str, Any] = {}


def start(url: str, shape: tuple[int, ...], sensitivity: str) -> None:
    store = open_store(url)
    config = ServerConfig("eres", url, "127.0.0.1:0", "127.0.0.1:0", "", "cpu", 1, 3)
    STATE.update(store=store, service=EresService(Worker(config, store, "cpu", lambda: None)))
    STATE["stages"] = {s.name: s for s in plan(store, shape, sensitivity).stages}


def plan(store: Any, shape: tuple[int, ...], sensitivity: str) -> Any:
    edge = block_edge(shape)
    raw = Source("in/raw.ome.zarr", shape, "uint8", 0.0, 255.0, False)
    acquisition = Acquisition(
        "scale", f"scale-{shape}", "volume", raw, {}, SIZE_NM, (edge,) * 3, 0.0, 255.0, (), {"arrays": {}}
    )
    uses = {c: UsedArray(f"in/{c}.ome.zarr", f"scale-{c}", c) for c in CLASSES}
    recipe = FibsemRecipe(
        denoise=DenoiseRecipe(enabled=False), segment=SegmentRecipe(models={}), eres=EresRecipe(sensitivity=sensitivity)
    )
    return plan_fibsem(Builder(store, acquisition), recipe, uses)


def write_input(number: int) -> tuple[int, float]:
    store, shape, before = STATE["store"], STATE["shape"], cpu_s()
    box = BlockGrid(shape, (block_edge(shape),) * 3).box(number)
    made = balls(box, shape)
    # An image with dark objects and a little noise: diameters are measured on it.
    noise = np.random.default_rng(number).integers(0, 4, box.shape, np.uint8)
    made["raw"] = np.where(made["copi"] > 0, 70, 190).astype(np.uint8) + noise
    for name, data in made.items():
        write_block(store, f"in/{name}.ome.zarr/0", box, data)
    return peak_kib(), cpu_s() - before


def one_task(stage_name: str, block: int) -> tuple[int, float]:
    stage, before = STATE["stages"][stage_name], cpu_s()
    getattr(STATE["service"], stage.method)(stage.request(block, 1), Call())
    return peak_kib(), cpu_s() - before


def cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def peak_kib() -> int:
    return int(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


def identity() -> tuple[int, int]:
    time.sleep(0.2)
    return multiprocessing.current_process().pid or 0, peak_kib()


def start_with(url: str, shape: tuple[int, ...], sensitivity: str) -> None:
    STATE["shape"] = shape
    start(url, shape, sensitivity)


def measure(folder: Path, shape: tuple[int, ...], workers: int, sensitivity: str, stop_after: float) -> dict[str, Any]:
    url = f"file://{folder.resolve()}"
    store = open_store(url)
    grid = BlockGrid(shape, (block_edge(shape),) * 3)
    for name in (*CLASSES, "raw"):
        create_image(store, f"in/{name}.ome.zarr", ImageSpec(shape, "uint8", grid.block, "zyx", SIZE_NM, name))
    the_plan = plan(store, shape, sensitivity)
    stages = [s for s in the_plan.stages if "-pyramid" not in s.name]
    began = time.perf_counter()
    log = folder / "times.json"
    times: dict[str, Any] = json.loads(log.read_text()) if log.exists() else {}

    def run(pool: ProcessPoolExecutor, name: str, tasks: int, call: Any) -> bool:
        """The tasks that are left; False where time ran out first."""
        known = times.setdefault(name, {"done": 0, "s": 0.0, "cpu_s": 0.0, "peak_mib": 0.0})
        while known["done"] < tasks:
            if time.perf_counter() - began > stop_after:
                return False
            numbers = range(known["done"], min(known["done"] + 16 * workers, tasks))
            start = time.perf_counter()
            used = list(pool.map(call, numbers))
            known["s"] += time.perf_counter() - start
            known["cpu_s"] += sum(cpu for _, cpu in used)
            known["done"] = numbers.stop
            known["peak_mib"] = max(known["peak_mib"], max(peak for peak, _ in used) / 1024)
            log.write_text(json.dumps(times))
        return True

    def pool() -> ProcessPoolExecutor:
        context = multiprocessing.get_context("spawn")
        return ProcessPoolExecutor(workers, context, start_with, (url, shape, sensitivity))

    with pool() as writers:
        complete = run(writers, "input", grid.blocks, write_input)
    with pool() as working:
        each = dict(working.map(identity_of, range(workers * 4)))  # both have started, and imported what they need
        for stage in stages if complete else ():
            for image in stage.images:
                create_image(store, image.path, image.spec)
            complete = run(working, stage.name, stage.blocks, functools.partial(one_task, stage.name))
            if not complete:
                break
        each.update(working.map(identity_of, range(workers * 4)))
    peak = (sum(each.values()) + peak_kib()) / 1024
    times["peak_of_all_processes_mib"] = max(peak, times.get("peak_of_all_processes_mib", 0.0))
    log.write_text(json.dumps(times))
    voxels = math.prod(shape)
    rows = [{"stage": s.name, **times[s.name], "ns_per_voxel": times[s.name]["cpu_s"] / voxels * 1e9}
            for s in stages if s.name in times]  # fmt: skip
    seconds, cpu = (sum(r[k] for r in rows) for k in ("s", "cpu_s"))
    return {
        "shape": shape, "workers": workers, "complete": complete, "stages": rows, "s": seconds,
        "cpu_s": cpu,
        "ns_per_voxel": cpu / voxels * 1e9, "peak_of_all_processes_mib": times["peak_of_all_processes_mib"],
        "counts": store.get_json(the_plan.tables["counts"]) if complete else None,
    }  # fmt: skip


def identity_of(_: int) -> tuple[int, int]:
    return identity()


def in_core(folder: Path, shape: tuple[int, ...]) -> dict[str, Any]:
    """Vesicles of the same volume (or its first voxels): read, threshold, cc3d, statistics, in one process."""
    import cc3d

    store = open_store(f"file://{folder.resolve()}")
    times = [cpu_s()]
    mask = read_box(store, "in/copi.ome.zarr/0", Box.whole(shape)) >= 128
    times.append(cpu_s())
    labels = cc3d.connected_components(mask, connectivity=26, out_dtype=np.uint32)
    times.append(cpu_s())
    found = cc3d.statistics(labels)
    times.append(cpu_s())
    each = {f"{name}_ns_per_voxel": (b - a) / math.prod(shape) * 1e9
            for name, a, b in zip(("read", "cc3d", "statistics"), times, times[1:], strict=False)}  # fmt: skip
    return {"shape": shape, "objects": len(found["voxel_counts"]) - 1, **each, "peak_mib": peak_kib() / 1024}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--shape", type=int, nargs=3, default=(2048, 1024, 1024))
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--sensitivity", default="rules", choices=("none", "rules", "full"))
    parser.add_argument("--stop-after", type=float, default=math.inf, metavar="S", help="go on with another call")
    parser.add_argument("--in-core", action="store_true")
    parser.add_argument("--json", action="store_true")
    a = parser.parse_args()
    shape = tuple(a.shape)
    found = in_core(a.folder, shape) if a.in_core else measure(a.folder, shape, a.workers, a.sensitivity, a.stop_after)
    if a.json or a.in_core:
        print(json.dumps(found))
        return
    for r in found["stages"]:
        print(f"{r['stage']:28s} {r['s']:8.1f} s wall {r['cpu_s']:8.1f} s of cores {r['ns_per_voxel']:8.1f} ns/voxel "
              f"{r['peak_mib']:6.0f} MiB a process")  # fmt: skip
    print(f"{'all' if found['complete'] else 'so far':28s} {found['s']:8.1f} s wall {found['cpu_s']:8.1f} s of cores "
          f"{found['ns_per_voxel']:8.1f} ns/voxel, "
          f"{found['peak_of_all_processes_mib']:.0f} MiB all processes; {found['counts']}")  # fmt: skip


if __name__ == "__main__":
    main()
