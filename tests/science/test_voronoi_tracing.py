"""Tracing against Voronoi networks whose graph is known.

Truth and result are compared where a picture can show the difference: true edges shorter than the tubule's width plus
two pixels are contracted first. Limits are means over seeds.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pandas as pd
import pytest
from cisterna.graph import Network, TracingParameters, trace_network
from cisterna.graph.lifetimes import track_junctions
from cisterna.graph.reference import reference_graph
from cisterna.phantoms.er_movie import er_movie
from cisterna.phantoms.score import junction_f1, match_points, merged_truth

TUBULE = 2
SEEDS = (101, 102, 103, 104)


@lru_cache
def frame(
    width: float, seed: int, shape: tuple[int, int] = (256, 256)
) -> tuple[np.ndarray, pd.DataFrame, pd.DataFrame]:
    """The mask of one frame and its true nodes and edges, merged at width + 2 px."""
    movie = er_movie(frames=1, shape_yx=shape, tubule_width_px=width, sheet=False, sbt=False, seed=seed)
    nodes, edges = merged_truth(movie.nodes, movie.edges, width + 2)
    return movie.classes[0] == TUBULE, nodes, edges


def junctions(network: Network) -> np.ndarray:
    return network.positions[network.degree >= 3]


def true_junctions(nodes: pd.DataFrame) -> np.ndarray:
    return nodes.loc[nodes["degree"] >= 3, ["y_px", "x_px"]].to_numpy(float)


@pytest.mark.parametrize(("width", "at_3_px", "at_5_px"), [(3.0, 0.87, 0.94), (3.5, 0.86, 0.93), (4.0, 0.85, 0.93)])
def test_junctions_are_found_where_they_are(width: float, at_3_px: float, at_5_px: float):
    scores = []
    for seed in SEEDS:
        mask, nodes, _ = frame(width, seed)
        found = junctions(trace_network(mask, 1.0))
        scores.append([junction_f1(found, true_junctions(nodes), t).f1 for t in (3, 5)])
    three, five = np.mean(scores, axis=0)
    assert three >= at_3_px
    assert five >= at_5_px


@pytest.mark.parametrize("width", [3.0, 4.0])
def test_counts_and_multi_way_share_are_those_of_the_truth(width: float):
    ratio, found_multi, true_multi = [], [], []
    for seed in SEEDS:
        mask, nodes, _ = frame(width, seed)
        network = trace_network(mask, 1.0)
        true = nodes.loc[nodes["degree"] >= 3, "degree"].to_numpy()
        ratio.append(len(junctions(network)) / len(true))
        found_multi.append(network.metrics()["multi_way_share"])
        true_multi.append((true > 3).mean())
    assert np.mean(ratio) == pytest.approx(1, abs=0.03)
    assert np.mean(found_multi) == pytest.approx(np.mean(true_multi), abs=0.05)


def test_it_is_closer_than_the_reference_route_on_the_same_masks():
    ours, theirs = [], []
    for seed in SEEDS:
        mask, nodes, _ = frame(3.5, seed)
        true = true_junctions(nodes)
        plain = reference_graph(mask)
        places = np.array([plain.nodes[n]["o"] for n in plain if plain.degree(n) >= 3], float)
        ours.append(junction_f1(junctions(trace_network(mask, 1.0)), true, 3).f1)
        theirs.append(junction_f1(places, true, 3).f1)
    assert np.mean(ours) > np.mean(theirs) + 0.02


def test_without_merging_the_limits_fail():
    """The figures above are the tracer's doing: with merging and pruning off they are missed."""
    off = TracingParameters(merge_widths=0, merge_pixels=0, spur_widths=0)
    excess = []
    for seed in SEEDS:
        mask, nodes, _ = frame(4.0, seed)
        excess.append(len(junctions(trace_network(mask, 1.0, off))) / len(true_junctions(nodes)))
    assert np.mean(excess) > 1.1


def test_total_length_is_within_five_percent():
    ratios = []
    for seed in SEEDS:
        mask, _, _ = frame(3.5, seed)
        movie = er_movie(frames=1, tubule_width_px=3.5, sheet=False, sbt=False, seed=seed)
        ratios.append(trace_network(mask, 0.1).metrics()["total_length_um"] / movie.edges["length_um"].sum())
    assert np.mean(ratios) == pytest.approx(1, abs=0.05)


def test_tubules_that_leave_the_frame_are_no_tips():
    found, planted = 0, 0
    for seed in SEEDS:
        movie = er_movie(frames=1, tubule_width_px=3.5, sheet=False, sbt=False, seed=seed)
        # Exits closer than the merging length to a junction cannot be told from its outline.
        long = movie.edges.query("length_px >= 7")
        ends = movie.nodes[movie.nodes["node_id"].isin(np.union1d(long["node_a"], long["node_b"]))]
        leaving = ends.query("kind == 'border'")[["y_px", "x_px"]].to_numpy()
        network = trace_network(movie.classes[0] == TUBULE, 1.0)
        found += match_points(network.positions[network.kind == "border"], leaving, 4.0).matched
        planted += len(leaving)
        assert (network.kind == "tip").sum() <= 0.05 * len(leaving) + 2
    assert found >= 0.85 * planted


def test_junctions_of_a_moving_network_are_followed():
    movie = er_movie(frames=12, shape_yx=(192, 192), sheet=False, sbt=False, seed=105)
    tables = []
    for t, classes in enumerate(movie.classes):
        tables.append(trace_network(classes == TUBULE, movie.pixel_size_um).nodes.assign(frame=t))
    nodes = pd.concat(tables, ignore_index=True)
    track, _ = track_junctions(nodes, 12, movie.frame_interval_s)
    nodes["track"] = track
    kept = links = 0
    for t in range(11):
        here, there = (nodes[(nodes["frame"] == f) & (nodes["track"] > 0)] for f in (t, t + 1))
        true_here, true_there = (
            movie.nodes[(movie.nodes["frame"] == f) & (movie.nodes["degree"] >= 3)].set_index("node_id")
            for f in (t, t + 1)
        )
        names = {}
        for label, found, true in (("here", here, true_here), ("there", there, true_there)):
            pairs = match_points(found[["y_um", "x_um"]], true[["y_um", "x_um"]], 0.3).pairs
            names[label] = dict(zip(true.index[pairs[:, 1]], found["track"].to_numpy()[pairs[:, 0]], strict=True))
        both = names["here"].keys() & names["there"].keys()
        links += len(both)
        kept += sum(names["here"][n] == names["there"][n] for n in both)
    assert links > 200
    assert kept >= 0.95 * links
