"""The graph service over z-stacks: one time point traced in 3-D a task, then all of them in one set of tables."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc
import numpy as np

from cisterna.chunks import Box
from cisterna.graph.parameters import FigureParameters, TracingParameters
from cisterna.graph.stacks import TABLES, StackTables, join, trace_stack
from cisterna.graph.tracing import pixel_spacing
from cisterna.rpc.server import Worker
from cisterna.store import Written, write_once
from cisterna.store.arrays import read_box
from cisterna.v1 import common_pb2, graph_pb2

Read = tuple[TracingParameters, FigureParameters, list[np.ndarray]]


def trace_stack_call(
    worker: Worker, version: int, request: graph_pb2.TraceStackRequest, context: grpc.ServicerContext
) -> Any:
    store = worker.store
    box = _box(request.classes)

    def read() -> Read:
        parameters = TracingParameters.from_json(request.tracing_json)
        wanted = FigureParameters.from_json(request.figures_json)
        pixel_spacing(list(request.voxel_size_um), 3)
        chunks = (request.classes, request.confidence, request.raw)
        if box.ndim != 4 or box.shape[0] != 1 or any(_box(c) != box for c in chunks):
            raise ValueError("classes, confidence and raw must be the sections of one time point (1,z,y,x)")
        return parameters, wanted, [read_box(store, c.array.path, box)[0] for c in chunks]

    def compute(data: Read) -> StackTables:
        parameters, wanted, arrays = data
        classes, confidence, raw = arrays
        voxel_um, interval_s = list(request.voxel_size_um), request.frame_interval_s
        return trace_stack(classes, confidence, raw, box.offset[0], voxel_um, interval_s, parameters, wanted)[1]

    def write(tables: StackTables) -> tuple[list[Written], dict[str, float]]:
        folder = f"{request.parts.path}/{request.task.block_index:08d}"
        written = [
            write_once(store, f"{folder}/{t.name}.parquet", t.to_parquet_bytes(getattr(tables, t.name))) for t in TABLES
        ]
        return written, {"nodes": float(len(tables.stack_nodes)), "edges": float(len(tables.stack_edges))}

    return worker.tasks.run(context, request.task, version, read=read, compute=compute, write=write, voxels=box.size)


def summarise_stacks_call(
    worker: Worker, version: int, request: graph_pb2.SummariseStacksRequest, context: grpc.ServicerContext
) -> Any:
    store = worker.store

    def read() -> list[StackTables]:
        if request.blocks < 1:
            raise ValueError("blocks = 0: a z-stack has at least one time point")
        folders = [f"{request.parts.path}/{block:08d}" for block in range(request.blocks)]
        return [
            StackTables(*(t.from_parquet_bytes(store.get(f"{folder}/{t.name}.parquet")) for t in TABLES))
            for folder in folders
        ]

    def write(tables: StackTables) -> list[Written]:
        return [
            write_once(store, f"{request.output.path}/{t.name}.parquet", t.to_parquet_bytes(getattr(tables, t.name)))
            for t in TABLES
        ]

    compute: Callable[[list[StackTables]], StackTables] = join
    return worker.tasks.run(context, request.task, version, read=read, compute=compute, write=write)


def _box(chunk: common_pb2.ChunkRef) -> Box:
    return Box(tuple(chunk.box.offset), tuple(chunk.box.shape))
