"""Planes into an OME-Zarr image: whole blocks, then the pyramid, each block one object."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cisterna.chunks import Box
from cisterna.store import ObjectStore
from cisterna.store.arrays import ImageSpec, create_image, downsample, read_box, write_block

SLAB_BYTES = 2**30
WRITERS = 4


def write_image(
    store: ObjectStore, path: str, spec: ImageSpec, read: Callable[[int], NDArray[Any]],
    report: Callable[[str, float], None],
) -> None:  # fmt: skip
    """Write all planes of an image and its coarser levels.

    Of a movie a few frames are held in memory; of a volume a slab of one block's thickness, at most 1 GiB of it: wider
    stacks are read in bands of rows, each plane then several times.
    """
    create_image(store, path, spec)
    with ThreadPoolExecutor(WRITERS) as pool:
        (_write_frames if spec.leading else _write_volume)(pool, store, path, spec, read, report)
        levels = spec.levels
        for n in range(1, len(levels)):
            finer, coarser = levels[n - 1], levels[n]
            coarse = [
                pool.submit(_coarsen, store, path, n, finer, coarser.grid.box(b)) for b in range(coarser.grid.blocks)
            ]
            for done, level in enumerate(coarse):
                level.result()
                report(f"pyramid of {spec.name}", (n - 1 + (done + 1) / len(coarse)) / (len(levels) - 1))


def _write_frames(
    pool: ThreadPoolExecutor, store: ObjectStore, path: str, spec: ImageSpec, read: Callable[[int], NDArray[Any]],
    report: Callable[[str, float], None],
) -> None:  # fmt: skip
    """One frame a block, in order; a few are written at a time."""
    jobs: deque[Future[Any]] = deque()
    for i in range(spec.grid.blocks):
        box = spec.grid.box(i)
        frame = np.ascontiguousarray(read(i), spec.dtype).reshape(box.shape)
        jobs.append(pool.submit(write_block, store, f"{path}/0", box, frame))
        if len(jobs) > 2 * WRITERS:
            jobs.popleft().result()
        report(f"writing {spec.name}", (i + 1) / spec.grid.blocks)
    for job in jobs:
        job.result()


def _write_volume(
    pool: ThreadPoolExecutor, store: ObjectStore, path: str, spec: ImageSpec, read: Callable[[int], NDArray[Any]],
    report: Callable[[str, float], None],
) -> None:  # fmt: skip
    thick, tall = spec.block[0], spec.block[1]
    planes, height, width = spec.shape
    rows = max(1, SLAB_BYTES // max(1, thick * tall * width * np.dtype(spec.dtype).itemsize)) * tall
    bands = math.ceil(height / rows)
    for z in range(0, planes, thick):
        for band in range(bands):
            top, bottom = band * rows, min((band + 1) * rows, height)
            depth = min(thick, planes - z)
            slab = np.empty((depth, bottom - top, width), spec.dtype)
            for i in range(depth):
                slab[i] = read(z + i)[top:bottom]
                report(f"writing {spec.name}", (z + (band * depth + i + 1) / bands) / planes)
            whole = Box((z, top, 0), slab.shape)
            boxes = [spec.grid.box(b) for b in spec.grid.overlapping(whole)]
            jobs = [
                pool.submit(
                    write_block,
                    store,
                    f"{path}/0",
                    box,
                    np.ascontiguousarray(slab[box.relative_to(whole.offset).slices]),
                )
                for box in boxes
            ]
            for job in jobs:
                job.result()


def _coarsen(store: ObjectStore, path: str, level: int, finer: ImageSpec, box: Box) -> None:
    source = Box(
        tuple(o * f for o, f in zip(box.offset, finer.factor, strict=True)),
        tuple(n * f for n, f in zip(box.shape, finer.factor, strict=True)),
    ).intersect(Box.whole(finer.shape))
    data = downsample(read_box(store, f"{path}/{level - 1}", source), finer.factor, "mean")
    write_block(store, f"{path}/{level}", box, data)
