"""Scores of frames whose faults are known."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
from cisterna.graph import trace_network
from cisterna.phantoms import MoviePhantom, er_movie
from cisterna.phantoms.er_judging import (
    calibration_error,
    judge_frame,
    reliability,
    share_of_clean,
    summary,
    tubule_dice,
)
from cisterna.phantoms.score import merged_truth


@pytest.fixture(scope="module")
def movie() -> MoviePhantom:
    return er_movie(2, (128, 128), seed=910_500)


def true_network(movie: MoviePhantom, frame: int) -> SimpleNamespace:
    """The merged truth as a tracer would hand it out."""
    nodes, edges = (t[t["frame"] == frame] for t in (movie.nodes, movie.edges))
    merged, left = merged_truth(nodes, edges, movie.tubule_width_px + 2)
    row = {name: i for i, name in enumerate(merged["node_id"])}
    ends = np.array([(row[a], row[b]) for a, b in left[["node_a", "node_b"]].to_numpy()])
    return SimpleNamespace(
        positions=merged[["y_px", "x_px"]].to_numpy(float), ends=ends, width_um=np.full(len(ends), 3.5)
    )


def nothing() -> SimpleNamespace:
    return SimpleNamespace(positions=np.zeros((0, 2)), ends=np.zeros((0, 2), int), width_um=np.zeros(0))


def test_the_truth_scores_one(movie: MoviePhantom):
    scores = [judge_frame(movie, t, movie.classes[t], true_network(movie, t)) for t in (0, 1)]
    found = summary(scores)
    assert found["pixel_accuracy"] == found["junction_f1"] == found["junction_recall"] == 1
    assert set(found["iou"].values()) == {1.0}
    assert found["node_ratio"] == 1
    # A place of degree 2 joins two tubules to one, which a tracer never cuts.
    bends = sum((np.bincount(true_network(movie, t).ends.ravel()) == 2).sum() for t in (0, 1))
    assert found["edge_ratio"] == pytest.approx(1 + bends / sum(s.true_edges for s in scores))
    assert found["width_px"] == 3.5
    assert tubule_dice(scores) == 1
    assert math.isnan(found["mean_confidence"])


def test_nothing_found_scores_nothing(movie: MoviePhantom):
    found = summary([judge_frame(movie, 0, np.zeros_like(movie.classes[0]), nothing())])
    share = float((movie.classes[0] == 0).mean())
    assert found["pixel_accuracy"] == pytest.approx(share)
    assert found["iou"]["background"] == pytest.approx(share)
    assert (found["node_ratio"], found["edge_ratio"], found["junction_f1"], found["junction_recall"]) == (0, 0, 0, 0)
    assert found["iou"]["tubule"] == 0
    assert math.isnan(found["junction_precision"])
    assert math.isnan(found["width_px"])


def test_half_of_the_junctions_beyond_reach_halves_the_recall(movie: MoviePhantom):
    network = true_network(movie, 0)
    degree = np.bincount(network.ends.ravel(), minlength=len(network.positions))
    moved = np.flatnonzero(degree >= 3)[::2]
    network.positions = network.positions.copy()
    network.positions[moved] += 1000.0
    score = judge_frame(movie, 0, movie.classes[0], network)
    assert score.junctions.matched == (degree >= 3).sum() - len(moved)


def test_true_classes_traced_come_close_to_the_truth(movie: MoviePhantom):
    found = summary([judge_frame(movie, 0, movie.classes[0], trace_network(movie.classes[0] == 2, 1.0))])
    assert found["junction_f1"] > 0.85
    assert found["edge_ratio"] == pytest.approx(1, abs=0.15)
    assert found["width_px"] == pytest.approx(3.5, abs=0.2)


def test_reliability_counts_pixels_by_their_confidence(movie: MoviePhantom):
    true = movie.classes[0]
    wrong = true.copy()
    wrong[:64] = (true[:64] + 1) % 4
    confidence = np.full(true.shape, 255, np.uint8)
    confidence[:64] = 102  # 0.4: half of the pixels, all of them wrong
    scores = [judge_frame(movie, 0, wrong, nothing(), confidence)]
    low, high = reliability(scores, (0.0, 0.5, 1.001))
    assert (low["pixels"], low["mean_confidence"], low["share_right"]) == (64 * 128, pytest.approx(0.4), 0)
    assert (high["pixels"], high["mean_confidence"], high["share_right"]) == (64 * 128, pytest.approx(1), 1)
    assert calibration_error(scores) == pytest.approx(0.2)
    assert summary(scores)["mean_confidence"] == pytest.approx(0.7)


def test_a_ratio_is_as_good_as_its_distance_from_one():
    iou = {"background": 0.9, "sbt": 0.8, "tubule": 0.8, "sheet": 0.5}
    clean = {"pixel_accuracy": 1.0, "junction_f1": 0.8, "node_ratio": 1.0, "edge_ratio": 0.9, "iou": iou}
    row = {"pixel_accuracy": 0.9, "junction_f1": 0.4, "node_ratio": 1.2, "edge_ratio": 1.1, "iou": iou}
    kept = share_of_clean(row, clean)
    assert kept["pixel_accuracy"] == pytest.approx(0.9)
    assert kept["junction_f1"] == pytest.approx(0.5)
    assert kept["node_ratio"] == pytest.approx(0.8)
    assert kept["edge_ratio"] == pytest.approx(1.0)
    assert kept["iou_sheet"] == 1


def test_no_frames_and_other_shapes_are_refused(movie: MoviePhantom):
    with pytest.raises(ValueError, match="at least one"):
        summary([])
    with pytest.raises(ValueError, match="same grid"):
        judge_frame(movie, 0, movie.classes[0][:-1], nothing())
