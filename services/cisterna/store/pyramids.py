"""The levels of a multiscale image, from its OME metadata."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cisterna.chunks import BlockGrid, Box
from cisterna.store.arrays import open_level, read_box
from cisterna.store.errors import CorruptObject, ObjectMissing
from cisterna.store.objects import ObjectStore


@dataclass(frozen=True)
class Level:
    """One level of a multiscale image; `scale` is the voxel size per axis (nm, µm or s)."""

    path: str
    shape: tuple[int, ...]
    scale: tuple[float, ...]


@dataclass(frozen=True)
class Pyramid:
    """The levels of an OME-Zarr image, finest first. Their outer corners coincide."""

    axes: str
    levels: tuple[Level, ...]

    def fitting(self, limit: int, axes: str) -> int:
        """Number of the finest level with at most `limit` voxels along the named axes; the coarsest if none has."""
        for n, level in enumerate(self.levels):
            if all(size <= limit for size, axis in zip(level.shape, self.axes, strict=True) if axis in axes):
                return n
        return len(self.levels) - 1


def read_pyramid(store: ObjectStore, path: str) -> Pyramid | None:
    """The levels of the image at `path`, from its OME metadata; None where there is no such image."""
    try:
        image = store.get_json(f"{path}/zarr.json")["attributes"]["ome"]["multiscales"][0]
        levels = []
        for dataset in image["datasets"]:
            scale = next(t["scale"] for t in dataset["coordinateTransformations"] if t["type"] == "scale")
            level_path = f"{path}/{dataset['path']}"
            levels.append(Level(level_path, tuple(open_level(store, level_path).shape), tuple(float(s) for s in scale)))
    except ObjectMissing:
        return None
    except (KeyError, IndexError, StopIteration, TypeError, ValueError) as error:
        raise ValueError(f"{path} is no OME-Zarr 0.5 image ({error!r}); run `cisterna verify`") from error
    return Pyramid("".join(axis["name"] for axis in image["axes"]), tuple(levels))


def read_with_gaps(store: ObjectStore, level: Level, box: Box) -> tuple[NDArray[Any], float]:
    """The voxels of the box, and the share of it that is missing; missing blocks are zero.

    A picture of a degraded run shows what there is. Everyone else reads with `read_box`, which refuses.
    """
    try:
        return read_box(store, level.path, box), 0.0
    except CorruptObject:
        array = open_level(store, level.path)
        found = np.zeros(box.shape, dtype=array.dtype)
        grid = BlockGrid(tuple(array.shape), tuple(array.shards or array.chunks))
        missing = 0
        for index in grid.overlapping(box):
            part = grid.box(index).intersect(box)
            try:
                found[tuple(slice(a - o, b - o) for a, b, o in zip(part.offset, part.end, box.offset, strict=True))] = (
                    read_box(store, level.path, part)
                )
            except CorruptObject:
                missing += part.size
        return found, missing / box.size
