"""A probability against labels: figures that can be counted by hand, and the command that records them."""

import json

import numpy as np
import pytest
import tifffile
from cisterna.acquire import ingest_volume
from cisterna.chunks import Box
from cisterna.cli.main import main
from cisterna.segment.judgement import objects_by_diameter, threshold_curve, wilson
from cisterna.store import open_store
from cisterna.store.arrays import ImageSpec, create_image, write_block

SHAPE = (40, 60, 60)
SPHERES = {1: ((10, 12, 12), 4), 2: ((12, 40, 14), 4), 3: ((20, 20, 42), 9), 4: ((30, 45, 45), 4), 5: ((5, 59, 30), 4)}
"""The last one is cut by the volume's face."""


def sphere(centre, radius):
    z, y, x = np.ogrid[tuple(slice(0, n) for n in SHAPE)]
    return (z - centre[0]) ** 2 + (y - centre[1]) ** 2 + (x - centre[2]) ** 2 <= radius**2


@pytest.fixture(scope="module")
def labels():
    found = np.zeros(SHAPE, np.uint16)
    for name, (centre, radius) in SPHERES.items():
        found[sphere(centre, radius)] = name
    return found


@pytest.fixture(scope="module")
def probability(labels):
    """Spheres 1 and 3 found well, 2 faintly, 4 not at all, and one small thing invented."""
    found = np.full(SHAPE, 10, np.uint8)
    for name, value in ((1, 220), (3, 200), (2, 100)):
        found[labels == name] = value
    found[sphere((30, 12, 20), 3)] = 180
    return found


def test_the_curve_is_what_counting_gives(labels, probability):
    known = np.ones(SHAPE, bool)
    known[:, :, 50:] = False
    for mask in (None, known):
        curve = threshold_curve(probability, labels, mask)
        keep = np.ones(SHAPE, bool) if mask is None else mask
        for level in (1, 11, 100, 101, 190, 221):
            a, b = (probability >= level)[keep], (labels > 0)[keep]
            both = (a & b).sum()
            said = curve.at(level)
            assert said["dice"] == pytest.approx(2 * both / (a.sum() + b.sum()))
            assert said["jaccard"] == pytest.approx(both / (a | b).sum())
            assert said["recall"] == pytest.approx(both / b.sum())
            assert (said["precision"] == pytest.approx(both / a.sum())) if a.any() else np.isnan(said["precision"])


def test_the_best_threshold_is_the_plateau_s_value_nearest_to_the_run_s(labels, probability):
    curve = threshold_curve(probability, labels)
    level, low, high = curve.best(128)
    dice = np.nan_to_num(curve.dice)
    assert dice[level - 1] == dice.max()
    assert level == 100  # 2 is in from 100 down; every level of 11 … 100 sees the same voxels
    assert (low, high) == (11, 100)
    assert curve.best(30)[0] == 30
    with pytest.raises(ValueError, match="no positive voxel"):
        threshold_curve(probability, labels * 0).best()


def test_objects_are_counted_in_classes_of_diameter_without_those_cut(labels, probability):
    small, large = objects_by_diameter(probability >= 128, labels, (5, 5, 5), None, [60])
    assert (small.truth, small.found) == (3, 1)  # 1, 2 and 4: 4 voxels of 5 nm wide; 5 is cut by a face
    assert (large.truth, large.found) == (1, 1)
    assert (small.predicted, small.right) == (2, 1)
    assert (large.predicted, large.right) == (1, 1)
    known = np.ones(SHAPE, bool)
    known[sphere((30, 12, 20), 5)] = False
    small, _ = objects_by_diameter(probability >= 128, labels, (5, 5, 5), known, [60])
    assert (small.predicted, small.right) == (1, 1)  # what was invented lies where nothing is known
    one_value = objects_by_diameter(probability >= 128, (labels > 0).astype(np.int64), (5, 5, 5), None, [60])
    assert one_value[0].truth == 3
    anisotropic = objects_by_diameter(probability >= 128, labels, (40, 5, 5), None, [60])
    assert anisotropic[0].truth == 0
    nothing = objects_by_diameter(probability > 255, labels * 0, (5, 5, 5))
    assert sum(c.truth + c.predicted for c in nothing) == 0
    assert nothing[0].as_row()["recall"] is None


def test_wilson_s_interval():
    assert wilson(0, 0) is None
    assert wilson(8, 10) == pytest.approx([0.4902, 0.9433], abs=1e-4)
    assert wilson(0, 5)[0] == 0
    assert wilson(5, 5)[1] == 1


@pytest.fixture
def run(tmp_path, labels, probability):
    """A finished run as `evaluate` reads it."""
    store = open_store(f"file://{tmp_path}/store")
    tifffile.imwrite(tmp_path / "raw.tif", probability)
    acquired = ingest_volume(store, tmp_path / "raw.tif", voxel_size_nm=5, polarity="dark").id
    create_image(store, "p.ome.zarr", ImageSpec(SHAPE, "uint8", (64, 64, 64), "zyx", (5.0, 5.0, 5.0)))
    write_block(store, "p.ome.zarr/0", Box.whole(SHAPE), probability)
    stages = {f"eres-label-{c}": {"params": {"threshold": 128}} for c in ("er", "copi")}
    document = {
        "run_id": "fibsem-x", "state": "SUCCEEDED", "acquisition": acquired, "stages": stages,
        "arrays": {"raw": "r", "probability/er": "p.ome.zarr", "probability/copi": "p.ome.zarr"},
    }  # fmt: skip
    store.put("runs/fibsem-x/run.json", json.dumps(document).encode())
    return store


def test_evaluate_records_the_threshold_with_its_reason(run, tmp_path, labels, capsys):
    tifffile.imwrite(tmp_path / "labels.tif", labels)
    words = ["evaluate", "fibsem-x", "--truth", str(tmp_path / "labels.tif"), "--store", run.url]
    assert main([*words, "--class", "copi", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["threshold"]["levels"] == {"run": 128, "chosen": 100}
    assert int(np.ceil(document["threshold"]["chosen"] * 255)) == 100
    assert "highest Dice" in document["threshold"]["reason"]
    assert sum(r["truth"] for r in document["objects"]["run"]) == 4
    assert sum(r["found"] for r in document["objects"]["chosen"]) == 3
    assert len(document["curve"]) == 255
    written = run.list("runs/fibsem-x/evaluation")
    assert len(written) == 1
    assert run.get_json(written[0]) == document
    assert main([*words, "--class", "copi"]) == 0
    said = capsys.readouterr().out
    assert "--set eres.thresholds.copi=0.3902" in said
    assert "hardly tells" not in said
    blind = np.random.default_rng(0).random(SHAPE) < 0.3  # nothing that the probability knows of
    tifffile.imwrite(tmp_path / "other.tif", blind.astype(np.uint8))
    words[3] = str(tmp_path / "other.tif")
    assert main([*words, "--class", "copi"]) == 0
    assert "hardly tells" in capsys.readouterr().out.replace("\n", " ")


def test_labels_of_a_box_are_judged_within_it(run, tmp_path, labels, capsys):
    import zarr

    part = labels[2:38, 0:56, 4:60]
    array = zarr.open_group(str(tmp_path / "t.zarr"), mode="w", zarr_format=2).create_array(
        "labels", shape=part.shape, dtype=part.dtype
    )
    array[...] = part
    array.attrs.update(resolution=[5, 5, 5], offset=[10, 0, 20])
    words = ["evaluate", "fibsem-x", "--truth", str(tmp_path / "t.zarr/labels"), "--class", "er", "--store", run.url]
    assert main([*words, "--json"]) == 0
    truth = json.loads(capsys.readouterr().out)["truth"]
    assert truth["box"] == {"offset": [2, 0, 4], "shape": [36, 56, 56]}
    assert truth["positive"] == int((part > 0).sum())
    known = np.zeros(SHAPE, np.uint8)
    tifffile.imwrite(tmp_path / "mask.tif", known)
    assert main([*words, "--mask", str(tmp_path / "mask.tif")]) == 2
    assert "give both on one box" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "sentence"),
    [(["--class", "golgi"], "no class golgi"), ([], "say which with --class"),
     (["--class", "er", "--diameters-nm", "-3"], "above 0")],
)  # fmt: skip
def test_what_cannot_be_evaluated_is_said(run, tmp_path, labels, change, sentence, capsys):
    tifffile.imwrite(tmp_path / "labels.tif", labels)
    assert main(["evaluate", "fibsem-x", "--truth", str(tmp_path / "labels.tif"), "--store", run.url, *change]) == 2
    assert sentence in capsys.readouterr().err
    tifffile.imwrite(tmp_path / "zero.tif", labels * 0)
    words = ["evaluate", "fibsem-x", "--class", "er", "--store", run.url]
    assert main([*words, "--truth", str(tmp_path / "zero.tif")]) == 2
    assert "no positive voxel" in capsys.readouterr().err
    assert main(["evaluate", "none", "--truth", "x", "--store", run.url]) == 2
