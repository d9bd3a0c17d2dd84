"""Training: it learns, it goes on where it stopped, and it refuses what it cannot use."""

import argparse
import json

import numpy as np
import pytest

torch = pytest.importorskip("torch")
tifffile = pytest.importorskip("tifffile")

from cisterna.ernet import train  # noqa: E402
from cisterna.ernet.train import CHECKPOINT, ErnetSettings, add_arguments, agreement, run, train_ernet  # noqa: E402
from cisterna.ernet.training_frames import Degradation, degraded, labelled_stack, phantom_frames  # noqa: E402
from cisterna.models import load_model, read_model_folder  # noqa: E402

NARROW = {"embed": 8, "depths": [1, 1], "heads": 2, "mlp_ratio": 2.0, "classes": 4}


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    """Bright stripes of tubule (grey 255) on background, noisy; frames of 64²."""
    place = tmp_path_factory.mktemp("stack")
    rng = np.random.default_rng(0)
    marks = np.zeros((4, 64, 64), np.uint8)
    marks[:, :, 10::16] = marks[:, :, 11::16] = marks[:, :, 12::16] = 255
    images = 200 + 500 * (marks > 0) + rng.normal(0, 60, marks.shape)
    tifffile.imwrite(place / "images.tif", images.astype(np.uint16), photometric="minisblack")
    tifffile.imwrite(place / "labels.tif", marks, photometric="minisblack")
    return place / "images.tif", place / "labels.tif"


def settings(**changes):
    return ErnetSettings(
        **{"steps": 60, "batch": 2, "crop_px": 32, "learning_rate": 1e-2, "threads": 1, "topology": NARROW} | changes
    )


def quiet(line):
    assert line


@pytest.fixture(scope="module")
def trained(stack, tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained") / "stripes"
    return folder, train_ernet(folder, settings(), "stripes", stacks=[stack], report=quiet)


def test_it_learns_stripes_and_writes_a_model_that_works(trained, stack):
    folder, metrics = trained
    assert metrics["iou"]["tubule"] > 0.8
    assert metrics["iou"]["sheet"] is None
    spec = read_model_folder(folder).spec
    assert spec["metrics"] == metrics
    assert spec["training"]["loss"][-1][1] < 0.5 * spec["training"]["loss"][0][1]
    network = load_model(folder)
    from cisterna.ernet.frames import segment_frame

    image, label = (tifffile.imread(path)[-1] for path in stack)
    classes, _ = segment_frame(image, image.min(), image.max(), train.torch_network(network))
    assert ((classes == 2) == (label == 255)).mean() > 0.97
    assert not (folder / CHECKPOINT).exists()


def test_an_interrupted_training_ends_with_the_same_weights(trained, stack, tmp_path):
    folder = tmp_path / "stripes"

    def stop_at_40(line):
        if line.startswith("step 40/"):
            raise KeyboardInterrupt

    again = {"stacks": [stack], "checkpoint_s": 0.0}
    with pytest.raises(KeyboardInterrupt):
        train_ernet(folder, settings(), "stripes", report=stop_at_40, **again)
    said = []
    train_ernet(folder, settings(), "stripes", report=said.append, **again)
    assert any(line.startswith("going on from step 39") for line in said)
    ours, theirs = read_model_folder(folder).weights, read_model_folder(trained[0]).weights
    assert all(np.array_equal(ours[key], theirs[key]) for key in theirs)
    said.clear()
    train_ernet(folder, settings(steps=61), "stripes", report=said.append, **again)
    assert [line.split("  ")[0] for line in said] == [
        f"going on from step 60 of {tmp_path}/stripes.training/checkpoint.pt",
        "step 61/61",
    ]
    with pytest.raises(ValueError, match="other settings"):
        train_ernet(folder, settings(seed=1), "stripes", report=quiet, **again)


def test_phantom_frames_repeat_and_keep_the_stated_snr():
    first, again, other = (phantom_frames([seed], (64, 96))[0] for seed in (1, 1, 2))
    assert np.array_equal(first.signal, again.signal)
    assert not np.array_equal(first.classes, other.classes)
    assert first.signal.shape == first.classes.shape == (64, 96)
    how = Degradation(snr=(10, 10), blur_px=(0, 0), haze=(0, 0), gamma=(1, 1))
    noise = degraded(first.signal, how, np.random.default_rng(0)) - first.signal
    assert np.mean(first.signal.astype(float) ** 2) / np.mean(noise**2) == pytest.approx(10, rel=0.1)


def test_phantom_training_keeps_its_frames_and_never_trains_on_held_out_seeds(tmp_path, monkeypatch):
    made = []

    def small(seeds):
        made.append(list(seeds))
        return phantom_frames(seeds, (32, 40))

    monkeypatch.setattr(train, "phantom_frames", small)
    said = []
    few = settings(steps=1, phantoms=2, held_out=1, crop_px=16)
    metrics = train_ernet(tmp_path / "m", few, "m", report=said.append, work=tmp_path / "w", demo=True)
    assert made == [[0, 1], [900_000]]
    assert metrics["snr"] == 10.0
    train_ernet(tmp_path / "m2", few, "m2", report=said.append, work=tmp_path / "w")
    assert len(made) == 2
    spec = read_model_folder(tmp_path / "m").spec
    assert spec["demo"] is True
    assert spec["training"]["data"] == "er_movie phantoms"
    with pytest.raises(ValueError, match="held-out"):
        train_ernet(tmp_path / "m3", settings(seed=90), "m3", report=said.append)


def test_labels_by_number_or_published_grey(tmp_path, stack):
    assert set(np.unique(labelled_stack(*stack)[0].classes)) == {0, 2}
    images, numbers = tmp_path / "i.tif", tmp_path / "n.tif"
    tifffile.imwrite(images, np.zeros((8, 8), np.float32))
    tifffile.imwrite(numbers, np.arange(64, dtype=np.uint8).reshape(8, 8) % 4)
    (frame,) = labelled_stack(images, numbers)
    assert frame.classes[0].tolist() == [0, 1, 2, 3, 0, 1, 2, 3]
    tifffile.imwrite(numbers, np.full((8, 8), 99, np.uint8))
    with pytest.raises(ValueError, match="99"):
        labelled_stack(images, numbers)
    tifffile.imwrite(numbers, np.zeros((4, 4), np.uint8))
    with pytest.raises(ValueError, match="one shape"):
        labelled_stack(images, numbers)


def test_agreement_of_a_known_confusion():
    found = agreement(np.array([[6, 0, 2, 0], [0, 0, 0, 0], [1, 0, 3, 0], [0, 0, 0, 0]]))
    assert found["pixel_accuracy"] == 0.75
    assert found["iou"] == {"background": 0.6667, "sbt": None, "tubule": 0.5, "sheet": None}
    assert found["f1"]["tubule"] == 0.6667


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--images", "a.tif"], "--labels"),
        (["--crop-px", "33"], "even"),
        (["--steps", "0"], "steps"),
        (["--images", "none.tif", "--labels", "none.tif"], "none.tif"),
        (["--embed", "10", "--heads", "4", "--phantoms", "1"], "heads"),
    ],
)
def test_arguments_that_cannot_be_used_end_with_2_and_a_sentence(tmp_path, capsys, arguments, sentence, monkeypatch):
    monkeypatch.setattr(train, "phantom_frames", lambda seeds: [])
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    assert run(parser.parse_args([str(tmp_path / "m"), *arguments])) == 2
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "m").exists()


def test_the_command_trains(tmp_path, stack, capsys):
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    narrow = ["--embed", "8", "--heads", "2", "--depths", "1", "--steps", "2", "--crop-px", "16", "--threads", "1"]
    pair = ["--images", str(stack[0]), "--labels", str(stack[1])]
    assert run(parser.parse_args([str(tmp_path / "m"), *narrow, *pair, "--pixel-size-um", "0.05"])) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["frames"] == 1
    assert read_model_folder(tmp_path / "m").spec["pixel_size_um"] == 0.05
