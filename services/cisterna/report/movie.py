"""The report of an ER movie: the network and how it changes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from cisterna.report import movie_figures as figures
from cisterna.report.canvas import PLATE_DPI, picture
from cisterna.report.cells import cell_sections
from cisterna.report.connectivity import component_figure
from cisterna.report.document import RunDocument
from cisterna.report.dynamics import DynamicsTables, dynamics_sections
from cisterna.report.network_figures import ends_figure, multi_way_figure, sizes_figure
from cisterna.report.page import (
    Clip,
    Grid,
    Page,
    Section,
    Tile,
    number,
    provenance,
    render_page,
    run_warnings,
)
from cisterna.report.palette import DEGREES, NETWORK_CLASSES
from cisterna.report.tallies import degree_totals, finite, median_and_spread
from cisterna.report.through_time import BAND_WORDS, HOLLOW_WORDS
from cisterna.report.trust import trust_section, trust_warnings
from cisterna.tables.networks import CELLS, FLOOR_FRAMES, GRAPH_FIGURES, MULTI_WAY

FIRST_FRAMES = 30
FRAME_FIGURES = (
    "transitivity",
    "degree_assortativity",
    "largest_component_node_share",
    "total_length_um",
    "tubule_share",
    "sheet_share",
    "sbt_share",
)


@dataclass(frozen=True)
class MovieReportData:
    """What a movie report shows: tables of the whole movie, and a few frames as pictures. Lengths are µm, times s."""

    run: RunDocument
    shape: tuple[int, int, int]
    pixel_size_um: tuple[float, float]
    frame_interval_s: float
    frames: pd.DataFrame
    nodes: pd.DataFrame
    edges: pd.DataFrame
    junctions: pd.DataFrame
    dynamics: DynamicsTables = field(default_factory=DynamicsTables)
    views: Sequence[figures.FrameView] = ()
    snr_gate: float = figures.SNR_GATE
    facts: Mapping[str, str] = field(default_factory=dict)
    first_frames: int = FIRST_FRAMES
    film: Clip | None = None
    cells: pd.DataFrame = field(default_factory=CELLS.frame)
    multi_way: pd.DataFrame = field(default_factory=MULTI_WAY.frame)
    floor_frames: pd.DataFrame = field(default_factory=FLOOR_FRAMES.frame)


def render_movie_report(data: MovieReportData) -> str:
    """The report as one self-contained HTML document."""
    sections = [
        _summary(data),
        *_views(data),
        _metrics(data),
        _composition(data),
        *trust_section(data.run, data.frames, data.floor_frames, data.snr_gate),
        *cell_sections(data.cells),
        *dynamics_sections(data.junctions, data.dynamics),
        _table(data),
        _limits(data),
    ]
    pixel = " × ".join(f"{1000 * p:g}" for p in data.pixel_size_um) + " nm"
    size = " × ".join(f"{n * p:.3g}" for n, p in zip(data.shape[1:], data.pixel_size_um, strict=True)) + " µm (y × x)"
    count = data.shape[0]
    lead = "One frame." if count == 1 else f"{number(count)} frames, one every {data.frame_interval_s:g} s."
    page = Page(
        title="ER network",
        subject="ER movie",
        run=data.run,
        lead=lead,
        warnings=[
            *run_warnings(data.run),
            *_snr_warning(data),
            *trust_warnings(data.run, data.frames, data.pixel_size_um),
        ],
        sections=[*sections, provenance(data.run)],
        facts=[
            ("acquisition", data.run.acquisition),
            ("run", data.run.run_id),
            ("field", size),
            ("pixel size", pixel),
            *data.facts.items(),
            ("finished", data.run.finished or "–"),
        ],
    )
    return render_page(page)


def _snr_warning(data: MovieReportData) -> list[str]:
    snr = finite(data.frames["snr_power"])
    below = int((snr < data.snr_gate).sum())
    if not below:
        return []
    return [
        f"{below} of {len(data.frames)} frames have an SNR below {data.snr_gate:g}, "
        "where nodes and edges are no longer within 10 % of the truth: read their figures with care."
    ]


def _summary(data: MovieReportData) -> Section:
    frames = data.frames
    if not len(frames):
        return Section("The network", text=["No frame was measured."])
    mean = {
        c: _mean(frames, c) for c in ("nodes", "edges", "total_length_um", "largest_component_node_share", "components")
    }
    tiles = [
        Tile(mean["nodes"], "nodes a frame"),
        Tile(mean["edges"], "edges a frame"),
        Tile(mean["total_length_um"], "µm of tubule a frame"),
        Tile(mean["components"], "components a frame"),
        Tile(mean["largest_component_node_share"], "of nodes in the largest component"),
        Tile(len(data.junctions), "junctions followed"),
    ]
    return Section("The network", text=["Means over all frames." if len(frames) > 1 else "One frame."], tiles=tiles)


def _mean(frames: pd.DataFrame, column: str) -> float:
    values = finite(frames[column])
    return float(values.mean()) if values.size else float("nan")


def _of_frame(table: pd.DataFrame, frame: int) -> pd.DataFrame:
    return table[table["frame"] == frame]


def _views(data: MovieReportData) -> list[Section]:
    if not data.views:
        return []
    pictures = []
    first = data.views[0]
    nodes, edges = _of_frame(data.nodes, first.frame), _of_frame(data.edges, first.frame)
    for view in data.views:
        own_nodes, own_edges = _of_frame(data.nodes, view.frame), _of_frame(data.edges, view.frame)
        panels = "raw, classes and network" if view.classes is not None else "raw and network"
        words = f"Frame {view.frame} at {view.time_s:g} s: {panels}; {len(own_nodes)} nodes, {len(own_edges)} edges."
        pictures.append(picture(figures.frame_figure(view, own_nodes, own_edges), words, words, PLATE_DPI))
    large = picture(
        figures.network_figure(nodes, edges, first.size_um, first.pixel_um),
        f"Network of frame {first.frame} at true coordinates: {len(nodes)} nodes coloured by degree, {len(edges)} "
        f"edges.",
        f"Frame {first.frame} at true coordinates, edges along their traced path, nodes by degree.",
        PLATE_DPI,
    )
    parts = nodes["component"].nunique()
    component = picture(
        component_figure(nodes, edges, first.size_um, first.pixel_um),
        f"Network of frame {first.frame} at true coordinates, coloured by connected component: {parts} components.",
        f"The same network by connected component ({parts}), the largest blue.",
        PLATE_DPI,
    )
    return [
        Section(
            "Frames",
            clips=[data.film] if data.film else [],
            pictures=pictures,
            keys=[*NETWORK_CLASSES[:0:-1], *DEGREES[1:]],
        ),
        Section("The network at true coordinates", pictures=[large, component]),
    ]


def _metrics(data: MovieReportData) -> Section:
    frames = data.frames
    names = (
        *GRAPH_FIGURES,
        "multi_way_share",
        "total_length_um",
        "mean_length_um",
        "median_length_um",
        "mean_width_um",
        "median_width_um",
        "meshes",
        "mean_mesh_area_um2",
        "median_mesh_area_um2",
        "growth_tips",
        "sheet_contacts",
        "sbt_contacts",
        "border_ends",
    )
    rows = []
    for name in names:
        n, median, mean, spread = median_and_spread(frames[name])
        doubled = f"{name}_with_sheets"
        sheets = median_and_spread(frames[doubled])[2] if doubled in frames else float("nan")
        bounds = [
            median_and_spread(frames[f"{name}_{end}"])[2] if f"{name}_{end}" in frames else float("nan")
            for end in ("low", "high")
        ]
        rows.append((name, n, mean, spread, median, *bounds, sheets))
    grid = Grid(
        "Metrics over the frames in which they are defined",
        ("metric", "frames", "mean", "s.d.", "median", "low", "high", "each sheet one node"),
        rows,
        "low, high: mean ends of the central 95 % over networks whose tubules are there only as surely as the "
        "segmentation says; what was missed is not put in doubt, so counts lie below what was found.",
        wide=True,
    )
    alt = f"Through time, {len(frames)} frames: nodes, edges, density, clustering, assortativity, assembly, components."
    words = f"{BAND_WORDS} {HOLLOW_WORDS}"
    sizes = "Length and width of tubules and area of meshes through time, mean and median."
    narrow = finite(frames["apparent_width_share"])
    if narrow.size:
        sizes += f" {number(float(100 * narrow.mean()))} % of the widths are apparent: below 1.2 of the point spread."
    return Section(
        "Metrics through time",
        pictures=[
            picture(figures.metrics_figure(frames), alt, words),
            picture(sizes_figure(frames), sizes, f"{sizes} {HOLLOW_WORDS}"),
        ],
        grids=[grid],
    )


def _composition(data: MovieReportData) -> Section:
    frames, totals = data.frames, degree_totals(data.frames)
    shares = ", ".join(
        f"{w} {number(_mean(frames, c))}"
        for w, c in (("tubule", "tubule_share"), ("sheet", "sheet_share"), ("SBT", "sbt_share"))
    )
    degrees = [(str(d), int(n), float(s)) for d, n, s in totals.to_numpy().tolist()]
    snr = finite(frames["snr_power"])
    snr_words = (
        f"{int((snr < data.snr_gate).sum())} of {snr.size} frames below {data.snr_gate:g}; median "
        f"{number(float(np.median(snr)))}."
        if snr.size
        else "Not applicable: the background is clipped or the movie says so itself."
    )
    pairs = [
        picture(
            figures.degree_figure(frames),
            "Degree distribution over all frames.",
            "Nodes of all frames; figures above the bars are counts.",
        ),
        picture(
            figures.area_figure(frames),
            f"Area shares of the ER through time. Means: {shares}.",
            f"Shares of the ER, not of the cell. Means: {shares}.",
        ),
        picture(
            figures.phenotype_figure(frames),
            "Assembly ratio against degree assortativity, one dot a frame; squares: each sheet is one node.",
            "The paper's plot of phenotypes: healthy networks lie right (0.90–0.92), "
            f"fragmented ones left and low (0.03–0.05; −0.25 to −0.34). {HOLLOW_WORDS}",
        ),
        picture(
            figures.snr_figure(frames, data.snr_gate), f"Signal-to-noise ratio of each frame. {snr_words}", snr_words
        ),
        picture(ends_figure(frames), "Where tubules end, through time.", "Only ends in the open can be growing tips."),
        picture(
            multi_way_figure(data.multi_way),
            "Share of multi-way junctions against the merge radius, beside pure three-way networks.",
            "Close three-way junctions look like multi-way ones. Only what lies above the dashed line, a three-way "
            "network of the same density and width traced alike, is more than that. Band: 10–90 % of frames.",
        ),
    ]
    return Section(
        "What it is made of",
        pairs=pairs,
        grids=[Grid("Nodes by degree", ("degree", "nodes, all frames", "share"), degrees)],
    )


def _table(data: MovieReportData) -> Section:
    if not len(data.frames):
        return Section("Frame by frame", text=["No frame was measured."])
    rows = [
        (
            int(r["frame"]),
            float(r["time_s"]),
            float(r["snr_power"]),
            str(r["snr_flag"]),
            int(r["nodes"]),
            int(r["edges"]),
            *(float(r[name]) for name in FRAME_FIGURES),
        )
        for r in data.frames.head(data.first_frames).to_dict("records")
    ]
    header = (
        "frame",
        "s",
        "SNR",
        "flag",
        "nodes",
        "edges",
        "transitivity",
        "assortativity",
        "assembly",
        "µm",
        "tubule",
        "sheet",
        "SBT",
    )
    title = (
        f"The first {len(rows)} of {len(data.frames)} frames"
        if len(rows) < len(data.frames)
        else f"All {len(rows)} frames"
    )
    return Section(
        "Frame by frame",
        grids=[
            Grid(
                title,
                header,
                rows,
                "The whole tables are in tables/; `cisterna export` adds CSV and GraphML.",
                wide=True,
            )
        ],
    )


def _limits(data: MovieReportData) -> Section:
    points = [
        "Count ratios hide errors: on synthetic networks a tracer returned 0.97 of the nodes while only 64 % of the "
        "junctions lay within 2 px of a true one. "
        "Equal counts do not mean the same network.",
        "7–18 % of true edges are shorter than the tubule width + 2 px and cannot be resolved; merging close "
        "junctions turns pure three-way networks "
        "into 11–30 % multi-way ones. Compare shares of degrees only between movies of one pixel size and one width.",
        "Lifetimes have a floor that noise alone produces, measured on a static scene of this run's own; a junction "
        "covered by a passing sheet dies here.",
        "Tubules that end in a sheet are ends there, no growth tips; on tubules only, the parts that a sheet joins "
        "count as fragments. The figures with each sheet as one node stand beside.",
        "Assortativity here is the numeric (Pearson) one and the categorical one, each under its name; published "
        "“global clustering” is the average of the local coefficients.",
        "The network model is sensitive to scale: an unknown or wrong pixel size moves the shares of tubules and "
        "sheets.",
        "One cell is n = 1: frames of one movie are not independent.",
    ]
    return Section("Limits", points=points)
