"""The harness every service runs in: health, reflection, metrics, token, drain."""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from prometheus_client import start_http_server

from cisterna.models import Model, ModelError, read_model
from cisterna.rpc import metrics
from cisterna.rpc.interceptors import CallMetrics, TokenCheck
from cisterna.rpc.ports import DEFAULT_PORTS
from cisterna.rpc.pyramid import downsample_block
from cisterna.rpc.tasks import TaskRunner
from cisterna.store import ObjectStore, StoreError, open_store
from cisterna.v1.common_pb2 import DownsampleBlockRequest, TaskReply

log = logging.getLogger("cisterna.server")

DRAIN_S = 600.0
PROBE_INTERVAL_S = 2.0

Register = Callable[[grpc.Server, "Worker"], None]


@dataclass(frozen=True)
class ServerConfig:
    """A service process's settings, all from the environment (docs/architecture.md, Processes)."""

    service: str
    store_url: str
    listen: str
    metrics_listen: str
    token: str
    device: str
    threads: int
    max_in_flight: int

    @classmethod
    def from_environment(cls, service: str) -> ServerConfig:
        env = os.environ
        store = env.get("CISTERNA_STORE", "")
        if not store:
            raise SystemExit(
                f"{service}: set CISTERNA_STORE to the store's URL, e.g. file:///data/cisterna or s3://bucket"
            )
        return cls(
            service=service,
            store_url=store,
            listen=env.get("CISTERNA_LISTEN", f"0.0.0.0:{DEFAULT_PORTS[service]}"),
            metrics_listen=env.get("CISTERNA_METRICS", "0.0.0.0:9464"),
            token=env.get("CISTERNA_TOKEN", ""),
            device=env.get("CISTERNA_DEVICE", "auto"),
            threads=int(env.get("CISTERNA_THREADS", "1")),
            max_in_flight=int(env.get("CISTERNA_MAX_IN_FLIGHT", "3")),
        )


class Worker:
    """What a service face works with: the store, the task runner, models."""

    def __init__(self, config: ServerConfig, store: ObjectStore, device: str, stop: Callable[[], None]) -> None:
        self.config = config
        self.store = store
        self.device = device
        self.threads = config.threads
        self.id = f"{socket.gethostname()}:{os.getpid()}:{int(time.time())}"
        # The graph service hands frames to processes of its own, one a core; ernet has all its frames at Triton, which
        # gathers them; the others use their cores within a task.
        computing = {"graph": config.threads, "ernet": config.max_in_flight}.get(config.service, 1)
        self.tasks = TaskRunner(config.service, store, self.id, device, config.max_in_flight, stop, computing)
        self._models: dict[str, Model] = {}
        self._lock = threading.Lock()

    def models(self, name: str, digest: str) -> Model:
        """The model of this name in the store; refused (ModelError) where its digest is another."""
        with self._lock:
            model = self._models.get(digest)
            if model is None:
                model = read_model(self.store, name)
                if model.digest != digest:
                    raise ModelError(
                        f"model {name} in the store has digest {model.digest[:12]}…, asked for is {digest[:12]}…"
                    )
                self._models[digest] = model
                metrics.MODEL_INFO.labels(self.config.service, name, digest[:12]).set(1)
            return model

    def downsample(self, context: grpc.ServicerContext, request: DownsampleBlockRequest) -> TaskReply:
        """The DownsampleBlock method that every image-writing service offers."""
        return downsample_block(self.tasks, self.store, context, request)


def pick_device(wanted: str, service: str) -> str:
    """``cuda`` where asked for (or ``auto`` and present), else ``cpu``. torch is imported by torch services only."""
    if service not in ("denoise", "segment") or wanted == "cpu":
        return "cpu"
    import torch

    if wanted == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if wanted.startswith("cuda") and not torch.cuda.is_available():
        raise SystemExit(f"{service}: CISTERNA_DEVICE={wanted}, but torch sees no such device; use cpu or auto")
    return wanted


def serve(service: str, register: Register, probe: Callable[[Worker], Callable[[], bool]] | None = None) -> int:
    """Runs a service until SIGTERM; returns the exit code.

    ``probe(worker)`` gives a check that runs every 2 s beside the work; while it says False, health says NOT_SERVING
    and tasks go on being answered (the caller sees their own errors).
    SIGTERM: NOT_SERVING → what runs is finished → exit 0. A lost device ends the process with exit 70.
    """
    logging.basicConfig(
        level=os.environ.get("CISTERNA_LOG", "INFO"),
        stream=sys.stderr,
        format=f"%(asctime)s {service} %(levelname)s %(message)s",
    )
    config = ServerConfig.from_environment(service)
    try:
        store = open_store(config.store_url)
    except StoreError as e:
        log.error("%s", e)
        return 5
    stopping = threading.Event()
    lost = threading.Event()

    def device_lost() -> None:
        lost.set()
        stopping.set()

    worker = Worker(config, store, pick_device(config.device, service), device_lost)
    server = grpc.server(
        # Health must answer while every task place is taken, so threads outnumber places.
        ThreadPoolExecutor(max_workers=config.max_in_flight + 12, thread_name_prefix="rpc"),
        interceptors=[CallMetrics(service), TokenCheck(config.token)],
        options=[
            ("grpc.so_reuseport", 0),
            ("grpc.keepalive_permit_without_calls", 1),
            ("grpc.http2.min_ping_interval_without_data_ms", 5000),
        ],
    )
    register(server, worker)
    names = _service_names(server, service)
    checker = health.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(checker, server)
    reflection.enable_server_reflection([*names, health.SERVICE_NAME, reflection.SERVICE_NAME], server)
    check = probe(worker) if probe is not None else None
    _set_health(checker, names, check is None)
    try:
        server.add_insecure_port(config.listen)
        host, port = config.metrics_listen.rsplit(":", 1)
        start_http_server(int(port), host)
    except (RuntimeError, OSError) as e:
        log.error("cannot listen on %s or %s: %s; choose free ports", config.listen, config.metrics_listen, e)
        return 1
    server.start()
    log.info(
        "listening on %s, store %s, device %s, worker %s", config.listen, config.store_url, worker.device, worker.id
    )
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    while not stopping.wait(PROBE_INTERVAL_S if check is not None else 5.0):
        if check is not None:
            _set_health(checker, names, check())
        _observe_memory(service, worker.device)
    worker.tasks.draining.set()
    checker.enter_graceful_shutdown()
    server.stop(DRAIN_S).wait()
    log.info("stopped")
    return 70 if lost.is_set() else 0


def _service_names(server: grpc.Server, service: str) -> Sequence[str]:
    return [f"cisterna.v1.{service.capitalize()}Service"]


def _set_health(checker: Any, names: Sequence[str], serving: bool) -> None:
    status = health_pb2.HealthCheckResponse.SERVING if serving else health_pb2.HealthCheckResponse.NOT_SERVING
    for name in ("", *names):
        checker.set(name, status)


def _observe_memory(service: str, device: str) -> None:
    if device == "cpu":
        with open("/proc/self/statm") as f:
            resident = int(f.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        metrics.DEVICE_MEMORY.labels(service).set(resident)
        return
    torch = sys.modules["torch"]
    metrics.DEVICE_MEMORY.labels(service).set(torch.cuda.memory_reserved(device))
