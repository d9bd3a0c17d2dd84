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

from cisterna.acquire.colour import choose_sample
from cisterna.acquire.layout import Selection, choose_planes, named_axes
from cisterna.acquire.source import Grid, Kind, PlaneSource, UnusableInput, to_nm, to_s


def tiff_source(path: Path, kind: Kind, selection: Selection) -> PlaneSource:
    """The first series of a TIFF file as planes along z (volume), t, or t and z (movie).

    Raises UnusableInput for a file that is no TIFF, is truncated, or holds colour, channels or a z-stack without a
    choice.
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
    axes = named_axes(str(path), axes, selection)
    channel_names = ome_channels(tif.ome_metadata) if tif.is_ome and tif.ome_metadata else []
    chosen = choose_planes(str(path), axes, shape, kind, selection, channel_names)
    notes += chosen.notes
    plane_axes = [a for a in axes if a in "YXS"]
    samples = shape[axes.index("S")] if "S" in axes else 1
    height, width = shape[axes.index("Y")], shape[axes.index("X")]
    dtype = np.dtype(series.dtype)
    flip = page.photometric == tifffile.PHOTOMETRIC.MINISWHITE and dtype.kind == "u"
    if flip:
        notes.append(f"{path.name} stores white as zero; its values were inverted on reading")

    def page_at(index: tuple[int, ...], i: int) -> NDArray[Any]:
        try:
            return read_at(index)
        except UnusableInput:
            raise
        except Exception as e:
            raise UnusableInput(
                f"plane {i} of {path} cannot be decoded ({_short(e)}): the file is damaged or truncated; copy it again"
            ) from e

    def coloured(index: tuple[int, ...], i: int) -> NDArray[Any]:
        return np.moveaxis(page_at(index, i), plane_axes.index("S"), -1)

    sample = None
    if samples > 1 and min(height, width) > 0:
        every = [index for i in range(chosen.count) for index in chosen.at(i)]
        sample = choose_sample(str(path), samples, len(every), lambda i: coloured(every[i], i), selection.channel)
        notes += sample.notes

    def grey(index: tuple[int, ...], i: int) -> NDArray[Any]:
        plane = page_at(index, i) if sample is None else np.ascontiguousarray(coloured(index, i)[..., sample.index])
        if plane.shape != (height, width):
            raise UnusableInput(f"plane {i} of {path} is {plane.shape}, not {(height, width)}: export the stack again")
        return np.iinfo(dtype).max - plane if flip else plane

    return PlaneSource(
        str(path), chosen.count, (height, width), dtype, chosen.reader(grey), tiff_grid(tif), tuple(notes),
        chosen.depth, chosen.z_as_time,
    )  # fmt: skip


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


def ome_channels(xml: str) -> list[str]:
    """Names of the channels of the first image of an OME-XML description; "" where one has none."""
    try:
        pixels = next(e for e in ElementTree.fromstring(xml).iter() if e.tag.rpartition("}")[2] == "Pixels")
    except (ElementTree.ParseError, StopIteration):
        return []
    return [str(e.get("Name") or "") for e in pixels if e.tag.rpartition("}")[2] == "Channel"]


def _short(error: BaseException) -> str:
    text = str(error).strip().splitlines()
    return text[0][:120] if text else type(error).__name__
