"""Tiled equals whole, and stops doing so as soon as the halo or the alignment is wrong."""

import numpy as np
import pytest
from cisterna.chunks import Box, reflect_indices
from cisterna.tiles import NetworkGeometry, infer, infer_same, infer_valid, reflect_pad, required_halo
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import convolve1d

# A cheap stand-in with pooling, skip and phase dependence: valid and same-padded, in one dimension per axis.
# valid: conv 3 → pool 4 → conv 3 (coarse) → upsample, + skip → conv 3; input 4k + 2 + …
STRIDE = 4


def _conv(x, kernel, valid):
    for axis in range(1, x.ndim):
        x = convolve1d(x, kernel, axis=axis, mode="constant")
        if valid:
            cut = [slice(None)] * x.ndim
            cut[axis] = slice(1, -1)
            x = x[tuple(cut)]
    return np.tanh(x)


def _pool(x):
    for axis in range(1, x.ndim):
        shape = list(x.shape)
        shape[axis : axis + 1] = [shape[axis] // STRIDE, STRIDE]
        x = x.reshape(shape).max(axis=axis + 1)
    return x


def _repeat(x):
    for axis in range(1, x.ndim):
        x = np.repeat(x, STRIDE, axis=axis)
    return x


KERNELS = np.random.default_rng(5).normal(size=(3, 3))


def valid_network(x):
    """n = 14 + 4k → n − 12."""
    fine = _conv(x, KERNELS[0], True)
    assert all(n % STRIDE == 0 for n in fine.shape[1:])
    coarse = _repeat(_conv(_pool(fine), KERNELS[1], True))
    skip = fine[(slice(None), *[slice(STRIDE, -STRIDE)] * (x.ndim - 1))]
    return np.concatenate([_conv(skip + coarse, KERNELS[2], True)] * 2)


def same_network(x):
    fine = _conv(x, KERNELS[0], False)
    return _conv(fine + _repeat(_conv(_pool(fine), KERNELS[1], False)), KERNELS[2], False)


VALID = {"context": 6, "stride": STRIDE, "smallest_input": 14}
SAME = {"context": 9, "stride": STRIDE}


def reader(volume):
    return lambda box: volume[
        np.ix_(*[reflect_indices(o, e, n) for o, e, n in zip(box.offset, box.end, volume.shape, strict=True)])
    ]


def volume_of(shape, seed):
    return np.random.default_rng(seed).normal(size=shape)


shapes = st.tuples(*[st.integers(1, 23)] * 2)


@settings(deadline=None, max_examples=60)
@given(shapes, st.integers(1, 12), st.integers(0, 99), st.sampled_from(["valid", "same"]))
def test_tiles_of_a_volume_equal_the_whole(shape, tile, seed, padding):
    volume = volume_of(shape, seed)
    run, network, sizes = (
        (infer_valid, valid_network, VALID) if padding == "valid" else (infer_same, same_network, SAME)
    )
    box = Box.whole(shape)
    geometry = NetworkGeometry(padding, **sizes)
    low, high = required_halo(box, geometry)
    padded = reflect_pad(volume, low, high)
    whole = run(padded, box, network, origin=[-n for n in low], **sizes)
    tiled = run(reader(volume), box, network, tile=tile, **sizes)
    assert whole.shape[1:] == shape
    np.testing.assert_allclose(tiled, whole, rtol=0, atol=1e-12)


@settings(deadline=None, max_examples=60)
@given(st.tuples(*[st.integers(0, 30)] * 2), shapes, st.integers(1, 12), st.sampled_from(["valid", "same"]))
def test_any_block_equals_its_part_of_the_whole(offset, shape, tile, padding):
    volume = volume_of((53, 53), 3)
    geometry = NetworkGeometry(padding, **(VALID if padding == "valid" else SAME))
    network = valid_network if padding == "valid" else same_network
    whole = infer(reader(volume), Box.whole(volume.shape), network, geometry)
    box = Box(offset, shape)
    held = box.grow(*required_halo(box, geometry))
    part = infer(reader(volume)(held), box, network, geometry, origin=held.offset, tile=tile)
    np.testing.assert_allclose(part, whole[(slice(None), *box.slices)], rtol=0, atol=1e-12)


@pytest.mark.parametrize("padding", ["valid", "same"])
def test_blocks_off_the_stride_show_their_seams(padding):
    """The same comparison with tiles that forget the phase must fail, or the tests above see nothing."""
    volume = volume_of((40, 40), 7)
    geometry = NetworkGeometry(padding, **(VALID if padding == "valid" else SAME))
    network = valid_network if padding == "valid" else same_network
    whole = infer(reader(volume), Box.whole(volume.shape), network, geometry)
    box = Box((16, 16), (12, 12))
    held = box.grow(*required_halo(box, geometry))
    # claimed to start at 16, read from 17
    wrong = infer(reader(volume)(held.shift((1, 1))), box, network, geometry, origin=held.offset)
    moved = whole[:, 17:29, 17:29]
    assert np.abs(wrong - moved).max() > 1e-3


def test_a_halo_one_stride_too_small_shows_in_a_same_padded_network():
    volume = volume_of((48, 48), 8)
    right, short = NetworkGeometry("same", 9, STRIDE), NetworkGeometry("same", 9 - STRIDE - 1, STRIDE)
    whole = infer(reader(volume), Box.whole(volume.shape), same_network, right)
    for geometry, agrees in ((right, True), (short, False)):
        tiled = infer(reader(volume), Box.whole(volume.shape), same_network, geometry, tile=16)
        assert (np.abs(tiled - whole).max() <= 1e-12) == agrees


def test_a_halo_one_stride_too_small_is_refused_in_an_array():
    box = Box((0, 0), (16, 16))
    low, high = required_halo(box, NetworkGeometry("valid", **VALID))
    short = np.zeros([n + a + b - STRIDE for n, a, b in zip(box.shape, low, high, strict=True)])
    with pytest.raises(ValueError, match="required_halo"):
        infer_valid(short, box, valid_network, origin=[-n for n in low], **VALID)


def test_the_valid_network_depends_on_the_far_halo():
    """Filling the voxels beyond box + context with anything is not enough: the last outputs see them."""
    volume = volume_of((40, 40), 9)
    box = Box((8, 8), (13, 13))
    geometry = NetworkGeometry("valid", **VALID)
    held = box.grow(*required_halo(box, geometry))
    array = reader(volume)(held).copy()
    good = infer(array, box, valid_network, geometry, origin=held.offset)
    array[box.shape[0] + 12 :] = 0
    assert np.abs(infer(array, box, valid_network, geometry, origin=held.offset) - good).max() > 1e-6


def test_channels_and_a_given_output():
    volume = volume_of((20, 20), 1)
    out = np.full((2, 20, 20), np.nan, np.float32)
    pair = np.stack([volume, volume])
    both = infer_valid(
        lambda b: np.stack([reader(v)(b) for v in pair]),
        Box.whole((20, 20)),
        lambda x: valid_network(x[:1]),
        out=out,
        tile=8,
        **VALID,
    )
    assert both is out
    assert np.isfinite(out).all()


def test_a_network_that_breaks_its_word_is_named():
    with pytest.raises(ValueError, match="its geometry says"):
        infer_same(reader(np.zeros((16, 16))), Box.whole((16, 16)), lambda x: x[:, 1:], **SAME)


def test_an_array_without_origin_and_an_empty_box_are_refused():
    with pytest.raises(ValueError, match="origin"):
        infer_same(np.zeros((40, 40)), Box.whole((16, 16)), same_network, **SAME)
    with pytest.raises(ValueError, match="empty"):
        infer_same(np.zeros((40, 40)), Box((0, 0), (0, 3)), same_network, origin=(0, 0), **SAME)


def test_reflection_of_one_voxel_and_of_wide_halos():
    assert reflect_pad(np.array([[7, 8, 9]]), (2, 5), (1, 0)).tolist() == [[8, 7, 8, 9, 8, 7, 8, 9]] * 4
    assert reflect_indices(-5, 3, 3).tolist() == [1, 0, 1, 2, 1, 0, 1, 2]
    with pytest.raises(ValueError, match="empty"):
        reflect_pad(np.zeros((0, 3)), (1, 1), (1, 1))
