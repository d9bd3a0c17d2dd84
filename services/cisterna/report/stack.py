"""The report of a z-stack of which every section was segmented and the network traced in three dimensions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from cisterna.report import movie_figures as figures
from cisterna.report.canvas import PLATE_DPI, picture
from cisterna.report.document import RunDocument
from cisterna.report.network_figures import ends_figure
from cisterna.report.page import Grid, Page, Section, Tile, number, provenance, render_page, run_warnings
from cisterna.report.palette import DEGREES, NETWORK_CLASSES
from cisterna.report.stack_figures import StackView, depth_figure, flat_paths, sections_figure, side_figure
from cisterna.report.tallies import degree_totals, finite, median_and_spread
from cisterna.report.through_time import BAND_WORDS, HOLLOW_WORDS

FIGURES = (
    "nodes", "edges", "junctions", "multi_way_share", "density", "transitivity", "average_clustering",
    "degree_assortativity", "categorical_assortativity", "components", "largest_component_node_share",
    "largest_component_edge_share", "total_length_um", "mean_length_um", "median_length_um", "mean_width_um",
    "median_width_um", "growth_tips", "border_ends", "sheet_contacts", "sbt_contacts", "junctions_per_um3",
    "length_um_per_um3", "tubule_share", "sheet_share", "sbt_share", "er_share_of_volume", "mean_confidence",
)  # fmt: skip
FIRST_FRAMES = 30


@dataclass(frozen=True)
class StackReportData:
    """What the report of a z-stack shows. `shape` is (t, z, y, x), `voxel_size_um` (z, y, x)."""

    run: RunDocument
    shape: tuple[int, int, int, int]
    voxel_size_um: tuple[float, float, float]
    frame_interval_s: float
    frames: pd.DataFrame
    nodes: pd.DataFrame
    edges: pd.DataFrame
    views: Sequence[StackView] = ()


def render_stack_report(data: StackReportData) -> str:
    """The report as one self-contained HTML document."""
    count, sections = data.shape[:2]
    lead = f"{number(count)} time points, one every {data.frame_interval_s:g} s" if count > 1 else "One time point"
    nm = " × ".join(f"{1000 * v:g}" for v in data.voxel_size_um)
    size = " × ".join(f"{n * v:.3g}" for n, v in zip(data.shape[1:], data.voxel_size_um, strict=True))
    page = Page(
        title="ER network in 3-D",
        subject="ER z-stack",
        run=data.run,
        lead=f"{lead}, {sections} z sections each: every section segmented as a frame, the network traced through all.",
        warnings=run_warnings(data.run),
        sections=[_summary(data), *_views(data), _metrics(data), _table(data), _limits(), provenance(data.run)],
        facts=[
            ("acquisition", data.run.acquisition),
            ("run", data.run.run_id),
            ("volume", f"{size} µm (z × y × x)"),
            ("voxel size", f"{nm} nm (z × y × x)"),
            ("finished", data.run.finished or "–"),
        ],
    )
    return render_page(page)


def _mean(frames: pd.DataFrame, column: str) -> float:
    values = finite(frames[column])
    return float(values.mean()) if values.size else float("nan")


def _summary(data: StackReportData) -> Section:
    frames = data.frames
    if not len(frames):
        return Section("The network", text=["No time point was measured."])
    tiles = [
        Tile(_mean(frames, column), words)
        for column, words in (
            ("nodes", "nodes a time point"),
            ("junctions", "junctions a time point"),
            ("edges", "edges a time point"),
            ("total_length_um", "µm of tubule a time point"),
            ("components", "components a time point"),
            ("largest_component_node_share", "of nodes in the largest component"),
        )
    ]
    text = "Means over all time points." if len(frames) > 1 else "One time point."
    return Section("The network", text=[text], tiles=tiles)


def _views(data: StackReportData) -> list[Section]:
    if not data.views:
        return []
    pictures = []
    for view in data.views:
        nodes, edges = (t[t["frame"] == view.frame] for t in (data.nodes, data.edges))
        words = (
            f"Time point {view.frame} at {view.time_s:g} s, seen along z: the brightest section of each pixel, its "
            f"class (tubule before sheet before SBT), and the 3-D network; {len(nodes)} nodes, {len(edges)} edges. "
            "Tubules that cross here need not meet."
        )
        pictures.append(picture(figures.frame_figure(view.flat, nodes, flat_paths(edges)), words, words, PLATE_DPI))
    first = data.views[0]
    nodes, edges = (t[t["frame"] == first.frame] for t in (data.nodes, data.edges))
    words = f"Classes of {len(first.sections)} of {data.shape[1]} sections of time point {first.frame}."
    sections = picture(sections_figure(first), words, words, PLATE_DPI)
    words = f"Network of time point {first.frame} at true coordinates, tubules coloured by their depth."
    depth = picture(depth_figure(first, nodes, edges), words, words, PLATE_DPI)
    words = "The same network from the side: x to the right, z downwards, to scale."
    side = picture(side_figure(first, nodes, edges), words, words, PLATE_DPI)
    return [
        Section("Time points", pictures=[*pictures, sections], keys=[*NETWORK_CLASSES[:0:-1], *DEGREES[1:]]),
        Section("The network at true coordinates", pictures=[depth, side]),
    ]


def _metrics(data: StackReportData) -> Section:
    frames = data.frames
    rows = []
    for name in FIGURES:
        n, median, mean, spread = median_and_spread(frames[name])
        bounds = [
            median_and_spread(frames[f"{name}_{end}"])[2] if f"{name}_{end}" in frames else float("nan")
            for end in ("low", "high")
        ]
        rows.append((name, n, mean, spread, median, *bounds))
    degrees = [(str(d), int(n), float(s)) for d, n, s in degree_totals(frames).to_numpy().tolist()]
    snr = finite(frames["snr_power"])
    known = (
        f"Median SNR of the sections: {number(float(np.median(snr)))}." if snr.size else "No section's SNR is known."
    )
    return Section(
        "Figures of the 3-D network",
        text=[known],
        pictures=[
            picture(
                figures.metrics_figure(frames),
                f"Through time, {len(frames)} time points: counts, density, clustering, assortativity, assembly.",
                f"{BAND_WORDS} {HOLLOW_WORDS}",
            )
        ],
        pairs=[
            picture(figures.degree_figure(frames), "Nodes by degree.", "Nodes of all time points."),
            picture(figures.area_figure(frames), "Shares of the ER.", "Shares of the ER voxels, not of the cell."),
            picture(ends_figure(frames), "Where tubules end.", "Only ends in the open can be growing tips."),
        ],
        grids=[
            Grid(
                "Figures over the time points in which they are defined",
                ("figure", "time points", "mean", "s.d.", "median", "low", "high"),
                rows,
                "low, high: mean ends of the central 95 % over networks whose tubules are there only as surely as the "
                "segmentation says.",
                wide=True,
            ),
            Grid("Nodes by degree", ("degree", "nodes, all time points", "share"), degrees),
        ],
    )


def _table(data: StackReportData) -> Section:
    columns = (
        "nodes",
        "junctions",
        "edges",
        "components",
        "total_length_um",
        "tubule_share",
        "sheet_share",
        "sbt_share",
    )
    rows = [
        (
            int(r["frame"]),
            float(r["time_s"]),
            float(r["snr_power"]),
            str(r["snr_flag"]),
            *(float(r[c]) for c in columns),
        )
        for r in data.frames.head(FIRST_FRAMES).to_dict("records")
    ]
    header = (
        "time point",
        "s",
        "SNR",
        "flag",
        "nodes",
        "junctions",
        "edges",
        "components",
        "µm",
        "tubule",
        "sheet",
        "SBT",
    )
    title = f"The first {len(rows)} of {len(data.frames)} time points"
    note = "The whole tables are stack_frames, stack_nodes (z_um, y_um, x_um) and stack_edges in tables/."
    return Section("Time point by time point", grids=[Grid(title, header, rows, note, wide=True)])


def _limits() -> Section:
    points = [
        "Sections are segmented one by one, as flat frames: a tubule that runs along z is a dot in each of them, and "
        "the microscope's blur along z shows a tubule in several sections.",
        "Along z nothing is finer than the distance of the sections: widths, and the places of junctions in z, are as "
        "coarse. Networks with tubules closer along z than the microscope resolves are not told apart; the paper "
        "advises caution with highly three-dimensional networks.",
        "Each section is stretched to its own 1st to 99th percentile, as published for frames: a section without ER "
        "shows its noise to the network model.",
        "Lifetimes, tips through time, figures per cell, meshes, sheets as nodes and the static floor are measures of "
        "flat frames and are not made here.",
        "One cell is n = 1: time points of one stack are not independent.",
    ]
    return Section("Limits", points=points)
