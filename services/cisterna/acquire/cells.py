"""`--cells LABELS`: which cell each pixel of a movie belongs to, one label image for all frames or one a frame."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cisterna.acquire.chunked import chunked_source, is_chunked
from cisterna.acquire.existing import ExistingArray
from cisterna.acquire.folder import TIFF_SUFFIXES, folder_source
from cisterna.acquire.layout import Selection
from cisterna.acquire.readers import open_source
from cisterna.acquire.source import PlaneSource, UnusableInput
from cisterna.acquire.tiff import tiff_source
from cisterna.acquire.writing import write_image
from cisterna.models.digest import digest
from cisterna.store import ObjectMissing, ObjectStore, write_once
from cisterna.store.arrays import ImageSpec
from cisterna.store.objects import json_bytes


def ingest_cells(store: ObjectStore, acquisition_id: str, path: str | Path) -> ExistingArray:
    """Store labels of cells (0: no cell) as uint32 on the frames of a movie.

    Reads what `ingest_existing` reads: TIFF, a folder of planes, Zarr, OME-Zarr, N5; (y, x), or (t, y, x) with as many
    frames as the movie. The same content gives the same place and is not written again. Raises UnusableInput where
    the array cannot be read, has another size, holds values that are no labels, or labels no cell.
    """
    manifest = store.get_json(f"acquisitions/{acquisition_id}/manifest.json")
    if manifest["kind"] != "movie":
        raise UnusableInput(f"{acquisition_id} is a volume: cells are labelled in movies only")
    raw = manifest["arrays"]["raw"]
    shape = tuple(int(n) for n in raw["shape"])
    source = _opened(Path(path))
    if source.plane_shape != shape[1:]:
        raise UnusableInput(
            f"{path} is {source.plane_shape} pixels (y, x), the movie {shape[1:]}: give labels of its size"
        )
    if source.planes not in (1, shape[0]):
        raise UnusableInput(
            f"{path} has {source.planes} frames, the movie {shape[0]}: give one for all frames or one each"
        )

    def plane(i: int) -> NDArray[np.uint32]:
        return _labels(str(path), source.read(i))

    sha, found = hashlib.sha256(), 0.0
    for i in range(source.planes):
        values = plane(i)
        found += float((values > 0).mean())
        sha.update(values.tobytes())
    if found == 0:
        raise UnusableInput(f"{path} labels no cell: all its pixels are 0")
    identity = digest({"class": "cells", "content": sha.hexdigest(), "raw": manifest["identity"]})
    folder = f"acquisitions/{acquisition_id}/uses/{identity[:16]}"
    image, share = f"{folder}/labels.ome.zarr", found / source.planes
    try:
        store.get(f"{folder}/use.json")
        return ExistingArray(image, identity, share, source.notes, created=False)
    except ObjectMissing:
        pass
    scale = (float(raw["frame_interval_s"]), *(float(v) for v in raw["pixel_size_um"]))
    stored = (source.planes, shape[1], shape[2])
    spec = ImageSpec(stored, "uint32", (1, *shape[1:]), "tyx", scale, "labels/cells", "nearest")
    write_image(store, image, spec, plane, lambda what, done: None)
    fragment = {
        "format": 1, "class": "cells", "path": image, "identity": identity, "source": str(path),
        "notes": list(source.notes), "positive_share": share, "shape": list(stored),
    }  # fmt: skip
    write_once(store, f"{folder}/use.json", json_bytes(fragment))
    return ExistingArray(image, identity, share, source.notes, created=True)


def _opened(place: Path) -> PlaneSource:
    """The file's own values: grey values may be mapped to other types, labels may not."""
    if place.is_dir():
        return (chunked_source if is_chunked(place) else folder_source)(place, "movie", Selection())
    if place.is_file() and place.stat().st_size and place.suffix.lower() in TIFF_SUFFIXES:
        return tiff_source(place, "movie", Selection())
    return open_source(place, "movie")  # says what is wrong


def _labels(name: str, values: NDArray[Any]) -> NDArray[np.uint32]:
    if values.dtype.kind not in "buif":
        raise UnusableInput(f"{name} holds {values.dtype} values: give whole numbers, 0 where there is no cell")
    if values.dtype.kind == "f" and not (np.isfinite(values).all() and np.array_equal(values, np.rint(values))):
        raise UnusableInput(f"{name} holds fractions or NaN: give whole numbers, 0 where there is no cell")
    low, high = (values.min(), values.max()) if values.size else (0, 0)
    if low < 0 or high > 65535:
        raise UnusableInput(f"{name} holds labels from {low} to {high}: number cells from 1, at most 65535; 0 is none")
    return values.astype(np.uint32)
