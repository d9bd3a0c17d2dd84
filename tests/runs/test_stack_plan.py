"""How a z-stack of which every section is kept is planned, and what refuses it."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from acquisitions import install_models, movie
from cisterna.acquire import UnusableInput, ingest_degraded
from cisterna.cli.degrade import noise_for
from cisterna.cli.home import UsageError
from cisterna.models import write_model_folder
from cisterna.models.folder import install_model
from cisterna.runs.acquisition import from_manifest
from cisterna.runs.plan import UsedArray, make_plan
from cisterna.runs.recipes import RecipeError, parse_recipe
from cisterna.store import open_store
from cisterna.store.objects import json_bytes

FRAMES, SECTIONS = 3, 5
RECIPE = "z_mode: per_section"


def manifest():
    document = dict(movie(FRAMES).manifest)
    raw = {**document["arrays"]["raw"], "shape": (FRAMES, SECTIONS, 40, 50), "z_spacing_um": 0.25}
    z = {"mode": "per_section", "sections": SECTIONS, "section": None, "spacing_um": 0.25}
    return {**document, "arrays": {"raw": raw}, "block": (1, 1, 40, 50), "z": z}


@pytest.fixture
def store(tmp_path):
    store = open_store("memory://")
    install_models(store, tmp_path)
    return store


def planned(store, recipe=RECIPE, uses=None):
    return make_plan(store, parse_recipe(recipe, "er-movie"), from_manifest(manifest()), uses)


def test_sections_are_frames_to_the_model_and_one_volume_to_the_tracing(store):
    plan = planned(store)
    assert {s.name: s.blocks for s in plan.stages} == {
        "ernet": FRAMES * SECTIONS, "graph-trace-stack": FRAMES, "graph-summary-stack": 1,
    }  # fmt: skip
    one = plan.stage("ernet").request(7, 1).input.box
    assert (list(one.offset), list(one.shape)) == ([1, 2, 0, 0], [1, 1, 40, 50])
    traced = plan.stage("graph-trace-stack")
    request = traced.request(1, 1)
    assert (list(request.classes.box.offset), list(request.classes.box.shape)) == ([1, 0, 0, 0], [1, SECTIONS, 40, 50])
    assert list(request.voxel_size_um) == [0.25, 0.1, 0.1]
    assert traced.needs[0].blocks(1) == list(range(SECTIONS, 2 * SECTIONS))
    assert plan.stage("graph-summary-stack").needs[0].blocks(0) == list(range(FRAMES))
    assert sorted(plan.tables) == ["stack_edges", "stack_frames", "stack_nodes"]
    assert any("were not made" in w for w in plan.warnings)


def test_a_temporal_model_reads_the_same_section_of_other_time_points(store, tmp_path):
    spec = store.get_json("models/demo-ernet/model.json")
    kept = {k: v for k, v in spec.items() if k not in ("digest", "weights", "format")}
    write_model_folder(
        tmp_path / "five", {**kept, "name": "five", "temporal_context": 2}, {"w": np.zeros(1, np.float32)}
    )
    install_model(store, tmp_path / "five")
    plan = planned(store, f"{RECIPE}\nernet: {{model: five}}")
    assert list(plan.stage("ernet").request(7, 1).input.halo) == [2, 0, 0, 0]


def test_tables_have_another_identity_with_another_spacing(store):
    wide = manifest()
    wide["arrays"]["raw"]["z_spacing_um"] = 0.5
    other = make_plan(store, parse_recipe(RECIPE, "er-movie"), from_manifest(wide))
    assert planned(store).stage("graph-trace-stack").key != other.stage("graph-trace-stack").key


@pytest.mark.parametrize(
    ("recipe", "words"),
    [
        ("z_mode: sum", "z_mode is 'sum'; write single, max_projection, per_section or null"),
        ("z_mode: single\nz_section: -1", "z_section is -1"),
        ("z_section: 2", "belongs to z_mode single"),
        ("z_mode: per_section\nz_section: 2", "belongs to z_mode single"),
        ("", "recipe says z_mode null"),
        ("z_mode: max_projection", "was made with z_mode per_section"),
    ],
)
def test_recipes_that_do_not_fit_say_why(store, recipe, words):
    with pytest.raises(RecipeError, match=words):
        planned(store, recipe)


def test_what_flat_movies_alone_can_do_is_refused(store):
    with pytest.raises(RecipeError, match="leave --cells out"):
        planned(store, uses={"cells": UsedArray("acquisitions/m/uses/c/labels.ome.zarr", "i", "cells.tif")})
    store.put_new("acquisitions/m/manifest.json", json_bytes(manifest()))
    with pytest.raises(UsageError, match="keeps its z sections"):
        noise_for(store, {"run_id": "r", "acquisition": "m", "arrays": {}}, 3.0)

    with pytest.raises(UnusableInput, match="keeps its z sections"):
        ingest_degraded(store, "m", [1.0] * FRAMES, 3.0, "r")


def test_a_flat_movie_is_planned_as_it_was_before_there_were_sections(store):
    recipe = parse_recipe("", "er-movie")
    plain = make_plan(store, recipe, movie(FRAMES))
    single = make_plan(store, dataclasses.replace(recipe, z_mode="single"), movie(FRAMES))
    assert {s.name: s.key for s in plain.stages} == {s.name: s.key for s in single.stages}
