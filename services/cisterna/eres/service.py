"""The exit-site service: probabilities and labels from the store → parts, labels and tables in the store."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import grpc
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cisterna.chunks import BlockGrid, Box
from cisterna.eres.components import LabelledBlock, Merged, label_block, merge_blocks
from cisterna.eres.distances import Distances, measure_block
from cisterna.eres.objects import objects_frame
from cisterna.eres.parts import (
    from_npz,
    labelled_from_npz,
    labelled_to_npz,
    mapping_to_npz,
    relabel_from_npz,
    to_npz,
)
from cisterna.eres.rules import Rules
from cisterna.eres.sites import Sites, classify
from cisterna.rpc.server import Worker, serve
from cisterna.store import CorruptObject, Written
from cisterna.store.arrays import open_level, read_box, write_block
from cisterna.store.objects import json_bytes
from cisterna.store.receipts import write_once
from cisterna.tables.volumes import LINKS, OBJECTS, SITES
from cisterna.v1 import common_pb2, eres_pb2, eres_pb2_grpc

STAGE_VERSIONS = {"eres-label": 2, "eres-merge": 2, "eres-relabel": 2, "eres-measure": 2, "eres-sites": 2}

MAPPING = "mapping.npz"
OBJECTS_FILE = "objects.parquet"

T = TypeVar("T")


@dataclass(frozen=True)
class _Window:
    vesicles: NDArray[Any]
    tubular: NDArray[Any]
    er: NDArray[np.bool_]
    golgi: NDArray[np.bool_] | None
    core: Box


class EresService(eres_pb2_grpc.EresServiceServicer):
    def __init__(self, worker: Worker) -> None:
        self.worker = worker

    def LabelBlock(self, request: eres_pb2.LabelBlockRequest, context: grpc.ServicerContext) -> Any:
        store, box = self.worker.store, _box(request.probability)

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
                write_once(store, _part(request.parts.path, request.task.block_index), labelled_to_npz(part)),
            ]
            return written, {"components": len(part.sums), "positive_share": float((labels > 0).mean())}

        return self._run(context, request.task, "eres-label", read, compute, write, box.size)

    def MergeObjects(self, request: eres_pb2.MergeObjectsRequest, context: grpc.ServicerContext) -> Any:
        store, shape = self.worker.store, tuple(request.volume_shape)

        def read() -> list[LabelledBlock]:
            return [self._decode(_part(request.parts.path, n), labelled_from_npz) for n in range(request.blocks)]

        def compute(blocks: list[LabelledBlock]) -> tuple[Merged, bytes]:
            merged = merge_blocks(blocks, BlockGrid(shape, tuple(request.block_shape)), max(1, request.min_voxels))
            frame = objects_frame(request.class_name, merged.sums, _three(request.voxel_size_nm), shape)
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
        store, box = self.worker.store, _box(request.local_labels)
        mapping = f"{request.merged.path}/{MAPPING}"

        def read() -> tuple[NDArray[Any], NDArray[np.uint32]]:
            local = read_box(store, request.local_labels.array.path, box)
            return local, self._decode(mapping, lambda data: relabel_from_npz(data, request.task.block_index, local))

        def write(result: NDArray[np.uint32]) -> list[Written]:
            return [write_block(store, request.labels.path, box, result)]

        return self._run(context, request.task, "eres-relabel", read, lambda data: data[1], write, box.size)

    def MeasureBlock(self, request: eres_pb2.MeasureBlockRequest, context: grpc.ServicerContext) -> Any:
        store, box = self.worker.store, _box(request.vesicle_labels)
        golgi_given = bool(request.golgi_labels.array.path)

        def read() -> tuple[_Window, Rules]:
            rules = Rules.from_json(request.rules_json)
            need = rules.halo_voxels(_three(request.voxel_size_nm))
            halo = tuple(request.vesicle_labels.halo) or (0, 0, 0)
            if any(h < n for h, n in zip(halo, need, strict=True)):
                raise ValueError(
                    f"halo {halo} is below {need}: the rules measure up to {rules.reach_nm():g} nm; "
                    "plan the stage with Rules.halo_voxels"
                )
            # Not reflected: a mirrored object would be a neighbour that does not exist.
            window = box.grow(need).intersect(Box.whole(open_level(store, request.vesicle_labels.array.path).shape))

            def labels(ref: common_pb2.ChunkRef) -> NDArray[Any]:
                if _box(ref) != box:
                    raise ValueError(
                        f"{ref.array.path}: all classes of one task need one box, got {_box(ref)} and {box}"
                    )
                return read_box(store, ref.array.path, window)

            return (
                _Window(
                    labels(request.vesicle_labels),
                    labels(request.tubular_labels),
                    labels(request.er_labels) != 0,
                    labels(request.golgi_labels) != 0 if golgi_given else None,
                    box.relative_to(window.offset),
                ),
                rules,
            )

        def compute(data: tuple[_Window, Rules]) -> Distances:
            w, rules = data
            return measure_block(w.vesicles, w.tubular, w.er, w.golgi, w.core, _three(request.voxel_size_nm), rules)

        def write(found: Distances) -> tuple[list[Written], dict[str, float]]:
            arrays = {**found.arrays(), "golgi_given": np.array([golgi_given])}
            path = _part(request.parts.path, request.task.block_index)
            pairs = len(found.vesicle_vesicle.nm) + len(found.tubular_tubular.nm) + len(found.vesicle_tubular.nm)
            return [write_once(store, path, to_npz(arrays))], {"pairs": pairs}

        return self._run(context, request.task, "eres-measure", read, compute, write, box.size)

    def ClassifySites(self, request: eres_pb2.ClassifySitesRequest, context: grpc.ServicerContext) -> Any:
        store = self.worker.store

        def read() -> tuple[pd.DataFrame, pd.DataFrame, list[Distances], bool]:
            parts, given = [], False
            for n in range(request.blocks):
                arrays = self._decode(_part(request.parts.path, n), from_npz)
                given = given or bool(arrays["golgi_given"][0])
                parts.append(Distances.from_arrays(arrays))
            vesicles, tubular = (
                self._decode(ref.path, OBJECTS.from_parquet_bytes)
                for ref in (request.vesicle_objects, request.tubular_objects)
            )
            return vesicles, tubular, parts, given

        def compute(data: tuple[pd.DataFrame, pd.DataFrame, list[Distances], bool]) -> Sites:
            vesicles, tubular, parts, given = data
            rules = Rules.from_json(request.rules_json)
            size = _three(request.voxel_size_nm)
            return classify(vesicles, tubular, Distances.joined(parts), size, tuple(request.volume_shape), rules, given)

        def write(sites: Sites) -> tuple[list[Written], dict[str, float]]:
            folder = request.output.path
            written = [
                write_once(store, f"{folder}/{table.name}.parquet", table.to_parquet_bytes(frame))
                for table, frame in ((OBJECTS, sites.objects), (SITES, sites.sites), (LINKS, sites.links))
            ]
            written.append(write_once(store, f"{folder}/counts.json", json_bytes(sites.counts)))
            written.append(write_once(store, f"{folder}/rules.json", json_bytes(sites.document())))
            return written, {name: float(n) for name, n in sites.counts.items()}

        return self._run(context, request.task, "eres-sites", read, compute, write)

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

    def _decode(self, path: str, decode: Callable[[bytes], T]) -> T:
        """An object through its decoder; CorruptObject names the object that does not decode."""
        data = self.worker.store.get(path)
        try:
            return decode(data)
        except ValueError as error:  # pyarrow's errors are ValueErrors too
            raise CorruptObject(f"{path} does not decode: {error}") from error


def _box(ref: common_pb2.ChunkRef) -> Box:
    box = Box(tuple(ref.box.offset), tuple(ref.box.shape))
    if box.ndim != 3:
        raise ValueError(f"{ref.array.path}: a block of a volume has axes z,y,x; the request's box has {box.ndim}")
    return box


def _three(values: Any) -> tuple[float, float, float]:
    size = tuple(float(v) for v in values)
    if len(size) != 3 or not all(np.isfinite(v) and v > 0 for v in size):
        raise ValueError(f"voxel_size_nm = {size}: give three positive lengths in nm, z, y, x")
    return size[0], size[1], size[2]


def _part(folder: str, block: int) -> str:
    return f"{folder}/{block:08d}.npz"


def main() -> int:
    return serve(
        "eres",
        lambda server, worker: eres_pb2_grpc.add_EresServiceServicer_to_server(  # type: ignore[no-untyped-call]
            EresService(worker), server
        ),
    )
