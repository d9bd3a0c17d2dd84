"""Scores of cubes: standard normal on noise, large where structure was taken for noise; parts repeat byte for byte."""

import io

import numpy as np
import pytest
from cisterna.denoise.trust_map import CUBE, cube_scores, plane_profiles, trust_part
from cisterna.store.parts import to_npz
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

SHAPE = (48, 64, 80)


def noisy(seed: int, sigma: float = 10.0, level: float = 120.0) -> np.ndarray:
    grey = level + np.random.default_rng(seed).normal(0, sigma, SHAPE)
    return np.clip(np.rint(grey), 0, 255).astype(np.float32)


def test_scores_of_noise_are_standard_normal() -> None:
    flat = np.full(SHAPE, 120.0, np.float32)
    found = [cube_scores([noisy(2 * n), noisy(2 * n + 1)], [flat, flat]) for n in range(6)]
    for name in ("lag_score", "shared_score"):
        scores = np.stack([f[name] for f in found])
        assert scores.shape[1:] == (3, 4, 5)
        assert abs(scores.mean()) < 0.2  # 360 cubes: 0.05 expected
        assert scores.std() == pytest.approx(1, abs=0.15)
        assert scores.max() < 4.5


def test_noise_that_grows_with_the_signal_and_uneven_planes_raise_no_alarm() -> None:
    """Variance differs tenfold from voxel to voxel, and each plane of each detector has a brightness of its own."""
    rng = np.random.default_rng(5)
    scene = gaussian_filter(rng.normal(size=SHAPE), 3)
    strength = np.exp(1.2 * scene / scene.std()) * 5
    raws = [100 + strength * rng.normal(size=SHAPE) + rng.normal(0, 2, (SHAPE[0], 1, 1)) for _ in (0, 1)]
    found = cube_scores(raws, [np.full(SHAPE, 100.0)] * 2)
    for scores in found.values():
        assert abs(scores.mean()) < 0.6
        assert scores.max() < 4.5


def test_what_a_denoiser_leaves_in_makes_the_score_negative_only() -> None:
    raws = [noisy(11), noisy(12)]
    found = cube_scores(raws, [gaussian_filter(r, 1.0) for r in raws])
    assert found["lag_score"].max() < -3
    assert abs(found["shared_score"].mean()) < 0.5


def test_structure_taken_for_noise_is_found_where_it_is() -> None:
    """A ball of contrast half the noise is missing from the denoised picture, in one cube."""
    z, y, x = np.ogrid[: SHAPE[0], : SHAPE[1], : SHAPE[2]]
    ball = 6.0 * ((z - 24) ** 2 + (y - 40) ** 2 + (x - 56) ** 2 < 7**2)
    flat = np.full(SHAPE, 120.0, np.float32)
    raws = [noisy(21) + ball, noisy(22) + ball]
    for scores in cube_scores(raws, [flat, flat]).values():
        assert np.unravel_index(np.argmax(scores), scores.shape) == (1, 2, 3)
        assert scores.max() > 6
        assert np.delete(scores.ravel(), np.argmax(scores)).max() < 4.5
    kept = cube_scores(raws, [flat + ball, flat + ball])
    assert max(s.max() for s in kept.values()) < 4.5


@settings(max_examples=15, deadline=None)
@given(st.tuples(st.integers(1, 40), st.integers(1, 40), st.integers(1, 40)), st.integers(0, 3))
def test_any_shape_and_any_gaps(shape: tuple[int, int, int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    raw = rng.normal(100, 9, shape)
    raw[rng.random(shape) < 0.1 * seed] = np.nan
    part = trust_part([raw], [np.full(shape, 100.0)], np.full(shape, 100.0))
    assert part["lag_score"].shape == tuple(-(-n // CUBE) for n in shape)
    assert not np.isinf(part["lag_score"]).any()
    assert all(np.isfinite(v).all() for n, v in part.items() if n != "lag_score")
    assert part["plane_count"].shape == (shape[0],)


def test_a_constant_block_and_a_block_of_nan_have_no_score() -> None:
    for value in (7.0, np.nan):
        block = np.full((20, 20, 20), value, np.float32)
        assert np.isnan(cube_scores([block], [block])["lag_score"]).all()
        assert (plane_profiles(block)["stripe_sum"] == 0).all()


def test_parts_repeat_byte_for_byte() -> None:
    raw = noisy(3)
    part = trust_part([raw], [gaussian_filter(raw, 1)], gaussian_filter(raw, 1))
    assert to_npz(part) == to_npz(dict(reversed(part.items())))
    with np.load(io.BytesIO(to_npz(part)), allow_pickle=False) as back:
        assert set(back.files) == set(part)
