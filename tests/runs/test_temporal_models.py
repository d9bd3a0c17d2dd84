"""Plans with a temporal ERnet: which frames a block reads and waits for, and what the run says of the movie's ends."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from acquisitions import movie
from cisterna.models import install_model, write_model_folder
from cisterna.runs.plan import Plan, make_plan
from cisterna.runs.recipes import parse_recipe
from cisterna.store import ObjectStore, open_store


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> ObjectStore:
    store, folder = open_store("memory://"), tmp_path_factory.mktemp("models")
    for frames in (1, 3, 4, 5):
        spec = {
            "name": f"of-{frames}",
            "family": "ernet-swin3d",
            "padding": "same",
            "context": None,
            "whole_frame": True,
            "stride": 4,
            "frames": frames,
            "temporal_context": frames // 2,
            "pixel_size_um": 0.1,
            "topology": {},
            "intensity": {"rule": "ernet", "to": [0, 1]},
            "flop_per_voxel": 1e4,
            "demo": False,
            "licence": "BSD-3-Clause",
        }
        install(store, folder, spec)
    return store


def install(store: ObjectStore, folder: Path, spec: dict[str, object]) -> None:
    write_model_folder(folder / str(spec["name"]), spec, {"w": np.zeros(1, np.float32)})
    install_model(store, folder / str(spec["name"]))


def plan(store: ObjectStore, frames: int, length: int = 20) -> Plan:
    return make_plan(store, parse_recipe(f"ernet: {{model: of-{frames}}}", "er-movie"), movie(length))


def test_a_block_asks_for_the_frames_around_it(store: ObjectStore) -> None:
    stage = plan(store, 5).stage("ernet")
    assert list(stage.request(0, 1).input.halo) == [2, 0, 0]
    assert list(stage.request(0, 1).input.box.shape) == [1, 40, 50]
    assert stage.needs == ()  # the movie itself is there before the run
    assert list(plan(store, 1).stage("ernet").request(7, 1).input.halo) == [0, 0, 0]


@pytest.mark.parametrize(("frames", "block", "waits"), [(5, 6, [4, 5, 6, 7, 8]), (5, 0, [0, 1, 2]), (3, 11, [10, 11]),
                                                        (4, 5, [3, 4, 5, 6, 7]), (1, 5, [5])])  # fmt: skip
def test_a_frame_of_the_static_scene_waits_for_those_around_it(
    store: ObjectStore, frames: int, block: int, waits: list[int]
) -> None:
    stage = plan(store, frames).stage("ernet-static")
    (needs,) = stage.needs
    assert (stage.blocks, needs.stage, needs.blocks(block)) == (12, "graph-static", waits)
    assert list(stage.request(block, 1).input.halo) == [frames // 2, 0, 0]


def test_the_run_says_what_stands_for_frames_beyond_the_ends(store: ObjectStore) -> None:
    (sentence,) = (w for w in plan(store, 5).warnings if "repeated" in w)
    assert "of-5 reads 5 frames" in sentence
    assert "(2 before, 2 after)" in sentence
    assert any("(2 before, 1 after)" in w for w in plan(store, 4).warnings)
    assert not any("repeated" in w for w in plan(store, 1).warnings)
    assert plan(store, 3, length=1).stage("ernet").blocks == 1
