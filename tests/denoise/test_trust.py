"""The figures that say how far to trust a denoised volume, on signals whose answer is known."""

import numpy as np
import pytest
from cisterna.denoise.trust import (
    block_figures,
    correlation,
    fourier_shell_correlation,
    neighbour_correlation,
    noise_sigma,
    resolved_frequency,
)
from scipy.ndimage import gaussian_filter

SHAPE = (48, 56, 64)


def scene(sigma: float = 2.5) -> np.ndarray:
    texture = gaussian_filter(np.random.default_rng(0).normal(size=SHAPE), sigma)
    return 120 + 30 * texture / texture.std()


def noise(sigma: float, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, sigma, SHAPE)


@pytest.mark.parametrize("sigma", [3.0, 12.0])
def test_noise_is_measured_under_structure(sigma: float) -> None:
    assert noise_sigma(scene() + noise(sigma, 1)) == pytest.approx(sigma, rel=0.05)
    assert noise_sigma(scene()) < 0.5


def test_noise_of_uint8_planes_and_gaps() -> None:
    grey = np.clip(np.rint(scene() + noise(8, 1)), 0, 255).astype(np.uint8)
    assert noise_sigma(grey) == pytest.approx(8, rel=0.06)
    assert noise_sigma(noise(5, 2)[:1]) == pytest.approx(5, rel=0.06)
    holed = noise(5, 2)
    holed[10] = np.nan
    assert noise_sigma(holed) == pytest.approx(5, rel=0.05)
    assert np.isnan(noise_sigma(np.zeros((1, 1, 1))))
    assert noise_sigma(np.full((4, 4, 4), 7)) == 0


def test_whiteness() -> None:
    assert np.abs(neighbour_correlation(noise(1, 3))).max() < 0.02
    smeared = neighbour_correlation(gaussian_filter(noise(1, 3), (0, 0, 1)))
    assert smeared[2] > 0.7
    assert abs(smeared[0]) < 0.05


def test_fourier_shells_fall_where_the_noise_takes_over() -> None:
    clean = scene()
    frequency, same = fourier_shell_correlation(clean, clean)
    assert np.allclose(same, 1)
    assert frequency[-1] <= 0.5
    _, apart = fourier_shell_correlation(noise(1, 4), noise(1, 5))
    assert np.abs(apart[5:]).max() < 0.2
    quiet = resolved_frequency(*fourier_shell_correlation(clean + noise(2, 4), clean + noise(2, 5)))
    loud = resolved_frequency(*fourier_shell_correlation(clean + noise(40, 4), clean + noise(40, 5)))
    assert quiet > loud + 0.05
    with pytest.raises(ValueError, match="one shape"):
        fourier_shell_correlation(clean, clean[1:])


def test_block_figures_tell_a_good_denoiser_from_a_blur() -> None:
    clean = scene()
    raw = [clean + noise(15, 6), clean + noise(15, 7)]
    good = block_figures(raw, [clean, clean])
    blur = block_figures(raw, [gaussian_filter(r, 3.0) for r in raw])
    assert good["noise_sigma_before"] == pytest.approx(15, rel=0.05)
    assert good["noise_sigma_after"] < 1
    assert abs(good["residual_whiteness"]) < 0.02
    assert blur["residual_whiteness"] > 0.2
    assert abs(good["residual_signal_correlation"]) < 0.02 < blur["residual_signal_correlation"]
    assert good["fsc_after"] > good["fsc_before"]


def test_block_figures_of_odd_blocks_are_finite_or_absent() -> None:
    flat = np.full((1, 5, 5), 9, np.uint8)
    for raw in ([flat], [flat, flat], [np.full((4, 4, 4), np.nan, np.float32)] * 2):
        figures = block_figures(raw, raw)
        assert all(np.isfinite(v) for v in figures.values())
    assert correlation(flat, flat) == 0
