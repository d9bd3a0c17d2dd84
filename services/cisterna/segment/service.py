"""The segment service: one block of raw grey values in, one block of uint8 probability out."""

from __future__ import annotations

import threading
from typing import Any

import grpc
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from cisterna.chunks import Box
from cisterna.models import Model, ModelError
from cisterna.rpc.server import Worker, serve
from cisterna.segment.probability import IntensityRule, block_probability, memory_budget, prepare
from cisterna.segment.unet import GEOMETRY
from cisterna.store.arrays import read_reflected, write_block
from cisterna.tiles import required_halo
from cisterna.v1 import segment_pb2_grpc
from cisterna.v1.common_pb2 import DownsampleBlockRequest, TaskReply
from cisterna.v1.segment_pb2 import SegmentBlockRequest

STAGE_VERSION = 1
"""Raised only when the bytes of the stage may change."""


class SegmentService(segment_pb2_grpc.SegmentServiceServicer):
    """SegmentBlock and DownsampleBlock over a worker."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self._networks: dict[str, nn.Module] = {}
        self._lock = threading.Lock()

    def SegmentBlock(self, request: SegmentBlockRequest, context: grpc.ServicerContext) -> TaskReply:
        box = Box(tuple(request.input.box.offset), tuple(request.input.box.shape))

        def read() -> tuple[Model, IntensityRule, Box, NDArray[Any]]:
            if box.ndim != 3 or box.empty:
                raise ValueError(f"a block to segment is a box of three axes (z, y, x) with voxels in it, got {box}")
            model = self.worker.models(request.model.name, request.model.digest)
            if model.family != "asem":
                raise ModelError(f"model {model.name} is of family {model.family}; segmentation takes asem models")
            grey = request.intensity
            rule = IntensityRule.of_model(model.spec, grey.low, grey.high, invert=grey.invert)
            # The network's legal sizes decide the halo: the far side is wider than its context by up to one stride.
            low, high = required_halo(box, GEOMETRY)
            held = box.grow(low, high)
            return model, rule, held, read_reflected(self.worker.store, request.input.array.path, box, low, high)

        def compute(data: tuple[Model, IntensityRule, Box, NDArray[Any]]) -> NDArray[np.uint8]:
            model, rule, held, block = data
            network = self._network(model)
            device = self.worker.device
            return block_probability(
                block, held.offset, box, network, rule, device=device, memory_bytes=memory_budget(device)
            )

        def write(probability: NDArray[np.uint8]) -> tuple[list[Any], dict[str, float]]:
            written = write_block(self.worker.store, request.output.path, box, probability)
            return [written], {"foreground_share": float((probability >= 128).mean())}

        return self.worker.tasks.run(
            context,
            request.task,
            STAGE_VERSION,
            read=read,
            compute=compute,
            write=write,
            model=request.model.name,
            voxels=box.size,
        )

    def DownsampleBlock(self, request: DownsampleBlockRequest, context: grpc.ServicerContext) -> TaskReply:
        return self.worker.downsample(context, request)

    def _network(self, model: Model) -> nn.Module:
        """The model on the device; called on the device thread, which is the one that computes."""
        with self._lock:
            network = self._networks.get(model.digest)
            if network is None:
                if self.worker.device == "cpu":
                    torch.set_num_threads(max(1, self.worker.threads))
                network = prepare(model.module(), self.worker.device)
                self._networks[model.digest] = network
            return network


def main() -> int:
    """Serve until SIGTERM."""
    return serve(
        "segment",
        lambda server, worker: segment_pb2_grpc.add_SegmentServiceServicer_to_server(  # type: ignore[no-untyped-call]
            SegmentService(worker), server
        ),
    )
