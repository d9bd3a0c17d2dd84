"""A movie's figures for comparison: one set a cell where cells were labelled, else one for the movie."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from cisterna.compare.runs import RunTables

LOW, UNKNOWN = "low", "snr_not_applicable"
NOT_FIGURES = ("frame", "cell", "time_s", "snr_power", "snr_mean_std")
DYNAMICS = ("ends_per_min", "begins_per_min", "mean_by_rate_s", "km_median_s")
TIP_SPEEDS = ("growth_um_per_s", "retraction_um_per_s")


@dataclass(frozen=True)
class Figures:
    """What one cell of a run gives: metrics by name (NaN: undefined). `cell` is empty where the run is one cell.

    `counts`: count and exposure (volume, area) of the metrics that are the one over the other.
    """

    values: Mapping[str, float]
    cell: str = ""
    counts: Mapping[str, tuple[float, float]] = field(default_factory=dict)


@dataclass(frozen=True)
class FrameCounts:
    """Frames of a movie by what their SNR says, those that the figures stand on, and the median SNR of all."""

    frames: int = 0
    low_snr: int = 0
    unknown_snr: int = 0
    used: int = 0
    snr_median: float = math.nan


def frame_counts(run: RunTables, keep_low_snr: bool = False) -> FrameCounts:
    """Counted from the table `frames`; a volume has none."""
    if "frames" not in run.tables:
        return FrameCounts()
    frames = run.tables["frames"]
    low, unknown = ((frames["snr_flag"] == flag).to_numpy(bool) for flag in (LOW, UNKNOWN))
    snr = frames["snr_power"].to_numpy(float)
    known = snr[np.isfinite(snr)]
    return FrameCounts(
        len(frames), int(low.sum()), int(unknown.sum()), len(frames) if keep_low_snr else int((~low).sum()),
        float(np.median(known)) if known.size else math.nan,
    )  # fmt: skip


def network_figures(run: RunTables, keep_low_snr: bool = False) -> list[Figures]:
    """Means over the frames of a movie, for each labelled cell where there are labels.

    Frames flagged low in SNR are left out, unless kept. Frames whose SNR cannot be measured (clipped background) stay
    in: nothing is known against them. Dynamics come from tracks through the whole movie: they are left out where more
    than half of its frames are low, and where it holds several cells, because tracks know no cells.
    """
    frames = run.tables["frames"]
    mostly_low = not keep_low_snr and int((frames["snr_flag"] == LOW).sum()) * 2 > len(frames)
    cells = run.tables.get("cells")
    if cells is None or not len(cells):
        return [Figures(_means(frames, keep_low_snr) | _dynamics(run, mostly_low))]
    labels = sorted(cells["cell"].unique().tolist())
    shared = _dynamics(run, mostly_low or len(labels) > 1)
    return [Figures(_means(cells[cells["cell"] == n], keep_low_snr) | shared, str(n)) for n in labels]


def _means(frames: pd.DataFrame, keep_low_snr: bool) -> dict[str, float]:
    used = frames if keep_low_snr else frames[frames["snr_flag"] != LOW]
    numeric = [c for c in frames.columns if c not in NOT_FIGURES and pd.api.types.is_numeric_dtype(frames[c])]
    values = {str(c): mean(used[c].to_numpy(float)) for c in numeric}
    if {"growth_tips", "border_ends"} <= set(used.columns):
        inside = (used["nodes"] - used["border_ends"]).to_numpy(float)
        tips = used["growth_tips"].to_numpy(float)
        values["tip_share"] = mean(np.divide(tips, inside, out=np.full(len(tips), np.nan), where=inside > 0))
    return values


def _dynamics(run: RunTables, left_out: bool) -> dict[str, float]:
    found: dict[str, float] = {}
    for table, ending in (("dynamics", ""), ("floor", "_floor")):
        for row in run.tables.get(table, pd.DataFrame()).to_dict("records"):
            for figure in DYNAMICS:
                found[f"{row['population']}_{figure}{ending}"] = math.nan if left_out else float(row[figure])
    tips = run.tables.get("tips", pd.DataFrame())
    for column in TIP_SPEEDS:
        if column in tips:
            found[f"tip_{column}"] = math.nan if left_out else mean(tips[column].to_numpy(float))
    return found


def mean(values: np.ndarray) -> float:
    """Mean of the finite values; NaN where there is none."""
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if finite.size else math.nan
