"""The ERnet service: frames from the store → Triton → class maps in the store. No torch here."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import grpc
import numpy as np
from numpy.typing import NDArray

from cisterna.chunks import Box
from cisterna.rpc import metrics
from cisterna.rpc.errors import TaskError
from cisterna.rpc.server import Worker, serve
from cisterna.store import ObjectStore, Written
from cisterna.store.arrays import open_level, read_box, write_block
from cisterna.v1 import common_pb2, ernet_pb2, ernet_pb2_grpc
from cisterna.v1.common_pb2 import Reason

from .frames import View, frame_window, resampling, segment_frame, view_of
from .triton_client import Triton, TritonBusy, TritonRefused, TritonUnavailable
from .triton_memory import memory_setting

STAGE_VERSION = 1
FAMILIES = ("ernet-swin2d", "ernet-swin3d")

Maps = tuple[NDArray[np.uint8], NDArray[np.uint8], int]
"""Classes and confidence of a block, and how many of the frames shown were an edge frame once more."""


@dataclass(frozen=True)
class Shown:
    """What a block is computed from: its frames and those around it inside the movie, (t, y, x) or (t, z, y, x)."""

    frames: NDArray[Any]
    first: int  # number of frames[0] in the movie
    count: int  # frames of the movie
    view: View
    factors: tuple[float, float]
    onnx: Mapping[str, Any]

    def window(self, frame: int) -> tuple[NDArray[np.intp], int]:
        """Places in `frames` of what labels a frame of the movie, and how many of them repeat an edge frame."""
        numbers = frame_window(frame, self.view.frames, self.count)
        return numbers - self.first, len(numbers) - len(np.unique(numbers))


class ErnetService(ernet_pb2_grpc.ErnetServiceServicer):
    def __init__(self, worker: Worker, triton: Triton) -> None:
        self.worker = worker
        self.triton = triton

    def SegmentFrames(self, request: ernet_pb2.SegmentFramesRequest, context: grpc.ServicerContext) -> Any:
        store = self.worker.store
        source = request.input
        box = Box(tuple(source.box.offset), tuple(source.box.shape))

        def read() -> Shown:
            if box.ndim not in (3, 4):
                raise ValueError(f"a block of frames has axes t,y,x or t,z,y,x; the request's box has {box.ndim}")
            model = self.worker.models(request.model.name, request.model.digest)
            if model.family not in FAMILIES:
                raise ValueError(f"model {model.name} is of family {model.family}; this service runs {FAMILIES}")
            around = (int(model.spec.get("temporal_context", 0)), *(0,) * (box.ndim - 1))
            halo = tuple(source.halo) or (0,) * box.ndim
            if halo != around:
                raise ValueError(f"model {model.name} needs a halo of {around} frames and pixels, not {halo}")
            shape = open_level(store, source.array.path).shape
            near = box.grow(around).intersect(Box.whole(shape))
            return Shown(
                read_box(store, source.array.path, near),
                near.offset[0],
                shape[0],
                view_of(model.spec),
                resampling(pixel_size_um(store, source.array.path), float(model.spec["pixel_size_um"])),
                model.spec["onnx"],
            )

        def compute(shown: Shown) -> Maps:
            network = self.network(request.model.name, shown.onnx)
            classes, confidence = np.empty(box.shape, np.uint8), np.empty(box.shape, np.uint8)
            repeated = 0
            for at in np.ndindex(box.shape[:-2]):  # (frame) or (frame, section) of the block
                numbers, edge = shown.window(box.offset[0] + at[0])
                repeated += edge
                classes[at], confidence[at] = segment_frame(
                    shown.frames[(numbers, *at[1:])],
                    request.stack_min,
                    request.stack_max,
                    network,
                    shown.factors,
                    view=shown.view,
                )
            return classes, confidence, repeated

        def write(maps: Maps) -> tuple[list[Written], dict[str, float]]:
            classes, confidence, repeated = maps
            written = [
                write_block(store, request.classes.path, box, classes),
                write_block(store, request.confidence.path, box, confidence),
            ]
            return written, figures(classes, confidence) | {"repeated_frames": float(repeated)}

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
            except TritonBusy as error:
                raise TaskError(Reason.REASON_BUSY, str(error), retry_after_s=1.0) from error
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
    metrics.start_triton_at_zero("ernet", ("reloaded", "loaded", "sent", "memory", "reconnected"))
    triton = Triton(triton_address(), memory_setting())
    code = serve(
        "ernet",
        lambda server, worker: ernet_pb2_grpc.add_ErnetServiceServicer_to_server(  # type: ignore[no-untyped-call]
            ErnetService(worker, triton), server
        ),
        probe=lambda worker: probe_of(triton),
    )
    triton.close()
    return code
