"""Tips: speed of growth and retraction, what fuses, what is released."""

import numpy as np
import pandas as pd
import pytest
from cisterna.graph import TrackingParameters
from cisterna.graph.tips import track_tips, turning_points, without_rest


def growing(lengths, first=3, fuses=False, root=7):
    """One tip on a tubule of these lengths (µm), its root junction resting at the origin."""
    nodes, edges = [], []
    for i, length in enumerate(lengths):
        frame = first + i
        nodes += [(frame, 0, 20.0, 20.0, "junction", root), (frame, 1, 20.0, 20.0 + length, "tip", 0)]
        edges.append((frame, 0, 1, length))
    if fuses:
        after = first + len(lengths)
        nodes += [(f, 2, 20.0, 20.2 + lengths[-1], "junction", 50) for f in range(after, after + 3)]
    return (
        pd.DataFrame(nodes, columns=["frame", "node_id", "y_um", "x_um", "kind", "junction_id"]).assign(degree=3),
        pd.DataFrame(edges, columns=["frame", "node_a", "node_b", "length_um"]),
    )


def test_growth_then_retraction_with_noise_have_their_speeds():
    rng = np.random.default_rng(0)
    clean = np.concatenate([np.linspace(1, 4, 11), [4, 4, 4], np.linspace(4, 2, 11)[1:]])
    nodes, edges = growing(clean + rng.normal(0, 0.03, len(clean)))
    track, tips, phases = track_tips(nodes, edges, 40, 2.0)
    assert (track > 0).sum() == len(clean)
    assert phases["direction"].tolist() == ["growth", "retraction"]
    assert phases["speed_um_per_s"].tolist() == pytest.approx([0.15, 0.1], rel=0.15)
    row = tips.iloc[0]
    assert (row["began"], row["ended"], row["censored"]) == ("birth", "death", False)
    assert row["growth_um"] == pytest.approx(3.0, abs=0.35)
    assert row["growth_um_per_s"] == pytest.approx(0.15, rel=0.15)
    assert row["mean_length_um"] == pytest.approx(clean.mean(), abs=0.05)


def test_a_tip_that_only_trembles_has_no_phase():
    rng = np.random.default_rng(1)
    nodes, edges = growing(2 + rng.normal(0, 0.05, 30))
    _, tips, phases = track_tips(nodes, edges, 40, 1.0)
    assert len(phases) == 0
    assert np.isnan(tips["growth_um_per_s"][0])
    assert tips["growth_um"][0] == 0


def test_a_tip_that_ends_where_a_junction_begins_has_fused():
    nodes, edges = growing(np.linspace(1, 2.4, 8), fuses=True)
    _, tips, _ = track_tips(nodes, edges, 40, 1.0)
    assert tips["ended"].tolist() == ["fusion"]
    nodes, edges = growing(np.linspace(1, 2.4, 8))
    assert track_tips(nodes, edges, 40, 1.0)[1]["ended"].tolist() == ["death"]


def test_a_tip_where_a_junction_ended_was_released():
    nodes, edges = growing(np.linspace(2.4, 1, 8), first=9)
    gone = pd.DataFrame(
        [(f, 2, 20.0, 22.5, "junction", 50, 3) for f in range(4, 9)],
        columns=["frame", "node_id", "y_um", "x_um", "kind", "junction_id", "degree"],
    )
    _, tips, phases = track_tips(pd.concat([nodes, gone], ignore_index=True), edges, 40, 1.0)
    assert tips["began"].tolist() == ["release"]
    assert phases["direction"].tolist() == ["retraction"]


def test_length_counts_only_while_the_root_is_the_same_junction():
    first, second = growing(np.full(6, 1.0)), growing(np.full(6, 1.8), first=9, root=8)
    nodes, edges = (pd.concat(pair, ignore_index=True) for pair in zip(first, second, strict=True))
    track, _, phases = track_tips(nodes, edges, 40, 1.0, TrackingParameters(max_tip_displacement_um=1.0))
    assert set(track) == {0, 1}
    assert len(phases) == 0  # the tubule is 0.8 µm longer because another junction formed on it, not by growth


def test_turning_points_by_hand():
    rise_fall = np.array([0.0, 0.0, 1.0, 2.0, 1.9, 2.5, 1.0, 0.2, 0.25])
    assert turning_points(rise_fall, 0.5) == [(1, 5), (5, 7)]
    assert turning_points(rise_fall, 3.0) == []
    assert turning_points(np.zeros(0), 0.5) == []
    assert without_rest(np.array([0.0, 0.05, 0.5, 1.0, 1.02, 1.04]), 0, 5, 0.1) == (1, 3)
