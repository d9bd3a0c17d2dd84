"""Sizes, origins and costs of tiles."""

import math

import pytest
from cisterna.chunks import Box
from cisterna.tiles import NetworkGeometry, choose_tile, plan_tiles, required_halo
from hypothesis import given
from hypothesis import strategies as st

ASEM = NetworkGeometry("valid", 47, 8, 100)
SAME = NetworkGeometry("same", 52, 8)

offsets = st.tuples(*[st.integers(-40, 300)] * 3)
shapes = st.tuples(*[st.integers(1, 70)] * 3)
tiles = st.tuples(*[st.integers(1, 80)] * 3)
geometries = st.sampled_from([ASEM, SAME, NetworkGeometry("valid", 3, 1, 7), NetworkGeometry("same", 5, 4)])


@pytest.mark.parametrize(
    ("offset", "edge", "low", "high"),
    [
        (0, 64, 47, 53),  # 158 is not legal, 164 is
        (64, 256, 47, 53),  # 356 in, 262 out, 256 kept
        (0, 262, 47, 47),  # the legal output itself
        (192, 58, 47, 51),  # clipped at the edge of a volume of 250
        (3, 5, 50, 53),  # moved down to 0, on the stride
        (0, 1, 47, 52),
    ],
)
def test_halo_of_the_published_network(offset, edge, low, high):
    assert required_halo(Box((offset,), (edge,)), ASEM) == ((low,), (high,))


def test_same_padded_halo_is_the_receptive_radius_rounded_to_the_stride():
    assert required_halo(Box((64,), (64,)), SAME) == ((56,), (56,))
    assert required_halo(Box((66,), (62,)), SAME) == ((58,), (56,))


@given(offsets, shapes, tiles, geometries)
def test_tiles_cover_the_box_once_on_one_pooling_phase(offset, shape, tile, geometry):
    box = Box(offset, shape)
    low, high = required_halo(box, geometry)
    held = box.grow(low, high)
    plan = plan_tiles(box, geometry, tile)
    assert sum(t.write.size for t in plan) == box.size
    assert len({t.write.offset for t in plan}) == len(plan)
    loss = 2 * geometry.context if geometry.padding == "valid" else 0
    for t in plan:
        assert box.contains(t.write)
        assert held.contains(t.read), "required_halo names too little for this tile"
        assert all((o + geometry.halo) % geometry.stride == 0 for o in t.read.offset)
        for n, o, w, c, e in zip(t.read.shape, t.read.offset, t.write.offset, t.crop, t.write.shape, strict=True):
            assert (n - geometry.smallest_input) % geometry.stride == 0
            assert n >= geometry.smallest_input
            assert c + e <= n - loss
            # what is cut out stands where it belongs
            assert o + loss // 2 + c == w
            if geometry.padding == "same":
                assert c >= geometry.context
                assert n - c - e >= geometry.context


@given(shapes, geometries, st.integers(10, 10_000_000))
def test_the_chosen_tile_fits_and_no_smaller_budget_is_cheaper(shape, geometry, voxels):
    def cost(edge):
        return sum(t.read.size for t in plan_tiles(Box((0,) * 3, shape), geometry, edge))

    if math.prod([geometry.input_size(1)] * 3) > voxels:
        with pytest.raises(ValueError, match="raise the memory budget"):
            choose_tile(shape, geometry, voxels * 4, 4.0)
        return
    edge = choose_tile(shape, geometry, voxels * 4, 4.0)
    assert all(t.read.size <= voxels for t in plan_tiles(Box((0,) * 3, shape), geometry, edge))
    roomier = choose_tile(shape, geometry, voxels * 8, 4.0)
    assert cost(roomier) <= cost(edge)


def test_a_budget_for_the_whole_gives_one_tile():
    assert len(plan_tiles(Box((0, 0, 0), (64, 64, 58)), ASEM, choose_tile((64, 64, 58), ASEM, 2**40, 100))) == 1


@pytest.mark.parametrize(
    "wrong", [("valid", 47, 8, 94), ("reflect", 1, 1, 9), ("valid", -1, 1, 9), ("same", 3, 0, 0), ("same", 3, 4, 6)]
)
def test_impossible_geometries_are_refused(wrong):
    with pytest.raises(ValueError, match=r"\d|reflect"):
        NetworkGeometry(*wrong)


def test_an_empty_box_has_no_tiles():
    assert plan_tiles(Box((0, 0, 0), (0, 4, 4)), ASEM, 8) == []


def test_a_tile_of_no_voxels_is_refused():
    with pytest.raises(ValueError, match="at least one voxel"):
        plan_tiles(Box((0, 0), (8, 8)), ASEM, 0)
