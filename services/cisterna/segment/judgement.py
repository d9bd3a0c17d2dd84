"""A probability against labels: voxels over all thresholds, objects by diameter, and a threshold with its reason."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

LEVELS = 256
NEAR_BEST = 0.01
"""Thresholds whose Dice lies this near the best are named with it."""
DIAMETERS_NM = (40.0, 60.0, 80.0, 100.0, 150.0, 300.0)
CONNECTED = np.ones((3, 3, 3), bool)


@dataclass(frozen=True)
class ThresholdCurve:
    """Agreement of the voxels at or above each uint8 level 1 … 255; index 0 is level 1. NaN: nothing by nothing."""

    dice: NDArray[np.float64]
    jaccard: NDArray[np.float64]
    precision: NDArray[np.float64]
    recall: NDArray[np.float64]
    voxels: int
    positive: int

    def at(self, level: int) -> dict[str, float]:
        """The four figures at a level."""
        return {n: float(getattr(self, n)[level - 1]) for n in ("dice", "jaccard", "precision", "recall")}

    def best(self, prefer: int = 128) -> tuple[int, int, int]:
        """The level of the highest Dice (of equals the one nearest to ``prefer``), and the range within `NEAR_BEST`.

        Raises:
            ValueError: there is no positive voxel, so every level is as good.
        """
        if self.positive == 0:
            raise ValueError("the truth has no positive voxel where it is known: no threshold can be chosen on it")
        dice = np.nan_to_num(self.dice)
        tops = np.flatnonzero(dice == dice.max())
        top = int(tops[np.argmin(np.abs(tops + 1 - prefer))])
        far = np.flatnonzero(dice < dice[top] - NEAR_BEST)
        below, above = far[far < top], far[far > top]
        low = int(below[-1]) + 1 if below.size else 0
        high = int(above[0]) - 1 if above.size else LEVELS - 2
        return top + 1, low + 1, high + 1


def threshold_curve(
    probability: NDArray[np.uint8], truth: NDArray[Any], known: NDArray[np.bool_] | None = None
) -> ThresholdCurve:
    """Dice, Jaccard index, precision and recall at every level, of the voxels where the truth is ``known``."""
    if probability.shape != truth.shape or (known is not None and known.shape != truth.shape):
        raise ValueError(f"probability {probability.shape} and truth {truth.shape} must lie on the same voxels")
    real = truth > 0
    keep = np.ones(truth.shape, bool) if known is None else known
    everything = np.bincount(probability[keep], minlength=LEVELS)[::-1].cumsum()[::-1].astype(np.float64)
    both = np.bincount(probability[keep & real], minlength=LEVELS)[::-1].cumsum()[::-1].astype(np.float64)
    positive, found = both[0], everything[1:]
    both = both[1:]
    with np.errstate(invalid="ignore"):
        return ThresholdCurve(
            2 * both / (found + positive),
            both / (found + positive - both),
            both / found,
            both / positive,
            int(keep.sum()),
            int(positive),
        )


@dataclass(frozen=True)
class DiameterClass:
    """Objects whose equal-volume sphere is ``low_nm`` to ``high_nm`` wide: those of the truth, and those predicted.

    An object of the truth is found when at least half of its voxels are predicted, a predicted one is right when at
    least half of its voxels are true. Intervals are Wilson's, 95 %.
    """

    low_nm: float
    high_nm: float
    truth: int
    found: int
    predicted: int
    right: int

    def as_row(self) -> dict[str, Any]:
        recall, precision = (self.found, self.truth), (self.right, self.predicted)
        return {
            "low_nm": self.low_nm, "high_nm": self.high_nm if np.isfinite(self.high_nm) else None,
            "truth": self.truth, "found": self.found, "recall": _share(*recall), "recall_interval": wilson(*recall),
            "predicted": self.predicted, "right": self.right, "precision": _share(*precision),
            "precision_interval": wilson(*precision),
        }  # fmt: skip


def objects_by_diameter(
    predicted: NDArray[np.bool_],
    truth: NDArray[np.int64],
    voxel_size_nm: Sequence[float],
    known: NDArray[np.bool_] | None = None,
    edges_nm: Sequence[float] = DIAMETERS_NM,
) -> list[DiameterClass]:
    """Object recall and precision (26-connected) in classes of diameter, the first from 0 and the last without end.

    Labels with one value are split into connected objects. Objects that touch a face of the box, or of which less than
    half is ``known``, are left out on either side: their diameter is not theirs.
    """
    labels = truth if len(np.unique(truth[truth > 0])) > 1 else ndimage.label(truth > 0, CONNECTED)[0]
    components = ndimage.label(predicted, CONNECTED)[0]
    keep = np.ones(truth.shape, bool) if known is None else known
    voxel = float(np.prod(np.asarray(voxel_size_nm, float)))
    edges = [0.0, *sorted(edges_nm), np.inf]
    wide, hit = _objects(labels, predicted, keep, voxel)
    broad, right = _objects(components, truth > 0, keep, voxel)
    return [
        DiameterClass(
            low, high, int(_in(wide, low, high).sum()), int((hit & _in(wide, low, high)).sum()),
            int(_in(broad, low, high).sum()), int((right & _in(broad, low, high)).sum()),
        )
        for low, high in itertools.pairwise(edges)
    ]  # fmt: skip


def wilson(hits: int, of: int) -> list[float] | None:
    """95 % interval of a share; None of nothing. Wilson, J. Am. Stat. Assoc. 22 (1927) 209."""
    if of == 0:
        return None
    z, p = 1.959964, hits / of
    middle, half = p + z * z / (2 * of), z * np.sqrt(p * (1 - p) / of + z * z / (4 * of * of))
    return [max(0.0, float((middle - half) / (1 + z * z / of))), min(1.0, float((middle + half) / (1 + z * z / of)))]


def _objects(
    labels: NDArray[Any], other: NDArray[np.bool_], known: NDArray[np.bool_], voxel_nm3: float
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Diameter of each whole, known object, and whether at least half of what is known of it lies in ``other``."""
    names, flat = np.unique(labels, return_inverse=True)
    flat = flat.reshape(labels.shape)
    voxels, seen = np.bincount(flat.ravel()), np.bincount(flat[known], minlength=len(names))
    hit = np.bincount(flat[known & other], minlength=len(names))
    whole = names > 0
    for axis in range(labels.ndim):
        for face in (0, -1):
            whole[np.unique(np.take(flat, face, axis))] = False
    whole &= 2 * seen >= voxels
    diameter = np.cbrt(6 * voxels * voxel_nm3 / np.pi)
    return diameter[whole], (2 * hit >= seen)[whole]


def _in(diameter: NDArray[np.float64], low: float, high: float) -> NDArray[np.bool_]:
    return (diameter >= low) & (diameter < high)


def _share(hits: int, of: int) -> float | None:
    return hits / of if of else None
