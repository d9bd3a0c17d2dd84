"""Figures of what junctions do in time, each beside the floor that noise alone gives."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from cisterna.report.canvas import dress, new_figure, say_empty
from cisterna.report.palette import ACCENT, DEGREES, SECOND

CUT_OFF = "#b9c6cc"
FLOOR = "#8b96a3"
THREE_WAY, MULTI_WAY = DEGREES[3].colour, DEGREES[4].colour


def lifetime_figure(
    junctions: pd.DataFrame, dynamics: pd.DataFrame, survival: pd.DataFrame, floor: pd.DataFrame
) -> Figure:
    """Lifetimes of junctions, whole and cut off, and the survival of those born in view with the naive mean beside it.

    `dynamics` and `survival` are those tables, `floor` the table `floor_survival`; each may be empty.
    """
    figure = new_figure(11.0, 3.4)
    left, right = figure.subplots(1, 2)
    dress(left, "time seen (s)", "junctions", "Junction lifetimes")
    _histogram(left, junctions)
    dress(right, "time since birth (s)", "share still there", "Survival of junctions born in view (Kaplan–Meier)")
    drawn = _curve(right, survival, "junctions", "this movie", ACCENT, band=True)
    _curve(right, floor, "junctions", "static scene: the floor", FLOOR, dashed=True)
    if not drawn:
        say_empty(right, "no junction was born in view")
        return figure
    naive = _value(dynamics, "junctions", "naive_mean_s")
    median = _value(dynamics, "junctions", "km_median_s")
    if np.isfinite(naive):
        right.axvline(naive, color=SECOND, lw=1.2, ls=(0, (4, 2)), label=f"naive mean {naive:.3g} s")
    if np.isfinite(median):
        right.plot([0, median, median], [0.5, 0.5, 0], color=ACCENT, lw=0.9, ls=":", label=f"median {median:.3g} s")
    right.set_ylim(0, 1.03)
    right.set_xlim(0, None)
    right.legend(fontsize=7.5, frameon=False, loc="best")
    return figure


@dataclass(frozen=True)
class EventRate:
    """An event (`words` for readers), how many there were, and per junction and minute here and in the static scene."""

    words: str
    n: int
    per_min: float
    floor_per_min: float


def episode_figure(survival: pd.DataFrame, floor: pd.DataFrame, rates: Sequence[EventRate]) -> Figure:
    """How long three-way and multi-way episodes last, and how often events happen, each beside the floor."""
    figure = new_figure(11.0, 3.4)
    left, right = figure.subplots(1, 2)
    dress(left, "time since the episode began (s)", "share still in that state", "Three-way and multi-way episodes")
    drawn = False
    for state, label, colour in (("three_way", "three-way", THREE_WAY), ("multi_way", "multi-way", MULTI_WAY)):
        drawn |= _curve(left, survival, f"episodes_{state}", label, colour, band=True)
        _curve(left, floor, f"episodes_{state}", f"{label}, floor", colour, dashed=True)
    if drawn:
        left.set_ylim(0, 1.03)
        left.set_xlim(0, None)
        left.legend(fontsize=7.5, frameon=False, loc="best")
    else:
        say_empty(left, "no episode was seen from its begin to its end")
    dress(right, "", "per junction and minute", "Events, and the same events in the static scene")
    here, there = np.array([r.per_min for r in rates]), np.array([r.floor_per_min for r in rates])
    if not np.isfinite(here).any():
        say_empty(right, "no junction was followed")
        return figure
    at = np.arange(len(rates))
    right.bar(at - 0.2, np.nan_to_num(here), width=0.38, color=ACCENT, label="this movie")
    if np.isfinite(there).any():
        right.bar(at + 0.2, np.nan_to_num(there), width=0.38, color=FLOOR, label="static scene: the floor")
    right.set_xticks(at, [r.words for r in rates], fontsize=7.5)
    right.legend(fontsize=7.5, frameon=False, loc="best")
    return figure


def tip_figure(phases: pd.DataFrame) -> Figure:
    """Speeds of growth and retraction."""
    figure = new_figure(5.3, 3.0)
    axes = figure.subplots()
    dress(axes, "speed (µm/s)", "phases", "Growth and retraction of tips")
    if not len(phases):
        say_empty(axes, "no tip grew or retracted")
        return figure
    bins = np.linspace(0, float(phases["speed_um_per_s"].max()) * 1.02, 21).tolist()
    parts = [phases.loc[phases["direction"] == way, "speed_um_per_s"] for way in ("growth", "retraction")]
    labels = [f"{way} ({len(p)})" for way, p in zip(("growth", "retraction"), parts, strict=True)]
    axes.hist(parts, bins=bins, color=[ACCENT, SECOND], label=labels, edgecolor="white", linewidth=0.5)
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(fontsize=8, frameon=False)
    return figure


def _histogram(axes: Axes, junctions: pd.DataFrame) -> None:
    seconds = junctions["lifetime_s"].to_numpy(dtype=float)
    censored = junctions["censored"].to_numpy(dtype=bool)
    if not np.isfinite(seconds).any():
        say_empty(axes, "no junction was tracked")
        return
    bins = np.linspace(0, max(float(np.nanmax(seconds)), 1e-6) * 1.02, 25).tolist()
    axes.hist(
        [seconds[~censored], seconds[censored]],
        bins=bins,
        stacked=True,
        color=[ACCENT, CUT_OFF],
        label=[f"birth and death seen ({int((~censored).sum())})", f"cut off ({int(censored.sum())})"],
        edgecolor="white",
        linewidth=0.5,
    )
    axes.legend(fontsize=8, frameon=False)
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))


def _curve(
    axes: Axes,
    survival: pd.DataFrame,
    population: str,
    label: str,
    colour: str,
    band: bool = False,
    dashed: bool = False,
) -> bool:
    own = survival[survival["population"] == population]
    if not len(own):
        return False
    time_s = np.r_[0, own["time_s"]]
    axes.step(
        time_s, np.r_[1, own["survival"]], where="post", color=colour, lw=1.3 if dashed else 1.8,
        ls=(0, (3, 2)) if dashed else "-", label=label,
    )  # fmt: skip
    if band:
        low, high = np.r_[1, own["low"]], np.r_[1, own["high"]]
        axes.fill_between(time_s, low, high, step="post", color=colour, alpha=0.13, linewidth=0)
    return True


def _value(table: pd.DataFrame, population: str, column: str) -> float:
    own = table.loc[table["population"] == population, column]
    return float(own.iloc[0]) if len(own) else float("nan")
