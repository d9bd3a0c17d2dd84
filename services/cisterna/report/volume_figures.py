"""Figures of a FIB-SEM run: slices with overlays, where the sites are, how large, how near the ER."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from cisterna.report.canvas import (
    dress,
    legend_below,
    new_figure,
    plate_axes,
    say_empty,
    scale_bar,
    show_image,
    to_grey_rgb,
)
from cisterna.report.palette import CCV, ER_OUTLINE, INK, MUTED, SECOND, SITE_CLASSES, SITE_COLOURS, TUBULAR_CLASSES
from cisterna.report.tallies import finite

NEAR_ER_NM = 120.0
CLUSTER_RANGE = (5, 55)
VESICLE_SITES = ("vesicular_standalone", "vesicular_mixed")


@dataclass(frozen=True)
class Plane:
    """One slice through the volume; every layer is (rows, columns) on the grid of `raw`.

    `name` says which axes are drawn (rows then columns: `yx`, `zx`, `zy`), `position_nm` where the third axis is cut,
    `pixel_nm` the (row, column) size of a pixel of these
    layers. `er` is a mask; `labels` maps the class to an object-id image.
    """

    name: str
    position_nm: float
    pixel_nm: tuple[float, float]
    raw: np.ndarray
    denoised: np.ndarray | None = None
    er: np.ndarray | None = None
    labels: Mapping[str, np.ndarray] | None = None

    @property
    def size_nm(self) -> tuple[float, float]:
        """(width, height)."""
        return self.raw.shape[1] * self.pixel_nm[1], self.raw.shape[0] * self.pixel_nm[0]


def inner_edge(mask: np.ndarray) -> np.ndarray:
    """Pixels of the mask with a 4-neighbour outside it; the picture's border is no edge."""
    mask = np.asarray(mask, dtype=bool)
    padded = np.pad(mask, 1, mode="edge")
    surrounded = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    edge: np.ndarray = mask & ~surrounded
    return edge


def object_colours(objects: pd.DataFrame, sites: pd.DataFrame, class_name: str, ids: int) -> np.ndarray:
    """RGB of every object id 0…ids of a class: the colour of its site's class, light grey without a site."""
    colours = np.tile(np.array(to_rgb(CCV.colour if class_name == "ccv" else "#D5DAE0")), (ids + 1, 1))
    if not len(objects) or not len(sites):
        return colours
    own = objects.loc[objects["class"] == class_name, ["object_id", "site_id"]]
    named = own.merge(sites[["site_id", "site_class"]], on="site_id", how="inner")
    for object_id, site_class in zip(named["object_id"], named["site_class"], strict=True):
        if 0 < object_id <= ids and site_class in SITE_COLOURS:
            colours[int(object_id)] = to_rgb(SITE_COLOURS[site_class])
    return colours


def overlay(plane: Plane, objects: pd.DataFrame, sites: pd.DataFrame) -> np.ndarray:
    """RGB of the slice: ER outlined, objects filled at 60 % and edged in the colour of their site's class."""
    rgb = to_grey_rgb(plane.raw)
    if plane.er is not None:
        rgb[inner_edge(plane.er)] = to_rgb(ER_OUTLINE.colour)
    for class_name, labels in (plane.labels or {}).items():
        present = labels > 0
        if not present.any():
            continue
        colours = object_colours(objects, sites, class_name, int(labels.max()))[labels]
        rgb[present] = 0.4 * rgb[present] + 0.6 * colours[present]
        edge = inner_edge(present)
        rgb[edge] = colours[edge]
    return rgb


def plane_figure(plane: Plane, objects: pd.DataFrame, sites: pd.DataFrame) -> Figure:
    """raw | denoised | overlay of one slice, each with the same scale bar; without denoised data, two panels."""
    panels = [("raw", to_grey_rgb(plane.raw))]
    if plane.denoised is not None:
        panels.append(("denoised", to_grey_rgb(plane.denoised)))
    panels.append(("raw + what was found", overlay(plane, objects, sites)))
    width, height = plane.size_nm
    figure, plots = plate_axes(len(panels), height / width)
    for axes, (title, rgb) in zip(plots, panels, strict=True):
        show_image(axes, rgb, (width, height), title)
        scale_bar(axes, width, height, "nm")
    return figure


def projection_figure(
    sites: pd.DataFrame, size_nm: tuple[float, float, float], er_projection: np.ndarray | None
) -> Figure:
    """z-projection of the site centroids in µm, coloured by class, on the share of ER along z (rows y, columns x)."""
    height, width = size_nm[1] / 1000, size_nm[2] / 1000
    figure = new_figure(6.2, min(max(6.2 * height / width, 2.2), 9.0))
    axes = figure.subplots()
    if er_projection is not None and er_projection.size:
        axes.imshow(
            er_projection,
            extent=(0, width, height, 0),
            cmap="Greys",
            vmin=0,
            vmax=max(float(er_projection.max()) * 2.2, 1e-6),
            interpolation="bilinear",
            aspect="equal",
            zorder=0,
        )
    for swatch in SITE_CLASSES:
        rows = sites[sites["site_class"] == swatch.key]
        if not len(rows):
            continue
        area = 14 + 5 * np.sqrt(rows["objects"].to_numpy(dtype=float).clip(1))
        marker = "D" if swatch.key in TUBULAR_CLASSES else "o"
        axes.scatter(
            rows["centroid_x_nm"] / 1000,
            rows["centroid_y_nm"] / 1000,
            s=area,
            c=swatch.colour,
            marker=marker,
            edgecolors="white",
            linewidths=0.6,
            label=f"{swatch.label} ({len(rows)})",
            zorder=3,
        )
    dress(axes, "x (µm)", "y (µm)", grid=None)
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)
    axes.set_aspect("equal")
    for spine in axes.spines.values():
        spine.set_visible(True)
        spine.set_color(MUTED)
    if len(sites):
        legend_below(figure, axes, columns=3)
    else:
        axes.text(width / 2, height / 2, "no sites", ha="center", va="center", color=MUTED)
    return figure


def cluster_figure(sites: pd.DataFrame) -> Figure:
    """Vesicles per cluster of the stand-alone and mixed vesicular sites; the paper's 5–55 shaded."""
    figure = new_figure(5.3, 3.3)
    axes = figure.subplots()
    dress(axes, "vesicles within one region (≤ 400 nm)", "vesicular sites", "Vesicles per cluster")
    rows = sites[sites["site_class"].isin(VESICLE_SITES)]
    if not len(rows):
        say_empty(axes, "no vesicular exit sites")
        return figure
    largest = int(max(rows["cluster_size"].max(), 1))
    step = max(1, -(-largest // 30))
    bins = np.arange(0.5, largest + step + 0.5, step)
    stacked_histogram(axes, rows, "cluster_size", bins, VESICLE_SITES)
    axes.axvspan(CLUSTER_RANGE[0] - 0.5, CLUSTER_RANGE[1] + 0.5, color=INK, alpha=0.06, lw=0, zorder=0)
    axes.set_xlim(0, max(largest + 1.5, 6.5))
    axes.text(
        CLUSTER_RANGE[0],
        0.98,
        " 5–55 (paper)",
        transform=axes.get_xaxis_transform(),
        va="top",
        fontsize=7.5,
        color=MUTED,
    )
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    legend_below(figure, axes)
    return figure


def stacked_histogram(axes: Axes, rows: pd.DataFrame, column: str, bins: np.ndarray, classes: tuple[str, ...]) -> None:
    """Stacked bars by site class; classes without rows get no legend entry."""
    shown = [swatch for swatch in SITE_CLASSES if swatch.key in classes and (rows["site_class"] == swatch.key).any()]
    axes.hist(
        [rows.loc[rows["site_class"] == s.key, column].to_numpy(dtype=float) for s in shown],
        bins=bins.tolist(),
        stacked=True,
        color=[s.colour for s in shown],
        label=[s.label for s in shown],
        edgecolor="white",
        linewidth=0.5,
    )
    axes.set_ylim(0, max(axes.get_ylim()[1], 1) * 1.12)  # room for the words over the bars


def vesicles_with_class(objects: pd.DataFrame, sites: pd.DataFrame) -> pd.DataFrame:
    """Vesicle objects (class `copi`) with the class of the site they belong to."""
    vesicles = objects[objects["class"] == "copi"]
    return vesicles.merge(sites[["site_id", "site_class"]], on="site_id", how="inner")


def diameter_figure(objects: pd.DataFrame, sites: pd.DataFrame) -> Figure:
    """Equal-volume diameters of the vesicle masks by class, with the median of each class."""
    figure = new_figure(5.3, 3.3)
    axes = figure.subplots()
    dress(axes, "equal-volume diameter of the mask (nm)", "vesicles", "Vesicle diameters")
    rows = vesicles_with_class(objects, sites)
    rows = rows[np.isfinite(rows["diameter_mask_nm"].astype(float))]
    if not len(rows):
        say_empty(axes, "no vesicles")
        return figure
    low, high = (float(v) for v in np.percentile(rows["diameter_mask_nm"], (0, 99.5)))
    bins = np.linspace(max(low - 5, 0), high + 5, 26)
    stacked_histogram(axes, rows, "diameter_mask_nm", bins, tuple(s.key for s in SITE_CLASSES))
    axes.axvline(float(rows["diameter_mask_nm"].median()), color=INK, lw=1, ls=(0, (4, 2)))
    axes.text(
        float(rows["diameter_mask_nm"].median()),
        0.98,
        f" median {rows['diameter_mask_nm'].median():.1f} nm",
        transform=axes.get_xaxis_transform(),
        va="top",
        fontsize=8,
        color=INK,
    )
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    legend_below(figure, axes)
    return figure


def distance_figure(objects: pd.DataFrame, sites: pd.DataFrame, near_er_nm: float = NEAR_ER_NM) -> Figure:
    """Vesicle-to-ER surface distances, with the limit of `near ER`; those beyond the search radius stand in words."""
    figure = new_figure(5.3, 3.3)
    axes = figure.subplots()
    dress(axes, "surface distance to the ER (nm)", "vesicles", "Vesicle to ER")
    rows = vesicles_with_class(objects, sites)
    distances = finite(rows["er_distance_nm"])
    beyond = len(rows) - distances.size
    if not distances.size:
        say_empty(
            axes, f"none of {len(rows)} vesicles has the ER within the search radius" if len(rows) else "no vesicles"
        )
        return figure
    bins = np.linspace(0, max(float(distances.max()), near_er_nm * 1.25), 30)
    finite_rows = rows[np.isfinite(rows["er_distance_nm"].astype(float))]
    stacked_histogram(axes, finite_rows, "er_distance_nm", bins, tuple(s.key for s in SITE_CLASSES))
    axes.axvline(near_er_nm, color=SECOND, lw=1.4)
    axes.text(
        near_er_nm,
        0.98,
        f" {near_er_nm:g} nm",
        transform=axes.get_xaxis_transform(),
        va="top",
        fontsize=8,
        color=SECOND,
    )
    if beyond:
        axes.text(
            0.99,
            0.5,
            f"{beyond} beyond the search radius",
            transform=axes.transAxes,
            ha="right",
            fontsize=8,
            color=MUTED,
        )
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    legend_below(figure, axes)
    return figure
