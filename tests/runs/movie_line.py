"""The whole er-movie line in one process: files → acquisition → run → tables and report. Only Triton is stood in for.

What it answers is a plain function of the grey values: bright is tubule. Everything around it is the real thing.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pandas as pd
import tifffile
from cisterna.acquire import Selection, ingest_movie
from cisterna.ernet.service import ErnetService
from cisterna.graph.service import GraphService
from cisterna.models import demo_models, install_model
from cisterna.rpc.client import Addresses
from cisterna.rpc.server import ServerConfig, Worker
from cisterna.runs import record
from cisterna.runs.acquisition import read_acquisition
from cisterna.runs.driver import Driver
from cisterna.runs.plan import Plan, make_plan
from cisterna.runs.recipes import parse_recipe
from cisterna.store import ObjectStore, open_store
from cisterna.tables import networks, stacks
from cisterna.tables.schema import Table
from cisterna.v1 import ernet_pb2_grpc, graph_pb2_grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from numpy.typing import NDArray

SIZES = {"pixel_size_um": 0.1, "frame_interval_s": 1.0}
QUICK = "graph: {resamples: 0, static_floor_frames: 0}"
TABLES = {t.name: t for module in (networks, stacks) for t in vars(module).values() if isinstance(t, Table)}


class BrightIsTubule:
    """Stands where Triton is asked: logits (N, 4, H, W) of frames (N, 1, H, W)."""

    def infer(self, model: str, frames: NDArray[np.float32], *_: Any) -> NDArray[np.float32]:
        logits = np.zeros((len(frames), 4, *frames.shape[2:]), np.float32)
        logits[:, 2] = 8 * (frames[:, frames.shape[1] // 2] - 0.5)
        return logits


@dataclass(frozen=True)
class Line:
    store: ObjectStore
    addresses: Addresses
    folder: Path

    def plan(self, movie: Path, recipe: str = QUICK, selection: Selection | None = None, **sizes: Any) -> Plan:
        parsed = parse_recipe(recipe, "er-movie")
        chosen = selection or Selection(z_mode=parsed.z_mode, z_section=parsed.z_section)  # type: ignore[union-attr]
        acquired = ingest_movie(self.store, movie, selection=chosen, **{**SIZES, **sizes})
        return make_plan(self.store, parsed, read_acquisition(self.store, acquired.id))

    def run(self, movie: Path, recipe: str = QUICK, **options: Any) -> dict[str, Any]:
        """run.json of the finished run."""
        plan = self.plan(movie, recipe, **options)
        record.register_run(self.store, plan)
        Driver(self.store, plan, self.addresses, lambda text: None).run()
        document = record.read_run(self.store, plan.run_id)
        assert document is not None
        return document

    def table(self, document: dict[str, Any], name: str) -> pd.DataFrame:
        return TABLES[name].from_parquet_bytes(self.store.get(document["tables"][name]))

    def written(self, name: str, data: NDArray[Any], **options: Any) -> Path:
        path = self.folder / f"{name}.tif"
        tifffile.imwrite(path, data, photometric="minisblack", **options)
        return path


@contextmanager
def movie_line(folder: Path) -> Iterator[Line]:
    store = open_store(f"file://{folder}/store")
    for model in demo_models():
        if "ernet" in model.name:
            install_model(store, model)
    servers, addresses = [], {}
    for name, add, service in (
        ("ernet", ernet_pb2_grpc.add_ErnetServiceServicer_to_server, lambda w: ErnetService(w, BrightIsTubule())),
        ("graph", graph_pb2_grpc.add_GraphServiceServicer_to_server, GraphService),
    ):
        server = grpc.server(ThreadPoolExecutor(8))
        worker = Worker(ServerConfig(name, "", "", "", "", "cpu", 1, 3), store, "cpu", lambda: None)
        add(service(worker), server)
        state = health.HealthServicer()
        state.set("", health_pb2.HealthCheckResponse.SERVING)
        health_pb2_grpc.add_HealthServicer_to_server(state, server)
        addresses[name] = (f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}",)
        server.start()
        servers.append(server)
    try:
        yield Line(store, Addresses(addresses), folder)
    finally:
        for server in servers:
            server.stop(None).wait()
