"""Every format gives the same planes and the grid it states."""

import numpy as np
import pytest
import tifffile
import zarr
from cisterna.acquire import Selection, UnusableInput, open_source
from PIL import Image


def voxels(source):
    return np.stack([source.read(i) for i in range(source.planes)])


def write_ome_zarr(path, data, axes, scale, zarr_format, units=None, translation=None, name="image"):
    units = units or {"z": "micrometer", "y": "micrometer", "x": "micrometer", "t": "second"}
    described = []
    for a in axes:
        kind = "time" if a == "t" else "channel" if a == "c" else "space"
        described.append({"name": a, "type": kind} | ({"unit": units[a]} if a in units else {}))
    moves = [{"type": "scale", "scale": list(scale)}]
    if translation is not None:
        moves.append({"type": "translation", "translation": list(translation)})
    images = [{"axes": described, "datasets": [{"path": "0", "coordinateTransformations": moves}], "name": name}]
    attributes = {"ome": {"version": "0.5", "multiscales": images}} if zarr_format == 3 else {"multiscales": images}
    group = zarr.create_group(str(path), zarr_format=zarr_format, attributes=attributes)
    chunks = tuple(min(n, 4) for n in data.shape)
    group.create_array("0", shape=data.shape, chunks=chunks, dtype=data.dtype)[...] = data


@pytest.mark.parametrize("how", ["plain", "bigendian", "compressed", "imagej", "ome", "contiguous-imagej"])
def test_tiff_stacks(tmp_path, numbers, how):
    path = tmp_path / "stack.tif"
    options = {
        "plain": {"photometric": "minisblack"},
        "bigendian": {"byteorder": ">", "photometric": "minisblack"},
        "compressed": {"compression": "zlib", "photometric": "minisblack"},
        "imagej": {
            "imagej": True,
            "resolution": (1 / 0.004, 1 / 0.005),
            "metadata": {"axes": "ZYX", "unit": "um", "spacing": 0.006},
        },
        "contiguous-imagej": {"imagej": True, "metadata": {"axes": "ZYX"}},
        "ome": {
            "ome": True,
            "metadata": {
                "axes": "ZYX",
                "PhysicalSizeZ": 6.0,
                "PhysicalSizeZUnit": "nm",
                "PhysicalSizeY": 0.005,
                "PhysicalSizeYUnit": "µm",
                "PhysicalSizeX": 40.0,
                "PhysicalSizeXUnit": "Å",
            },
        },
    }[how]
    tifffile.imwrite(path, numbers, **options)
    source = open_source(path, "volume")
    np.testing.assert_array_equal(voxels(source), numbers)
    assert source.dtype == np.uint16
    assert source.read(1).dtype.isnative
    if how in ("imagej", "ome"):
        np.testing.assert_allclose([source.grid.z_nm, source.grid.y_nm, source.grid.x_nm], [6, 5, 4], rtol=1e-6)
    else:
        assert source.grid.z_nm is None


def test_imagej_micron_escape_and_interval(tmp_path, numbers):
    path = tmp_path / "movie.tif"
    tifffile.imwrite(
        path, numbers, imagej=True, resolution=(10, 10), metadata={"axes": "TYX", "unit": "\\u00B5m", "finterval": 1.5}
    )
    source = open_source(path, "movie")
    assert source.grid.x_nm == pytest.approx(100)
    assert source.grid.interval_s == 1.5
    assert not source.notes


def test_a_movie_saved_as_z_planes_is_read_with_a_note(tmp_path, numbers):
    path = tmp_path / "movie.tif"
    tifffile.imwrite(path, numbers, imagej=True, metadata={"axes": "ZYX"})
    source = open_source(path, "movie")
    assert source.planes == 6
    assert "z planes" in source.notes[0]


def test_a_resolution_tag_in_dots_per_inch_is_no_voxel_size(tmp_path, numbers):
    path = tmp_path / "stack.tif"
    tifffile.imwrite(path, numbers, resolution=(72, 72), resolutionunit="INCH", photometric="minisblack")
    assert open_source(path, "volume").grid.x_nm is None


def test_channels_are_chosen(tmp_path, numbers):
    path = tmp_path / "channels.ome.tif"
    both = np.stack([numbers, numbers + 5000], axis=1)
    tifffile.imwrite(path, both, ome=True, photometric="minisblack", metadata={"axes": "TCYX"})
    with pytest.raises(UnusableInput, match=r"2 channels.*--channel 0 to 1"):
        open_source(path, "movie")
    np.testing.assert_array_equal(voxels(open_source(path, "movie", Selection(channel=1))), numbers + 5000)
    with pytest.raises(UnusableInput, match="no channel 2"):
        open_source(path, "movie", Selection(channel=2))


def test_a_movie_of_volumes_is_refused(tmp_path, numbers):
    path = tmp_path / "both.ome.tif"
    tifffile.imwrite(path, np.stack([numbers, numbers]), ome=True, photometric="minisblack", metadata={"axes": "TZYX"})
    with pytest.raises(UnusableInput, match=r"several stacks \(T 2 × Z 6\)"):
        open_source(path, "volume")


def test_grey_as_rgb_is_read_and_colour_refused(tmp_path):
    grey = np.arange(3 * 20 * 24, dtype=np.uint8).reshape(3, 20, 24)
    rgb = np.repeat(grey[..., None], 3, axis=-1)
    tifffile.imwrite(tmp_path / "grey.tif", rgb, photometric="rgb")
    source = open_source(tmp_path / "grey.tif", "volume")
    np.testing.assert_array_equal(voxels(source), grey)
    assert "3 equal colour samples" in source.notes[0]
    rgb[1, 3, 3, 2] ^= 1
    tifffile.imwrite(tmp_path / "colour.tif", rgb, photometric="rgb")
    with pytest.raises(UnusableInput, match=r"plane 1 .* colour image"):
        open_source(tmp_path / "colour.tif", "volume")
    np.testing.assert_array_equal(
        voxels(open_source(tmp_path / "colour.tif", "volume", Selection(channel=2))), rgb[..., 2]
    )


def test_minimum_is_white_is_turned_round(tmp_path, numbers):
    path = tmp_path / "white.tif"
    tifffile.imwrite(path, numbers, photometric="miniswhite")
    source = open_source(path, "volume")
    np.testing.assert_array_equal(voxels(source), 65535 - numbers)
    assert "white as zero" in source.notes[0]


@pytest.mark.parametrize("suffix", ["tif", "png"])
def test_a_folder_of_planes_in_natural_order(tmp_path, suffix):
    planes = np.arange(12 * 8 * 9, dtype=np.uint8).reshape(12, 8, 9)
    for i, plane in enumerate(planes):  # slice_2 before slice_10
        if suffix == "png":
            Image.fromarray(plane).save(tmp_path / f"cell1_slice_{i}.png")
        else:
            tifffile.imwrite(tmp_path / f"cell1_slice_{i}.tif", plane)
    (tmp_path / "notes.txt").write_text("x")
    source = open_source(tmp_path, "volume")
    np.testing.assert_array_equal(voxels(source), planes)
    assert "1 files" in source.notes[0]


def test_missing_and_odd_planes_are_named(tmp_path):
    for i in (1, 2, 3, 6, 7):
        tifffile.imwrite(tmp_path / f"p{i:03d}.tif", np.zeros((8, 8), np.uint8))
    with pytest.raises(UnusableInput, match=r"2 planes are missing .*number 4, 5, after p003.tif"):
        open_source(tmp_path, "volume")
    for i in (4, 5):
        tifffile.imwrite(tmp_path / f"p{i:03d}.tif", np.zeros((8, 9) if i == 4 else (8, 8), np.uint8))
    with pytest.raises(UnusableInput, match=r"1 of 7 planes .*p004.tif: \(8, 9\)"):
        open_source(tmp_path, "volume")


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_ome_zarr(tmp_path, numbers, zarr_format):
    path = tmp_path / "image.ome.zarr"
    write_ome_zarr(path, numbers, "zyx", (0.006, 0.005, 0.004), zarr_format)
    source = open_source(path, "volume")
    np.testing.assert_array_equal(voxels(source), numbers)
    np.testing.assert_allclose([source.grid.z_nm, source.grid.y_nm, source.grid.x_nm], [6, 5, 4])


def test_five_axes_of_ome_zarr(tmp_path, numbers):
    path = tmp_path / "movie.ome.zarr"
    data = np.stack([numbers, numbers + 1000], axis=1)[:, :, None]
    write_ome_zarr(path, data, "tczyx", (2.0, 1, 1, 0.1, 0.1), 2)
    source = open_source(path, "movie", Selection(channel=1))
    np.testing.assert_array_equal(voxels(source), numbers + 1000)
    assert source.grid.interval_s == 2.0
    assert source.grid.y_nm == pytest.approx(100)


def test_a_zarr_group_without_image_names_its_arrays(tmp_path, numbers):
    group = zarr.create_group(str(tmp_path / "c.zarr"), zarr_format=2)
    array = group.create_array("volumes/raw", shape=numbers.shape, dtype=numbers.dtype)
    array[...] = numbers
    array.attrs.update({"resolution": [6, 5, 4], "offset": [60, 0, 8]})
    with pytest.raises(UnusableInput, match="volumes/raw"):
        open_source(tmp_path / "c.zarr", "volume")
    source = open_source(tmp_path / "c.zarr" / "volumes" / "raw", "volume")
    np.testing.assert_array_equal(voxels(source), numbers)
    assert (source.grid.z_nm, source.grid.origin_nm) == (6, (60, 0, 8))


@pytest.mark.parametrize(
    ("dtype", "to"), [("int16", "uint16"), ("bool", "uint8"), ("float64", "float32"), ("int32", "float32")]
)
def test_other_types_are_mapped_in_order_with_a_note(tmp_path, dtype, to):
    data = np.array([[[-3, 0], [1, 7]]]).astype(dtype)
    zarr.create_array(str(tmp_path / "a.zarr"), data=data)
    source = open_source(tmp_path / "a.zarr", "volume")
    assert source.dtype == to
    got = source.read(0).astype(float).ravel()
    np.testing.assert_array_equal(np.argsort(got, kind="stable"), np.argsort(data.ravel(), kind="stable"))
    assert dtype in source.notes[0]


def test_unreadable_inputs_say_why(tmp_path, numbers):
    def refused(path, match):
        with pytest.raises(UnusableInput, match=match) as error:
            voxels(open_source(path, "volume"))
        assert "\n" not in str(error.value)
        assert str(path.name) in str(error.value)

    refused(tmp_path / "nothing.tif", "does not exist")
    (tmp_path / "empty.tif").touch()
    refused(tmp_path / "empty.tif", "0 bytes")
    (tmp_path / "text.tif").write_text("hello, this is no picture at all")
    refused(tmp_path / "text.tif", "cannot be read as TIFF")
    (tmp_path / "a.czi").write_text("x")
    refused(tmp_path / "a.czi", "not a format")
    (tmp_path / "folder").mkdir()
    refused(tmp_path / "folder", "no TIFF or PNG planes")
    zarr.create_array(str(tmp_path / "complex.zarr"), data=np.zeros((2, 3, 4), np.complex64))
    refused(tmp_path / "complex.zarr", "complex64")


@pytest.mark.parametrize("options", [{"imagej": True}, {"ome": True}, {}, {"compression": "zlib"}, {"metadata": None}])
@pytest.mark.parametrize("share", [0.3, 0.95])
def test_a_truncated_file_never_gives_a_volume(tmp_path, options, share):
    rng = np.random.default_rng(0)
    path = tmp_path / "cut.tif"
    tifffile.imwrite(path, rng.integers(0, 255, (8, 64, 64), np.uint8), photometric="minisblack", **options)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(UnusableInput, match=r"cut.tif") as error:
        voxels(open_source(path, "volume"))
    assert "trunc" in str(error.value) or "copy it again" in str(error.value) or "export" in str(error.value)
