"""Where training begins and ends: masks in validation, early stopping, fine-tuning, labels from chunked arrays."""

import json
from argparse import ArgumentParser
from dataclasses import replace

import numpy as np
import pytest
import torch
import zarr
from cisterna.models import load_model, read_model_folder
from cisterna.segment import training_loop
from cisterna.segment.accuracy import voxel_agreement
from cisterna.segment.export import export
from cisterna.segment.train import add_arguments, run, starting_network
from cisterna.segment.training_loop import TrainingSettings, start, train_asem, validate
from cisterna.segment.training_volumes import LabelledVolume
from cisterna.segment.unet import build
from cisterna.segment.volume_files import read_volume

SMALL = TrainingSettings(("er",), num_fmaps=1, convolutions="padded", patch=24, iterations=6, learning_rate=1e-3)


def ball(seed=0, shape=(26, 28, 30)):
    """A dark ball in a bright, grainy volume."""
    rng = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1)
    label = (((grid - np.array(shape) / 2) ** 2).sum(-1) <= 49).astype(np.uint8)
    image = np.where(label, -0.6, 0.6) + rng.normal(0, 0.1, shape)
    return LabelledVolume("ball", np.clip(image, -1, 1).astype(np.float32), {"er": label})


def test_jaccard_is_dice_over_two_less_dice():
    rng = np.random.default_rng(0)
    a = voxel_agreement(rng.random((9, 9, 9)) < 0.3, rng.random((9, 9, 9)) < 0.4)
    assert a.jaccard == pytest.approx(a.dice / (2 - a.dice))
    assert np.isnan(voxel_agreement(np.zeros(3), np.zeros(3)).jaccard)


@pytest.mark.long
def test_validation_and_model_card_count_known_voxels_only(tmp_path):
    """Labels outside the mask may say anything: no figure changes."""
    volume = ball()
    mask = np.zeros(volume.image.shape, bool)
    mask[:, 4:20, 3:25] = True
    wrong = np.where(mask, volume.labels["er"], 1 - volume.labels["er"])
    state = start(SMALL)
    found, cards = [], []
    for n, labels in enumerate((volume.labels["er"], wrong)):
        held_out = [replace(volume, labels={"er": labels}, mask=mask)]
        found.append(validate(SMALL, state.network, held_out, "cpu"))
        card = export(SMALL, state, {"er": tmp_path / f"m{n}"}, held_out, voxel_size_nm=(5, 5, 5), trained_on={},
                      demo=False, licence="none")  # fmt: skip
        cards.append(card["er"])
    assert found[0] == found[1]
    assert cards[0]["voxels"] == cards[1]["voxels"]
    unmasked = validate(SMALL, state.network, [replace(volume, labels={"er": wrong})], "cpu")
    assert unmasked != found[0]


def scores(monkeypatch, dice):
    """Validations that return these figures one after another."""
    given = iter(dice)

    def found(*_):
        each = {"dice": next(given), "precision": 0.0, "recall": 0.0, "jaccard": 0.0}
        return {"er": {"threshold": 128, "best": each, "at_128": each}}

    monkeypatch.setattr(training_loop, "validate", found)


def test_early_stopping_returns_the_best_weights_also_when_resumed(tmp_path, monkeypatch):
    settings = replace(SMALL, iterations=20)
    scores(monkeypatch, [0.1, 0.5, 0.4, float("nan"), 0.9])
    state = train_asem(settings, [ball()], [ball(1)], state_file=tmp_path / "s.pt", validate_every=1, patience=2)
    assert state.iteration == 4
    assert len(state.validations) == 4
    best = train_asem(replace(settings, iterations=2), [ball()], []).network.state_dict()
    assert all(torch.equal(value, best[key]) for key, value in state.network.state_dict().items())
    again = train_asem(settings, [ball()], [ball(1)], state_file=tmp_path / "s.pt", validate_every=1, patience=2)
    assert again.iteration == 4
    assert all(torch.equal(value, best[key]) for key, value in again.network.state_dict().items())


def test_early_stopping_without_anything_to_judge_on_is_refused():
    with pytest.raises(ValueError, match="held-out"):
        train_asem(SMALL, [ball()], [], validate_every=1, patience=2)


def test_fine_tuning_begins_at_the_given_weights(tmp_path):
    torch.manual_seed(5)
    network = build(num_fmaps=1)
    checkpoint = tmp_path / "published.pt"
    torch.save({"model_state_dict": network.state_dict()}, checkpoint)
    taken = start(SMALL, weights=starting_network(checkpoint).state_dict()).network.single("er")
    assert all(torch.equal(a, b) for a, b in zip(taken.parameters(), network.parameters(), strict=True))
    with pytest.raises(ValueError, match="do not fit 2 feature maps"):
        start(replace(SMALL, num_fmaps=2), weights=network.state_dict())


def write_ome_zarr(path, array):
    group = zarr.create_group(path, zarr_format=3)
    group.create_array("0", data=array, chunks=(16, 16, 16))
    axes = [{"name": a, "type": "space", "unit": "nanometer"} for a in "zyx"]
    datasets = [{"path": "0", "coordinateTransformations": [{"type": "scale", "scale": [5.0, 5.0, 5.0]}]}]
    group.attrs["ome"] = {"version": "0.5", "multiscales": [{"axes": axes, "datasets": datasets}]}


def test_labels_come_from_ome_zarr_and_from_a_webknossos_layer(tmp_path):
    array = np.arange(20 * 21 * 22, dtype=np.uint32).reshape(20, 21, 22)
    write_ome_zarr(tmp_path / "labels.ome.zarr", array)
    assert np.array_equal(read_volume(tmp_path / "labels.ome.zarr"), array)
    # a segmentation layer of a dataset: one magnification is a zarr3 array c, x, y, z
    layer = tmp_path / "dataset" / "segmentation" / "1"
    zarr.create_array(
        layer, data=array.transpose(2, 1, 0)[None], chunks=(1, 16, 16, 16), dimension_names=["c", "x", "y", "z"]
    )
    assert np.array_equal(read_volume(layer), array)
    several = np.stack([array, array])
    zarr.create_array(tmp_path / "two", data=several, chunks=(1, 16, 16, 16), dimension_names=["c", "z", "y", "x"])
    with pytest.raises(ValueError, match="three"):
        read_volume(tmp_path / "two")


def test_the_command_fine_tunes_a_model_folder_and_stops_early(tmp_path, capsys):
    volume = ball()
    write_ome_zarr(tmp_path / "raw.zarr", ((volume.image + 1) * 100).astype(np.uint8))
    write_ome_zarr(tmp_path / "er.zarr", volume.labels["er"])
    entry = {"image": "raw.zarr", "labels": {"er": "er.zarr"}}
    (tmp_path / "data.json").write_text(json.dumps([entry, entry | {"held_out": True}]))
    words = ["--output", tmp_path, "--classes", "er", "--data", tmp_path / "data.json", "--voxel-size-nm", 5, 5, 5,
             "--convolutions", "padded", "--patch", 24, "--iterations", 1, "--num-fmaps", 1]  # fmt: skip

    def command(*more):
        parser = ArgumentParser()
        add_arguments(parser)
        return run(parser.parse_args([*map(str, words), *map(str, more)]))

    assert command("--name", "first") == 0
    assert command("--name", "second", "--start-from", tmp_path / "first-er", "--patience", 1, "--validate-every", 1,
                   "--learning-rate", 1e-12) == 0  # fmt: skip
    assert read_model_folder(tmp_path / "second-er").spec["training"]["started_from"] == "first-er"
    first, second = (load_model(tmp_path / n).state_dict() for n in ("first-er", "second-er"))
    key = "unet.l_conv.0.conv_pass.0.weight"
    assert torch.equal(first[key], second[key])
    with pytest.raises(ValueError, match="1 feature maps, not 4"):
        command("--start-from", tmp_path / "first-er", "--num-fmaps", 4)
