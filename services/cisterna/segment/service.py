"""The segment service: one block of raw grey values in, one block of uint8 probability out."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Any

import grpc
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from cisterna.chunks import Box
from cisterna.clahe import Equalisation
from cisterna.models import Model, ModelError
from cisterna.models.digest import sha256
from cisterna.rpc.server import Worker, serve
from cisterna.segment.probability import IntensityRule, block_halo, block_probability, memory_budget, prepare
from cisterna.segment.signature import POSITIVE, block_signature
from cisterna.store import CorruptObject
from cisterna.store.arrays import read_reflected, write_block
from cisterna.store.parts import part_path, to_npz
from cisterna.store.receipts import stage_folder, write_once
from cisterna.v1 import segment_pb2_grpc
from cisterna.v1.common_pb2 import ArrayRef, DownsampleBlockRequest, TaskReply
from cisterna.v1.segment_pb2 import SegmentBlockRequest

STAGE_VERSION = 3
"""Raised only when the bytes of the stage may change."""

TABLES_KEPT = 4
"""Volumes whose CLAHE tables stay in memory: 512 bytes per 128³ voxels each."""


class SegmentService(segment_pb2_grpc.SegmentServiceServicer):
    """SegmentBlock and DownsampleBlock over a worker."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self._networks: dict[tuple[str, str], nn.Module] = {}
        self._equalisations: OrderedDict[str, Equalisation] = OrderedDict()
        self._lock = threading.Lock()

    def SegmentBlock(self, request: SegmentBlockRequest, context: grpc.ServicerContext) -> TaskReply:
        box = Box(tuple(request.input.box.offset), tuple(request.input.box.shape))
        part = part_path(f"{stage_folder(request.task.stage, request.task.stage_key)}/parts", request.task.block_index)

        def read() -> tuple[Model, IntensityRule, Box, Box, NDArray[Any]]:
            if box.ndim != 3 or box.empty:
                raise ValueError(f"a block to segment is a box of three axes (z, y, x) with voxels in it, got {box}")
            if len(request.resample) not in (0, 3) or any(not 0 < f < 64 for f in request.resample):
                raise ValueError(f"resampling names {list(request.resample)}; give a factor per axis (z, y, x)")
            model = self.worker.models(request.model.name, request.model.digest)
            if model.family != "asem":
                raise ModelError(f"model {model.name} is of family {model.family}; segmentation takes asem models")
            grey, equalise = request.intensity, None
            if request.equalisation.path:
                # On this thread, so that blocks are read and equalised while the device computes another one.
                equalise = self._tables(request.equalisation).apply
            rule = IntensityRule.of_model(
                model.spec,
                grey.low,
                grey.high,
                invert=grey.invert and equalise is None,
                equalised=request.equalised or equalise is not None,
            )
            # In the coordinates of the volume that the array was cut from: there tiles keep their pooling phase.
            place = box.shift(request.anchor or (0, 0, 0))
            # The network's legal sizes decide the halo: the far side is wider than its context by up to one stride.
            low, high = block_halo(place, tuple(request.resample))
            block = read_reflected(self.worker.store, request.input.array.path, box, low, high, equalise)
            return model, rule, place, place.grow(low, high), block

        def compute(
            data: tuple[Model, IntensityRule, Box, Box, NDArray[Any]],
        ) -> tuple[NDArray[np.uint8], Model, IntensityRule, NDArray[Any]]:
            model, rule, place, held, block = data
            network = self._network(model, request.precision or "float32")
            device = self.worker.device
            probability = block_probability(
                block,
                held.offset,
                place,
                network,
                rule,
                device=device,
                memory_bytes=memory_budget(device),
                factor=tuple(request.resample),
            )
            return probability, model, rule, block[place.relative_to(held.offset).slices]

        def write(
            made: tuple[NDArray[np.uint8], Model, IntensityRule, NDArray[Any]],
        ) -> tuple[list[Any], dict[str, float]]:
            probability, model, rule, grey = made
            threshold = int((model.spec.get("metrics") or {}).get("threshold", POSITIVE))
            counts = block_signature(grey, probability, rule.low, rule.high, invert=rule.invert, threshold=threshold)
            image = write_block(self.worker.store, request.output.path, box, probability)
            signature = to_npz({"offset": np.array(box.offset), **counts})
            figures = {"foreground_share": float((probability >= 128).mean())}
            return [image, write_once(self.worker.store, part, signature)], figures

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

    def _tables(self, of: ArrayRef) -> Equalisation:
        """The CLAHE tables of a volume; those of the last few volumes are kept."""
        with self._lock:
            tables = self._equalisations.get(of.identity)
            if tables is None:
                data = self.worker.store.get(of.path)
                if sha256(data) != of.identity:
                    raise CorruptObject(f"{of.path} is not what was taken at ingest: submit the volume again")
                tables = self._equalisations[of.identity] = Equalisation.from_bytes(data)
            self._equalisations.move_to_end(of.identity)
            if len(self._equalisations) > TABLES_KEPT:
                self._equalisations.popitem(last=False)
            return tables

    def _network(self, model: Model, precision: str) -> nn.Module:
        """The model on the device; called on the device thread, which is the one that computes."""
        with self._lock:
            network = self._networks.get((model.digest, precision))
            if network is None:
                if self.worker.device == "cpu":
                    torch.set_num_threads(max(1, self.worker.threads))
                network = prepare(model.module(), self.worker.device, precision=precision)
                self._networks[model.digest, precision] = network
            return network


def main() -> int:
    """Serve until SIGTERM."""
    return serve(
        "segment",
        lambda server, worker: segment_pb2_grpc.add_SegmentServiceServicer_to_server(  # type: ignore[no-untyped-call]
            SegmentService(worker), server
        ),
    )
