"""What the report says of lifetimes: the tables' own figures, the floor beside them, words where there is nothing."""

import numpy as np
import pandas as pd
import pytest
from cisterna.graph.dynamics import measure_dynamics
from cisterna.report.dynamics import DynamicsTables, dynamics_sections, event_rates
from cisterna.report.dynamics_figures import episode_figure, lifetime_figure, tip_figure
from cisterna.tables.networks import FLOOR_SCENE


def sightings(seed, frames=40, death=0.08):
    """Junctions at rest on a grid that come and go, some four-way for a while."""
    rng = np.random.default_rng(seed)
    there = rng.random(60) < 0.7
    rows = []
    for frame in range(frames):
        there = np.where(there, rng.random(60) > death, rng.random(60) < death)
        for k in np.flatnonzero(there):
            rows.append((frame, k, 2.0 + 3 * (k // 8), 2.0 + 3 * (k % 8), 4 if (frame + k) % 11 < 3 else 3))
    nodes = pd.DataFrame(rows, columns=["frame", "node_id", "y_um", "x_um", "degree"]).assign(kind="junction")
    edges = pd.DataFrame({"frame": [0], "node_a": [0], "node_b": [1], "length_um": [9.0]})
    return measure_dynamics(nodes, edges, frames, 1.0)


@pytest.fixture(scope="module")
def found():
    return sightings(0)


@pytest.fixture(scope="module")
def tables(found):
    floor = sightings(1, 12, 0.03)
    scene = {
        "source_frame": 20, "frames": 12, "background": 100.0, "mean_signal": 50.0, "noise_sigma": 9.0,
        "noise_source": "background", "noise_correlation": 0.0, "psf_sigma_px": 1.2, "explained": 0.8,
        "snr_power": 7.5,
    }  # fmt: skip
    own = {n: getattr(found, n) for n in ("episodes", "events", "tips", "tip_phases", "dynamics", "survival")}
    return DynamicsTables(
        **own, floor=floor.dynamics, floor_survival=floor.survival, floor_scene=FLOOR_SCENE.frame([scene])
    )


def test_the_grid_holds_the_tables_figures_and_the_floor(found, tables):
    (section,) = dynamics_sections(found.junctions, tables)
    grid = section.grids[0]
    row = dict(zip(grid.header, grid.rows[0], strict=True))
    own = tables.dynamics.set_index("population").loc["junctions"]
    floor = tables.floor.set_index("population").loc["junctions"]
    assert row["n"] == len(found.junctions)
    assert row["cut off %"] == pytest.approx(100 * found.junctions["censored"].mean())
    assert row["naive mean s"] == own["naive_mean_s"]
    assert row["Kaplan–Meier median s"] == own["km_median_s"]
    assert row["floor: naive mean s"] == floor["naive_mean_s"]
    events = {r[0]: r[1:] for r in section.grids[1].rows}
    assert events["birth"][0] == (found.events["event"] == "birth").sum()
    assert any("SNR 7.50" in t and "frame 20" in t for t in section.text)


def test_rates_near_the_floor_are_named(found, tables):
    quiet = dynamics_sections(found.junctions, tables)[0].text
    same = DynamicsTables(dynamics=tables.dynamics, events=tables.events, floor=tables.dynamics)
    loud = dynamics_sections(found.junctions, same)[0].text
    assert any("may be noise" in t and "death" in t for t in loud)
    assert not any("may be noise" in t and "death" in t for t in quiet)


def test_without_a_floor_the_report_says_so(found):
    text = " ".join(dynamics_sections(found.junctions, DynamicsTables(dynamics=found.dynamics))[0].text)
    assert "No floor was measured" in text
    assert all(np.isnan(r.floor_per_min) for r in event_rates(DynamicsTables()))


def test_the_survival_chart_shows_curve_floor_and_both_means(found, tables):
    figure = lifetime_figure(found.junctions, tables.dynamics, tables.survival, tables.floor_survival)
    legend = [t.get_text() for t in figure.axes[1].get_legend().get_texts()]
    assert "this movie" in legend
    assert "static scene: the floor" in legend
    assert any(t.startswith("naive mean") for t in legend)
    assert any(t.startswith("median") for t in legend)
    line = figure.axes[1].lines[0].get_xydata()
    own = tables.survival[tables.survival["population"] == "junctions"]
    assert line[-1].tolist() == [own["time_s"].iloc[-1], own["survival"].iloc[-1]]
    cut = [t.get_text() for t in figure.axes[0].get_legend().get_texts()]
    assert f"cut off ({int(found.junctions['censored'].sum())})" in cut


def test_nothing_is_said_in_words(found):
    (section,) = dynamics_sections(found.junctions.iloc[:0], DynamicsTables())
    assert "No junction was followed" in section.text[0]
    none = DynamicsTables()
    for figure in (
        lifetime_figure(found.junctions.iloc[:0], none.dynamics, none.survival, none.floor_survival),
        episode_figure(none.survival, none.floor_survival, event_rates(none)),
        tip_figure(none.tip_phases),
    ):
        assert any(axes.texts for axes in figure.axes)
