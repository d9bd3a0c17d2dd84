"""Stacks are cut where they should be, at their true size, and fit a page."""

import io

import numpy as np
import pytest
from cisterna.review.crops import Crop, cut, mosaic, mosaics, to_grey
from cisterna.store.objects import connect
from cisterna.store.pyramids import read_pyramid
from PIL import Image


@pytest.fixture(scope="module")
def image(make):
    store = connect("memory://")
    run = make.put_run(store, denoised=False)
    return run, read_pyramid(store, "acquisitions/brefeldin-dish2/raw.ome.zarr")


def test_a_stack_is_the_volume_around_the_place(image, make):
    run, pyramid = image
    centre = (300.0, 280.0, 225.0)
    crop = cut(run.store, pyramid, centre, 200.0)
    assert crop.voxel_nm == make.voxel_nm
    assert crop.grey.shape == (20, 50, 40)
    low = [round(o / v) for o, v in zip(crop.origin_nm, crop.voxel_nm, strict=True)]
    inside = run.raw[tuple(slice(a, a + n) for a, n in zip(low, crop.grey.shape, strict=True))]
    assert np.array_equal(crop.grey, to_grey(inside))
    middle = [o + n * v / 2 for o, n, v in zip(crop.origin_nm, crop.grey.shape, crop.voxel_nm, strict=True)]
    assert np.all(np.abs(np.subtract(middle, centre)) <= np.array(crop.voxel_nm))


def test_the_volume_ends_a_stack(image):
    run, pyramid = image
    corner = cut(run.store, pyramid, (1.0, 1.0, 449.0), 200.0)
    assert corner.origin_nm == (0.0, 0.0, 345.0)
    assert corner.grey.shape == (10, 25, 21)
    outside = cut(run.store, pyramid, (-5000.0, 280.0, 9999.0), 200.0)
    assert outside.grey.shape == (1, 50, 1)
    assert cut(run.store, pyramid, (300.0, 280.0, 225.0), 1e9).grey.shape == run.raw.shape


def test_too_many_voxels_take_a_coarser_level(image):
    run, pyramid = image
    fine, coarse = (cut(run.store, pyramid, (300.0, 280.0, 225.0), 400.0, most) for most in (10**9, 100_000))
    assert coarse.grey.size < fine.grey.size
    assert coarse.voxel_nm == pyramid.levels[1].scale
    sizes = [np.array(c.grey.shape) * c.voxel_nm for c in (fine, coarse)]
    assert np.all(np.abs(sizes[0] - sizes[1]) <= np.array(coarse.voxel_nm))


def test_grey_values():
    assert to_grey(np.full((2, 2, 2), np.nan)).tolist() == np.full((2, 2, 2), 128).tolist()
    assert to_grey(np.full((1, 1, 1), 7, np.uint16)).item() == 128
    ramp = to_grey(np.arange(1000, dtype=np.uint16).reshape(10, 10, 10) * 60)
    assert (ramp.min(), ramp.max()) == (0, 255)
    assert np.all(np.diff(ramp.ravel().astype(int)) >= 0)


@pytest.mark.parametrize("shape", [(1, 1, 1), (5, 9, 17), (40, 8, 8), (3, 100, 2)])
def test_every_slice_stands_where_the_page_looks_for_it(shape):
    grey = np.random.default_rng(0).integers(0, 255, shape[:1], np.uint8)[:, None, None] * np.ones(shape, np.uint8)
    sheet = mosaic(grey, 85)
    picture = np.asarray(Image.open(io.BytesIO(sheet.jpeg)))
    rows, columns = sheet.cell
    for z in range(shape[0]):
        top, left = z // sheet.columns * rows, z % sheet.columns * columns
        found = picture[top : top + shape[1], left : left + shape[2]].astype(int)
        assert np.abs(found - int(grey[z, 0, 0])).max() <= 2


def test_thirty_noisy_sites_fit_a_page():
    """Six stacks of 400 × 560 × 560 nm at 5.24 × 4 × 4 nm, noise of a raw image; a page of their share is kept."""
    rng = np.random.default_rng(2)
    grey = to_grey(rng.normal(150, 30, (76, 140, 140)))
    crops = [Crop(grey, (0, 0, 0), (5.24, 4.0, 4.0))] * 6
    wide, best = mosaics(crops, 60_000_000)
    small, quality = mosaics(crops, 2_500_000)
    assert sum(len(m.data_uri) for m in small) <= 2_500_000 < sum(len(m.data_uri) for m in wide)
    assert quality < best == 90
