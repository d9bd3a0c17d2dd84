"""Dark or bright membranes: phantoms, both real volumes, their negatives, and what cannot be told."""

import os
from pathlib import Path

import numpy as np
import pytest
import tifffile
from cisterna.acquire import UnusableInput, ingest_volume
from cisterna.acquire.polarity import estimate_polarity
from cisterna.phantoms import fibsem_cell


def sections(volume):
    return [volume[i] for i in np.linspace(0, len(volume) - 1, 8).astype(int)]


@pytest.mark.parametrize("voxel", [5.0, 8.0, 16.0])
def test_phantoms_and_their_negatives(voxel):
    n = int(560 / voxel)
    cell = fibsem_cell((n, n, n), voxel, seed=2)
    for image in (cell.inlens, cell.esb):
        assert estimate_polarity(sections(image), voxel).estimate == "dark"
        assert estimate_polarity(sections(255 - image), voxel).estimate == "bright"


@pytest.mark.parametrize("name", ["train1", "train2"])
def test_real_volumes_and_their_negatives(name):
    folder = os.environ.get("CISTERNA_TEST_DATA")
    if not folder:
        pytest.skip("CISTERNA_TEST_DATA is not set: the real FIB-SEM volumes are not at hand")
    raw = tifffile.imread(Path(folder) / "fibsem_medulla" / name / "raw.tif")
    dark, bright = estimate_polarity(sections(raw), 10.0), estimate_polarity(sections(255 - raw), 10.0)
    assert (dark.estimate, bright.estimate) == ("dark", "bright")
    assert dark.score == pytest.approx(-bright.score, rel=0.05)
    assert dark.score > 0.1


@pytest.mark.parametrize("seed", range(4))
def test_noise_is_undecided(seed):
    noise = np.random.default_rng(seed).normal(128, 20, (8, 200, 200))
    assert estimate_polarity(list(noise), 8.0).estimate == "undecided"


def test_constant_and_tiny_sections_are_not_checked():
    assert estimate_polarity([np.full((64, 64), 9, np.uint8)], 8.0).estimate == "not_checked"
    assert estimate_polarity([np.eye(20)], 8.0).estimate == "not_checked"
    assert estimate_polarity([], 8.0).estimate == "not_checked"


def test_bright_membranes_are_inverted_with_a_note(store, tmp_path, cell):
    tifffile.imwrite(tmp_path / "n.tif", 255 - cell.inlens, photometric="minisblack")
    acquired = ingest_volume(store, tmp_path / "n.tif", voxel_size_nm=8)
    assert acquired.manifest["arrays"]["raw"]["intensity"]["invert"] is True
    assert acquired.manifest["polarity"]["inverted"] is True
    assert any("bright" in n for n in acquired.manifest["notes"])


def test_what_cannot_be_told_is_refused_with_a_picture(store, tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (6, 128, 128), np.uint8)
    tifffile.imwrite(tmp_path / "noise.tif", noise, photometric="minisblack")
    with pytest.raises(UnusableInput, match="--polarity dark or --polarity bright") as error:
        ingest_volume(store, tmp_path / "noise.tif", voxel_size_nm=8)
    picture = Path(next(w for w in str(error.value).split() if w.endswith(".png")))
    assert picture.stat().st_size > 1000
    picture.unlink()
    assert store.list("acquisitions") == []
    told = ingest_volume(store, tmp_path / "noise.tif", voxel_size_nm=8, polarity="bright")
    assert told.manifest["arrays"]["raw"]["intensity"]["invert"] is True
    assert told.manifest["polarity"]["estimate"] == "undecided"


def test_saying_the_opposite_is_noted(store, tmp_path, cell):
    tifffile.imwrite(tmp_path / "c.tif", cell.inlens, photometric="minisblack")
    acquired = ingest_volume(store, tmp_path / "c.tif", voxel_size_nm=8, polarity="bright")
    assert any("look dark" in n for n in acquired.manifest["notes"])
