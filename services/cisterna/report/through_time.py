"""Lines over time with what is known of their certainty: interval bands, hollow markers where a frame is too noisy."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from cisterna.report.canvas import say_empty

LOW = "low"
HOLLOW_WORDS = "Hollow: SNR below 5."
BAND_WORDS = "Bands: central 95 % when tubules are there only as surely as the segmentation says."


def values_of(frames: pd.DataFrame, column: str) -> np.ndarray:
    """A column as float64, NaN where it has no number or does not exist."""
    if column not in frames:
        return np.full(len(frames), np.nan)
    return np.asarray(pd.to_numeric(frames[column], errors="coerce").to_numpy(dtype=float, na_value=np.nan))


def flagged(frames: pd.DataFrame) -> np.ndarray:
    """Frames whose noise is too high for their network to be trusted (n,)."""
    return np.asarray(frames["snr_flag"] == LOW) if "snr_flag" in frames else np.zeros(len(frames), bool)


def through_time(axes: Axes, frames: pd.DataFrame, series: Sequence[tuple[str, str, str]]) -> None:
    """Lines of (column, label, colour) over time; gaps stay gaps; a single frame is a dot.

    Frames flagged as noisy have hollow markers. Where the columns `<column>_low` and `<column>_high` hold numbers, the
    band between them is shaded.
    """
    time = frames["time_s"].to_numpy(dtype=float)
    noisy = flagged(frames)
    drawn = 0
    for column, label, colour in series:
        values = values_of(frames, column)
        if not np.isfinite(values).any():
            continue
        low, high = values_of(frames, f"{column}_low"), values_of(frames, f"{column}_high")
        if np.isfinite(low).any():
            axes.fill_between(time, low, high, color=colour, alpha=0.16, linewidth=0)
        axes.plot(time, values, color=colour, lw=1.5, label=label)
        axes.scatter(time[~noisy], values[~noisy], s=7, color=colour, linewidths=0, zorder=3)
        axes.scatter(time[noisy], values[noisy], s=13, facecolors="white", edgecolors=colour, linewidths=0.9, zorder=3)
        drawn += 1
    if not drawn:
        say_empty(axes, "not defined in any frame" if len(frames) else "no frames")
    elif drawn > 1:
        axes.legend(fontsize=7.5, frameon=False, loc="best")
