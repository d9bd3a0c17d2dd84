"""A one-machine stack for tests: started and stopped by the `cisterna` command, killed by pid."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cisterna.runs import record
from cisterna.store import ObjectStore
from cisterna.store.objects import connect
from cisterna.store.receipts import finished_blocks

ROOT = Path(__file__).parents[2]


def triton_home() -> Path:
    return Path(os.environ.get("CISTERNA_TRITON_HOME", ROOT / ".triton"))


def why_no_triton() -> str | None:
    if (triton_home() / "stamp.json").is_file():
        return None
    return "Triton is not installed: run `python deploy/triton/install.py`"


class Stack:
    """`cisterna` in a home of its own, on a directory store or on what `store_url` and `environment` name."""

    def __init__(self, home: Path, store_url: str | None = None, environment: dict[str, str] | None = None) -> None:
        self.home = home
        self.url = store_url or f"file://{home}/store"
        self.env = {
            **os.environ,
            **(environment or {}),
            "CISTERNA_HOME": str(home),
            "CISTERNA_TRITON_HOME": str(triton_home()),
            "CISTERNA_STORE": self.url,
        }
        for name in ("CISTERNA_SERVICES", "CISTERNA_TOKEN"):
            self.env.pop(name, None)

    def __enter__(self) -> Stack:
        done = self.cli("up", timeout_s=200)
        assert done.returncode == 0, done.stderr + done.stdout + self.logs()
        return self

    def __exit__(self, *_: object) -> None:
        self.cli("down", timeout_s=90)

    def cli(self, *words: object, timeout_s: float = 300) -> subprocess.CompletedProcess[str]:
        """Runs `cisterna …` and returns its end; never raises for an exit code."""
        command = [sys.executable, "-m", "cisterna.cli.main", *map(str, words)]
        return subprocess.run(command, env=self.env, capture_output=True, text=True, timeout=timeout_s, check=False)

    def logs(self) -> str:
        return "\n".join(
            f"== {p.name}\n{p.read_text()[-1500:]}" for p in sorted((self.home / "stack/logs").glob("*.log"))
        )

    @property
    def store(self) -> ObjectStore:
        saved = dict(os.environ)
        os.environ.update({k: v for k, v in self.env.items() if k.startswith("AWS_")})
        try:
            return connect(self.url)
        finally:
            os.environ.clear()
            os.environ.update(saved)

    def submit(self, *words: object) -> str:
        """Submits without waiting; returns the run's id."""
        done = self.cli("submit", *words)
        assert done.returncode == 0, done.stderr
        return done.stdout.split()[0]

    def wait(self, run_id: str, timeout_s: float = 300) -> dict[str, Any]:
        """Follows a run to its end; returns run.json."""
        done = self.cli("wait", run_id, timeout_s=timeout_s)
        document = record.read_run(self.store, run_id)
        assert document is not None, done.stderr
        document["exit"] = done.returncode
        document["said"] = done.stderr
        return document

    def pid(self, process: str) -> int:
        """Pid of a process of the stack, as the supervisor tells it."""
        state = json.loads((self.home / "stack/state.json").read_text())
        return int(state["processes"][process]["pid"])

    def driver_pid(self, run_id: str) -> int:
        leases = [p for p in self.store.list(f"runs/{run_id}/leases") if not p.endswith(".beat.json")]
        return int(self.store.get_json(leases[-1])["pid"])

    def kill_at_work(self, process: str, run_id: str, stage: str) -> None:
        """Kills -9 a worker that, by its own count, holds a task, while a stage has a receipt and lacks one.

        ``stage`` may be a service's prefix: then any of its stages will do.
        """
        wait_for(
            lambda: self.open_tasks(run_id, stage) and self.admitted(process),
            f"an open task of {stage} on {process}",
        )
        pid = self.pid(process)
        os.killpg(pid, signal.SIGKILL)
        wait_for(lambda: self.pid_or_none(process) not in (None, pid), f"{process} to be started again")

    def admitted(self, process: str) -> int:
        """Tasks that a worker has admitted and not yet answered, from its metrics; 0 while it is being started."""
        try:
            return int(sum(self.metric(process, "cisterna_queue_depth").values()))
        except OSError:
            return 0

    def recoveries(self) -> dict[str, float]:
        """How often each ernet worker brought Triton back, by its metrics."""
        found = {}
        for process in ("ernet-0", "ernet-1"):
            for labels, value in self.metric(process, "cisterna_triton_recoveries_total").items():
                found[f"{process} {labels}"] = value
        return found

    def metric(self, process: str, name: str) -> dict[str, float]:
        """The samples of a metric of a process of the stack, by their labels."""
        spec = json.loads((self.home / "stack/stack.json").read_text())
        address = next(p["metrics"] for p in spec["processes"] if p["name"] == process)
        text = urllib.request.urlopen(f"http://{address}/metrics", timeout=5).read().decode()
        lines = [line.removeprefix(name) for line in text.splitlines() if line.startswith(name + "{")]
        return {line.rsplit(" ", 1)[0]: float(line.rsplit(" ", 1)[1]) for line in lines}

    def pid_or_none(self, process: str) -> int | None:
        try:
            return self.pid(process)
        except (OSError, ValueError, TypeError, KeyError):
            return None

    def finished(self, run_id: str, stage: str) -> int:
        """Number of receipts of a stage of a run."""
        document = record.read_run(self.store, run_id)
        return len(finished_blocks(self.store, stage, document["stages"][stage]["stage_key"])) if document else 0

    def open_tasks(self, run_id: str, stage: str) -> bool:
        """Whether a stage (or one of those that begin so) has at least one receipt and lacks at least one."""
        document = record.read_run(self.store, run_id)
        if document is None:
            return False
        named = [n for n in document["stages"] if n == stage or n.startswith(f"{stage}-")]
        return any(0 < self.finished(run_id, n) < document["stages"][n]["blocks"] for n in named)


def wait_for(condition: Callable[[], object], what: str, patience_s: float = 120.0) -> None:
    end = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < end, f"waited {patience_s:.0f} s in vain for {what}"
        time.sleep(0.03)


def results(store: ObjectStore, run_id: str) -> dict[str, bytes]:
    """Every array, part and table of a run's stages by path: what must not depend on how the run was interrupted."""
    document = record.read_run(store, run_id)
    assert document is not None
    paths = [p for s in document["stages"].values() for p in store.list(s["path"]) if "/receipts/" not in p]
    paths += store.list(f"runs/{run_id}/tables")
    return {p: store.get(p) for p in paths}


def listing(stack: Stack) -> dict[str, tuple[int, int]]:
    """Files of a directory store with size and time of change."""
    root = Path(stack.url.removeprefix("file://"))
    return {str(p): (p.stat().st_size, p.stat().st_mtime_ns) for p in root.rglob("*") if p.is_file()}


def cell_detectors(folder: Path) -> list[str]:
    """Options that name both detectors of a saved phantom cell."""
    return ["--detector", f"inlens={folder}/inlens.tif", "--detector", f"esb={folder}/esb.tif"]
