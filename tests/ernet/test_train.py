"""Training: it learns, it goes on where it stopped, and it refuses what it cannot use."""

import argparse
import json

import numpy as np
import pytest

torch = pytest.importorskip("torch")
tifffile = pytest.importorskip("tifffile")
image_module = pytest.importorskip("PIL.Image")

from cisterna.ernet import export, train, training  # noqa: E402
from cisterna.ernet.frames import segment_frame  # noqa: E402
from cisterna.ernet.train import CHECKPOINT, ErnetSettings, add_arguments, run, settings_of, train_ernet  # noqa: E402
from cisterna.ernet.training_frames import phantom_frames  # noqa: E402
from cisterna.ernet.training_settings import PUBLISHED, rate  # noqa: E402
from cisterna.ernet.training_stacks import LabelRule  # noqa: E402
from cisterna.models import load_model, read_model_folder  # noqa: E402

NARROW = {"embed": 8, "depths": [1, 1], "heads": 2, "mlp_ratio": 2.0, "classes": 4}
TEMPORAL = {
    "frames": 3, "embed": 8, "depths": [2], "heads": [2], "window": [2, 4], "mlp_ratio": 2.0,
    "channels": 8, "squeezed": 2, "residual_blocks": 1, "classes": 4,
}  # fmt: skip


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    """Bright stripes of tubule (grey 255) on background, noisy; four frames of 64²."""
    place = tmp_path_factory.mktemp("stack")
    rng = np.random.default_rng(0)
    marks = np.zeros((4, 64, 64), np.uint8)
    marks[:, :, 10::16] = marks[:, :, 11::16] = marks[:, :, 12::16] = 255
    images = 200 + 500 * (marks > 0) + rng.normal(0, 60, marks.shape)
    tifffile.imwrite(place / "images.tif", images.astype(np.uint16), photometric="minisblack")
    tifffile.imwrite(place / "labels.tif", marks, photometric="minisblack")
    return place / "images.tif", place / "labels.tif"


def settings(**changes):
    chosen = {"steps": 40, "batch": 2, "crop_px": 24, "learning_rate": 1e-2, "threads": 1, "topology": NARROW}
    return ErnetSettings(**chosen | {"validations": 1} | changes)


def quiet(line):
    assert line


def arguments(*words):
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return parser.parse_args([str(word) for word in words])


@pytest.fixture
def weights_only(monkeypatch):
    """Leaves out the ONNX file, which takes longer than these trainings, where a test looks at weights only."""
    monkeypatch.setattr(export, "to_onnx", lambda network: b"none")


@pytest.fixture(scope="module")
def trained(stack, tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained") / "stripes"
    return folder, train_ernet(folder, settings(), "stripes", stacks=[stack], report=quiet)


def test_it_learns_stripes_and_writes_a_model_that_works(trained, stack):
    folder, metrics = trained
    assert metrics["iou"]["tubule"] > 0.8
    assert metrics["iou"]["sheet"] is None
    assert metrics["er_fractions"]["true"] == {"sbt": 0.0, "tubule": 1.0, "sheet": 0.0}
    assert metrics["er_share"]["found"] == pytest.approx(metrics["er_share"]["true"], rel=0.2)
    spec = read_model_folder(folder).spec
    assert spec["metrics"] == metrics
    assert spec["tubule_width_px"] == pytest.approx(3, abs=0.4)
    assert spec["training"]["loss"][-1][1] < 0.7 * spec["training"]["loss"][0][1]
    ((step, held_out),) = spec["training"]["validation"]
    assert (step, held_out["frames"]) == (20, 1)
    live = (folder.parent / "stripes.training" / "loss.csv").read_text().splitlines()
    assert live == ["step,loss", *(f"{step},{loss}" for step, loss in spec["training"]["loss"])]
    image, label = (tifffile.imread(path)[-1] for path in stack)
    classes, _ = segment_frame(image, image.min(), image.max(), train.torch_network(load_model(folder)))
    assert ((classes == 2) == (label == 255)).mean() > 0.97
    assert not (folder / CHECKPOINT).exists()


@pytest.mark.usefixtures("weights_only")
def test_an_interrupted_training_ends_with_the_same_weights(trained, stack, tmp_path):
    folder = tmp_path / "stripes"

    def stop_at_20(line):
        if line.startswith("held out at step 20"):
            raise KeyboardInterrupt

    again = {"stacks": [stack], "checkpoint_s": 0.0}
    with pytest.raises(KeyboardInterrupt):
        train_ernet(folder, settings(), "stripes", report=stop_at_20, **again)
    said = []
    train_ernet(folder, settings(), "stripes", report=said.append, **again)
    assert any(line.startswith("going on from step 19") for line in said)
    ours, theirs = read_model_folder(folder), read_model_folder(trained[0])
    assert all(np.array_equal(ours.weights[key], theirs.weights[key]) for key in theirs.weights)
    assert [ours.spec["training"][key] for key in ("loss", "validation")] == [
        theirs.spec["training"][key] for key in ("loss", "validation")
    ]
    said.clear()
    train_ernet(folder, settings(steps=41), "stripes", report=said.append, **again)
    assert said[1].startswith("going on from step 40")
    assert [line.split("  ")[0] for line in said[2:]] == ["step 41/41"]
    with pytest.raises(ValueError, match="other settings, frames"):
        train_ernet(folder, settings(seed=1), "stripes", report=quiet, **again)
    with pytest.raises(ValueError, match="other settings, frames"):
        train_ernet(folder, settings(), "stripes", report=quiet, held_out_stacks=(), **again)


@pytest.mark.usefixtures("weights_only")
def test_fine_tuning_starts_from_the_models_weights(trained, stack, tmp_path):
    folder, _ = trained
    still = settings(steps=1, learning_rate=1e-12, validations=0)
    alone = {"stacks": [stack], "report": quiet}
    train_ernet(tmp_path / "tuned", still, "tuned", start=folder, **alone)
    ours, theirs = read_model_folder(tmp_path / "tuned"), read_model_folder(folder)
    assert ours.spec["training"]["from"] == theirs.digest
    assert all(np.array_equal(ours.weights[key], theirs.weights[key]) for key in theirs.weights)
    with pytest.raises(ValueError, match="topology"):
        train_ernet(tmp_path / "t", settings(topology=NARROW | {"embed": 16}), "t", start=folder, **alone)
    temporal = settings(family="ernet-swin3d", topology=TEMPORAL)
    with pytest.raises(ValueError, match="family"):
        train_ernet(tmp_path / "t", temporal, "t", start=folder, **alone)
    assert settings_of(arguments(tmp_path / "t", "--from", folder)).topology == NARROW


@pytest.mark.usefixtures("weights_only")
def test_a_tubule_mask_teaches_nothing_about_sheets(stack, tmp_path):
    """A new network never finds what its labels lack; a fine-tuned one keeps what it knew, its sheet row untouched."""
    rule = LabelRule(mask_of="tubule")
    short = settings(steps=12, validations=0, batch=1)
    alone = {"stacks": [stack], "labels": rule, "held_out_stacks": (), "report": quiet}
    assert train_ernet(tmp_path / "new", short, "new", **alone) == {}
    new = read_model_folder(tmp_path / "new")
    assert new.spec["training"]["known_classes"] == [0, 2]
    with torch.no_grad():
        logits = load_model(tmp_path / "new")(torch.rand(1, 1, 32, 32)).numpy()
    assert logits[:, [1, 3]].max() == -30.0
    assert set(np.unique(logits.argmax(1))) <= {0, 2}
    # Labels of all four classes teach the silent ones: a bias of -30 would take thousands of steps to climb from.
    train_ernet(tmp_path / "more", short, "more", start=tmp_path / "new", stacks=[stack], report=quiet)
    more = read_model_folder(tmp_path / "more")
    assert more.spec["training"]["known_classes"] == [0, 1, 2, 3]
    assert more.weights["segmentation_decode.bias"].min() > -1

    parts = [tmp_path / "i.tif", tmp_path / "l.tif"]
    for path, source in zip(parts, stack, strict=True):
        tifffile.imwrite(path, tifffile.imread(source)[:2], photometric="minisblack")
    train_ernet(tmp_path / "four", short, "four", stacks=[tuple(parts)], held_out_stacks=(), report=quiet)
    train_ernet(tmp_path / "tuned", short, "tuned", start=tmp_path / "four", **alone)
    four, tuned = (read_model_folder(tmp_path / name) for name in ("four", "tuned"))
    assert tuned.spec["training"]["known_classes"] == [0, 1, 2, 3]
    for key in ("segmentation_decode.weight", "segmentation_decode.bias"):
        assert np.array_equal(tuned.weights[key][[1, 3]], four.weights[key][[1, 3]])
        assert not np.array_equal(tuned.weights[key][[0, 2]], four.weights[key][[0, 2]])


def test_the_temporal_network_learns_and_comes_back_from_its_folder(stack, tmp_path):
    """The loss of family B falls below half of what the share of tubule pixels (3 in 16) alone would allow."""
    temporal = settings(
        family="ernet-swin3d", topology=TEMPORAL, steps=100, crop_px=24, learning_rate=3e-2, validations=0
    )
    metrics = train_ernet(tmp_path / "b", temporal, "b", report=quiet, stacks=[stack])
    ours = read_model_folder(tmp_path / "b").spec
    share = 3 / 16
    assert ours["training"]["loss"][-1][1] < -0.5 * (share * np.log(share) + (1 - share) * np.log(1 - share))
    assert metrics["iou"]["tubule"] > 0.6
    assert (ours["family"], ours["frames"]) == ("ernet-swin3d", 3)
    with torch.no_grad():
        assert load_model(tmp_path / "b")(torch.rand(1, 3, 36, 40)).shape == (1, 4, 36, 40)


@pytest.mark.usefixtures("weights_only")
def test_phantom_training_keeps_its_frames_and_never_trains_on_held_out_seeds(tmp_path, monkeypatch):
    made = []

    def small(seeds, frames):
        made.append((list(seeds), frames))
        return phantom_frames(seeds, (32, 40), frames)

    monkeypatch.setattr(training, "phantom_frames", small)
    said = []
    few = settings(steps=1, phantoms=2, held_out=1, crop_px=16, validations=0)
    metrics = train_ernet(tmp_path / "m", few, "m", report=said.append, work=tmp_path / "w", demo=True)
    assert made == [([0, 1], 1), ([900_000], 1)]
    assert metrics["snr"] == 10.0
    train_ernet(tmp_path / "m2", few, "m2", report=said.append, work=tmp_path / "w")
    assert len(made) == 2
    spec = read_model_folder(tmp_path / "m").spec
    assert spec["demo"] is True
    assert spec["training"]["data"] == "er_movie phantoms"
    with pytest.raises(ValueError, match="held-out"):
        train_ernet(tmp_path / "m3", settings(seed=90), "m3", report=said.append)


def test_one_labelled_frame_is_too_few_unless_nothing_is_held_out(tmp_path, capsys):
    for name in ("i.tif", "l.tif"):
        tifffile.imwrite(tmp_path / name, np.eye(32, dtype=np.uint8) * 2)
    words = [tmp_path / "m", "--images", tmp_path / "i.tif", "--labels", tmp_path / "l.tif"]
    assert run(arguments(*words)) == 2
    assert "--hold-out-nothing" in capsys.readouterr().err
    both = ["--held-out-images", tmp_path / "i.tif", "--held-out-labels", tmp_path / "l.tif", "--hold-out-nothing"]
    assert run(arguments(*words, *both)) == 2
    assert "contradict" in capsys.readouterr().err


def test_published_settings_are_a_preset_that_options_change(tmp_path):
    chosen = settings_of(arguments(tmp_path / "m", "--preset", "lu2023-iterations", "--batch", "4"))
    assert (chosen.steps, chosen.learning_rate, chosen.crop_px, chosen.batch) == (65_000, 1e-5, 128, 4)
    assert [rate(step, chosen) for step in (0, 29_999, 30_000, 60_000)] == [1, 1, 0.5, 0.25]
    epochs = ErnetSettings(**PUBLISHED["lu2023-epochs"])
    assert (epochs.learning_rate, epochs.steps // 65, epochs.halve_every // 65) == (1e-4, 100, 50)
    assert rate(0, settings(steps=100)) == pytest.approx(1 / 3)
    assert rate(99, settings(steps=100)) == pytest.approx(0.01, abs=0.002)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--images", "a.tif"], "--labels"),
        (["--held-out-images", "a.tif"], "--held-out-labels"),
        (["--crop-px", "33"], "even"),
        (["--crop-px", "34", "--family", "ernet-swin3d"], "multiple of 4"),
        (["--steps", "0"], "steps"),
        (["--images", "none.tif", "--labels", "none.tif"], "none.tif"),
        (["--embed", "10", "--heads", "4", "--phantoms", "1"], "heads"),
        (["--channels", "8"], "family B"),
        (["--class-weights", "tubule"], "CLASS=WEIGHT"),
        (["--class-weights", "membrane=2"], "membrane"),
        (["--precision", "int4"], "int4"),
        (["--schedule", "never"], "never"),
        (["--classes", "tubule", "--mask-of", "tubule"], "two classes"),
        (["--from", "nowhere"], "nowhere"),
    ],
)
def test_arguments_that_cannot_be_used_end_with_2_and_a_sentence(tmp_path, capsys, words, sentence, monkeypatch):
    monkeypatch.setattr(training, "phantom_frames", lambda seeds, frames: [])
    assert run(arguments(tmp_path / "m", *words)) == 2
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "m").exists()


def test_the_command_trains_at_another_pixel_size_in_bfloat16(tmp_path, stack, capsys):
    narrow = ["--embed", "8", "--heads", "2", "--depths", "1", "--steps", "2", "--crop-px", "16", "--threads", "1"]
    pair = ["--images", stack[0], "--labels", stack[1], "--mask-of", "tubule", "--trust-px", "3"]
    more = ["--model-pixel-size-um", "0.1", "--precision", "bfloat16", "--augmentation", "another-cell"]
    more += ["--class-weights", "tubule=2", "--dice-weight", "0.5"]
    assert run(arguments(tmp_path / "m", *narrow, *pair, "--pixel-size-um", "0.05", *more)) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("3 labelled frames to train on: background ")
    assert json.loads(said[-1])["frames"] == 1
    spec = read_model_folder(tmp_path / "m").spec
    assert spec["pixel_size_um"] == 0.1
    assert spec["training"]["image_pixel_size_um"] == 0.05
    assert spec["training"]["class_weights"] == {"tubule": 2.0}
    assert spec["training"]["labels"]["trust_px"] == 3.0
    picture = image_module.open(tmp_path / "m.training" / "training.png").convert("RGB")
    assert (0, 255, 255) in {colour for _, colour in picture.getcolors(1 << 24)}  # the true tubules, cyan
