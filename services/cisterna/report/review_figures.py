"""Figures of the review layer: vesicles counted by eye beside the automatic lower bound (the paper's 3B), lengths."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from cisterna.report.canvas import dress, new_figure, say_empty
from cisterna.report.palette import INK, MUTED, SITE_CLASSES, SITE_COLOURS
from cisterna.review.summary import ClassReview, Summary

CLUSTER_RANGE = (5, 55)
ORDER = {swatch.key: n for n, swatch in enumerate(SITE_CLASSES)}
LABELS = {swatch.key: swatch.label for swatch in SITE_CLASSES}
SPREAD = 0.13


def spread_out(values: np.ndarray, width: float = SPREAD) -> np.ndarray:
    """Sideways places for dots of these heights: equal values stand side by side, the same way each time."""
    offsets = np.zeros(len(values))
    for value in np.unique(values):
        same = np.flatnonzero(values == value)
        step = min(2 * width / max(len(same) - 1, 1), width / 2)
        offsets[same] = (np.arange(len(same)) - (len(same) - 1) / 2) * step
    return offsets


def counts_figure(summary: Summary) -> Figure:
    """Vesicles per site by class: by eye (filled dots, mean ± s.d.) and the automatic lower bound of the same sites
    (open dots), each site joined by a line; the paper's 5–55 shaded (Nair et al. 2025, Fig. 3B)."""
    shown = sorted(
        (c for c in summary.classes if c.counts), key=lambda c: (ORDER.get(c.site_class, len(ORDER)), c.site_class)
    )
    figure = new_figure(max(5.3, 0.8 + 1.5 * len(shown)), 4.3)
    axes = figure.subplots()
    dress(axes, "", "vesicles per site", "Vesicles per site, by eye and automatic")
    if not shown:
        say_empty(axes, "no vesicles were counted at a reviewed site")
        return figure
    for n, c in enumerate(shown):
        _class(axes, n, c)
    low, high = CLUSTER_RANGE
    top = max(max(max(c.counts), max(c.bound)) for c in shown)
    axes.set_ylim(-0.03 * max(top, 6), max(top * 1.08, 6))
    axes.axhspan(low, high, color=INK, alpha=0.05, lw=0, zorder=0)
    axes.text(0.995, 0.99, "shaded: 5–55 (paper) ", transform=axes.transAxes, ha="right", va="top", fontsize=7.5,
              color=MUTED)  # fmt: skip
    axes.set_xlim(-0.6, len(shown) - 0.4)
    axes.set_xticks(
        [n + side for n in range(len(shown)) for side in (-0.2, 0.2)],
        ["by eye", "lower\nbound"] * len(shown),
        fontsize=7.8,
    )
    for n, c in enumerate(shown):
        words = f"{LABELS.get(c.site_class, c.site_class)}\nn = {len(c.counts)}\n{precision_words(c)}"
        axes.text(n, -0.17, words, transform=axes.get_xaxis_transform(), ha="center", va="top", fontsize=8, color=INK)
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    return figure


def precision_words(c: ClassReview) -> str:
    """`confirmed 27 of 30` and its Wilson interval, for under a class of the figure."""
    if not c.confirmed.whole:
        return "class not judged"
    low, high = (f"{100 * v:.0f}" for v in (c.confirmed.low, c.confirmed.high))
    return f"confirmed {c.confirmed.part} of {c.confirmed.whole}\n({low}–{high} %)"


def _class(axes, place: int, c: ClassReview) -> None:  # type: ignore[no-untyped-def]
    colour = SITE_COLOURS.get(c.site_class, MUTED)
    counts, bound = np.array(c.counts, float), np.array(c.bound, float)
    left, right = place - 0.2 + spread_out(counts), place + 0.2 + spread_out(bound)
    for a, b, p, q in zip(left, right, counts, bound, strict=True):
        axes.plot([a, b], [p, q], color=MUTED, lw=0.5, alpha=0.35, zorder=1)
    axes.scatter(left, counts, s=17, color=colour, edgecolors="white", linewidths=0.4, zorder=3)
    axes.scatter(right, bound, s=17, facecolors="white", edgecolors=colour, linewidths=1.0, zorder=3)
    if len(counts) > 1:
        axes.errorbar(place - 0.2, c.mean, c.spread, fmt="_", color=INK, ms=17, mew=1.6, lw=1.2, capsize=4, zorder=4)
        axes.plot([place + 0.11, place + 0.29], [c.mean_bound] * 2, color=INK, lw=1.6, zorder=4)


def lengths_figure(lengths: pd.DataFrame) -> Figure:
    """Lengths by two clicks, one row of dots a site class, with the mean; `lengths` has length_nm and site_class."""
    figure = new_figure(5.3, 4.3)
    axes = figure.subplots()
    dress(axes, "length (nm)", "", "Lengths by two clicks", grid="x")
    if not len(lengths):
        say_empty(axes, "no lengths were measured")
        return figure
    classes = [s for s in SITE_CLASSES if (lengths["site_class"] == s.key).any()]
    for n, swatch in enumerate(reversed(classes)):
        own = lengths.loc[lengths["site_class"] == swatch.key, "length_nm"].to_numpy(float)
        axes.scatter(own, n + spread_out(np.round(own), 0.25), s=17, color=swatch.colour, edgecolors="white", lw=0.4)
        axes.plot([own.mean()] * 2, [n - 0.32, n + 0.32], color=INK, lw=1.6)
    axes.set_yticks(range(len(classes)), [s.label for s in reversed(classes)], fontsize=8.5)
    axes.set_ylim(-0.6, len(classes) - 0.4)
    axes.set_xlim(left=0)
    return figure
