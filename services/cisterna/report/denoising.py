"""What the receipts and parts of the denoise stage say about the denoised volume: read, added up and judged."""

import heapq
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy.stats import norm

from cisterna.report.document import RunDocument
from cisterna.store import ObjectMissing, ObjectStore
from cisterna.store.parts import PartUnreadable, from_npz, part_path
from cisterna.store.receipts import finished_blocks, read_receipt

CUBE = 16
"""Edge, in voxels, of the cubes that the denoise stage scores."""
FALSE_ALARMS = 0.01
"""Cubes of white noise expected above the threshold, in the whole volume."""
WORST = 12
STRIPE_SCORE = 7.0
"""Phantom cells without stripes reach 6.1 in a plane (tests/report/test_denoising_artefacts.py)."""
STRIPE_PLANES = 3
"""A flat organelle can look like a stripe in two planes: the demonstration's cell of 176 planes has such a pair."""
MEAN_STRIPE_SCORE = 1.75
"""Of all planes; phantom cells without stripes reach 1.06, stripes a quarter as strong as the noise 1.9 and more."""
LEAST_PLANES = 16
JUMP_SCORE = 6.0
LEAST_JUMP = 0.1
"""Of the spread of grey values; phantom cells without faults stay below (tests/report/test_denoising_artefacts.py)."""
FIGURES = (
    "noise_sigma_before", "noise_sigma_after", "residual_whiteness", "residual_signal_correlation", "fsc_before",
    "fsc_after",
)  # fmt: skip


@dataclass(frozen=True)
class Place:
    """A cube: its first voxel (z, y, x) and its score, in standard errors under white noise."""

    start: tuple[int, int, int]
    score: float


@dataclass(frozen=True)
class Planes:
    """Per plane of the denoised volume: mean and deviation (grey values), and the score and amplitude of stripes.

    `stripe_score` and `stripe_amplitude` are (direction, z): 0 along y, 1 along x; the amplitude in grey values is a
    lower bound, as the search leaves out what is broad or stays the same over many planes.  `jump` and
    `contrast_jump` are what a plane's mean, and the logarithm of its deviation, differ by from its four neighbours.
    """

    mean: np.ndarray
    deviation: np.ndarray
    stripe_score: np.ndarray
    stripe_amplitude: np.ndarray

    @property
    def jump(self) -> np.ndarray:
        return from_neighbours(self.mean)

    @property
    def contrast_jump(self) -> np.ndarray:
        return from_neighbours(np.log(np.maximum(self.deviation, 1e-6)))

    @property
    def striped(self) -> dict[str, np.ndarray]:
        """Numbers of the planes with stripes along y or along x: all of them where they are weak but everywhere."""
        found = {}
        for axis, score in zip("yx", self.stripe_score, strict=True):
            strong = np.flatnonzero(score > STRIPE_SCORE)
            if score.size >= LEAST_PLANES and score.mean() > MEAN_STRIPE_SCORE:
                found[axis] = np.arange(score.size)
            elif strong.size >= STRIPE_PLANES:
                found[axis] = strong
        return found

    @property
    def uneven(self) -> np.ndarray:
        """Numbers of the planes that are brighter, darker or of another contrast than their neighbours."""
        spread = float(np.nanmedian(self.deviation)) if np.isfinite(self.deviation).any() else 0.0
        odd = outlying(self.jump, LEAST_JUMP * spread) | outlying(self.contrast_jump, LEAST_JUMP)
        return np.flatnonzero(odd)


@dataclass(frozen=True)
class DenoisingReport:
    """Of one run: figures by slab of blocks through z, the map of scores, the worst places, and the planes.

    `slabs`: first plane, planes, blocks and the figures of `FIGURES` that there are, means over voxels.
    `above_yx`, `above_zx`: the largest score along z and along y, per cube.  `score`: which score it is
    (`shared_score` with two detectors, else `lag_score`).  `threshold`: 0.01 cubes of white noise exceed it.
    """

    slabs: list[dict[str, float]]
    blocks: int
    score: str = ""
    cubes: int = 0
    flagged: int = 0
    threshold: float = float("nan")
    median_score: float = float("nan")
    above_yx: np.ndarray = field(default_factory=lambda: np.zeros((0, 0)))
    above_zx: np.ndarray = field(default_factory=lambda: np.zeros((0, 0)))
    worst: tuple[Place, ...] = ()
    planes: Planes | None = None


def from_neighbours(values: np.ndarray) -> np.ndarray:
    """Each value less the median of the two before and the two after it; NaN where one of them is missing."""
    found = np.full(len(values), np.nan)
    if len(values) >= 5:
        around = np.stack([values[0:-4], values[1:-3], values[3:-1], values[4:]])
        found[2:-2] = values[2:-2] - np.median(around, axis=0)
    return found


def outlying(jumps: np.ndarray, least: float) -> np.ndarray:
    """Where a jump exceeds six robust deviations of all jumps, and `least`."""
    known = jumps[np.isfinite(jumps)]
    if known.size < 8:
        return np.zeros(len(jumps), bool)
    deviation = 1.4826 * float(np.median(np.abs(known - np.median(known))))
    odd: np.ndarray = np.abs(np.nan_to_num(jumps)) > max(JUMP_SCORE * deviation, least)
    return odd


def read_denoising(store: ObjectStore, run: RunDocument, shape: tuple[int, ...]) -> DenoisingReport | None:
    """Reads receipts and parts of the run's denoise stage over a raw image of `shape`; None where there is none."""
    stage = run.stages.get("denoise", {})
    folder, key = stage.get("path"), str(stage.get("stage_key", ""))
    if not folder or not key:
        return None

    def blocks() -> Iterable[tuple[Mapping[str, Any], Mapping[str, np.ndarray]]]:
        for number in sorted(finished_blocks(store, "denoise", key)):
            receipt = read_receipt(store, "denoise", key, number)
            try:
                part = from_npz(store.get(part_path(f"{folder}/parts", number)))
            except (ObjectMissing, PartUnreadable):
                part = {}
            if receipt is not None and "offset" in part:
                yield {**receipt.figures, "voxels": receipt.voxels}, part

    return add_up(blocks(), shape)


def add_up(
    blocks: Iterable[tuple[Mapping[str, Any], Mapping[str, np.ndarray]]], shape: tuple[int, ...]
) -> DenoisingReport | None:
    """The report of (receipt figures and voxels, part) per block; nothing of the size of the volume is held."""
    cubes = [-(-n // CUBE) for n in shape]
    above_yx, above_zx = (np.full((cubes[a], cubes[2]), np.nan) for a in (1, 0))
    sums = {name: np.zeros(shape[0]) for name in ("plane_count", "plane_sum", "plane_square")}
    stripes = {name: np.zeros((2, shape[0])) for name in ("stripe_sum", "stripe_variance", "stripe_terms")}
    slabs: dict[int, list[Mapping[str, Any]]] = defaultdict(list)
    depths: dict[int, int] = {}
    heap: list[tuple[float, tuple[int, int, int]]] = []
    counts: list[np.ndarray] = []
    name, total = "", 0
    for figures, part in blocks:
        offset = tuple(int(v) for v in part["offset"])
        name = name or ("shared_score" if "shared_score" in part else "lag_score")
        scores = part[name]
        slabs[offset[0]].append(figures)
        depth = len(part["plane_count"])
        depths[offset[0]] = depth
        planes = slice(offset[0], offset[0] + depth)
        for what, array in (*sums.items(), *stripes.items()):
            array[..., planes] += part[what]
        known = np.isfinite(scores)
        total += int(known.sum())
        counts.append(scores[known].astype(np.float32))
        at = [slice(o // CUBE, o // CUBE + n) for o, n in zip(offset, scores.shape, strict=True)]
        filled = np.where(known, scores, -np.inf)
        for picture, index, axis in ((above_yx, (at[1], at[2]), 0), (above_zx, (at[0], at[2]), 1)):
            top = filled.max(axis=axis)
            picture[index] = np.fmax(picture[index], np.where(np.isfinite(top), top, np.nan))
        best = np.argsort(filled, axis=None)[::-1][:WORST]
        for place in zip(*np.unravel_index(best, scores.shape), strict=True):
            if known[place]:
                z, y, x = (int(o + CUBE * p) for o, p in zip(offset, place, strict=True))
                heap.append((float(scores[place]), (z, y, x)))
        heap = heapq.nlargest(WORST, heap)
    if not slabs:
        return None
    threshold = float(norm.isf(FALSE_ALARMS / max(total, 1)))
    every = np.concatenate(counts) if counts else np.zeros(0)
    rows = [_slab(first, depths[first], found) for first, found in sorted(slabs.items())]
    return DenoisingReport(
        rows, sum(len(found) for found in slabs.values()), name, total, int((every > threshold).sum()), threshold,
        float(np.median(every)) if every.size else float("nan"), above_yx, above_zx,
        tuple(Place(start, score) for score, start in heap if score > threshold), _planes(sums, stripes),
    )  # fmt: skip


def _slab(first: int, depth: int, blocks: list[Mapping[str, Any]]) -> dict[str, float]:
    row = {"plane": float(first), "planes": float(depth), "blocks": float(len(blocks))}
    for name in FIGURES:
        own = [(b[name], b["voxels"]) for b in blocks if name in b]
        if own:
            row[name] = float(np.average([v for v, _ in own], weights=[n for _, n in own]))
    return row


def _planes(sums: Mapping[str, np.ndarray], stripes: Mapping[str, np.ndarray]) -> Planes:
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = sums["plane_sum"] / sums["plane_count"]
        variance = sums["plane_square"] / sums["plane_count"] - mean**2
        score = stripes["stripe_sum"] / np.sqrt(stripes["stripe_variance"])
        amplitude = np.sqrt(np.maximum(stripes["stripe_sum"] / stripes["stripe_terms"], 0))
    return Planes(mean, np.sqrt(np.maximum(variance, 0)), np.nan_to_num(score), np.nan_to_num(amplitude))
