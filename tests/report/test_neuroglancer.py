"""The viewer state: sources that exist, dimensions in metres, sites where the voxels are."""

import json
from urllib.parse import unquote

import numpy as np
import pytest
from cisterna.report.neuroglancer import BASE_URL, build_viewer_state, opened_at, viewer_link


def state_of(store, run_id, **options):
    return json.loads(build_viewer_state(store, run_id, **options))


def test_every_layer_names_an_image_of_the_store(store, volume, make):
    state = state_of(store, make.put_volume_run(store, volume), base_url="https://data.example.org/bucket/")
    sources = [layer["source"] for layer in state["layers"] if isinstance(layer["source"], str)]
    assert len(sources) == 5
    for source in sources:
        path = source.removeprefix("zarr3://https://data.example.org/bucket/")
        assert store.exists(f"{path}zarr.json")
    kinds = {layer["name"]: layer["type"] for layer in state["layers"]}
    assert list(kinds) == ["raw", "denoised", "labels/copi", "labels/er", "labels/tubular_eres", "sites"]
    assert kinds["raw"] == "image"
    assert kinds["labels/copi"] == "segmentation"
    assert kinds["sites"] == "annotation"


def test_the_address_is_a_placeholder_until_one_is_given(store, volume, make):
    assert f"zarr3://{BASE_URL}/" in build_viewer_state(store, make.put_volume_run(store, volume)).decode()


def test_dimensions_are_metres_and_x_comes_first(store, volume, make):
    state = state_of(store, make.put_volume_run(store, volume))
    assert list(json.loads(build_viewer_state(store, "fibsem-3f0a1b2c4d5e"))["dimensions"]) == ["x", "y", "z"]
    assert state["dimensions"]["x"] == [8e-9, "m"]
    assert state["position"] == [79.5, 63.5, 35.5]


def test_sites_stand_in_the_objects_they_come_from(store, volume, make):
    """Neuroglancer puts the centre of voxel 0 at 0: a point divided by the voxel size, rounded, is a voxel index."""
    state = state_of(store, make.put_volume_run(store, volume))
    layer = next(layer for layer in state["layers"] if layer["name"] == "sites")
    assert layer["source"]["transform"]["outputDimensions"]["z"] == [1e-9, "m"]
    assert len(layer["annotations"]) == len(volume.sites)
    for point, site in zip(layer["annotations"], volume.sites.to_dict("records"), strict=True):
        index = tuple(np.rint(np.array(point["point"][::-1]) / 8).astype(int))
        own = volume.objects[volume.objects["site_id"] == site["site_id"]].iloc[0]
        assert volume.labels[own["class"]][index] == own["object_id"]
        assert point["description"].startswith(site["site_class"])


def test_a_movie_is_shown_in_seconds_and_micrometres(store, movie, make):
    state = state_of(store, make.put_movie_run(store, movie))
    assert list(state["dimensions"].items()) == [("x", [1e-7, "m"]), ("y", [1e-7, "m"]), ("t", [1.5, "s"])]
    assert state["position"] == [47.5, 47.5, 5.5]
    classes = next(layer for layer in state["layers"] if layer["name"] == "ernet/classes")
    assert set(classes["segmentColors"]) == {"1", "2", "3"}


def test_images_that_were_never_written_are_left_out(store, volume, make):
    run_id = make.put_volume_run(store, volume)
    document = json.loads(store.get(f"runs/{run_id}/run.json"))
    document["arrays"]["probability/er"] = "stages/none/x.ome.zarr"
    store.put_json(f"runs/{run_id}/run.json", document)
    assert "probability/er" not in [layer["name"] for layer in state_of(store, run_id)["layers"]]


def test_a_state_opens_at_a_site(store, volume, make):
    state = state_of(store, make.put_volume_run(store, volume))
    row = volume.sites.to_dict("records")[4]
    opened = opened_at(state, row, (8.0, 8.0, 8.0))
    assert opened["position"] == pytest.approx([row[f"centroid_{a}_nm"] / 8 - 0.5 for a in "xyz"], abs=1e-3)
    assert opened["layers"] == state["layers"]
    assert opened["crossSectionScale"] < state["crossSectionScale"]
    link = viewer_link(opened)
    address, _, text = link.partition("#!")
    assert address == "https://neuroglancer-demo.appspot.com/"
    assert json.loads(unquote(text)) == opened
    assert not set(text) & set('"<> {}')


@pytest.mark.parametrize("voxel", [(5.24, 4.0, 4.0)])
def test_anisotropic_voxels(store, volume, make, voxel):
    from cisterna.report.neuroglancer import site_layer

    points = site_layer(volume.sites.head(1), voxel)["annotations"][0]["point"]
    expected = [volume.sites[f"centroid_{a}_nm"].iloc[0] - v / 2 for a, v in zip("xyz", voxel[::-1], strict=True)]
    assert points == pytest.approx(expected, abs=1e-3)
