"""Figures of trust: a model's noise curve with the movie's own noise on it, flicker and confidence through time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from cisterna.report.canvas import dress, legend_below, new_figure, say_empty
from cisterna.report.palette import ACCENT, MUTED, NETWORK_CLASSES, RULE, SECOND
from cisterna.report.tallies import finite
from cisterna.report.through_time import through_time

if TYPE_CHECKING:
    from cisterna.report.trust import NoiseCurve

CURVES = (
    ("junction_recall", "junctions found", ACCENT),
    ("junction_precision", "junctions that are true", SECOND),
    ("pixel_accuracy", "pixels of the right class", "#1FA84A"),
)
BINS = 24


def curve_figure(curve: NoiseCurve, frames: pd.DataFrame, gate: float) -> Figure:
    """Shares found at each SNR (logarithmic), and below them how many frames of the movie have which SNR."""
    figure = new_figure(5.3, 3.4)
    axes = figure.subplots()
    dress(axes, "SNR, E[S²] / E[N²]", "share", "The model's own noise curve")
    snr = finite(frames["snr_power"])
    snr = snr[snr > 0]
    low = max(min(float(curve.snr[0]), float(snr.min()) if snr.size else gate, gate) / 1.3, 0.1)
    high = max(float(curve.snr[-1]), float(snr.max()) if snr.size else gate) * 1.3
    axes.set_xscale("log")
    axes.axvspan(low, gate, color=RULE, alpha=0.45, linewidth=0, zorder=0)
    for name, label, colour in CURVES:
        axes.plot(curve.snr, curve.values(name), color=colour, lw=1.5, marker="o", ms=3.5, label=label)
        clean = (curve.clean or {}).get(name)
        if clean is not None:
            axes.axhline(float(clean), color=colour, lw=0.8, ls="--", zorder=1)
    if snr.size:
        edges = np.geomspace(low, high, BINS + 1)
        counts, _ = np.histogram(snr, edges)
        height = 0.25 * counts / counts.max()
        axes.bar(edges[:-1], height, np.diff(edges), align="edge", color=MUTED, alpha=0.6, linewidth=0, label="frames")
    axes.set_xlim(low, high)
    axes.set_ylim(0, 1.03)
    ticks = [t for t in (0.5, 1, 2, 3, 5, 10, 20, 50, 100, 300, 1000) if low <= t <= high]
    axes.set_xticks(ticks, [f"{t:g}" for t in ticks])
    axes.set_xticks([], minor=True)
    legend_below(figure, axes, columns=2)
    return figure


def flicker_figure(frames: pd.DataFrame, floor_frames: pd.DataFrame) -> Figure:
    """Change of classes and flicker through time, and the mean flicker of the static scene."""
    figure = new_figure(5.3, 3.4)
    axes = figure.subplots()
    dress(axes, "time (s)", "share of ER pixels", "Classes that change")
    series = [("changed_share", "since the frame before", ACCENT), ("flicker_share", "for one frame only", SECOND)]
    if len(frames) < 2:
        say_empty(axes, "one frame: nothing to compare with" if len(frames) else "no frames")
        return figure
    through_time(axes, frames, series)
    still = finite(floor_frames["flicker_share"]) if len(floor_frames) else np.zeros(0)
    if still.size and axes.lines:
        axes.axhline(float(still.mean()), color=SECOND, lw=1, ls="--", label="static scene")
        axes.legend(fontsize=7.5, frameon=False, loc="best")
    if axes.lines:
        axes.set_ylim(0, max(axes.get_ylim()[1] * 1.06, 1e-9))
    return figure


def confidence_figure(frames: pd.DataFrame) -> Figure:
    """Mean confidence of each class through time."""
    figure = new_figure(5.3, 3.4)
    axes = figure.subplots()
    dress(axes, "time (s)", "mean confidence", "Confidence")
    colours = {
        "sbt": NETWORK_CLASSES[1].colour,
        "tubule": NETWORK_CLASSES[2].colour,
        "sheet": NETWORK_CLASSES[3].colour,
    }
    labels = {"background": "background", "tubule": "tubule", "sheet": "sheet", "sbt": "SBT"}
    through_time(axes, frames, [(f"{n}_confidence", labels[n], colours.get(n, MUTED)) for n in labels])
    if axes.lines:
        axes.set_ylim(min(0.5, axes.get_ylim()[0]), 1.01)
    return figure
