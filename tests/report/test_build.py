"""From a store to a report: levels, gaps, unfinished runs, and nothing written."""

import json

import numpy as np
import pytest
from cisterna.report.build import best_position, build_report, read_movie, read_volume
from cisterna.report.document import read_document
from cisterna.report.levels import match_grid, read_pyramid, read_slice
from cisterna.store import ObjectMissing


def load(store, run_id):
    return read_document(store.get(f"runs/{run_id}/run.json"))


def test_a_volume_run_becomes_a_report_and_nothing_else(store, volume, make):
    run_id = make.put_volume_run(store, volume)
    before, puts = store.list(""), store.puts
    text = build_report(store, run_id).decode()
    assert store.list("") == before
    assert store.puts == puts
    assert text.count("<img") == 10
    assert "were trained on phantoms only (demo-fastfib)" in text


def test_planes_hold_the_voxels_of_the_volume(store, volume, make):
    data = read_volume(store, load(store, make.put_volume_run(store, volume)))
    for axis, plane in enumerate(data.planes):
        index = int(plane.position_nm / 8)
        assert np.array_equal(plane.raw, np.take(volume.raw, index, axis))
        assert np.array_equal(plane.er, np.take(volume.labels["er"], index, axis) > 0)
        assert np.array_equal(plane.labels["copi"], np.take(volume.labels["copi"], index, axis))
        assert plane.pixel_nm == (8.0, 8.0)


def test_the_shown_plane_cuts_most_sites(volume):
    z = int(best_position(volume.objects, 0, 72, 8.0) / 8)
    met = [((volume.objects["min_z_nm"] <= n * 8) & (volume.objects["max_z_nm"] >= n * 8 + 8)).sum() for n in range(72)]
    assert met[z] == max(met)


def test_without_sites_the_middle_is_shown(volume):
    assert best_position(volume.objects.iloc[:0], 1, 100, 5.0) == 252.5
    assert best_position(volume.objects.assign(site_id=0), 1, 1, 5.0) == 2.5


def test_large_planes_are_read_from_a_level_that_fits(store, volume, make):
    make.put_image(store, "a", volume.raw, "zyx", (8.0, 8.0, 8.0))
    pyramid = read_pyramid(store, "a")
    cut = read_slice(store, pyramid, 0, 100.0, 80)
    assert cut.pixels.shape == (64, 80)
    assert cut.pixel_size == (16.0, 16.0)
    assert np.array_equal(cut.pixels, volume.raw[12, ::2, ::2])


def test_without_a_fitting_level_the_finest_that_is_there_is_thinned(store, volume, make):
    make.put_image(store, "a", volume.raw, "zyx", (8.0, 8.0, 8.0))
    for path in store.list("a/1/c"):
        store.delete(path)
    cut = read_slice(store, read_pyramid(store, "a"), 0, 100.0, 80)
    assert cut.pixel_size == (16.0, 16.0)
    assert np.array_equal(cut.pixels, volume.raw[12, ::2, ::2])
    assert cut.missing == 0


def test_a_lost_block_is_a_named_gap_not_an_end(store, volume, make):
    data = read_volume(store, load(store, make.put_volume_run(store, volume, leave_out=(0,), state="DEGRADED")))
    assert any("labels/copi" in note for note in data.run.notes)
    assert data.planes[0].labels["copi"].shape == data.planes[0].raw.shape


def test_a_run_that_failed_early_still_has_a_report(store, volume, make):
    run_id = make.put_volume_run(store, volume, state="FAILED", error="service eres did not answer")
    document = json.loads(store.get(f"runs/{run_id}/run.json"))
    document["arrays"]["labels/er"] = "stages/never/written.ome.zarr"
    for name, path in document["tables"].items():
        store.delete(path)
        document["tables"][name] = path
    store.put_json(f"runs/{run_id}/run.json", document)
    text = build_report(store, run_id).decode()
    assert "service eres did not answer" in text
    assert "the run did not write it: table objects, table sites, table links" in text


def test_a_movie_run_becomes_a_report(store, movie, make):
    run_id = make.put_movie_run(store, movie)
    data = read_movie(store, load(store, run_id))
    assert [view.frame for view in data.views] == [0, 6, 11]
    for view in data.views:
        assert np.array_equal(view.raw, movie.raw[view.frame])
        assert np.array_equal(view.classes, movie.classes[view.frame])
        assert view.time_s == view.frame * 1.5
    text = build_report(store, run_id).decode()
    assert text.count("<img") >= 3 + 2 + 1 + 4 + 1
    assert text.count("<video controls loop muted") == 1


def test_every_frame_is_shown_once_in_a_movie_of_one(store, make):
    one = make.movie(count=1, size=64)
    data = read_movie(store, load(store, make.put_movie_run(store, one)))
    assert [view.frame for view in data.views] == [0]


def test_an_unknown_run_is_missing(store):
    with pytest.raises(ObjectMissing):
        build_report(store, "fibsem-000000000000")


@pytest.mark.parametrize(
    ("text", "word"), [(b"{", "not JSON"), (b"[]", "list"), (b'{"run_id":"a","state":"FAILED"}', "recipe")]
)
def test_a_broken_run_document_is_named_with_a_remedy(text, word):
    with pytest.raises(ValueError, match=word) as error:
        read_document(text)
    assert "cisterna retry" in str(error.value)


def test_match_grid_picks_nearest_pixels_with_corners_together():
    coarse = np.array([[1, 2], [3, 4]])
    assert match_grid(coarse, (4, 4), (0.5, 0.5)).tolist() == [[1, 1, 2, 2], [1, 1, 2, 2], [3, 3, 4, 4], [3, 3, 4, 4]]
    fine = np.arange(16).reshape(4, 4)
    assert match_grid(fine, (2, 2), (2, 2)).tolist() == [[5, 7], [13, 15]]
    assert match_grid(fine, (5, 4), (1, 1))[4].tolist() == fine[3].tolist()
