"""A recording dimmed to a given SNR: by the formula, the same noise each time, a run of its own."""

import argparse
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
from cisterna.acquire import UnusableInput, ingest_degraded
from cisterna.chunks import Box
from cisterna.cli.degrade import noise_for, run_to_degrade
from cisterna.cli.home import UsageError
from cisterna.cli.submit import _degraded_plan
from cisterna.graph.snr import SignalToNoise, noise_to_reach, signal_to_noise
from cisterna.models import demo_models, install_model
from cisterna.runs import record
from cisterna.store import open_store
from cisterna.store.arrays import read_box

TARGET = 6.0


@pytest.fixture(scope="module")
def folder(tmp_path_factory, make):
    """A movie at an SNR of 20 and a store with one finished run over it."""
    place = tmp_path_factory.mktemp("bright")
    store = open_store(f"file://{place}/store")
    for folder in demo_models():
        if folder.name == "demo-ernet":
            install_model(store, folder)
    make.movie_run(store, place, "er-movie-bright", seed=5, snr=20.0, frames=2, size=128)
    return place


@pytest.fixture
def bright(tmp_path, folder):
    """A copy of that store, to be changed."""
    shutil.copytree(folder / "store", tmp_path / "store")
    return open_store(f"file://{tmp_path}/store")


def frames_of(store, path, count):
    return [read_box(store, f"{path}/0", Box((t, 0, 0), (1, 128, 128)))[0] for t in range(count)]


def options(named, **changes):
    base = {"input": Path(named), "degrade_to_snr": TARGET, "recipe": None, "set": [], "pixel_size_nm": None,
            "frame_interval_s": None, "channel": None, "cells": None}  # fmt: skip
    base |= dict.fromkeys(("axes", "z_mode", "z_section", "z_spacing_nm"))
    return argparse.Namespace(**{**base, **changes})


def test_the_noise_of_a_known_frame():
    assert noise_to_reach(SignalToNoise(20.0, 4.0, "ok", 3.0), 5.0) == pytest.approx(3.0 * math.sqrt(3))
    assert noise_to_reach(SignalToNoise(4.0, 1.0, "low", 3.0), 5.0) == 0
    assert math.isnan(noise_to_reach(SignalToNoise(math.nan, math.nan, "snr_not_applicable"), 5.0))
    with pytest.raises(ValueError, match="positive"):
        noise_to_reach(SignalToNoise(20.0, 4.0, "ok", 3.0), 0.0)


def test_every_frame_comes_down_to_the_target(bright):
    plan = _degraded_plan(bright, options("er-movie-bright"))
    run = record.read_run(bright, "er-movie-bright")
    classes = frames_of(bright, run["arrays"]["ernet/classes"], 2)
    before = frames_of(bright, run["arrays"]["raw"], 2)
    after = frames_of(bright, plan.acquisition.raw.path, 2)
    for t in range(2):
        assert signal_to_noise(before[t], classes[t] > 0).power > 15
        assert signal_to_noise(after[t], classes[t] > 0).power == pytest.approx(TARGET, rel=0.06)
        assert after[t].dtype == np.float32
        added = after[t] - before[t]
        assert abs(float(added.mean())) < 4 * float(added.std()) / 128
    assert not np.array_equal(after[0] - before[0], after[1] - before[1])


def test_it_is_a_recording_and_a_run_of_its_own_and_says_so(bright):
    run = record.read_run(bright, "er-movie-bright")
    plan = _degraded_plan(bright, options("er-movie-bright"))
    manifest = plan.acquisition.manifest
    assert plan.acquisition.id != run["acquisition"]
    assert plan.run_id != "er-movie-bright"
    assert manifest["degraded"]["acquisition"] == run["acquisition"]
    assert manifest["degraded"]["measured_by"] == "er-movie-bright"
    assert manifest["degraded"]["to_snr"] == TARGET
    assert len(manifest["degraded"]["noise_sd"]) == 2
    assert any("bring the SNR down to 6" in note for note in plan.acquisition.notes)
    original = bright.get_json(f"acquisitions/{run['acquisition']}/manifest.json")
    assert original.get("degraded") is None
    assert manifest["arrays"]["raw"]["pixel_size_um"] == original["arrays"]["raw"]["pixel_size_um"]
    # What the driver will put into run.json and so into the report.
    assert any("for comparison with a dimmer recording" in n for n in record.run_document(plan, "QUEUED", 0)["notes"])


def test_the_same_command_is_the_same_run(bright):
    first = _degraded_plan(bright, options("er-movie-bright"))
    again = _degraded_plan(bright, options("er-movie-bright"))
    other = _degraded_plan(bright, options("er-movie-bright", degrade_to_snr=7.0))
    assert first.run_id == again.run_id
    assert len({first.run_id, other.run_id}) == 2


def test_the_file_may_be_named_instead_of_its_run(bright, folder):
    by_run = _degraded_plan(bright, options("er-movie-bright"))
    by_file = _degraded_plan(bright, options(folder / "er-movie-bright/movie.tif"))
    assert by_file.run_id == by_run.run_id
    with pytest.raises(UsageError, match="neither a file nor a run"):
        run_to_degrade(bright, Path("er-movie-nobody"), None)
    with pytest.raises(UsageError, match="no er-movie run over new has succeeded"):
        run_to_degrade(bright, Path("new"), "an-acquisition-without-runs")


def test_a_file_seen_by_two_models_needs_a_run(bright):
    run = record.read_run(bright, "er-movie-bright")
    other = {**run, "run_id": "er-movie-other", "arrays": {**run["arrays"], "ernet/classes": "stages/ernet/other"}}
    bright.put_json("runs/er-movie-other/run.json", other)
    with pytest.raises(UsageError, match="er-movie-bright, er-movie-other see different classes"):
        run_to_degrade(bright, Path("movie.tif"), run["acquisition"])


def test_the_runs_own_recipe_is_used_unless_another_is_given(bright):
    bright.put("runs/er-movie-bright/recipe.yaml", b"recipe: er-movie\ngraph: {tracing: {spur_widths: 2.5}}\n")
    own = _degraded_plan(bright, options("er-movie-bright"))
    assert own.recipe.graph.tracing["spur_widths"] == 2.5
    changed = _degraded_plan(bright, options("er-movie-bright", set=["graph.tracing.spur_widths=2.0"]))
    assert changed.recipe.graph.tracing["spur_widths"] == 2.0


def test_noise_cannot_raise_an_snr(bright):
    run = record.read_run(bright, "er-movie-bright")
    with pytest.raises(UsageError, match=r"median SNR of .*, not above 60: noise can only lower it"):
        noise_for(bright, run, 60.0)
    for wrong in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(UsageError, match="positive SNR"):
            noise_for(bright, run, wrong)


def test_sizes_of_a_run_are_not_given_again(bright):
    with pytest.raises(UsageError, match="leave them out"):
        _degraded_plan(bright, options("er-movie-bright", pixel_size_nm=100.0))


def test_noise_is_not_added_twice(bright):
    plan = _degraded_plan(bright, options("er-movie-bright"))
    with pytest.raises(UnusableInput, match="has added noise already: start from the recording itself"):
        ingest_degraded(bright, plan.acquisition.id, [1.0, 1.0], 5.0, "x")


@pytest.mark.parametrize("noise", [[1.0], [1.0, -1.0], [0.0, 0.0], [math.nan, 1.0]])
def test_noise_that_makes_no_sense(bright, noise):
    run = record.read_run(bright, "er-movie-bright")
    with pytest.raises(UnusableInput, match="give one value a frame"):
        ingest_degraded(bright, run["acquisition"], noise, 5.0, "x")
