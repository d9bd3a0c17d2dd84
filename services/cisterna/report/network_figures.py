"""Figures of what a network is made of: sizes, ends, and its multi-way share beside networks that have none."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from cisterna.report.canvas import dress, legend_below, new_figure, say_empty
from cisterna.report.palette import ACCENT, MUTED, NETWORK_CLASSES, SECOND
from cisterna.report.through_time import through_time, values_of

ENDS = (
    ("growth_tips", "growth tips", "#1FA84A"),
    ("sheet_contacts", "in a sheet", NETWORK_CLASSES[3].colour),
    ("sbt_contacts", "in SBT", NETWORK_CLASSES[1].colour),
    ("border_ends", "at the frame's border", "#9AA1AB"),
)


def sizes_figure(frames: pd.DataFrame) -> Figure:
    """Lengths and widths of tubules and areas of meshes through time: mean and median."""
    figure = new_figure(11.0, 2.9)
    for axes, (title, unit, name) in zip(
        figure.subplots(1, 3),
        (
            ("Length of a tubule", "µm", "length_um"),
            ("Width of a tubule", "µm", "width_um"),
            ("Area of a mesh", "µm²", "mesh_area_um2"),
        ),
        strict=True,
    ):
        dress(axes, "time (s)", unit, title)
        through_time(axes, frames, [(f"mean_{name}", "mean", ACCENT), (f"median_{name}", "median", SECOND)])
        if axes.lines:
            axes.set_ylim(0, axes.get_ylim()[1] * 1.06)
    return figure


def ends_figure(frames: pd.DataFrame) -> Figure:
    """Where tubules end, stacked over time: only ends in the open can be growing tips."""
    figure = new_figure(5.3, 3.0)
    axes = figure.subplots()
    dress(axes, "time (s)", "ends", "Where tubules end")
    counts = [values_of(frames, name) for name, _, _ in ENDS]
    if not len(frames) or not np.nansum(counts):
        say_empty(axes, "no tubule ends in any frame")
        return figure
    time = frames["time_s"].to_numpy(dtype=float)
    step = float(np.min(np.diff(time))) if len(time) > 1 and (np.diff(time) > 0).all() else 1.0
    base = np.zeros(len(frames))
    for values, (_, label, colour) in zip(counts, ENDS, strict=True):
        axes.bar(time, np.nan_to_num(values), width=step, bottom=base, color=colour, label=label, linewidth=0)
        base = base + np.nan_to_num(values)
    legend_below(figure, axes)
    return figure


def multi_way_figure(multi_way: pd.DataFrame) -> Figure:
    """Share of multi-way junctions against the merge radius: this movie, and pure three-way networks like it."""
    figure = new_figure(5.3, 3.0)
    axes = figure.subplots()
    dress(axes, "merge radius (px)", "multi-way share", "Multi-way junctions, and none", grid="both")
    known = multi_way[np.isfinite(values_of(multi_way, "multi_way_share"))]
    if not len(known):
        say_empty(axes, "no junctions in any frame")
        return figure
    each = known.groupby("merge_radius_px")
    radius = np.array(sorted(each.groups))
    share = each["multi_way_share"]
    axes.fill_between(radius, share.quantile(0.1), share.quantile(0.9), color=ACCENT, alpha=0.16, linewidth=0)
    axes.plot(radius, share.median(), color=ACCENT, lw=1.7, marker="o", ms=3.5, label="this movie")
    for column, label, style in (
        ("traced_null_share", "three-way network, drawn and traced", "--"),
        ("null_share", "three-way network, merged", ":"),
    ):
        null = each[column].median().to_numpy(dtype=float)
        if np.isfinite(null).any():
            axes.plot(radius, null, color=MUTED, lw=1.3, ls=style, label=label)
    axes.set_ylim(0, None)
    axes.set_xlim(0, None)
    legend_below(figure, axes, columns=3)
    return figure
