"""Areas, sphericities and axes of objects: true for known shapes, the same for every tiling and position."""

import numpy as np
import pytest
from cisterna.chunks import BlockGrid, Box
from cisterna.eres.objects import objects_frame
from cisterna.eres.shape import principal_axes, surface_area_nm2
from cisterna.eres.sums import FORWARD, ObjectSums
from cisterna.tables.volumes import VESICLES
from hypothesis import given, settings
from hypothesis import strategies as st

SIZE = (5.24, 4.0, 4.0)


def ellipsoid(axes_nm, rotation, shape=(44, 56, 56)):
    grid = (np.stack(np.meshgrid(*[np.arange(n) for n in shape], indexing="ij"), -1) + 0.5) * SIZE
    away = (grid - np.array(shape) * SIZE / 2) @ rotation.T
    return (((2 * away / axes_nm) ** 2).sum(-1) <= 1).astype(np.uint32)


@pytest.mark.parametrize("seed", range(4))
def test_axes_of_a_planted_ellipsoid(seed):
    rotation = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))[0]
    axes = np.array([150.0, 90.0, 60.0])
    row = objects_frame(VESICLES, ObjectSums.of_labels(ellipsoid(axes, rotation)), SIZE, (44, 56, 56)).iloc[0]
    found = row[["axis_major_nm", "axis_middle_nm", "axis_minor_nm"]].to_numpy(float)
    np.testing.assert_allclose(found, axes, rtol=0.02)
    assert abs(row[["major_z", "major_y", "major_x"]].to_numpy(float) @ rotation[0]) > 0.999
    # Thomsen's formula for the area of an ellipsoid, within 1.2 %.
    a, b, c = (axes / 2) ** 1.6075
    assert row["surface_area_nm2"] == pytest.approx(
        4 * np.pi * ((a * b + a * c + b * c) / 3) ** (1 / 1.6075), rel=0.025
    )
    assert row["sphericity"] < 0.95


def test_a_ball_is_round_and_a_voxel_is_a_box():
    row = objects_frame(
        VESICLES, ObjectSums.of_labels(ellipsoid(np.full(3, 76.0), np.eye(3))), SIZE, (44, 56, 56)
    ).iloc[0]
    assert row["sphericity"] == pytest.approx(1, abs=0.02)
    assert row["axis_major_nm"] == pytest.approx(76, abs=1.5)
    one = np.zeros((3, 3, 3), np.uint32)
    one[1, 1, 1] = 7
    lengths, along = principal_axes(ObjectSums.of_labels(one), SIZE)
    np.testing.assert_allclose(lengths[0], 2 * np.sqrt(5 / 12) * np.array([5.24, 4.0, 4.0]))
    np.testing.assert_allclose(np.abs(along[0]), [1, 0, 0])


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    shape=st.tuples(*[st.integers(1, 12)] * 3),
    block=st.tuples(*[st.integers(1, 13)] * 3),
)
def test_sums_of_blocks_with_their_neighbours_are_those_of_the_whole(seed, shape, block):
    labels = np.random.default_rng(seed).integers(0, 4, shape).astype(np.uint32)
    whole = ObjectSums.of_labels(labels)
    grid, parts = BlockGrid(shape, block), []
    for n in range(grid.blocks):
        box = grid.box(n)
        window = box.grow(1).intersect(Box.whole(shape))
        core = box.relative_to(window.offset)
        parts.append(ObjectSums.of_labels(labels[window.slices], window.offset, shape, core=core))
    every = ObjectSums.concatenate(parts)
    for name, values in every.joined(every.label).arrays().items():
        np.testing.assert_array_equal(values, getattr(whole, name), err_msg=name)
    for label, pairs, moment in zip(whole.label, whole.pairs, whole.moment, strict=True):
        voxels = {tuple(v) for v in np.argwhere(labels == label)}
        counted = [sum(tuple(np.add(v, step)) in voxels for v in voxels) for step in FORWARD]
        assert pairs.tolist() == counted
        z, y, x = np.array(sorted(voxels)).T
        assert moment.tolist() == [int(s.sum()) for s in (z * z, y * y, x * x, z * y, z * x, y * x)]


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), move=st.tuples(*[st.integers(0, 60000)] * 3), axes=st.permutations([0, 1, 2]))
def test_position_and_axis_order_change_no_shape(seed, move, axes):
    mask = (np.random.default_rng(seed).random((6, 7, 8)) < 0.4).astype(np.uint32)
    far = tuple(m + n for m, n in zip(move, mask.shape, strict=True))
    here, there = ObjectSums.of_labels(mask), ObjectSums.of_labels(mask, move, far)
    np.testing.assert_array_equal(principal_axes(there, SIZE)[0], principal_axes(here, SIZE)[0])
    turned = ObjectSums.of_labels(mask.transpose(axes))
    size = tuple(SIZE[a] for a in axes)
    np.testing.assert_allclose(principal_axes(turned, size)[0], principal_axes(here, SIZE)[0], rtol=1e-9)
    np.testing.assert_allclose(surface_area_nm2(turned, size), surface_area_nm2(here, SIZE), rtol=1e-9)


def test_sums_beyond_64_bits_give_no_axes():
    one = ObjectSums.of_labels(np.ones((2, 2, 2), np.uint32), (2**31, 0, 0), (2**31 + 2, 2, 2))
    assert np.isnan(principal_axes(one, SIZE)[0]).all()
