"""Anisotropic volumes on a finer grid: blocks, tiles and regions do not show; the result has the input's grid."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="denoising needs torch")

from cisterna.denoise.apply import Denoiser, IntensityRange, denoise_detectors, prepare  # noqa: E402
from cisterna.denoise.fastfib import build  # noqa: E402
from cisterna.denoise.upsampling import denoise_upsampled, upsampled_halo  # noqa: E402
from cisterna.tiles import reflect_pad  # noqa: E402

FACTOR = (5.24 / 4, 1.0, 1.0)
RANGE = [IntensityRange(0, 255)]


@pytest.fixture(scope="module")
def small() -> Denoiser:
    torch.manual_seed(3)
    network = build(width=1)
    with torch.no_grad():
        network.final.weight.mul_(10)
    return prepare(network)


def volume(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(128, 40, shape).astype(np.float32)


def block(grey: np.ndarray, start: int, stop: int, denoiser: Denoiser, **more: object) -> np.ndarray:
    """Planes [start, stop) as a service computes them: read with the halo, mirrored beyond the volume."""
    halo = upsampled_halo(denoiser.network.reach.radius, FACTOR)
    padded = reflect_pad(grey, halo, halo)
    held = padded[start : stop + 2 * halo[0]]
    return denoise_upsampled([held], halo, RANGE, denoiser, FACTOR, offset=(start, 0, 0), **more)[0]  # type: ignore[arg-type]


def test_blocks_and_tiles_agree_with_the_whole(small: Denoiser) -> None:
    grey = volume((21, 8, 8))
    whole = block(grey, 0, 21, small)
    assert whole.shape == grey.shape
    assert whole.std() > 1
    close = 2e-5 * float(np.ptp(whole))
    assert np.abs(np.concatenate([block(grey, 0, 10, small), block(grey, 10, 21, small)]) - whole).max() < close
    assert np.abs(block(grey, 3, 18, small, tile=8) - whole[3:18]).max() < close
    # A lattice that began at the block instead of the volume would show at its first plane.
    halo = upsampled_halo(52, FACTOR)
    held = reflect_pad(grey, halo, halo)[10 : 21 + 2 * halo[0]]
    astray = denoise_upsampled([held], halo, RANGE, small, FACTOR)[0]
    assert np.abs(astray - whole[10:]).max() > 100 * close


def test_a_factor_of_one_changes_nothing(small: Denoiser) -> None:
    padded = volume((8 + 2 * 56,) * 3)
    plain = denoise_detectors([padded], 56, RANGE, small)[0]
    same = denoise_upsampled([padded], (56,) * 3, RANGE, small, (1.0, 1.0, 1.0))[0]
    assert np.abs(same - plain).max() < 1e-3


def test_gaps_come_back_as_gaps_and_spread_no_further(small: Denoiser) -> None:
    grey = volume((6, 8, 8))
    grey[2, 3, 4] = np.nan
    assert np.array_equal(np.isnan(block(grey, 0, 6, small)), np.isnan(grey))


def test_a_short_halo_and_a_factor_below_one_are_refused(small: Denoiser) -> None:
    halo = upsampled_halo(52, FACTOR)
    assert halo == (42, 54, 54)
    padded = volume(tuple(8 + 2 * h for h in halo))
    with pytest.raises(ValueError, match="ask for"):
        denoise_upsampled([padded], (halo[0] - 1, *halo[1:]), RANGE, small, FACTOR)
    with pytest.raises(ValueError, match="from 1 to 64"):
        denoise_upsampled([padded], halo, RANGE, small, (0.5, 1.0, 1.0))
