"""Figures of a network traced in three dimensions: sections, depth, and the view from the side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from cisterna.report.canvas import new_figure, plate_axes, scale_bar, show_image
from cisterna.report.movie_figures import FrameView, class_rgb, dress_field, field_size, node_area
from cisterna.report.palette import INK, MUTED

SHOWN_SECTIONS = 6
BEFORE = (2, 3, 1)
"""Classes in the order in which they show through a stack: tubule, sheet, SBT."""


@dataclass(frozen=True)
class StackView:
    """One time point: `flat` seen along z, and some `sections` as (number, z in µm, raw (y, x), classes (y, x))."""

    frame: int
    time_s: float
    depth_um: float
    flat: FrameView
    sections: Sequence[tuple[int, float, np.ndarray, np.ndarray]]


def seen_along_z(classes: np.ndarray) -> np.ndarray:
    """Class maps (z, y, x) as one picture (y, x): tubule where any section has it, else sheet, else SBT."""
    found = np.zeros(classes.shape[1:], np.uint8)
    for value in reversed(BEFORE):
        found[(classes == value).any(axis=0)] = value
    return found


def flat_paths(edges: pd.DataFrame) -> pd.DataFrame:
    """The edges with `path_yx_um`, their curves seen along z."""
    paths = [np.asarray(p, np.float32).reshape(-1, 3)[:, 1:].ravel() for p in edges["path_zyx_um"]]
    return edges.assign(path_yx_um=pd.Series(paths, index=edges.index, dtype=object))


def sections_figure(view: StackView) -> Figure:
    """Classes over raw, section by section."""
    width, height = view.flat.size_um
    figure, plots = plate_axes(len(view.sections), height / width)
    for axes, (index, z_um, raw, classes) in zip(plots, view.sections, strict=True):
        show_image(axes, class_rgb(classes, raw), (width, height), f"section {index}, z {z_um:.3g} µm")
        scale_bar(axes, width, height, "µm")
    return figure


def depth_figure(view: StackView, nodes: pd.DataFrame, edges: pd.DataFrame) -> Figure:
    """The network seen along z, every tubule in the colour of its mean depth."""
    size, pixel = view.flat.size_um, view.flat.pixel_um
    figure = new_figure(*field_size(size))
    axes = figure.subplots()
    lines = [np.asarray(p, float).reshape(-1, 3) for p in edges["path_zyx_um"]]
    shade = Normalize(0, max(view.depth_um, 1e-9))
    drawn = LineCollection([line[:, :0:-1] for line in lines], cmap="viridis", norm=shade, linewidths=1.3, zorder=2)
    drawn.set_array(np.array([line[:, 0].mean() for line in lines]))
    axes.add_collection(drawn)
    axes.scatter(
        nodes["x_um"], nodes["y_um"], c=nodes["z_um"], cmap="viridis", norm=shade, zorder=3, linewidths=0,
        s=node_area(len(nodes), size),
    )  # fmt: skip
    dress_field(axes, nodes, edges, size, pixel)
    bar = figure.colorbar(ScalarMappable(shade, "viridis"), ax=axes, fraction=0.035, pad=0.02)
    bar.set_label("z (µm)", fontsize=8.5, color=INK)
    bar.ax.tick_params(labelsize=8, colors=INK, color=MUTED)
    return figure


def side_figure(view: StackView, nodes: pd.DataFrame, edges: pd.DataFrame) -> Figure:
    """The network from the side, x to the right and z downwards, at one scale."""
    width = view.flat.size_um[0]
    figure = new_figure(11.0, max(1.6, min(6.0, 11.0 * view.depth_um / width + 1.0)))
    axes = figure.subplots()
    lines = [np.asarray(p, float).reshape(-1, 3)[:, [2, 0]] for p in edges["path_zyx_um"]]
    axes.add_collection(LineCollection(lines, colors="#8b96a3", linewidths=0.9, zorder=1))
    axes.scatter(
        nodes["x_um"], nodes["z_um"], s=node_area(len(nodes), view.flat.size_um), c=INK, linewidths=0, zorder=2
    )
    axes.set_xlim(0, width)
    axes.set_ylim(view.depth_um, 0)
    axes.set_aspect("equal")
    axes.tick_params(labelsize=8, colors=INK, color=MUTED, length=3)
    axes.set_xlabel("x (µm)", fontsize=8.5, color=INK)
    axes.set_ylabel("z (µm)", fontsize=8.5, color=INK)
    return figure
