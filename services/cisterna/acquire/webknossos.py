"""Layers of WEBKNOSSOS: a dataset in zarr format as a folder, or a dataset or volume annotation as downloaded (.zip).

A zip is read where it lies, chunk by chunk. A download of an annotation holds the volume as a zip of its own; that one
is copied to a temporary file first. Voxel (0, 0, 0) is that of the dataset; arrays may go on beyond the dataset's box.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.storage import LocalStore, ZipStore

from cisterna.acquire.chunked import ChunkedArray
from cisterna.acquire.source import Grid, UnusableInput, to_nm

PROPERTIES = "datasource-properties.json"
FINEST = ("1-1-1", "1")
ARRAYS = ("zarr.json", ".zarray")


def is_webknossos(path: Path) -> bool:
    """Whether a path is a dataset's folder, a .zip, or names a layer in either."""
    return _split(path) is not None


def open_webknossos(path: Path) -> ChunkedArray:
    """The finest magnification of the segmentation layer of a dataset or annotation.

    Args:
        path: the dataset's folder or the .zip; with the name of a layer behind it where it holds several.

    Raises:
        UnusableInput: WKW files, no layer or several, or no full resolution.
    """
    split = _split(path)
    if split is None:
        raise UnusableInput(f"{path} is no WEBKNOSSOS dataset (no {PROPERTIES}) and no .zip: check the path")
    container, wanted = split
    if container.is_dir():
        names = [str(f.relative_to(container)) for a in ("*", "*/*", "*/*/*") for f in container.glob(f"{a}/[z.h]*")]
        return _layer(container, LocalStore(container, read_only=True), names, _properties_file(container), wanted)
    try:
        with zipfile.ZipFile(container) as archive:
            return _zipped(container, archive, wanted)
    except (zipfile.BadZipFile, OSError) as e:
        raise UnusableInput(f"{container} does not read as a zip ({e}): download it again") from None


def _split(path: Path) -> tuple[Path, str] | None:
    """The container, and what stands behind it."""
    for container in (path, *path.parents):
        if (container.suffix.lower() == ".zip" and container.is_file()) or (container / PROPERTIES).is_file():
            behind = str(path.relative_to(container))
            if behind != "." and (path.is_file() or any((path / a).is_file() for a in (*ARRAYS, ".zgroup"))):
                return None  # a file or an array beside the dataset's layers, named itself
            return container, "" if behind == "." else behind
    return None


def _zipped(container: Path, archive: zipfile.ZipFile, wanted: str) -> ChunkedArray:
    names = archive.namelist()
    inner = [n for n in names if n.lower().endswith(".zip")]
    if inner and not any(PurePosixPath(n).name in ARRAYS for n in names):
        chosen = [n for n in inner if not wanted or PurePosixPath(n).stem == wanted or n == wanted]
        if len(chosen) != 1:
            raise UnusableInput(
                f"{container} holds the volumes {', '.join(PurePosixPath(n).stem for n in inner)}: name one of them "
                f"({container.name}/{PurePosixPath(inner[0]).stem})"
            )
        with tempfile.NamedTemporaryFile(suffix=".zip") as copy, archive.open(chosen[0]) as volume:
            shutil.copyfileobj(volume, copy)
            copy.flush()
            with zipfile.ZipFile(copy.name) as opened:
                # the store keeps the file open, so its name may go
                return _from_zip(container, opened, Path(copy.name), "")
    return _from_zip(container, archive, container, wanted)


def _from_zip(container: Path, archive: zipfile.ZipFile, file: Path, wanted: str) -> ChunkedArray:
    names = archive.namelist()
    described = [n for n in names if PurePosixPath(n).name == PROPERTIES]
    root = str(PurePosixPath(described[0]).parent) if described else ""
    properties = json.loads(archive.read(described[0])) if described else {}
    prefix = "" if root in ("", ".") else root + "/"
    inside = [n.removeprefix(prefix) for n in names if n.startswith(prefix)]
    return _layer(container, ZipStore(file, mode="r"), inside, properties, wanted, prefix)


def _properties_file(folder: Path) -> Mapping[str, Any]:
    try:
        content: Mapping[str, Any] = json.loads((folder / PROPERTIES).read_text())
    except ValueError as e:
        raise UnusableInput(f"{folder / PROPERTIES} is not JSON ({e}): download the dataset again") from None
    return content


def _layer(
    container: Path, store: Any, names: list[str], properties: Mapping[str, Any], wanted: str, prefix: str = ""
) -> ChunkedArray:
    described = {str(e.get("name", "")): e for e in properties.get("dataLayers", [])}
    found: dict[str, dict[str, str]] = {}  # layer → magnification → where
    for name in names:
        file = PurePosixPath(name)
        if file.name in ARRAYS and len(file.parts) > 1 and file.parts[-2][0].isdigit():
            found.setdefault("/".join(file.parts[:-2]), {})[file.parts[-2]] = str(file.parent)
    for layer, entry in described.items():
        for mag in entry.get("mags", []):
            if mag.get("path") and f"{PurePosixPath(mag['path'])}/{ARRAYS[0]}" in names:
                found.setdefault(layer, {})["-".join(map(str, mag["mag"]))] = str(PurePosixPath(mag["path"]))
    if described and any(n in found for n in described):
        found = {n: mags for n, mags in found.items() if n in described}
    if not found:
        if any(n.endswith(".wkw") for n in names) or any(e.get("dataFormat") == "wkw" for e in described.values()):
            raise UnusableInput(
                f"{container} holds WKW files, which are not read: in WEBKNOSSOS choose Menu > Download and Zarr as "
                "the format, or convert the dataset to zarr3 with the webknossos Python package"
            )
        raise UnusableInput(f"{container} holds no zarr array: download the annotation with its volume, as Zarr")
    segmentations = [n for n in found if described.get(n, {}).get("category") == "segmentation"]
    candidates = [n for n in found if n == wanted] if wanted else segmentations or list(found)
    if len(candidates) != 1:
        known = ", ".join(n or "(its own)" for n in sorted(found))
        raise UnusableInput(
            f"{container} has no layer {wanted}: it holds {known}"
            if wanted
            else f"{container} holds the layers {known}: name one of them ({container.name}/{sorted(found)[0]})"
        )
    layer = candidates[0]
    finest = [m for m in FINEST if m in found[layer]]
    if "0" in found[layer] and "1-1-1" not in found[layer]:
        raise UnusableInput(f"{container} is no download of WEBKNOSSOS but an image with a level 0: unpack it")
    if not finest:
        raise UnusableInput(
            f"{container} holds layer {layer} at magnifications {', '.join(sorted(found[layer]))} only: download it at "
            "full resolution (1)"
        )
    place = prefix + found[layer][finest[0]]
    try:
        array = zarr.open_array(store, path=place, mode="r")
    except Exception as e:
        raise UnusableInput(f"{place} in {container} does not open as a zarr array ({e}): download it again") from None
    return _wrapped(container, place, array, described.get(layer, {}), _grid(properties))


def _wrapped(container: Path, place: str, array: zarr.Array[Any], layer: Mapping[str, Any], grid: Grid) -> ChunkedArray:
    def read(box: tuple[slice, ...]) -> NDArray[Any]:
        try:
            return np.asarray(array[box])
        except Exception as e:
            raise UnusableInput(f"{place} in {container} does not decode ({e}): download it again") from e

    axes = _axes(array, layer)
    return ChunkedArray(str(container), axes, array.shape, array.dtype, array.chunks, read, grid)


def _axes(array: zarr.Array[Any], layer: Mapping[str, Any]) -> str:
    """Axes as the array names them, else as the dataset does, else c, x, y, z, which is how WEBKNOSSOS writes."""
    named = array.metadata.dimension_names if array.metadata.zarr_format == 3 else None
    if named and all(isinstance(n, str) and len(n) == 1 for n in named):
        return "".join(str(n) for n in named).upper()
    for mag in layer.get("mags", layer.get("wkwResolutions", [])):
        order = mag.get("axisOrder")
        if isinstance(order, Mapping) and sorted(order.values()) == list(range(array.ndim)):
            return "".join(sorted(order, key=lambda a: int(order[a]))).upper()
    if array.ndim not in (3, 4):
        raise UnusableInput(f"an array of {array.ndim} axes is no layer of WEBKNOSSOS: it has c, x, y and z")
    return "CXYZ"[4 - array.ndim :]


def _grid(properties: Mapping[str, Any]) -> Grid:
    scale = properties.get("scale")
    factor, unit = (scale.get("factor"), scale.get("unit", "nm")) if isinstance(scale, Mapping) else (scale, "nm")
    if not isinstance(factor, list) or len(factor) != 3:
        return Grid()
    x, y, z = (to_nm(float(v), str(unit)) for v in factor)
    return Grid(z, y, x)
