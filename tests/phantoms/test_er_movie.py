"""The ER movie: classes, graph and noise must agree with what the tables state."""

import numpy as np
import pytest
from cisterna.phantoms import er_movie
from scipy.ndimage import distance_transform_edt


@pytest.fixture(scope="module")
def movie():
    return er_movie(4, (160, 192), seed=3)


def test_shapes_types_and_all_four_classes(movie):
    assert movie.frames.shape == movie.classes.shape == (4, 160, 192)
    assert movie.frames.dtype == np.uint16
    assert set(np.unique(movie.classes)) == {0, 1, 2, 3}


@pytest.mark.parametrize("snr", [2.0, 10.0])
def test_snr_is_the_stated_power_ratio(snr):
    clean = er_movie(2, (128, 128), seed=1, snr=float("inf"))
    noisy = er_movie(2, (128, 128), seed=1, snr=snr)
    signal = clean.frames.astype(float) - 200.0
    offset = (noisy.frames.astype(float) - signal).mean()
    noise = noisy.frames - signal - offset
    assert np.mean(signal**2) / np.mean(noise**2) == pytest.approx(snr, rel=0.05)
    assert noisy.frames.min() > 0


def test_nodes_lie_on_tubules_and_degrees_count_edges(movie):
    for frame in range(4):
        nodes = movie.nodes[movie.nodes["frame"] == frame].set_index("node_id")
        edges = movie.edges[movie.edges["frame"] == frame]
        assert nodes.index.is_unique
        assert edges["edge_id"].is_unique
        ends = np.concatenate([edges["node_a"], edges["node_b"]])
        for name, row in nodes.iterrows():
            assert row["degree"] == (ends == name).sum()
        assert (nodes.loc[nodes["kind"] == "junction", "degree"] == 3).all()
        inner = nodes[nodes["kind"] == "junction"]
        at = np.rint(inner[["y_px", "x_px"]].to_numpy()).astype(int)
        assert np.isin(movie.classes[frame][tuple(at.T)], [1, 2, 3]).all()


def test_edge_paths_join_their_nodes_and_have_their_length(movie):
    nodes = movie.nodes[movie.nodes["frame"] == 0].set_index("node_id")[["y_px", "x_px"]]
    for row in movie.edges[movie.edges["frame"] == 0].itertuples():
        path = row.path_yx_px
        np.testing.assert_allclose(path[0], nodes.loc[row.node_a], atol=0.1)
        assert np.linalg.norm(path[-1] - nodes.loc[row.node_b].to_numpy()) < 1.6
        assert row.length_um == pytest.approx(row.length_px * movie.pixel_size_um)
        assert row.length_px >= np.linalg.norm(path[-1] - path[0]) - 1e-6


def test_tubules_have_the_stated_width():
    movie = er_movie(1, (256, 256), seed=2, sheet=False, sbt=False, tubule_width_px=5.0)
    tubule = movie.classes[0] == 2
    # three strips that meet at 120 degrees share 0.433 width^2
    shared = 0.433 * 25.0 * (movie.nodes["degree"] == 3).sum()
    assert (tubule.sum() + shared) / movie.edges["length_px"].sum() == pytest.approx(5.0, rel=0.04)
    assert distance_transform_edt(tubule).max() < 8


def test_junctions_move_but_keep_their_numbers(movie):
    first, last = (
        movie.nodes[movie.nodes["frame"] == f].query("kind == 'junction'").set_index("node_id") for f in (0, 3)
    )
    both = first.index.intersection(last.index)
    moved = np.hypot(first.loc[both, "y_px"] - last.loc[both, "y_px"], first.loc[both, "x_px"] - last.loc[both, "x_px"])
    assert len(both) > 0.8 * len(first)
    assert 0.05 < moved.median() < 3


def test_remodelling_changes_the_number_of_edges():
    still = er_movie(6, (128, 128), seed=4, drift_px=0.0, sheet=False)
    changing = er_movie(6, (128, 128), seed=4, drift_px=0.0, sheet=False, remodelling=0.4)
    assert still.edges.groupby("frame").size().nunique() == 1
    assert changing.edges.groupby("frame").size().nunique() > 1


def test_seed_decides_everything(movie):
    again = er_movie(4, (160, 192), seed=3)
    np.testing.assert_array_equal(again.frames, movie.frames)
    assert not np.array_equal(er_movie(1, (160, 192), seed=4).frames[0], movie.frames[0])


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ({"frames": 0}, "frame"),
        ({"shape_yx": (8, 64)}, "pixels"),
        ({"snr": 0}, "snr"),
        ({"snr": float("nan")}, "snr"),
        ({"pixel_size_um": -1}, "pixel_size_um"),
        ({"remodelling": 2}, "remodelling"),
    ],
)
def test_impossible_movies_are_refused(arguments, word):
    with pytest.raises(ValueError, match=word):
        er_movie(**arguments)
