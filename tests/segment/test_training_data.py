"""What a training is given: masks by class, metric masks, task files of the reference program, WEBKNOSSOS downloads."""

import json
import shutil
from argparse import ArgumentParser
from dataclasses import replace

import numpy as np
import pytest
import torch
import zarr
from cisterna.models import read_model_folder
from cisterna.segment.train import add_arguments, run
from cisterna.segment.training_loop import TrainingSettings, patch_of, start, step, validate
from cisterna.segment.training_volumes import LabelledVolume, draw_patch
from cisterna.segment.volume_files import file_volume, open_volume, read_volume
from cisterna.segment.volume_lists import read_training_volumes

SMALL = TrainingSettings(("er", "copi"), num_fmaps=1, convolutions="padded", patch=24, iterations=2, learning_rate=1e-3)
SHAPE = (20, 22, 26)


def grain(seed=0, shape=SHAPE):
    return np.random.default_rng(seed).uniform(-1, 1, shape).astype(np.float32)


def half(axis, shape=SHAPE):
    """True in the first half along an axis."""
    inside = np.zeros(shape, bool)
    inside[tuple(slice(0, n // 2) if a == axis else slice(None) for a, n in enumerate(shape))] = True
    return inside


def two_classes(**more):
    labels = {"er": (grain(1) > 0.5).astype(np.uint8), "copi": (grain(2) > 0.8).astype(np.uint8)}
    return LabelledVolume("v", grain(), labels, **more)


def test_the_loss_of_a_class_ignores_what_its_own_mask_hides():
    """Labels of one class outside its mask may say anything; those of the other class still count there."""
    masks = {"er": half(0)}
    volume = two_classes(masks=masks)
    lying = {"er": np.where(masks["er"], volume.labels["er"], 1), "copi": volume.labels["copi"]}
    other = {"er": volume.labels["er"], "copi": np.where(masks["er"], volume.labels["copi"], 1)}
    losses = []
    for labels in (volume.labels, lying, other):
        state = start(SMALL)
        losses.append(step(SMALL, state, patch_of(SMALL, [replace(volume, labels=labels)], 0), "cpu"))
    # places to centre on come from known voxels alone, so the patches are the same
    assert losses[0] == losses[1]
    assert losses[0] != losses[2]


def test_patches_know_each_class_by_its_mask_and_a_missing_class_not_at_all():
    volume = two_classes(mask=half(2), masks={"er": half(0)})
    assert np.array_equal(volume.known("er"), half(2) & half(0))
    assert np.array_equal(volume.known("copi"), half(2))
    assert not volume.known("golgi").any()
    patch = draw_patch([volume], ["er", "copi", "golgi"], 40, 4, np.random.default_rng(0))
    assert patch.mask.shape == (3, 32, 32, 32)
    assert 0 < patch.mask[0].sum() < patch.mask[1].sum() < patch.mask[1].size
    assert not patch.mask[2].any()
    assert not patch.truth[2].any()


def test_a_class_that_a_patch_does_not_know_leaves_the_loss_of_the_others():
    """The mean is over the classes that are known, not diluted by the rest."""
    anywhere = replace(SMALL, foreground_share=0.0)
    alone = LabelledVolume("v", grain(), {"er": (grain(1) > 0.5).astype(np.uint8)})
    torch.manual_seed(0)
    state = start(SMALL)
    with torch.no_grad():
        for head in state.network.heads[1:]:
            for own, first in zip(head.parameters(), state.network.heads[0].parameters(), strict=True):
                own.copy_(first)
    beside = step(anywhere, state, patch_of(anywhere, [alone], 0), "cpu")
    both = LabelledVolume("v", grain(), {"er": alone.labels["er"], "copi": alone.labels["er"]})
    state = start(SMALL)
    with torch.no_grad():
        for own, first in zip(state.network.heads[1].parameters(), state.network.heads[0].parameters(), strict=True):
            own.copy_(first)
    assert step(anywhere, state, patch_of(anywhere, [both], 0), "cpu") == pytest.approx(beside, rel=1e-6)


def test_validation_counts_within_metric_masks_of_each_class():
    state = start(SMALL)
    judged = {"er": half(1)}
    volume = two_classes(metric_masks=judged)
    lying = {"er": np.where(judged["er"], volume.labels["er"], 1), "copi": volume.labels["copi"]}
    found = [validate(SMALL, state.network, [replace(volume, labels=n)], "cpu") for n in (volume.labels, lying)]
    assert found[0] == found[1]
    everywhere = validate(SMALL, state.network, [replace(volume, metric_masks={})], "cpu")
    assert everywhere["copi"] == found[0]["copi"]
    assert everywhere["er"] != found[0]["er"]
    # the metric mask does not keep anything out of the loss
    assert volume.known("er").all()


def arguments(*words):
    parser = ArgumentParser()
    add_arguments(parser)
    return parser.parse_args(list(map(str, words)))


def save(folder, **arrays):
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)


def test_a_list_names_masks_of_classes_and_metric_masks(tmp_path):
    save(tmp_path, raw=((grain() + 1) * 100).astype(np.uint8), er=(grain(1) > 0.5).astype(np.uint8),
         known=half(0).astype(np.uint8), judged=half(1).astype(np.uint8))  # fmt: skip
    entry = {"image": "raw.npy", "labels": {"er": "er.npy"}, "masks": {"er": "known.npy"}, "metric_mask": "judged.npy"}
    path = tmp_path / "data.json"
    path.write_text(json.dumps([entry]))
    (volume,) = read_training_volumes([path], classes=["er"], voxel_size_nm=(5, 5, 5)).train
    assert np.array_equal(volume.known("er"), half(0))
    assert np.array_equal(volume.judged("er"), half(0) & half(1))
    away = tmp_path / "lists" / "data.json"
    away.parent.mkdir()
    away.write_text(json.dumps([entry]))
    assert read_training_volumes([away], classes=["er"], voxel_size_nm=(5, 5, 5), folder=tmp_path).train
    held_out = read_training_volumes([path], [path], classes=["er"], voxel_size_nm=(5, 5, 5)).held_out
    assert len(held_out) == 1
    for wrong, sentence in (
        (entry | {"masks": {"golgi": "known.npy"}}, "masks golgi"),
        (entry | {"masks": "known.npy"}, '"masks" maps classes'),
        (entry | {"metric_mask": {"copi": "judged.npy"}}, "masks copi"),
    ):
        path.write_text(json.dumps([wrong]))
        with pytest.raises(ValueError, match=sentence):
            read_training_volumes([path], classes=["er"], voxel_size_nm=(5, 5, 5))


def test_labels_on_other_voxels_than_the_image_are_refused_even_in_a_box(tmp_path):
    save(tmp_path, raw=((grain() + 1) * 100).astype(np.uint8), er=np.ones((20, 22, 25), np.uint8))
    with pytest.raises(ValueError, match=r"\(20, 22, 25\)"):
        file_volume(tmp_path / "raw.npy", {"er": tmp_path / "er.npy"}, box=[[0, 0, 0], [9, 9, 9]])


# task files


def container(folder, name="cell.zarr", begins=(40, 50, 60), equalised=True):
    """A container as the reference program writes it, its arrays beginning at different voxels of its frame."""
    group = zarr.open_group(folder / name, mode="a", zarr_format=2)
    arrays = {
        "volumes/raw_equalized_0.02" if equalised else "volumes/raw": ((grain() + 1) * 127).astype(np.uint8),
        "volumes/labels/er": (grain(1) > 0.5).astype(np.uint8)[4:],
        "volumes/mask": half(2).astype(np.uint8),
        "volumes/metric_masks/er": half(1).astype(np.uint8),
    }
    for dataset, data in arrays.items():
        array = group.create_array(dataset, shape=data.shape, dtype=data.dtype, chunks=(8, 8, 8))
        array[...] = data
        low = np.array(begins) + ((4, 0, 0) if "labels" in dataset else (0, 0, 0))
        array.attrs.update({"resolution": [5, 5, 5], "offset": (low * 5).tolist()})
    return {
        "file": name, "offset": [begins[0] + 6, begins[1] + 2, begins[2] + 3], "shape": [12, 18, 20],
        "voxel_size": [5, 5, 5], "raw": "volumes/raw_equalized_0.02" if equalised else "volumes/raw",
        "mask": "volumes/mask", "metric_masks": ["volumes/metric_masks/er"], "labels": {"volumes/labels/er": 1},
    }  # fmt: skip


def test_a_task_file_gives_box_labels_masks_and_grid(tmp_path):
    entry = container(tmp_path)
    path = tmp_path / "task.json"
    path.write_text(json.dumps({"cell_er": entry}))
    found = read_training_volumes([path])
    assert found.classes == ("er",)
    assert found.voxel_size_nm == (5, 5, 5)
    assert found.equalised
    (volume,) = found.train
    box = (slice(6, 18), slice(2, 20), slice(3, 23))
    grey = ((grain() + 1) * 127).astype(np.uint8)[box]
    assert np.allclose(volume.image, grey / 127.5 - 1, atol=1e-6)  # 0 … 255, as the equalised networks want it
    assert np.array_equal(volume.labels["er"], (grain(1) > 0.5)[box])
    assert np.array_equal(volume.known("er"), half(2)[box])
    assert np.array_equal(volume.judged("er"), (half(2) & half(1))[box])
    with pytest.raises(ValueError, match="4×4×4 nm"):
        read_training_volumes([path], voxel_size_nm=(4, 4, 4))
    with pytest.raises(ValueError, match="does not exist"):
        read_training_volumes([path], folder=tmp_path / "elsewhere")
    shutil.rmtree(tmp_path / "cell.zarr" / "volumes" / "mask")
    with pytest.raises(ValueError, match="volumes/mask, which does not exist"):
        read_training_volumes([path])


def test_the_command_trains_from_task_files_and_holds_out_tasks(tmp_path, capsys):
    path, judged = tmp_path / "task.json", tmp_path / "judged.json"
    path.write_text(json.dumps({"cell_er": container(tmp_path)}))
    judged.write_text(json.dumps({"other_er": container(tmp_path, "other.zarr", begins=(7, 8, 9))}))
    words = ["--output", tmp_path, "--data", path, "--validation", judged, "--convolutions", "padded", "--patch", 24,
             "--iterations", 1, "--num-fmaps", 1, "--name", "task"]  # fmt: skip
    assert run(arguments(*words)) == 0
    spec = read_model_folder(tmp_path / "task-er").spec
    assert spec["voxel_size_nm"] == [5, 5, 5]
    assert spec["intensity"] == {"rule": "clahe", "to": [-1.0, 1.0]}
    assert spec["metrics"]["on"] == ["other_er"]
    assert spec["training"]["data"] == ["cell_er"]
    assert "CLAHE-equalised" in (tmp_path / "task-er" / "card.md").read_text()
    plain = tmp_path / "plain.json"
    plain.write_text(json.dumps({"grey": container(tmp_path, "grey.zarr", equalised=False)}))
    with pytest.raises(ValueError, match="equalised and others are not"):
        run(arguments(*words[:2], "--data", path, plain))
    with pytest.raises(ValueError, match="go with --data"):
        run(arguments("--output", tmp_path, "--validation", judged))


# WEBKNOSSOS


def webknossos(folder, array, layer="segmentation", mag="1", prefix="", properties=True):
    """A dataset or annotation in zarr3 as WEBKNOSSOS writes it: c, x, y, z."""
    zarr.create_array(
        folder / prefix / layer / mag, data=array.transpose(2, 1, 0)[None], chunks=(1, 8, 8, 8),
        dimension_names=["c", "x", "y", "z"],
    )  # fmt: skip
    if properties:
        described = {
            "scale": {"factor": [4, 4, 5.24], "unit": "nanometer"},
            "dataLayers": [
                {"name": layer, "category": "segmentation", "dataFormat": "zarr3", "mags": [{"mag": [1, 1, 1]}]}
            ],
        }
        (folder / prefix / "datasource-properties.json").write_text(json.dumps(described))


def zipped(folder, name):
    return shutil.make_archive(str(folder.parent / name), "zip", folder)


@pytest.fixture
def labels():
    return np.arange(np.prod(SHAPE), dtype=np.uint32).reshape(SHAPE)


def test_a_dataset_is_read_from_its_folder_and_from_a_zip(tmp_path, labels):
    webknossos(tmp_path / "set", labels, prefix="my_dataset")
    assert np.array_equal(read_volume(tmp_path / "set" / "my_dataset"), labels)
    archive = zipped(tmp_path / "set", "download")
    assert np.array_equal(read_volume(archive), labels)
    stored = open_volume(archive)
    part = (slice(3, 5), slice(0, 9), slice(20, 26))
    assert np.array_equal(stored.read(part), labels[part])


def test_an_annotation_holds_its_volume_as_a_zip_of_its_own(tmp_path, labels):
    webknossos(tmp_path / "volume", labels, layer="", properties=False)
    (tmp_path / "annotation").mkdir()
    shutil.move(zipped(tmp_path / "volume", "v"), tmp_path / "annotation" / "data_Volume.zip")
    (tmp_path / "annotation" / "cell.nml").write_text("<things/>")
    archive = zipped(tmp_path / "annotation", "annotation")
    assert np.array_equal(read_volume(archive), labels)
    assert np.array_equal(read_volume(f"{archive}/data_Volume"), labels)
    shutil.copy(tmp_path / "annotation" / "data_Volume.zip", tmp_path / "annotation" / "data_2.zip")
    with pytest.raises(ValueError, match="name one of them"):
        read_volume(zipped(tmp_path / "annotation", "two"))


def test_several_layers_must_be_named_and_wkw_is_explained(tmp_path, labels):
    folder = tmp_path / "set"
    webknossos(folder, labels, layer="er", properties=False)
    webknossos(folder, labels + 1, layer="copi", properties=False)
    archive = zipped(folder, "layers")
    with pytest.raises(ValueError, match="layers copi, er: name one"):
        read_volume(archive)
    assert np.array_equal(read_volume(f"{archive}/copi"), labels + 1)
    with pytest.raises(ValueError, match="no layer golgi"):
        read_volume(f"{archive}/golgi")
    coarse = tmp_path / "coarse"
    webknossos(coarse, labels, mag="2-2-1")
    with pytest.raises(ValueError, match="full resolution"):
        read_volume(zipped(coarse, "c"))
    wkw = tmp_path / "wkw" / "segmentation" / "1"
    wkw.mkdir(parents=True)
    (wkw / "header.wkw").write_bytes(b"WKW")
    with pytest.raises(ValueError, match=r"WKW files, which are not read: .* Zarr"):
        read_volume(zipped(tmp_path / "wkw", "w"))
    (tmp_path / "broken.zip").write_bytes(b"PK")
    with pytest.raises(ValueError, match="does not read as a zip"):
        read_volume(tmp_path / "broken.zip")


def test_arrays_of_webknossos_may_go_on_beyond_the_image(tmp_path):
    """Its arrays end at whole shards; other label files must have the image's shape."""
    label = np.zeros((32, 32, 32), np.uint32)
    label[:20, :22, :26] = grain(1) > 0.5
    webknossos(tmp_path / "set", label)
    save(tmp_path, raw=((grain() + 1) * 100).astype(np.uint8))
    volume = file_volume(tmp_path / "raw.npy", {"er": zipped(tmp_path / "set", "d")})
    assert np.array_equal(volume.labels["er"], grain(1) > 0.5)


def test_layers_with_their_own_paths_and_zarr_of_version_2(tmp_path, labels):
    """A dataset over OME-Zarr images, whose level 0 is magnification 1; and axes that only the dataset names."""
    folder = tmp_path / "arrays"
    for level in (0, 1):
        zarr.create_array(folder / "labels" / "er.ome.zarr" / str(level), data=labels + level, chunks=(8, 8, 8),
                          dimension_names=["z", "y", "x"])  # fmt: skip
    mags = [{"mag": [2**n] * 3, "path": f"./labels/er.ome.zarr/{n}"} for n in (0, 1)]
    described = {"dataLayers": [{"name": "labels_er", "category": "segmentation", "mags": mags}]}
    (folder / "datasource-properties.json").write_text(json.dumps(described))
    assert np.array_equal(read_volume(folder), labels)
    assert np.array_equal(read_volume(zipped(folder, "arrays")), labels)
    assert np.array_equal(
        read_volume(folder / "labels" / "er.ome.zarr" / "1"), labels + 1
    )  # an array that is named itself
    (folder / "datasource-properties.json").unlink()
    with pytest.raises(ValueError, match="unpack it"):
        read_volume(zipped(folder, "image"))
    old = tmp_path / "old"
    group = zarr.open_group(old / "seg", mode="a", zarr_format=2)
    group.create_array("1-1-1", data=labels.transpose(2, 1, 0)[None], chunks=(1, 8, 8, 8))
    assert np.array_equal(read_volume(zipped(old, "old")), labels)
