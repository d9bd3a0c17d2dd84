"""Movies in every layout that microscopes write: channels, colour, z-stacks. What is not said is asked, not guessed."""

import numpy as np
import pytest
import tifffile
import zarr
from cisterna.acquire import Selection, UnusableInput, ingest_movie, open_source
from cisterna.chunks import Box
from cisterna.store.arrays import read_box
from PIL import Image

T, Z, C = 4, 3, 2
RNG = np.random.default_rng(5)
STACK = RNG.integers(0, 4000, (T, Z, 20, 24)).astype(np.uint16)
SIZES = {"PhysicalSizeX": 0.1, "PhysicalSizeXUnit": "µm", "PhysicalSizeY": 0.1, "PhysicalSizeYUnit": "µm"}
DEPTH = {"PhysicalSizeZ": 0.3, "PhysicalSizeZUnit": "µm", "TimeIncrement": 2.0, "TimeIncrementUnit": "s"}


def voxels(source):
    return np.stack([source.read(i) for i in range(source.planes)])


def ome_tiff(path, data, axes, **metadata):
    tifffile.imwrite(path, data, ome=True, photometric="minisblack", metadata={"axes": axes, **SIZES, **metadata})
    return path


def ome_zarr(path, data, axes, scale, chunks=None, omero=None, version=3):
    group = zarr.create_group(str(path), zarr_format=version)
    array = group.create_array("0", shape=data.shape, dtype=data.dtype, chunks=chunks or data.shape)
    array[...] = data
    units = {"t": "second"} | dict.fromkeys("zyx", "micrometer")
    axis = [{"name": a, "type": "space", **({"unit": units[a]} if a in units else {})} for a in axes]
    sets = [{"path": "0", "coordinateTransformations": [{"type": "scale", "scale": list(scale)}]}]
    image = {"multiscales": [{"axes": axis, "datasets": sets}], **({"omero": omero} if omero else {})}
    group.attrs.update({"ome": {"version": "0.5", **image}} if version == 3 else image)
    return path


# -- channels ---------------------------------------------------------------------------------------------------------


def two_channels(tmp_path, how):
    data = np.stack([STACK[:, 0], STACK[:, 1]], axis=1)
    if how == "ome-tiff":
        return ome_tiff(tmp_path / "c.ome.tif", data, "TCYX", Channel={"Name": ["Sec61", "mito"]})
    if how == "ome-zarr":
        names = {"channels": [{"label": "Sec61"}, {"label": "mito"}]}
        return ome_zarr(tmp_path / "c.zarr", data, "tcyx", (2, 1, 0.1, 0.1), omero=names)
    tifffile.imwrite(tmp_path / "c.tif", data, imagej=True, metadata={"axes": "TCYX"})
    return tmp_path / "c.tif"


@pytest.mark.parametrize("how", ["ome-tiff", "ome-zarr", "imagej"])
def test_a_channel_is_chosen_by_number_or_name_and_never_by_chance(tmp_path, how):
    path = two_channels(tmp_path, how)
    listed = r"\(0, 1\)" if how == "imagej" else r"\(0 Sec61, 1 mito\)"
    with pytest.raises(UnusableInput, match=rf"2 channels {listed}: name one with --channel 0 to 1"):
        open_source(path, "movie")
    np.testing.assert_array_equal(voxels(open_source(path, "movie", Selection(1))), STACK[:, 1])
    if how == "imagej":
        with pytest.raises(UnusableInput, match="names none of them"):
            open_source(path, "movie", Selection("mito"))
        return
    np.testing.assert_array_equal(voxels(open_source(path, "movie", Selection("MITO"))), STACK[:, 1])
    with pytest.raises(UnusableInput, match=r"no single channel 'golgi'.*0 Sec61, 1 mito"):
        open_source(path, "movie", Selection("golgi"))


def test_axes_that_a_file_does_not_name_are_asked_for_and_taken_from_the_user(tmp_path):
    data = np.stack([STACK[:, 0], STACK[:, 1]], axis=1)
    tifffile.imwrite(tmp_path / "plain.tif", data, photometric="minisblack")
    zarr.create_array(str(tmp_path / "plain.zarr"), data=data)
    zarr.create_array(str(tmp_path / "named.zarr"), data=data, dimension_names=["t", "c", "y", "x"])
    for name in ("plain.tif", "plain.zarr"):
        with pytest.raises(UnusableInput, match=r"does not name all its axes: name them with --axes"):
            open_source(tmp_path / name, "movie")
        got = open_source(tmp_path / name, "movie", Selection(0, "TCYX"))
        np.testing.assert_array_equal(voxels(got), STACK[:, 0])
    np.testing.assert_array_equal(voxels(open_source(tmp_path / "named.zarr", "movie", Selection(1))), STACK[:, 1])


@pytest.mark.parametrize("axes", ["TYX", "TCXY", "TTYX", "TQYX", "TCZYX"])
def test_axes_that_do_not_fit_the_file_are_refused(tmp_path, axes):
    tifffile.imwrite(tmp_path / "plain.tif", STACK, photometric="minisblack")
    with pytest.raises(UnusableInput, match=r"--axes (names|says)"):
        open_source(tmp_path / "plain.tif", "movie", Selection(0, axes))


# -- colour -----------------------------------------------------------------------------------------------------------

GREY = RNG.integers(0, 255, (3, 10, 12)).astype(np.uint8)


def coloured(how):
    """(T, Y, X, S) with the channel that must be read, or the words of the refusal."""
    zero, full = np.zeros_like(GREY), np.full_like(GREY, 255)
    other = RNG.integers(0, 255, GREY.shape).astype(np.uint8)
    return {
        "grey": ([GREY, GREY, GREY], "3 equal colour samples"),
        "grey, alpha": ([GREY, GREY, GREY, other], "alpha was left out"),
        "green": ([zero, GREY, zero], "only its green carries signal"),
        "blue on a level": ([zero + 7, zero + 2, GREY, full], "only its blue carries signal"),
        "red and green": ([GREY, other, zero], "colour image (red and green carry signal)"),
        "tinted": ([GREY, GREY // 2, GREY // 2], "colour image"),
        # each plane alone has one sample with signal, the movie has two
        "red, then blue": ([np.where(np.arange(3)[:, None, None] < 2, GREY, 0), zero,
                            np.where(np.arange(3)[:, None, None] < 2, 0, GREY)], "colour image"),
    }[how]  # fmt: skip


def rgb_file(tmp_path, data, how):
    if how == "png":
        for i, plane in enumerate(data):
            Image.fromarray(plane).save(tmp_path / f"f{i}.png")
        return tmp_path
    planar = "separate" if how == "planar" else "contig"
    stored = np.moveaxis(data, -1, 1) if how == "planar" else data
    extra = ["unassalpha"] if data.shape[-1] == 4 else None
    tifffile.imwrite(tmp_path / "c.tif", stored, photometric="rgb", planarconfig=planar, extrasamples=extra)
    return tmp_path / "c.tif"


@pytest.mark.parametrize("how", ["contig", "planar", "png"])
@pytest.mark.parametrize(
    "what", ["grey", "grey, alpha", "green", "blue on a level", "red and green", "tinted", "red, then blue"]
)
def test_colour_is_read_by_meaning(tmp_path, what, how):
    samples, words = coloured(what)
    path = rgb_file(tmp_path, np.stack(samples, axis=-1), how)
    if "colour image" in words:
        with pytest.raises(UnusableInput) as error:
            open_source(path, "movie")
        assert words in str(error.value)
        assert "--channel (0 red, 1 green, 2 blue)" in str(error.value)
    else:
        source = open_source(path, "movie")
        np.testing.assert_array_equal(voxels(source), GREY)
        assert any(words in note for note in source.notes)
    for channel, name in enumerate(["red", "green", "blue"]):
        for selection in (Selection(channel), Selection(name)):
            np.testing.assert_array_equal(voxels(open_source(path, "movie", selection)), samples[channel])
    with pytest.raises(UnusableInput, match="no channel"):
        open_source(path, "movie", Selection(7))


# -- z-stacks ---------------------------------------------------------------------------------------------------------


def z_movie(tmp_path, how, data=STACK):
    if how == "ome-tiff":
        return ome_tiff(tmp_path / "z.ome.tif", data, "TZYX", **DEPTH)
    if how == "ome-tiff z first":
        return ome_tiff(tmp_path / "z.ome.tif", np.moveaxis(data, 1, 0), "ZTYX", **DEPTH)
    if how == "ome-zarr":
        return ome_zarr(tmp_path / "z.zarr", data, "tzyx", (2.0, 0.3, 0.1, 0.1), chunks=(2, 2, 16, 16))
    if how == "ome-zarr 0.4":
        five = data[:, None]
        return ome_zarr(tmp_path / "z.zarr", five, "tczyx", (2, 1, 0.3, 0.1, 0.1), chunks=(3, 1, 1, 20, 24), version=2)
    about = {"axes": "TZYX", "unit": "um", "spacing": 0.3, "finterval": 2.0}
    tifffile.imwrite(tmp_path / "z.tif", data, imagej=True, resolution=(10, 10), metadata=about)
    return tmp_path / "z.tif"


FILES = ["ome-tiff", "ome-tiff z first", "ome-zarr", "ome-zarr 0.4", "imagej"]


def stored(store, acquired):
    array = acquired.manifest["arrays"]["raw"]
    return read_box(store, f"{array['path']}/0", Box.whole(array["shape"]))


@pytest.mark.parametrize("how", FILES)
def test_every_mode_reads_the_sections_it_names(store, tmp_path, how):
    path = z_movie(tmp_path, how)
    with pytest.raises(UnusableInput, match=r"4 time points of 3 sections.*single .*max_projection or per_section"):
        ingest_movie(store, path)
    one = ingest_movie(store, path, selection=Selection(z_mode="single", z_section=2))
    np.testing.assert_array_equal(stored(store, one), STACK[:, 2])
    flat = ingest_movie(store, path, selection=Selection(z_mode="max_projection"))
    np.testing.assert_array_equal(stored(store, flat), STACK.max(axis=1))
    every = ingest_movie(store, path, selection=Selection(z_mode="per_section"))
    np.testing.assert_array_equal(stored(store, every), STACK)
    assert every.manifest["block"] == [1, 1, 20, 24]
    assert every.manifest["arrays"]["raw"]["z_spacing_um"] == pytest.approx(0.3)
    assert len({a.id for a in (one, flat, every)}) == 3
    for acquired, mode, section in ((one, "single", 2), (flat, "max_projection", None), (every, "per_section", None)):
        z = acquired.manifest["z"]
        assert (z["mode"], z["section"], z["sections"]) == (mode, section, 3)
        assert z["spacing_um"] == pytest.approx(0.3)
        assert acquired.manifest["arrays"]["raw"]["frame_interval_s"] == 2.0
        assert any("valid for flat cells" in n for n in acquired.manifest["notes"]) == (mode != "per_section")


def test_sections_of_one_grey_value_in_two_modes_are_two_acquisitions(store, tmp_path):
    path = z_movie(tmp_path, "ome-tiff", np.repeat(STACK[:, :1], 3, axis=1))
    ids = [
        ingest_movie(store, path, selection=s).id
        for s in (Selection(z_mode="single", z_section=0), Selection(z_mode="single", z_section=1),
                  Selection(z_mode="max_projection"))
    ]  # fmt: skip
    assert len(set(ids)) == 3


@pytest.mark.parametrize(
    ("selection", "words"),
    [
        (Selection(z_mode="single"), r"3 z sections and no section was chosen: give --z-section 0 to 2"),
        (Selection(z_mode="single", z_section=3), r"there is no section 3: give --z-section 0 to 2"),
        (Selection(z_mode="single", z_section=-1), r"there is no section -1"),
        (Selection(z_mode="max_projection", z_section=1), r"belongs to --z-mode single"),
        (Selection(z_section=1), r"belongs to --z-mode single"),
        (Selection(z_mode="average"), r"z mode 'average' is unknown"),
    ],
)
def test_half_a_choice_is_refused(tmp_path, selection, words):
    with pytest.raises(UnusableInput, match=words):
        open_source(z_movie(tmp_path, "ome-tiff"), "movie", selection)


def test_a_projection_leaves_out_what_is_no_number(tmp_path):
    data = STACK.astype(np.float32)
    data[1, 0, 3, 4] = np.nan
    data[2, :, 5, 6] = np.nan
    source = open_source(z_movie(tmp_path, "ome-zarr", data), "movie", Selection(z_mode="max_projection"))
    np.testing.assert_array_equal(voxels(source), np.fmax.reduce(data, axis=1))


def test_a_projection_holds_a_few_planes_at_a_time(tmp_path):
    import tracemalloc

    plane = 256 * 256 * 2
    tifffile.imwrite(tmp_path / "z.tif", np.zeros((3, 40, 256, 256), np.uint16), imagej=True, metadata={"axes": "TZYX"})
    source = open_source(tmp_path / "z.tif", "movie", Selection(z_mode="max_projection"))
    tracemalloc.start()
    for i in range(source.planes):
        source.read(i)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 6 * plane


def test_a_lone_z_axis_is_time_only_where_nothing_says_that_it_is_depth(store, tmp_path):
    about = {"axes": "ZYX", "unit": "um"}
    tifffile.imwrite(tmp_path / "m.tif", STACK[0], imagej=True, resolution=(10, 10), metadata=about)
    with pytest.raises(UnusableInput, match=r"z-stack of 3 sections.*--z-mode single.*max_projection or per_section"):
        ingest_movie(store, tmp_path / "m.tif")
    movie = ingest_movie(store, tmp_path / "m.tif", frame_interval_s=1.5)  # many movies are saved as z planes
    assert "z" not in movie.manifest
    assert any("calls its planes z planes" in n for n in movie.manifest["notes"])
    tifffile.imwrite(tmp_path / "z.tif", STACK[0], imagej=True, resolution=(10, 10), metadata={**about, "spacing": 0.3})
    with pytest.raises(UnusableInput, match="or --axes TYX if they are time frames"):
        ingest_movie(store, tmp_path / "z.tif", frame_interval_s=1.5)
    assert ingest_movie(store, tmp_path / "z.tif", frame_interval_s=1.5, selection=Selection(axes="TYX")).id
    one = ingest_movie(store, tmp_path / "z.tif", selection=Selection(z_mode="per_section"))
    np.testing.assert_array_equal(stored(store, one), STACK[:1])


def test_a_movie_without_z_is_one_section(store, tmp_path):
    path = ome_tiff(tmp_path / "m.ome.tif", STACK[:, 0], "TYX", TimeIncrement=2.0)
    plain, single = (ingest_movie(store, path, selection=Selection(z_mode=m)) for m in (None, "single"))
    assert plain.id == single.id
    for mode in ("max_projection", "per_section"):
        with pytest.raises(UnusableInput, match=rf"no z axis .*--z-mode {mode} needs several sections"):
            ingest_movie(store, path, selection=Selection(z_mode=mode))
    with pytest.raises(UnusableInput, match="leave --z-spacing-nm out"):
        ingest_movie(store, path, z_spacing_um=0.3)


def test_the_distance_of_sections_must_be_known_to_trace_in_three_dimensions(store, tmp_path):
    path = ome_tiff(tmp_path / "z.ome.tif", STACK, "TZYX", TimeIncrement=2.0)
    every = Selection(z_mode="per_section")
    with pytest.raises(UnusableInput, match="states no distance of its z sections: give it with --z-spacing-nm"):
        ingest_movie(store, path, selection=every)
    assert ingest_movie(store, path, selection=every, z_spacing_um=0.4).manifest["z"]["spacing_um"] == 0.4
    assert ingest_movie(store, path, selection=Selection(z_mode="max_projection")).manifest["z"]["spacing_um"] is None
    with pytest.raises(UnusableInput, match=r"states a z spacing of 300 nm, but 400 nm was given"):
        ingest_movie(store, z_movie(tmp_path, "imagej"), selection=every, z_spacing_um=0.4)
    with pytest.raises(UnusableInput, match="positive"):
        ingest_movie(store, path, selection=every, z_spacing_um=0.0)


def test_a_folder_of_planes_can_be_a_z_stack(store, tmp_path):
    folder = tmp_path / "planes"
    folder.mkdir()
    for z, plane in enumerate(STACK[0]):
        tifffile.imwrite(folder / f"z{z}.tif", plane)
    with pytest.raises(UnusableInput, match="no frame interval"):
        ingest_movie(store, folder, pixel_size_um=0.1)
    for axes in (None, "ZYX"):
        flat = ingest_movie(store, folder, pixel_size_um=0.1, selection=Selection(axes=axes, z_mode="max_projection"))
        np.testing.assert_array_equal(stored(store, flat)[0], STACK[0].max(axis=0))
