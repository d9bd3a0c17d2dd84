"""CLAHE in pieces is CLAHE of the whole, and that is scikit-image's."""

import numpy as np
import pytest
from cisterna.chunks import BlockGrid, Box
from cisterna.clahe import (
    BINS,
    GREYS,
    SHADES,
    Equalisation,
    Grey,
    Lattice,
    equalised,
    interpolate,
    lattice_tables,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter
from skimage.exposure import equalize_adapthist
from skimage.exposure._adapthist import _clahe

BYTE = Grey("uint8", 0, 255)


def tissue(shape, seed=0):
    """Smooth structures with noise, brighter towards the end of x: something to equalise. 0 and 255 occur."""
    rng = np.random.default_rng(seed)
    volume = gaussian_filter(rng.normal(size=shape), 2) * 300 + 90 + rng.normal(0, 5, shape)
    volume += np.linspace(0, 60, shape[2])
    volume = np.clip(volume, 0, 255).astype(np.uint8)
    volume.ravel()[[0, -1]] = 0, 255
    return volume


def greys(volume, lattice, clip_limit, grey=BYTE):
    """The 14-bit values before they are cut to 8."""
    tables = lattice_tables(lambda z: volume[z], lattice, grey, clip_limit=clip_limit)
    out = np.empty(volume.shape, np.uint16)
    interpolate(volume, (0, 0, 0), tables, lattice, grey, np.arange(GREYS, dtype=np.uint16), out)
    return out


def reference(volume, kernel, clip_limit):
    """scikit-image on 14-bit values over the range of the type, before it stretches the result."""
    return _clahe(np.round(volume / 255 * (GREYS - 1)).astype(np.uint16), [kernel] * 3, clip_limit, BINS)


@pytest.mark.parametrize(
    ("shape", "kernel", "clip_limit"),
    [((40, 50, 61), 16, 0.02), ((64, 64, 64), 32, 0.02), ((5, 33, 70), 16, 0.05), ((1, 9, 30), 12, 0.5),
     ((3, 3, 3), 8, 0.01), ((30, 40, 20), 15, 0.05), ((20, 20, 20), 64, 0.01), ((17, 4, 31), 8, 0.0)],
)  # fmt: skip
def test_every_bit_is_that_of_scikit_image(shape, kernel, clip_limit):
    volume = tissue(shape)
    np.testing.assert_array_equal(
        greys(volume, Lattice(shape, kernel, 0), clip_limit), reference(volume, kernel, clip_limit)
    )


def test_the_public_function_of_scikit_image_is_the_same_stretched_to_its_full_range():
    volume = tissue((24, 50, 40))
    found = greys(volume, Lattice(volume.shape, 24, 0), 0.02)
    stretched = (found - float(found.min())) / float(found.max() - found.min())
    np.testing.assert_allclose(stretched, equalize_adapthist(volume, 24, 0.02, 256), atol=1e-12)


@pytest.mark.long
def test_the_published_kernel_over_a_volume_of_more_than_one_cell():
    volume = tissue((24, 150, 140))
    found = greys(volume, Lattice(volume.shape, 128, 0), 0.02)
    np.testing.assert_array_equal(found, reference(volume, 128, 0.02))


def test_inside_the_published_lattice_is_what_blocks_with_half_a_kernel_around_them_give():
    """The published program equalises blocks of one kernel, read with half a kernel on every side."""
    kernel = 16
    volume = tissue((64, 72, 80))
    ours = greys(volume, Lattice(volume.shape, kernel, -kernel // 2), 0.02)
    for block in [(16, 16, 16), (32, 16, 48), (32, 32, 32)]:
        read = tuple(slice(o - kernel // 2, o + kernel + kernel // 2) for o in block)
        core = (slice(kernel // 2, kernel // 2 + kernel),) * 3
        theirs = reference(volume[read], kernel, 0.02)[core]
        np.testing.assert_array_equal(ours[tuple(slice(o, o + kernel) for o in block)], theirs)


@settings(max_examples=25, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 40), st.integers(1, 40), st.integers(1, 40)),
    block=st.tuples(st.integers(7, 17), st.integers(7, 17), st.integers(7, 17)),
    kernel=st.integers(2, 20),
    centred=st.booleans(),
)
def test_blocks_of_any_size_equal_the_whole(shape, block, kernel, centred):
    volume = np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)
    lattice = Lattice(shape, kernel, -(kernel // 2) if centred else 0)
    tables = lattice_tables(lambda z: volume[z], lattice, BYTE)
    whole = Equalisation(tables, lattice, BYTE).apply(volume, (0, 0, 0))
    kept = Equalisation.from_bytes(Equalisation(tables, lattice, BYTE).to_bytes())
    grid = BlockGrid(shape, tuple(min(b, n) for b, n in zip(block, shape, strict=True)))
    for n in range(grid.blocks):
        box = grid.box(n)
        np.testing.assert_array_equal(kept.apply(volume[box.slices], box.offset), whole[box.slices])
    np.testing.assert_array_equal(whole, SHADES[greys(volume, lattice, 0.02)])


def test_each_plane_is_read_once_and_in_order():
    volume, seen = tissue((45, 20, 24)), []

    def read(z):
        seen.append(z)
        return volume[z]

    lattice = Lattice(volume.shape, 16, -8)
    lattice_tables(read, lattice, BYTE)
    assert seen == list(range(45))


def test_a_region_needs_the_tables_of_the_whole():
    volume = tissue((40, 40, 56))
    box = Box((10, 3, 20), (24, 30, 30))
    lattice = Lattice(volume.shape, 16, -8)
    tables = lattice_tables(lambda z: volume[z], lattice, BYTE)
    whole = Equalisation(tables, lattice, BYTE).apply(volume, (0, 0, 0))
    region = Equalisation(tables, lattice, BYTE, at=box.offset)
    part = volume[box.slices]
    np.testing.assert_array_equal(region.apply(part, (0, 0, 0)), whole[box.slices])
    np.testing.assert_array_equal(region.apply(part[4:9, :, 7:], (4, 0, 7)), whole[box.slices][4:9, :, 7:])
    # a lattice that starts with the region, and tables cut off one cell too early, are something else
    own = equalised(part, BYTE, lattice=Lattice(box.shape, 16, -8))
    assert (own != whole[box.slices]).mean() > 0.5
    cells = [slice(None)] * 3
    short = tables.copy()
    short[:, :, 3:] = tables[:, :, 2:3]
    cells[2] = slice(33, None)
    assert (Equalisation(short, lattice, BYTE).apply(volume, (0, 0, 0)) != whole)[..., 33:].mean() > 0.2
    with pytest.raises(ValueError, match="reaches beyond"):
        region.apply(part, (0, 0, 40))


@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 130, 3), (1, 5, 200)])
@pytest.mark.parametrize("value", [0, 7, 255])
def test_constant_and_tiny_volumes(shape, value):
    found = equalised(np.full(shape, value, np.uint8), BYTE)
    assert found.shape == shape
    assert np.ptp(found) == 0


def test_other_types_run_over_the_range_of_the_acquisition_and_nan_counts_as_low():
    byte = tissue((12, 30, 34)).astype(np.float64)
    wide = Grey.of_volume("uint16", 1000, 1000 + 255 * 9)
    real = Grey.of_volume("float32", -1.0, 1.0)
    lattice = Lattice(byte.shape, 16, -8)
    expected = equalised(byte.astype(np.uint8), BYTE, lattice=lattice)
    np.testing.assert_array_equal(equalised((1000 + byte * 9).astype(np.uint16), wide, lattice=lattice), expected)
    floats = (byte / 127.5 - 1).astype(np.float32)
    assert (equalised(floats, real, lattice=lattice) != expected).mean() < 0.01  # float32 may meet the next bin
    holes = floats.copy()
    holes[3, 4, 5] = np.nan
    floats[3, 4, 5] = -1
    np.testing.assert_array_equal(equalised(holes, real, lattice=lattice), equalised(floats, real, lattice=lattice))
    beyond = np.clip(floats * 3, -9, 9)
    assert equalised(beyond, real, lattice=lattice).dtype == np.uint8


def test_uint8_runs_over_its_type_whatever_the_acquisition_says():
    assert Grey.of_volume("uint8", 61, 190) == BYTE


def test_bright_membranes_are_turned_before_they_are_equalised():
    volume = tissue((10, 24, 30))
    turned = Grey.of_volume("uint8", 0, 1, invert=True)
    lattice = Lattice(volume.shape, 16, -8)
    np.testing.assert_array_equal(
        equalised(255 - volume, turned, lattice=lattice), equalised(volume, BYTE, lattice=lattice)
    )


@pytest.mark.parametrize(
    ("make", "sentence"),
    [(lambda: Lattice((0, 3, 3)), "voxels in it"), (lambda: Lattice((4, 4), 2), "voxels in it"),
     (lambda: Lattice((3, 3, 3), 8, -8), "start"), (lambda: Grey("int64", 0, 1), "int64"),
     (lambda: Grey("uint16", 5, 5), "low < high"), (lambda: Grey("float32", float("nan"), 5), "low < high"),
     (lambda: BYTE.codes(np.zeros(3, np.uint16)), "uint16"),
     (lambda: Equalisation(np.zeros((1, 1, 1, 256), np.uint16), Lattice((300, 3, 3)), BYTE), "do not fit"),
     (lambda: Equalisation.from_bytes(b"x" * 40), "no CLAHE tables")],
)  # fmt: skip
def test_nonsense_is_refused(make, sentence):
    with pytest.raises(ValueError, match=sentence):
        make()
