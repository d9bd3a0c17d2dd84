"""A service as a process: health, metrics, health command, drain by SIGTERM, refusal of a bad store."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from cisterna.rpc.health import check


def _ports(n: int) -> list[int]:
    sockets = [socket.socket() for _ in range(n)]
    for s in sockets:
        s.bind(("127.0.0.1", 0))
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


@pytest.fixture
def service(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[bytes], str, str]]:
    listen, metrics = (f"127.0.0.1:{p}" for p in _ports(2))
    env = {
        **os.environ,
        "CISTERNA_STORE": f"file://{tmp_path}/store",
        "CISTERNA_LISTEN": listen,
        "CISTERNA_METRICS": metrics,
    }
    process = subprocess.Popen([sys.executable, "-m", "cisterna.eres"], env=env, start_new_session=True)
    end = time.monotonic() + 40
    while check(listen, timeout_s=0.5) != "SERVING":
        assert time.monotonic() < end, "the service did not become healthy"
        assert process.poll() is None
        time.sleep(0.1)
    yield process, listen, metrics
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def test_a_service_is_healthy_metered_and_ends_cleanly(service: tuple[subprocess.Popen[bytes], str, str]) -> None:
    process, listen, metrics = service
    assert check(listen, "cisterna.v1.EresService") == "SERVING"
    health = subprocess.run(
        [sys.executable, "-m", "cisterna.rpc.health", listen], check=False, capture_output=True, text=True
    )
    assert (health.returncode, health.stdout.strip()) == (0, "SERVING")
    text = urllib.request.urlopen(f"http://{metrics}/metrics", timeout=5).read().decode()
    assert "cisterna_queue_depth" in text
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0
    gone = subprocess.run(
        [sys.executable, "-m", "cisterna.rpc.health", listen], check=False, capture_output=True, text=True
    )
    assert gone.returncode == 1


def test_reflection_lists_the_service(service: tuple[subprocess.Popen[bytes], str, str]) -> None:
    import grpc
    from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

    with grpc.insecure_channel(service[1]) as channel:
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        replies = stub.ServerReflectionInfo(iter([reflection_pb2.ServerReflectionRequest(list_services="")]), timeout=5)
        names = {s.name for s in next(iter(replies)).list_services_response.service}
    assert {"cisterna.v1.EresService", "grpc.health.v1.Health"} <= names


@pytest.mark.parametrize(("store", "says"), [("", "CISTERNA_STORE"), ("ftp://x", "not understood")])
def test_a_service_without_a_usable_store_says_so_and_ends(store: str, says: str) -> None:
    env = {**os.environ, "CISTERNA_STORE": store}
    done = subprocess.run(
        [sys.executable, "-m", "cisterna.eres"], env=env, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode != 0
    assert says in done.stderr
    assert "Traceback" not in done.stderr
