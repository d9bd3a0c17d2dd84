"""`--use CLASS=ARRAY`: a class that someone else has segmented, on the grid of an acquisition.

Nonzero is positive; floats within [0, 1] are probabilities. The array keeps its own voxel size and offset: each raw
voxel takes the value of the voxel that holds its centre.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cisterna.acquire.chunked import ChunkedArray, is_chunked, open_chunked
from cisterna.acquire.readers import open_source
from cisterna.acquire.source import Grid, UnusableInput
from cisterna.acquire.writing import write_image
from cisterna.models.digest import digest
from cisterna.store import ObjectMissing, ObjectStore, write_once
from cisterna.store.arrays import ImageSpec
from cisterna.store.objects import json_bytes


@dataclass(frozen=True)
class ExistingArray:
    """Where the probability image lies, the identity that stages use, and what was noted."""

    path: str
    identity: str
    positive_share: float
    notes: tuple[str, ...]
    created: bool


def ingest_existing(store: ObjectStore, acquisition_id: str, class_name: str, path: str | Path) -> ExistingArray:
    """Store an existing segmentation of `class_name` as uint8 probability (p × 255) on the acquisition's grid.

    Reads Zarr v2 and v3, OME-Zarr, N5 and TIFF. Resolution and offset in nm come from the attributes `resolution` and
    `offset` (N5: reversed), OME scale and translation, or TIFF metadata; an array without any must have raw's shape.
    The same content gives the same place and is not written again.
    Raises UnusableInput where the array cannot be read, does not fit, or does not overlap.
    """
    manifest = store.get_json(f"acquisitions/{acquisition_id}/manifest.json")
    if manifest["kind"] != "volume":
        raise UnusableInput(f"{acquisition_id} is a movie: existing arrays are used with volumes only")
    raw = manifest["arrays"]["raw"]
    size = tuple(float(v) for v in raw["voxel_size_nm"])
    shape = (int(raw["shape"][0]), int(raw["shape"][1]), int(raw["shape"][2]))
    planes, dtype, grid, read, notes, is_probability = open_labels(Path(path), size)
    steps, corner = placed_grid(str(path), planes, grid, shape, size, notes)
    lookup = voxels_under(
        str(path), planes, steps, corner, shape, size, tuple(raw.get("origin_nm", (0.0, 0.0, 0.0))), notes
    )
    to_probability = _rule(str(path), dtype, is_probability, notes)

    def plane(i: int) -> NDArray[np.uint8]:
        out = np.zeros(shape[1:], np.uint8)
        z, y, x = lookup[0][i], lookup[1], lookup[2]
        if z >= 0:
            inside_y, inside_x = np.flatnonzero(y >= 0), np.flatnonzero(x >= 0)
            values = to_probability(read(int(z)))
            out[np.ix_(inside_y, inside_x)] = values[np.ix_(y[inside_y], x[inside_x])]
        return out

    sha, positive = hashlib.sha256(), 0
    for i in range(shape[0]):
        values = plane(i)
        positive += int((values >= 128).sum())
        sha.update(values.tobytes())
    share = positive / float(np.prod(shape))
    if positive == 0:
        notes.append("no voxel of it is positive within this volume")
    identity = digest({"class": class_name, "content": sha.hexdigest(), "raw": manifest["identity"]})
    folder = f"acquisitions/{acquisition_id}/uses/{identity[:16]}"
    image = f"{folder}/probability.ome.zarr"
    try:
        store.get(f"{folder}/use.json")
        return ExistingArray(image, identity, share, tuple(notes), created=False)
    except ObjectMissing:
        pass
    block = (int(manifest["block"][0]), int(manifest["block"][1]), int(manifest["block"][2]))
    spec = ImageSpec(shape, "uint8", block, "zyx", size, f"probability/{class_name}")
    write_image(store, image, spec, plane, lambda what, done: None)
    fragment: Mapping[str, Any] = {
        "format": 1, "class": class_name, "path": image, "identity": identity, "source": str(path), "notes": notes,
        "positive_share": share, "voxel_size_nm": list(steps), "shape": list(planes),
    }  # fmt: skip
    write_once(store, f"{folder}/use.json", json_bytes(fragment))
    return ExistingArray(image, identity, share, tuple(notes), created=True)


def open_labels(
    path: Path, raw_size: tuple[float, ...]
) -> tuple[tuple[int, ...], np.dtype[Any], Grid, Callable[[int], NDArray[Any]], list[str], bool]:
    """Shape, type, grid (corner-based), plane reader, notes, and whether integers are probabilities."""
    if path.is_dir() and is_chunked(path):
        array = _three_axes(open_chunked(path))
        keep: dict[int, NDArray[Any]] = {}
        thick = max(1, array.chunk[0])

        def read(i: int) -> NDArray[Any]:
            slab = i // thick
            if slab not in keep:
                keep.clear()
                stop = min((slab + 1) * thick, array.shape[0])
                keep[slab] = array.read((slice(slab * thick, stop), slice(0, array.shape[1]), slice(0, array.shape[2])))
            return np.asarray(keep[slab][i - slab * thick])

        grid = array.grid
        if array.centre_nm is not None and None not in (grid.z_nm, grid.y_nm, grid.x_nm):
            # OME places centres, and the first raw voxel's centre is its zero: shift both to outer corners
            own = [float(v) for v in (grid.z_nm, grid.y_nm, grid.x_nm) if v is not None]
            z, y, x = (c + (r - s) / 2 for c, r, s in zip(array.centre_nm, raw_size, own, strict=True))
            grid = Grid(grid.z_nm, grid.y_nm, grid.x_nm, None, (z, y, x))
        return array.shape, array.dtype, grid, read, [], array.probability
    source = open_source(path, "volume")
    return source.shape, source.dtype, source.grid, source.read, list(source.notes), False


def _three_axes(array: ChunkedArray) -> ChunkedArray:
    """The same array without its axes of length 1; raises UnusableInput where more than z, y, x are left."""
    extra = [i for i, a in enumerate(array.axes) if a not in "ZYX"]
    if any(array.shape[i] != 1 for i in extra):
        raise UnusableInput(
            f"{array.name} has the axes {array.axes} {array.shape}: give an array with one channel and time"
        )
    kept = [i for i in range(len(array.shape)) if i not in extra]
    if "".join(array.axes[i] for i in kept) != "ZYX":
        raise UnusableInput(f"{array.name} has the axes {array.axes}: give a z,y,x array")

    def read(box: tuple[slice, ...]) -> NDArray[Any]:
        places = iter(box)
        full = tuple(slice(0, 1) if i in extra else next(places) for i in range(len(array.shape)))
        return array.read(full).reshape([s.stop - s.start for s in box])

    return ChunkedArray(
        array.name, "ZYX", tuple(array.shape[i] for i in kept), array.dtype, tuple(array.chunk[i] for i in kept), read,
        array.grid, array.centre_nm, array.probability,
    )  # fmt: skip


def placed_grid(
    name: str, planes: tuple[int, ...], grid: Grid, shape: tuple[int, ...], size: tuple[float, ...], notes: list[str]
) -> tuple[tuple[float, ...], tuple[float, float, float] | None]:
    """Voxel size of the array and its corner; None for the corner where the array is taken to lie exactly on raw."""
    stated = (grid.z_nm, grid.y_nm, grid.x_nm)
    if any(v is None for v in stated):
        if planes != shape:
            raise UnusableInput(
                f"{name} states no voxel size and is {planes}, raw is {shape}: give it the attributes resolution and "
                "offset in nm, or the shape of raw"
            )
        notes.append("it states no voxel size; it has the shape of raw and was taken to lie on it")
        return size, None
    return tuple(float(v) for v in stated if v is not None), grid.origin_nm


def voxels_under(
    name: str, planes: tuple[int, ...], steps: tuple[float, ...], corner: tuple[float, float, float] | None,
    shape: tuple[int, ...], size: tuple[float, ...], origin: tuple[float, ...], notes: list[str],
) -> list[NDArray[np.intp]]:  # fmt: skip
    """Per axis: the array's voxel under the centre of each raw voxel, -1 outside."""
    start = origin if corner is None else corner
    lookup, outside = [], 0.0
    for n, step, low, count, pitch, zero in zip(planes, steps, start, shape, size, origin, strict=True):
        centre = zero + (np.arange(count) + 0.5) * pitch
        index = np.floor((centre - low) / step + 1e-9).astype(np.intp)
        index[(index < 0) | (index >= n)] = -1
        if (index < 0).all():
            raise UnusableInput(
                f"{name} does not overlap the volume: it covers {low:g} to {low + n * step:g} nm on an axis where the "
                f"volume covers {zero:g} to {zero + count * pitch:g} nm; correct its offset"
            )
        outside = max(outside, float((index < 0).mean()))
        lookup.append(index)
    if outside:
        notes.append(f"it covers the volume only in part (up to {outside:.0%} of an axis lie outside): nothing there")
    return lookup


def _rule(
    name: str, dtype: np.dtype[Any], is_probability: bool, notes: list[str]
) -> Callable[[NDArray[Any]], NDArray[np.uint8]]:
    """How values become p × 255."""
    if is_probability:
        notes.append("read as probabilities (uint8, p × 255)")
        return lambda a: a.astype(np.uint8)
    if dtype.kind == "f":

        def scaled(a: NDArray[Any]) -> NDArray[np.uint8]:
            finite = np.nan_to_num(a, nan=0.0)
            if finite.min() < 0 or finite.max() > 1:
                raise UnusableInput(
                    f"{name} holds floats from {finite.min():g} to {finite.max():g}: "
                    "give probabilities in [0, 1] or labels"
                )
            return np.asarray(np.rint(finite * 255), np.uint8)

        return scaled
    return lambda a: np.where(a != 0, 255, 0).astype(np.uint8)
