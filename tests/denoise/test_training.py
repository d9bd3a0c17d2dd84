"""Training: patches and contrast, one detector, resuming, the command, and that it denoises."""

import argparse
import dataclasses
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

torch = pytest.importorskip("torch", reason="training needs torch")

from cisterna.denoise import train  # noqa: E402
from cisterna.denoise.apply import denoise_volume  # noqa: E402
from cisterna.denoise.fastfib import build  # noqa: E402
from cisterna.denoise.training import FastFibSettings, psnr, train_fastfib  # noqa: E402
from cisterna.denoise.training_data import (  # noqa: E402
    TrainingVolume,
    augment,
    blind_spots,
    contrast_match,
    cut_pair,
    draw_pair,
    recorrupted,
    training_volume,
)
from cisterna.models import load_model, read_model_folder  # noqa: E402

TINY = FastFibSettings(
    width=2, levels=2, iterations=12, patch=16, batch=2, validate_every=6, checkpoint_every=4, seed=5
)


def scene(shape: tuple[int, int, int] = (24, 40, 40)) -> np.ndarray:
    texture = gaussian_filter(np.random.default_rng(1).normal(size=shape), 2.0)
    return 120 + 40 * texture / texture.std()


def pair(noise: float = 20.0, **more) -> TrainingVolume:
    rng, clean = np.random.default_rng(2), scene()
    first = clean + rng.normal(0, noise, clean.shape)
    second = 0.6 * clean + 30 + rng.normal(0, noise, clean.shape)
    return training_volume("made", [first.astype(np.float32), second.astype(np.float32)], clean=clean, **more)


def test_contrast_is_matched_in_spite_of_noise() -> None:
    slope, offset = contrast_match(*pair(noise=20).detectors)
    assert slope == pytest.approx(1 / 0.6, rel=0.05)
    assert slope * 30 + offset == pytest.approx(0, abs=8)


@pytest.mark.parametrize("backwards", [False, True])
def test_target_has_the_contrast_of_the_input(backwards: bool) -> None:
    source, target = cut_pair(pair(noise=0.1), (slice(0, 16),) * 3, backwards)
    assert np.abs(source - target).mean() < 0.03
    assert np.abs(source).max() < 1.6


def test_unlike_detectors_are_refused() -> None:
    a = scene().astype(np.float32)
    with pytest.raises(ValueError, match="correlate by only -"):
        training_volume("inverted", [a, 255 - a])
    with pytest.raises(ValueError, match="one shape"):
        training_volume("cut", [a, a[1:]])
    with pytest.raises(ValueError, match="constant"):
        training_volume("flat", [np.full((20, 20, 20), 3, np.uint8)])


def test_held_out_planes_are_never_drawn() -> None:
    volume = pair(held_out=0.25)
    assert volume.planes == (0, 18)
    marked = [np.array(d) for d in volume.detectors]
    for d in marked:
        d[18:] = 1e6
    volume = dataclasses.replace(volume, detectors=tuple(marked))
    rng = np.random.default_rng(0)
    assert all(draw_pair([volume], 16, rng)[0].max() < 1e3 for _ in range(50))
    with pytest.raises(ValueError, match="less than a patch of 24"):
        draw_pair([volume], 24, rng)


def test_augmentation_keeps_the_pair_together() -> None:
    x = np.random.default_rng(0).normal(size=(8, 8, 8)).astype(np.float32)
    seen = set()
    for seed in range(40):
        a, b = augment(x, 2 * x, np.random.default_rng(seed), rotate=True, scale=0.0, shift=0.0)
        assert np.array_equal(2 * a, b)
        seen.add(a.tobytes())
    assert len(seen) > 20


def test_blind_voxels_show_another_voxel_and_all_others_stay() -> None:
    x = np.arange(16**3, dtype=np.float32).reshape(16, 16, 16)  # every value is unique
    altered, mask = blind_spots(x, 0.1, 2, np.random.default_rng(0))
    assert 0.07 < mask.mean() < 0.13
    assert (altered[mask] != x[mask]).all()
    assert np.array_equal(altered[~mask], x[~mask])
    where = np.array(np.unravel_index(altered[mask].astype(int), x.shape)).T
    assert np.abs(where - np.argwhere(mask)).max() <= 2


def test_pair_training_denoises() -> None:
    volume = pair()
    settings = dataclasses.replace(
        TINY, width=4, iterations=120, validate_every=120, learning_rate=5e-3, average=0.9, blur_sigma=0.0
    )
    result = train_fastfib([volume], settings, validation=[volume])
    assert result.curve[-1]["psnr_db"] > result.curve[-1]["psnr_noisy_db"] + 3
    again = denoise_volume(volume.detectors[0], result.network, range=volume.ranges[0])
    reach = float(np.ptp(volume.clean))
    assert psnr(again, volume.clean, reach) == pytest.approx(result.curve[-1]["psnr_db"], abs=1e-3)


def test_noise_is_measured() -> None:
    assert pair(noise=20.0).noise_sigma == pytest.approx(20.0, rel=0.1)
    flat = np.tile(np.linspace(0, 1, 16, dtype=np.float32), (16, 16, 1))
    assert training_volume("no noise", [flat]).noise_sigma < 1e-4


@given(strength=st.floats(0.2, 2.0), seed=st.integers(0, 1000))
@hypothesis_settings(max_examples=20, deadline=None)
def test_recorruption_makes_noise_independent(strength: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    noise = rng.normal(0, 0.3, (24, 24, 24)).astype(np.float32)
    first, second = recorrupted(noise, 0.3, strength, rng)
    # y + a z and y - z / a: variances 1 + a² and 1 + 1 / a² times the noise's own, covariance none.
    assert first.std() == pytest.approx(0.3 * (1 + strength**2) ** 0.5, rel=0.05)
    assert second.std() == pytest.approx(0.3 * (1 + strength**-2) ** 0.5, rel=0.05)
    assert abs(np.corrcoef(first.ravel(), second.ravel())[0, 1]) < 0.04
    same = np.corrcoef(first.ravel(), noise.ravel())[0, 1]
    assert same > 0.3  # the input still shows what it showed


@pytest.mark.parametrize("kind", ["recorrupt", "blind-spots"])
def test_training_on_one_detector_denoises(kind: str) -> None:
    both = pair()
    volume = dataclasses.replace(both, detectors=both.detectors[:1], ranges=both.ranges[:1])
    settings = dataclasses.replace(
        TINY,
        width=4,
        iterations=120,
        validate_every=120,
        learning_rate=5e-3,
        average=0.9,
        blind_share=0.1,
        one_detector=kind,
    )
    result = train_fastfib([volume], settings, validation=[volume])
    assert result.curve[-1]["psnr_db"] > result.curve[-1]["psnr_noisy_db"] + 2


def test_resumed_training_is_the_uninterrupted_one(tmp_path: Path) -> None:
    volume = pair()
    whole = train_fastfib([volume], TINY).network.state_dict()
    file = tmp_path / "training.pt"

    def stop(line: str) -> None:
        if line.startswith("validation"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):  # at step 6; the last checkpoint is of step 4
        train_fastfib([volume], TINY, checkpoint=file, report=stop)
    lines: list[str] = []
    resumed = train_fastfib([volume], TINY, checkpoint=file, report=lines.append).network.state_dict()
    assert lines[0].startswith("resumed at step 4")
    assert all(torch.equal(whole[k], resumed[k]) for k in whole)
    with pytest.raises(ValueError, match=r"other settings \(learning_rate\)"):
        train_fastfib([volume], dataclasses.replace(TINY, learning_rate=1.0), checkpoint=file)


def test_time_limit_ends_training_with_a_model() -> None:
    result = train_fastfib([pair()], dataclasses.replace(TINY, iterations=10**6), time_limit_s=0.5)
    assert 0 < result.curve[-1]["iteration"] < 10**6


def test_held_out_planes_are_judged() -> None:
    result = train_fastfib([pair(held_out=0.3)], TINY)
    assert 0 < result.curve[-1]["held_out_rms"] < 2


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"patch": 20, "levels": 4}, "multiple of the stride 8"),
        ({"crop": 2, "blur_sigma": 0.5}, "at least 3"),
        ({"iterations": 0}, "at least 1"),
        ({"precision": "int8"}, "precision"),
        ({"one_detector": "guess"}, "recorrupt or blind-spots"),
        ({"recorruption": 0.0}, "must be positive"),
    ],
)
def test_impossible_settings(changes: dict, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        dataclasses.replace(TINY, **changes)


def arguments(*given: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    train.add_arguments(parser)
    return parser.parse_args(given)


SMALL = ("--width", "2", "--levels", "2", "--iterations", "4", "--patch", "16", "--batch", "1")


def test_the_command_trains_from_two_files_and_fine_tunes(tmp_path: Path) -> None:
    tifffile = pytest.importorskip("tifffile")
    volume = pair()
    for name, detector in zip(("inlens", "esb"), volume.detectors, strict=True):
        tifffile.imwrite(tmp_path / f"{name}.tif", np.clip(detector, 0, 255).astype(np.uint8))
    inputs = [f"--detector=inlens={tmp_path / 'inlens.tif'}", f"--detector=esb={tmp_path / 'esb.tif'}"]
    assert train.run(arguments("--out", str(tmp_path / "first"), *inputs, *SMALL)) == 0
    spec = read_model_folder(tmp_path / "first").spec
    assert (spec["family"], spec["stride"], spec["context"], spec["demo"]) == ("fastfib", 2, 10, False)
    assert spec["training"]["settings"]["blur_sigma"] == 0.5
    more = ("--start-from", str(tmp_path / "first"), "--learning-rate", "1e-9")
    assert train.run(arguments("--out", str(tmp_path / "second"), *inputs, *SMALL, *more)) == 0
    first, second = (load_model(tmp_path / n).state_dict() for n in ("first", "second"))
    assert all(torch.allclose(first[k], second[k], atol=1e-3) for k in first)
    grey = np.clip(volume.detectors[0], 0, 255).astype(np.uint8)
    assert denoise_volume(grey, tmp_path / "first").dtype == np.uint8


def test_the_command_trains_from_one_file(tmp_path: Path) -> None:
    np.save(tmp_path / "one.npy", pair().detectors[0])
    assert train.run(arguments("--out", str(tmp_path / "m"), "--single", str(tmp_path / "one.npy"), *SMALL)) == 0
    assert "held_out_rms" in read_model_folder(tmp_path / "m").spec["metrics"]


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ((), "say what to train on"),
        (("--detector", "a=b.tif"), "give it twice"),
        (("--single", "missing.tif"), "missing.tif does not exist"),
        (("--single", "a.tif", "--phantoms", "1"), "say what to train on"),
    ],
)
def test_the_command_refuses(tmp_path: Path, given: tuple[str, ...], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        train.run(arguments("--out", str(tmp_path / "m"), *given, *SMALL))


def test_fine_tuning_another_topology_is_refused() -> None:
    with pytest.raises(ValueError, match="width 3"):
        train_fastfib([pair()], TINY, start_from=build(width=3, levels=2))
