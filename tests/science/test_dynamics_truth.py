"""Tracking and lifetimes against phantom movies whose births, deaths and speeds are known; perfect masks."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from cisterna.graph import TrackingParameters, trace_network
from cisterna.graph.dynamics import Dynamics, measure_dynamics, populations
from cisterna.graph.survival import Spans, born_in_view, figures
from cisterna.phantoms.er_movie import MoviePhantom, er_movie
from cisterna.phantoms.er_truth import LinkScore, score_links, shown_network

LIVING = {
    "lifetime_s": 7.0,
    "remodelling": 0.2,
    "tip_speed_um_per_s": 0.4,
    "step_px": 0.5,
    "drift_px": 1.0,
    "least_tubule_px": 9.0,
    "sheet": False,
}
HORIZON_S = 20.0


def measured(movie: MoviePhantom) -> tuple[Dynamics, Dynamics, LinkScore]:
    """Found and true dynamics by the same definitions, and the score of the links."""
    networks = [trace_network(c == 2, pixel_size_um=movie.pixel_size_um) for c in movie.classes]
    nodes, edges = (
        pd.concat([getattr(n, kind).assign(frame=f) for f, n in enumerate(networks)], ignore_index=True)
        for kind in ("nodes", "edges")
    )
    y_um, x_um = ((n - 1) * movie.pixel_size_um for n in movie.classes.shape[1:])
    span = (len(networks), movie.frame_interval_s, TrackingParameters(), (y_um, x_um))
    shown, shown_edges = shown_network(movie)
    found = measure_dynamics(nodes, edges, *span)
    true = measure_dynamics(shown, shown_edges, *span, names=shown["name"].to_numpy(np.int64))
    seen = found.nodes[found.nodes["kind"] == "junction"].rename(columns={"junction_id": "track"})
    return found, true, score_links(seen, shown[shown["kind"] == "junction"].reset_index(drop=True), 0.5)


@pytest.fixture(scope="module")
def pairs() -> list[tuple[Dynamics, Dynamics, LinkScore]]:
    return [measured(er_movie(40, (224, 224), seed=9700 + s, **LIVING)) for s in range(3)]


def pooled(parts: list[Dynamics], name: str) -> Spans:
    spans = [populations(p.junctions, p.episodes, p.tips)[name] for p in parts]
    return Spans(*(np.concatenate([getattr(s, k) for s in spans]) for k in ("seconds", "begun", "ended")))


def mean_to_horizon(spans: Spans) -> float:
    curve = born_in_view(spans)
    curve = curve[curve["time_s"] < HORIZON_S]
    steps = np.concatenate([[0.0], curve["time_s"], [HORIZON_S]])
    return float((np.diff(steps) * np.concatenate([[1.0], curve["survival"]])).sum())


def test_links_are_right_and_found(pairs) -> None:
    score = sum((p[2] for p in pairs), LinkScore(0, 0, 0, 0, 0, 0))
    assert score.true > 4000
    assert score.precision_detected >= 0.99
    assert score.recall_detected >= 0.98
    # Junctions that tracing misplaced or missed count in these.
    assert score.precision >= 0.93
    assert score.recall >= 0.93


@pytest.mark.parametrize("step_px", [1.0, 2.0])
def test_links_at_larger_displacements(step_px: float) -> None:
    score = measured(er_movie(12, (192, 192), seed=9620, **{**LIVING, "step_px": step_px}))[2]
    assert score.precision_detected >= 0.95
    assert score.recall_detected >= 0.95


def test_lifetimes_are_within_a_tenth_of_the_true_ones(pairs) -> None:
    found, true = (pooled([p[side] for p in pairs], "junctions") for side in (0, 1))
    assert int(true.begun.sum()) > 80
    assert mean_to_horizon(found) == pytest.approx(mean_to_horizon(true), rel=0.10)
    assert figures(found)["naive_mean_s"] == pytest.approx(figures(true)["naive_mean_s"], rel=0.10)
    # The naive mean, with nine in ten cut off, is another figure.
    assert figures(true)["naive_mean_s"] > 1.4 * mean_to_horizon(true)


def test_tips_grow_and_retract_at_the_planted_speed(pairs) -> None:
    phases = pd.concat([p[0].tip_phases for p in pairs])
    for way in ("growth", "retraction"):
        speed = phases.loc[phases["direction"] == way, "speed_um_per_s"]
        assert len(speed) > 20
        assert speed.median() == pytest.approx(0.4, rel=0.1)


def test_a_static_scene_has_no_events_through_perfect_masks() -> None:
    found, _, score = measured(er_movie(8, (192, 192), seed=9611, static=True))
    assert len(found.junctions) > 10
    assert len(found.events) == 0
    assert found.junctions["lifetime_s"].tolist() == [8.0] * len(found.junctions)
    assert score.precision_detected == score.recall_detected == 1.0
