"""3-D CLAHE in pieces: tables of the whole volume, taken once, and their interpolation on any box of it.

Contrast-limited adaptive histogram equalisation (Zuiderveld, Graphics Gems IV, 1994), as scikit-image extends it to
three axes and as the published ASEM networks saw their volumes: cells of 128³ voxels, 256 bins, no bin above 0.02 of a
cell, uint8 out. A voxel's value is the trilinear mean of what the tables of the eight nearest cells make of it, so the
tables (512 bytes a cell) are all that a block needs to know of the rest of the volume.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load as load_safetensors
from safetensors.numpy import save as save_safetensors

from cisterna.chunks import Box, reflect_indices
from cisterna.compiled import compiled

KERNEL = 128
CLIP_LIMIT = 0.02
BINS = 256
GREYS = 2**14
"""Grey values of the tables, and of what goes into the bins."""

FORMAT = "cisterna-clahe-1"


@dataclass(frozen=True)
class Lattice:
    """Which voxels make which cell.

    Attributes:
        shape: of the whole volume (z, y, x).
        kernel: edge of a cell, voxels.
        start: coordinate of the first voxel of cell 0 on every axis. The published volumes were equalised in blocks of
            128 whose corners are cell centres: −64. scikit-image's lattice starts with the volume: 0.
    """

    shape: tuple[int, int, int]
    kernel: int = KERNEL
    start: int = -(KERNEL // 2)

    def __post_init__(self) -> None:
        if len(self.shape) != 3 or min(self.shape) < 1:
            raise ValueError(f"a lattice spans a volume (z, y, x) with voxels in it, got shape {tuple(self.shape)}")
        if self.kernel < 1 or not -self.kernel < self.start <= 0:
            raise ValueError(
                f"a lattice needs kernel >= 1 and -kernel < start <= 0, got kernel {self.kernel}, start {self.start}"
            )

    @property
    def cells(self) -> tuple[int, int, int]:
        """Cells per axis: those that hold a voxel of the volume."""
        z, y, x = (math.ceil((n - self.start) / self.kernel) for n in self.shape)
        return (z, y, x)

    def members(self, axis: int, cell: int) -> NDArray[np.intp]:
        """Coordinates of a cell's voxels along an axis; beyond the volume those of its mirror image."""
        first = self.start + cell * self.kernel
        return reflect_indices(first, first + self.kernel, self.shape[axis])

    def between(self, start: int, stop: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Of positions ``start … stop−1``: the cell whose centre lies at or before, and how far on (0 … 1).

        The cell may be −1, the next one the number of cells: there the outermost table stands for both.
        """
        place = np.arange(start, stop) - self.start - (self.kernel - self.kernel // 2)
        return place // self.kernel, (place % self.kernel) / self.kernel


@dataclass(frozen=True)
class Grey:
    """How stored voxels become the ``GREYS`` values that are binned.

    ``low`` and ``high`` become the ends, values beyond are clipped, NaN counts as ``low``. The published volumes were
    8-bit, and their type's limits are the range; ``invert`` turns bright membranes dark.
    """

    dtype: str
    low: float
    high: float
    invert: bool = False

    def __post_init__(self) -> None:
        if self.dtype not in ("uint8", "uint16", "float32"):
            raise ValueError(f"voxels of type {self.dtype} cannot be equalised: expected uint8, uint16 or float32")
        if not (np.isfinite(self.low) and np.isfinite(self.high) and self.high > self.low):
            raise ValueError(f"a grey range needs low < high, got low {self.low}, high {self.high}")

    @classmethod
    def of_volume(cls, dtype: str, low: float, high: float, *, invert: bool = False) -> Grey:
        """The whole type for uint8, as published; the acquisition's intensity range for other types."""
        return cls(dtype, 0.0, 255.0, invert) if dtype == "uint8" else cls(dtype, low, high, invert)

    def codes(self, voxels: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.uint8]]:
        """Whole numbers for the voxels, and the bin of each number, 0 … 252.

        Bins are ⌊1 + 16384/256⌋ = 65 grey values wide, so the last three of the 256 stay empty.
        """
        if voxels.dtype != np.dtype(self.dtype):
            raise ValueError(f"the tables are of {self.dtype} voxels, these are {voxels.dtype}")
        voxels = np.ascontiguousarray(voxels)
        if voxels.dtype.kind == "f":
            return self._bins(voxels), np.arange(BINS, dtype=np.uint8)
        return voxels, self._bins(np.arange(np.iinfo(voxels.dtype).max + 1))

    def _bins(self, values: NDArray[Any]) -> NDArray[np.uint8]:
        bins = np.empty(values.shape, np.uint8)
        _fill_bins(values.reshape(-1), self.low, self.high, self.invert, bins.reshape(-1))
        return bins


@dataclass(frozen=True)
class Equalisation:
    """The tables of a volume: (cells z, y, x, bins) uint16, and what they were taken with.

    ``at`` is the position of a stored region's first voxel in the whole volume that the lattice spans.
    """

    tables: NDArray[np.uint16]
    lattice: Lattice
    grey: Grey
    clip_limit: float = CLIP_LIMIT
    at: tuple[int, int, int] = (0, 0, 0)

    def __post_init__(self) -> None:
        if self.tables.shape != (*self.lattice.cells, BINS) or self.tables.dtype != np.uint16:
            raise ValueError(
                f"tables of {self.tables.dtype} {self.tables.shape} do not fit a lattice of {self.lattice.cells} cells"
            )

    def apply(self, voxels: NDArray[Any], offset: Sequence[int]) -> NDArray[np.uint8]:
        """A box of the stored array, equalised: its first voxel lies at ``offset`` there."""
        place = Box(tuple(offset), voxels.shape).shift(self.at)
        if place.ndim != 3 or not Box.whole(self.lattice.shape).contains(place):
            raise ValueError(f"{place} reaches beyond the volume of {self.lattice.shape} voxels that the tables span")
        out = np.empty(voxels.shape, np.uint8)
        interpolate(voxels, place.offset, self.tables, self.lattice, self.grey, SHADES, out)
        return out

    def to_bytes(self) -> bytes:
        """safetensors with the parameters in its header; the same tables are the same bytes."""
        said = {
            "shape": list(self.lattice.shape), "kernel": self.lattice.kernel, "start": self.lattice.start,
            "dtype": self.grey.dtype, "low": self.grey.low, "high": self.grey.high, "invert": self.grey.invert,
            "clip_limit": self.clip_limit, "at": list(self.at),
        }  # fmt: skip
        return save_safetensors(
            {"tables": np.ascontiguousarray(self.tables)}, {FORMAT: json.dumps(said, sort_keys=True)}
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> Equalisation:
        """Reads `to_bytes`. Raises ValueError where it is nothing of that."""
        try:
            tables = load_safetensors(data)["tables"]
            length = int.from_bytes(data[:8], "little")
            said = json.loads(json.loads(data[8 : 8 + length])["__metadata__"][FORMAT])
            return cls(
                tables,
                Lattice(tuple(said["shape"]), said["kernel"], said["start"]),
                Grey(said["dtype"], said["low"], said["high"], said["invert"]),
                said["clip_limit"],
                tuple(said["at"]),
            )
        except (SafetensorError, KeyError, TypeError, json.JSONDecodeError) as e:
            raise ValueError(f"these are no CLAHE tables of this version ({e})") from e


def equalised(
    volume: NDArray[Any], grey: Grey, *, lattice: Lattice | None = None, clip_limit: float = CLIP_LIMIT
) -> NDArray[np.uint8]:
    """A whole volume (z, y, x) in memory, equalised to uint8."""
    lattice = lattice or Lattice((volume.shape[0], volume.shape[1], volume.shape[2]))
    tables = lattice_tables(lambda z: volume[z], lattice, grey, clip_limit=clip_limit)
    return Equalisation(tables, lattice, grey, clip_limit).apply(volume, (0, 0, 0))


def lattice_tables(
    read: Callable[[int], NDArray[Any]],
    lattice: Lattice,
    grey: Grey,
    *,
    clip_limit: float = CLIP_LIMIT,
    report: Callable[[float], None] | None = None,
) -> NDArray[np.uint16]:
    """The table of every cell, from the planes (y, x) of the whole volume, each read once and in order.

    Memory: one plane, and the histograms of the two or three layers of cells that it lies in.
    """
    depth = lattice.shape[0]
    layers, rows, columns = lattice.cells
    weights: list[dict[int, int]] = [{} for _ in range(depth)]  # plane → layer → how often its voxels count there
    for layer in range(layers):
        for plane in lattice.members(0, layer):
            weights[plane][layer] = weights[plane].get(layer, 0) + 1
    last = {layer: max(lattice.members(0, layer)) for layer in range(layers)}
    at_y = np.concatenate([lattice.members(1, cell) for cell in range(rows)])
    at_x = np.concatenate([lattice.members(2, cell) for cell in range(columns)])
    limit = int(max(clip_limit * lattice.kernel**3, 1)) if clip_limit > 0 else lattice.kernel**3
    tables = np.empty((layers, rows, columns, BINS), np.uint16)
    live: dict[int, NDArray[np.int64]] = {}
    for z in range(depth):
        codes, bins = grey.codes(read(z))
        for layer, times in weights[z].items():
            counts = live.setdefault(layer, np.zeros((rows, columns, BINS), np.int64))
            _count(codes, bins, at_y, at_x, lattice.kernel, times, counts)
        for layer in [n for n in live if last[n] == z]:
            _make_tables(live.pop(layer).reshape(-1, BINS), limit, lattice.kernel**3, tables[layer].reshape(-1, BINS))
        if report is not None:
            report((z + 1) / depth)
    return tables


def interpolate(
    voxels: NDArray[Any],
    offset: Sequence[int],
    tables: NDArray[np.uint16],
    lattice: Lattice,
    grey: Grey,
    shades: NDArray[Any],
    out: NDArray[Any],
) -> None:
    """The trilinear mean of eight tables at every voxel, 0 … ``GREYS`` − 1, written as its entry of ``shades``.

    ``offset`` is that of the first voxel in the whole volume. Sums are taken in float32, in scikit-image's order, and
    cut to whole values, so both agree to the last bit.
    """
    (cz, fz), (cy, fy), (cx, fx) = (lattice.between(o, o + n) for o, n in zip(offset, voxels.shape, strict=True))
    codes, bins = grey.codes(voxels)
    _interpolate(codes, bins, tables, cz, fz, cy, fy, cx, fx, shades, out)


SHADES = (np.arange(GREYS) / float(GREYS - 1) * 255).astype(np.uint8)
"""``GREYS`` values as uint8, cut down to whole ones as the published program does."""


@compiled
def _fill_bins(values: NDArray[Any], low: float, high: float, invert: bool, bins: NDArray[np.uint8]) -> None:
    for i in range(values.size):
        value = np.float64(values[i])
        share = 0.0 if np.isnan(value) else min(max((value - low) / (high - low), 0.0), 1.0)
        if invert:
            share = 1 - share
        bins[i] = int(np.rint(share * (GREYS - 1))) // (1 + GREYS // BINS)


@compiled
def _count(
    codes: NDArray[Any], bins: NDArray[np.uint8], at_y: NDArray[np.intp], at_x: NDArray[np.intp],
    kernel: int, times: int, counts: NDArray[np.int64],
) -> None:  # fmt: skip
    for row in range(at_y.size):
        line = codes[at_y[row]]
        of_row = counts[row // kernel]
        for cell in range(at_x.size // kernel):
            histogram = of_row[cell]
            for i in range(cell * kernel, (cell + 1) * kernel):
                histogram[bins[line[at_x[i]]]] += times


@compiled
def _make_tables(histograms: NDArray[np.int64], limit: int, voxels: int, tables: NDArray[np.uint16]) -> None:
    """Clip each histogram, hand the excess out again, and cumulate.

    What bins have above the limit goes to all alike, and what then lies less than such a share below the limit is
    filled; the rest goes singly to bins spread over the range, from the lowest on, until nothing is left or all are
    full.
    """
    scale = (GREYS - 1) / voxels
    for n in range(histograms.shape[0]):
        histogram = histograms[n]
        excess = 0
        for b in range(BINS):
            if histogram[b] > limit:
                excess += histogram[b] - limit
                histogram[b] = limit
        share = excess // BINS
        for b in range(BINS):
            if histogram[b] < limit - share:
                histogram[b] += share
                excess -= share
            if limit - share <= histogram[b] < limit:
                excess -= limit - histogram[b]
                histogram[b] = limit
        while excess > 0:
            before = excess
            for first in range(BINS):
                free = 0
                for b in range(BINS):
                    if histogram[b] < limit:
                        free += 1
                step = max(1, free // excess)
                for b in range(first, BINS, step):
                    if histogram[b] < limit:
                        histogram[b] += 1
                        excess -= 1
                if excess <= 0:
                    break
            if excess == before:
                break
        total = 0
        for b in range(BINS):
            total += histogram[b]
            tables[n, b] = int(min(total * scale, GREYS - 1.0))


@compiled
def _interpolate(
    codes: NDArray[Any], bins: NDArray[np.uint8], tables: NDArray[np.uint16],
    cz: NDArray[np.int64], fz: NDArray[np.float64], cy: NDArray[np.int64], fy: NDArray[np.float64],
    cx: NDArray[np.int64], fx: NDArray[np.float64], shades: NDArray[Any], out: NDArray[Any],
) -> None:  # fmt: skip
    """Box by box between cell centres: there the same eight tables hold; a bin's eight entries stand together."""
    corners = np.empty((BINS, 8), np.float64)
    depth, height, width = codes.shape
    z0 = 0
    while z0 < depth:
        z1 = z0
        while z1 < depth and cz[z1] == cz[z0]:
            z1 += 1
        y0 = 0
        while y0 < height:
            y1 = y0
            while y1 < height and cy[y1] == cy[y0]:
                y1 += 1
            x0 = 0
            while x0 < width:
                x1 = x0
                while x1 < width and cx[x1] == cx[x0]:
                    x1 += 1
                for corner in range(8):
                    k = min(max(cz[z0] + (corner >> 2), 0), tables.shape[0] - 1)
                    j = min(max(cy[y0] + ((corner >> 1) & 1), 0), tables.shape[1] - 1)
                    i = min(max(cx[x0] + (corner & 1), 0), tables.shape[2] - 1)
                    for b in range(BINS):
                        corners[b, corner] = tables[k, j, i, b]
                for z in range(z0, z1):
                    for y in range(y0, y1):
                        a, c = fz[z], fy[y]
                        for x in range(x0, x1):
                            f = fx[x]
                            g = 1 - f
                            near, far = g * (1 - c), f * (1 - c)
                            near_y, far_y = g * c, f * c
                            of = corners[bins[codes[z, y, x]]]
                            total = np.float32(of[0] * (near * (1 - a)))
                            total += np.float32(of[1] * (far * (1 - a)))
                            total += np.float32(of[2] * (near_y * (1 - a)))
                            total += np.float32(of[3] * (far_y * (1 - a)))
                            total += np.float32(of[4] * (near * a))
                            total += np.float32(of[5] * (far * a))
                            total += np.float32(of[6] * (near_y * a))
                            total += np.float32(of[7] * (far_y * a))
                            out[z, y, x] = shades[int(total)]
                x0 = x1
            y0 = y1
        z0 = z1
