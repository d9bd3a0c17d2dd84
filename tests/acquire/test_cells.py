"""Labels of cells on the frames of a movie."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile
import zarr
from cisterna.acquire import UnusableInput, ingest_cells, ingest_movie, ingest_volume
from cisterna.chunks import Box
from cisterna.store.arrays import read_box

SHAPE = (3, 40, 56)


@pytest.fixture
def movie(store, tmp_path):
    tifffile.imwrite(
        tmp_path / "movie.tif", np.random.default_rng(0).integers(0, 4000, SHAPE, np.uint16), photometric="minisblack"
    )
    return ingest_movie(store, tmp_path / "movie.tif", pixel_size_um=0.1, frame_interval_s=2.0).id


@pytest.fixture
def labels():
    image = np.zeros(SHAPE[1:], np.uint16)
    image[:, :20], image[5:30, 30:] = 1, 40000
    return image


def stored(store, used, frames):
    return read_box(store, f"{used.path}/0", Box((0, 0, 0), (frames, *SHAPE[1:])))


@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.float32, np.uint32])
def test_one_image_serves_all_frames_whatever_its_type(store, movie, tmp_path, labels, dtype):
    tifffile.imwrite(tmp_path / "cells.tif", labels.astype(dtype), photometric="minisblack")
    used = ingest_cells(store, movie, tmp_path / "cells.tif")
    np.testing.assert_array_equal(stored(store, used, 1)[0], labels)
    assert store.get_json(f"{used.path.rpartition('/')[0]}/use.json")["shape"] == [1, 40, 56]
    again = ingest_cells(store, movie, tmp_path / "cells.tif")
    assert (again.identity, again.created) == (used.identity, False)


def test_signed_labels_and_masks_keep_their_numbers(store, movie, tmp_path):
    small = np.zeros(SHAPE[1:], np.int16)
    small[4:9] = 3
    tifffile.imwrite(tmp_path / "cells.tif", small, photometric="minisblack")
    assert set(np.unique(stored(store, ingest_cells(store, movie, tmp_path / "cells.tif"), 1))) == {0, 3}
    zarr.save(str(tmp_path / "mask.zarr"), small > 0)
    assert set(np.unique(stored(store, ingest_cells(store, movie, tmp_path / "mask.zarr"), 1))) == {0, 1}


def test_one_image_a_frame(store, movie, tmp_path, labels):
    moving = np.stack([np.roll(labels, 3 * t, axis=1) for t in range(3)])
    tifffile.imwrite(tmp_path / "cells.tif", moving, photometric="minisblack")
    np.testing.assert_array_equal(stored(store, ingest_cells(store, movie, tmp_path / "cells.tif"), 3), moving)


@pytest.mark.parametrize(
    ("image", "says"),
    [
        (np.ones((40, 55), np.uint8), "movie"),
        (np.ones((2, 40, 56), np.uint8), "2 frames"),
        (np.zeros((40, 56), np.uint8), "labels no cell"),
        (np.full((40, 56), 0.5, np.float32), "fractions"),
        (np.full((40, 56), np.nan, np.float32), "NaN"),
        (np.full((40, 56), -1, np.int16), "-1"),
        (np.full((40, 56), 70000, np.uint32), "70000"),
    ],
)
def test_what_labels_no_cells_is_refused(store, movie, tmp_path, image, says):
    tifffile.imwrite(tmp_path / "cells.tif", image, photometric="minisblack")
    with pytest.raises(UnusableInput, match=says):
        ingest_cells(store, movie, tmp_path / "cells.tif")


def test_missing_files_and_volumes_are_refused(store, movie, tmp_path, labels):
    with pytest.raises(UnusableInput, match="does not exist"):
        ingest_cells(store, movie, tmp_path / "nothing.tif")
    tifffile.imwrite(
        tmp_path / "v.tif", np.random.default_rng(0).integers(0, 255, (8, 40, 56), np.uint8), photometric="minisblack"
    )
    volume = ingest_volume(store, tmp_path / "v.tif", voxel_size_nm=(8, 8, 8), polarity="dark").id
    tifffile.imwrite(tmp_path / "cells.tif", labels, photometric="minisblack")
    with pytest.raises(UnusableInput, match="movies only"):
        ingest_cells(store, volume, tmp_path / "cells.tif")
