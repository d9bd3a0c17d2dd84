"""Figures of an ER movie: what was seen, the network at true coordinates, and how it changes."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colors import Normalize, to_hex, to_rgb
from matplotlib.figure import Figure

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
from cisterna.report.palette import ACCENT, DEGREES, INK, MUTED, NETWORK_CLASSES, RULE, SECOND
from cisterna.report.tallies import degree_totals
from cisterna.report.through_time import flagged, through_time, values_of

SNR_GATE = 5.0


@dataclass(frozen=True)
class FrameView:
    """One frame to show: `raw` and `classes` (class index) are (y, x) on one grid of `pixel_um`."""

    frame: int
    time_s: float
    pixel_um: tuple[float, float]
    raw: np.ndarray
    classes: np.ndarray | None = None

    @property
    def size_um(self) -> tuple[float, float]:
        """(width, height)."""
        return self.raw.shape[1] * self.pixel_um[1], self.raw.shape[0] * self.pixel_um[0]


def class_rgb(classes: np.ndarray, raw: np.ndarray | None = None) -> np.ndarray:
    """RGB of class indices: tubules cyan, sheets yellow, SBT magenta; over the raw picture when it is given."""
    lut = np.array([to_rgb(s.colour) for s in NETWORK_CLASSES])
    colours: np.ndarray = lut[np.minimum(classes.astype(int), len(lut) - 1)]
    if raw is None:
        return colours
    grey = to_grey_rgb(raw)
    return np.where((classes > 0)[..., None], 0.35 * grey + 0.65 * colours, 0.8 * grey)


def edge_segments(edges: pd.DataFrame) -> list[np.ndarray]:
    """Edge paths as (n, 2) arrays of x, y in µm, from the flat y0, x0, y1, x1 … of the table.

    A path of less than two points is left out.
    """
    paths = (np.asarray(path, dtype=float) for path in edges["path_yx_um"])
    return [path.reshape(-1, 2)[:, ::-1] for path in paths if path.size >= 4 and path.size % 2 == 0]


def draw_network(
    axes: Axes, nodes: pd.DataFrame, edges: pd.DataFrame, size_um: tuple[float, float], pixel_um: tuple[float, float]
) -> None:
    """Edges along their true path, nodes coloured by degree, µm axes, equal aspect, y downwards like the picture.

    The tables count from the centre of the first pixel, so the picture begins half a pixel before zero.
    """
    axes.add_collection(LineCollection(edge_segments(edges), colors="#8b96a3", linewidths=0.9, zorder=1))
    area = node_area(len(nodes), size_um)
    degree = nodes["degree"].to_numpy(dtype=int)
    for index, swatch in enumerate(DEGREES):
        chosen = degree == index if index < 4 else degree > 3
        if chosen.any():
            axes.scatter(
                nodes.loc[chosen, "x_um"],
                nodes.loc[chosen, "y_um"],
                s=area,
                c=swatch.colour,
                linewidths=0,
                zorder=3,
                label=f"{swatch.label} ({int(chosen.sum())})",
            )
    dress_field(axes, nodes, edges, size_um, pixel_um)


def node_area(count: int, size_um: tuple[float, float]) -> float:
    """Area of a node's dot in square points: smaller where nodes are crowded."""
    crowd = count / max(size_um[0] * size_um[1], 1e-9)
    return float(np.clip(9 / max(crowd, 0.05) ** 0.5, 3, 22))


def field_size(size_um: tuple[float, float]) -> tuple[float, float]:
    """Size in inches of a figure that shows one field large, with its axes and a legend."""
    width, height = size_um
    return min(11.2, 8.4 * width / height + 0.7), min(10.5 * height / width, 8.4) + 0.9


def dress_field(
    axes: Axes, nodes: pd.DataFrame, edges: pd.DataFrame, size_um: tuple[float, float], pixel_um: tuple[float, float]
) -> None:
    """µm axes over the whole field, equal aspect, y downwards; says so where there is no network."""
    width, height = size_um
    top, left = -pixel_um[0] / 2, -pixel_um[1] / 2
    axes.set_xlim(left, left + width)
    axes.set_ylim(top + height, top)
    axes.set_aspect("equal")
    axes.tick_params(labelsize=8, colors=INK, color=MUTED, length=3)
    for spine in axes.spines.values():
        spine.set_color(RULE)
    axes.set_xlabel("x (µm)", fontsize=8.5, color=INK)
    axes.set_ylabel("y (µm)", fontsize=8.5, color=INK)
    if not len(nodes) and not len(edges):
        axes.text(width / 2, height / 2, "no network in this frame", ha="center", va="center", color=MUTED, fontsize=9)


def frame_figure(view: FrameView, nodes: pd.DataFrame, edges: pd.DataFrame) -> Figure:
    """raw | classes | network of one frame (`nodes` and `edges` of this frame only)."""
    width, height = view.size_um
    panels = 3 if view.classes is not None else 2
    figure, plots = plate_axes(panels, height / width)
    show_image(plots[0], to_grey_rgb(view.raw), (width, height), "raw")
    scale_bar(plots[0], width, height, "µm")
    if view.classes is not None:
        show_image(plots[1], class_rgb(view.classes, view.raw), (width, height), "classes")
        scale_bar(plots[1], width, height, "µm")
    draw_network(plots[-1], nodes, edges, (width, height), view.pixel_um)
    plots[-1].set_xlabel("")
    plots[-1].set_ylabel("")
    plots[-1].set_xticks([])
    plots[-1].set_yticks([])
    scale_bar(plots[-1], width, height, "µm", INK)
    plots[-1].set_title("network", fontsize=9.5, color=INK, loc="left", pad=4)
    return figure


def network_figure(
    nodes: pd.DataFrame, edges: pd.DataFrame, size_um: tuple[float, float], pixel_um: tuple[float, float]
) -> Figure:
    """The network of one frame alone, large, with the legend of degrees."""
    figure = new_figure(*field_size(size_um))
    axes = figure.subplots()
    draw_network(axes, nodes, edges, size_um, pixel_um)
    if len(nodes):
        legend_below(figure, axes, columns=5)
    return figure


TIME_PANELS: tuple[tuple[str, list[tuple[str, str, str]]], ...] = (
    ("Nodes and edges", [("nodes", "nodes", ACCENT), ("edges", "edges", SECOND)]),
    ("Density  2E / N(N−1)", [("density", "density", ACCENT)]),
    (
        "Clustering",
        [("transitivity", "transitivity (global)", ACCENT), ("average_clustering", "average of local", SECOND)],
    ),
    (
        "Assortativity",
        [("degree_assortativity", "degree (Pearson)", ACCENT), ("categorical_assortativity", "categorical", SECOND)],
    ),
    (
        "Assembly: share in the largest component",
        [
            ("largest_component_node_share", "of nodes", ACCENT),
            ("largest_component_edge_share", "of edges", SECOND),
            ("largest_component_node_share_with_sheets", "of nodes, each sheet one node", MUTED),
        ],
    ),
    (
        "Components",
        [("components", "of tubules", ACCENT), ("components_with_sheets", "each sheet one node", MUTED)],
    ),
)


# Counts and shares start at zero: a change of 2 % should not look like a collapse. The other charts keep a zero line.
AXIS_RANGES: dict[str, tuple[float, float | None]] = {
    TIME_PANELS[0][0]: (0, None),
    TIME_PANELS[1][0]: (0, None),
    TIME_PANELS[4][0]: (0, 1.03),
    TIME_PANELS[5][0]: (0, None),
}


def metrics_figure(frames: pd.DataFrame) -> Figure:
    """Six small charts of the network metrics through time, each under its exact name."""
    figure = new_figure(11.0, 5.6)
    for axes, (title, series) in zip(figure.subplots(2, 3).ravel(), TIME_PANELS, strict=True):
        dress(axes, "time (s)", "", title)
        through_time(axes, frames, series)
        bottom, top = AXIS_RANGES.get(title, (None, None))
        if axes.lines and bottom is not None:
            axes.set_ylim(bottom, top if top is not None else max(axes.get_ylim()[1] * 1.06, 1e-9))
        elif axes.lines:
            axes.axhline(0, color=MUTED, lw=0.7, zorder=1)
    return figure


def area_figure(frames: pd.DataFrame) -> Figure:
    """Shares of the ER that are tubule, sheet and sheet-based tubule, stacked to one in each frame."""
    figure = new_figure(5.3, 3.0)
    axes = figure.subplots()
    dress(axes, "time (s)", "share of the ER", "What the ER is made of")
    columns = [
        ("tubule_share", NETWORK_CLASSES[2]),
        ("sheet_share", NETWORK_CLASSES[3]),
        ("sbt_share", NETWORK_CLASSES[1]),
    ]
    shares = [
        pd.to_numeric(frames[name], errors="coerce").to_numpy(dtype=float, na_value=np.nan) for name, _ in columns
    ]
    if not len(frames) or not np.isfinite(shares).any():
        say_empty(axes, "no ER in any frame")
        return figure
    time = frames["time_s"].to_numpy(dtype=float)
    step = float(np.min(np.diff(time))) if len(time) > 1 and (np.diff(time) > 0).all() else 1.0
    base = np.zeros(len(frames))
    for values, (_, swatch) in zip(shares, columns, strict=True):
        height = np.nan_to_num(values)
        axes.bar(time, height, width=step, bottom=base, color=swatch.colour, label=swatch.label, linewidth=0)
        base = base + height
    axes.set_ylim(0, 1)
    legend_below(figure, axes)
    return figure


def degree_figure(frames: pd.DataFrame) -> Figure:
    """Nodes by degree over all frames, in the colours of the network."""
    figure = new_figure(5.3, 3.0)
    axes = figure.subplots()
    dress(axes, "degree", "share of nodes", "Degree distribution")
    totals = degree_totals(frames)
    if not totals["nodes"].sum():
        say_empty(axes, "no nodes in any frame")
        return figure
    colours = [DEGREES[min(i, 4)].colour for i in range(len(totals))]
    bars = axes.bar(totals["degree"], totals["share"], color=colours, width=0.72)
    axes.bar_label(
        bars, labels=[f"{n:,}".replace(",", "\u202f") for n in totals["nodes"]], fontsize=7.5, color=MUTED, padding=2
    )
    axes.margins(y=0.14)
    return figure


def phenotype_figure(frames: pd.DataFrame) -> Figure:
    """Assembly ratio against assortativity (the paper's plot of phenotypes), coloured by time.

    One dot a frame for tubules only, one square with each sheet as one node; hollow where the frame is too noisy.
    """
    figure = new_figure(5.3, 3.4)
    axes = figure.subplots()
    dress(
        axes,
        "share of nodes in the largest component",
        "degree assortativity",
        "Assembly and assortativity",
        grid="both",
    )
    noisy, time = flagged(frames), frames["time_s"].to_numpy(dtype=float)
    reach, drawn = 0.4, None
    colours = ScalarMappable(Normalize(*((time.min(), time.max()) if len(time) else (0, 1))), "viridis")
    for ending, marker, label in (("", "o", "tubules only"), ("_with_sheets", "s", "each sheet one node")):
        share = values_of(frames, f"largest_component_node_share{ending}")
        assortativity = values_of(frames, f"degree_assortativity{ending}")
        known = np.isfinite(share) & np.isfinite(assortativity)
        if not known.any():
            continue
        drawn = colours
        reach = max(reach, float(np.abs(assortativity[known]).max()) * 1.15)
        for chosen, hollow in ((known & ~noisy, False), (known & noisy, True)):
            if not chosen.any():
                continue
            ink = [to_hex(shade) for shade in colours.to_rgba(time[chosen])]
            axes.scatter(
                share[chosen],
                assortativity[chosen],
                c="white" if hollow else ink,
                edgecolors=ink if hollow else "white",
                marker=marker,
                s=26 if marker == "o" else 18,
                linewidths=0.9 if hollow else 0.5,
                zorder=3,
            )
        axes.scatter([], [], marker=marker, c=MUTED, s=20, label=label)
    if drawn is None:
        say_empty(axes, "assortativity is not defined in any frame")
        return figure
    axes.axhline(0, color=MUTED, lw=0.8)
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(-reach, reach)
    axes.legend(fontsize=7.5, frameon=False, loc="best")
    if len(frames) > 1:
        bar = figure.colorbar(drawn, ax=axes, pad=0.02)
        bar.set_label("time (s)", fontsize=8.5)
        bar.ax.tick_params(labelsize=7.5)
    return figure


def snr_figure(frames: pd.DataFrame, gate: float = SNR_GATE) -> Figure:
    """SNR (E[S²]/E[N²]) of each frame; frames below the gate are marked."""
    figure = new_figure(5.3, 3.4)
    axes = figure.subplots()
    dress(axes, "time (s)", "SNR, E[S²] / E[N²]", "Signal to noise")
    snr = pd.to_numeric(frames["snr_power"], errors="coerce").to_numpy(dtype=float, na_value=np.nan)
    time = frames["time_s"].to_numpy(dtype=float)
    known = np.isfinite(snr)
    if not known.any():
        say_empty(axes, "SNR is not applicable to this movie" if len(frames) else "no frames")
        return figure
    below = known & (snr < gate)
    axes.plot(time[known], snr[known], color=RULE, lw=1, zorder=1)
    axes.scatter(time[known & ~below], snr[known & ~below], s=18, c=ACCENT, zorder=3, label="passes")
    if below.any():
        axes.scatter(
            time[below],
            snr[below],
            s=34,
            c="#E02B2B",
            marker="X",
            zorder=4,
            label=f"below {gate:g} ({int(below.sum())})",
        )
    axes.axhline(gate, color=SECOND, lw=1.2)
    axes.text(
        1,
        gate,
        f"gate {gate:g} ",
        transform=axes.get_yaxis_transform(),
        ha="right",
        va="bottom",
        fontsize=8,
        color=SECOND,
    )
    axes.set_ylim(0, max(float(snr[known].max()), gate) * 1.15)
    legend_below(figure, axes)
    return figure
