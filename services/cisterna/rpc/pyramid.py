"""One block of a coarser pyramid level: the same task in every service that writes images."""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc

from cisterna.chunks import Box
from cisterna.store.arrays import downsample, open_level, read_box, write_block
from cisterna.store.objects import ObjectStore
from cisterna.v1.common_pb2 import DownsampleBlockRequest, TaskReply

if TYPE_CHECKING:
    from cisterna.rpc.tasks import TaskRunner

STAGE_VERSION = 1


def downsample_block(
    tasks: TaskRunner, store: ObjectStore, context: grpc.ServicerContext, request: DownsampleBlockRequest
) -> TaskReply:
    """Reads the cells of the finer level that the block covers, reduces them, writes the block."""
    box = from_proto(request.target_box)
    factor = tuple(request.factor)
    mode = {request.MODE_MEAN: "mean", request.MODE_NEAREST: "nearest"}.get(request.mode, "")

    def source_box() -> Box:
        whole = Box.whole(open_level(store, request.source.path).shape)
        fine = Box(
            tuple(o * f for o, f in zip(box.offset, factor, strict=True)),
            tuple(n * f for n, f in zip(box.shape, factor, strict=True)),
        )
        return fine.intersect(whole)

    return tasks.run(
        context,
        request.task,
        STAGE_VERSION,
        read=lambda: read_box(store, request.source.path, source_box()),
        compute=lambda data: downsample(data, factor, mode),
        write=lambda data: [write_block(store, request.target.path, box, data)],
        voxels=box.size,
    )


def from_proto(box: object) -> Box:
    """A proto Box as ours."""
    return Box(tuple(box.offset), tuple(box.shape))  # type: ignore[attr-defined]
