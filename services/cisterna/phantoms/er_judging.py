"""How well the classes and the network found in a frame of a movie phantom agree with its truth."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from .er_movie import MoviePhantom
from .score import Agreement, junction_f1, merged_truth

CLASSES = ("background", "sbt", "tubule", "sheet")
TOLERANCE_PX = 3.0
RESOLVED_PX = 2.0
"""Tubules shorter than their width and this cannot be told from one junction: the truth is merged there."""


class Traced(Protocol):
    """The part of a network that is judged: places (n, 2), the two nodes of every edge (m, 2) and its width, in px."""

    @property
    def positions(self) -> NDArray[Any]: ...
    @property
    def ends(self) -> NDArray[Any]: ...
    @property
    def width_um(self) -> NDArray[Any]: ...


@dataclass(frozen=True)
class FrameScore:
    """Counts of one frame.

    `confusion` (4, 4) is pixels by (true, found) class. Nodes are those of degree 1 and of 3 or more; a node of degree
    2 is a place along a tubule, which a picture cannot show. `certainty` (256, 2) counts the pixels of each confidence
    (times 255) and those of them whose class is right; zeros where no confidence was given. `width_px` holds the width
    of every tubule found.
    """

    confusion: NDArray[np.int64]
    nodes: int
    true_nodes: int
    edges: int
    true_edges: int
    junctions: Agreement
    certainty: NDArray[np.int64]
    width_px: NDArray[np.float64]


def confusion_of(true: NDArray[Any], found: NDArray[Any]) -> NDArray[np.int64]:
    """Pixels by (true, found) class of two class maps of one shape (4, 4)."""
    if true.shape != found.shape:
        raise ValueError(f"the classes are {found.shape}, the truth {true.shape}: compare them on the same grid")
    n = len(CLASSES)
    pairs = n * true.astype(np.int64).ravel() + found.ravel()
    return np.bincount(pairs, minlength=n * n).reshape(n, n)


def certainty_of(true: NDArray[Any], found: NDArray[Any], confidence: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Pixels at each confidence (times 255), and those of them whose class is right (256, 2)."""
    right = true == found
    counts = [np.bincount(confidence[chosen].ravel(), minlength=256) for chosen in (np.ones_like(right), right)]
    return np.stack(counts, axis=1)


def judge_frame(
    movie: MoviePhantom, frame: int, classes: NDArray[Any], network: Traced, confidence: NDArray[np.uint8] | None = None
) -> FrameScore:
    """Scores one frame: its class map (y, x) and the network traced on it with a pixel size of 1.

    The truth is merged at the tubule width + 2 px; junctions (degree 3 or more) match one-to-one within 3 px.
    """
    nodes, edges = (t[t["frame"] == frame] for t in (movie.nodes, movie.edges))
    merged, left = merged_truth(nodes, edges, movie.tubule_width_px + RESOLVED_PX)
    true_degree = merged["degree"].to_numpy(int)
    degree = np.bincount(network.ends.ravel(), minlength=len(network.positions))
    places = merged.loc[true_degree >= 3, ["y_px", "x_px"]].to_numpy(float)
    return FrameScore(
        confusion_of(movie.classes[frame], classes),
        _ends_and_junctions(degree),
        _ends_and_junctions(true_degree),
        len(network.ends),
        len(left) - int((true_degree == 2).sum()),
        junction_f1(network.positions[degree >= 3], places, TOLERANCE_PX),
        certainty_of(movie.classes[frame], classes, confidence)
        if confidence is not None
        else np.zeros((256, 2), np.int64),
        np.asarray(network.width_um, np.float64),
    )


def _ends_and_junctions(degree: NDArray[Any]) -> int:
    return int((degree == 1).sum() + (degree >= 3).sum())


def summary(scores: Sequence[FrameScore]) -> dict[str, Any]:
    """Figures over all frames together, from summed counts: NaN where a figure has no value.

    pixel_accuracy; iou of each class; node_ratio and edge_ratio (found over true); junction_f1, junction_recall and
    junction_precision; width_px, the median of the tubules found; mean_confidence and calibration_error (see
    `calibration_error`).
    """
    if not scores:
        raise ValueError("no frame to sum up: give at least one")
    confusion = np.sum([s.confusion for s in scores], axis=0)
    found, true, matched = (sum(getattr(s.junctions, name) for s in scores) for name in ("found", "true", "matched"))
    pooled = Agreement(found, true, matched, np.zeros((0, 2), np.intp))
    widths = np.concatenate([s.width_px for s in scores])
    hits = np.diag(confusion)
    union = confusion.sum(axis=0) + confusion.sum(axis=1) - hits
    return {
        "pixel_accuracy": _ratio(int(hits.sum()), int(confusion.sum())),
        "iou": {name: _ratio(int(h), int(u)) for name, h, u in zip(CLASSES, hits, union, strict=True)},
        "node_ratio": _ratio(sum(s.nodes for s in scores), sum(s.true_nodes for s in scores)),
        "edge_ratio": _ratio(sum(s.edges for s in scores), sum(s.true_edges for s in scores)),
        "junction_f1": pooled.f1,
        "junction_recall": pooled.recall,
        "junction_precision": pooled.precision,
        "width_px": float(np.median(widths)) if len(widths) else float("nan"),
        "mean_confidence": mean_confidence(scores),
        "calibration_error": calibration_error(scores),
    }


def reliability(scores: Sequence[FrameScore], bins: Sequence[float]) -> list[dict[str, float]]:
    """Pixels by confidence: low, high (bounds of each bin, low inside), pixels, mean_confidence and share_right."""
    certainty = np.sum([s.certainty for s in scores], axis=0)
    value = np.arange(256) / 255
    rows = []
    for low, high in itertools.pairwise(bins):
        pixels, right = (np.where((value >= low) & (value < high), c, 0) for c in certainty.T)
        total = int(pixels.sum())
        rows.append(
            {
                "low": low,
                "high": high,
                "pixels": total,
                "mean_confidence": _ratio(float(pixels @ value), total),
                "share_right": _ratio(int(right.sum()), total),
            }
        )
    return rows


def mean_confidence(scores: Sequence[FrameScore]) -> float:
    """Mean confidence of all pixels; NaN without any."""
    pixels = np.sum([s.certainty[:, 0] for s in scores], axis=0)
    return _ratio(float(pixels @ np.arange(256)) / 255, int(pixels.sum()))


def calibration_error(scores: Sequence[FrameScore]) -> float:
    """Expected calibration error: |confidence - share right| over twenty bins of 0.05, weighted by their pixels."""
    rows = [r for r in reliability(scores, [*np.arange(0, 1, 0.05).tolist(), 1.001]) if r["pixels"]]
    error = sum(r["pixels"] * abs(r["mean_confidence"] - r["share_right"]) for r in rows)
    return _ratio(error, int(sum(r["pixels"] for r in rows)))


def tubule_dice(scores: Sequence[FrameScore]) -> float:
    """Dice overlap of the tubules, over all frames together."""
    tubule = CLASSES.index("tubule")
    confusion = np.sum([s.confusion for s in scores], axis=0)
    return 2 * _ratio(int(confusion[tubule, tubule]), int(confusion[tubule].sum() + confusion[:, tubule].sum()))


def share_of_clean(row: Mapping[str, Any], clean: Mapping[str, Any]) -> dict[str, float]:
    """Each figure of `summary` over that of the noise-free frames; a ratio of counts by its distance from one.

    A ratio of 1.05 is as wrong as one of 0.95: both count as 0.95.
    """
    own, best = _rising(row), _rising(clean)
    return {name: own[name] / best[name] if best[name] else float("nan") for name in own}


def _rising(row: Mapping[str, Any]) -> dict[str, float]:
    """Figures of which more is better, each under one name."""
    own = {name: float(row[name]) for name in ("pixel_accuracy", "junction_f1")}
    own |= {name: 1 - abs(1 - row[name]) for name in ("node_ratio", "edge_ratio")}
    return own | {f"iou_{name}": float(value) for name, value in row["iou"].items()}


def _ratio(part: float, whole: int) -> float:
    return part / whole if whole else float("nan")
