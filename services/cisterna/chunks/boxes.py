"""Half-open boxes on a voxel grid."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Box:
    """A half-open box: voxels with ``offset <= index < offset + shape`` on every axis.

    Axes are those of the array (z,y,x; t,y,x for movies). Offsets may be negative: a box grown by a halo
    reaches beyond its array.
    """

    offset: tuple[int, ...]
    shape: tuple[int, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "offset", tuple(int(v) for v in self.offset))
        object.__setattr__(self, "shape", tuple(int(v) for v in self.shape))
        if len(self.offset) != len(self.shape):
            raise ValueError(f"a box needs one offset per axis: offset {self.offset}, shape {self.shape}")
        if any(n < 0 for n in self.shape):
            raise ValueError(f"a box cannot have a negative shape: {self.shape}")

    @classmethod
    def whole(cls, shape: Sequence[int]) -> Box:
        """The box that covers an array of this shape."""
        return cls((0,) * len(shape), tuple(shape))

    @classmethod
    def from_bounds(cls, start: Sequence[int], stop: Sequence[int]) -> Box:
        """The box from ``start`` (inside) to ``stop`` (outside)."""
        return cls(tuple(start), tuple(b - a for a, b in zip(start, stop, strict=True)))

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def end(self) -> tuple[int, ...]:
        """First index outside, per axis."""
        return tuple(o + n for o, n in zip(self.offset, self.shape, strict=True))

    @property
    def size(self) -> int:
        """Number of voxels."""
        n = 1
        for edge in self.shape:
            n *= edge
        return n

    @property
    def slices(self) -> tuple[slice, ...]:
        """Slices that cut the box out of an array; the box must not start below 0."""
        if any(o < 0 for o in self.offset):
            raise ValueError(f"box {self} starts outside its array; intersect it first")
        return tuple(slice(o, o + n) for o, n in zip(self.offset, self.shape, strict=True))

    def shift(self, by: Sequence[int]) -> Box:
        """The same box moved by a vector."""
        return Box(tuple(o + d for o, d in zip(self.offset, by, strict=True)), self.shape)

    def relative_to(self, origin: Sequence[int]) -> Box:
        """The same box in a frame whose zero lies at ``origin``."""
        return self.shift([-o for o in origin])

    def grow(self, halo: int | Sequence[int], high: int | Sequence[int] | None = None) -> Box:
        """The box with ``halo`` voxels added on each side (``high`` on the far side, where given)."""
        low = _per_axis(halo, self.ndim)
        far = low if high is None else _per_axis(high, self.ndim)
        return Box(
            tuple(o - a for o, a in zip(self.offset, low, strict=True)),
            tuple(n + a + b for n, a, b in zip(self.shape, low, far, strict=True)),
        )

    def intersect(self, other: Box) -> Box:
        """The common box; empty (a zero shape) where there is none."""
        start = tuple(max(a, b) for a, b in zip(self.offset, other.offset, strict=True))
        stop = tuple(max(s, min(a, b)) for s, a, b in zip(start, self.end, other.end, strict=True))
        return Box.from_bounds(start, stop)

    def contains(self, other: Box) -> bool:
        return self.intersect(other) == other

    @property
    def empty(self) -> bool:
        return self.size == 0


def _per_axis(value: int | Iterable[int], ndim: int) -> tuple[int, ...]:
    if isinstance(value, int):
        return (value,) * ndim
    values = tuple(int(v) for v in value)
    if len(values) != ndim:
        raise ValueError(f"expected {ndim} values, one per axis, got {values}")
    return values
