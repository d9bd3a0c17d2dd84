"""Plans: the same work has the same keys, other work has others, and blocks wait for what they read."""

from __future__ import annotations

import importlib
import json
from dataclasses import replace
from pathlib import Path

import pytest
from acquisitions import install_models, movie, volume
from cisterna.runs.plan import Plan, UsedArray, make_plan
from cisterna.runs.recipes import Recipe, RecipeError, parse_recipe
from cisterna.runs.stages import VERSIONS
from cisterna.store import ObjectStore, open_store


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> ObjectStore:
    store = open_store("memory://")
    install_models(store, tmp_path_factory.mktemp("models"))
    return store


def recipe(text: str = "", kind: str = "fibsem") -> Recipe:
    return parse_recipe(text, kind)


def keys(plan: Plan) -> dict[str, str]:
    return {s.name: s.key for s in plan.stages}


def changed(a: Plan, b: Plan) -> set[str]:
    return {n for n, k in keys(a).items() if keys(b).get(n) != k}


def test_the_same_submission_is_the_same_run(store: ObjectStore) -> None:
    assert make_plan(store, recipe(), volume()).run_id == make_plan(store, recipe(), volume()).run_id


def test_another_link_distance_is_another_run_that_repeats_only_the_site_rules(store: ObjectStore) -> None:
    a, b = (make_plan(store, recipe(t), volume()) for t in ("", "eres: {rules: {link_nm: 40.0}}"))
    assert a.run_id != b.run_id
    again = ("measure", "regions", "region", "sites", "survey", "statistics")
    assert changed(a, b) == {f"eres-{name}" for name in again}


def test_other_relocations_repeat_the_statistics_alone(store: ObjectStore) -> None:
    a, b = (make_plan(store, recipe(t), volume()) for t in ("", "eres: {chance: {relocations: 5000}}"))
    assert changed(a, b) == {"eres-statistics"}


def test_full_sensitivity_adds_each_segmentation_threshold_moved_down_and_up(store: ObjectStore) -> None:
    plan = make_plan(store, recipe("eres: {sensitivity: full}"), volume())
    variants = plan.stage("eres-statistics").request(0, 1).variants
    assert {(v.class_name, v.factor) for v in variants} == {
        (c, f) for c in ("copi", "tubular_eres", "er") for f in (0.8, 1.2)
    }
    low, high = (plan.stage(f"eres-label-er-{w}").request(0, 1).threshold for w in ("low", "high"))
    assert (low, high) == (82, 123), "102 of 255, moved by a fifth"
    assert {v.counts.path for v in variants} == {
        f"{plan.stage(f'eres-sites-{c}-{w}').folder}/tables/counts.json"
        for c in ("copi", "tubular_eres", "er")
        for w in ("low", "high")
    }
    names = [s.name for s in plan.stages]
    assert len(set(names)) == len(names)
    off = make_plan(store, recipe("eres: {sensitivity: none}"), volume())
    assert off.stage("eres-measure").request(0, 1).widened == 1.0
    assert not off.stage("eres-statistics").request(0, 1).variants


def test_masks_of_the_cell_go_to_the_survey_alone(store: ObjectStore) -> None:
    uses = {"cell": UsedArray("acquisitions/v/uses/c/probability.ome.zarr", "c", "cell.zarr")}
    a, b = make_plan(store, recipe(), volume()), make_plan(store, recipe(), volume(), uses)
    assert changed(a, b) == {"eres-survey", "eres-statistics"}
    assert b.stage("eres-survey").request(0, 1).cell.array.path == "acquisitions/v/uses/c/probability.ome.zarr/0"
    with pytest.raises(RecipeError, match="nucleus is none of"):
        make_plan(store, recipe(), volume(), {"nucleus": uses["cell"]})


def test_another_threshold_repeats_the_objects_of_its_class(store: ObjectStore) -> None:
    a, b = (make_plan(store, recipe(t), volume()) for t in ("", "eres: {thresholds: {ccv: 0.9}}"))
    assert changed(a, b) == {n for n in keys(a) if n.startswith("eres-") and "ccv" in n}


def test_another_acquisition_repeats_everything(store: ObjectStore) -> None:
    a, b = make_plan(store, recipe(), volume()), make_plan(store, recipe(), replace(volume(), identity="other"))
    assert changed(a, b) == set(keys(a))


def test_segmenting_denoised_voxels_waits_for_the_halo(store: ObjectStore) -> None:
    plan = make_plan(store, recipe("segment: {input: denoised}"), volume((200, 64, 64)))
    needs = plan.stage("segment-er").needs
    assert [n.stage for n in needs] == ["denoise"]
    assert needs[0].blocks(0) == [0, 1], "a block of 64 with context 47 reaches into its neighbour"
    assert make_plan(store, recipe(), volume()).stage("segment-er").needs == ()


def test_a_used_array_takes_the_place_of_a_model(store: ObjectStore) -> None:
    uses = {"er": UsedArray("acquisitions/v/uses/x/probability.ome.zarr", "x", "er.zarr")}
    plan = make_plan(store, recipe(), volume(), uses)
    assert "segment-er" not in keys(plan)
    assert (
        plan.stage("eres-label-er").request(0, 1).probability.array.path
        == "acquisitions/v/uses/x/probability.ome.zarr/0"
    )
    assert plan.run_id != make_plan(store, recipe(), volume()).run_id


def test_both_detectors_are_denoised_and_their_mean_is_segmented(store: ObjectStore) -> None:
    plan = make_plan(store, recipe(), volume(detectors=("esb", "inlens")))
    request = plan.stage("denoise").request(0, 1)
    assert [i.array.path for i in request.inputs] == [
        "acquisitions/v/esb.ome.zarr/0",
        "acquisitions/v/inlens.ome.zarr/0",
    ]
    assert len(request.intensity) == 2
    assert plan.stage("segment-er").request(0, 1).input.array.path == "acquisitions/v/raw.ome.zarr/0"


def test_every_stage_follows_what_it_needs_and_needs_exist(store: ObjectStore) -> None:
    for plan in (make_plan(store, recipe(), volume()), make_plan(store, recipe("", "er-movie"), movie())):
        seen: dict[str, int] = {}
        for stage in plan.stages:
            for need in stage.needs:
                for block in range(stage.blocks):
                    assert all(0 <= b < seen[need.stage] for b in need.blocks(block))
            seen[stage.name] = stage.blocks
            request = stage.request(stage.blocks - 1, 2)
            assert (request.task.stage_key, request.task.attempt) == (stage.key, 2)
            assert request.ByteSize() < 4096, "requests carry references, never voxels"


def test_the_models_validated_threshold_is_the_default(store: ObjectStore) -> None:
    assert make_plan(store, recipe(), volume()).stage("eres-label-er").request(0, 1).threshold == 102


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("segment: {models: {er: demo-asem-er, copi: demo-asem-copi}}", "class tubular_eres has neither a model"),
        ("segment: {models: {er: absent, copi: demo-asem-copi, tubular_eres: demo-asem-copi}}", "not in the store"),
        ("denoise: {model: demo-asem-er}", "needs one of family fastfib"),
    ],
)
def test_a_recipe_that_cannot_be_followed_says_why(store: ObjectStore, text: str, says: str) -> None:
    with pytest.raises(RecipeError, match=says):
        make_plan(store, recipe(text), volume())


def test_a_recipe_for_the_other_kind_is_refused(store: ObjectStore) -> None:
    with pytest.raises(RecipeError, match="er-movie for movies"):
        make_plan(store, recipe(), movie())


def test_warnings_name_demo_models_and_foreign_voxels(store: ObjectStore) -> None:
    warnings = make_plan(store, recipe(), volume(voxel_nm=10.0)).warnings
    assert any("phantoms only" in w for w in warnings)
    assert any("10 × 10 × 10" in w for w in warnings)
    assert not any("×" in w for w in make_plan(store, recipe(), volume()).warnings)


@pytest.mark.parametrize("service", ["denoise", "segment", "ernet", "graph"])
def test_driver_and_services_agree_on_stage_versions(service: str) -> None:
    module = importlib.import_module(f"cisterna.{service}.service")
    stage = "graph-trace" if service == "graph" else service
    assert VERSIONS[stage] == module.STAGE_VERSION


def test_output_folders_never_collide(store: ObjectStore, tmp_path: Path) -> None:
    plan = make_plan(store, recipe(), volume())
    paths = [i.path for i in plan.images] + [s.folder for s in plan.stages]
    assert len(set(paths)) == len(paths)


def test_cells_belong_to_the_traced_frames_and_have_a_table(store: ObjectStore) -> None:
    plain = make_plan(store, recipe("", "er-movie"), movie())
    assert "cells" not in plain.tables
    for frames, name in ((1, "still"), (3, "moving")):
        store.put(f"acquisitions/m/uses/{name}/use.json", json.dumps({"shape": [frames, 40, 50]}).encode())
        uses = {"cells": UsedArray(f"acquisitions/m/uses/{name}/labels.ome.zarr", name, "cells.tif")}
        plan = make_plan(store, recipe("", "er-movie"), movie(), uses)
        assert "cells" in plan.tables
        assert {"graph-trace", "graph-summary"} <= changed(plain, plan)
        assert "ernet" not in changed(plain, plan)
        request = plan.stage("graph-trace").request(2, 1)
        assert list(request.cells.box.offset) == [2 if frames == 3 else 0, 0, 0]
        assert request.cells.array.identity == name
    assert not plain.stage("graph-trace").request(0, 1).HasField("cells")


def test_the_width_of_the_point_spread_repeats_the_tracing_alone(store: ObjectStore) -> None:
    a, b = (make_plan(store, recipe(t, "er-movie"), movie()) for t in ("", "graph: {psf_fwhm_um: 0.25}"))
    assert "graph-trace" in changed(a, b)
    assert not {"ernet"} & changed(a, b)
    assert json.loads(b.stage("graph-trace").request(0, 1).figures_json) == {"psf_fwhm_um": 0.25, "resamples": 200}


def test_the_static_floor_follows_one_frame_and_can_be_left_out(store: ObjectStore) -> None:
    with_floor, without = (
        make_plan(store, recipe(t, "er-movie"), movie(20)) for t in ("", "graph: {static_floor_frames: 0}")
    )
    floor = set(keys(with_floor)) - set(keys(without))
    assert floor == {"graph-static", "ernet-static", "graph-trace-static", "graph-summary-static"}
    assert not changed(without, with_floor)
    assert set(with_floor.tables) - set(without.tables) == {"floor", "floor_survival", "floor_scene", "floor_frames"}
    drawn = with_floor.stage("graph-static")
    assert (drawn.blocks, drawn.needs[0].stage, drawn.needs[0].blocks(7)) == (12, "ernet", [10])
    request = drawn.request(7, 1)
    assert (list(request.raw.box.offset), list(request.scene_box.offset)) == ([10, 0, 0], [7, 0, 0])
    assert drawn.images[0].spec.shape == (12, 40, 50)
    assert with_floor.stage("graph-summary-static").needs[0].blocks(0) == list(range(12))
    assert list(with_floor.stage("graph-summary").request(0, 1).field_um) == pytest.approx([3.9, 4.9])


def test_a_frame_is_traced_once_the_frames_around_it_have_classes(store: ObjectStore) -> None:
    plan = make_plan(store, recipe("", "er-movie"), movie(5))
    for stage, segmented in (("graph-trace", "ernet"), ("graph-trace-static", "ernet-static")):
        needs = plan.stage(stage).needs[0]
        assert needs.stage == segmented
        assert [needs.blocks(i) for i in (0, 2, 4)] == [[0, 1], [1, 2, 3], [3, 4]]
        assert list(plan.stage(stage).request(2, 1).classes.halo) == [1, 0, 0]


def test_a_short_movie_has_a_short_floor_or_none(store: ObjectStore) -> None:
    assert make_plan(store, recipe("", "er-movie"), movie(5)).stage("graph-static").blocks == 5
    assert "graph-static" not in keys(make_plan(store, recipe("", "er-movie"), movie(2)))


def test_another_tracking_parameter_repeats_the_summaries_only(store: ObjectStore) -> None:
    a, b = (make_plan(store, recipe(t, "er-movie"), movie(20)) for t in ("", "graph: {tracking: {gap_frames: 2}}"))
    assert changed(a, b) == {"graph-summary", "graph-summary-static"}
