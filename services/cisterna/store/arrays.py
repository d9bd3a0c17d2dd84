"""Multiscale OME-Zarr 0.5 images whose blocks are single objects.

zarr describes, encodes and reads; a block is encoded in memory and PUT once, because two writers in one shard lose
data silently. Chunks carry a crc32c, and a shard that is absent is an error, never the fill value.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from obstore.exceptions import BaseError
from zarr.codecs import BytesCodec, Crc32cCodec, ZstdCodec
from zarr.core.buffer import default_buffer_prototype
from zarr.core.sync import sync
from zarr.storage import MemoryStore as ZarrMemoryStore
from zarr.storage import ObjectStore as ZarrObjectStore

from cisterna.chunks import BlockGrid, Box, reflect_indices
from cisterna.store.errors import CorruptObject, ObjectMissing, StoreError, StoreUnavailable
from cisterna.store.objects import ObjectStore
from cisterna.store.receipts import Written, write_once

CHUNK_EDGE = 64
FRAME_CHUNK_EDGE = 256
SMALLEST_LEVEL = 128
"""The pyramid ends at the first level whose longest axis has at most this many voxels."""


@dataclass(frozen=True)
class ImageSpec:
    """What an image is: shape, type, blocks and physical scale.

    ``scale`` is the voxel size per axis: nm for volumes (axes zyx), seconds and µm for movies (axes tyx, or tzyx
    where every z section is kept; blocks are whole frames, and neither time nor the sections are ever coarsened).
    ``downsampling`` is how the coarser levels are made: ``mean``, or ``nearest`` for labels and classes.
    """

    shape: tuple[int, ...]
    dtype: str
    block: tuple[int, ...]
    axes: str
    scale: tuple[float, ...]
    name: str = "image"
    downsampling: str = "mean"

    def __post_init__(self) -> None:
        if self.axes not in ("zyx", "tyx", "tzyx"):
            raise ValueError(f"axes must be zyx, tyx or tzyx, got {self.axes}")
        if not len(self.shape) == len(self.block) == len(self.axes) == len(self.scale):
            raise ValueError(
                f"shape {self.shape}, block {self.block}, scale {self.scale} need one value per axis {self.axes}"
            )

    @property
    def chunk(self) -> tuple[int, ...]:
        if self.axes == "zyx":
            return (CHUNK_EDGE,) * 3
        return (*(1,) * self.leading, FRAME_CHUNK_EDGE, FRAME_CHUNK_EDGE)

    @property
    def leading(self) -> int:
        """Axes that count frames: none of a volume, t of a movie, t and z where every section is kept."""
        return 0 if self.axes == "zyx" else len(self.axes) - 2

    @property
    def shard(self) -> tuple[int, ...]:
        """Shape of one object: the block, rounded up to whole chunks."""
        return tuple(-(-b // c) * c for b, c in zip(self.block, self.chunk, strict=True))

    @property
    def grid(self) -> BlockGrid:
        return BlockGrid(self.shape, self.block)

    @property
    def levels(self) -> tuple[ImageSpec, ...]:
        """This level and all coarser ones; frames are never merged."""
        found = [self]
        while max(found[-1].shape[self.leading :]) > SMALLEST_LEVEL:
            found.append(found[-1].coarser)
        return tuple(found)

    @property
    def factor(self) -> tuple[int, ...]:
        """Integer factor per axis to the next coarser level: axes much coarser than the finest wait for the others."""
        frames, inside = self.shape[self.leading :], self.scale[self.leading :]
        finest = min(inside)
        spatial = (1 if n == 1 or s >= 2 * finest else 2 for n, s in zip(frames, inside, strict=True))
        return (*(1,) * self.leading, *spatial)

    @property
    def coarser(self) -> ImageSpec:
        f = self.factor
        shape = tuple(-(-n // k) for n, k in zip(self.shape, f, strict=True))
        block = self.block if self.axes == "zyx" else (*(1,) * self.leading, *shape[self.leading :])
        scale = tuple(s * k for s, k in zip(self.scale, f, strict=True))
        return ImageSpec(shape, self.dtype, block, self.axes, scale, self.name, self.downsampling)


class _StrictStore(ZarrObjectStore):  # type: ignore[type-arg]
    """A read-only zarr view of our store on which an absent chunk object is an error, not the fill value."""

    async def get(self, key: str, prototype: Any, byte_range: Any = None) -> Any:
        found = await super().get(key, prototype, byte_range)
        if found is None and "/c/" in key:
            raise CorruptObject(f"object {key} is missing although its stage is done: run `cisterna verify`")
        return found


def create_image(store: ObjectStore, path: str, spec: ImageSpec) -> list[str]:
    """Writes the metadata of a multiscale image (group and all levels), create-if-absent; returns their paths.

    The bytes depend on ``spec`` alone.
    """
    written = []
    memory = ZarrMemoryStore()
    levels = spec.levels
    group = zarr.create_group(memory, path="image", zarr_format=3, attributes={"ome": _ome(levels)})
    for n, level in enumerate(levels):
        _create_level(group.store, f"image/{n}", level, level.shape)
    for name in ["zarr.json", *(f"{n}/zarr.json" for n in range(len(levels)))]:
        buffer = sync(memory.get(f"image/{name}", default_buffer_prototype()))
        assert buffer is not None
        write_once(store, f"{path}/{name}", buffer.to_bytes())
        written.append(f"{path}/{name}")
    return written


def open_level(store: ObjectStore, level_path: str) -> zarr.Array[Any]:
    """One level of an image as a read-only zarr array. Its metadata never changes, so it is kept."""
    array = store.array_cache.get(level_path)
    if array is None:
        try:
            array = zarr.open_array(
                _StrictStore(store.backend, read_only=True), path=level_path, mode="r", zarr_format=3
            )
        except FileNotFoundError:
            raise ObjectMissing(f"{level_path}/zarr.json") from None
        store.array_cache[level_path] = array
    return array


def read_box(store: ObjectStore, level_path: str, box: Box) -> NDArray[Any]:
    """The voxels of a box inside the array.

    Raises ObjectMissing where there is no such array, CorruptObject where an object is missing or does not decode.
    """
    array = open_level(store, level_path)
    if not Box.whole(array.shape).contains(box):
        raise ValueError(f"box {box} reaches outside {level_path}, whose shape is {array.shape}")
    try:
        return np.asarray(array[box.slices])
    except StoreError:
        raise
    except BaseError as e:
        raise StoreUnavailable(f"store {store.url} does not answer for {level_path}: {e}") from e
    except Exception as e:
        raise CorruptObject(f"{level_path} {box.offset}+{box.shape} does not decode: {e}") from e


def read_reflected(
    store: ObjectStore,
    level_path: str,
    box: Box,
    halo: Sequence[int],
    high: Sequence[int] | None = None,
    change: Callable[[NDArray[Any], tuple[int, ...]], NDArray[Any]] | None = None,
) -> NDArray[Any]:
    """The voxels of a box and a halo around it; beyond the array its mirror image (`reflect_indices`).

    ``change`` makes other values, of the same shape, of voxels and the offset of their first one, before they are
    mirrored.
    """
    array = open_level(store, level_path)
    grown = box.grow(halo, high)
    indices = [reflect_indices(o, e, n) for o, e, n in zip(grown.offset, grown.end, array.shape, strict=True)]
    need = Box.from_bounds([int(i.min()) for i in indices], [int(i.max()) + 1 for i in indices])
    data = read_box(store, level_path, need)
    if change is not None:
        data = change(data, need.offset)
    for axis, index in enumerate(indices):
        local = index - need.offset[axis]
        if len(local) != data.shape[axis] or local[0] != 0 or (len(local) > 1 and np.any(np.diff(local) != 1)):
            data = np.take(data, local, axis=axis)
    return data


def write_block(store: ObjectStore, level_path: str, box: Box, data: NDArray[Any]) -> Written:
    """Writes one whole block as one object, create-if-absent.

    ``box`` must be exactly one block of the array (clipped at the far edge): a part of one would leave a torn shard.
    """
    array = open_level(store, level_path)
    shard = tuple(array.shards or array.chunks)
    position = tuple(o // s for o, s in zip(box.offset, shard, strict=True))
    expected = Box.from_bounds(
        [p * s for p, s in zip(position, shard, strict=True)],
        [min((p + 1) * s, n) for p, s, n in zip(position, shard, array.shape, strict=True)],
    )
    if box != expected:
        raise ValueError(f"{box} is not one block of {level_path}: the block at {position} is {expected}")
    if data.shape != box.shape or data.dtype != array.dtype:
        raise ValueError(f"data of {data.dtype} {data.shape} does not fit block {box} of {array.dtype}")
    return write_once(store, f"{level_path}/c/{'/'.join(map(str, position))}", encode_block(data, array))


def encode_block(data: NDArray[Any], array: zarr.Array[Any]) -> bytes:
    """The object that holds a block: a sharded chunk, encoded in memory. The same voxels give the same bytes."""
    memory = ZarrMemoryStore()
    shard = tuple(array.shards or array.chunks)
    target = zarr.create_array(
        memory,
        name="b",
        shape=data.shape,
        shards=shard,
        chunks=array.chunks,
        dtype=data.dtype,
        compressors=_COMPRESSORS,
        filters=None,
        serializer=BytesCodec(endian="little"),
        fill_value=0,
        zarr_format=3,
        config={"write_empty_chunks": True},
    )
    target[...] = data
    buffer = sync(memory.get("b/c/" + "/".join("0" * data.ndim), default_buffer_prototype()))
    assert buffer is not None
    return buffer.to_bytes()


def downsample(data: NDArray[Any], factor: Sequence[int], mode: str) -> NDArray[Any]:
    """One level coarser: ``mean`` over each cell (rounded half to even for integers) or ``nearest`` (its low corner).

    A last cell that the array does not fill is averaged over the voxels it has.
    """
    if mode == "nearest":
        return np.ascontiguousarray(data[tuple(slice(None, None, f) for f in factor)])
    if mode != "mean":
        raise ValueError(f"downsampling mode must be mean or nearest, got {mode}")
    pad = [(0, -n % f) for n, f in zip(data.shape, factor, strict=True)]
    padded = np.pad(data, pad, mode="edge") if any(p[1] for p in pad) else data
    split = [k for n, f in zip(padded.shape, factor, strict=True) for k in (n // f, f)]
    mean = padded.reshape(split).mean(axis=tuple(range(1, 2 * data.ndim, 2)), dtype=np.float64)
    return np.asarray(np.rint(mean) if data.dtype.kind in "iu" else mean).astype(data.dtype)


_COMPRESSORS = [ZstdCodec(level=1), Crc32cCodec()]


def _create_level(store: Any, path: str, level: ImageSpec, shape: Sequence[int]) -> None:
    zarr.create_array(
        store,
        name=path,
        shape=tuple(shape),
        shards=level.shard,
        chunks=level.chunk,
        dtype=level.dtype,
        compressors=_COMPRESSORS,
        filters=None,
        serializer=BytesCodec(endian="little"),
        fill_value=0,
        zarr_format=3,
        dimension_names=list(level.axes),
    )


def _ome(levels: Sequence[ImageSpec]) -> dict[str, Any]:
    base = levels[0]
    space = "nanometer" if base.axes == "zyx" else "micrometer"
    axes = [
        {"name": a, "type": "time", "unit": "second"} if a == "t" else {"name": a, "type": "space", "unit": space}
        for a in base.axes
    ]
    datasets = []
    for n, level in enumerate(levels):
        # The centre of a coarse voxel lies between the centres of the fine ones it covers.
        shift = [(s - b) / 2 for s, b in zip(level.scale, base.scale, strict=True)]
        transforms: list[dict[str, Any]] = [{"type": "scale", "scale": list(level.scale)}]
        if any(not math.isclose(v, 0.0) for v in shift):
            transforms.append({"type": "translation", "translation": shift})
        datasets.append({"path": str(n), "coordinateTransformations": transforms})
    multiscale = {
        "name": base.name,
        "type": base.downsampling,
        "metadata": {"method": "cisterna.store.arrays.downsample"},
        "axes": axes,
        "datasets": datasets,
    }
    return {"version": "0.5", "multiscales": [multiscale]}
