"""The graph service: class maps from the store → parts of tables → tables in the store. No torch here."""

from __future__ import annotations

from typing import Any

import grpc
import numpy as np

from cisterna.chunks import Box
from cisterna.graph.frames import FrameTables, from_npz, join, to_npz, trace_frame
from cisterna.graph.lifetimes import track_junctions
from cisterna.graph.parameters import TracingParameters, TrackingParameters
from cisterna.graph.tracing import pixel_spacing
from cisterna.rpc.server import Worker, serve
from cisterna.store import CorruptObject, Written, write_once
from cisterna.store.arrays import read_box
from cisterna.tables.networks import EDGES, FRAMES, JUNCTIONS, NODES
from cisterna.v1 import common_pb2, graph_pb2, graph_pb2_grpc

STAGE_VERSION = 2

Figures = dict[str, float]


def part_path(parts: str, block: int) -> str:
    """Where the traced frames of one block lie."""
    return f"{parts}/{block:08d}.npz"


class GraphService(graph_pb2_grpc.GraphServiceServicer):
    def __init__(self, worker: Worker) -> None:
        self.worker = worker

    def TraceFrames(self, request: graph_pb2.TraceFramesRequest, context: grpc.ServicerContext) -> Any:
        store = self.worker.store
        box = _box(request.classes)

        def read() -> tuple[TracingParameters, list[np.ndarray]]:
            parameters = TracingParameters.from_json(request.tracing_json)
            pixel_spacing(list(request.pixel_size_um), 2)
            if box.ndim != 3:
                raise ValueError(f"a block of frames has axes t,y,x; the request's box has {box.ndim}")
            chunks = (request.classes, request.confidence, request.raw)
            if any(_box(c) != box for c in chunks):
                raise ValueError("classes, confidence and raw must be the same box of frames")
            return parameters, [read_box(store, c.array.path, box) for c in chunks]

        def compute(data: tuple[TracingParameters, list[np.ndarray]]) -> FrameTables:
            parameters, (classes, confidence, raw) = data
            spacing = list(request.pixel_size_um)
            return join(
                [
                    trace_frame(
                        classes[t],
                        confidence[t],
                        raw[t],
                        box.offset[0] + t,
                        spacing,
                        request.frame_interval_s,
                        parameters,
                    )[1]
                    for t in range(box.shape[0])
                ]
            )

        def write(tables: FrameTables) -> tuple[list[Written], Figures]:
            path = part_path(request.parts.path, request.task.block_index)
            figures = {"nodes": float(len(tables.nodes)), "edges": float(len(tables.edges))}
            return [write_once(store, path, to_npz(tables))], figures

        return self.worker.tasks.run(
            context, request.task, STAGE_VERSION, read=read, compute=compute, write=write, voxels=box.size
        )

    def SummariseMovie(self, request: graph_pb2.SummariseMovieRequest, context: grpc.ServicerContext) -> Any:
        store = self.worker.store

        def read() -> tuple[TrackingParameters, FrameTables]:
            parameters = TrackingParameters.from_json(request.tracking_json)
            if request.blocks < 1:
                raise ValueError("blocks = 0: a movie has at least one block of frames")
            return parameters, join([_part(store.get(p), p) for p in self._parts(request)])

        def compute(data: tuple[TrackingParameters, FrameTables]) -> dict[str, bytes]:
            parameters, tables = data
            track, junctions = track_junctions(tables.nodes, len(tables.frames), request.frame_interval_s, parameters)
            nodes = tables.nodes.assign(junction_id=track)
            return {
                "frames": FRAMES.to_parquet_bytes(tables.frames),
                "nodes": NODES.to_parquet_bytes(nodes),
                "edges": EDGES.to_parquet_bytes(tables.edges),
                "junctions": JUNCTIONS.to_parquet_bytes(junctions),
            }

        def write(files: dict[str, bytes]) -> list[Written]:
            return [write_once(store, f"{request.output.path}/{name}.parquet", data) for name, data in files.items()]

        return self.worker.tasks.run(context, request.task, STAGE_VERSION, read=read, compute=compute, write=write)

    @staticmethod
    def _parts(request: graph_pb2.SummariseMovieRequest) -> list[str]:
        return [part_path(request.parts.path, block) for block in range(request.blocks)]


def _box(chunk: common_pb2.ChunkRef) -> Box:
    return Box(tuple(chunk.box.offset), tuple(chunk.box.shape))


def _part(data: bytes, path: str) -> FrameTables:
    try:
        return from_npz(data)
    except ValueError as error:
        raise CorruptObject(f"{path}: {error}") from error


def main() -> int:
    """Serves until SIGTERM; returns the exit code."""

    def register(server: grpc.Server, worker: Worker) -> None:
        graph_pb2_grpc.add_GraphServiceServicer_to_server(GraphService(worker), server)  # type: ignore[no-untyped-call]

    return serve("graph", register)
