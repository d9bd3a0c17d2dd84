"""``cisterna up | down | ps | logs | doctor``: Triton and the five services as supervised processes on this machine."""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from cisterna.cli.home import Home, Unreachable, UsageError, triton_home
from cisterna.models import demo_models, install_model
from cisterna.rpc.health import check
from cisterna.store import StoreError, open_store

SERVICES = ("denoise", "segment", "ernet", "eres", "graph")
WORKERS = 2
READY_S = 150.0
DRIVER_LEAVES_S = 5.0
LARGEST_INSTANCES = 8
"""Worker processes of a model at Triton: 110 MB each, and with the published network 1 GB at work."""
MAX_IN_FLIGHT = {"denoise": 3, "segment": 3, "ernet": 4, "eres": 3, "graph": 3}


def add_arguments(commands: Any, argv: list[str]) -> None:
    up = commands.add_parser("up", help="start Triton and the five services here and wait until they are healthy")
    up.add_argument(
        "--store", help="store URL (file:///folder or s3://bucket/prefix); default: a directory in the home"
    )
    up.add_argument("--workers", type=int, default=WORKERS, help="worker processes per service (default %(default)s)")
    up.set_defaults(run=lambda a: up_command(Home.find(), a.store, a.workers))
    down = commands.add_parser("down", help="stop what `up` started")
    down.set_defaults(run=lambda a: down_command(Home.find()))
    ps = commands.add_parser("ps", help="processes of the stack and their health")
    ps.add_argument("--json", action="store_true", help="one JSON document")
    ps.set_defaults(run=lambda a: ps_command(Home.find(), a.json))
    logs = commands.add_parser("logs", help="logs of a process (all processes without a name)")
    logs.add_argument("process", nargs="?")
    logs.add_argument("-n", "--lines", type=int, default=40)
    logs.set_defaults(run=lambda a: logs_command(Home.find(), a.process, a.lines))
    doctor = commands.add_parser("doctor", help="check what the stack needs on this machine")
    doctor.add_argument("--store", help="store URL to prove")
    doctor.add_argument("--json", action="store_true", help="one JSON document")
    doctor.set_defaults(run=lambda a: doctor_command(Home.find(), a.store, a.json))


def up_command(home: Home, store_url: str | None, workers: int = WORKERS, quiet: bool = False) -> int:
    """Starts the stack, or says that it is up already. Exit 5 where the store or a service cannot be had."""
    if workers < 1:
        raise UsageError("--workers must be 1 or more")
    if _supervisor_alive(home):
        stack = home.read_stack() or {}
        if store_url and home.store_url(store_url) != stack.get("store"):
            raise UsageError(f"the stack is up on {stack.get('store')}: run `cisterna down` before using another store")
        print(f"already up on {stack.get('store')}")
        return 0
    url = home.store_url(store_url)
    if url.startswith("s3://"):
        from cisterna.store.buckets import ensure_bucket

        if ensure_bucket(url):
            print(f"made the bucket of {url}")
    store = open_store(url)
    for folder in demo_models():
        install_model(store, folder)
    spec = _stack_spec(home, url, workers)
    home.logs.mkdir(parents=True, exist_ok=True)
    _write_private(home.stack_file, json.dumps(spec, indent=1))
    targets = [{"labels": {"job": p["service"]}, "targets": [p["metrics"]]} for p in spec["processes"] if p["metrics"]]
    (home.stack / "prometheus-targets.json").write_text(json.dumps(targets, indent=1))
    with (home.logs / "supervisor.log").open("ab") as out:
        supervisor = subprocess.Popen(
            [sys.executable, "-m", "cisterna.cli.supervise", str(home.stack)],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    deadline, waiting = time.monotonic() + READY_S, {p["name"]: p for p in spec["processes"] if p["address"]}
    while waiting and time.monotonic() < deadline:
        for name, p in list(waiting.items()):
            if check(p["address"], timeout_s=1.0) == "SERVING":
                del waiting[name]
                if not quiet:
                    print(f"  {name:<12} ready at {p['address']}", flush=True)
        if supervisor.poll() is not None:
            raise Unreachable(f"the supervisor ended: see {home.logs / 'supervisor.log'}")
        time.sleep(0.2)
    if waiting:
        down_command(home, quiet=True)
        raise Unreachable(
            f"{', '.join(waiting)} did not become healthy in {READY_S:.0f} s: see the logs in {home.logs}"
        )
    print(f"up: {len(spec['processes'])} processes, store {url}, logs in {home.logs}")
    return 0


def down_command(home: Home, quiet: bool = False) -> int:
    """Stops the drivers of this home, the supervisor and everything it started."""
    for run_id in _stop_drivers(home):
        print(f"driver of {run_id} stopped: `cisterna retry {run_id}` goes on once services are up")
    state = home.read_state()
    supervisor = int(state.get("supervisor") or 0)
    if not _supervisor_alive(home):
        home.stack_file.unlink(missing_ok=True)
        home.state_file.unlink(missing_ok=True)
        if not quiet:
            print("nothing is up")
        return 0
    os.kill(supervisor, signal.SIGTERM)
    deadline = time.monotonic() + 60
    while _supervisor_alive(home) and time.monotonic() < deadline:
        time.sleep(0.1)
    if _supervisor_alive(home):
        for p in state.get("processes", {}).values():
            if p["pid"]:
                os.killpg(p["pid"], signal.SIGKILL)
        os.kill(supervisor, signal.SIGKILL)
    home.stack_file.unlink(missing_ok=True)
    home.state_file.unlink(missing_ok=True)
    if not quiet:
        print("down")
    return 0


def _stop_drivers(home: Home) -> list[str]:
    """Ends the drivers that would otherwise wait for services for ever; their runs can be taken up again.

    A driver whose run has just ended gets a moment to leave by itself.
    """
    deadline = time.monotonic() + DRIVER_LEAVES_S
    stopped = []
    for note in sorted(home.drivers.glob("*")):
        while _drives(note) and time.monotonic() < deadline:
            time.sleep(0.1)
        if _drives(note):
            os.kill(int(note.read_text()), signal.SIGTERM)
            stopped.append(note.name)
        note.unlink(missing_ok=True)
    return stopped


def _drives(note: Path) -> bool:
    """Whether the process that a driver's note names still drives that run."""
    try:
        command = Path(f"/proc/{int(note.read_text())}/cmdline").read_bytes()
    except (OSError, ValueError):
        return False
    return b"cisterna.cli.drive" in command and note.name.encode() in command


def ps_command(home: Home, as_json: bool) -> int:
    stack, state = home.read_stack(), home.read_state()
    rows = []
    for p in (stack or {}).get("processes", []):
        s = state.get("processes", {}).get(p["name"], {})
        health = check(p["address"], timeout_s=1.0) if p["address"] else ("RUNNING" if s.get("pid") else "DOWN")
        rows.append(
            {
                "process": p["name"],
                "pid": s.get("pid"),
                "health": health,
                "address": p["address"] or p["grpc"],
                "metrics": p["metrics"],
                "restarts": s.get("restarts", 0),
                "last_exit": s.get("last_exit"),
            }
        )
    if as_json:
        print(json.dumps({"store": (stack or {}).get("store"), "processes": rows}, indent=1))
    elif not rows:
        print("nothing is up: start with `cisterna up`")
    else:
        print(f"store {stack['store'] if stack else ''}")
        for r in rows:
            print(
                f"{r['process']:<12} {r['health']:<12} pid {r['pid']!s:<8} {r['address']:<22} restarts {r['restarts']}"
            )
    return 0 if rows and all(r["health"] in ("SERVING", "RUNNING") for r in rows) else 5


def logs_command(home: Home, process: str | None, lines: int) -> int:
    files = sorted(home.logs.glob("*.log"))
    if process is not None:
        files = [f for f in files if f.stem == process or f.stem.rsplit("-", 1)[0] == process]
        if not files:
            known = ", ".join(sorted(f.stem for f in home.logs.glob("*.log"))) or "none yet"
            raise UsageError(f"no log of {process!r}: there are {known}")
    for f in files:
        if len(files) > 1:
            print(f"== {f.stem}")
        print("\n".join(f.read_text(errors="replace").splitlines()[-lines:]))
    return 0


def doctor_command(home: Home, store_url: str | None, as_json: bool) -> int:
    """Checks Triton, store, memory, disk and modules; exit 5 where something that `up` needs is missing."""
    import importlib.util
    import shutil

    import psutil

    checks: list[tuple[str, bool, str]] = []
    stamp = triton_home() / "stamp.json"
    checks.append(
        ("triton", stamp.is_file(), str(triton_home()) if stamp.is_file() else "run `python deploy/triton/install.py`")
    )
    try:
        url = home.store_url(store_url)
        open_store(url)
        checks.append(("store", True, f"{url} keeps create-if-absent"))
    except StoreError as e:
        checks.append(("store", False, str(e)))
    gib = psutil.virtual_memory().available / 2**30
    checks.append(("memory", gib > 6, f"{gib:.1f} GiB available; the stack needs 6"))
    home.folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(home.folder).free / 2**30
    checks.append(("disk", free > 2, f"{free:.1f} GiB free in {home.folder}"))
    for module in ("torch", "tritonclient", "cc3d", "networkx", "skimage"):
        there = importlib.util.find_spec(module) is not None
        checks.append((module, there, "installed" if there else "missing: pip install 'cisterna[all]'"))
    demos = [p.name for p in demo_models()]
    checks.append(("models", len(demos) >= 6, f"{len(demos)} demonstration models"))
    if as_json:
        print(json.dumps({n: {"ok": ok, "says": says} for n, ok, says in checks}, indent=1))
    else:
        for n, ok, says in checks:
            print(f"{'ok  ' if ok else 'FAIL'} {n:<12} {says}")
    return 0 if all(ok for _, ok, _ in checks) else 5


def _supervisor_alive(home: Home) -> bool:
    pid = home.read_state().get("supervisor")
    if not pid:
        return False
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
    return b"cisterna.cli.supervise" in command and str(home.stack).encode() in command


def _stack_spec(home: Home, url: str, workers: int) -> dict[str, Any]:
    from cisterna.ernet.triton_server import build_repository, memory_prefix, triton_command

    repository = home.stack / "triton-models"
    build_repository(list(demo_models()), repository, triton_instances())
    ports = iter(_free_ports(3 + 2 * workers * len(SERVICES)))
    token = secrets.token_urlsafe(24)
    http, grpc, metrics = next(ports), next(ports), next(ports)
    try:
        argv, env = triton_command(triton_home(), repository, http, grpc, metrics)
    except ValueError as e:
        raise Unreachable(str(e)) from e
    processes = [
        {
            "name": "triton",
            "service": "triton",
            "argv": argv,
            "env": env,
            "address": "",
            "grpc": f"127.0.0.1:{grpc}",
            "metrics": f"127.0.0.1:{metrics}",
            "memory": memory_prefix(grpc),
        }
    ]
    by_service: dict[str, list[str]] = {}
    for service in SERVICES:
        for n in range(workers):
            address, metrics_address = f"127.0.0.1:{next(ports)}", f"127.0.0.1:{next(ports)}"
            by_service.setdefault(service, []).append(address)
            processes.append(
                {
                    "name": f"{service}-{n}",
                    "service": service,
                    "argv": [sys.executable, "-m", f"cisterna.{service}"],
                    "env": {
                        "CISTERNA_STORE": url,
                        "CISTERNA_LISTEN": address,
                        "CISTERNA_METRICS": metrics_address,
                        "CISTERNA_TOKEN": token,
                        "CISTERNA_TRITON": f"127.0.0.1:{grpc}",
                        "CISTERNA_THREADS": os.environ.get("CISTERNA_THREADS", "1"),
                        "CISTERNA_MAX_IN_FLIGHT": str(MAX_IN_FLIGHT[service]),
                        # One thread a process: blocks run side by side, and the bytes do not depend on the load.
                        "OMP_NUM_THREADS": "1",
                        "OPENBLAS_NUM_THREADS": "1",
                        "PYTHONUNBUFFERED": "1",
                    },
                    "address": address,
                    "grpc": "",
                    "metrics": metrics_address,
                }
            )
    services = ";".join(f"{s}={','.join(a)}" for s, a in by_service.items())
    return {"store": url, "token": token, "services": services, "triton": f"127.0.0.1:{grpc}", "processes": processes}


def triton_instances() -> int:
    """Worker processes of each model: one a core, each with one thread, up to `LARGEST_INSTANCES`."""
    return min(LARGEST_INSTANCES, len(os.sched_getaffinity(0)))


def _free_ports(count: int) -> list[int]:
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for s in sockets:
            s.bind(("127.0.0.1", 0))
        return [s.getsockname()[1] for s in sockets]


def _write_private(path: Path, text: str) -> None:
    """Writes a file that only its owner may read: it holds the token."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as f:
        f.write(text)
