"""Junctions through time on made-up tracks."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from cisterna.graph import TrackingParameters
from cisterna.graph.lifetimes import track_junctions
from cisterna.graph.linking import pair_points
from cisterna.graph.survival import kaplan_meier, median_lifetime_s


def sightings(rows: list[tuple[int, float, float, int]], kind: str = "junction") -> pd.DataFrame:
    """Rows frame, y, x, degree as a nodes table."""
    table = pd.DataFrame(rows, columns=["frame", "y_um", "x_um", "degree"])
    return table.assign(kind=kind, node_id=table.groupby("frame").cumcount())


def test_a_resting_junction_is_one_censored_track():
    track, junctions = track_junctions(sightings([(f, 1.0, 2.0, 3) for f in range(8)]), 8, 1.5)
    assert track.tolist() == [1] * 8
    row = junctions.iloc[0]
    assert (row["first_frame"], row["last_frame"], row["lifetime_s"]) == (0, 7, 12.0)
    assert row["censored"]
    assert row["changes"] == 0


def test_births_and_deaths_inside_the_movie_are_not_censored():
    rows = [(f, 1.0, 1.0, 3) for f in range(3, 7)]
    _, junctions = track_junctions(sightings(rows), 12, 1.0)
    assert junctions[["first_frame", "last_frame", "lifetime_s", "censored"]].to_numpy().tolist() == [
        [3, 6, 4.0, False]
    ]


@pytest.mark.parametrize(("gap", "tracks"), [(0, 2), (1, 2), (2, 1)])
def test_a_gap_is_closed_when_it_is_no_longer_than_allowed(gap: int, tracks: int):
    rows = [(f, 1.0, 1.0, 3) for f in (2, 3, 6, 7)]
    _, junctions = track_junctions(sightings(rows), 12, 1.0, TrackingParameters(gap_frames=gap))
    assert len(junctions) == tracks


def test_what_may_go_on_after_the_last_frame_is_censored():
    rows = [(f, 1.0, 1.0, 3) for f in range(3, 9)]
    for gap, censored in ((0, False), (1, True)):
        _, junctions = track_junctions(sightings(rows), 10, 1.0, TrackingParameters(gap_frames=gap))
        assert bool(junctions["censored"][0]) is censored


def test_junctions_keep_their_identity_when_they_move():
    rng = np.random.default_rng(0)
    start = rng.uniform(0, 20, (60, 2))
    near = np.linalg.norm(start[:, None] - start[None], axis=2) + 9 * np.eye(60)
    start = start[near.min(axis=1) > 0.6]
    rows, names = [], []
    for frame in range(20):
        for name, place in enumerate(start + 0.05 * frame):
            rows.append((frame, *place, 3))
            names.append(name)
    track, junctions = track_junctions(sightings(rows), 20, 1.0)
    assert len(junctions) == len(start)
    assert pd.Series(track).groupby(names).nunique().max() == 1


def test_a_jump_farther_than_allowed_is_a_death_and_a_birth():
    rows = [(0, 1.0, 1.0, 3), (1, 1.0, 1.4, 3), (2, 1.0, 2.0, 3)]
    _, junctions = track_junctions(sightings(rows), 3, 1.0, TrackingParameters(max_displacement_um=0.5))
    assert junctions["last_frame"].tolist() == [1, 2]


def test_switches_between_three_way_and_multi_way_are_counted():
    degrees = [3, 4, 5, 3, 3, 4]
    rows = [(f, 1.0, 1.0, d) for f, d in enumerate(degrees)]
    _, junctions = track_junctions(sightings(rows), 6, 1.0)
    assert junctions["changes"].tolist() == [3]
    assert junctions["mean_degree"].tolist() == [pytest.approx(22 / 6)]


def test_tips_are_not_tracked_and_nothing_is_no_tracks():
    track, junctions = track_junctions(sightings([(0, 1.0, 1.0, 1)], kind="tip"), 1, 1.0)
    assert track.tolist() == [0]
    assert len(junctions) == 0
    assert len(track_junctions(sightings([]), 5, 1.0)[1]) == 0


def test_pairs_are_as_many_as_possible_then_as_close_as_possible():
    before, after = np.array([[0.0, 0.0], [0.0, 1.0]]), np.array([[0.0, 0.9], [0.0, 1.8]])
    # Nearest first would take (1, 0) and leave 0 alone.
    assert pair_points(before, after, 1.0).tolist() == [[0, 0], [1, 1]]
    assert pair_points(before, after, 0.5).tolist() == [[1, 0]]
    assert pair_points(before[:0], after, 1.0).shape == (0, 2)


def test_kaplan_meier_of_a_textbook_example():
    # Leukaemia remission, 6-MP arm (Freireich et al. 1963).
    weeks = [6, 6, 6, 7, 10, 13, 16, 22, 23, 6, 9, 10, 11, 17, 19, 20, 25, 32, 32, 34, 35]
    censored = [False] * 9 + [True] * 12
    curve = kaplan_meier(np.array(weeks), np.array(censored))
    assert curve["time_s"].tolist() == [6, 7, 10, 13, 16, 22, 23]
    expected = [0.857, 0.807, 0.753, 0.690, 0.627, 0.538, 0.448]
    assert curve["survival"].tolist() == pytest.approx(expected, abs=6e-4)
    assert median_lifetime_s(np.array(weeks), np.array(censored)) == 23


def test_no_deaths_have_no_median():
    assert math.isnan(median_lifetime_s(np.array([3.0, 4.0]), np.array([True, True])))
    assert len(kaplan_meier(np.zeros(0), np.zeros(0, bool))) == 0
    with pytest.raises(ValueError, match="one flag per lifetime"):
        kaplan_meier(np.zeros(2), np.zeros(3, bool))


@pytest.mark.parametrize("interval", [0.0, -1.0, math.nan])
def test_an_interval_that_is_no_time_is_refused(interval: float):
    with pytest.raises(ValueError, match="frame_interval_s"):
        track_junctions(sightings([]), 1, interval)
