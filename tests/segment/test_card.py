"""The card beside model.json: what a person reads, true to the model and no part of its digest."""

import io
import json
from argparse import ArgumentParser
from dataclasses import replace

import numpy as np
import pytest
import torch
from cisterna.cli.main import main
from cisterna.models import read_model_folder
from cisterna.segment.card import LARGEST_PICTURE, SWEEP, hardware, slices_picture
from cisterna.segment.export import export
from cisterna.segment.living_channels import levels
from cisterna.segment.train import add_arguments, run
from cisterna.segment.training_loop import TrainingSettings, start, train_asem
from cisterna.segment.training_volumes import LabelledVolume
from cisterna.store import open_store
from PIL import Image

SMALL = TrainingSettings(("er", "copi"), num_fmaps=2, convolutions="padded", patch=24, iterations=3, learning_rate=1e-3)


def volume(name="cell", shape=(24, 30, 28), seed=0):
    rng = np.random.default_rng(seed)
    image = rng.uniform(-1, 1, shape).astype(np.float32)
    labels = {"er": (image < -0.5).astype(np.uint8), "copi": np.zeros(shape, np.uint8)}
    labels["copi"][3:6, 10:14, 5:9] = 1
    return LabelledVolume(name, image, labels)


def exported(folder, state, held_out, **more):
    words = {"voxel_size_nm": (5.24, 4, 4), "trained_on": {"data": ["cell"]}, "demo": False, "licence": "CC0-1.0"}
    export(SMALL, state, {"er": folder}, held_out, **(words | more))
    return read_model_folder(folder).spec, (folder / "card.md").read_text()


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "mine-er"
    state = train_asem(SMALL, [volume()], [volume("other", seed=1)], validate_every=3)
    return folder, state, *exported(folder, state, [volume("other", seed=1)])


def test_the_card_says_what_model_json_says(model):
    _, state, spec, card = model
    voxels = spec["metrics"]["voxels"]
    assert f"| voxels | {voxels['dice']:.3f} | {voxels['jaccard']:.3f}" in card
    for said in ("5.24 × 4 × 4 nm", "**er**", "learnt beside copi", "CC0-1.0", "patch 24", "3 iterations", "On cell.",
                 spec["training"]["hardware"], "curves.png", "slices.png", "diagnosis"):  # fmt: skip
        assert said in card
    assert hardware("cpu") == spec["training"]["hardware"]
    shares = spec["metrics"]["living_channels"]
    assert set(shares) == set(state.validations[-1]["living_channels"])
    for level, share in levels(shares).items():
        assert f"| {level} | {share:.0%}" in card


def test_the_sweep_on_the_card_is_that_of_the_model(model):
    _, _, spec, card = model
    rows = spec["metrics"]["threshold_sweep"]
    assert [r["level"] for r in rows] == list(SWEEP)
    at_128 = next(r for r in rows if r["level"] == 128)
    for name in ("dice", "precision", "recall"):
        assert at_128[name] == pytest.approx(spec["metrics"]["voxels"][name], abs=1e-4)
    assert card.count("\n| ") > len(SWEEP)


def test_the_digest_covers_neither_card_nor_pictures(model):
    folder, _, spec, _ = model
    for name in ("card.md", "slices.png", "curves.png"):
        assert (folder / name).is_file()
        (folder / name).rename(folder / f"{name}.away")
    assert read_model_folder(folder).spec["digest"] == spec["digest"]
    for name in ("card.md", "slices.png", "curves.png"):
        (folder / f"{name}.away").rename(folder / name)


def test_the_slices_show_image_truth_and_probability():
    """Truth is green, probability orange, and a masked part is dark in the middle column alone."""
    shape = (9, 40, 50)
    label = np.zeros(shape, np.uint8)
    label[:, 10:20, 10:20] = 1
    mask = np.ones(shape, bool)
    mask[:, :, 30:] = False
    one = LabelledVolume("v", np.zeros(shape, np.float32), {"er": label}, mask)
    picture = np.asarray(Image.open(io.BytesIO(slices_picture([one], [label * np.uint8(255)], "er"))).convert("RGB"))
    assert picture.shape == (3 * 40, 3 * 50, 3)
    image, truth, found = (picture[:40, 50 * n : 50 * (n + 1)].astype(int) for n in range(3))
    assert np.ptp(image) == 0
    assert truth[15, 15, 1] > truth[15, 15, 0] + 20
    assert found[15, 15, 0] > found[15, 15, 2] + 50
    assert truth[5, 40, 0] < 0.6 * image[5, 40, 0]
    assert found[5, 40, 0] == image[5, 40, 0]


def test_a_picture_of_noise_stays_small():
    rng = np.random.default_rng(0)
    image = rng.uniform(-1, 1, (3, 300, 300)).astype(np.float32)
    noisy = LabelledVolume("v", image, {"er": (image > 0.5).astype(np.uint8)})
    picture = slices_picture([noisy], [rng.integers(0, 255, image.shape).astype(np.uint8)], "er")
    assert 10_000 < len(picture) <= LARGEST_PICTURE
    assert slices_picture([], [], "er") is None


def test_without_anything_held_out_the_card_says_so_and_channels_are_counted_on_training_voxels(tmp_path):
    spec, card = exported(tmp_path / "alone", start(SMALL), [], trained_volumes=[volume()])
    assert set(spec["metrics"]) == {"living_channels"}
    assert len(spec["metrics"]["living_channels"]) == 14
    assert "No volume was held out" in card
    assert "before it was judged at all" in card
    assert not (tmp_path / "alone" / "slices.png").exists()


def test_a_dead_level_and_a_demonstration_stand_on_the_card(tmp_path):
    state = start(SMALL)
    with torch.no_grad():
        for layer in state.network.unet.r_conv[0][1].conv_pass[::2]:
            layer.weight.zero_()
            layer.bias.fill_(-1)
    spec, card = exported(tmp_path / "dead", state, [volume()], demo=True)
    assert spec["metrics"]["living_channels"]["r_conv.0.1.conv_pass.2"] == 0
    assert "no longer uses what lies beyond 5 voxels" in card
    assert "**(too few)**" in card
    assert "phantoms only" in card
    assert "of the same image as the training's" in card  # "cell" is trained on and held out


def test_the_command_warns_of_a_dead_level_at_validations_and_at_the_end(tmp_path, capsys):
    state = start(SMALL)
    with torch.no_grad():
        for layer in state.network.unet.l_conv[2].conv_pass[::2]:
            layer.weight.zero_()
            layer.bias.fill_(-1)
    exported(tmp_path / "dead", state, [])
    np.save(tmp_path / "raw.npy", ((volume().image + 1) * 100).astype(np.uint8))
    np.save(tmp_path / "er.npy", volume().labels["er"])
    entry = {"image": "raw.npy", "labels": {"er": "er.npy"}}
    (tmp_path / "data.json").write_text(json.dumps([entry, entry | {"held_out": True}]))
    parser = ArgumentParser()
    add_arguments(parser)
    words = ["--output", tmp_path, "--classes", "er", "--data", tmp_path / "data.json", "--voxel-size-nm", 5, 5, 5,
             "--convolutions", "padded", "--patch", 24, "--iterations", 1, "--validate-every", 1,
             "--start-from", tmp_path / "dead"]  # fmt: skip
    assert run(parser.parse_args(list(map(str, words)))) == 0
    said = capsys.readouterr().err
    assert "living channels at least 0% (l_conv.2)" in said
    assert said.count("warning: 0% of the channels of l_conv.2 are alive") == 2
    assert "beyond 14 voxels" in said


def test_metrics_count_only_what_is_judged(tmp_path):
    state = start(SMALL)
    inside = np.zeros((24, 30, 28), bool)
    inside[:, :15] = True
    whole = volume("other", seed=1)
    lying = {**whole.labels, "er": np.where(inside, whole.labels["er"], 1)}
    judged = [
        exported(tmp_path / f"m{n}", state, [replace(whole, labels=labels, metric_masks={"er": inside})])[0]["metrics"]
        for n, labels in enumerate((whole.labels, lying))
    ]
    assert json.dumps(judged[0]) == json.dumps(judged[1])
    assert judged[0]["voxels"]["dice"] > 0


def test_the_card_goes_into_the_store_and_show_points_at_it(model, tmp_path, capsys):
    folder, _, spec, card = model
    store = ("--store", f"file://{tmp_path}/store")
    assert main(["models", "add", str(folder), *store]) == 0
    capsys.readouterr()
    assert main(["models", "show", "mine-er", *store]) == 0
    shown = capsys.readouterr()
    assert json.loads(shown.out)["digest"] == spec["digest"]
    assert "models/mine-er/card.md" in shown.err
    assert open_store(store[1]).get("models/mine-er/card.md").decode() == card
