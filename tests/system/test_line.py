"""Both workflows through the real services and the real Triton, on small phantoms."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from cisterna.cli.verdict import judge_cell, judge_movie
from stacks import Stack, cell_detectors, listing

pytestmark = pytest.mark.system


def test_the_cell_run_succeeds_and_leaves_what_it_names(stack: Stack, calm_cell: dict[str, Any]) -> None:
    assert (calm_cell["state"], calm_cell["exit"]) == ("SUCCEEDED", 0)
    store = stack.store
    for path in calm_cell["arrays"].values():
        assert store.exists(f"{path}/zarr.json")
        assert store.exists(f"{path}/0/zarr.json")
    for path in calm_cell["tables"].values():
        assert store.exists(path)
    assert any("phantoms only" in w for w in calm_cell["warnings"])
    html = store.get(f"runs/{calm_cell['run_id']}/report.html").decode()
    assert "phantoms only" in html
    assert "How far to trust the segmentation" in html
    assert "What the networks saw is not known" not in html
    assert "Membranes look bright" not in html
    counts = json.loads(store.get(calm_cell["tables"]["counts"]))
    assert set(counts.get("counts", counts)) == {
        "vesicular_standalone",
        "vesicular_mixed",
        "dispersed",
        "golgi_associated",
        "tubular_isolated",
        "tubular_mixed",
    }


def test_tables_read_with_plain_pandas(stack: Stack, calm_cell: dict[str, Any], calm_movie: dict[str, Any]) -> None:
    root = Path(stack.url.removeprefix("file://"))
    assert {"object_id", "volume_nm3", "er_distance_nm"} <= set(
        pd.read_parquet(root / calm_cell["tables"]["objects"]).columns
    )
    frames = pd.read_parquet(root / calm_movie["tables"]["frames"])
    assert len(frames) == 8
    assert (frames["nodes"] > 0).all()


def test_truth_is_found_on_the_small_phantoms(
    stack: Stack, calm_cell: dict[str, Any], calm_movie: dict[str, Any], cell_folder: Path, movie_folder: Path
) -> None:
    rows = judge_cell(stack.store, calm_cell, cell_folder) + judge_movie(stack.store, calm_movie, movie_folder)
    er = next(r for r in rows if (r.subject, r.measure) == ("ER", "Dice"))
    junctions = next(r for r in rows if r.measure.startswith("junction F1"))
    # A 0.6 µm cube is nearly all border; the limits proper are asserted on larger phantoms (tests/science).
    assert er.result > 0.7
    assert junctions.result > 0.7


def test_every_object_is_as_its_receipt_says(
    stack: Stack, calm_cell: dict[str, Any], calm_movie: dict[str, Any]
) -> None:
    for run in (calm_cell, calm_movie):
        done = stack.cli("verify", run["run_id"], "--json")
        report = json.loads(done.stdout)
        assert (done.returncode, report["faults"]) == (0, [])
        assert report["receipts"] == sum(s["blocks"] for s in run["stages"].values())


def test_the_same_submission_again_puts_nothing(stack: Stack, calm_cell: dict[str, Any], cell_folder: Path) -> None:
    before = listing(stack)
    done = stack.cli("submit", "fibsem", *cell_detectors(cell_folder), "--wait")
    assert done.returncode == 0
    assert calm_cell["run_id"] in done.stdout
    assert listing(stack) == before


def test_another_link_distance_computes_eres_only(stack: Stack, calm_cell: dict[str, Any], cell_folder: Path) -> None:
    before = set(listing(stack))
    done = stack.cli("submit", "fibsem", *cell_detectors(cell_folder), "--set", "eres.rules.link_nm=40", "--wait")
    assert done.returncode == 0, done.stderr
    assert calm_cell["run_id"] not in done.stdout
    fresh = {p.split("/stages/")[1].split("/")[0] for p in set(listing(stack)) - before if "/stages/" in p}
    again = ("measure", "regions", "region", "sites", "survey", "statistics")
    assert fresh == {f"eres-{name}" for name in again}


def test_a_lost_object_is_found_repaired_and_computed_again(stack: Stack, calm_movie: dict[str, Any]) -> None:
    run_id = calm_movie["run_id"]
    path = f"{calm_movie['arrays']['ernet/classes']}/0/c/2/0/0"
    whole = stack.store.get(path)
    stack.store.put(path, whole[:-7])
    done = stack.cli("verify", run_id)
    assert done.returncode == 1
    assert path in done.stdout
    assert stack.cli("verify", run_id, "--repair").returncode == 0
    assert stack.cli("retry", run_id).returncode == 0
    assert stack.store.get(path) == whole


def test_runs_show_and_ps_speak_json(stack: Stack, calm_cell: dict[str, Any]) -> None:
    runs = json.loads(stack.cli("runs", "--json").stdout)
    assert calm_cell["run_id"] in [r["run_id"] for r in runs]
    shown = json.loads(stack.cli("show", calm_cell["run_id"], "--json").stdout)
    assert [e["kind"] for e in shown["events"]][-1] == "finished"
    processes = json.loads(stack.cli("ps", "--json").stdout)["processes"]
    assert len(processes) == 11
    assert {p["health"] for p in processes} == {"SERVING", "RUNNING"}


def test_an_export_holds_what_other_programs_read(stack: Stack, calm_cell: dict[str, Any], tmp_path: Path) -> None:
    import tifffile

    done = stack.cli("export", calm_cell["run_id"], tmp_path / "out")
    assert done.returncode == 0, done.stderr
    files = {p.suffix for p in (tmp_path / "out").rglob("*") if p.is_file()}
    assert {".csv", ".parquet", ".html", ".tif"} <= files
    labels = [p for p in (tmp_path / "out").rglob("*.tif") if "labels" in str(p) and "er" in p.stem]
    assert tifffile.imread(labels[0]).shape == (72, 72, 72)
    assert stack.cli("export", calm_cell["run_id"], tmp_path / "out").returncode == 2


def test_a_run_is_reviewed(stack: Stack, calm_cell: dict[str, Any], tmp_path: Path) -> None:
    run = calm_cell["run_id"]
    before = {path: stack.store.get(path) for path in calm_cell["tables"].values()}
    drawn = stack.cli("review", "sample", run, "--class", "all", "--n", 3, "--seed", 1, "--out", tmp_path / "out")
    assert drawn.returncode == 0, drawn.stderr
    sites = pd.read_csv(tmp_path / "out" / "decisions.csv", dtype=str)
    sites.assign(vesicles=4, form="vesicle cluster").to_csv(tmp_path / "seen.csv", index=False)
    done = stack.cli("review", "import", run, tmp_path / "seen.csv", "--reviewer", "Ada")
    assert done.returncode == 0, done.stderr
    shown = json.loads(stack.cli("review", "show", run, "--json").stdout)
    assert shown["sites"] == len(sites)
    assert {path: stack.store.get(path) for path in before} == before
    assert b"candidates were reviewed by Ada" in stack.store.get(f"runs/{run}/report.html")


def test_removing_a_run_keeps_what_others_use(stack: Stack, calm_cell: dict[str, Any], cell_folder: Path) -> None:
    done = stack.cli("submit", "fibsem", *cell_detectors(cell_folder), "--set", "eres.rules.link_nm=45", "--wait")
    run_id = next(w for w in done.stdout.split() if w.startswith("fibsem-"))
    assert stack.cli("rm", run_id).returncode == 0
    assert stack.cli("show", run_id).returncode == 0, "without --yes nothing goes"
    assert stack.cli("rm", run_id, "--yes").returncode == 0
    assert stack.cli("show", run_id).returncode == 2
    assert stack.cli("verify", calm_cell["run_id"]).returncode == 0
