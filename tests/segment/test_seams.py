"""Segmentation in blocks and tiles is that of the whole volume."""

import numpy as np
import pytest
import torch
from cisterna.chunks import Box, reflect_indices
from cisterna.segment.probability import IntensityRule, block_probability, prepare, volume_probability
from cisterna.segment.unet import CONTEXT, GEOMETRY, build
from cisterna.tiles import NetworkGeometry, infer, required_halo
from cisterna.tiles.torch_network import torch_network

SHAPE = (21, 30, 26)


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(3)
    return build(num_fmaps=2).eval().double()


@pytest.fixture(scope="module")
def volume():
    return np.random.default_rng(4).uniform(-1, 1, SHAPE)


def reader(volume):
    return lambda box: volume[
        np.ix_(*[reflect_indices(o, e, n) for o, e, n in zip(box.offset, box.end, volume.shape, strict=True)])
    ]


@pytest.fixture(scope="module")
def whole(network, volume):
    return infer(reader(volume), Box.whole(SHAPE), torch_network(network, dtype=torch.float64), GEOMETRY)


def test_tiles_equal_the_whole_in_float64(network, volume, whole):
    tiled = infer(
        reader(volume), Box.whole(SHAPE), torch_network(network, dtype=torch.float64), GEOMETRY, tile=(16, 16, 24)
    )
    assert np.abs(tiled - whole).max() <= 1e-12


def test_a_block_equals_its_part_of_the_whole(network, volume, whole):
    box = Box((8, 16, 3), (13, 14, 9))
    held = box.grow(*required_halo(box, GEOMETRY))
    part = infer(
        reader(volume)(held), box, torch_network(network, dtype=torch.float64), GEOMETRY, origin=held.offset, tile=8
    )
    assert np.abs(part - whole[(slice(None), *box.slices)]).max() <= 1e-12


def test_tiles_off_the_stride_differ(network, volume, whole):
    """The published program's fault: tiles stepped by 110, so that the pooling phase changes from one to the next."""
    off = NetworkGeometry("valid", CONTEXT, 2, 100)  # believes that steps of 2 are safe
    box = Box((2, 0, 0), (6, 6, 6))
    held = box.grow(*required_halo(box, off))
    part = infer(reader(volume)(held), box, torch_network(network, dtype=torch.float64), off, origin=held.offset)
    assert np.abs(part - whole[(slice(None), *box.slices)]).max() > 1e-6


def test_a_halo_one_stride_too_small_differs(network, volume, whole):
    """The last 8 voxels of the far halo, replaced by what a reader that stops early would repeat."""
    box = Box((0, 0, 0), (14, 14, 14))
    held = box.grow(*required_halo(box, GEOMETRY))
    array = reader(volume)(held)
    short = np.pad(array[:-8, :-8, :-8], [(0, 8)] * 3, mode="edge")
    run = torch_network(network, dtype=torch.float64)
    right = infer(array, box, run, GEOMETRY, origin=held.offset)
    wrong = infer(short, box, run, GEOMETRY, origin=held.offset)
    assert np.abs(right - whole[(slice(None), *box.slices)]).max() <= 1e-12
    assert np.abs(wrong - right).max() > 1e-9


def test_float32_is_within_1e_5_of_the_range_and_layout_does_not_matter(volume, whole):
    torch.manual_seed(3)
    single = prepare(build(num_fmaps=2))
    assert next(single.parameters()).dtype == torch.float32
    tiled = infer(reader(volume), Box.whole(SHAPE), torch_network(single), GEOMETRY, tile=16)
    assert np.abs(tiled - whole).max() <= 1e-5 * np.ptp(whole)


def test_uint8_probability_of_blocks_equals_that_of_the_volume():
    rng = np.random.default_rng(6)
    grey = rng.integers(0, 256, SHAPE, dtype=np.uint8)
    torch.manual_seed(5)
    network, rule = prepare(build(num_fmaps=2)), IntensityRule(20, 230)
    at_once = volume_probability(grey, network, rule)[0]
    assert at_once.dtype == np.uint8
    assert at_once.shape == SHAPE
    assert np.ptp(at_once) > 10
    blocks = np.zeros_like(at_once)
    for z in (0, 16):
        box = Box((z, 0, 0), (min(16, SHAPE[0] - z), *SHAPE[1:]))
        held = box.grow(*required_halo(box, GEOMETRY))
        blocks[box.slices] = block_probability(reader(grey)(held), held.offset, box, network, rule, tile=16)
    difference = np.abs(blocks.astype(int) - at_once)
    assert difference.max() <= 1
    assert (difference > 0).mean() <= 1e-4  # of 16,380 voxels: at most one


@pytest.mark.parametrize("shape", [(1, 5, 3), (1, 1, 1)])
def test_volumes_smaller_than_any_context(shape):
    network = prepare(build(num_fmaps=1))
    found = volume_probability(np.full(shape, 7, np.uint16), network, IntensityRule(0, 255))
    assert found.shape == (1, *shape)


def test_an_empty_volume_is_refused():
    with pytest.raises(ValueError, match="voxels in it"):
        volume_probability(np.zeros((0, 4, 4)), prepare(build(num_fmaps=1)), IntensityRule(0, 1))
