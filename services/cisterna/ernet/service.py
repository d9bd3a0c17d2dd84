"""The ERnet service: frames from the store → Triton → class maps in the store. No torch here."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from typing import Any

import grpc
import numpy as np
from numpy.typing import NDArray

from cisterna.chunks import Box
from cisterna.rpc import metrics
from cisterna.rpc.errors import TaskError
from cisterna.rpc.server import Worker, serve
from cisterna.store import ObjectStore, Written
from cisterna.store.arrays import read_box, write_block
from cisterna.v1 import common_pb2, ernet_pb2, ernet_pb2_grpc
from cisterna.v1.common_pb2 import Reason

from .frames import resampling, segment_frame
from .triton_client import Triton, TritonRefused, TritonUnavailable

STAGE_VERSION = 1
FAMILY = "ernet-swin2d"

Maps = tuple[NDArray[np.uint8], NDArray[np.uint8]]


class ErnetService(ernet_pb2_grpc.ErnetServiceServicer):
    def __init__(self, worker: Worker, triton: Triton) -> None:
        self.worker = worker
        self.triton = triton

    def SegmentFrames(self, request: ernet_pb2.SegmentFramesRequest, context: grpc.ServicerContext) -> Any:
        store = self.worker.store
        source = request.input
        box = Box(tuple(source.box.offset), tuple(source.box.shape))

        def read() -> tuple[NDArray[Any], tuple[float, float], Mapping[str, Any]]:
            if box.ndim not in (3, 4):
                raise ValueError(f"a block of frames has axes t,y,x or t,z,y,x; the request's box has {box.ndim}")
            model = self.worker.models(request.model.name, request.model.digest)
            if model.family != FAMILY:
                raise ValueError(f"model {model.name} is of family {model.family}; this service runs {FAMILY}")
            if any(source.halo):
                raise ValueError(f"model {model.name} sees one frame at a time; the halo must be 0, not {source.halo}")
            factors = resampling(pixel_size_um(store, source.array.path), float(model.spec["pixel_size_um"]))
            return read_box(store, source.array.path, box), factors, model.spec["onnx"]

        def compute(data: tuple[NDArray[Any], tuple[float, float], Mapping[str, Any]]) -> Maps:
            frames, factors, entry = data
            network = self.network(request.model.name, entry)
            flat = frames.reshape(-1, *frames.shape[-2:])
            maps = [segment_frame(frame, request.stack_min, request.stack_max, network, factors) for frame in flat]
            classes, confidence = (np.stack(part).reshape(frames.shape) for part in zip(*maps, strict=True))
            return classes, confidence

        def write(maps: Maps) -> tuple[list[Written], dict[str, float]]:
            classes, confidence = maps
            written = [
                write_block(store, request.classes.path, box, classes),
                write_block(store, request.confidence.path, box, confidence),
            ]
            return written, figures(classes, confidence)

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

    def DownsampleBlock(self, request: common_pb2.DownsampleBlockRequest, context: grpc.ServicerContext) -> Any:
        return self.worker.downsample(context, request)

    def network(self, model: str, entry: Mapping[str, Any]) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
        """The model as a callable; `entry` is the `onnx` of its model.json (file, sha256)."""

        def onnx() -> bytes:
            return self.worker.store.get(f"models/{model}/{entry['file']}")

        def infer(frames: NDArray[np.float32]) -> NDArray[np.float32]:
            try:
                return self.triton.infer(model, frames, entry["sha256"], onnx)
            except TritonUnavailable as error:
                metrics.TRITON_HEALTHY.labels("ernet").set(0)
                raise TaskError(Reason.REASON_TRITON_UNAVAILABLE, str(error), retry_after_s=1.0) from error
            except TritonRefused as error:
                raise TaskError(Reason.REASON_MODEL_MISMATCH, str(error)) from error

        return infer


def pixel_size_um(store: ObjectStore, level_path: str) -> tuple[float, float]:
    """(y, x) of one level of an image of ours, whose OME metadata is in µm."""
    image, level = level_path.rsplit("/", 1)
    (multiscale,) = json.loads(store.get(f"{image}/zarr.json"))["attributes"]["ome"]["multiscales"]
    for dataset in multiscale["datasets"]:
        if dataset["path"] == level:
            scale = dataset["coordinateTransformations"][0]["scale"]
            return float(scale[-2]), float(scale[-1])
    raise ValueError(f"{image} has no level {level}")


def figures(classes: NDArray[np.uint8], confidence: NDArray[np.uint8]) -> dict[str, float]:
    """What the receipt says of a block: mean confidence and the share of pixels of each class, 0 to 1."""
    shares = np.bincount(classes.reshape(-1), minlength=4) / classes.size
    return {
        "mean_confidence": float(confidence.mean()) / 255,
        "background_share": float(shares[0]),
        "sbt_share": float(shares[1]),
        "tubule_share": float(shares[2]),
        "sheet_share": float(shares[3]),
    }


def triton_address() -> str:
    address = os.environ.get("CISTERNA_TRITON", "")
    if not address:
        raise SystemExit("ernet: set CISTERNA_TRITON to host:port of Triton's gRPC endpoint, e.g. 127.0.0.1:8001")
    return address


def probe_of(triton: Triton) -> Callable[[], bool]:
    """The check behind this service's health: Triton answers a small inference."""

    def healthy() -> bool:
        answers = triton.healthy()
        metrics.TRITON_HEALTHY.labels("ernet").set(1 if answers else 0)
        return answers

    return healthy


def main() -> int:
    triton = Triton(triton_address())
    return serve(
        "ernet",
        lambda server, worker: ernet_pb2_grpc.add_ErnetServiceServicer_to_server(  # type: ignore[no-untyped-call]
            ErnetService(worker, triton), server
        ),
        probe=lambda worker: probe_of(triton),
    )
