"""A real Prometheus for a test, with our own configuration and rules, and whether the dashboard has data in it."""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]
DASHBOARD = REPOSITORY / "deploy/grafana/cisterna.json"
sys.path.insert(0, str(REPOSITORY / "deploy/prometheus"))


def why_missing() -> str | None:
    """None where Prometheus can be started, else a sentence fit for pytest.skip."""
    if shutil.which("prometheus") is None or shutil.which("promtool") is None:
        return "prometheus is not installed: apt-get install -y --no-install-recommends prometheus"
    return None


class LivePrometheus:
    """Prometheus on a free port, scraping what the target files (paths or patterns) name."""

    def __init__(self, folder: Path, targets: list[str], interval: str = "1s") -> None:
        self.folder = folder
        self.targets = targets
        self.interval = interval
        self.url = ""
        self._server: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> LivePrometheus:
        import watch_stack

        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        words = watch_stack.command(self.folder, self.targets, port)
        config = self.folder / "prometheus.yml"
        config.write_text(config.read_text().replace("scrape_interval: 5s", f"scrape_interval: {self.interval}"))
        with open(self.folder / "prometheus.log", "wb") as log:
            self._server = subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        self.url = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + 30
        while not self._ready():
            if self._server.poll() is not None or time.monotonic() > deadline:
                self._stop()
                raise RuntimeError(f"prometheus did not start: {(self.folder / 'prometheus.log').read_text()[-1500:]}")
            time.sleep(0.2)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def _ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/-/ready", timeout=2):
                return True
        except OSError:
            return False

    def _stop(self) -> None:
        if self._server is not None and self._server.poll() is None:
            os.killpg(self._server.pid, signal.SIGTERM)
            try:
                self._server.wait(15)
            except subprocess.TimeoutExpired:
                os.killpg(self._server.pid, signal.SIGKILL)


def ask(prometheus_url: str, promql: str) -> list[dict[str, Any]]:
    """The instant vector of a query. Raises RuntimeError with Prometheus's own complaint."""
    query = urllib.parse.urlencode({"query": promql})
    try:
        with urllib.request.urlopen(f"{prometheus_url}/api/v1/query?{query}", timeout=20) as answer:
            document = json.load(answer)
    except urllib.error.HTTPError as error:
        raise RuntimeError(f"{promql}: {error.read().decode(errors='replace')[:500]}") from error
    found: list[dict[str, Any]] = document["data"]["result"]
    return found


def panel_queries(dashboard: Path = DASHBOARD) -> list[tuple[str, str]]:
    """(panel title, PromQL) of every query of the dashboard."""
    panels = json.loads(dashboard.read_text())["panels"]
    return [(panel["title"], target["expr"]) for panel in panels for target in panel.get("targets", [])]


def silent_panels(prometheus_url: str) -> list[str]:
    """Panels whose query gives nothing now, or only NaN, each with the query."""
    silent = []
    for title, promql in panel_queries():
        values = [float(sample["value"][1]) for sample in ask(prometheus_url, promql)]
        if not any(math.isfinite(value) for value in values):
            silent.append(f"{title}: {promql}")
    return silent


def assert_dashboard_has_data(prometheus_url: str, patience_s: float = 60) -> None:
    """Every panel's query returns data, all in the same moment, within the patience.

    Call it while a run is under way: the driver's panels are empty when no driver lives.
    """
    assert len(panel_queries()) >= 15, "the dashboard has lost its panels"
    deadline = time.monotonic() + patience_s
    silent = silent_panels(prometheus_url)
    while silent and time.monotonic() < deadline:
        time.sleep(1)
        silent = silent_panels(prometheus_url)
    assert not silent, "panels without data:\n" + "\n".join(silent)
