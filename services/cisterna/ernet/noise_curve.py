"""A model's own noise curve: what it finds on phantoms of its pixel size, from much noise to none.

numpy, scipy and pandas only. The tracer is handed in, because this room knows no networks.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

from cisterna.phantoms.er_judging import FrameScore, Traced, judge_frame, summary
from cisterna.phantoms.er_movie import TUBULE, MoviePhantom, er_movie

from .frames import ONE_FRAME, Network, View, segment_frame

LEVELS = (2.0, 3.0, 5.0, 10.0, 20.0, math.inf)
FIRST_SEED = 910_000
"""Trainings draw phantoms below 900,000 and their metrics from 900,000 on: no model ever saw these."""
USUAL_WIDTH_PX = 3.5

Trace = Callable[[NDArray[Any], float], Traced]
"""A mask (y, x) and a pixel size → its network."""


@dataclass(frozen=True)
class CurvePhantoms:
    """Which phantoms a curve is measured on; sizes follow the tubule width, because a network knows only pixels."""

    seeds: Sequence[int] = field(default_factory=lambda: range(FIRST_SEED, FIRST_SEED + 8))
    levels: Sequence[float] = LEVELS
    edge_px: int = 256
    tubule_width_px: float = USUAL_WIDTH_PX

    def __post_init__(self) -> None:
        if not 1.5 <= self.tubule_width_px <= 20:
            raise ValueError(f"tubules of {self.tubule_width_px:g} px cannot be drawn: give 1.5 to 20")
        if not len(self.seeds) or not len(self.levels):
            raise ValueError("a noise curve needs at least one phantom and one SNR")
        if not all(level > 0 for level in self.levels):
            raise ValueError(f"SNR levels {list(self.levels)}: all must be positive (inf: no noise)")

    @property
    def scale(self) -> float:
        return self.tubule_width_px / USUAL_WIDTH_PX

    def movie(self, snr: float, seed: int, frames: int = 1) -> MoviePhantom:
        """One phantom: 0.00085 Voronoi points a px² and a PSF of 1.2 px at 3.5 px width, all magnified with it."""
        return er_movie(
            frames,
            (self.edge_px, self.edge_px),
            pixel_size_um=0.1 / self.scale,
            snr=snr,
            seed=seed,
            tubule_width_px=self.tubule_width_px,
            psf_sigma_px=1.2 * self.scale,
        )


def scores_at(network: Network, view: View, trace: Trace, phantoms: CurvePhantoms, snr: float) -> list[FrameScore]:
    """The middle of the frames that the network is shown, of every phantom at one SNR, judged."""
    found = []
    for seed in phantoms.seeds:
        movie = phantoms.movie(snr, seed, view.frames)
        low, high = float(movie.frames.min()), float(movie.frames.max())
        classes, confidence = segment_frame(movie.frames, low, high, network, view=view)
        traced = trace(classes == TUBULE, 1.0)
        found.append(judge_frame(movie, view.frames // 2, classes, traced, confidence))
    return found


def noise_curve(
    network: Network,
    trace: Trace,
    pixel_size_um: float,
    view: View = ONE_FRAME,
    phantoms: CurvePhantoms | None = None,
    report: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """The entry `noise_curve` of a model card.

    `levels` holds one row an SNR (E[S²] / E[N²]; null: no noise) with the figures of `er_judging.summary`: pixel
    accuracy, IoU a class, node and edge ratio, junction F1, recall and precision at 3 px, median tubule width found,
    mean confidence and its calibration error. Beside it: `pixel_size_um` of the model, and what the phantoms were.
    `view` is what the network is shown (`frames.view_of`).
    """
    phantoms = phantoms or CurvePhantoms()
    rows = []
    for snr in phantoms.levels:
        row = summary(scores_at(network, view, trace, phantoms, snr))
        report(f"SNR {snr:g}: junction F1 {row['junction_f1']:.3f}, pixel accuracy {row['pixel_accuracy']:.3f}")
        rows.append({"snr": snr if math.isfinite(snr) else None, **_rounded(row)})
    first, last = min(phantoms.seeds), max(phantoms.seeds)
    return {
        "pixel_size_um": pixel_size_um,
        "tubule_width_px": phantoms.tubule_width_px,
        "frames": len(phantoms.seeds),
        "data": f"er_movie phantoms, seeds {first} to {last}, {phantoms.edge_px} × {phantoms.edge_px} px",
        "truth": "merged at the tubule width + 2 px; junctions match within 3 px",
        "levels": rows,
    }


def _rounded(row: Mapping[str, Any]) -> dict[str, Any]:
    """Four decimals; NaN, which JSON lacks, becomes null."""
    out: dict[str, Any] = {}
    for name, value in row.items():
        if isinstance(value, Mapping):
            out[name] = _rounded(value)
        else:
            out[name] = round(float(value), 4) if math.isfinite(value) else None
    return out
