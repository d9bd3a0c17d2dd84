"""How well a probability agrees with the truth, voxel by voxel and object by object."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage


@dataclass(frozen=True)
class VoxelAgreement:
    """Overlap of two masks; a ratio of nothing to nothing is NaN."""

    dice: float
    precision: float
    recall: float
    jaccard: float


@dataclass(frozen=True)
class ObjectAgreement:
    """Objects found and objects invented.

    An object of the truth is found when at least half of its voxels are predicted. A predicted object (26-connected)
    is right when at least half of its voxels lie in the truth.
    """

    truth: int
    predicted: int
    recall: float
    precision: float


def voxel_agreement(predicted: NDArray[Any], truth: NDArray[Any]) -> VoxelAgreement:
    """Dice, precision, recall and Jaccard index of two masks of one shape."""
    a, b = np.asarray(predicted, bool), np.asarray(truth, bool)
    both, positive, real = int((a & b).sum()), int(a.sum()), int(b.sum())
    return VoxelAgreement(
        _ratio(2 * both, positive + real),
        _ratio(both, positive),
        _ratio(both, real),
        _ratio(both, positive + real - both),
    )


def object_agreement(predicted: NDArray[Any], truth: NDArray[Any], *, min_voxels: int = 1) -> ObjectAgreement:
    """Compare a predicted mask with the truth's instances (0 = background), ignoring smaller objects in both."""
    mask = np.asarray(predicted, bool)
    sizes = np.bincount(truth.ravel())
    ids = np.flatnonzero(sizes >= min_voxels)
    ids = ids[ids > 0]
    hit = np.bincount(truth.ravel(), weights=mask.ravel(), minlength=len(sizes))
    found = int((hit[ids] * 2 >= sizes[ids]).sum())
    components, _ = ndimage.label(mask, np.ones((3,) * mask.ndim))
    volumes = np.bincount(components.ravel())
    right = np.bincount(components.ravel(), weights=(truth > 0).ravel(), minlength=len(volumes))
    kept = np.flatnonzero(volumes >= min_voxels)
    kept = kept[kept > 0]
    correct = int((right[kept] * 2 >= volumes[kept]).sum())
    return ObjectAgreement(len(ids), len(kept), _ratio(found, len(ids)), _ratio(correct, len(kept)))


def best_threshold(probability: NDArray[np.uint8], truth: NDArray[Any]) -> int:
    """The uint8 threshold (foreground: ≥ threshold) with the highest Dice; 128 where there is no truth."""
    positive = np.bincount(probability[truth > 0].ravel(), minlength=256)[::-1].cumsum()[::-1]
    everything = np.bincount(probability.ravel(), minlength=256)[::-1].cumsum()[::-1]
    if positive[0] == 0:
        return 128
    dice = 2 * positive / (everything + positive[0])
    return int(np.argmax(dice[1:]) + 1)


def _ratio(a: float, b: float) -> float:
    return a / b if b else float("nan")
