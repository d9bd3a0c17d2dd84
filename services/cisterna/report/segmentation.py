"""What the parts of the segment stages say about a run's models: did they meet data that they were made for?

Nothing here needs a truth. The input as the network saw it and the probability that it gave are set beside those on
the model's own held-out data (``metrics`` of model.json); cubes without structure tell where nothing can be found.
The thresholds lie between what phantoms of other noise and contrast reach and what foreign data do
(tests/bench/segment_foreign.py, docs/segment.md).
"""

import heapq
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from cisterna.report.document import RunDocument
from cisterna.store import ObjectMissing, ObjectStore
from cisterna.store.parts import PartUnreadable, from_npz, part_path
from cisterna.store.receipts import finished_blocks

CUBE = 16
BINS = 32
LEVELS = 256
"""As the segment stage counts: cubes of 16³ voxels, 32 bins, 256 levels of grey over the network's input range."""
STAGE = "segment-"
FAR = 0.15
"""Of the input range."""
MIRRORED = 0.5
"""Membranes look bright where the mirrored histogram is nearer than this times the histogram itself ..."""
LOPSIDED = 0.2
"""... and its longer tail, beyond this skewness, lies on the other side."""
FEATURELESS = 8.0
"""Levels: a cube whose structure deviates by less than 3 % of the input range has none."""
RESIN = 0.05
"""Of all positives, in cubes without structure."""
LEAST_POSITIVES = 100
"""Voxels in such cubes, below which nothing is said."""
POSSIBLE = 1e-4
"""Of the volume must have a probability of 0.3 or more before it is asked how much of it is undecided."""
HESITANT = 0.2
"""Of the way from what a model leaves undecided on its own data to everything."""
HESITANT_UNKNOWN = 0.5
"""For a model that does not say what it leaves undecided on its own data."""
NEVER_DECIDED = 0.6
FEWEST_VOXELS = 200
WORST = 8

Counts = np.ndarray
Place = tuple[int, tuple[int, int, int]]
_AMBIGUOUS = (77.0, 179.0)
_HISTOGRAMS = ("input_histogram", "probability_histogram")


def _overlap(low: float, high: float) -> np.ndarray:
    """Share of each bin of the probability that lies from `low` to `high` of 256."""
    edges = np.arange(BINS) * LEVELS / BINS
    width = LEVELS / BINS
    share: np.ndarray = np.clip(np.minimum(edges + width, high) - np.maximum(edges, low), 0, width) / width
    return share


@dataclass(frozen=True)
class ModelMemory:
    """What a model's card says of its own held-out data: shares, (32,); None where it has none."""

    input: np.ndarray | None = None
    probability: np.ndarray | None = None

    @classmethod
    def of(cls, spec: Mapping[str, Any]) -> "ModelMemory":
        metrics = spec.get("metrics")
        metrics = metrics if isinstance(metrics, Mapping) else {}
        return cls(*(_shares(metrics.get(name)) for name in _HISTOGRAMS))


def _shares(values: Any) -> np.ndarray | None:
    try:
        counts = np.asarray(values, float)
    except (TypeError, ValueError):
        return None
    if counts.shape != (BINS,) or not np.isfinite(counts).all() or counts.min() < 0 or counts.sum() <= 0:
        return None
    shares: np.ndarray = counts / counts.sum()
    return shares


@dataclass(frozen=True)
class ClassSignature:
    """Of one class of a run: counts over all blocks that have a part.

    `worst`: (positives, first voxel) of the cubes without structure that hold most positives.
    `inverted`: the volume was inverted on its way to the network.
    """

    name: str
    model: str
    own: ModelMemory
    blocks: int
    parts: int
    inverted: bool = False
    threshold: int = 128
    input_histogram: Counts = field(default_factory=lambda: np.zeros(BINS, np.int64))
    probability_histogram: Counts = field(default_factory=lambda: np.zeros(BINS, np.int64))
    ambiguous: int = 0
    not_finite: int = 0
    positives: int = 0
    cubes: int = 0
    featureless: int = 0
    featureless_voxels: int = 0
    featureless_positives: int = 0
    worst: tuple[Place, ...] = ()

    @property
    def voxels(self) -> int:
        return int(self.input_histogram.sum())

    @property
    def input_distance(self) -> float:
        """From the model's own input histogram, in units of the input range; NaN where it has none."""
        return distance(self.input_histogram, self.own.input)

    @property
    def mirrored_distance(self) -> float:
        """The same from the mirror image of the model's."""
        return distance(self.input_histogram, None if self.own.input is None else self.own.input[::-1])

    @property
    def probability_distance(self) -> float:
        return distance(self.probability_histogram, self.own.probability)

    @property
    def ambiguous_share(self) -> float:
        """Of the volume."""
        return self.ambiguous / self.voxels if self.voxels else float("nan")

    @property
    def own_ambiguous_share(self) -> float:
        """Of the model's own data; bins that 0.3 or 0.7 cuts count in part."""
        own = self.own.probability
        return float("nan") if own is None else float(own @ _overlap(*_AMBIGUOUS))

    @property
    def undecided(self) -> float:
        """Of the voxels of a probability of 0.3 or more, those up to 0.7; NaN where hardly any are possible."""
        total = max(self.voxels, 1)
        return undecided(self.probability_histogram / total)

    @property
    def own_undecided(self) -> float:
        own = self.own.probability
        return float("nan") if own is None else undecided(own)

    @property
    def far(self) -> bool:
        return bool(self.input_distance > FAR)

    @property
    def mirrored(self) -> bool:
        if not self.far or self.own.input is None or self.mirrored_distance >= MIRRORED * self.input_distance:
            return False
        # without what the ends of the range hold: few very bright voxels make a tail that is none
        here, own = skewness(self.input_histogram[1:-1]), skewness(self.own.input[1:-1])
        return here * own < 0 and min(abs(here), abs(own)) > LOPSIDED

    @property
    def never_decided(self) -> bool:
        """The model leaves most of what it finds possible undecided on its own data too."""
        return bool(self.own_undecided > NEVER_DECIDED)

    @property
    def hesitant(self) -> bool:
        """Much more is undecided than on the model's own data."""
        own = self.own_undecided
        limit = own + HESITANT * (1 - own) if np.isfinite(own) else HESITANT_UNKNOWN
        return not self.never_decided and bool(self.undecided > limit)

    @property
    def featureless_share(self) -> float:
        """Of all positives, those in cubes without structure."""
        return self.featureless_positives / self.positives if self.positives else 0.0

    @property
    def in_resin(self) -> bool:
        return self.featureless_positives >= LEAST_POSITIVES and self.featureless_share > RESIN


def distance(counts: Counts, own: np.ndarray | None) -> float:
    """First Wasserstein distance of two histograms of the same bins, in units of their range.

    How far grey values must be moved on average to turn one into the other. NaN where one of them is empty.
    """
    if own is None or not counts.sum():
        return float("nan")
    return float(np.abs(np.cumsum(counts / counts.sum() - own / own.sum())).sum() / len(own))


def skewness(counts: Counts) -> float:
    """Third standardised moment of a histogram; 0 where it is empty or has no width."""
    if not counts.sum():
        return 0.0
    at = np.arange(len(counts)) - np.average(np.arange(len(counts)), weights=counts)
    width = np.average(at**2, weights=counts) ** 0.5
    return float(np.average(at**3, weights=counts) / width**3) if width > 0 else 0.0


def undecided(shares: np.ndarray) -> float:
    possible = float(shares @ _overlap(_AMBIGUOUS[0], LEVELS))
    return float(shares @ _overlap(*_AMBIGUOUS)) / possible if possible >= POSSIBLE else float("nan")


def read_segmentation(store: ObjectStore, run: RunDocument) -> list[ClassSignature]:
    """One signature per segment stage of the run, in its order, without parts that are missing or do not decode."""
    found = []
    for name, stage in run.stages.items():
        key, folder = str(stage.get("stage_key", "")), stage.get("path")
        if not name.startswith(STAGE) or "-pyramid" in name or not key or not folder:
            continue
        model = str(stage.get("model") or "")
        params = stage.get("params")
        intensity = params.get("intensity") if isinstance(params, Mapping) else None
        inverted = bool(isinstance(intensity, Mapping) and intensity.get("invert"))
        numbers = sorted(finished_blocks(store, name, key))
        own = ModelMemory.of(run.models.get(model, {}))
        parts = _parts(store, f"{folder}/parts", numbers)
        found.append(add_up(name.removeprefix(STAGE), model, own, len(numbers), parts, inverted=inverted))
    return found


def _parts(store: ObjectStore, folder: str, numbers: Sequence[int]) -> Iterable[Mapping[str, np.ndarray]]:
    for number in numbers:
        try:
            yield from_npz(store.get(part_path(folder, number)))
        except (ObjectMissing, PartUnreadable):
            continue


_NUMBERS = ("ambiguous", "not_finite", "threshold")
_CUBES = ("voxels", "level_sum", "square_sum", "pairs", "difference_sum", "positives")


def _whole(part: Mapping[str, np.ndarray]) -> bool:
    """Has every array that is read here, of the shape that it must have."""
    if any(name not in part for name in (*_HISTOGRAMS, *_NUMBERS, "offset", *_CUBES)):
        return False
    shapes = {part[name].shape for name in _CUBES}
    if len(shapes) != 1 or len(shapes.pop()) != 3 or any(part[n].size != 1 for n in _NUMBERS):
        return False
    return all(part[n].shape == (BINS,) for n in _HISTOGRAMS) and part["offset"].shape == (3,)


def add_up(
    name: str,
    model: str,
    own: ModelMemory,
    blocks: int,
    parts: Iterable[Mapping[str, np.ndarray]],
    *,
    inverted: bool = False,
) -> ClassSignature:
    """The signature of a class from its blocks' parts; nothing of the size of the volume is held."""
    histograms = {n: np.zeros(BINS, np.int64) for n in _HISTOGRAMS}
    sums = dict.fromkeys(
        ("ambiguous", "not_finite", "positives", "cubes", "featureless", "featureless_voxels", "featureless_positives"),
        0,
    )
    worst: list[Place] = []
    used, threshold = 0, 128
    for part in parts:
        if not _whole(part):
            continue
        used, threshold = used + 1, part["threshold"].item()
        for n, total in histograms.items():
            total += part[n]
        structure = structure_levels(part)
        plain = structure < FEATURELESS
        positives = part["positives"].astype(np.int64)
        sums["ambiguous"] += part["ambiguous"].item()
        sums["not_finite"] += part["not_finite"].item()
        sums["positives"] += int(positives.sum())
        sums["cubes"] += int(np.isfinite(structure).sum())
        sums["featureless"] += int(plain.sum())
        sums["featureless_voxels"] += int(part["voxels"][plain].sum(dtype=np.int64))
        sums["featureless_positives"] += int(positives[plain].sum())
        held = np.where(plain, positives, 0)
        for index in np.argsort(held, axis=None, kind="stable")[::-1][:WORST]:
            place = np.unravel_index(index, held.shape)
            if held[place]:
                z, y, x = (int(o) + CUBE * int(p) for o, p in zip(part["offset"], place, strict=True))
                worst.append((int(held[place]), (z, y, x)))
        worst = heapq.nsmallest(WORST, worst, key=lambda p: (-p[0], p[1]))
    return ClassSignature(
        name, model, own, blocks, used, inverted, threshold, histograms[_HISTOGRAMS[0]], histograms[_HISTOGRAMS[1]],
        worst=tuple(worst), **sums,
    )  # fmt: skip


def structure_levels(part: Mapping[str, np.ndarray]) -> np.ndarray:
    """Per cube: the standard deviation that its voxels have beyond their noise, in levels; NaN where too few count."""
    voxels, pairs = part["voxels"].astype(float), part["pairs"].astype(float)
    known = (voxels >= FEWEST_VOXELS) & (pairs > 0)
    n, p = np.where(known, voxels, 1), np.where(known, pairs, 1)
    variance = part["square_sum"] / n - (part["level_sum"] / n) ** 2
    structure = np.sqrt(np.maximum(variance - part["difference_sum"] / p / 2, 0))
    return np.where(known, structure, np.nan)


def warnings_of(found: Sequence[ClassSignature]) -> list[str]:
    """What a reader must know before any number: one sentence a fault, however many classes have it."""
    known = [s for s in found if s.voxels]
    said = []
    for group in alike(known):
        s = group[0]
        if s.mirrored:
            said.append(
                f"Membranes look bright to {_models(group)}: the input's histogram is nearer to the mirror image of "
                f"the model's ({s.mirrored_distance:.2f} of the range) than to the model's ({s.input_distance:.2f}). "
                f"If they are bright, submit with `--polarity {'dark' if s.inverted else 'bright'}`."
            )
        elif s.far:
            said.append(
                f"{_models(group)} met grey values unlike those of the training: their histogram lies "
                f"{s.input_distance:.2f} of the input range from the model's (phantoms of other noise and contrast: up "
                "to 0.12). Look at these classes before you count them. If the histogram is a narrow peak, few very "
                "bright or dark voxels, or empty resin, set the range: crop them away."
            )
    hesitant = [s for s in known if s.hesitant]
    if hesitant:
        said.append(
            "Much is undecided: of the voxels that are possible (a probability of 0.3 or more), "
            + ", ".join(f"{100 * s.undecided:.0f} % of {s.name}{_own_words(s)}" for s in hesitant)
            + " lie between 0.3 and 0.7. Counts of these classes move with the threshold."
        )
    resin = [s for s in known if s.in_resin]
    if resin:
        said.append(
            "Positives where the picture has no structure (empty resin, lumen or vacuum): "
            + ", ".join(f"{100 * s.featureless_share:.0f} % of {s.name}" for s in resin)
            + ". Where nothing can be seen they are false: crop the volume, or raise the thresholds."
        )
    silent = sorted({s.model or s.name for s in known if s.own.input is None})
    if silent:
        said.append(
            f"{', '.join(silent)} cannot be compared with this volume: the model{'s' * (len(silent) > 1)} came without "
            "histograms of the training data (published checkpoints have none)."
        )
    return said


def _own_words(s: ClassSignature) -> str:
    return f" ({100 * s.own_undecided:.0f} % on the model's own data)" if np.isfinite(s.own_undecided) else ""


def _models(group: Sequence[ClassSignature]) -> str:
    names = [s.model or s.name for s in group]
    return ", ".join(names[:-1]) + " and " + names[-1] if len(names) > 1 else names[0]


def alike(found: Sequence[ClassSignature]) -> list[list[ClassSignature]]:
    """Classes whose input and whose model's input are the same, together: one sentence for all of them."""
    groups: dict[tuple[Any, ...], list[ClassSignature]] = {}
    for s in found:
        own = () if s.own.input is None else tuple(s.own.input.tolist())
        groups.setdefault((own, tuple(s.input_histogram.tolist()), s.inverted), []).append(s)
    return list(groups.values())
