"""The driver's metrics port, and the file by which a Prometheus beside the stack finds it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import start_http_server

from cisterna.cli.home import Home


@contextmanager
def served(home: Home, run_id: str) -> Iterator[None]:
    """Serves this process's metrics while a run is driven.

    On CISTERNA_METRICS where that is set (a pod's fixed port), else, where this machine's stack is up, on a free port.
    The address stands in stack/targets/driver-RUN.json for as long as the driver lives; a killed driver leaves its
    file, which the next driver of the run replaces.
    """
    listen = os.environ.get("CISTERNA_METRICS")
    if not listen and home.read_stack() is None:
        yield
        return
    host, _, port = (listen or "127.0.0.1:0").rpartition(":")
    server, _ = start_http_server(int(port), host)
    target = None
    if home.read_stack() is not None:
        target = home.stack / "targets" / f"driver-{run_id}.json"
        target.parent.mkdir(parents=True, exist_ok=True)
        fresh = target.with_suffix(f".{os.getpid()}")
        fresh.write_text(json.dumps([{"targets": [f"{host}:{server.server_port}"], "labels": {"job": "driver"}}]))
        fresh.replace(target)
    try:
        yield
    finally:
        if target is not None:
            target.unlink(missing_ok=True)
        server.shutdown()
