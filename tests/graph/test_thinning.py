"""Holes, thinning and distances against the libraries that do the same, on any mask."""

from __future__ import annotations

import numpy as np
import pytest
from cisterna.graph.skeleton import distance_inside
from cisterna.graph.thinning import thin
from cisterna.graph.tracing import without_small_holes
from drawing import draw
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from skimage.measure import euler_number
from skimage.morphology import thin as guo_hall


@st.composite
def masks(draw, axes: tuple[int, ...] = (2, 3), largest: int = 24) -> np.ndarray:
    """Noise of any density, as it is or with its grains grown together."""
    ndim = draw(st.sampled_from(axes))
    shape = tuple(draw(st.integers(1, largest)) for _ in range(ndim))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    mask = rng.random(shape) < draw(st.floats(0, 1))
    return ndimage.binary_dilation(mask) if draw(st.booleans()) else mask


@given(masks(axes=(2,), largest=140))
@settings(max_examples=60)
def test_the_lines_of_a_frame_are_those_of_guo_and_hall(mask: np.ndarray):
    """Frames wider than two machine words too."""
    np.testing.assert_array_equal(thin(mask), guo_hall(mask))


@given(masks(axes=(3,), largest=12))
@settings(max_examples=60)
def test_a_volume_keeps_its_parts_tunnels_and_cavities(mask: np.ndarray):
    line = thin(mask)
    assert not (line & ~mask).any()
    whole = np.ones((3, 3, 3))
    assert ndimage.label(line, whole)[1] == ndimage.label(mask, whole)[1]
    padded = [np.pad(m, 1) for m in (line, mask)]
    assert euler_number(padded[0], connectivity=3) == euler_number(padded[1], connectivity=3)
    np.testing.assert_array_equal(thin(line), line)


@given(masks(), st.sampled_from([2, 5, 7, 30, 10**6]))
@settings(max_examples=150)
def test_small_holes_are_those_of_labelling(mask: np.ndarray, least: int):
    labels, count = ndimage.label(~mask)
    small = np.bincount(labels.ravel(), minlength=count + 1) < least
    for axis in range(mask.ndim):
        small[labels.take((0, -1), axis=axis)] = False
    small[0] = False
    np.testing.assert_array_equal(without_small_holes(mask, least), mask | small[labels])


@given(masks(), st.sampled_from([(1.0, 1.0, 1.0), (1.31, 1.0, 1.0), (3.0, 2.0, 1.0)]))
@settings(max_examples=150)
def test_distances_are_those_of_scipy(mask: np.ndarray, spacing: tuple[float, float, float]):
    size = np.array(spacing[-mask.ndim :])
    padded = np.pad(mask, 1, mode="edge")
    if padded.all():
        wanted = np.full(padded.shape, np.linalg.norm(np.array(mask.shape) * size) / 2)
    else:
        wanted = ndimage.distance_transform_edt(padded, sampling=size)
    np.testing.assert_allclose(distance_inside(mask, size), wanted, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("width", [2.0, 4.0, 7.0])
def test_a_ring_and_a_bar_are_thinned_to_a_ring_and_a_bar(width: float):
    line = thin(draw([((20, 10), (20, 80))], width))
    touching = ndimage.convolve(line.astype(int), np.ones((3, 3), int), mode="constant")[line] - 1
    assert sorted(np.unique(touching)) == [1, 2]
    assert (touching == 1).sum() == 2
