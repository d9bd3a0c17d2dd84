"""The counts of a block: they add up, tell noise from structure, and take what blocks may hold."""

import numpy as np
import pytest
from cisterna.segment.probability import IntensityRule
from cisterna.segment.signature import BINS, CUBE, block_signature, grey_levels
from scipy.ndimage import gaussian_filter

CUBES = ("voxels", "level_sum", "square_sum", "pairs", "difference_sum", "positives")


def structure(part):
    """(standard deviation beyond the noise, noise) per cube, in levels."""
    n, pairs = part["voxels"].astype(float), part["pairs"].astype(float)
    variance = part["square_sum"] / n - (part["level_sum"] / n) ** 2
    noise = part["difference_sum"] / pairs / 2
    return np.sqrt(np.maximum(variance - noise, 0)), np.sqrt(noise)


@pytest.mark.parametrize(("dtype", "scale"), [(np.uint8, 1), (np.uint16, 250), (np.int16, 100), (np.float32, 0.01)])
@pytest.mark.parametrize("invert", [False, True])
def test_the_input_is_counted_as_the_network_sees_it(dtype: type, scale: float, invert: bool) -> None:
    torch = pytest.importorskip("torch", reason="the intensity rule is torch's")
    rng = np.random.default_rng(0)
    grey = (rng.integers(0, 256, (20, 70, 60)) * scale).astype(dtype)
    rule = IntensityRule(30 * scale, 220 * scale, invert=invert)
    seen = rule.apply(torch.from_numpy(grey.astype(np.float64))).numpy()
    expected = np.histogram(seen, bins=BINS, range=(-1, 1))[0]
    part = block_signature(grey, np.zeros(grey.shape, np.uint8), rule.low, rule.high, invert=invert)
    assert np.abs(part["input_histogram"] - expected).sum() <= grey.size // 100  # values that lie on an edge of a bin
    assert part["input_histogram"].sum() == grey.size
    assert part["input_histogram"][[0, -1]].tolist() == expected[[0, -1]].tolist()


def test_blocks_add_up_to_the_volume() -> None:
    rng = np.random.default_rng(1)
    grey = rng.integers(0, 256, (40, 64, 50)).astype(np.uint8)
    probability = rng.integers(0, 256, grey.shape).astype(np.uint8)
    whole = block_signature(grey, probability, 10, 200, threshold=200)
    parts = {}
    for z in (0, 32):
        for y in (0, 32):
            at = np.s_[z : z + 32, y : y + 32]
            parts[z // CUBE, y // CUBE] = block_signature(grey[at], probability[at], 10, 200, threshold=200)
    for name in ("input_histogram", "probability_histogram", "ambiguous", "not_finite"):
        assert np.array_equal(sum(p[name] for p in parts.values()), whole[name])
    for name in CUBES:
        assert whole[name].shape == (3, 4, 4)
        for (z, y), part in parts.items():
            here = whole[name][z : z + 2, y : y + 2]
            assert np.array_equal(part[name], here)
    assert whole["probability_histogram"].tolist() == np.histogram(probability, bins=32, range=(0, 256))[0].tolist()
    assert whole["ambiguous"] == ((probability >= 0.3 * 255) & (probability <= 0.7 * 255)).sum()
    assert whole["positives"].sum() == (probability >= 200).sum()
    assert whole["level_sum"].sum() == grey_levels(grey, 10, 200)[0].sum(dtype=int)


def test_noise_of_any_strength_is_no_structure_and_a_membrane_is() -> None:
    rng = np.random.default_rng(2)
    nothing = np.zeros((64, 64, 64), np.uint8)
    for sigma in (1, 5, 20, 40):
        found, noise = structure(block_signature(128 + rng.normal(0, sigma, nothing.shape), nothing, 0, 256))
        assert found.max() < 0.3 * sigma
        assert noise.mean() == pytest.approx(np.hypot(sigma, 12**-0.5), rel=0.03)
    grey = 170 + rng.normal(0, 20, nothing.shape)
    grey[30:33] -= 80
    found, _ = structure(block_signature(grey, nothing, 0, 256))
    assert found[1].min() > 20
    assert max(found[0].max(), found[3].max()) < 8


def test_noise_that_neighbours_share_is_no_structure_either() -> None:
    grey = gaussian_filter(np.random.default_rng(3).normal(0, 1, (32, 48, 64)), 0.7)
    found, noise = structure(block_signature(128 + 20 * grey / grey.std(), np.zeros(grey.shape, np.uint8), 0, 256))
    assert found.max() < 8
    assert noise.mean() == pytest.approx(20, rel=0.05)


def test_nan_constant_and_thin_blocks() -> None:
    grey = np.full((5, 20, 1), np.nan, np.float32)
    part = block_signature(grey, np.full(grey.shape, 255, np.uint8), 0, 1)
    assert part["not_finite"] == 100
    assert part["input_histogram"].tolist() == [100] + [0] * 31
    assert part["voxels"].shape == (1, 2, 1)
    assert part["voxels"].sum() == part["pairs"].sum() == 0
    assert part["positives"].tolist() == [[[80], [20]]]
    grey[:] = 0.5
    grey[2, 3, 0] = np.nan
    part = block_signature(grey, np.zeros(grey.shape, np.uint8), 0, 1)
    assert part["voxels"].sum() == 99
    assert part["level_sum"].sum() == 99 * 128
    assert part["difference_sum"].sum() == 0
    # 5 planes have the pairs 0-3 and 1-4, the 16 and the 4 rows of the cubes 13 and 1; the NaN costs two along y
    assert part["pairs"].ravel().tolist() == [2 * 16 + 5 * 13 - 2, 2 * 4 + 5 * 1]
    part = block_signature(np.full((1, 1, 1), 7, np.uint8), np.zeros((1, 1, 1), np.uint8), 0, 255)
    assert part["pairs"].sum() == 0
    assert part["voxels"].tolist() == [[[1]]]


def test_the_largest_sums_fit() -> None:
    grey = np.zeros((16, 16, 16), np.uint8)
    grey[::2] = 255
    part = block_signature(grey, grey, 0, 255)
    assert part["difference_sum"].item() == 13 * 256 * 255**2
    assert part["square_sum"].item() == 2048 * 255**2
    part = block_signature(np.full((16, 16, 16), 255, np.uint8), grey, 0, 255)
    assert part["square_sum"].item() == 4096 * 255**2


def test_what_cannot_be_counted_is_refused() -> None:
    grey = np.zeros((4, 4, 4), np.uint8)
    with pytest.raises(ValueError, match="low < high"):
        block_signature(grey, grey, 3, 3)
    with pytest.raises(ValueError, match="one shape"):
        block_signature(grey, grey[:3], 0, 1)
    with pytest.raises(ValueError, match="one shape"):
        block_signature(grey[:0], grey[:0], 0, 1)
