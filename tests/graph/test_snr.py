"""Signal-to-noise ratios of frames with known noise."""

from __future__ import annotations

import math

import numpy as np
import pytest
from cisterna.graph.areas import area_shares, grown
from cisterna.graph.snr import signal_to_noise
from cisterna.phantoms.er_movie import er_movie
from scipy import ndimage


@pytest.mark.parametrize("snr", [2.0, 5.5, 10.0, 50.0])
def test_the_ratio_of_a_phantom_comes_back(snr: float):
    movie = er_movie(frames=1, shape_yx=(192, 192), snr=snr, seed=7)
    found = signal_to_noise(movie.frames[0], movie.classes[0] > 0)
    assert found.power == pytest.approx(snr, rel=0.1)
    assert found.flag == ("ok" if snr > 5 else "low")


def test_offset_and_gain_do_not_matter():
    movie = er_movie(frames=1, shape_yx=(128, 128), seed=1)
    raw, er = movie.frames[0].astype(float), movie.classes[0] > 0
    one, other = signal_to_noise(raw, er), signal_to_noise(3 * raw + 1000, er)
    assert other.power == pytest.approx(one.power)
    assert other.mean_std == pytest.approx(one.mean_std)


def test_a_clipped_background_has_no_ratio():
    movie = er_movie(frames=1, shape_yx=(128, 128), seed=1)
    raw = movie.frames[0].astype(float)
    er = movie.classes[0] > 0
    clipped = np.maximum(raw - np.median(raw[~er]), 0)
    found = signal_to_noise(clipped, er)
    assert found.flag == "snr_not_applicable"
    assert math.isnan(found.power)


def test_coarse_grey_levels_are_not_clipping():
    rng = np.random.default_rng(0)
    er = np.zeros((128, 128), bool)
    er[60:66] = True
    raw = np.rint(20 + 1.2 * rng.normal(size=er.shape) + 30 * er).astype(np.uint8)
    assert signal_to_noise(raw, er).flag == "ok"


@pytest.mark.parametrize("fill", [0, 7])
def test_constant_or_empty_frames_have_no_ratio(fill: int):
    frame = np.full((64, 64), fill, np.uint8)
    for er in (np.zeros((64, 64), bool), np.ones((64, 64), bool), np.eye(64, dtype=bool)):
        assert signal_to_noise(frame, er).flag == "snr_not_applicable"


def test_missing_pixels_are_left_out():
    movie = er_movie(frames=1, shape_yx=(128, 128), seed=1)
    raw, er = movie.frames[0].astype(float), movie.classes[0] > 0
    whole = signal_to_noise(raw, er)
    raw[:20] = np.nan
    assert signal_to_noise(raw, er).power == pytest.approx(whole.power, rel=0.25)
    assert signal_to_noise(np.full_like(raw, np.nan), er).flag == "snr_not_applicable"


def test_shares_are_of_the_er():
    classes = np.zeros((10, 10), np.uint8)
    classes[0], classes[1:4], classes[4] = 1, 2, 3
    found = area_shares(classes, np.full((10, 10), 51, np.uint8))
    assert (found["sbt_share"], found["tubule_share"], found["sheet_share"]) == (0.2, 0.6, 0.2)
    assert found["er_share_of_image"] == 0.5
    assert found["mean_confidence"] == pytest.approx(0.2)
    nothing = area_shares(np.zeros((4, 4), np.uint8))
    assert nothing["er_share_of_image"] == 0
    assert math.isnan(nothing["tubule_share"])
    with pytest.raises(ValueError, match="class 7"):
        area_shares(np.full((2, 2), 7, np.uint8))


@pytest.mark.parametrize("shape", [(40, 30), (5, 5), (1, 9), (9, 12, 14)])
@pytest.mark.parametrize("pixels", [1, 2, 3, 4, 7])
def test_a_mask_grows_by_whole_steps(shape: tuple[int, ...], pixels: int):
    mask = np.random.default_rng(pixels).random(shape) < 0.03
    expected = ndimage.binary_dilation(mask, np.ones((3,) * len(shape)), iterations=pixels)
    before = mask.copy()
    np.testing.assert_array_equal(grown(mask, pixels), expected)
    np.testing.assert_array_equal(mask, before)
