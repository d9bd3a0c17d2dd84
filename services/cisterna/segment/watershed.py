"""Bodies from the probability of a membrane: watershed, then agglomeration over mean boundary probability."""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage


@dataclass(frozen=True)
class WatershedSettings:
    """How a membrane probability becomes bodies.

    Attributes:
        seed_below: connected voxels (6 neighbours) of a probability below this, 0 to 1, are a seed.
        smooth_voxels: Gaussian σ over the probability before seeds are taken; 0: none.
        least_seed_voxels: smaller seeds are left out.
        merge_below: basins are merged while the mean probability between two of them is below this; 0: never.
    """

    seed_below: float = 0.1
    smooth_voxels: float = 0.0
    least_seed_voxels: int = 30
    merge_below: float = 0.0

    def __post_init__(self) -> None:
        if not 0 < self.seed_below <= 1 or not 0 <= self.merge_below <= 1:
            raise ValueError(
                "probabilities lie between 0 and 1, got seed_below "
                f"{self.seed_below} and merge_below {self.merge_below}"
            )
        if not self.smooth_voxels >= 0 or self.least_seed_voxels < 1:
            raise ValueError(
                f"smoothing must be at least 0 and a seed at least 1 voxel, got {self.smooth_voxels} and "
                f"{self.least_seed_voxels}"
            )


def watershed_bodies(probability: NDArray[np.uint8], settings: WatershedSettings) -> NDArray[np.int32]:
    """Bodies, 1 to n, that fill the volume: the basins of `basins`, merged by `agglomerate`.

    Args:
        probability: (Z, Y, X) uint8 of the membrane, 0 = 0.0 and 255 = 1.0.
        settings: how.
    """
    labels = basins(probability, settings)
    return agglomerate(labels, probability, settings.merge_below) if settings.merge_below else labels


def basins(probability: NDArray[np.uint8], settings: WatershedSettings) -> NDArray[np.int32]:
    """Watershed without agglomeration: from seeds between membranes, flooded over the probability.

    Every voxel gets a label; a volume without a seed, or with one, is one body.

    Raises:
        ValueError: not a uint8 volume with voxels in it.
    """
    from skimage.segmentation import watershed

    if probability.ndim != 3 or probability.size == 0 or probability.dtype != np.uint8:
        raise ValueError(
            f"expected a uint8 probability (z, y, x), got {probability.dtype} of shape {probability.shape}"
        )
    height: NDArray[Any] = probability
    if settings.smooth_voxels:
        height = ndimage.gaussian_filter(probability.astype(np.float32), settings.smooth_voxels)
    parts, count = ndimage.label(height < 255 * settings.seed_below)
    kept = np.bincount(parts.ravel(), minlength=count + 1) >= settings.least_seed_voxels
    kept[0] = False
    if kept.sum() < 2:
        return np.ones(probability.shape, np.int32)
    seeds = np.where(kept, np.cumsum(kept), 0).astype(np.int32)[parts]
    labels: NDArray[np.int32] = watershed(probability, seeds).astype(np.int32)  # type: ignore[no-untyped-call]
    return labels


def agglomerate(labels: NDArray[Any], probability: NDArray[np.uint8], merge_below: float) -> NDArray[np.int32]:
    """Merge touching bodies, the least separated first, while the mean probability between them is below a bound.

    The boundary of two bodies is all pairs of face neighbours that it runs between; a pair counts with the higher of
    its two probabilities. Boundaries of a merged body are pooled.

    Args:
        labels: (Z, Y, X), 1 to n.
        probability: (Z, Y, X) uint8 of the membrane.
        merge_below: 0 to 1.

    Returns:
        Bodies numbered from 1 in the order of the smallest label that each came from.
    """
    count = int(labels.max(initial=0))
    pairs, sums, sizes = _faces(labels, probability)
    near: list[dict[int, tuple[float, float]]] = [{} for _ in range(count + 1)]
    heap: list[tuple[float, int, int]] = []
    for (a, b), total, size in zip(pairs.tolist(), sums.tolist(), sizes.tolist(), strict=True):
        near[a][b] = near[b][a] = (total, size)
        heap.append((total / size, a, b))
    heapq.heapify(heap)
    parent = list(range(count + 1))
    bound = 255 * merge_below
    while heap and heap[0][0] < bound:
        mean, a, b = heapq.heappop(heap)
        found = near[a].get(b)
        if found is None or found[0] / found[1] != mean:
            continue  # one of the two was merged, or their boundary has grown since
        keep, gone = min(a, b), max(a, b)
        parent[gone] = keep
        for other, (total, size) in near[gone].items():
            del near[other][gone]
            if other == keep:
                continue
            before = near[keep].get(other, (0.0, 0.0))
            near[keep][other] = near[other][keep] = pooled = (before[0] + total, before[1] + size)
            heapq.heappush(heap, (pooled[0] / pooled[1], keep, other))
        near[gone] = {}
    return _renumbered(labels, parent)


def _faces(
    labels: NDArray[Any], probability: NDArray[np.uint8]
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Pairs (a < b) of touching labels, the sum of the probabilities on their faces, and how many faces."""
    base = int(labels.max(initial=0)) + 1
    keys, weights = [], []
    for axis in range(3):
        before, after = np.moveaxis(labels, axis, 0)[:-1], np.moveaxis(labels, axis, 0)[1:]
        p = np.maximum(np.moveaxis(probability, axis, 0)[:-1], np.moveaxis(probability, axis, 0)[1:])
        here = (before != after) & (before > 0) & (after > 0)
        a, b = before[here].astype(np.int64), after[here].astype(np.int64)
        keys.append(np.minimum(a, b) * base + np.maximum(a, b))
        weights.append(p[here])
    found, where = np.unique(np.concatenate(keys), return_inverse=True)
    sums: NDArray[np.float64] = np.bincount(where, np.concatenate(weights), len(found)).astype(np.float64)
    sizes: NDArray[np.float64] = np.bincount(where, minlength=len(found)).astype(np.float64)
    pairs: NDArray[np.int64] = np.stack([found // base, found % base], axis=1)
    return pairs, sums, sizes


def _renumbered(labels: NDArray[Any], parent: list[int]) -> NDArray[np.int32]:
    root = np.array(parent)
    for label in range(1, len(root)):  # a parent is always the smaller label
        root[label] = root[root[label]]
    kept = np.unique(root[np.unique(labels)])
    numbers = np.zeros(len(root), np.int32)
    numbers[kept[kept > 0]] = np.arange(1, int((kept > 0).sum()) + 1)
    renumbered: NDArray[np.int32] = numbers[root][labels]
    return renumbered
