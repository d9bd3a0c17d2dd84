"""The exit-site service: probabilities and labels from the store → parts, labels and tables in the store."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc
import numpy as np
from numpy.typing import NDArray

from cisterna.chunks import BlockGrid
from cisterna.eres.components import LabelledBlock, Merged, label_block, merge_blocks
from cisterna.eres.objects import objects_frame
from cisterna.eres.parts import (
    labelled_from_npz,
    labelled_to_npz,
    mapping_to_npz,
    part_path,
    relabel_from_npz,
)
from cisterna.eres.site_calls import STAGE_VERSIONS as SITE_VERSIONS
from cisterna.eres.site_calls import SiteCalls, box_of, voxel_size_of
from cisterna.rpc.server import Worker, serve
from cisterna.store import Written
from cisterna.store.arrays import open_level, read_box, write_block
from cisterna.store.receipts import write_once
from cisterna.tables.volumes import OBJECTS
from cisterna.v1 import common_pb2, eres_pb2, eres_pb2_grpc

STAGE_VERSIONS = {"eres-label": 2, "eres-merge": 2, "eres-relabel": 2, **SITE_VERSIONS}

MAPPING = "mapping.npz"
OBJECTS_FILE = "objects.parquet"


class EresService(SiteCalls, eres_pb2_grpc.EresServiceServicer):
    def __init__(self, worker: Worker) -> None:
        self.worker = worker

    def LabelBlock(self, request: eres_pb2.LabelBlockRequest, context: grpc.ServicerContext) -> Any:
        store, box = self.worker.store, box_of(request.probability)

        def read() -> tuple[NDArray[Any], tuple[int, ...]]:
            path = request.probability.array.path
            probability = read_box(store, path, box)
            if probability.dtype != np.uint8:
                raise ValueError(f"{path} holds {probability.dtype}: probabilities are uint8 (round(p × 255))")
            return probability, open_level(store, path).shape

        def compute(data: tuple[NDArray[Any], tuple[int, ...]]) -> tuple[NDArray[np.uint32], LabelledBlock]:
            return label_block(data[0], request.threshold, box, data[1])

        def write(result: tuple[NDArray[np.uint32], LabelledBlock]) -> tuple[list[Written], dict[str, float]]:
            labels, part = result
            written = [
                write_block(store, request.local_labels.path, box, labels),
                write_once(store, part_path(request.parts.path, request.task.block_index), labelled_to_npz(part)),
            ]
            return written, {"components": len(part.sums), "positive_share": float((labels > 0).mean())}

        return self._run(context, request.task, "eres-label", read, compute, write, box.size)

    def MergeObjects(self, request: eres_pb2.MergeObjectsRequest, context: grpc.ServicerContext) -> Any:
        store, shape = self.worker.store, tuple(request.volume_shape)

        def read() -> list[LabelledBlock]:
            return [self.decoded(part_path(request.parts.path, n), labelled_from_npz) for n in range(request.blocks)]

        def compute(blocks: list[LabelledBlock]) -> tuple[Merged, bytes]:
            merged = merge_blocks(blocks, BlockGrid(shape, tuple(request.block_shape)), max(1, request.min_voxels))
            frame = objects_frame(request.class_name, merged.sums, voxel_size_of(request.voxel_size_nm), shape)
            return merged, OBJECTS.to_parquet_bytes(frame)

        def write(result: tuple[Merged, bytes]) -> tuple[list[Written], dict[str, float]]:
            merged, table = result
            written = [
                write_once(store, f"{request.merged.path}/{OBJECTS_FILE}", table),
                write_once(store, f"{request.merged.path}/{MAPPING}", mapping_to_npz(merged)),
            ]
            return written, {"objects": len(merged.sums), "components": len(merged.ids)}

        return self._run(context, request.task, "eres-merge", read, compute, write)

    def RelabelBlock(self, request: eres_pb2.RelabelBlockRequest, context: grpc.ServicerContext) -> Any:
        store, box = self.worker.store, box_of(request.local_labels)
        mapping = f"{request.merged.path}/{MAPPING}"

        def read() -> tuple[NDArray[Any], NDArray[np.uint32]]:
            local = read_box(store, request.local_labels.array.path, box)
            return local, self.decoded(mapping, lambda data: relabel_from_npz(data, request.task.block_index, local))

        def write(result: NDArray[np.uint32]) -> list[Written]:
            return [write_block(store, request.labels.path, box, result)]

        return self._run(context, request.task, "eres-relabel", read, lambda data: data[1], write, box.size)

    def DownsampleBlock(self, request: common_pb2.DownsampleBlockRequest, context: grpc.ServicerContext) -> Any:
        return self.worker.downsample(context, request)

    def _run(
        self,
        context: grpc.ServicerContext,
        task: common_pb2.TaskRef,
        stage: str,
        read: Callable[[], Any],
        compute: Callable[[Any], Any],
        write: Callable[[Any], Any],
        voxels: int = 0,
    ) -> Any:
        return self.worker.tasks.run(context, task, STAGE_VERSIONS[stage], read, compute, write, voxels=voxels)


def main() -> int:
    return serve(
        "eres",
        lambda server, worker: eres_pb2_grpc.add_EresServiceServicer_to_server(  # type: ignore[no-untyped-call]
            EresService(worker), server
        ),
    )
