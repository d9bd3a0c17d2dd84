"""How far a movie's figures can be trusted: noise beside the model's own curve, confidence, flicker, scale."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from cisterna.report import trust_figures as figures
from cisterna.report.canvas import picture
from cisterna.report.document import RunDocument
from cisterna.report.page import Section, number
from cisterna.report.tallies import finite
from cisterna.report.through_time import HOLLOW_WORDS

FAMILY = "ernet"
RESAMPLED_FROM = 1.25
"""Frames whose pixels differ from the model's by more than this factor were resampled to them (docs/ernet.md)."""
WIDTH_TOLERANCE = 1.12
"""A network sees tubules near the width it knows: those 0.65 or 1.3 times as wide come out 0.86 or 1.11 times so."""
KEPT = 0.9


@dataclass(frozen=True)
class NoiseCurve:
    """A model's `noise_curve`: figures (levels,) at rising SNR, and those without noise."""

    model: str
    snr: np.ndarray
    levels: Sequence[Mapping[str, Any]]
    clean: Mapping[str, Any] | None
    pixel_size_um: float

    def values(self, name: str) -> np.ndarray:
        return np.array([_number(row.get(name)) for row in self.levels])

    def at(self, name: str, snr: float) -> float:
        """A figure at an SNR: linear in its logarithm, the outermost value beyond the levels."""
        values = self.values(name)
        known = np.isfinite(values)
        if not known.any() or not snr > 0:
            return math.nan
        return float(np.interp(math.log(snr), np.log(self.snr[known]), values[known]))

    def holds_from(self, name: str = "junction_f1", share: float = KEPT) -> float:
        """The lowest measured SNR from which on a figure stays at this share of its noise-free value; NaN if none."""
        if self.clean is None:
            return math.nan
        below = ~(self.values(name) >= share * _number(self.clean.get(name)))
        start = int(np.flatnonzero(below)[-1]) + 1 if below.any() else 0
        return float(self.snr[start]) if start < len(self.snr) else math.nan


def noise_curve(run: RunDocument) -> NoiseCurve | None:
    """That of the run's ERnet; None where its card has none that can be read."""
    for name, model in run.models.items():
        curve = model.get("noise_curve")
        if not str(model.get("family", "")).startswith(FAMILY) or not isinstance(curve, dict):
            continue
        rows = [row for row in curve.get("levels", []) if isinstance(row, dict)]
        noisy = sorted((r for r in rows if _number(r.get("snr")) > 0), key=lambda r: float(r["snr"]))
        clean = next((r for r in rows if r.get("snr") is None), None)
        if noisy:
            snr = np.array([float(r["snr"]) for r in noisy])
            return NoiseCurve(name, snr, noisy, clean, _number(curve.get("pixel_size_um")))
    return None


def trust_warnings(run: RunDocument, frames: pd.DataFrame, pixel_size_um: tuple[float, float]) -> list[str]:
    """What a reader must know before any number: frames whose noise is unknown, tubules of another width."""
    found = []
    unknown = int((frames["snr_flag"] == "snr_not_applicable").sum()) if len(frames) else 0
    if unknown:
        found.append(
            f"The SNR of {unknown} of {len(frames)} frames cannot be measured (their background is clipped or missing, "
            "as in reconstructed SIM and Airyscan images): the gate says nothing about them."
        )
    width = width_ratio(run, frames, pixel_size_um)
    if width and not 1 / WIDTH_TOLERANCE <= width[0] <= WIDTH_TOLERANCE:
        ratio, here, expected = width
        found.append(
            f"Tubules come out {number(here)} px wide on the model's grid, {number(ratio)} times the "
            f"{number(expected)} px of tubules as wide as the model was trained on. Because a network sees tubules of "
            "its own width, the true ratio is further from 1: check the pixel size, or train at this scale."
        )
    return found


def width_ratio(
    run: RunDocument, frames: pd.DataFrame, pixel_size_um: tuple[float, float]
) -> tuple[float, float, float] | None:
    """Tubule width found over that expected, and both in px of the model's grid; None where either is unknown."""
    curve = noise_curve(run)
    widths, snr = finite(frames["median_width_um"]), finite(frames["snr_power"])
    if curve is None or not widths.size:
        return None
    own, model = math.sqrt(math.prod(pixel_size_um)), curve.pixel_size_um
    resampled = any(not 1 / RESAMPLED_FROM <= p / model <= RESAMPLED_FROM for p in pixel_size_um)
    here = float(np.median(widths)) / (model if resampled else own)
    expected = curve.at("width_px", float(np.median(snr)) if snr.size else float(curve.snr[-1]))
    return (here / expected, here, expected) if expected > 0 else None


def trust_section(run: RunDocument, frames: pd.DataFrame, floor_frames: pd.DataFrame, gate: float) -> list[Section]:
    """One section; nothing without frames."""
    if not len(frames):
        return []
    curve = noise_curve(run)
    text = [
        noise_words(curve, finite(frames["snr_power"])),
        confidence_words(frames),
        flicker_words(frames, floor_frames),
    ]
    pairs = []
    if curve is not None:
        words = (
            f"What {curve.model} finds on phantoms of its pixel size ({number(curve.pixel_size_um)} µm) at each SNR; "
            f"dashed: without noise. Bars: frames of this movie. Grey: below the gate of {gate:g}."
        )
        pairs.append(picture(figures.curve_figure(curve, frames, gate), words, words))
    words = (
        "Share of ER pixels whose class is not that of the frame before, and of those that differ from both "
        f"neighbours in time for one frame only; dashed: the latter in the static scene. {HOLLOW_WORDS}"
    )
    pairs.append(picture(figures.flicker_figure(frames, floor_frames), words, words))
    words = f"Mean confidence of the pixels of each class. {HOLLOW_WORDS}"
    pairs.append(picture(figures.confidence_figure(frames), words, words))
    return [Section("How far to trust it", text=text, pairs=pairs)]


def noise_words(curve: NoiseCurve | None, snr: np.ndarray) -> str:
    """Where the movie's noise lies on the model's own curve."""
    if curve is None:
        return (
            "This run's model has no noise curve: what it finds at this movie's SNR was not measured. "
            "`cisterna models noise-curve` measures it."
        )
    if not snr.size:
        return f"The SNR of this movie cannot be measured, so its place on the noise curve of {curve.model} is unknown."
    median = float(np.median(snr))
    beyond = ""
    if not curve.snr[0] <= median <= curve.snr[-1]:
        beyond = f" (its curve was measured from {curve.snr[0]:g} to {curve.snr[-1]:g})"
    recall, precision, accuracy = (
        100 * curve.at(name, median) for name in ("junction_recall", "junction_precision", "pixel_accuracy")
    )
    words = (
        f"At this movie's median SNR of {number(median)}{beyond}, {curve.model} finds {number(recall)} % of the "
        f"junctions on phantoms of its pixel size; {number(precision)} % of those it finds are true, and "
        f"{number(accuracy)} % of the pixels have the right class."
    )
    start = curve.holds_from()
    if math.isfinite(start):
        words += f" Down to an SNR of {start:g} it keeps at least 90 % of the junction F1 that it has without noise."
    return f"{words} Phantoms are cleaner than cells: take this as the best case."


def confidence_words(frames: pd.DataFrame) -> str:
    classes = (("tubule", "tubules"), ("sheet", "sheets"), ("sbt", "SBT"), ("background", "background"))
    means = ((label, finite(frames[f"{name}_confidence"])) for name, label in classes)
    said = ", ".join(f"{label} {number(float(v.mean()))}" for label, v in means if v.size)
    return f"Mean confidence (probability that a pixel's class is right, by the model itself): {said or 'unknown'}."


def flicker_words(frames: pd.DataFrame, floor_frames: pd.DataFrame) -> str:
    changed, flicker = (finite(frames[name]) for name in ("changed_share", "flicker_share"))
    if not flicker.size:
        return "Flicker needs three frames: nothing is said about it here."
    still = finite(floor_frames["flicker_share"]) if len(floor_frames) else np.zeros(0)
    floor = (
        f", and {number(100 * float(still.mean()))} % in the static scene, where nothing moves" if still.size else ""
    )
    since, alone = (number(100 * float(values.mean())) for values in (changed, flicker))
    return (
        f"From frame to frame {since} % of the ER's pixels change class, by motion and noise alike. {alone} % differ "
        f"from both neighbours in time for one frame only{floor}."
    )


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else math.nan
