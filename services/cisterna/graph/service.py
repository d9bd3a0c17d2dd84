"""The graph service: class maps from the store → parts of tables → tables in the store. No torch here."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import grpc
import numpy as np
import pandas as pd

from cisterna.chunks import Box
from cisterna.graph.dynamics import Dynamics, measure_dynamics
from cisterna.graph.frames import FrameTables, from_npz, join, to_npz
from cisterna.graph.parameters import FigureParameters, TracingParameters, TrackingParameters
from cisterna.graph.side_by_side import SideBySide
from cisterna.graph.stack_calls import summarise_stacks_call, trace_stack_call
from cisterna.graph.static_scene import StaticScene, static_scene
from cisterna.graph.three_way import with_traced_null
from cisterna.graph.tracing import pixel_spacing
from cisterna.rpc.server import Worker, serve
from cisterna.store import CorruptObject, ObjectStore, Written, write_once
from cisterna.store.arrays import open_level, read_box, write_block
from cisterna.tables.networks import (
    CELLS,
    DYNAMICS,
    EDGES,
    EPISODES,
    EVENTS,
    FLOOR,
    FLOOR_FRAMES,
    FLOOR_SCENE,
    FLOOR_SURVIVAL,
    FRAMES,
    JUNCTIONS,
    MULTI_WAY,
    NODES,
    SURVIVAL,
    TIP_PHASES,
    TIPS,
)
from cisterna.tables.schema import Table
from cisterna.v1 import common_pb2, graph_pb2, graph_pb2_grpc

STAGE_VERSION = 3

Figures = dict[str, float]


def part_path(parts: str, block: int) -> str:
    """Where the traced frames of one block lie."""
    return f"{parts}/{block:08d}.npz"


class GraphService(graph_pb2_grpc.GraphServiceServicer):
    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self._frames = SideBySide(worker.threads)

    def TraceFrames(self, request: graph_pb2.TraceFramesRequest, context: grpc.ServicerContext) -> Any:
        store = self.worker.store
        box = _box(request.classes)

        def read() -> tuple[TracingParameters, FigureParameters, list[np.ndarray], np.ndarray | None, int]:
            parameters = TracingParameters.from_json(request.tracing_json)
            wanted = FigureParameters.from_json(request.figures_json)
            pixel_spacing(list(request.pixel_size_um), 2)
            if box.ndim != 3:
                raise ValueError(f"a block of frames has axes t,y,x; the request's box has {box.ndim}")
            chunks = (request.classes, request.confidence, request.raw)
            if any(_box(c) != box for c in chunks):
                raise ValueError("classes, confidence and raw must be the same box of frames")
            cells = None
            if request.HasField("cells"):
                cells = read_box(store, request.cells.array.path, _box(request.cells))
                if len(cells) not in (1, box.shape[0]) or cells.shape[1:] != box.shape[1:]:
                    raise ValueError(
                        f"cells are {cells.shape}, the frames {box.shape}: give one label image, or one each"
                    )
            around = _with_neighbours(store, request.classes)
            classes = read_box(store, request.classes.array.path, around)
            others = [read_box(store, c.array.path, box) for c in chunks[1:]]
            return parameters, wanted, [classes, *others], cells, box.offset[0] - around.offset[0]

        def compute(
            data: tuple[TracingParameters, FigureParameters, list[np.ndarray], np.ndarray | None, int],
        ) -> FrameTables:
            parameters, wanted, (classes, confidence, raw), cells, skipped = data
            about = list(request.pixel_size_um), request.frame_interval_s, parameters, wanted
            calls = [
                (
                    classes[skipped + t],
                    confidence[t],
                    raw[t],
                    box.offset[0] + t,
                    *about,
                    cells[min(t, len(cells) - 1)] if cells is not None else None,
                    classes[skipped + t - 1] if skipped + t else None,
                    classes[skipped + t + 1] if skipped + t + 1 < len(classes) else None,
                )
                for t in range(box.shape[0])
            ]
            return join(self._frames.traced(calls))

        def write(tables: FrameTables) -> tuple[list[Written], Figures]:
            path = part_path(request.parts.path, request.task.block_index)
            figures = {"nodes": float(len(tables.nodes)), "edges": float(len(tables.edges))}
            return [write_once(store, path, to_npz(tables))], figures

        return self.worker.tasks.run(
            context, request.task, STAGE_VERSION, read=read, compute=compute, write=write, voxels=box.size
        )

    def SummariseMovie(self, request: graph_pb2.SummariseMovieRequest, context: grpc.ServicerContext) -> Any:
        def read() -> tuple[TrackingParameters, FrameTables]:
            return self._traced(request)

        def compute(data: tuple[TrackingParameters, FrameTables]) -> dict[str, bytes]:
            tables, found = data[1], self._dynamics(request, *data)

            def packed(table: Table, rows: pd.DataFrame) -> bytes:
                return table.to_parquet_bytes(rows, request.note)

            return {
                "frames": packed(FRAMES, tables.frames),
                "nodes": packed(NODES, found.nodes),
                "edges": packed(EDGES, tables.edges),
                "cells": packed(CELLS, tables.cells),
                "multi_way": packed(MULTI_WAY, with_traced_null(tables.multi_way, min(request.pixel_size_um))),
                "junctions": packed(JUNCTIONS, found.junctions),
                "episodes": packed(EPISODES, found.episodes),
                "events": packed(EVENTS, found.events),
                "tips": packed(TIPS, found.tips),
                "tip_phases": packed(TIP_PHASES, found.tip_phases),
                "dynamics": packed(DYNAMICS, found.dynamics),
                "survival": packed(SURVIVAL, found.survival),
            }

        return self._write_tables(context, request, read, compute)

    def SummariseFloor(self, request: graph_pb2.SummariseMovieRequest, context: grpc.ServicerContext) -> Any:
        def read() -> tuple[TrackingParameters, FrameTables]:
            return self._traced(request)

        def compute(data: tuple[TrackingParameters, FrameTables]) -> dict[str, bytes]:
            found = self._dynamics(request, *data)
            return {
                "floor": FLOOR.to_parquet_bytes(found.dynamics),
                "floor_survival": FLOOR_SURVIVAL.to_parquet_bytes(found.survival),
                "floor_frames": FLOOR_FRAMES.to_parquet_bytes(data[1].frames),
            }

        return self._write_tables(context, request, read, compute)

    def TraceStack(self, request: graph_pb2.TraceStackRequest, context: grpc.ServicerContext) -> Any:
        return trace_stack_call(self.worker, STAGE_VERSION, request, context)

    def SummariseStacks(self, request: graph_pb2.SummariseStacksRequest, context: grpc.ServicerContext) -> Any:
        return summarise_stacks_call(self.worker, STAGE_VERSION, request, context)

    def DrawStaticFrame(self, request: graph_pb2.DrawStaticFrameRequest, context: grpc.ServicerContext) -> Any:
        store = self.worker.store
        target = Box(tuple(request.scene_box.offset), tuple(request.scene_box.shape))

        def read() -> tuple[np.ndarray, np.ndarray]:
            source = _box(request.classes)
            if source.ndim != 3 or source.shape[0] != 1 or _box(request.raw) != source:
                raise ValueError("classes and raw must be the same one frame (t,y,x) of the movie")
            return read_box(store, request.raw.array.path, source)[0], read_box(
                store, request.classes.array.path, source
            )[0]

        def compute(data: tuple[np.ndarray, np.ndarray]) -> tuple[StaticScene, np.ndarray]:
            scene = static_scene(*data)
            return scene, scene.frame(target.offset[0])[None]

        def write(drawn: tuple[StaticScene, np.ndarray]) -> tuple[list[Written], Figures]:
            scene, frame = drawn
            written = [write_block(store, request.scene.path, target, frame)]
            row = scene.row(_box(request.classes).offset[0], request.frames)
            if target.offset[0] == 0:
                path = f"{request.output.path}/floor_scene.parquet"
                written.append(write_once(store, path, FLOOR_SCENE.to_parquet_bytes(FLOOR_SCENE.frame([row]))))
            return written, {k: float(v) for k, v in row.items() if isinstance(v, int | float)}

        return self.worker.tasks.run(
            context, request.task, STAGE_VERSION, read=read, compute=compute, write=write, voxels=target.size
        )

    def _traced(self, request: graph_pb2.SummariseMovieRequest) -> tuple[TrackingParameters, FrameTables]:
        parameters = TrackingParameters.from_json(request.tracking_json)
        if request.blocks < 1:
            raise ValueError("blocks = 0: a movie has at least one block of frames")
        parts = [part_path(request.parts.path, block) for block in range(request.blocks)]
        return parameters, join([_part(self.worker.store.get(p), p) for p in parts])

    @staticmethod
    def _dynamics(
        request: graph_pb2.SummariseMovieRequest, parameters: TrackingParameters, tables: FrameTables
    ) -> Dynamics:
        y_um, x_um = request.field_um or (math.inf, math.inf)
        return measure_dynamics(
            tables.nodes,
            tables.edges,
            len(tables.frames),
            request.frame_interval_s,
            parameters,
            (y_um, x_um),
            flags=tables.frames["snr_flag"].tolist(),
        )

    def _write_tables(
        self,
        context: grpc.ServicerContext,
        request: graph_pb2.SummariseMovieRequest,
        read: Callable[[], tuple[TrackingParameters, FrameTables]],
        compute: Callable[[tuple[TrackingParameters, FrameTables]], dict[str, bytes]],
    ) -> Any:
        store = self.worker.store

        def write(files: dict[str, bytes]) -> list[Written]:
            return [write_once(store, f"{request.output.path}/{name}.parquet", data) for name, data in files.items()]

        return self.worker.tasks.run(context, request.task, STAGE_VERSION, read=read, compute=compute, write=write)


def _box(chunk: common_pb2.ChunkRef) -> Box:
    return Box(tuple(chunk.box.offset), tuple(chunk.box.shape))


def _with_neighbours(store: ObjectStore, chunk: common_pb2.ChunkRef) -> Box:
    """The box of a chunk with its halo, as far as the array goes."""
    box = _box(chunk)
    whole = Box.whole(open_level(store, chunk.array.path).shape)
    return box.grow(tuple(chunk.halo)).intersect(whole) if chunk.halo else box


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
