"""Statistics that span a whole acquisition, taken once, plane by plane."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

BINS = 65536
LOW_PERCENTILE, HIGH_PERCENTILE = 0.1, 99.9


@dataclass
class Extremes:
    """First pass: finite minimum and maximum and how many values are not finite."""

    low: float = np.inf
    high: float = -np.inf
    voxels: int = 0
    not_finite: int = 0

    def add(self, plane: NDArray[Any]) -> None:
        self.voxels += plane.size
        if plane.dtype.kind == "f":
            finite = plane[np.isfinite(plane)]
            self.not_finite += plane.size - finite.size
            plane = finite
        if plane.size:
            self.low, self.high = min(self.low, float(plane.min())), max(self.high, float(plane.max()))

    @property
    def constant(self) -> bool:
        return self.low == self.high


@dataclass
class Histogram:
    """Counts of values between `low` and `high`: exact for integers, 65,536 bins for floats (error range / 65,536)."""

    low: float
    high: float
    integer: bool
    counts: NDArray[np.int64] = field(default_factory=lambda: np.zeros(BINS, np.int64))

    def add(self, plane: NDArray[Any]) -> None:
        if self.integer:
            self.counts += np.bincount(plane.ravel(), minlength=BINS)
            return
        values = plane[np.isfinite(plane)].astype(np.float64)
        span = (self.high - self.low) or 1.0
        place = np.clip((values - self.low) / span * (BINS - 1), 0, BINS - 1)
        self.counts += np.bincount(np.rint(place).astype(np.int64), minlength=BINS)

    def percentile(self, share: float) -> float:
        """The smallest value with at least `share` percent of all values at or below it."""
        total = np.cumsum(self.counts)
        index = int(np.searchsorted(total, share / 100 * total[-1] - 1e-9))
        index = max(index, int(np.argmax(total > 0)))
        return float(index) if self.integer else self.low + index / (BINS - 1) * (self.high - self.low)

    def intensity_range(self) -> tuple[float, float]:
        """0.1 and 99.9 percentiles; the extremes where those coincide, and one more where all is constant."""
        low, high = self.percentile(LOW_PERCENTILE), self.percentile(HIGH_PERCENTILE)
        if not low < high:
            low, high = self.low, self.high
        return (low, high) if low < high else (low, low + 1.0)


def frame_percentiles(frame: NDArray[Any]) -> tuple[float, float]:
    """1 and 99 percentiles of one frame's finite values (linear interpolation); NaN-free: 0, 0 where none is finite."""
    finite = frame[np.isfinite(frame)] if frame.dtype.kind == "f" else frame
    if not finite.size:
        return (0.0, 0.0)
    low, high = np.percentile(finite, (1, 99))
    return (float(low), float(high))
