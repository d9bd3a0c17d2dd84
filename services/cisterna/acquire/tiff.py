"""TIFF stacks: plain, ImageJ, OME; one plane at a time, so a stack may be larger than memory."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import tifffile
from numpy.typing import NDArray

from cisterna.acquire.source import Grid, Kind, PlaneSource, UnusableInput, to_nm, to_s


def tiff_source(path: Path, kind: Kind, channel: int | None) -> PlaneSource:
    """The first series of a TIFF file as planes along z (volume) or t (movie).

    Raises UnusableInput for a file that is no TIFF, is truncated, holds colour, or several channels without `channel`.
    """
    _refuse_broken_chain(path)
    try:
        tif = tifffile.TiffFile(path)
        pages, found = len(tif.pages), len(tif.series)
    except (tifffile.TiffFileError, ValueError, IndexError, OSError) as e:
        raise UnusableInput(f"{path} cannot be read as TIFF ({_short(e)}): check the file or export it again") from e
    notes: list[str] = []
    if not pages or not found:
        raise UnusableInput(f"{path} holds no image: it may be truncated; copy it again")
    _refuse_truncated(path, tif)
    series = tif.series[0]
    if len(tif.series) > 1:
        notes.append(f"{path.name} holds {len(tif.series)} images; the first was read")
    page = series.keyframe
    if page.photometric == tifffile.PHOTOMETRIC.PALETTE:
        raise UnusableInput(f"{path} is a palette image (indexed colours): save it as greyscale")
    read_at, axes, shape = _plane_reader(path, tif, series)
    leading, pick, more = choose_planes(str(path), axes, shape, kind, channel)
    notes += more
    plane_axes = [a for a in axes if a in "YXS"]
    samples = shape[axes.index("S")] if "S" in axes else 1
    height, width = shape[axes.index("Y")], shape[axes.index("X")]
    dtype = np.dtype(series.dtype)
    flip = page.photometric == tifffile.PHOTOMETRIC.MINISWHITE and dtype.kind == "u"
    if flip:
        notes.append(f"{path.name} stores white as zero; its values were inverted on reading")
    if samples > 1 and channel is None:
        notes.append(f"{path.name} stores grey as {samples} equal colour samples; one was read")

    def read(i: int) -> NDArray[Any]:
        try:
            plane = read_at(pick(i))
        except UnusableInput:
            raise
        except Exception as e:
            raise UnusableInput(
                f"plane {i} of {path} cannot be decoded ({_short(e)}): the file is damaged or truncated; copy it again"
            ) from e
        if samples > 1:
            plane = one_sample(str(path), i, np.moveaxis(plane, plane_axes.index("S"), -1), channel)
        if plane.shape != (height, width):
            raise UnusableInput(f"plane {i} of {path} is {plane.shape}, not {(height, width)}: export the stack again")
        return np.iinfo(dtype).max - plane if flip else plane

    return PlaneSource(str(path), leading, (height, width), dtype, read, tiff_grid(tif), tuple(notes))


def choose_planes(
    name: str, axes: str, shape: tuple[int, ...], kind: Kind, channel: int | None
) -> tuple[int, Callable[[int], tuple[int, ...]], list[str]]:
    """Which of the leading axes are planes: their number, a function plane → index of the leading axes, and notes.

    Leading axes are those before the plane's own (Y, X, S), one letter each: Z, T, C, or an unnamed one (Q, I, ?).
    """
    leading = [(a, n) for a, n in zip(axes, shape, strict=True) if a not in "YXS"]
    wanted, other = ("Z", "T") if kind == "volume" else ("T", "Z")
    notes: list[str] = []
    channels = next((n for a, n in leading if a == "C"), 1)
    if channels > 1 and channel is None:
        raise UnusableInput(f"{name} has {channels} channels: name one with --channel 0 to {channels - 1}")
    if channel is not None and "S" not in axes and not 0 <= channel < channels:
        raise UnusableInput(f"{name} has no channel {channel}: it has {channels}, counted from 0")
    runs = [(a, n) for a, n in leading if a != "C" and n > 1]
    if len(runs) > 1:
        sizes = " × ".join(f"{a} {n}" for a, n in runs)
        raise UnusableInput(f"{name} has several stacks ({sizes}): export one {kind} of one stack of planes")
    axis, count = runs[0] if runs else (wanted, 1)
    if axis == other:
        told = {"Z": "z planes", "T": "time frames"}
        notes.append(f"{Path(name).name} calls its planes {told[axis]}; they were read as {told[wanted]}")

    def pick(i: int) -> tuple[int, ...]:
        return tuple(i if (a, n) == (axis, count) and n > 1 else (channel or 0) if a == "C" else 0 for a, n in leading)

    return count, pick, notes


def one_sample(name: str, plane: int, image: NDArray[Any], channel: int | None) -> NDArray[Any]:
    """One grey plane of (y, x, samples): the named sample, or the first where all colour samples agree."""
    samples = image.shape[-1]
    if channel is not None:
        if not 0 <= channel < samples:
            raise UnusableInput(f"{name} has no channel {channel}: it has {samples} colour samples, counted from 0")
        return np.ascontiguousarray(image[..., channel])
    colours = 3 if samples >= 3 else 1
    if any(not np.array_equal(image[..., 0], image[..., s]) for s in range(1, colours)):
        raise UnusableInput(
            f"plane {plane} of {name} is a colour image: give a sample with --channel (0 red, 1 green, 2 blue)"
        )
    return np.ascontiguousarray(image[..., 0])


def _plane_reader(
    path: Path, tif: tifffile.TiffFile, series: tifffile.TiffPageSeries
) -> tuple[Callable[[tuple[int, ...]], NDArray[Any]], str, tuple[int, ...]]:
    """A function from the index of the leading axes to one plane, the axes (plane axes last) and their lengths."""
    axes, shape = series.axes, tuple(int(n) for n in series.shape)
    # a page usually holds Y, X (and S); what stands before them counts pages
    page_shape = tuple(int(n) for n in series.keyframe.shape)
    inside = len(page_shape)
    leading_shape = shape[: len(shape) - inside]
    if math.prod(leading_shape) == len(series.pages) and shape[len(leading_shape) :] == page_shape:
        extra = [a for a in axes[len(leading_shape) :] if a not in "YXS"]
        if not extra:

            def by_page(index: tuple[int, ...]) -> NDArray[Any]:
                flat = int(np.ravel_multi_index(index, leading_shape)) if leading_shape else 0
                page = series.pages[flat]
                if page is None:
                    raise UnusableInput(
                        f"{path} lacks plane {flat}, which its metadata promises: copy all its files again"
                    )
                return np.asarray(page.asarray())

            return by_page, axes, shape
    if series.dataoffset is None:
        raise UnusableInput(f"{path} stores its planes in an unusual order ({axes}): export it as a plain TIFF stack")
    # one contiguous block: ImageJ's large stacks have a single page and stand behind it
    whole = np.memmap(path, tif.byteorder + series.dtype.str[1:], "r", series.dataoffset, shape)
    front = [i for i, a in enumerate(axes) if a not in "YXS"]
    back = [i for i, a in enumerate(axes) if a in "YXS"]
    ordered = whole.transpose(front + back)

    def by_offset(index: tuple[int, ...]) -> NDArray[Any]:
        return np.array(ordered[index])

    return by_offset, "".join(axes[i] for i in front + back), tuple(shape[i] for i in front + back)


def _refuse_broken_chain(path: Path) -> None:
    """Follows the chain of page directories: a reader that stops where it breaks would give a shorter stack."""
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(16)
        order = {b"II": "<", b"MM": ">"}.get(head[:2], "")
        version = struct.unpack(f"{order}H", head[2:4])[0] if order and len(head) >= 8 else 0
        if version not in (42, 43):
            return  # no TIFF: the decoder says so
        big = version == 43
        at, counted, entry, pointer = (8, "Q", 20, "Q") if big else (4, "H", 12, "I")
        width = struct.calcsize(pointer)
        if len(head) < at + width:
            raise UnusableInput(f"{path} is truncated within its header: copy it again")
        offset = struct.unpack(order + pointer, head[at : at + width])[0]
        seen: set[int] = set()
        while offset and offset not in seen:
            seen.add(offset)
            file.seek(offset)
            count = file.read(struct.calcsize(counted))
            if len(count) == struct.calcsize(counted):
                file.seek(struct.unpack(order + counted, count)[0] * entry, 1)
                link = file.read(width)
            if len(count) < struct.calcsize(counted) or len(link) < width or file.tell() > size:
                raise UnusableInput(
                    f"{path} is truncated: it ends before its page {len(seen)} is described; copy it again"
                )
            offset = struct.unpack(order + pointer, link)[0]


def _refuse_truncated(path: Path, tif: tifffile.TiffFile) -> None:
    size = path.stat().st_size
    promised = _promised_planes(tif)
    found = len(tif.pages)
    series = tif.series[0]
    if series.dataoffset is not None and series.dataoffset + series.size * series.dtype.itemsize > size:
        missing = series.dataoffset + series.size * series.dtype.itemsize - size
        raise UnusableInput(f"{path} is truncated: {missing} bytes are missing at its end; copy it again")
    if promised and found < promised and not (found == 1 and series.dataoffset is not None):
        raise UnusableInput(f"{path} is truncated: it promises {promised} planes and holds {found}; copy it again")
    for number, page in enumerate(tif.pages):
        ends = [o + n for o, n in zip(page.dataoffsets, page.databytecounts, strict=False)]
        if not ends or max(ends) > size:
            raise UnusableInput(
                f"{path} is truncated: plane {number} reaches beyond the end of the file; copy it again"
            )


def _promised_planes(tif: tifffile.TiffFile) -> int:
    if tif.is_imagej and tif.imagej_metadata:
        return int(tif.imagej_metadata.get("images", 0))
    shaped = tif.shaped_metadata if tif.is_shaped else None
    if shaped:
        shape = shaped[0].get("shape", ())
        page = tif.pages.first.shape
        return int(math.prod(shape)) // max(math.prod(page), 1)
    return 0


def tiff_grid(tif: tifffile.TiffFile) -> Grid:
    """Physical sizes from OME-XML or ImageJ metadata. A bare resolution tag (72 dpi …) states nothing."""
    if tif.is_ome and tif.ome_metadata:
        return ome_grid(tif.ome_metadata)
    if tif.is_imagej and tif.imagej_metadata:
        meta = tif.imagej_metadata
        unit = str(meta.get("unit", ""))
        tags = tif.pages.first.tags

        def pitch(tag: str) -> float | None:
            value = tags.get(tag)
            if value is None or not value.value[0]:
                return None
            return to_nm(value.value[1] / value.value[0], unit)

        spacing = meta.get("spacing")
        interval = meta.get("finterval") or (1.0 / meta["fps"] if meta.get("fps") else None)
        return Grid(
            to_nm(float(spacing), unit) if spacing else None,
            pitch("YResolution"),
            pitch("XResolution"),
            to_s(float(interval), str(meta.get("tunit", "s"))) if interval else None,
        )
    return Grid()


def ome_grid(xml: str) -> Grid:
    """Physical sizes of the first image of an OME-XML description (default units µm and s)."""
    try:
        pixels = next(e for e in ElementTree.fromstring(xml).iter() if e.tag.rpartition("}")[2] == "Pixels")
    except (ElementTree.ParseError, StopIteration):
        return Grid()

    def length(axis: str) -> float | None:
        value = pixels.get(f"PhysicalSize{axis}")
        return to_nm(float(value), pixels.get(f"PhysicalSize{axis}Unit", "µm")) if value else None

    interval = pixels.get("TimeIncrement")
    return Grid(
        length("Z"),
        length("Y"),
        length("X"),
        to_s(float(interval), pixels.get("TimeIncrementUnit", "s")) if interval else None,
    )


def _short(error: BaseException) -> str:
    text = str(error).strip().splitlines()
    return text[0][:120] if text else type(error).__name__
