"""Figures of a comparison: cells and experiments together, effect sizes, and the plot of phenotypes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cisterna.compare.aggregates import Aggregates
from cisterna.compare.metrics import ASSEMBLY, ASSORTATIVITY, Metric
from cisterna.report.canvas import dress, legend_below, new_figure, say_empty
from cisterna.report.palette import INK, MUTED, RULE

# Okabe–Ito, darkest first: apart for the common forms of colour blindness.
CONDITION_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7F8793")
EXPERIMENT_COLOURS = ("#4E79A7", "#E15759", "#59A14F", "#B07AA1", "#F28E2B", "#499894", "#9C755F", "#D37295")
LEAST_FOR_VIOLIN = 4
SPREAD = 0.24


def condition_colour(conditions: Sequence[str], condition: str) -> str:
    return CONDITION_COLOURS[list(conditions).index(condition) % len(CONDITION_COLOURS)]


def superplot(data: Aggregates, metric: Metric, conditions: Sequence[str], is_paired: bool, line: str = "") -> Figure:
    """Violins over cells; small dots are cells, large ones experiment means, which are what is tested.

    Colours are experiments; where experiments hold all conditions their means are joined. The bar is the mean of
    experiment means. `line` stands under the title.
    """
    figure = new_figure(max(3.4, 1.35 * len(conditions) + 1.3), 3.5)
    axes = figure.subplots()
    dress(axes, "", metric.axis, metric.label[:1].upper() + metric.label[1:])
    cells = data.cells[(data.cells["metric"] == metric.name) & np.isfinite(data.cells["value"])]
    means = data.experiments[data.experiments["metric"] == metric.name]
    if not len(cells):
        say_empty(axes, "not defined in any cell")
        return figure
    names = list(dict.fromkeys(data.experiments["experiment"]))
    colours = {e: EXPERIMENT_COLOURS[n % len(EXPERIMENT_COLOURS)] for n, e in enumerate(names)}
    for x, condition in enumerate(conditions):
        own = cells[cells["condition"] == condition].sort_values(["experiment", "cell"], kind="stable")
        values = own["value"].to_numpy(float)
        if values.size >= LEAST_FOR_VIOLIN and np.ptp(values) > 1e-9 * max(np.abs(values).max(), 1e-300):
            bodies: Any = axes.violinplot(values, [x], widths=0.8, showextrema=False)["bodies"]
            for body in bodies:
                body.set(facecolor="#e9edf1", edgecolor=RULE, alpha=1.0, linewidth=0.8, zorder=1)
        shift = np.linspace(-SPREAD, SPREAD, values.size) if values.size > 1 else np.zeros(1)
        axes.scatter(
            x + shift, values, s=17, c=[colours[e] for e in own["experiment"]], alpha=0.65, linewidths=0, zorder=3
        )
    places = _experiment_places(axes, means, conditions, names, colours, is_paired)
    for x, values in places.items():
        axes.plot([x - 0.3, x + 0.3], [np.mean(values)] * 2, color=INK, lw=1.8, zorder=4, solid_capstyle="butt")
    count = [
        (int((cells["condition"] == c).sum()), int((means["condition"] == c).sum())) for c in conditions
    ]  # cells, experiments
    axes.set_xticks(
        range(len(conditions)),
        [f"{c}\n{n} cells, {e} exp." for c, (n, e) in zip(conditions, count, strict=True)],
        fontsize=8.5,
    )
    axes.set_xlim(-0.6, len(conditions) - 0.4)
    axes.margins(y=0.12)
    if line:
        axes.set_title(line, fontsize=8, color=MUTED, loc="right", pad=7)
    return figure


def _experiment_places(
    axes: Axes, means: pd.DataFrame, conditions: Sequence[str], names: Sequence[str], colours: dict[str, str],
    is_paired: bool,
) -> dict[int, list[float]]:  # fmt: skip
    places: dict[int, list[float]] = {}
    for experiment in names:
        own = means[means["experiment"] == experiment].set_index("condition")["value"]
        at = [(x, float(own[c])) for x, c in enumerate(conditions) if c in own.index]
        for x, value in at:
            places.setdefault(x, []).append(value)
        if not at:
            continue
        across, up = [x for x, _ in at], [value for _, value in at]
        if is_paired and len(at) > 1:
            axes.plot(across, up, color=colours[experiment], lw=1.1, alpha=0.8, zorder=4)
        axes.scatter(across, up, s=72, c=colours[experiment], edgecolors="white", linewidths=1.2, zorder=5)
    return places


def phenotype_figure(data: Aggregates, conditions: Sequence[str]) -> Figure:
    """Assembly ratio against degree assortativity: small dots are cells, large ones experiments, colours conditions."""
    figure = new_figure(6.4, 4.4)
    axes = figure.subplots()
    dress(axes, "assembly ratio: nodes in the largest component", "degree assortativity", "", grid="both")
    cells, means = (
        _both(table, keys) for table, keys in ((data.cells, ["experiment", "cell"]), (data.experiments, ["experiment"]))
    )
    if not len(cells):
        say_empty(axes, "no cell has both figures")
        return figure
    for condition in conditions:
        colour = condition_colour(conditions, condition)
        own, large = cells[cells["condition"] == condition], means[means["condition"] == condition]
        axes.scatter(own[ASSEMBLY], own[ASSORTATIVITY], s=20, c=colour, alpha=0.55, linewidths=0, zorder=3)
        axes.scatter(
            large[ASSEMBLY], large[ASSORTATIVITY], s=90, c=colour, edgecolors="white", linewidths=1.3, zorder=4,
            label=f"{condition} ({len(own)} cells, {len(large)} experiments)",
        )  # fmt: skip
    axes.axhline(0, color=MUTED, lw=0.8)
    axes.set_xlim(-0.02, 1.02)
    reach = max(0.4, 1.15 * float(cells[ASSORTATIVITY].abs().max()))
    axes.set_ylim(-reach, reach)
    legend_below(figure, axes, columns=2)
    return figure


def _both(table: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    own = table[table["metric"].isin([ASSEMBLY, ASSORTATIVITY])]
    wide = own.pivot_table(index=["condition", *keys], columns="metric", values="value", sort=False).reset_index()
    if ASSEMBLY not in wide or ASSORTATIVITY not in wide:
        return wide.iloc[:0]
    return wide.dropna(subset=[ASSEMBLY, ASSORTATIVITY])


def forest(effects: pd.DataFrame, metrics: Sequence[Metric], conditions: Sequence[str]) -> Figure:
    """Hedges' g with 95 % intervals, every condition against the first; open where it stands on cells of one dish."""
    reference, others = conditions[0], list(conditions[1:])
    figure = new_figure(8.2, 1.2 + 0.34 * len(metrics) * max(1, 0.62 * len(others)))
    axes = figure.subplots()
    dress(axes, f"Hedges' g against {reference}: standard deviations between experiments", "", "", grid="x")
    step = 0.7 / max(len(others), 1)
    drawn: list[float] = []
    dots: list[float] = []
    for k, other in enumerate(others):
        own = effects[(effects["condition_a"] == reference) & (effects["condition_b"] == other)]
        rows = {r["metric"]: r for r in own.to_dict("records")}
        colour = condition_colour(conditions, other)
        label: str | None = other
        for n, metric in enumerate(metrics):
            row = rows.get(metric.name)
            if row is None or not np.isfinite(row["hedges_g"]):
                continue
            y = n - 0.35 + (k + 0.5) * step
            face = colour if row["effect_of"] == "experiments" else "white"
            axes.plot([row["hedges_g_low"], row["hedges_g_high"]], [y, y], color=colour, lw=1.6, zorder=3)
            axes.scatter(row["hedges_g"], y, s=42, c=face, edgecolors=colour, linewidths=1.5, zorder=4, label=label)
            drawn += [row["hedges_g_low"], row["hedges_g_high"]]
            dots.append(row["hedges_g"])
            label = None
    if not dots:
        say_empty(axes, "no effect size: each condition has one cell")
        return figure
    axes.axvline(0, color=INK, lw=1.0, zorder=2)
    # One wide interval should not make all others unreadable; every dot stays in the picture.
    ends = np.abs(np.array([d for d in drawn if np.isfinite(d)]))
    reach = min(float(ends.max()), max(3 * float(np.median(ends)), float(np.abs(dots).max()))) * 1.08
    axes.set_xlim(-reach, reach)
    axes.set_yticks(range(len(metrics)), [m.label for m in metrics], fontsize=8.5)
    axes.set_ylim(len(metrics) - 0.45, -0.55)
    if len(others) > 1:
        legend_below(figure, axes)
    return figure


def snr_figure(runs: pd.DataFrame, conditions: Sequence[str], gate: float) -> Figure:
    """Median SNR of every run by condition; rings are recordings with added noise."""
    figure = new_figure(max(3.4, 1.35 * len(conditions) + 1.3), 3.0)
    axes = figure.subplots()
    dress(axes, "", "median SNR, E[S²] / E[N²]", "Brightness")
    known = runs[np.isfinite(runs["snr_median"].to_numpy(float))]
    if not len(known):
        say_empty(axes, "SNR is not known for any run")
        return figure
    for x, condition in enumerate(conditions):
        own = known[known["condition"] == condition]
        shift = np.linspace(-SPREAD, SPREAD, len(own)) if len(own) > 1 else np.zeros(len(own))
        colour = condition_colour(conditions, condition)
        ring = np.isfinite(own["degraded_to_snr"].to_numpy(float))
        axes.scatter(
            x + shift, own["snr_median"], s=34, c=["white" if r else colour for r in ring], edgecolors=colour, zorder=3
        )
        if len(own):
            axes.plot([x - 0.3, x + 0.3], [own["snr_median"].median()] * 2, color=INK, lw=1.6, zorder=2)
    axes.axhline(gate, color=MUTED, lw=1.0, ls=(0, (4, 2)))
    axes.set_xticks(range(len(conditions)), list(conditions), fontsize=8.5)
    axes.set_xlim(-0.6, len(conditions) - 0.4)
    axes.set_ylim(0, max(float(known["snr_median"].max()), gate) * 1.12)
    return figure
