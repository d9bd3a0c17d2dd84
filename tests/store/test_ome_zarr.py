"""The images are OME-Zarr 0.5 that the published schema accepts, with true positions on every level."""

from __future__ import annotations

import json
import os
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from cisterna.store import open_store
from cisterna.store.arrays import ImageSpec, create_image, downsample, open_level
from hypothesis import given
from hypothesis import strategies as st
from referencing import Registry
from referencing.jsonschema import DRAFT202012

DATA = os.environ.get("CISTERNA_TEST_DATA")
SPECS = [
    ImageSpec((300, 150, 130), "uint8", (64, 64, 64), "zyx", (5.24, 4.0, 4.0), "raw"),
    ImageSpec((1, 40, 40), "float32", (64, 64, 64), "zyx", (8.0, 8.0, 8.0), "raw"),
    ImageSpec((5, 300, 280), "uint16", (1, 300, 280), "tyx", (1.5, 0.1, 0.1), "raw"),
]


@pytest.mark.skipif(not DATA, reason="CISTERNA_TEST_DATA is not set: the OME-Zarr schemas are there")
@pytest.mark.parametrize("spec", SPECS)
def test_metadata_satisfies_the_published_schema(spec: ImageSpec) -> None:
    store = open_store("memory://")
    create_image(store, "i.ome.zarr", spec)
    folder = Path(str(DATA)) / "ngff05_cases" / "schemas"
    schemas = [json.loads(p.read_text()) for p in sorted(folder.glob("*.schema"))]
    registry = Registry().with_resources([(s["$id"], DRAFT202012.create_resource(s)) for s in schemas])
    wanted = next(s for s in schemas if s["$id"].endswith("/strict_image.schema"))
    ome = json.loads(store.get("i.ome.zarr/zarr.json"))["attributes"]
    jsonschema.Draft202012Validator(wanted, registry=registry).validate(ome)


@pytest.mark.parametrize("spec", SPECS)
def test_levels_exist_and_the_last_is_small(spec: ImageSpec) -> None:
    store = open_store("memory://")
    create_image(store, "i.ome.zarr", spec)
    for n, level in enumerate(spec.levels):
        assert open_level(store, f"i.ome.zarr/{n}").shape == level.shape
    space = [s for s, a in zip(spec.levels[-1].shape, spec.axes, strict=True) if a != "t"]
    assert max(space) <= 128
    assert spec.levels[-1].shape[0] == spec.shape[0] or spec.axes == "zyx"


def test_coarse_voxels_lie_between_those_they_cover() -> None:
    store = open_store("memory://")
    create_image(store, "i.ome.zarr", SPECS[0])
    dataset = json.loads(store.get("i.ome.zarr/zarr.json"))["attributes"]["ome"]["multiscales"][0]["datasets"][1]
    scale, shift = (t[t["type"]] for t in dataset["coordinateTransformations"])
    # Voxel 0 of level 1 covers voxels 0 and 1 of level 0: their centres 0 and s average to s / 2.
    assert scale == [10.48, 8.0, 8.0]
    assert shift == [2.62, 2.0, 2.0]


def test_an_anisotropic_axis_waits_for_the_others() -> None:
    spec = ImageSpec((100, 400, 400), "uint8", (64, 64, 64), "zyx", (20.0, 5.0, 5.0))
    assert spec.factor == (1, 2, 2)
    assert spec.coarser.factor == (1, 2, 2) or spec.coarser.scale[1] == 10.0


@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 255))
def test_downsampling_keeps_constants_and_ranges(y: int, x: int, value: int) -> None:
    data = np.full((4, y, x), value, np.uint8)
    assert (downsample(data, (2, 2, 2), "mean") == value).all()
    assert downsample(data, (2, 2, 2), "nearest").shape == (2, -(-y // 2), -(-x // 2))


def test_labels_never_mix() -> None:
    labels = np.array([[[0, 7], [7, 7]], [[7, 7], [7, 9]]], np.uint32)
    assert downsample(labels, (2, 2, 2), "nearest").item() == 0
    assert downsample(labels, (2, 2, 2), "mean").item() == 6
