"""The static scene repeats what a frame is: brightness, blur, noise and its correlation; and it survives odd frames."""

import os
from pathlib import Path

import numpy as np
import pytest
from cisterna.graph.static_scene import correlated_noise, neighbour_correlation, static_scene
from cisterna.phantoms import er_movie
from scipy.ndimage import gaussian_filter


@pytest.mark.parametrize("snr", [3.0, 10.0])
def test_the_scene_has_the_frame_in_it(snr):
    movie = er_movie(1, (192, 192), seed=11, snr=snr, psf_sigma_px=1.2)
    clean = er_movie(1, (192, 192), seed=11, snr=float("inf")).frames[0].astype(float) - 200
    scene = static_scene(movie.frames[0], movie.classes[0])
    assert scene.snr_power == pytest.approx(snr, rel=0.06)
    assert scene.noise_source == "background"
    assert scene.noise_correlation < 0.03
    assert 0.85 <= scene.psf_sigma_px <= 1.5
    drawn = scene.clean - scene.background
    assert np.corrcoef(drawn.ravel(), clean.ravel())[0, 1] > 0.98
    er = movie.classes[0] > 0
    assert drawn[er].mean() == pytest.approx(clean[er].mean(), rel=0.05)


def test_frames_differ_by_noise_of_the_stated_strength_and_repeat():
    movie = er_movie(1, (160, 160), seed=12, snr=5.0)
    scene = static_scene(movie.frames[0], movie.classes[0])
    a, b, again = scene.frame(0), scene.frame(1), scene.frame(0)
    assert a.dtype == np.uint16
    np.testing.assert_array_equal(a, again)
    assert (a.astype(float) - b).std() == pytest.approx(np.sqrt(2) * scene.noise_sigma, rel=0.03)


def test_a_dim_tubule_that_the_classes_miss_is_still_there():
    raw = np.full((96, 96), 100.0)
    raw[30:34] += 400.0
    raw[60:64] += 90.0
    classes = np.zeros((96, 96), np.uint8)
    classes[30:34] = 2
    noisy = gaussian_filter(raw, 1.0) + np.random.default_rng(0).normal(0, 25, raw.shape)
    scene = static_scene(noisy, classes)
    missed = scene.clean[61:63].mean() - scene.background
    assert missed > 30
    assert abs(scene.clean[85:].mean() - scene.background) < 3


@pytest.mark.parametrize("correlation", [0.0, 0.2, 0.45, 0.65, 0.8])
def test_noise_has_the_stated_correlation(correlation):
    noise = correlated_noise((300, 300), correlation, np.random.default_rng(1))
    assert noise.std() == pytest.approx(1.0, rel=0.02)
    assert neighbour_correlation(noise, np.ones(noise.shape, bool)) == pytest.approx(correlation, abs=0.03)


def test_correlated_noise_of_a_frame_is_measured():
    movie = er_movie(1, (192, 192), seed=13, snr=float("inf"))
    noise = 40 * correlated_noise((192, 192), 0.5, np.random.default_rng(2))
    scene = static_scene(movie.frames[0] + noise, movie.classes[0])
    assert scene.noise_correlation == pytest.approx(0.5, abs=0.08)
    assert scene.noise_sigma == pytest.approx(40, rel=0.1)
    assert scene.frame(0).dtype == np.float64


def test_a_clipped_background_takes_its_noise_from_fine_detail():
    movie = er_movie(1, (160, 160), seed=14, snr=10.0)
    offset = np.median(movie.frames[0][movie.classes[0] == 0])
    clipped = np.maximum(movie.frames[0].astype(float) - offset, 0).astype(np.uint16)
    scene = static_scene(clipped, movie.classes[0])
    assert scene.noise_source == "fine_detail"
    assert scene.noise_sigma > 0
    assert scene.frame(3).min() == 0


@pytest.mark.parametrize("kind", ["empty", "constant", "full", "nan", "tiny"])
def test_odd_frames_give_a_scene(kind):
    rng = np.random.default_rng(5)
    shape = (2, 2) if kind == "tiny" else (48, 48)
    raw = rng.normal(100, 5, shape)
    classes = np.zeros(shape, np.uint8)
    if kind == "constant":
        raw[:] = 7.0
    if kind == "full":
        classes[:] = 3
    if kind == "nan":
        raw[10:20] = np.nan
        classes[30:33] = 2
    scene = static_scene(raw, classes)
    frame = scene.frame(1)
    assert frame.shape == shape
    assert np.isfinite(frame).all()
    row = scene.row(5, 12)
    assert (row["source_frame"], row["frames"]) == (5, 12)


def test_other_shapes_are_refused():
    with pytest.raises(ValueError, match="one frame and its classes"):
        static_scene(np.zeros((4, 4)), np.zeros((4, 5), np.uint8))


def test_a_wide_field_frame_is_repeated():
    folder = os.environ.get("CISTERNA_TEST_DATA")
    if not folder:
        pytest.skip("CISTERNA_TEST_DATA names no folder of real images")
    tifffile = pytest.importorskip("tifffile")
    where = Path(folder) / "er_cos7_widefield"
    raw, mask = (tifffile.imread(where / f"stack1_f000_{name}.tif")[300:700, 400:800] for name in ("raw", "mask"))
    scene = static_scene(raw, np.where(mask > 0, 2, 0).astype(np.uint8))
    drawn = scene.frame(0)
    assert drawn.dtype == raw.dtype
    assert np.corrcoef(drawn.ravel(), raw.ravel())[0, 1] > 0.9
    assert 0 < scene.noise_sigma < raw.std()
