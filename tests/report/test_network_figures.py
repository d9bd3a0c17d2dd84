"""Figures of networks: noisy frames stay visible as such, intervals are bands, cells are rows."""

import numpy as np
import pandas as pd
import pytest
from cisterna.report.canvas import new_figure
from cisterna.report.cells import cell_sections
from cisterna.report.movie_figures import phenotype_figure
from cisterna.report.network_figures import ends_figure, multi_way_figure, sizes_figure
from cisterna.report.through_time import flagged, through_time
from cisterna.tables.networks import CELLS, MULTI_WAY
from matplotlib.collections import PathCollection, PolyCollection

WHITE = (1.0, 1.0, 1.0, 1.0)


def hollow(axes):
    """Points drawn with a white face."""
    dots = [c for c in axes.collections if isinstance(c, PathCollection) and not isinstance(c, PolyCollection)]
    return sum(len(c.get_offsets()) for c in dots if len(c.get_facecolor()) and tuple(c.get_facecolor()[0]) == WHITE)


LOW = 3


def noisy(movie):
    """The movie's frames, three of them flagged."""
    return movie.frames.assign(snr_flag=["low"] * LOW + ["ok"] * (len(movie.frames) - LOW))


def test_noisy_frames_are_hollow_and_intervals_are_bands(movie):
    frames = noisy(movie).assign(nodes_low=movie.frames["nodes"] - 3.0, nodes_high=movie.frames["nodes"] + 1.0)
    axes = new_figure(3, 3).subplots()
    through_time(axes, frames, [("nodes", "nodes", "#ff0000"), ("edges", "edges", "#0000ff")])
    assert hollow(axes) == 2 * LOW
    bands = [c for c in axes.collections if isinstance(c, PolyCollection)]
    assert len(bands) == 1
    heights = bands[0].get_paths()[0].vertices[:, 1]
    assert (heights.min(), heights.max()) == (frames["nodes_low"].min(), frames["nodes_high"].max())


def test_movies_whose_snr_is_not_applicable_are_not_hollow(movie):
    assert not flagged(movie.frames.assign(snr_flag="snr_not_applicable")).any()


def test_the_plot_of_phenotypes_keeps_the_flag_and_shows_assembly_twice(movie):
    assert hollow(phenotype_figure(noisy(movie)).axes[0]) == LOW
    both = noisy(movie).assign(largest_component_node_share_with_sheets=0.99, degree_assortativity_with_sheets=0.1)
    assert hollow(phenotype_figure(both).axes[0]) == 2 * LOW


def curve(frames=3, **changes):
    radii = [0.0, 2.0, 4.0]
    rows = [
        (t, r, 100, 10 * k, 0.1 * k, 0.15, 0.35, 0.08 * k, 0.05 * k, "ok")
        for t in range(frames)
        for k, r in enumerate(radii)
    ]
    return MULTI_WAY.frame(pd.DataFrame(rows, columns=MULTI_WAY.names).assign(**changes))


def test_the_multi_way_share_stands_beside_both_nulls():
    axes = multi_way_figure(curve()).axes[0]
    drawn = {line.get_label(): line.get_ydata() for line in axes.lines}
    np.testing.assert_allclose(drawn["this movie"], [0, 0.1, 0.2])
    np.testing.assert_allclose(drawn["three-way network, drawn and traced"], [0, 0.05, 0.1])
    np.testing.assert_allclose(drawn["three-way network, merged"], [0, 0.08, 0.16])
    alone = multi_way_figure(curve(null_share=np.nan, traced_null_share=np.nan)).axes[0]
    assert len(alone.lines) == 1


@pytest.mark.parametrize("table", [MULTI_WAY.frame(), curve(multi_way_share=np.nan)])
def test_nothing_is_said_in_words(table):
    assert multi_way_figure(table).axes[0].texts[0].get_text() == "no junctions in any frame"


def test_ends_stack_to_all_ends(movie):
    frames = movie.frames.assign(growth_tips=2, sheet_contacts=1, sbt_contacts=3, border_ends=4)
    axes = ends_figure(frames).axes[0]
    tops = [bar.get_y() + bar.get_height() for bar in axes.patches]
    assert max(tops) == 10
    assert ends_figure(movie.frames.head(0)).axes[0].texts
    assert sizes_figure(frames.assign(mean_width_um=np.nan)).axes


def test_cells_are_rows_of_means(movie):
    own = movie.frames.head(4)
    shared = {name: own[name].to_numpy() for name in CELLS.names if name in own}
    rows = pd.DataFrame(
        {**dict.fromkeys(CELLS.names, np.nan), **shared, "cell": 7, "snr_flag": ["ok", "low", "ok", "ok"]}
    )
    for column in CELLS.columns:
        if column.dtype == "int64":
            rows[column.name] = rows[column.name].fillna(0).astype(int)
    (section,) = cell_sections(CELLS.frame(rows))
    ((cell, frames, noisy, *_),) = section.grids[0].rows
    assert (cell, frames, noisy) == ("7", 4, 1)
    assert cell_sections(CELLS.frame()) == []
