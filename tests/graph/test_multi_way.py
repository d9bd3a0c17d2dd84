"""The share of multi-way junctions against the merge radius, and what a pure three-way network shows there."""

from __future__ import annotations

import math

import numpy as np
import pytest
from cisterna.graph import TracingParameters, trace_network
from cisterna.graph.multi_way import (
    NULL_REACH,
    NULL_SHARE,
    RADII_PX,
    multi_way_counts,
    multi_way_rows,
    null_share,
    voronoi_share,
)
from cisterna.graph.network import Unmerged
from cisterna.graph.three_way import drawn_three_way, with_traced_null
from cisterna.phantoms.er_movie import er_movie
from cisterna.tables.networks import MULTI_WAY
from drawing import draw


def test_two_forks_become_one_crossing_when_the_radius_reaches_their_distance():
    ends = np.array([[0, 1], [0, 2], [0, 3], [1, 4], [1, 5]])
    network = Unmerged(6, ends, np.array([4.0, 20, 20, 20, 20]))
    assert [multi_way_counts(network, r) for r in (0, 3.9, 4, 8)] == [(2, 0), (2, 0), (1, 1), (1, 1)]
    # Tubules that end freely are never taken in, however short.
    assert multi_way_counts(Unmerged(6, ends, np.full(5, 1.0)), 5.0) == (1, 1)


def test_a_theta_that_is_taken_in_whole_is_no_junction():
    parallel = Unmerged(2, np.array([[0, 1]] * 3), np.array([3.0, 3.0, 3.0]))
    assert multi_way_counts(parallel, 2) == (2, 0)
    assert multi_way_counts(parallel, 3) == (0, 0)


@pytest.mark.parametrize("radius", [3.0, 6.0])
def test_the_curve_agrees_with_tracing_at_that_radius(radius: float):
    mask = er_movie(frames=1, shape_yx=(384, 384), seed=4, sheet=False, sbt=False).classes[0] == 2
    junctions, multi = multi_way_counts(trace_network(mask, 1.0).unmerged, radius)
    parameters = TracingParameters(merge_widths=0, merge_pixels=radius, loop_widths=0)
    traced = trace_network(mask, 1.0, parameters).metrics()
    assert junctions == pytest.approx(traced["junctions"], rel=0.05)
    assert multi / junctions == pytest.approx(traced["multi_way_share"], abs=0.05)


def test_the_share_grows_with_the_radius_and_junctions_become_fewer():
    mask = er_movie(frames=1, shape_yx=(384, 384), seed=4, sheet=False, sbt=False).classes[0] == 2
    rows = multi_way_rows(trace_network(mask, 0.1), 7)
    assert [r["merge_radius_px"] for r in rows] == list(RADII_PX)
    assert {r["frame"] for r in rows} == {7}
    junctions = [r["junctions"] for r in rows]
    assert junctions == sorted(junctions, reverse=True)
    shares = [r["multi_way_share"] for r in rows]
    assert shares == sorted(shares)
    # Half as many junctions as there are seeds, in 38.4² µm² at 0.085 seeds per µm².
    assert rows[0]["junctions_per_um2"] == pytest.approx(2 * 0.085, rel=0.15)


def test_the_null_is_its_simulation_and_what_was_measured_on_voronoi_networks():
    for reach, share in zip(NULL_REACH[::3], NULL_SHARE[::3], strict=True):
        assert voronoi_share(reach, 8000, seed=5) == pytest.approx(share, abs=0.02)
    # True junctions merged at the tubule width + 2 px in frames of 1024²: 11, 21, 30 and 14 % (three seeds each).
    for nodes, radius, share in ((486, 6, 0.11), (1584, 6, 0.21), (3296, 6, 0.30), (1584, 4, 0.14)):
        assert null_share(nodes / 1024**2, radius) == pytest.approx(share, abs=0.02)


def test_where_nothing_can_be_said_the_null_is_nan():
    assert math.isnan(null_share(math.nan, 3.0))
    assert math.isnan(null_share(0.0, 3.0))
    assert math.isnan(null_share(0.05, 10.0))
    for mask in (np.zeros((40, 40), bool), draw([((20, 20), (60, 70))])):
        rows = multi_way_rows(trace_network(mask, 0.1), 0)
        assert all(r["junctions"] == 0 and math.isnan(r["multi_way_share"]) for r in rows)
        assert all(math.isnan(r["null_share"]) for r in rows)


def test_a_traced_three_way_network_shows_the_share_of_its_traced_null():
    mask = drawn_three_way(0.0016, 4.0, seed=3)
    table = with_traced_null(MULTI_WAY.frame(multi_way_rows(trace_network(mask, 0.1), 0)), 0.1)
    assert table["traced_null_share"].to_numpy() == pytest.approx(table["multi_way_share"].to_numpy(), abs=0.035)
    # Tracing sees fewer multi-way junctions than merging the true network at the same radius would give.
    assert (table["traced_null_share"] < table["null_share"] + 0.035).all()


def test_the_drawn_null_has_the_density_and_width_it_was_asked_for():
    mask = drawn_three_way(0.0016, 5.0)
    network = trace_network(mask, 1.0)
    assert np.median(network.width_um) == pytest.approx(5.0, abs=0.4)
    junctions = (network.degree >= 3).sum()
    assert 0.65 < junctions / (0.0016 * mask.size) < 1.05


def test_frames_without_a_density_leave_the_table_as_it_is():
    empty = MULTI_WAY.frame(multi_way_rows(trace_network(np.zeros((40, 40)), 0.1), 0))
    assert with_traced_null(empty, 0.1)["traced_null_share"].isna().all()
    assert len(with_traced_null(MULTI_WAY.frame(), 0.1)) == 0
