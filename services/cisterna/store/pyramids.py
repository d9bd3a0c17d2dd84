"""The levels of a multiscale image, from its OME metadata."""

from __future__ import annotations

from dataclasses import dataclass

from cisterna.store.arrays import open_level
from cisterna.store.errors import ObjectMissing
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
