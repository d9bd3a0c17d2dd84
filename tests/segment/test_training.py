"""The loss, the patches, the loop, and what it leaves."""

import json
from argparse import ArgumentParser
from dataclasses import replace

import numpy as np
import pytest
import torch
from cisterna.models import load_model, read_model_folder
from cisterna.segment.accuracy import best_threshold, object_agreement, voxel_agreement
from cisterna.segment.loss import balanced_cross_entropy
from cisterna.segment.probability import IntensityRule, prepare, volume_probability
from cisterna.segment.shared_trunk import SharedAsem
from cisterna.segment.train import add_arguments, run
from cisterna.segment.training_loop import TrainingSettings, patch_of, resume, start, step, train_asem
from cisterna.segment.training_volumes import LabelledVolume, draw_patch, normalise
from cisterna.segment.volume_files import file_volume
from torch.nn import functional

SMALL = TrainingSettings(("er",), num_fmaps=1, convolutions="padded", patch=24, iterations=4, learning_rate=1e-3)


def blobs(seed=0, shape=(30, 34, 38)):
    """Dark balls in a bright volume, and their instances."""
    rng = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1)
    labels = np.zeros(shape, np.uint16)
    for n, z in enumerate((6, 22)):
        labels[((grid - (z, *rng.integers(8, 24, 2))) ** 2).sum(-1) <= 25] = n + 1
    image = np.where(labels > 0, -0.6, 0.6) + rng.normal(0, 0.1, shape)
    return LabelledVolume(f"blobs {seed}", np.clip(image, -1, 1).astype(np.float32), {"er": labels})


def test_unbalanced_loss_is_the_masked_mean():
    torch.manual_seed(0)
    logits, truth = torch.randn(1, 2, 4, 4, 4), torch.randint(0, 2, (1, 4, 4, 4))
    mask = (torch.rand(1, 4, 4, 4) > 0.5).float()
    expected = functional.cross_entropy(logits, truth, reduction="none")[mask > 0].mean()
    assert torch.allclose(balanced_cross_entropy(logits, truth, mask, balance=0.0), expected)


def test_balanced_loss_weighs_classes_alike_and_clips_rare_ones():
    logits = torch.zeros(1, 2, 10, 10, 10)
    logits[:, 1] = 2.0  # says "foreground" everywhere
    truth = torch.zeros(1, 10, 10, 10, dtype=torch.long)
    truth[:, :1, :1, :5] = 1  # 0.5 %, clipped to 1 %
    wrong, right = np.log(1 + np.exp(2.0)), np.log(1 + np.exp(-2.0))
    foreground, background = 5 / (2 * 0.01), 995 / (2 * 0.99)  # 0.995 is clipped to 0.99
    expected = (foreground * right + background * wrong) / (foreground + background)
    found = balanced_cross_entropy(logits, truth, torch.ones(1, 10, 10, 10))
    assert float(found) == pytest.approx(expected, rel=1e-5)


def test_the_loss_of_an_empty_mask_is_zero():
    found = balanced_cross_entropy(
        torch.randn(1, 2, 3, 3, 3), torch.zeros(1, 3, 3, 3, dtype=torch.long), torch.zeros(1, 3, 3, 3)
    )
    assert float(found) == 0


def test_patches_keep_image_and_truth_together():
    """A volume whose image is its truth: whatever the augmentation, bright is labelled."""
    truth = np.zeros((20, 26, 31), np.uint8)
    truth[3:9, 5:20, 7:11] = 1
    volume = LabelledVolume("one", np.where(truth, 0.9, -0.9).astype(np.float32), {"er": truth})
    seen = set()
    for seed in range(40):
        patch = draw_patch([volume], ["er"], 24, 4, np.random.default_rng(seed))
        inner = patch.image[4:-4, 4:-4, 4:-4]
        assert patch.truth.shape == (1, 16, 16, 16)
        if patch.truth.any() and not patch.truth.all():
            assert inner[patch.truth[0] == 1].min() > inner[patch.truth[0] == 0].max()
        assert np.abs(patch.image).max() <= 1
        seen.add(patch.image.tobytes())
    assert len(seen) > 30


def test_a_patch_depends_on_its_generator_alone():
    volume = blobs()
    a, b = (draw_patch([volume], ["er"], 24, 4, np.random.default_rng(9)) for _ in range(2))
    assert np.array_equal(a.image, b.image)
    assert np.array_equal(a.truth, b.truth)


def test_foreground_share_centres_patches():
    volume = blobs(shape=(30, 90, 90))
    shares = {}
    for share in (0.0, 1.0):
        drawn = [
            draw_patch([volume], ["er"], 24, 4, np.random.default_rng(s), foreground_share=share).truth.any()
            for s in range(60)
        ]
        shares[share] = np.mean(drawn)
    assert shares[1.0] == 1.0
    assert shares[0.0] < 0.6


def test_unknown_voxels_are_masked_and_poorly_known_patches_rare():
    volume = blobs(shape=(64, 40, 40))
    mask = np.zeros(volume.image.shape, bool)
    mask[:40] = True
    volume = replace(volume, mask=mask)
    known = [draw_patch([volume], ["er"], 24, 4, np.random.default_rng(s)).mask.mean() for s in range(40)]
    assert np.mean(np.array(known) >= 0.75) > 0.8


@pytest.mark.parametrize(
    ("image", "labels", "sentence"),
    [
        (np.zeros((4, 4), np.float32), {}, "z, y, x"),
        (np.full((4, 4, 4), np.nan, np.float32), {}, "NaN"),
        (np.zeros((4, 4, 4), np.float32), {"er": np.zeros((4, 4, 5))}, r"\(4, 4, 5\)"),
    ],
)
def test_unusable_volumes_are_refused(image, labels, sentence):
    with pytest.raises(ValueError, match=sentence):
        LabelledVolume("bad", image, labels)


def test_normalise_maps_the_range_and_inverts():
    grey = np.array([0, 50, 100, 150, 255], np.uint8)
    assert normalise(grey, 50, 150).tolist() == [-1, -1, 0, 1, 1]
    assert normalise(grey, 50, 150, invert=True).tolist() == [1, 1, 0, -1, -1]
    with pytest.raises(ValueError, match="constant"):
        normalise(grey, 7, 7)


def test_training_learns_and_resumes_to_the_same_network(tmp_path):
    settings = replace(SMALL, num_fmaps=4, iterations=24, learning_rate=3e-3)
    at_once = train_asem(settings, [blobs()], [blobs(1)])
    assert np.mean(at_once.losses[-5:]) < 0.7 * np.mean(at_once.losses[:5])
    file = tmp_path / "state.pt"
    train_asem(replace(settings, iterations=12), [blobs()], [], state_file=file)
    again = train_asem(settings, [blobs()], [], state_file=file)
    assert again.iteration == 24
    assert again.losses == at_once.losses
    assert all(torch.equal(a, b) for a, b in zip(again.network.parameters(), at_once.network.parameters(), strict=True))


def test_a_state_of_another_network_is_refused(tmp_path):
    file = tmp_path / "state.pt"
    train_asem(replace(SMALL, iterations=1), [blobs()], [], state_file=file)
    with pytest.raises(ValueError, match="num_fmaps 1, not 2"):
        resume(file, replace(SMALL, num_fmaps=2))
    file.write_bytes(b"junk")
    with pytest.raises(ValueError, match="not a state file"):
        resume(file, SMALL)


def test_nothing_to_learn_from_is_said():
    with pytest.raises(ValueError, match="nothing to train on"):
        train_asem(SMALL, [], [])
    empty = LabelledVolume("empty", np.zeros((8, 8, 8), np.float32), {"er": np.zeros((8, 8, 8), np.uint8)})
    with pytest.raises(ValueError, match="class er"):
        train_asem(SMALL, [empty], [])


@pytest.mark.parametrize(
    "wrong",
    [{"patch": 30}, {"patch": 16}, {"convolutions": "valid", "patch": 128}, {"convolutions": "same"},
     {"precision": "float16"}, {"iterations": 0}, {"learning_rate": float("nan")}],
)  # fmt: skip
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(ValueError, match=str(next(iter(wrong.values())))):
        replace(SMALL, **wrong)


def test_learning_rate_rises_and_falls():
    settings = replace(SMALL, iterations=100, warm_up=10, learning_rate=1.0, final_learning_rate=0.1)
    rates = [settings.rate(i) for i in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert np.argmax(rates) in (9, 10)
    assert rates[-1] == pytest.approx(0.1, abs=0.01)
    assert {replace(SMALL, iterations=100).rate(i) for i in range(100)} == {1e-3}


def test_a_rate_by_fan_in_moves_every_level_alike():
    """Adam's first step moves each weight by the rate, so a layer's sum moves by the rate times its inputs."""
    settings = replace(SMALL, num_fmaps=2, rate_by_fan_in=True, warm_up=0, gradient_norm=0.0)
    state = start(settings)
    before = {name: value.clone() for name, value in state.network.state_dict().items()}
    step(settings, state, patch_of(settings, [blobs()], 0), "cpu")
    moved = {
        name: float((value - before[name]).abs().max()) * value.shape[1]
        for name, value in state.network.state_dict().items()
        if value.ndim == 5
    }
    narrow = "unet.l_conv.0.conv_pass.0.weight"  # its one input is fewer than the finest level has: the whole rate
    assert moved.pop(narrow) == pytest.approx(settings.learning_rate, rel=1e-3)
    assert list(moved.values()) == pytest.approx([2 * settings.learning_rate] * len(moved), rel=1e-2)


def test_one_class_leaves_the_shared_network_as_it_was():
    torch.manual_seed(1)
    shared = SharedAsem(("er", "copi"), 2).eval()
    x = torch.rand(1, 1, 100, 100, 100) * 2 - 1
    with torch.inference_mode():
        both = shared(x)
        for index, name in enumerate(shared.classes):
            assert torch.equal(shared.single(name)(x), both[:, index])
    assert not torch.equal(both[:, 0], both[:, 1])


def test_padded_patches_agree_with_the_valid_network_inside():
    """Far from the border the padded forward pass is the valid one at the pooling phase of its origin."""
    torch.manual_seed(2)
    shared = SharedAsem(("er",), 1).double().eval()
    x = torch.randn(1, 1, 120, 112, 112, dtype=torch.float64)
    with torch.inference_mode():
        padded = shared.forward_padded(x)
        # cells of the padded pass start at 0 mod 8, of a valid pass at 14 ≡ 6 mod 8 of its input: shift by 2
        valid = shared(x[:, :, 2:110, 2:102, 2:102])
    assert torch.allclose(padded[..., 49:63, 49:55, 49:55], valid, rtol=0, atol=1e-9)


def test_agreement_of_objects():
    truth = np.zeros((3, 10, 30), np.int64)
    truth[1, 2:5, 2:5], truth[1, 2:5, 10:13], truth[1, 2:5, 20:23] = 1, 2, 3
    found = truth > 0
    found[1, 2:5, 20:22] = False  # a third of object 3 left
    found[1, 7:9, 1:9] = True  # invented
    result = object_agreement(found, truth)
    assert (result.truth, result.predicted) == (3, 4)
    assert result.recall == pytest.approx(2 / 3)
    assert result.precision == pytest.approx(3 / 4)
    assert np.isnan(object_agreement(found & False, truth * 0).recall)


def test_best_threshold_maximises_dice():
    rng = np.random.default_rng(0)
    truth = rng.random((20, 20, 20)) < 0.2
    probability = np.clip(rng.normal(np.where(truth, 190, 90), 30), 0, 255).astype(np.uint8)
    dice = [voxel_agreement(probability >= t, truth).dice for t in range(1, 256)]
    assert best_threshold(probability, truth) == int(np.argmax(dice)) + 1
    assert best_threshold(probability, truth & False) == 128


def arguments(*words):
    parser = ArgumentParser()
    add_arguments(parser)
    return parser.parse_args(list(map(str, words)))


def test_the_command_trains_from_files_and_writes_model_folders(tmp_path, capsys):
    for n in range(2):
        volume = blobs(n)
        np.save(tmp_path / f"raw{n}.npy", ((volume.image + 1) * 100).astype(np.uint8))
        np.save(tmp_path / f"er{n}.npy", volume.labels["er"])
    data = [{"image": f"raw{n}.npy", "labels": {"er": f"er{n}.npy"}, "held_out": n == 1} for n in range(2)]
    (tmp_path / "data.json").write_text(json.dumps(data))
    words = ["--output", tmp_path, "--classes", "er", "--data", tmp_path / "data.json", "--demo", "--patch", 24,
             "--iterations", 4, "--num-fmaps", 2, "--validate-every", 2, "--name", "mine"]  # fmt: skip
    with pytest.raises(ValueError, match="--voxel-size-nm"):
        run(arguments(*words))
    assert run(arguments(*words, "--voxel-size-nm", 5.24, 4, 4)) == 0
    assert "mine-er" in capsys.readouterr().out
    model = read_model_folder(tmp_path / "mine-er")
    assert model.spec["voxel_size_nm"] == [5.24, 4, 4]
    assert model.spec["class"] == "er"
    assert not model.spec["demo"]
    assert model.spec["metrics"]["threshold"] == 128
    assert model.spec["metrics"]["on"] == ["raw1.npy"]
    # the figures in model.json are those of the network in the folder
    held_out = file_volume(tmp_path / "raw1.npy", {"er": tmp_path / "er1.npy"})
    probability = volume_probability(held_out.image, prepare(load_model(tmp_path / "mine-er")), IntensityRule(-1, 1))[0]
    dice = voxel_agreement(probability >= 128, held_out.labels["er"]).dice
    assert model.spec["metrics"]["voxels"]["dice"] == pytest.approx(dice, abs=2e-3)
    curves = json.loads((tmp_path / "mine-er" / "curves.json").read_text())
    assert [v["iteration"] for v in curves["validations"]] == [2, 4]
    assert (tmp_path / "mine-er" / "curves.png").stat().st_size > 1000


@pytest.mark.parametrize(
    ("entries", "sentence"),
    [("[]", "must hold a list"), ('[{"image": "a.npy"}]', "labels for er"), ("nonsense", "JSON"),
     ('[{"image": "a.npy", "labels": {"er": "b.npy"}, "maks": "c"}]', "unknown: maks"),
     ('[{"image": "a.npy", "labels": {"er": "b.npy"}}]', "no file")],
)  # fmt: skip
def test_an_unusable_list_of_volumes_is_explained(tmp_path, entries, sentence):
    (tmp_path / "data.json").write_text(entries)
    words = ["--output", tmp_path, "--classes", "er", "--data", tmp_path / "data.json", "--voxel-size-nm", 8, 8, 8]
    with pytest.raises(ValueError, match=sentence):
        run(arguments(*words))


def test_a_volume_file_of_objects_is_not_opened(tmp_path):
    np.save(tmp_path / "raw.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match="plain NumPy"):
        file_volume(tmp_path / "raw.npy", {})
