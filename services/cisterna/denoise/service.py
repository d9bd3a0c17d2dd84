"""The gRPC face of denoising: references in, one block and its trust part written, a receipt."""

from __future__ import annotations

import grpc
import numpy as np
import torch
from numpy.typing import NDArray

from cisterna.denoise.apply import Denoiser, IntensityRange, average, denoise_detectors, prepare
from cisterna.denoise.trust import block_figures
from cisterna.denoise.trust_map import trust_part
from cisterna.denoise.upsampling import denoise_upsampled
from cisterna.rpc.pyramid import from_proto
from cisterna.rpc.server import Worker
from cisterna.store.arrays import read_reflected, write_block
from cisterna.store.parts import part_path, to_npz
from cisterna.store.receipts import Written, stage_folder, write_once
from cisterna.v1 import denoise_pb2_grpc
from cisterna.v1.common_pb2 import DownsampleBlockRequest, TaskReply
from cisterna.v1.denoise_pb2 import DenoiseBlockRequest

STAGE_VERSION = 2


class DenoiseService(denoise_pb2_grpc.DenoiseServiceServicer):
    """Denoises one block a call: each detector by itself, then their mean.

    Quality figures go into the receipt, scores of cubes and planes into `parts/<block>.npz` beside it.
    """

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self._denoisers: dict[tuple[str, str], Denoiser] = {}

    def DenoiseBlock(self, request: DenoiseBlockRequest, context: grpc.ServicerContext) -> TaskReply:
        store = self.worker.store
        part = part_path(f"{stage_folder(request.task.stage, request.task.stage_key)}/parts", request.task.block_index)

        def read() -> list[NDArray[np.generic]]:
            _check(request)
            return [read_reflected(store, i.array.path, from_proto(i.box), tuple(i.halo)) for i in request.inputs]

        def compute(detectors: list[NDArray[np.generic]]) -> tuple[NDArray[np.generic], bytes, dict[str, float]]:
            denoiser = self._denoiser(request)
            ranges = [IntensityRange(r.low, r.high, r.invert) for r in request.intensity]
            halo = tuple(request.inputs[0].halo)
            offset = np.array(request.inputs[0].box.offset)
            phase = offset + (request.region_offset or (0, 0, 0))
            factor = tuple(request.upsample)
            if factor:
                first = phase.tolist()
                cleaned = denoise_upsampled(detectors, halo, ranges, denoiser, factor, offset=first)
            else:
                cleaned = denoise_detectors(detectors, halo, ranges, denoiser, phase=phase.tolist())
            inner = tuple(slice(h, h + n) for h, n in zip(halo, cleaned.shape[1:], strict=True))
            raw = [d[inner] for d in detectors]
            scores = {"offset": offset, **trust_part(raw, list(cleaned), average(cleaned, np.dtype(np.float32)))}
            return average(cleaned, detectors[0].dtype), to_npz(scores), block_figures(raw, list(cleaned))

        def write(made: tuple[NDArray[np.generic], bytes, dict[str, float]]) -> tuple[list[Written], dict[str, float]]:
            block, scores, figures = made
            image = write_block(store, request.output.path, from_proto(request.inputs[0].box), block)
            return [image, write_once(store, part, scores)], figures

        box = from_proto(request.inputs[0].box) if request.inputs else None
        return self.worker.tasks.run(
            context,
            request.task,
            STAGE_VERSION,
            read=read,
            compute=compute,
            write=write,
            model=request.model.name,
            voxels=box.size if box is not None else 0,
        )

    def DownsampleBlock(self, request: DownsampleBlockRequest, context: grpc.ServicerContext) -> TaskReply:
        return self.worker.downsample(context, request)

    def _denoiser(self, request: DenoiseBlockRequest) -> Denoiser:
        """Runs on the device thread alone, so the cache needs no lock."""
        precision = request.precision or "float32"
        denoiser = self._denoisers.get((request.model.digest, precision))
        if denoiser is None:
            # On this thread, because OpenMP keeps the number per thread.
            torch.set_num_threads(max(1, self.worker.threads))
            model = self.worker.models(request.model.name, request.model.digest)
            denoiser = prepare(model, device=self.worker.device, precision=precision)
            self._denoisers[request.model.digest, precision] = denoiser
        return denoiser


def _check(request: DenoiseBlockRequest) -> None:
    if not request.inputs:
        raise ValueError("the request names no detector; give at least one input")
    first = request.inputs[0]
    if any(i.box != first.box or list(i.halo) != list(first.halo) for i in request.inputs):
        raise ValueError("the detectors of a block must share one box and one halo")
    if len(request.intensity) != len(request.inputs):
        raise ValueError(
            f"{len(request.inputs)} inputs and {len(request.intensity)} intensity ranges; give one range each"
        )
    if len(request.upsample) not in (0, 3):
        raise ValueError(f"upsampling names {len(request.upsample)} factors; give one per axis (z, y, x)")
    if len(request.region_offset) not in (0, 3):
        raise ValueError(f"the region's offset has {len(request.region_offset)} axes; give (z, y, x)")
    if len(first.box.offset) != 3 or len(first.halo) != 3:
        raise ValueError("a block to denoise has three axes (z, y, x) and a halo per axis")
