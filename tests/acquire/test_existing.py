"""Segmentations made elsewhere land on the right voxels, whatever format, voxel size and offset they have."""

import gzip
import json
import struct

import numpy as np
import pytest
import tifffile
import zarr
from cisterna.acquire import UnusableInput, ingest_existing, ingest_movie, ingest_volume
from cisterna.chunks import Box
from cisterna.store.arrays import read_box

SHAPE = (12, 20, 24)


@pytest.fixture
def volume(store, tmp_path):
    raw = np.random.default_rng(0).integers(0, 255, SHAPE, np.uint8)
    tifffile.imwrite(tmp_path / "raw.tif", raw, photometric="minisblack")
    return ingest_volume(store, tmp_path / "raw.tif", voxel_size_nm=(10, 8, 8), polarity="dark")


@pytest.fixture
def labels():
    mask = np.zeros(SHAPE, np.uint16)
    mask[3:6, 4:10, 7:20] = 5
    mask[8, 1, 2] = 70
    return mask


def read(store, used):
    return read_box(store, f"{used.path}/0", Box.whole(SHAPE))


def write_n5(path, data, block=(8, 8, 8), compression=None, **attributes):
    path.mkdir(parents=True)
    described = {
        "dimensions": list(data.shape[::-1]),
        "blockSize": list(block[::-1]),
        "dataType": str(data.dtype),
        "compression": compression or {"type": "raw"},
        **attributes,
    }
    (path / "attributes.json").write_text(json.dumps(described))
    for position in np.ndindex(*[-(-n // b) for n, b in zip(data.shape, block, strict=True)]):
        piece = data[tuple(slice(p * b, (p + 1) * b) for p, b in zip(position, block, strict=True))]
        if not piece.any():
            continue  # N5 leaves empty blocks out
        body = piece.astype(piece.dtype.newbyteorder(">")).tobytes()
        if compression and compression["type"] == "gzip":
            body = gzip.compress(body)
        file = path.joinpath(*[str(p) for p in position[::-1]])
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(struct.pack(">HH3I", 0, 3, *piece.shape[::-1]) + body)


@pytest.mark.parametrize("how", ["tiff", "zarr2", "zarr3", "n5", "n5-gzip", "ome"])
def test_every_format_lands_on_its_voxels(store, volume, tmp_path, labels, how):
    path = tmp_path / "labels"
    grid = {"resolution": [10.0, 8.0, 8.0], "offset": [0.0, 0.0, 0.0]}
    if how == "tiff":
        path = path.with_suffix(".tif")
        tifffile.imwrite(path, labels, photometric="minisblack")
    elif how.startswith("zarr"):
        zarr.create_array(str(path), data=labels, zarr_format=int(how[-1]), attributes=grid)
    elif how.startswith("n5"):
        kind = {"type": "gzip", "level": 5} if how == "n5-gzip" else None
        write_n5(path, labels, compression=kind, resolution=[8.0, 8.0, 10.0], offset=[0.0, 0.0, 0.0])
    else:
        axes = [{"name": a, "type": "space", "unit": "nanometer"} for a in "zyx"]
        moves = [{"type": "scale", "scale": [10.0, 8.0, 8.0]}]
        images = [{"axes": axes, "datasets": [{"path": "0", "coordinateTransformations": moves}]}]
        zarr.create_group(str(path), attributes={"ome": {"version": "0.5", "multiscales": images}}).create_array(
            "0", data=labels
        )
    used = ingest_existing(store, volume.id, "er", path)
    np.testing.assert_array_equal(read(store, used), np.where(labels, 255, 0))
    assert used.positive_share == pytest.approx((labels > 0).mean())


def test_coarser_voxels_and_an_offset(store, volume, tmp_path):
    coarse = np.zeros((3, 4, 5), np.uint8)
    coarse[1, 1, 2] = 1  # 20 x 16 x 16 nm voxels from the corner (40, 32, 16): z 60-80, y 48-64, x 48-64 nm
    zarr.create_array(
        str(tmp_path / "c.zarr"),
        data=coarse,
        zarr_format=2,
        attributes={"resolution": [20, 16, 16], "offset": [40, 32, 16]},
    )
    used = ingest_existing(store, volume.id, "er", tmp_path / "c.zarr")
    expected = np.zeros(SHAPE, np.uint8)
    expected[6:8, 6:8, 6:8] = 255
    np.testing.assert_array_equal(read(store, used), expected)
    assert any("in part" in n for n in used.notes)


def test_n5_attributes_are_reversed(store, volume, tmp_path):
    coarse = np.zeros((3, 4, 5), np.uint8)
    coarse[1, 1, 2] = 1
    write_n5(tmp_path / "c.n5", coarse, resolution=[16, 16, 20], offset=[16, 32, 40])
    expected = np.zeros(SHAPE, np.uint8)
    expected[6:8, 6:8, 6:8] = 255
    np.testing.assert_array_equal(read(store, ingest_existing(store, volume.id, "er", tmp_path / "c.n5")), expected)


def test_ome_translation_places_voxel_centres(store, volume, tmp_path):
    """A level made by averaging 2 x 2 x 2 voxels states the shift (s - b) / 2 and must land where it came from."""
    coarse = np.zeros((6, 10, 12), np.uint8)
    coarse[2, 3, 4] = 9
    axes = [{"name": a, "type": "space", "unit": "micrometer"} for a in "zyx"]
    moves = [
        {"type": "scale", "scale": [0.02, 0.016, 0.016]},
        {"type": "translation", "translation": [0.005, 0.004, 0.004]},
    ]
    images = [{"axes": axes, "datasets": [{"path": "s1", "coordinateTransformations": moves}]}]
    zarr.create_group(str(tmp_path / "o.zarr"), zarr_format=2, attributes={"multiscales": images}).create_array(
        "s1", data=coarse
    )
    expected = np.zeros(SHAPE, np.uint8)
    expected[4:6, 6:8, 8:10] = 255
    np.testing.assert_array_equal(read(store, ingest_existing(store, volume.id, "er", tmp_path / "o.zarr")), expected)


def test_a_region_takes_its_own_part(store, tmp_path, labels):
    raw = np.random.default_rng(0).integers(0, 255, SHAPE, np.uint8)
    tifffile.imwrite(tmp_path / "raw.tif", raw, photometric="minisblack")
    box = Box((2, 3, 4), (6, 10, 12))
    part = ingest_volume(store, tmp_path / "raw.tif", voxel_size_nm=8, polarity="dark", region=box)
    zarr.create_array(str(tmp_path / "l.zarr"), data=labels, attributes={"resolution": [8, 8, 8], "offset": [0, 0, 0]})
    used = ingest_existing(store, part.id, "er", tmp_path / "l.zarr")
    got = read_box(store, f"{used.path}/0", Box.whole(box.shape))
    np.testing.assert_array_equal(got > 0, labels[box.slices] > 0)


def test_floats_are_probabilities(store, volume, tmp_path):
    p = np.linspace(0, 1, np.prod(SHAPE), dtype=np.float32).reshape(SHAPE)
    tifffile.imwrite(tmp_path / "p.tif", p, photometric="minisblack")
    np.testing.assert_array_equal(
        read(store, ingest_existing(store, volume.id, "er", tmp_path / "p.tif")), np.rint(p * 255)
    )
    tifffile.imwrite(tmp_path / "q.tif", p * 2, photometric="minisblack")
    with pytest.raises(UnusableInput, match=r"floats from .* to 2|probabilities in \[0, 1\]"):
        ingest_existing(store, volume.id, "er", tmp_path / "q.tif")


def test_our_own_probabilities_stay_what_they_are(store, volume, tmp_path):
    p = np.random.default_rng(0).integers(0, 255, SHAPE, np.uint8)
    tifffile.imwrite(tmp_path / "p.tif", p / np.float32(255), photometric="minisblack")
    first = ingest_existing(store, volume.id, "er", tmp_path / "p.tif")
    again = ingest_existing(store, volume.id, "er", tmp_path / "store" / first.path)
    np.testing.assert_array_equal(read(store, again), p)
    assert again.identity == first.identity


def test_identity_is_content_and_the_second_time_writes_nothing(store, volume, tmp_path, labels):
    zarr.create_array(str(tmp_path / "a.zarr"), data=labels, zarr_format=2, attributes={"resolution": [10, 8, 8]})
    tifffile.imwrite(tmp_path / "same.tif", labels, photometric="minisblack")
    first = ingest_existing(store, volume.id, "er", tmp_path / "a.zarr")
    puts = store.puts
    second = ingest_existing(store, volume.id, "er", tmp_path / "same.tif")
    assert store.puts == puts
    assert (second.identity, second.path, second.created) == (first.identity, first.path, False)
    labels[0, 0, 0] = 1
    tifffile.imwrite(tmp_path / "other.tif", labels, photometric="minisblack")
    assert ingest_existing(store, volume.id, "er", tmp_path / "other.tif").identity != first.identity
    assert ingest_existing(store, volume.id, "copi", tmp_path / "same.tif").identity != first.identity


def test_arrays_that_cannot_fit_are_refused(store, volume, tmp_path, labels):
    tifffile.imwrite(tmp_path / "small.tif", labels[:5], photometric="minisblack")
    with pytest.raises(UnusableInput, match=r"no voxel size and is \(5, 20, 24\), raw is \(12, 20, 24\)"):
        ingest_existing(store, volume.id, "er", tmp_path / "small.tif")
    zarr.create_array(
        str(tmp_path / "far.zarr"), data=labels, attributes={"resolution": [10, 8, 8], "offset": [0, 5000, 0]}
    )
    with pytest.raises(UnusableInput, match="does not overlap"):
        ingest_existing(store, volume.id, "er", tmp_path / "far.zarr")
    with pytest.raises(UnusableInput, match="does not exist"):
        ingest_existing(store, volume.id, "er", tmp_path / "nowhere")
    assert not [p for p in store.list("acquisitions") if "/uses/" in p]


def test_nothing_positive_is_noted(store, volume, tmp_path):
    tifffile.imwrite(tmp_path / "zero.tif", np.zeros(SHAPE, np.uint8), photometric="minisblack")
    assert any("no voxel" in n for n in ingest_existing(store, volume.id, "er", tmp_path / "zero.tif").notes)


def test_movies_have_no_classes(store, tmp_path, labels):
    tifffile.imwrite(tmp_path / "m.tif", labels, photometric="minisblack")
    movie = ingest_movie(store, tmp_path / "m.tif", pixel_size_um=0.1, frame_interval_s=1)
    with pytest.raises(UnusableInput, match="movie"):
        ingest_existing(store, movie.id, "er", tmp_path / "m.tif")


def test_a_damaged_n5_block_is_named(store, volume, tmp_path, labels):
    write_n5(tmp_path / "d.n5", labels, compression={"type": "gzip"}, resolution=[8, 8, 10])
    block = tmp_path / "d.n5" / "1" / "0" / "0"
    block.write_bytes(block.read_bytes()[:20])
    with pytest.raises(UnusableInput, match=r"1/0/0 does not decode"):
        ingest_existing(store, volume.id, "er", tmp_path / "d.n5")
