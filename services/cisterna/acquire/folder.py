"""A folder of single planes, one file each, in natural order."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from cisterna.acquire.colour import choose_sample
from cisterna.acquire.layout import Selection, choose_planes, named_axes
from cisterna.acquire.source import Grid, Kind, PlaneSource, UnusableInput
from cisterna.acquire.tiff import tiff_grid

TIFF_SUFFIXES = (".tif", ".tiff")
PICTURE_SUFFIXES = (".png", ".bmp", ".jpg", ".jpeg")


def natural_key(name: str) -> tuple[tuple[int, int | str], ...]:
    """Sorts plane2 before plane10."""
    return tuple((0, int(part)) if part.isdigit() else (1, part.lower()) for part in re.split(r"(\d+)", name) if part)


def folder_source(folder: Path, kind: Kind, selection: Selection) -> PlaneSource:
    """All planes of a folder. Raises UnusableInput naming planes that are missing, doubled or unlike the others."""
    files = [
        f for f in folder.iterdir()
        if f.is_file() and not f.name.startswith(".") and f.suffix.lower() in TIFF_SUFFIXES + PICTURE_SUFFIXES
    ]  # fmt: skip
    if not files:
        raise UnusableInput(
            f"{folder} holds no TIFF or PNG planes: give a folder of planes, a TIFF stack or an OME-Zarr"
        )
    files.sort(key=lambda f: natural_key(f.name))
    heads = [_head(f) for f in files]
    shape, dtype = Counter((h[0], h[1]) for h in heads).most_common(1)[0][0]
    odd = [f.name for f, h in zip(files, heads, strict=True) if (h[0], h[1]) != (shape, dtype)]
    if odd:
        first = heads[[f.name for f in files].index(odd[0])]
        raise UnusableInput(
            f"{len(odd)} of {len(files)} planes in {folder} differ ({_some(odd)}: {first[0]} {first[1]}, the "
            f"others {shape} {dtype}): remove or export them again"
        )
    _refuse_gaps(folder, files)
    axes = named_axes(str(folder), "QYX"[: 1 + min(len(shape), 2)], selection)
    # one plane a file: colour samples are no axis of the folder
    chosen = choose_planes(str(folder), axes, (len(files), *shape[:2]), kind, _without_sample(selection, len(shape)))
    notes = list(chosen.notes)
    sample = None
    if len(shape) == 3:
        sample = choose_sample(str(folder), shape[2], len(files), lambda i: _pixels(files[i]), selection.channel)
        notes += sample.notes
    strangers = sum(1 for f in folder.iterdir() if f.is_file() and f not in set(files) and not f.name.startswith("."))
    if strangers:
        notes.append(f"{strangers} files in {folder.name} are no planes and were left out")

    def grey(index: tuple[int, ...], i: int) -> NDArray[Any]:
        image = _pixels(files[index[0]])
        return np.ascontiguousarray(image[..., sample.index]) if sample is not None else image

    return PlaneSource(
        str(folder), chosen.count, (shape[0], shape[1]), np.dtype(dtype), chosen.reader(grey), heads[0][2],
        tuple(notes), chosen.depth,
    )  # fmt: skip


def _without_sample(selection: Selection, axes: int) -> Selection:
    return replace(selection, channel=None) if axes == 3 else selection


def _refuse_gaps(folder: Path, files: list[Path]) -> None:
    """Planes are numbered by the number that varies between the names; a hole in it is a missing plane."""
    numbers = [[int(n) for n in re.findall(r"\d+", f.stem)] for f in files]
    counts = {len(n) for n in numbers}
    if counts == {0} or len(counts) != 1:
        return
    columns = np.array(numbers)
    varying = [c for c in range(columns.shape[1]) if len(set(columns[:, c])) == len(files)]
    if not varying or len(files) == 1:
        return
    column = columns[:, varying[-1]]
    step = int(np.diff(np.sort(column)).min())
    expected = set(range(int(column.min()), int(column.max()) + 1, step))
    missing = sorted(expected - {int(c) for c in column})
    if missing and len(missing) < len(files):
        near = [f.name for f, c in zip(files, column, strict=True) if c == missing[0] - step]
        raise UnusableInput(
            f"{len(missing)} planes are missing in {folder} (number {_some([str(m) for m in missing])}, "
            f"after {near[0]}): add them, or renumber the planes if none was lost"
        )


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (" …" if len(names) > 3 else "")


def _head(path: Path) -> tuple[tuple[int, ...], str, Grid]:
    try:
        if path.suffix.lower() in TIFF_SUFFIXES:
            with tifffile.TiffFile(path) as tif:
                page = tif.pages.first
                if len(tif.pages) > 1:
                    raise UnusableInput(f"{path} holds {len(tif.pages)} planes: give the file itself, or single planes")
                if (
                    max(o + n for o, n in zip(page.dataoffsets, page.databytecounts, strict=False))
                    > path.stat().st_size
                ):
                    raise UnusableInput(f"{path} is truncated: copy this plane again")
                return tuple(int(n) for n in page.shape), str(page.dtype), tiff_grid(tif)
        from PIL import Image

        with Image.open(path) as picture:
            bands = {"L": (1, "uint8"), "I;16": (1, "uint16"), "RGB": (3, "uint8"), "RGBA": (4, "uint8"),
                     "I": (1, "int32"), "1": (1, "bool"), "LA": (2, "uint8")}.get(picture.mode)  # fmt: skip
            if bands is None:
                raise UnusableInput(f"{path} is a {picture.mode} picture: save it as greyscale")
            size = (picture.height, picture.width)
            return (size if bands[0] == 1 else (*size, bands[0])), bands[1], Grid()
    except UnusableInput:
        raise
    except Exception as e:
        raise UnusableInput(f"{path} cannot be read as an image ({type(e).__name__}): copy this plane again") from e


def _pixels(path: Path) -> NDArray[Any]:
    try:
        if path.suffix.lower() in TIFF_SUFFIXES:
            return np.asarray(tifffile.imread(path))
        from PIL import Image

        with Image.open(path) as picture:
            return np.asarray(picture)
    except Exception as e:
        raise UnusableInput(f"{path} cannot be decoded ({type(e).__name__}): copy this plane again") from e
