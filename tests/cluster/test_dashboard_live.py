"""The dashboard beside the real stack: every panel's query has an answer while runs are under way."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from live_prometheus import REPOSITORY, LivePrometheus, ask, assert_dashboard_has_data, why_missing

pytestmark = [pytest.mark.cluster, pytest.mark.system, pytest.mark.timeout(500)]
SERVICES = ("denoise", "segment", "ernet", "eres", "graph")


def triton_is_missing() -> str | None:
    home = Path(os.environ.get("CISTERNA_TRITON_HOME") or REPOSITORY / ".triton")
    if (home / "stamp.json").is_file():
        return None
    return f"no Triton in {home}: python deploy/triton/install.py"


@pytest.fixture(scope="module")
def cisterna(tmp_path_factory):
    """The command line on a stack of its own."""
    missing = why_missing() or triton_is_missing()
    if missing:
        pytest.skip(missing)
    home = tmp_path_factory.mktemp("home")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("CISTERNA_", "AWS_"))}
    environment["CISTERNA_HOME"] = str(home)
    environment["CISTERNA_TRITON_HOME"] = os.environ.get("CISTERNA_TRITON_HOME") or str(REPOSITORY / ".triton")

    def run(*words, timeout_s=240):
        done = subprocess.run(
            [sys.executable, "-m", "cisterna.cli.main", *map(str, words)],
            env=environment, capture_output=True, text=True, timeout=timeout_s, check=False, cwd=home,
        )  # fmt: skip
        assert done.returncode == 0, f"cisterna {' '.join(map(str, words))}:\n{(done.stdout + done.stderr)[-3000:]}"
        return done.stdout

    run.home = home
    try:
        run("up", "--workers", "1")
        yield run
    finally:
        run("down")


def test_every_panel_has_data_while_runs_are_under_way(cisterna, tmp_path):
    cisterna("phantom", "er-movie", tmp_path / "movie", "--frames", "4", "--shape", "128", "128", "--seed", "90210")
    cisterna("phantom", "cell", tmp_path / "cell", "--shape", "96", "96", "96", "--seed", "90210")
    targets = [str(cisterna.home / "stack/prometheus-targets.json"), str(cisterna.home / "stack/targets/*.json")]
    with LivePrometheus(tmp_path / "prometheus", targets) as prometheus:
        # A rate needs a sample from before the work: four frames are through Triton in a second.
        deadline = time.monotonic() + 60
        while not ask(prometheus.url, 'cisterna_triton_seconds_count{transport="shared_memory"}'):
            assert time.monotonic() < deadline, "Prometheus has not scraped the ernet service within a minute"
            time.sleep(0.5)
        cisterna(
            "submit", "er-movie", tmp_path / "movie/movie.tif", "--pixel-size-nm", "100", "--frame-interval-s", "1",
            "--wait",
        )  # fmt: skip
        cisterna(
            "submit", "fibsem", "--detector", f"inlens={tmp_path / 'cell/inlens.tif'}",
            "--detector", f"esb={tmp_path / 'cell/esb.tif'}", "--voxel-size-nm", "8", "8", "8",
        )  # fmt: skip
        assert_dashboard_has_data(prometheus.url, patience_s=120)
        up = {sample["metric"]["job"] for sample in ask(prometheus.url, "up == 1")}
        assert {f"cisterna-{service}" for service in SERVICES} | {"cisterna-triton", "cisterna-driver"} <= up
        # Nothing is wrong here, so nothing may fire.
        assert ask(prometheus.url, 'ALERTS{alertstate="firing"}') == []
