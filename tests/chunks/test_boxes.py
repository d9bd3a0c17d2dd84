"""Boxes, grids and reflections keep their promises for every shape."""

from __future__ import annotations

import numpy as np
import pytest
from cisterna.chunks import BlockGrid, Box, block_edge, nm_to_voxels, reflect_indices
from hypothesis import given
from hypothesis import strategies as st

edges = st.integers(1, 40)
shapes = st.tuples(edges, edges, edges)
offsets = st.tuples(*[st.integers(-20, 20)] * 3)


@given(shapes, st.tuples(*[st.integers(1, 17)] * 3))
def test_blocks_cover_the_array_once(shape: tuple[int, ...], block: tuple[int, ...]) -> None:
    grid = BlockGrid(shape, block)
    seen = np.zeros(shape, int)
    for i in range(grid.blocks):
        seen[grid.box(i).slices] += 1
        assert grid.index(grid.position(i)) == i
    assert (seen == 1).all()


@given(shapes, st.tuples(*[st.integers(1, 17)] * 3), offsets, shapes)
def test_overlapping_blocks_are_those_that_share_a_voxel(
    shape: tuple[int, ...], block: tuple[int, ...], offset: tuple[int, ...], size: tuple[int, ...]
) -> None:
    grid, box = BlockGrid(shape, block), Box(offset, size)
    expected = [i for i in range(grid.blocks) if not grid.box(i).intersect(box).empty]
    assert grid.overlapping(box) == expected


@given(offsets, shapes, offsets, shapes)
def test_intersection_is_symmetric_and_inside_both(
    a: tuple[int, ...], n: tuple[int, ...], b: tuple[int, ...], m: tuple[int, ...]
) -> None:
    one, two = Box(a, n), Box(b, m)
    both = one.intersect(two)
    assert both.size == two.intersect(one).size
    if not both.empty:
        assert one.contains(both)
        assert two.contains(both)


@given(offsets, shapes, st.integers(0, 9))
def test_growing_and_shrinking_by_the_same_halo_is_nothing(
    offset: tuple[int, ...], shape: tuple[int, ...], halo: int
) -> None:
    box = Box(offset, shape)
    grown = box.grow(halo)
    assert grown.shape == tuple(n + 2 * halo for n in shape)
    assert Box.from_bounds([o + halo for o in grown.offset], [e - halo for e in grown.end]) == box


@given(st.integers(1, 12), st.integers(0, 40), st.integers(0, 40))
def test_reflection_is_that_of_numpy(size: int, low: int, high: int) -> None:
    axis = np.arange(size)
    expected = np.pad(axis, (low, high), mode="reflect" if size > 1 else "edge")
    assert (axis[reflect_indices(-low, size + high, size)] == expected).all()


def test_block_edge_gives_eight_blocks_where_it_can() -> None:
    assert block_edge((1000, 1000, 1000)) == 256
    assert block_edge((176, 240, 240)) == 128
    assert block_edge((65, 65, 65)) == 64
    assert block_edge((20, 20, 20)) == 64
    assert block_edge((1, 2000, 2000)) == 256


def test_distances_become_voxels_per_axis() -> None:
    assert nm_to_voxels(60, (5.24, 4, 4)) == (12, 15, 15)
    assert nm_to_voxels(0, (5, 5, 5)) == (0, 0, 0)
    with pytest.raises(ValueError, match="voxel sizes"):
        nm_to_voxels(60, (0, 4, 4))
    with pytest.raises(ValueError, match="distance"):
        nm_to_voxels(float("nan"), (4, 4, 4))


def test_a_box_that_starts_outside_cannot_slice() -> None:
    with pytest.raises(ValueError, match="outside"):
        _ = Box((-1, 0, 0), (4, 4, 4)).slices
