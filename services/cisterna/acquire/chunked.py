"""Arrays in Zarr (v2, v3), OME-Zarr (0.4, 0.5) and N5, opened lazily with their physical grid."""

from __future__ import annotations

import json
import lzma
import math
import struct
import zlib
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from cisterna.acquire.layout import Selection, choose_planes, named_axes
from cisterna.acquire.n5_codec import decompressor
from cisterna.acquire.source import Grid, Kind, PlaneSource, UnusableInput, to_nm, to_s

SLAB_BYTES = 512 * 2**20
METADATA = (".zarray", ".zgroup", "zarr.json", "attributes.json")


@dataclass(frozen=True)
class ChunkedArray:
    """An array on disk, axes as named by the file (one letter each), `voxel_size_nm` and `origin_nm` per spatial axis.

    `grid.origin_nm` is the outer corner of voxel 0 (z, y, x); `centre_nm` its centre, where OME metadata states one.
    `chunk` is the read granularity. `probability` says that integers mean p × 255. `channels` are names, where known.
    """

    name: str
    axes: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    chunk: tuple[int, ...]
    read: Callable[[tuple[slice, ...]], NDArray[Any]]
    grid: Grid
    centre_nm: tuple[float, float, float] | None = None
    probability: bool = False
    channels: tuple[str, ...] = ()


def is_chunked(path: Path) -> bool:
    """Whether the path lies in a Zarr or N5 container."""
    return any((path / m).is_file() for m in METADATA)


def open_chunked(path: Path) -> ChunkedArray:
    """A Zarr or N5 array, or level 0 of the OME-Zarr image that the group holds.

    Raises UnusableInput where the path holds neither; names the arrays of a group that is no image.
    """
    if (path / "attributes.json").is_file() and not (path / ".zarray").is_file() and not (path / "zarr.json").is_file():
        return _open_n5(path)
    try:
        node = zarr.open(str(path), mode="r")
    except Exception as e:
        raise UnusableInput(f"{path} cannot be opened as Zarr ({_short(e)}): check the path") from e
    if isinstance(node, zarr.Array):
        return _plain(path, node)
    attributes: dict[str, Any] = dict(node.attrs)
    images = attributes.get("ome", attributes).get("multiscales")
    if not images:
        inside = sorted(str(m.relative_to(path).parent) for m in path.glob("*/.zarray"))
        inside += sorted(str(m.relative_to(path).parent) for m in path.glob("*/zarr.json"))
        inside += sorted(str(m.relative_to(path).parent) for m in path.glob("*/*/.zarray"))
        known = f"it holds {', '.join(inside[:6])}" if inside else "it holds no array"
        raise UnusableInput(f"{path} is a Zarr group without an OME image: give the path of an array in it ({known})")
    return _ome_image(path, node, images[0], attributes.get("ome", attributes))


def _ome_image(path: Path, group: zarr.Group, image: Mapping[str, Any], attributes: Mapping[str, Any]) -> ChunkedArray:
    try:
        level = image["datasets"][0]
        array: Any = group[level["path"]]
        axes = image.get("axes") or [{"name": a} for a in "tczyx"[-len(array.shape) :]]
        if not isinstance(array, zarr.Array):
            raise KeyError(level["path"])
    except (KeyError, IndexError, TypeError) as e:
        raise UnusableInput(f"{path} is no valid OME-Zarr image (missing {_short(e)}): write it again") from e
    names = [str(a["name"] if isinstance(a, Mapping) else a).lower() for a in axes]
    units = [str(a.get("unit", "") if isinstance(a, Mapping) else "") for a in axes]
    if len(names) != array.ndim or any(len(n) != 1 for n in names):
        raise UnusableInput(f"{path} names the axes {names} of an array with {array.ndim}: correct its metadata")
    scale, shift = np.ones(array.ndim), np.zeros(array.ndim)
    scaled = shifted = False
    for transform in [*level.get("coordinateTransformations", []), *image.get("coordinateTransformations", [])]:
        if transform.get("type") == "scale":
            scale, scaled = scale * np.asarray(transform["scale"], float), True
            shift = shift * np.asarray(transform["scale"], float)
        elif transform.get("type") == "translation":
            shift, shifted = shift + np.asarray(transform["translation"], float), True
    sizes: dict[str, float | None] = {}
    moved: dict[str, float] = {}
    for name, unit, size, by in zip(names, units, scale, shift, strict=True):
        if name in "zyx":
            sizes[name] = to_nm(size, unit) if scaled else None
            factor = to_nm(1.0, unit)
            moved[name] = by * factor if factor else 0.0
        elif name == "t":
            sizes[name] = to_s(size, unit) if scaled else None
    grid = Grid(sizes.get("z"), sizes.get("y"), sizes.get("x"), sizes.get("t"))
    centre = (moved.get("z", 0.0), moved.get("y", 0.0), moved.get("x", 0.0)) if shifted else None
    named = str(image.get("name", "")).lower()
    probability = ("probability" in named or "probability" in path.name) and array.dtype == np.uint8
    labels = attributes.get("omero", {}).get("channels", []) if isinstance(attributes.get("omero"), Mapping) else []
    channels = tuple(str(c.get("label") or "") if isinstance(c, Mapping) else "" for c in labels)
    return replace(_wrap(path, array, "".join(names).upper(), grid, centre, probability), channels=channels)


def _plain(path: Path, array: zarr.Array[Any]) -> ChunkedArray:
    attributes = dict(array.attrs)
    names = array.metadata.dimension_names if array.metadata.zarr_format == 3 else attributes.get("_ARRAY_DIMENSIONS")
    axes = "".join(map(str, names)).upper() if isinstance(names, list | tuple) else ""
    if len(axes) != array.ndim or len(set(axes)) != array.ndim or set(axes) - set("TCZYX"):
        # nothing names them: planes of a stack, or axes that --axes must name
        axes = "ZYX"[-array.ndim :] if array.ndim <= 3 else "QIRPUV"[: array.ndim - 2] + "YX"
    if array.ndim < 2:
        raise UnusableInput(f"{path} is an array with {array.ndim} axes and no OME metadata: give a z,y,x array")
    return _wrap(path, array, axes, _attribute_grid(attributes, reverse=False), None, False)


def _attribute_grid(attributes: Mapping[str, Any], reverse: bool) -> Grid:
    """`resolution` and `offset` in nm, as incasem writes them (z, y, x; N5 files x, y, z), or COSEM's `transform`."""
    if "resolution" not in attributes and isinstance(attributes.get("transform"), Mapping):
        return _transform_grid(attributes["transform"])
    size = attributes.get("resolution", attributes.get("voxel_size"))
    if size is None and isinstance(attributes.get("pixelResolution"), Mapping):
        size = attributes["pixelResolution"].get("dimensions")
        unit = to_nm(1.0, str(attributes["pixelResolution"].get("unit", "nm"))) or 1.0
        size = [float(v) * unit for v in size] if size else None
    offset = attributes.get("offset", [0.0, 0.0, 0.0])
    if not _three(size):
        return Grid(origin_nm=_corner(offset, reverse))
    values = [float(v) for v in size]
    z, y, x = reversed(values) if reverse else values
    return Grid(z, y, x, None, _corner(offset, reverse))


def _transform_grid(transform: Mapping[str, Any]) -> Grid:
    """COSEM's attribute: axes by name with scale, translate (of the first voxel's centre) and units."""
    try:
        units = transform.get("units", ["nm"] * 3)
        axes = {
            str(a).lower(): (float(s), float(t), to_nm(1.0, str(u)) or 1.0)
            for a, s, t, u in zip(transform["axes"], transform["scale"], transform["translate"], units, strict=True)
        }
        z, y, x = (axes[a][0] * axes[a][2] for a in "zyx")
        corner = tuple((axes[a][1] - axes[a][0] / 2) * axes[a][2] for a in "zyx")
    except (KeyError, TypeError, ValueError):
        return Grid()
    return Grid(z, y, x, None, (corner[0], corner[1], corner[2]))


def _three(values: Any) -> bool:
    return isinstance(values, Sequence) and len(values) == 3 and all(float(v) > 0 for v in values)


def _corner(offset: Any, reverse: bool) -> tuple[float, float, float]:
    if not isinstance(offset, Sequence) or len(offset) != 3:
        return (0.0, 0.0, 0.0)
    z, y, x = [float(v) for v in (reversed(offset) if reverse else offset)]
    return (z, y, x)


def _wrap(
    path: Path,
    array: zarr.Array[Any],
    axes: str,
    grid: Grid,
    centre: tuple[float, float, float] | None,
    probability: bool,
) -> ChunkedArray:
    def read(box: tuple[slice, ...]) -> NDArray[Any]:
        try:
            return np.asarray(array[box])
        except Exception as e:
            raise UnusableInput(f"{path} does not decode at {_place(box)} ({_short(e)}): copy the array again") from e

    return ChunkedArray(str(path), axes, array.shape, array.dtype, array.chunks, read, grid, centre, probability)


def _open_n5(path: Path) -> ChunkedArray:
    """An N5 dataset: attributes.json and one big-endian block per file, axes reversed (x fastest and first)."""
    try:
        attributes = json.loads((path / "attributes.json").read_text())
    except ValueError as e:
        raise UnusableInput(f"{path}/attributes.json is not JSON ({_short(e)}): copy the dataset again") from e
    if "dimensions" not in attributes:
        scales = [s for s in ("s0", "0") if (path / s / "attributes.json").is_file()]
        if not scales:
            described = [f for depth in (1, 2, 3) for f in sorted(path.glob("*/" * depth + "attributes.json"))]
            inside = [str(f.parent.relative_to(path)) for f in described if '"dimensions"' in f.read_text()]
            known = f"it holds {', '.join(inside[:6])}" if inside else "it holds none"
            raise UnusableInput(f"{path} is an N5 group, not a dataset: give the path of a dataset in it ({known})")
        return _open_n5(path / scales[0])
    shape = tuple(int(n) for n in reversed(attributes["dimensions"]))
    block = tuple(int(n) for n in reversed(attributes["blockSize"]))
    if len(shape) != 3:
        raise UnusableInput(f"{path} has {len(shape)} axes: give a z,y,x dataset")
    dtype = np.dtype(attributes["dataType"])
    decompress = decompressor(path, attributes)

    def read_block(position: tuple[int, ...]) -> NDArray[Any]:
        file = path.joinpath(*[str(p) for p in reversed(position)])
        if not file.is_file():
            return np.zeros([min(b, n - p * b) for b, n, p in zip(block, shape, position, strict=True)], dtype)
        try:
            raw = file.read_bytes()
            mode, axes = struct.unpack(">HH", raw[:4])
            sizes = struct.unpack(f">{axes}I", raw[4 : 4 + 4 * axes])
            start = 4 + 4 * axes + (4 if mode == 1 else 0)
            values = np.frombuffer(decompress(raw[start:]), dtype.newbyteorder(">"))
            return np.asarray(values.reshape(sizes[::-1]), dtype)
        except (struct.error, ValueError, OSError, EOFError, zlib.error, lzma.LZMAError) as e:
            raise UnusableInput(f"block {file} does not decode ({_short(e)}): copy the dataset again") from e

    def read(box: tuple[slice, ...]) -> NDArray[Any]:
        starts, stops = (
            [s.start or 0 for s in box],
            [n if s.stop is None else s.stop for s, n in zip(box, shape, strict=True)],
        )
        out = np.zeros([b - a for a, b in zip(starts, stops, strict=True)], dtype)
        ranges = [range(a // c, -(-b // c)) for a, b, c in zip(starts, stops, block, strict=True)]
        for position in np.ndindex(*[len(r) for r in ranges]):
            at = tuple(r[p] for r, p in zip(ranges, position, strict=True))
            data = read_block(at)
            low = [p * c for p, c in zip(at, block, strict=True)]
            near = [max(a, w) for a, w in zip(starts, low, strict=True)]
            far = [min(b, w + n) for b, w, n in zip(stops, low, data.shape, strict=True)]
            if any(f <= a for a, f in zip(near, far, strict=True)):
                continue
            into = tuple(slice(a - s, f - s) for a, f, s in zip(near, far, starts, strict=True))
            out[into] = data[tuple(slice(a - w, f - w) for a, f, w in zip(near, far, low, strict=True))]
        return out

    return ChunkedArray(str(path), "ZYX", shape, dtype, block, read, _attribute_grid(attributes, reverse=True))


def chunked_source(path: Path, kind: Kind, selection: Selection) -> PlaneSource:
    """A Zarr or N5 array as planes; keeps the chunks that it has read, up to 512 MiB of them."""
    array = open_chunked(path)
    axes = named_axes(str(path), array.axes, selection)
    chosen = choose_planes(str(path), axes, array.shape, kind, selection, array.channels)
    if not axes.endswith("YX"):
        raise UnusableInput(f"{path} has the axes {axes}: the last two must be y and x")
    height, width = array.shape[-2:]
    plane_bytes = max(1, height * width * array.dtype.itemsize)
    thick = [1 if a == "C" else int(c) for a, c in zip(axes[:-2], array.chunk, strict=False)]
    while math.prod(thick) * plane_bytes > SLAB_BYTES and max(thick) > 1:
        thick[thick.index(max(thick))] //= 2
    slab_bytes = math.prod(thick) * plane_bytes
    kept: OrderedDict[tuple[int, ...], NDArray[Any]] = OrderedDict()

    def grey(index: tuple[int, ...], i: int) -> NDArray[Any]:
        slab = tuple(p // k for p, k in zip(index, thick, strict=True))
        if slab not in kept:
            while kept and (len(kept) + 1) * slab_bytes > SLAB_BYTES:
                kept.popitem(last=False)
            box = [slice(s * k, min((s + 1) * k, n)) for s, k, n in zip(slab, thick, array.shape, strict=False)]
            kept[slab] = array.read((*box, slice(0, height), slice(0, width)))
        return np.asarray(kept[slab][tuple(p - s * k for p, s, k in zip(index, slab, thick, strict=True))])

    grid = array.grid
    if array.centre_nm is not None:
        # in OME metadata a position is that of the centre of the first voxel; ours starts at its corner
        grid = Grid(grid.z_nm, grid.y_nm, grid.x_nm, grid.interval_s, array.centre_nm)
    return PlaneSource(
        str(path), chosen.count, (height, width), array.dtype, chosen.reader(grey), grid, chosen.notes, chosen.depth,
        chosen.z_as_time,
    )  # fmt: skip


def _place(box: tuple[slice, ...]) -> str:
    return ",".join(f"{s.start}:{s.stop}" for s in box)


def _short(error: BaseException) -> str:
    text = str(error).strip().splitlines()
    return text[0][:120] if text else type(error).__name__
