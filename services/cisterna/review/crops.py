"""Small stacks around sites, as pictures that a page can hold: all slices of a stack side by side in one JPEG."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cisterna.chunks import Box
from cisterna.store import ObjectStore
from cisterna.store.pyramids import Pyramid, read_with_gaps

EDGE_NM = 500.0
"""A region of 400 nm with 50 nm around it."""

MOST_VOXELS = 2_300_000
"""A stack of 560 nm at 4 × 4 × 5.24 nm fits; finer voxels take the next coarser level."""

PAGE_BYTES = 19_000_000
SITE_BYTES = 600_000
"""A page holds 19 MB, or 0.6 MB a site where there are more than 31."""

QUALITIES = (90, 85, 80, 75, 70, 65, 60, 55, 50, 45, 40, 35, 30, 25, 20, 15)
JPEG_BLOCK = 8


@dataclass(frozen=True)
class Crop:
    """A stack cut from an image: grey values z,y,x as uint8, the position of its outer corner, its voxel size (nm).

    `missing` is the share that no block holds; it is black.
    """

    grey: NDArray[np.uint8]
    origin_nm: tuple[float, float, float]
    voxel_nm: tuple[float, float, float]
    missing: float = 0.0


def cut(
    store: ObjectStore, image: Pyramid, centre_nm: Sequence[float], edge_nm: float = EDGE_NM, most: int = MOST_VOXELS
) -> Crop:
    """The stack of `edge_nm` a side around a place, at the finest level with at most `most` voxels in it.

    It ends where the volume ends. Grey values run from the 0.5 to the 99.5 percentile of the stack; a constant stack is
    middle grey.
    """
    if not edge_nm > 0 or not math.isfinite(edge_nm):
        raise ValueError(f"an edge of {edge_nm} nm is no size: take for example {EDGE_NM:g}")
    level = image.levels[-1]
    for candidate in image.levels:
        sides = [min(n, max(1.0, edge_nm / s)) for n, s in zip(candidate.shape, candidate.scale, strict=True)]
        if math.prod(sides) <= most:
            level = candidate
            break
    low, high = [], []
    for centre, size, scale in zip(centre_nm, level.shape, level.scale, strict=True):
        count = min(size, max(1, round(edge_nm / scale)))
        start = math.floor(centre / scale) - count // 2
        first, end = max(0, start), min(size, start + count)
        if end <= first:  # a place outside the volume: the nearest slice of it
            first = min(max(0, start), size - 1)
            end = first + 1
        low.append(first)
        high.append(end)
    data, missing = read_with_gaps(store, level, Box.from_bounds(low, high))
    origin = tuple(o * s for o, s in zip(low, level.scale, strict=True))
    return Crop(to_grey(data), origin, tuple(level.scale), missing)  # type: ignore[arg-type]


def to_grey(data: NDArray[np.generic]) -> NDArray[np.uint8]:
    """Grey values stretched to uint8; NaN and what lies beyond the percentiles is clipped."""
    values = np.nan_to_num(np.asarray(data, dtype=np.float32), nan=0.0, posinf=0.0, neginf=0.0)
    low, high = (float(v) for v in np.percentile(values, (0.5, 99.5)))
    if high <= low:
        return np.full(values.shape, 128, np.uint8)
    grey: NDArray[np.uint8] = (np.clip((values - low) / (high - low), 0, 1) * 255 + 0.5).astype(np.uint8)
    return grey


@dataclass(frozen=True)
class Mosaic:
    """The slices of a stack in one picture: slice k at column k % columns of row k // columns, `cell` pixels apart."""

    jpeg: bytes
    columns: int
    cell: tuple[int, int]

    @property
    def data_uri(self) -> str:
        return "data:image/jpeg;base64," + base64.b64encode(self.jpeg).decode("ascii")


def mosaic(grey: NDArray[np.uint8], quality: int) -> Mosaic:
    """All z slices as one grey JPEG. Cells are whole JPEG blocks, so that no slice bleeds into its neighbour."""
    depth, height, width = grey.shape
    rows, columns = (-(-n // JPEG_BLOCK) * JPEG_BLOCK for n in (height, width))
    across = max(1, min(depth, round(math.sqrt(depth * rows / columns))))
    down = -(-depth // across)
    padded = np.pad(grey, ((0, across * down - depth), (0, rows - height), (0, columns - width)), mode="edge")
    sheet = padded.reshape(down, across, rows, columns).transpose(0, 2, 1, 3).reshape(down * rows, across * columns)
    out = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(sheet)).save(out, format="JPEG", quality=quality, optimize=True)
    return Mosaic(out.getvalue(), across, (rows, columns))


def bytes_for(sites: int) -> int:
    """How large the stacks of so many sites may be in a page."""
    return max(PAGE_BYTES, sites * SITE_BYTES)


def mosaics(crops: Sequence[Crop], page_bytes: int = PAGE_BYTES) -> tuple[list[Mosaic], int]:
    """All stacks as pictures at the highest JPEG quality at which `page_bytes` hold them, and that quality."""
    limit = page_bytes * 3 // 4  # base64 makes four bytes of three
    few = crops[:6]
    for quality in QUALITIES:
        told = sum(len(mosaic(c.grey, quality).jpeg) for c in few) * len(crops) / max(1, len(few))
        if told > limit * 1.1 and quality != QUALITIES[-1]:
            continue
        found = [mosaic(c.grey, quality) for c in crops]
        if sum(len(m.jpeg) for m in found) <= limit:
            return found, quality
    return found, QUALITIES[-1]
