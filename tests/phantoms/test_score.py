"""Scores with answers known by hand."""

import numpy as np
import pandas as pd
import pytest
from cisterna.phantoms import er_movie, fibsem_cell, score


def test_dice_by_hand():
    a, b = np.array([1, 1, 0, 0]), np.array([0, 1, 1, 0])
    assert score.dice(a, b) == 0.5
    assert score.dice(a * 0, b * 0) == 1.0
    assert score.dice(a, b * 0) == 0.0
    with pytest.raises(ValueError, match="same grid"):
        score.dice(a, np.zeros(3))


def test_matching_is_one_to_one_and_prefers_more_pairs():
    # greedy nearest-first would take 1.0 to 1.4 and leave the other two unmatched
    agreement = score.match_points([[0.0], [1.0]], [[1.4], [2.4]], tolerance=1.5)
    assert agreement.matched == 2
    doubled = score.match_points([[0.0], [0.1], [0.2]], [[0.0]], tolerance=1.0)
    assert (doubled.matched, doubled.precision, doubled.recall) == (1, pytest.approx(1 / 3), 1.0)


def test_empty_sides():
    none = score.match_points(np.zeros((0, 2)), np.zeros((0, 2)), 3)
    assert none.f1 == 1.0
    missed = score.junction_f1([], [[1, 1]])
    assert missed.f1 == 0.0
    assert missed.recall == 0.0
    assert np.isnan(missed.precision)


def test_true_vesicle_labels_score_one_and_a_lost_one_less():
    cell = fibsem_cell((64, 64, 64), 8.0, seed=1)
    truth = cell.objects[cell.objects["class"].isin(["copi_like", "copii_like"])]
    perfect = score.vesicle_recall_precision(cell.labels["vesicles"], truth, 8.0)
    assert perfect.recall == perfect.precision == 1.0
    lost = np.where(cell.labels["vesicles"] == 1, 0, cell.labels["vesicles"])
    assert score.vesicle_recall_precision(lost, truth, 8.0).matched == len(truth) - 1


def test_merging_contracts_short_edges_only():
    nodes = pd.DataFrame(
        {"frame": 0, "node_id": [1, 2, 3, 4, 5, 6], "y_px": [0, 0, 5, -5, 5, -5.0], "x_px": [0, 4, -9, -9, 13, 13.0]}
    )
    edges = pd.DataFrame(
        {
            "frame": 0,
            "edge_id": range(5),
            "node_a": [1, 1, 1, 2, 2],
            "node_b": [2, 3, 4, 5, 6],
            "length_px": [4.0, 11, 11, 11, 11],
        }
    )
    merged, left = score.merged_truth(nodes, edges, merge_px=6.0)
    assert sorted(merged["degree"]) == [1, 1, 1, 1, 4]
    assert len(left) == 4
    four = merged[merged["degree"] == 4].iloc[0]
    assert (four["y_px"], four["x_px"]) == (0.0, 2.0)
    unchanged, _ = score.merged_truth(nodes, edges, merge_px=3.0)
    assert sorted(unchanged["degree"]) == [1, 1, 1, 1, 3, 3]


def test_merged_truth_wants_one_frame():
    movie = er_movie(2, (96, 96), seed=1)
    with pytest.raises(ValueError, match="one frame"):
        score.merged_truth(movie.nodes, movie.edges, 5.5)
