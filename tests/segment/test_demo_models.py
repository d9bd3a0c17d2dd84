"""The shipped models, on a phantom that they have not seen."""

from pathlib import Path

import cisterna.models
import numpy as np
import pytest
from cisterna.models import read_model_folder
from cisterna.phantoms.cell import fibsem_cell
from cisterna.segment.accuracy import object_agreement, voxel_agreement
from cisterna.segment.probability import IntensityRule, prepare, volume_probability
from cisterna.segment.training_volumes import percentile_range

DEMO = Path(cisterna.models.__file__).parent / "demo"
SEED = 88_001


@pytest.fixture(scope="module")
def cell():
    phantom = fibsem_cell((80, 128, 128), 8.0, seed=SEED, density=2.0)
    return (phantom.inlens.astype(np.float32) + phantom.esb) / 2, phantom.labels


def found(cell, name):
    model = read_model_folder(DEMO / f"demo-asem-{name}")
    rule = IntensityRule.of_model(model.spec, *percentile_range(cell[0]))
    return volume_probability(cell[0], prepare(model.module()), rule)[0] >= model.spec["metrics"]["threshold"]


@pytest.mark.parametrize("name", ["er", "copi", "ccv", "tubular-eres"])
def test_folders_are_small_and_say_what_they_are(name):
    spec = read_model_folder(DEMO / f"demo-asem-{name}").spec
    assert spec["demo"]
    assert spec["class"] == name.replace("-", "_")
    assert spec["weights"]["bytes"] < 800_000
    assert spec["voxel_size_nm"] == [8.0, 8.0, 8.0]
    lo, hi = spec["training"]["phantom_seeds"]
    assert not lo <= SEED < hi


def test_vesicles_are_found(cell):
    agreement = object_agreement(found(cell, "copi"), cell[1]["vesicles"], min_voxels=28)  # a sphere of 30 nm
    assert agreement.truth >= 10
    assert agreement.recall >= 0.8
    assert agreement.precision >= 0.7


def test_er_is_found(cell):
    assert voxel_agreement(found(cell, "er"), cell[1]["er"]).dice >= 0.75
