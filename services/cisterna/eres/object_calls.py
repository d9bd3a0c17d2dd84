"""The calls that make objects: probabilities to local labels, joined, cut apart, numbered, relabelled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import grpc
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cisterna.chunks import BlockGrid, Box
from cisterna.eres.components import LabelledBlock, Merged, label_block, merge_blocks
from cisterna.eres.er_form import RADIUS_NM, SEARCH_NM, ErForm, centred_in, measure_er_form
from cisterna.eres.er_form import halo_voxels as form_halo_voxels
from cisterna.eres.objects import objects_frame
from cisterna.eres.parts import (
    labelled_from_npz,
    labelled_to_npz,
    mapping_to_npz,
    numbered_from_npz,
    numbered_to_npz,
    outline_from_npz,
    outline_to_npz,
    relabel_from_npz,
    split_from_npz,
    split_to_npz,
    sums_from_npz,
    sums_to_npz,
    surroundings_to_npz,
)
from cisterna.eres.pieces import Numbered, Outline, SplitPart, number_objects, paint, parts_of_block, split_block
from cisterna.eres.profiles import REACH_NM, Measured, halo_voxels, measure_on_image
from cisterna.eres.requests import box_of, check_halo, same_box, voxel_size_of
from cisterna.eres.splitting import Splitting
from cisterna.eres.sums import ObjectSums
from cisterna.rpc.server import Worker
from cisterna.store import Written
from cisterna.store.arrays import open_level, read_box, write_block
from cisterna.store.parts import part_path
from cisterna.store.receipts import write_once
from cisterna.tables.volumes import OBJECTS
from cisterna.v1 import common_pb2, eres_pb2

STAGE_VERSIONS = {
    "eres-label": 2,
    "eres-merge": 2,
    "eres-split": 1,
    "eres-number": 1,
    "eres-relabel": 2,
    "eres-profile": 1,
}

MAPPING = "mapping.npz"
COMPONENTS_FILE = "components.npz"
OUTLINE_FILE = "outline.npz"
NUMBERING_FILE = "numbering.npz"
OBJECTS_FILE = "objects.parquet"

T = TypeVar("T")


class ObjectCalls:
    """The part of the exit-site service that makes objects."""

    worker: Worker
    decoded: Callable[[str, Callable[[bytes], Any]], Any]

    def LabelBlock(self, request: eres_pb2.LabelBlockRequest, context: grpc.ServicerContext) -> Any:
        store, box = self.worker.store, box_of(request.probability)
        path = request.probability.array.path

        def read() -> tuple[NDArray[Any], tuple[int, ...]]:
            return self._probability(path, box), open_level(store, path).shape

        def compute(data: tuple[NDArray[Any], tuple[int, ...]]) -> tuple[NDArray[np.uint32], LabelledBlock]:
            return label_block(data[0], request.threshold, box, data[1])

        def write(result: tuple[NDArray[np.uint32], LabelledBlock]) -> tuple[list[Written], dict[str, float]]:
            labels, part = result
            written = [
                write_block(store, request.local_labels.path, box, labels),
                write_once(store, part_path(request.parts.path, request.task.block_index), labelled_to_npz(part)),
            ]
            return written, {"components": len(part.sums), "positive_share": float((labels > 0).mean())}

        return self._object_task(context, request.task, "eres-label", read, compute, write, box.size)

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
            folder = request.merged.path
            written = [
                write_once(store, f"{folder}/{OBJECTS_FILE}", table),
                write_once(store, f"{folder}/{MAPPING}", mapping_to_npz(merged)),
                write_once(store, f"{folder}/{COMPONENTS_FILE}", sums_to_npz(merged.sums)),
                write_once(store, f"{folder}/{OUTLINE_FILE}", outline_to_npz(Outline.of(merged.sums))),
            ]
            return written, {"objects": len(merged.sums), "components": len(merged.ids)}

        return self._object_task(context, request.task, "eres-merge", read, compute, write)

    def SplitBlock(self, request: eres_pb2.SplitBlockRequest, context: grpc.ServicerContext) -> Any:
        store, box = self.worker.store, box_of(request.probability)
        path = request.probability.array.path

        def read() -> Outline:
            return self.decoded(f"{request.merged.path}/{OUTLINE_FILE}", outline_from_npz)  # type: ignore[no-any-return]

        def compute(outline: Outline) -> SplitPart:
            # Reading waits until it is known how far each component reaches.
            return split_block(
                outline,
                box,
                lambda window: self._probability(path, window),
                request.threshold,
                voxel_size_of(request.voxel_size_nm),
                open_level(store, path).shape,
                Splitting.from_json(request.splitting_json),
                max(1, request.min_voxels),
            )

        def write(part: SplitPart) -> tuple[list[Written], dict[str, float]]:
            stored = write_once(store, part_path(request.parts.path, request.task.block_index), split_to_npz(part))
            return [stored], {"cut": float(len(np.unique(part.component))), "pieces": float(len(part.component))}

        return self._object_task(context, request.task, "eres-split", read, compute, write, box.size)

    def NumberObjects(self, request: eres_pb2.NumberObjectsRequest, context: grpc.ServicerContext) -> Any:
        store, shape = self.worker.store, tuple(request.volume_shape)

        def read() -> tuple[ObjectSums, list[SplitPart]]:
            sums = self.decoded(f"{request.merged.path}/{COMPONENTS_FILE}", sums_from_npz)
            parts = range(request.blocks)
            return sums, [self.decoded(part_path(request.split_parts.path, n), split_from_npz) for n in parts]

        def compute(data: tuple[ObjectSums, list[SplitPart]]) -> tuple[Numbered, bytes]:
            numbered = number_objects(*data)
            frame = objects_frame(request.class_name, numbered.sums, voxel_size_of(request.voxel_size_nm), shape)
            return numbered, OBJECTS.to_parquet_bytes(frame)

        def write(result: tuple[Numbered, bytes]) -> tuple[list[Written], dict[str, float]]:
            numbered, table = result
            folder = request.numbered.path
            written = [
                write_once(store, f"{folder}/{OBJECTS_FILE}", table),
                write_once(store, f"{folder}/{NUMBERING_FILE}", numbered_to_npz(numbered)),
            ]
            return written, {"objects": len(numbered.sums), "cut": len(numbered.cut_part)}

        return self._object_task(context, request.task, "eres-number", read, compute, write)

    def RelabelBlock(self, request: eres_pb2.RelabelBlockRequest, context: grpc.ServicerContext) -> Any:
        store, box = self.worker.store, box_of(request.local_labels)
        block = request.task.block_index

        def read() -> NDArray[np.uint32]:
            path = request.local_labels.array.path
            local = read_box(store, path, box)
            mapping = f"{request.merged.path}/{MAPPING}"
            labels: NDArray[np.uint32] = self.decoded(mapping, lambda data: relabel_from_npz(data, block, local))
            if not request.numbered.path:
                return labels
            numbered = self.decoded(f"{request.numbered.path}/{NUMBERING_FILE}", numbered_from_npz)
            parts = [
                (n, self.decoded(part_path(request.split_parts.path, n), split_from_npz))
                for n in parts_of_block(numbered, box)
            ]
            return paint(numbered, labels, box, open_level(store, path).shape, parts)

        def write(result: NDArray[np.uint32]) -> list[Written]:
            return [write_block(store, request.labels.path, box, result)]

        return self._object_task(context, request.task, "eres-relabel", read, lambda data: data, write, box.size)

    def ProfileBlock(self, request: eres_pb2.ProfileBlockRequest, context: grpc.ServicerContext) -> Any:
        store, box = self.worker.store, box_of(request.labels)
        size = voxel_size_of(request.voxel_size_nm)

        def read() -> tuple[pd.DataFrame, NDArray[Any], NDArray[Any], Box, NDArray[np.bool_] | None, Box]:
            shape = open_level(store, request.labels.array.path).shape
            window = box.grow(halo_voxels(size)).intersect(Box.whole(shape))
            check_halo(request.labels, halo_voxels(size), REACH_NM)
            labels = read_box(store, request.labels.array.path, window)
            image = read_box(store, same_box(request.image, box).array.path, window)
            objects = self.decoded(request.objects.path, OBJECTS.from_parquet_bytes)
            around = box.grow(form_halo_voxels(size)).intersect(Box.whole(shape))
            er = None
            if request.er_labels.array.path:
                check_halo(request.er_labels, form_halo_voxels(size), SEARCH_NM + RADIUS_NM)
                # Nobody asks about the ER of a block without objects.
                if len(centred_in(objects, box, size)):
                    er = read_box(store, same_box(request.er_labels, box).array.path, around) != 0
            return objects, labels, image, window, er, around

        def compute(
            data: tuple[pd.DataFrame, NDArray[Any], NDArray[Any], Box, NDArray[np.bool_] | None, Box],
        ) -> tuple[Measured, ErForm]:
            objects, labels, image, window, er, around = data
            core = box.relative_to(window.offset)
            found = measure_on_image(objects, labels, image, core, window.offset, size, request.invert)
            if er is None:
                return found, ErForm.none()
            return found, measure_er_form(objects, er, box.relative_to(around.offset), around.offset, size)

        def write(result: tuple[Measured, ErForm]) -> tuple[list[Written], dict[str, float]]:
            found = result[0]
            path = part_path(request.parts.path, request.task.block_index)
            measures = {"objects": len(found.object_id), "diameters": float(np.isfinite(found.diameter_nm).sum())}
            return [write_once(store, path, surroundings_to_npz(*result))], measures

        return self._object_task(context, request.task, "eres-profile", read, compute, write, box.size)

    def _probability(self, path: str, box: Box) -> NDArray[np.uint8]:
        probability: NDArray[np.uint8] = read_box(self.worker.store, path, box)
        if probability.dtype != np.uint8:
            raise ValueError(f"{path} holds {probability.dtype}: probabilities are uint8 (round(p × 255))")
        return probability

    def _object_task(
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
