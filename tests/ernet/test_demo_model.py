"""demo-ernet on phantoms whose seeds it was never trained on, and an untrained network of its topology beside it."""

import json
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import cisterna.models as models  # noqa: E402
from cisterna.ernet.frames import segment_frame  # noqa: E402
from cisterna.ernet.swin2d import build  # noqa: E402
from cisterna.ernet.train import agreement, torch_network  # noqa: E402
from cisterna.phantoms.er_movie import er_movie  # noqa: E402

SEEDS = (700_001, 700_002)


@pytest.fixture(scope="module")
def folder():
    (found,) = [path for path in models.demo_models() if path.name == "demo-ernet"]
    return Path(found)


@pytest.fixture(scope="module")
def movies():
    return [er_movie(frames=1, snr=10.0, seed=seed) for seed in SEEDS]


def scores(network, movies):
    """Agreement of the classes, and how many separate tubule pieces there are for each true one."""
    from scipy.ndimage import label

    confusion = np.zeros((4, 4), np.int64)
    pieces = []
    for movie in movies:
        frame, truth = movie.frames[0], movie.classes[0]
        classes, _ = segment_frame(frame, frame.min(), frame.max(), torch_network(network))
        confusion += np.bincount(4 * truth.reshape(-1) + classes.reshape(-1), minlength=16).reshape(4, 4)
        whole = np.ones((3, 3))
        sizes = [np.bincount(label(mask == 2, whole)[0].reshape(-1))[1:] for mask in (classes, truth)]
        pieces.append([(size >= 50).sum() for size in sizes])
    return agreement(confusion), np.sum(pieces, axis=0)


def test_it_finds_the_network_of_unseen_phantoms(folder, movies):
    found, (pieces, true_pieces) = scores(models.load_model(folder), movies)
    assert found["pixel_accuracy"] >= 0.95
    assert found["iou"]["tubule"] >= 0.8
    assert found["iou"]["sheet"] >= 0.85
    assert found["iou"]["sbt"] >= 0.4
    assert pieces <= true_pieces + 3  # tubules hang together


def test_an_untrained_network_does_not(folder, movies):
    torch.manual_seed(0)
    untrained = build(**models.read_model_folder(folder).spec["topology"]).eval()
    found, _ = scores(untrained, movies)
    assert found["pixel_accuracy"] < 0.95
    assert found["iou"]["tubule"] < 0.8
    assert found["iou"]["sheet"] < 0.85


def test_it_is_small_and_says_what_it_is(folder):
    spec = json.loads((folder / "model.json").read_text())
    assert sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) <= 2_000_000
    assert spec["demo"] is True
    assert spec["training"]["data"] == "er_movie phantoms"
    assert max(SEEDS) < 900_000  # not the held-out ones, on which its own metrics were taken
    trained_on = range(
        spec["training"]["seed"] * 10_000, spec["training"]["seed"] * 10_000 + spec["training"]["phantoms"]
    )
    assert not set(SEEDS) & set(trained_on)


def test_its_onnx_answers_as_its_weights_do(folder):
    export = pytest.importorskip("cisterna.ernet.export")
    onnx = (folder / "1/model.onnx").read_bytes()
    assert export.onnx_difference(models.load_model(folder), onnx) <= 1e-4
