"""What every reader hands over: planes, one at a time, and the physical grid the file states."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Kind = Literal["volume", "movie"]


class UnusableInput(ValueError):
    """An input that cannot be registered: one line that names the file, the value and the remedy."""


_NM_PER_UNIT = {
    "pm": 1e-3, "picometer": 1e-3, "å": 0.1, "angstrom": 0.1, "nm": 1.0, "nanometer": 1.0,
    "nanometre": 1.0,
    "nanometers": 1.0, "um": 1e3, "µm": 1e3, "μm": 1e3, "micron": 1e3, "microns": 1e3,
    "micrometer": 1e3,
    "micrometre": 1e3, "micrometers": 1e3,
    "mm": 1e6, "millimeter": 1e6, "millimetre": 1e6, "cm": 1e7, "centimeter": 1e7,
    "m": 1e9, "meter": 1e9, "metre": 1e9, "in": 2.54e7, "inch": 2.54e7,
}  # fmt: skip
_S_PER_UNIT = {
    "ns": 1e-9, "nanosecond": 1e-9, "us": 1e-6, "µs": 1e-6, "microsecond": 1e-6, "ms": 1e-3, "millisecond": 1e-3,
    "s": 1.0, "sec": 1.0, "second": 1.0, "seconds": 1.0, "min": 60.0, "minute": 60.0, "h": 3600.0, "hour": 3600.0,
}  # fmt: skip


def to_nm(value: float, unit: str) -> float | None:
    """A length in nm; None where the unit is no length (pixel, reference frame) or the value no positive number."""
    factor = _NM_PER_UNIT.get(unit.strip().lower().replace("\\u00b5", "µ"))
    return float(value) * factor if factor and np.isfinite(value) and value > 0 else None


def to_s(value: float, unit: str) -> float | None:
    """A duration in seconds; None where the unit is unknown or the value no positive number."""
    factor = _S_PER_UNIT.get(unit.strip().lower())
    return float(value) * factor if factor and np.isfinite(value) and value > 0 else None


@dataclass(frozen=True)
class Grid:
    """Physical sizes as a file states them; None where it does not.

    `origin_nm` is the outer corner of the first voxel in the file's own frame (z, y, x).
    """

    z_nm: float | None = None
    y_nm: float | None = None
    x_nm: float | None = None
    interval_s: float | None = None
    origin_nm: tuple[float, float, float] = (0.0, 0.0, 0.0)


@dataclass(frozen=True)
class Depth:
    """A z-stack and what becomes of it: `sections` in the file, `section` the one that mode single reads."""

    mode: str
    sections: int
    section: int | None = None


@dataclass(frozen=True)
class PlaneSource:
    """A volume (planes along z) or movie (planes along t), read plane by plane.

    `read(i)` gives plane i as (y, x) in `dtype`; it raises UnusableInput where the file is damaged. `depth` stands in
    movies made from a z-stack; in mode per_section all sections of a time point are planes, one after the other.
    `z_as_time` says that a lone z axis was taken for time.
    """

    name: str
    planes: int
    plane_shape: tuple[int, int]
    dtype: np.dtype[Any]
    read: Callable[[int], NDArray[Any]]
    grid: Grid = field(default_factory=Grid)
    notes: tuple[str, ...] = ()
    depth: Depth | None = None
    z_as_time: bool = False

    @property
    def sections(self) -> int:
        """Planes of one time point: 1 unless every section is kept."""
        return self.depth.sections if self.depth is not None and self.depth.mode == "per_section" else 1

    @property
    def shape(self) -> tuple[int, int, int]:
        return (self.planes, *self.plane_shape)

    def with_notes(self, *notes: str) -> PlaneSource:
        """The same source with more notes."""
        return replace(self, notes=self.notes + notes)


def checked(source: PlaneSource) -> PlaneSource:
    """Refuses sources without voxels or with a type that is no grey value; maps other types to ours, with a note.

    uint8, uint16 and float32 stay; bool becomes 0/255, int8 and int16 are shifted to unsigned in order, all else
    becomes float32.
    """
    if min(source.shape) < 1:
        raise UnusableInput(f"{source.name} has no voxels (shape {source.shape}): export it again")
    dtype = source.dtype
    if dtype.kind not in "buif":
        raise UnusableInput(f"{source.name} holds {dtype} values: save it as 8-bit, 16-bit or 32-bit float grey values")
    native = dtype.newbyteorder("=")
    if native in (np.uint8, np.uint16, np.float32):
        if dtype == native:
            return source
        return replace(source, dtype=native, read=lambda i: source.read(i).astype(native))
    to, convert, how = _mapping(native)
    return replace(source, dtype=to, read=lambda i: convert(source.read(i))).with_notes(f"{native} values {how}")


def _mapping(dtype: np.dtype[Any]) -> tuple[np.dtype[Any], Callable[[NDArray[Any]], NDArray[Any]], str]:
    if dtype.kind == "b":
        return np.dtype(np.uint8), lambda a: a.astype(np.uint8) * np.uint8(255), "were mapped to 0 and 255"
    if dtype in (np.int8, np.int16):
        unsigned = np.dtype(f"u{dtype.itemsize}")
        shift = 1 << (8 * dtype.itemsize - 1)
        return (
            unsigned,
            lambda a: (a.astype(np.int32) + shift).astype(unsigned),
            f"were shifted by {shift} to {unsigned}",
        )
    return np.dtype(np.float32), lambda a: a.astype(np.float32), "were converted to float32"
