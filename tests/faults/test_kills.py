"""Kill -9 anything mid-run: the run ends as if nothing had happened, byte for byte."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from stacks import Stack, cell_detectors, results, wait_for, why_no_triton

pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def shaken(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack of its own, whose processes are killed."""
    missing = why_no_triton()
    if missing:
        pytest.skip(missing)
    with Stack(tmp_path_factory.mktemp("shaken")) as running:
        yield running


def same_as_calm(stack: Stack, calm: Stack, run: dict[str, Any], calm_run: dict[str, Any]) -> None:
    assert (run["state"], run["exit"]) == ("SUCCEEDED", 0), run["said"]
    assert run["run_id"] == calm_run["run_id"]
    ours, theirs = results(stack.store, run["run_id"]), results(calm.store, run["run_id"])
    assert ours.keys() == theirs.keys()
    assert [p for p in ours if ours[p] != theirs[p]] == []


def lost_workers(stack: Stack, run_id: str, stage: str) -> list[str]:
    from cisterna.runs import record

    events, _ = record.read_events(stack.store, run_id)
    return [e["reason"] for e in events if e["kind"] == "retry" and e["stage"].startswith(stage)]


def test_a_worker_of_each_volume_service_is_killed(
    shaken: Stack, stack: Stack, calm_cell: dict[str, Any], cell_folder: Path
) -> None:
    run_id = shaken.submit("fibsem", *cell_detectors(cell_folder))
    shaken.kill_at_work("denoise-0", run_id, "denoise")
    shaken.kill_at_work("segment-1", run_id, "segment-er")
    for kill in range(8):
        # Its tasks take milliseconds: a kill may fall between two of them, which proves nothing.
        shaken.kill_at_work(f"eres-{kill % 2}", run_id, "eres")
        if "WORKER_LOST" in lost_workers(shaken, run_id, "eres"):
            break
    run = shaken.wait(run_id)
    same_as_calm(shaken, stack, run, calm_cell)
    for stage in ("eres", "denoise", "segment"):
        assert "WORKER_LOST" in lost_workers(shaken, run_id, stage), "the kill must have hit an open task"


def test_workers_of_the_movie_services_and_triton_are_killed(
    shaken: Stack, stack: Stack, calm_movie: dict[str, Any], movie_folder: Path
) -> None:
    run_id = shaken.submit("er-movie", movie_folder / "movie.tif")
    wait_for(lambda: shaken.open_tasks(run_id, "ernet"), "an open ernet task")
    os.killpg(shaken.pid("triton"), signal.SIGKILL)
    shaken.kill_at_work("ernet-0", run_id, "ernet")
    run = shaken.wait(run_id)
    same_as_calm(shaken, stack, run, calm_movie)
    assert lost_workers(shaken, run_id, "ernet"), "the kills must have hit open tasks"


def test_the_driver_is_killed_and_retry_goes_on(shaken: Stack, stack: Stack, movie_folder: Path) -> None:
    words = (
        "er-movie",
        movie_folder / "movie.tif",
        "--frame-interval-s",
        1.0,
        "--set",
        "graph.tracing.spur_widths=2.0",
    )
    calm_run = stack.wait(stack.submit(*words))
    for stage in shaken.store.folders("stages"):  # so that there is work to interrupt
        if stage.startswith("ernet"):
            for path in shaken.store.list(f"stages/{stage}"):
                shaken.store.delete(path)
    run_id = shaken.submit(*words)
    wait_for(lambda: shaken.open_tasks(run_id, "ernet"), "an open ernet task")
    os.kill(shaken.driver_pid(run_id), signal.SIGKILL)
    assert shaken.open_tasks(run_id, "ernet"), "the kill must hit a run at work"
    done = shaken.cli("retry", run_id)
    assert done.returncode == 0, done.stderr
    same_as_calm(shaken, stack, shaken.wait(run_id), calm_run)


def test_the_model_is_unloaded_and_a_worker_of_triton_killed_while_a_run_goes_on(
    shaken: Stack, stack: Stack, movie_folder: Path
) -> None:
    """Every second the model is taken away, and once a worker is killed: the run never fails a block, nobody helps."""
    from tritonclient.grpc import InferenceServerClient

    words = ("er-movie", movie_folder / "movie.tif", "--set", "graph.tracing.spur_widths=2.5")
    calm_run = stack.wait(stack.submit(*words))
    for stage in shaken.store.folders("stages"):
        if stage.startswith("ernet"):
            for path in shaken.store.list(f"stages/{stage}"):
                shaken.store.delete(path)
    spec = json.loads((shaken.home / "stack/stack.json").read_text())
    triton, server = InferenceServerClient(spec["triton"]), psutil.Process(shaken.pid("triton"))
    before = shaken.recoveries()
    ended = threading.Event()

    def take_away() -> None:
        triton.unload_model("demo-ernet")
        for n in range(6):
            if ended.wait(1.0):
                return
            workers = server.children()
            if n == 1 and workers:
                workers[0].kill()
            elif n != 1:
                triton.unload_model("demo-ernet")

    thief = threading.Thread(target=take_away)
    thief.start()
    try:
        run = shaken.wait(shaken.submit(*words))
    finally:
        ended.set()
        thief.join()
    same_as_calm(shaken, stack, run, calm_run)
    after = shaken.recoveries()
    assert sum(after.values()) > sum(before.values()), "what brought it back is counted"


def test_without_triton_ernet_is_not_serving(shaken: Stack) -> None:
    pid = shaken.pid("triton")
    os.kill(pid, signal.SIGSTOP)
    try:
        wait_for(
            lambda: (
                {
                    p["health"]
                    for p in json.loads(shaken.cli("ps", "--json").stdout)["processes"]
                    if p["process"].startswith("ernet")
                }
                == {"NOT_SERVING"}
            ),
            "ernet to say NOT_SERVING",
            60,
        )
    finally:
        os.kill(pid, signal.SIGCONT)


def test_the_s3_gateway_is_killed(
    ceph: Any, stack: Stack, calm_movie: dict[str, Any], movie_folder: Path, tmp_path: Path
) -> None:
    ceph.create_bucket("faults")
    with Stack(tmp_path / "home", "s3://faults/run", ceph.environment()) as on_s3:
        run_id = on_s3.submit("er-movie", movie_folder / "movie.tif")
        wait_for(lambda: on_s3.open_tasks(run_id, "ernet"), "an open ernet task")
        ceph.kill_gateway()
        ceph.start_gateway()
        done = on_s3.cli("retry", run_id)
        assert done.returncode == 0, done.stderr
        same_as_calm(on_s3, stack, on_s3.wait(run_id), calm_movie)
