"""Elastic deformation and rotation: what moves, moves together, and only when asked."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from cisterna.segment.deformation import SPACING, deformation, draw_deformation, nearest, sample_linear
from cisterna.segment.training_loop import TrainingSettings, _patches, train_asem
from cisterna.segment.training_volumes import LabelledVolume, draw_patch
from hypothesis import given, settings
from hypothesis import strategies as st

SMALL = TrainingSettings(("er",), num_fmaps=1, convolutions="padded", patch=24, iterations=6, learning_rate=1e-3)


def grain(shape=(30, 40, 44), seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, shape).astype(np.float32)


@settings(max_examples=30)
@given(st.integers(3, 70), st.tuples(*[st.integers(-40, 40)] * 3))
def test_without_jitter_and_rotation_a_patch_is_the_mirrored_volume(edge, first):
    volume = grain((9, 12, 15))
    still = deformation(edge, 0.0, np.zeros((3, 5, 5, 5)))
    wanted = np.pad(volume, 130, mode="reflect")[tuple(slice(130 + f, 130 + f + edge) for f in first)]
    assert np.array_equal(sample_linear(volume, first, still), wanted)
    assert np.array_equal(volume[nearest(volume.shape, first, still)], wanted)


def test_a_quarter_turn_about_z_turns_every_plane():
    volume = grain((20, 20, 20))
    turned = sample_linear(volume, (0, 0, 0), deformation(20, np.pi / 2, None))
    # the place of voxel (y, x) is (n − 1 − x, y)
    assert np.allclose(turned, volume[:, ::-1].transpose(0, 2, 1), atol=1e-4)


@settings(max_examples=15)
@given(st.integers(0, 10**6))
def test_control_points_move_by_their_jitter_and_between_them_it_is_smooth(seed):
    jitter = np.random.default_rng(seed).normal(0, 2, (3, 5, 5, 5))
    edge = 2 * SPACING
    places = deformation(edge, 0.0, jitter).places
    moved = places - np.indices(places.shape[1:])
    assert np.allclose(moved[:, ::SPACING, ::SPACING, ::SPACING], jitter[:, 1:3, 1:3, 1:3], atol=1e-3)
    assert max(np.abs(np.diff(moved, axis=axis)).max() for axis in (1, 2, 3)) < 8 * np.abs(jitter).max() / SPACING


def test_the_published_jitter_and_angle():
    drawn = [draw_deformation(40, np.random.default_rng(s), jitter_voxels=2.0, rotation=False) for s in range(60)]
    moved = np.array([d.places[:, ::32, ::32, ::32] - np.indices((40,) * 3)[:, ::32, ::32, ::32] for d in drawn])
    assert moved.std() == pytest.approx(2.0, abs=0.15)
    turned = [draw_deformation(9, np.random.default_rng(s), jitter_voxels=0).places for s in range(60)]
    angles = [np.arctan2(p[2, 0, 8, 4] - p[2, 0, 4, 4], p[1, 0, 8, 4] - p[1, 0, 4, 4]) for p in turned]
    assert min(angles) >= 0
    assert max(angles) <= np.pi / 2
    assert np.mean(angles) == pytest.approx(np.pi / 4, abs=0.2)
    assert all(np.array_equal(p[0, :, 4, 4], np.arange(9)) for p in turned)


@pytest.mark.parametrize("how", [{"elastic_jitter_voxels": 2.0}, {"rotation": True},
                                 {"elastic_jitter_voxels": 3.0, "rotation": True}])  # fmt: skip
def test_image_labels_and_masks_move_together(how):
    """A volume whose image is its truth and its mask: the deformed patch still is, but for the edges between voxels."""
    x = np.linspace(0, 9, 60)
    wave = (np.sin(x)[:, None, None] + np.sin(1.3 * x)[:, None] + np.sin(0.8 * x)) > 0.3
    volume = LabelledVolume(
        "wave", np.where(wave, 0.8, -0.8).astype(np.float32), {"er": wave.astype(np.uint8)}, masks={"er": wave}
    )
    for seed in range(12):
        patch = draw_patch([volume], ["er"], 32, 4, np.random.default_rng(seed), intensity=0.0, **how)
        inner = patch.image[4:-4, 4:-4, 4:-4]
        assert np.array_equal(patch.mask[0] > 0, patch.truth[0] > 0)
        # a voxel nearest to a labelled one lies on its side of the middle between the two
        assert inner[patch.truth[0] == 1].mean() > 0.65
        assert np.mean((inner > 0) == (patch.truth[0] == 1)) > 0.98


def test_patches_placed_on_a_class_hold_it_however_they_are_deformed():
    label = np.zeros((50, 60, 70), np.uint8)
    label[24, 30, 31] = label[3, 4, 66] = 1
    volume = LabelledVolume("two voxels", grain(label.shape), {"er": label})
    held = [
        draw_patch([volume], ["er"], 24, 4, np.random.default_rng(s), foreground_share=1.0,
                   elastic_jitter_voxels=1.0, rotation=True).truth.sum()
        for s in range(40)
    ]  # fmt: skip
    assert min(held) >= 1


def test_a_deformed_patch_depends_on_its_generator_alone_and_stays_in_range():
    volume = LabelledVolume("grain", grain(), {"er": (grain(seed=1) > 0.9).astype(np.uint8)})
    how = {"elastic_jitter_voxels": 2.0, "rotation": True}
    a, b, c = (draw_patch([volume], ["er"], 32, 4, np.random.default_rng(s), **how) for s in (5, 5, 6))
    assert np.array_equal(a.image, b.image)
    assert np.array_equal(a.truth, b.truth)
    assert not np.array_equal(a.image, c.image)
    assert np.abs(a.image).max() <= 1


def test_without_deformation_voxels_are_taken_as_they_are():
    steps = (np.rint(grain() * 4) / 4).astype(np.float32)
    volume = LabelledVolume("steps", steps, {"er": (grain(seed=1) > 0.9).astype(np.uint8)})

    def between_steps(**how):
        patch = draw_patch([volume], ["er"], 32, 4, np.random.default_rng(3), intensity=0.0, **how)
        return np.abs(patch.image * 4 - np.rint(patch.image * 4)).max()

    assert between_steps() < 1e-5
    assert between_steps(elastic_jitter_voxels=0.0, rotation=False) < 1e-5
    assert between_steps(elastic_jitter_voxels=0.5) > 0.3
    assert between_steps(rotation=True) > 0.3


def test_a_deformed_training_resumes_bit_for_bit(tmp_path):
    assert SMALL.elastic_jitter_voxels == 2.0
    assert SMALL.rotation
    volume = LabelledVolume("grain", grain(), {"er": (grain(seed=1) > 0.5).astype(np.uint8)})
    at_once = train_asem(SMALL, [volume], [])
    file = tmp_path / "state.pt"
    train_asem(replace(SMALL, iterations=3), [volume], [], state_file=file)
    said = []
    again = train_asem(SMALL, [volume], [], state_file=file, report=said.append)
    assert again.losses == at_once.losses
    assert all(torch.equal(a, b) for a, b in zip(again.network.parameters(), at_once.network.parameters(), strict=True))
    assert "iterations 3 → 6" in said[0]
    assert train_asem(replace(SMALL, elastic_jitter_voxels=0.0, rotation=False), [volume], []).losses != at_once.losses


def test_patches_cut_ahead_beside_a_gpu_are_the_same():
    volume = LabelledVolume("grain", grain(), {"er": (grain(seed=1) > 0.5).astype(np.uint8)})
    cpu, ahead = (_patches(SMALL, [volume], 4, device) for device in ("cpu", "cuda"))
    for _ in range(5):
        assert np.array_equal(next(cpu).image, next(ahead).image)
    ahead.close()


@pytest.mark.parametrize(("patch", "convolutions"), [(24, "padded"), (132, "valid")])
def test_a_volume_smaller_than_a_patch_trains(patch, convolutions):
    small = replace(SMALL, patch=patch, convolutions=convolutions, iterations=1)
    label = np.zeros((5, 9, 11), np.uint8)
    label[2, 3:6, 4:7] = 1
    state = train_asem(small, [LabelledVolume("tiny", grain(label.shape), {"er": label})], [])
    assert np.isfinite(state.losses).all()
    assert state.losses[0] > 0


def test_impossible_jitter_is_refused():
    with pytest.raises(ValueError, match="-1"):
        replace(SMALL, elastic_jitter_voxels=-1.0)
