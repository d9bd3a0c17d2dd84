"""What an acquisition is: identity by content, manifest last, nothing written twice, nothing left by a refusal."""

import json

import numpy as np
import pytest
import tifffile
from cisterna.acquire import UnusableInput, ingest_movie, ingest_volume
from cisterna.chunks import Box
from cisterna.phantoms import er_movie, save_cell, save_movie
from cisterna.runs.acquisition import read_acquisition
from cisterna.store import open_store
from cisterna.store.arrays import read_box


@pytest.fixture
def files(tmp_path, cell):
    save_cell(tmp_path / "cell", cell)
    return tmp_path / "cell"


def write(path, data, **options):
    tifffile.imwrite(path, data, photometric="minisblack", **options)
    return path


def stored(store, acquisition, name="raw", level=0):
    path = f"{acquisition.manifest['arrays'][name]['path']}/{level}"
    shape = json.loads(store.get(f"{path}/zarr.json"))["shape"]
    return read_box(store, path, Box.whole(shape))


def test_one_volume_end_to_end(store, files, cell):
    acquired = ingest_volume(store, files / "inlens.tif")
    assert acquired.created
    np.testing.assert_array_equal(stored(store, acquired), cell.inlens)
    array = acquired.manifest["arrays"]["raw"]
    assert (array["shape"], array["dtype"], array["axes"]) == ([72, 80, 88], "uint8", "zyx")
    assert array["voxel_size_nm"] == [8.0, 8.0, 8.0]
    assert acquired.manifest["block"] == [64, 64, 64]
    assert array["intensity"]["low"] == pytest.approx(np.percentile(cell.inlens, 0.1), abs=1)
    assert array["intensity"]["high"] == pytest.approx(np.percentile(cell.inlens, 99.9), abs=1)
    assert acquired.manifest["statistics"]["stack_min"] == cell.inlens.min()
    assert acquired.manifest["polarity"]["estimate"] == "dark"
    planned = read_acquisition(store, acquired.id)  # what the planner reads
    assert planned.identity == acquired.identity
    assert planned.scale == (8.0, 8.0, 8.0)
    assert planned.detectors == {}


def test_a_second_ingest_writes_nothing(store, files, tmp_path):
    first = ingest_volume(store, files / "inlens.tif")
    puts = store.puts
    (tmp_path / "copy.tif").write_bytes((files / "inlens.tif").read_bytes())
    second = ingest_volume(store, tmp_path / "copy.tif", voxel_size_nm=(8, 8, 8), polarity="dark")
    assert store.puts == puts
    assert (second.id, second.identity, second.created) == (first.id, first.identity, False)


def test_the_manifest_is_written_last(store, files, monkeypatch):
    from cisterna.store import ObjectStore

    order = []
    original = ObjectStore.put_new
    monkeypatch.setattr(ObjectStore, "put_new", lambda s, p, d: order.append(p) or original(s, p, d))
    ingest_volume(store, files / "inlens.tif")
    assert order[-1].endswith("manifest.json")
    assert sum(p.endswith("manifest.json") for p in order) == 1


def test_what_changes_voxels_changes_the_id(store, tmp_path, numbers):
    path = write(tmp_path / "a.tif", numbers)
    ids = {
        ingest_volume(store, path, voxel_size_nm=5, polarity="dark").id,
        ingest_volume(store, path, voxel_size_nm=6, polarity="dark").id,
        ingest_volume(store, path, voxel_size_nm=5, polarity="bright").id,
        ingest_volume(store, path, voxel_size_nm=5, polarity="dark", region=Box((0, 0, 0), (3, 5, 6))).id,
        ingest_volume(store, path, voxel_size_nm=5, polarity="dark", region=Box((1, 0, 0), (3, 5, 6))).id,
        ingest_volume(store, write(tmp_path / "b.tif", numbers + 1), voxel_size_nm=5, polarity="dark").id,
        ingest_volume(
            store, write(tmp_path / "c.tif", numbers.reshape(10, 6, 12)), voxel_size_nm=5, polarity="dark"
        ).id,
    }
    assert len(ids) == 7


def test_two_detectors_and_their_average(store, files, cell):
    both = {"inlens": files / "inlens.tif", "esb": files / "esb.tif"}
    acquired = ingest_volume(store, detectors=both)
    np.testing.assert_array_equal(stored(store, acquired, "esb"), cell.esb)
    mean = np.rint((cell.inlens.astype(float) + cell.esb) / 2).astype(np.uint8)
    np.testing.assert_array_equal(stored(store, acquired), mean)
    assert list(read_acquisition(store, acquired.id).detectors) == ["esb", "inlens"]
    ranges = {n: (a["intensity"]["low"], a["intensity"]["high"]) for n, a in acquired.manifest["arrays"].items()}
    assert len(set(ranges.values())) == 3
    swapped = ingest_volume(store, detectors=dict(reversed(both.items())))
    assert swapped.id == acquired.id
    one = ingest_volume(store, detectors=both, analysis_signal="esb")
    assert one.id != acquired.id
    np.testing.assert_array_equal(stored(store, one), cell.esb)


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"detectors": {"a": "inlens.tif"}}, "exactly two"),
        ({"detectors": {"a": "inlens.tif", "raw": "esb.tif"}}, "neither raw"),
        ({"detectors": {"a": "inlens.tif", "b": "esb.tif"}, "analysis_signal": "c"}, "analysis signal 'c'"),
        ({"detectors": {"a": "inlens.tif", "b": "truth/vesicles.tif"}}, "same planes and type"),
        ({}, "either one input or two"),
        ({"source": "inlens.tif", "voxel_size_nm": (8, 8, 8.1)}, r"8×8×8 nm .*8×8×8.1 nm"),
        ({"source": "inlens.tif", "voxel_size_nm": (8, 8)}, "three positive numbers"),
        ({"source": "inlens.tif", "voxel_size_nm": float("nan")}, "three positive numbers"),
        ({"source": "inlens.tif", "region": Box((0, 0, 0), (73, 1, 1))}, "72×80×88"),
        ({"source": "inlens.tif", "polarity": "up"}, "polarity 'up'"),
    ],
)
def test_refusals_leave_nothing(store, files, options, word):
    options = {**options}
    if "source" in options:
        options["source"] = files / options["source"]
    if "detectors" in options:
        options["detectors"] = {n: files / p for n, p in options["detectors"].items()}
    with pytest.raises(UnusableInput, match=word) as error:
        ingest_volume(store, **options)
    assert "\n" not in str(error.value)
    assert store.list("acquisitions") == []


def test_half_a_percent_is_agreement(store, files):
    acquired = ingest_volume(store, files / "inlens.tif", voxel_size_nm=(8, 8, 8.03))
    assert acquired.manifest["arrays"]["raw"]["voxel_size_nm"] == [8.0, 8.0, 8.03]


def test_a_size_is_needed_when_the_file_has_none(store, tmp_path, numbers):
    path = write(tmp_path / "bare.tif", numbers)
    with pytest.raises(UnusableInput, match=r"no voxel size.*--voxel-size-nm"):
        ingest_volume(store, path)
    with pytest.raises(UnusableInput, match="--pixel-size-nm"):
        ingest_movie(store, path, frame_interval_s=1)
    with pytest.raises(UnusableInput, match="--frame-interval-s"):
        ingest_movie(store, path, pixel_size_um=0.1)
    assert store.list("acquisitions") == []


def test_a_region_keeps_the_statistics_of_the_whole(store, files, cell):
    box = Box((5, 6, 7), (40, 50, 60))
    whole = ingest_volume(store, files / "inlens.tif")
    part = ingest_volume(store, files / "inlens.tif", region=box)
    np.testing.assert_array_equal(stored(store, part), cell.inlens[box.slices])
    assert part.manifest["arrays"]["raw"]["intensity"] == whole.manifest["arrays"]["raw"]["intensity"]
    assert part.manifest["statistics"] == whole.manifest["statistics"]
    assert part.manifest["arrays"]["raw"]["origin_nm"] == [40.0, 48.0, 56.0]


def test_nan_is_filled_with_the_median_and_noted(store, tmp_path, section):
    data = np.stack([section] * 3).astype(np.float32)
    data[1, 3:6, 4] = [np.nan, np.inf, -np.inf]
    acquired = ingest_volume(store, write(tmp_path / "nan.tif", data), voxel_size_nm=8)
    got = stored(store, acquired)
    assert got.dtype == np.float32
    assert np.isfinite(got).all()
    assert got[1, 4, 4] == pytest.approx(np.nanmedian(data[np.isfinite(data)]), abs=0.02)
    assert any("3 values" in n for n in acquired.manifest["notes"])
    assert acquired.manifest["statistics"]["nan_share"] == pytest.approx(3 / data.size)


def test_nothing_but_nan_is_refused(store, tmp_path):
    with pytest.raises(UnusableInput, match="no finite value"):
        ingest_volume(store, write(tmp_path / "nan.tif", np.full((2, 40, 40), np.nan, np.float32)), voxel_size_nm=8)
    assert store.list("acquisitions") == []


@pytest.mark.parametrize(
    ("data", "note"),
    [
        (np.full((4, 40, 40), 7, np.uint8), "constant"),
        (np.arange(900, dtype=np.uint16).reshape(1, 30, 30), "one plane"),
        (np.arange(8, dtype=np.uint8).reshape(2, 2, 2), "too small"),
    ],
)
def test_odd_volumes_work_with_a_note(store, tmp_path, data, note):
    acquired = ingest_volume(store, write(tmp_path / "odd.tif", data), voxel_size_nm=8)
    np.testing.assert_array_equal(stored(store, acquired), data)
    assert any(note in n for n in acquired.manifest["notes"]), acquired.manifest["notes"]
    intensity = acquired.manifest["arrays"]["raw"]["intensity"]
    assert intensity["low"] < intensity["high"]


def test_pyramid_is_the_mean_of_the_level_below(store, tmp_path):
    data = np.random.default_rng(0).integers(0, 255, (8, 150, 262), np.uint8)
    acquired = ingest_volume(store, write(tmp_path / "a.tif", data), voxel_size_nm=8, polarity="dark")
    level = stored(store, acquired, level=1)
    cells = data.reshape(4, 2, 75, 2, 131, 2).mean(axis=(1, 3, 5))
    np.testing.assert_array_equal(level, np.rint(cells))
    assert stored(store, acquired, level=2).shape == (2, 38, 66)


def test_bands_of_rows_give_the_same_image(store, tmp_path, monkeypatch):
    import cisterna.acquire.writing as writing

    data = np.random.default_rng(0).integers(0, 255, (70, 150, 90), np.uint8)
    monkeypatch.setattr(writing, "SLAB_BYTES", 64 * 64 * 90)
    acquired = ingest_volume(store, write(tmp_path / "a.tif", data), voxel_size_nm=8, polarity="dark")
    np.testing.assert_array_equal(stored(store, acquired), data)


def test_movie_end_to_end(store, tmp_path):
    movie = er_movie(3, (100, 140), seed=1)
    save_movie(tmp_path / "movie", movie)
    acquired = ingest_movie(store, tmp_path / "movie" / "movie.tif")
    np.testing.assert_array_equal(stored(store, acquired), movie.frames)
    array = acquired.manifest["arrays"]["raw"]
    assert (array["pixel_size_um"], array["frame_interval_s"]) == ([pytest.approx(0.1)] * 2, 1.0)
    assert acquired.manifest["block"] == [1, 100, 140]
    found = acquired.manifest["statistics"]["frame_percentiles_1_99"]
    np.testing.assert_allclose(found, [np.percentile(f, (1, 99)) for f in movie.frames])
    assert acquired.manifest["statistics"]["stack_max"] == movie.frames.max()
    puts = store.puts
    assert not ingest_movie(store, tmp_path / "movie" / "movie.tif").created
    assert store.puts == puts
    assert read_acquisition(store, acquired.id).scale == (1.0, pytest.approx(0.1), pytest.approx(0.1))


def test_one_frame_needs_no_interval(store, tmp_path, section):
    acquired = ingest_movie(store, write(tmp_path / "frame.tif", section), pixel_size_um=0.1)
    assert any("one frame" in n for n in acquired.manifest["notes"])


def test_the_manifest_is_strict_json(store, files):
    acquired = ingest_volume(store, files / "inlens.tif")
    text = store.get(f"acquisitions/{acquired.id}/manifest.json").decode()
    assert "NaN" not in text
    assert "Infinity" not in text
    assert json.loads(text) == acquired.manifest


def test_progress_reaches_one(store, files):
    seen = {}
    ingest_volume(store, files / "inlens.tif", progress=lambda what, share: seen.__setitem__(what, share))
    assert set(seen) == {"reading raw", "writing raw"}
    assert all(v == pytest.approx(1) for v in seen.values())


def test_a_size_that_only_the_user_states_is_noted_as_assumed(tmp_path):
    store = open_store("memory://")
    frames = np.arange(4 * 32 * 32, dtype=np.uint16).reshape(4, 32, 32)
    tifffile.imwrite(tmp_path / "m.tif", frames, photometric="minisblack")
    acquired = ingest_movie(store, tmp_path / "m.tif", pixel_size_um=0.108, frame_interval_s=1.0)
    notes = store.get_json(f"acquisitions/{acquired.id}/manifest.json")["notes"]
    assert "a pixel size of 108 nm is assumed: the file states none" in notes
