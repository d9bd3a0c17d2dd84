"""Where the voxels of one lattice lie on another, what must be read for them, and which sums make them."""

import numpy as np
import pytest
from cisterna.chunks import Box
from cisterna.lattice import blur_radius, blur_sigma, box_here, box_there, factor_between, halo, interpolated, taps
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter1d, map_coordinates

factors = st.one_of(st.just(1.0), st.floats(0.125, 8.0), st.sampled_from([5.24 / 4, 0.5, 2.0, 1 / 3]))


def test_interpolation_is_linear_between_voxels_and_flat_beyond() -> None:
    ramp = np.arange(5, dtype=np.float32)[:, None, None] * np.ones((1, 2, 2), np.float32)
    found = interpolated(ramp, [np.array([10.25, 12.0, 13.5, 99.0]), np.arange(2.0), np.arange(2.0)], (10, 0, 0))
    assert found[:, 0, 0].tolist() == [0.25, 2.0, 3.5, 4.0]


@pytest.mark.parametrize("factor", [0.125, 0.4, 0.5, 0.8, 0.95, 1.0, 1.31, 4.0])
def test_sums_are_a_gaussian_and_then_linear_interpolation(factor: float) -> None:
    line = np.random.default_rng(0).normal(size=200)
    places = np.arange(int(60 * factor), int(140 * factor)) / factor
    first, weights = taps(places, factor)
    found = [w @ line[f : f + len(w)] for f, w in zip(first, weights, strict=True)]
    sigma = blur_sigma(factor)
    blurred = gaussian_filter1d(line, sigma, radius=blur_radius(factor)) if blur_radius(factor) else line
    assert np.allclose(found, map_coordinates(blurred, [places], order=1), atol=1e-6)
    assert np.allclose(weights.sum(axis=1), 1)


def test_the_gaussian_is_that_of_scikit_image() -> None:
    from skimage.transform import resize

    line = np.random.default_rng(1).normal(size=(300, 1))
    # `resize` samples at (k + ½)/factor − ½: the middle of a line is where both meet, for an odd number of halves.
    ours = gaussian_filter1d(line[:, 0], blur_sigma(1 / 3), radius=blur_radius(1 / 3))
    assert resize(line, (100, 1), order=1, anti_aliasing=True, mode="reflect")[40:60, 0] == pytest.approx(
        ours[121:180:3], abs=1e-6
    )


@given(offset=st.integers(-3000, 3000), size=st.integers(1, 300), reach=st.integers(0, 60), factor=factors)
def test_boxes_hold_what_sums_need_and_no_halo_is_too_small(offset: int, size: int, reach: int, factor: float) -> None:
    box = Box((offset,), (size,))
    there = box_there(box, (factor,))
    first, weights = taps(np.arange(box.offset[0], box.end[0]) * factor)
    assert there.offset[0] == first[0]
    assert there.end[0] - 1 <= first[-1] + weights.shape[1] <= there.end[0]
    around = there.grow(reach)
    here = box_here(around, (factor,))
    first, weights = taps(np.arange(around.offset[0], around.end[0]) / factor, factor)
    assert here.offset[0] == first[0]
    assert here.end[0] - 1 <= first[-1] + weights.shape[1] <= here.end[0]
    assert box.grow(halo(reach, (factor,))).contains(here)


def test_which_axes_are_resampled() -> None:
    assert factor_between((8, 8, 8), (8, 8, 8)) == ()
    assert factor_between((8.7, 8, 7.4), (8, 8, 8)) == ()
    assert factor_between((5.24, 4, 4), (5, 5, 5)) == (1.0, 0.8, 0.8), "z is near enough and keeps its planes"
    assert factor_between((5.24, 4, 4), (5, 5, 5), "always") == (5.24 / 5, 0.8, 0.8)
    assert factor_between((8.0001, 8, 8), (8, 8, 8), "always") == ()
    assert factor_between((100, 1, 1), (8, 8, 8), "never") == ()
    assert factor_between((64, 1, 8), (8, 8, 8)) == (8, 0.125, 1)
    with pytest.raises(
        ValueError, match=r"65 × 8 × 8 nm are more than 8 times larger or smaller along an axis than 8 × 8 × 8 nm"
    ):
        factor_between((65, 8, 8), (8, 8, 8))
    with pytest.raises(ValueError, match="unknown resampling mode 'maybe'"):
        factor_between((8, 8, 8), (8, 8, 8), "maybe")
