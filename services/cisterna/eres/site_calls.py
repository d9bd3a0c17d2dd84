"""The calls that come after the objects: distances, regions, sites. References in, parts and tables out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import grpc
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cisterna.chunks import Box
from cisterna.eres.distances import measure_block, measure_regions
from cisterna.eres.er_form import ErForm
from cisterna.eres.least_distances import Distances, Pairs, least_pairs
from cisterna.eres.parts import surroundings_from_npz
from cisterna.eres.profiles import Measured
from cisterna.eres.requests import box_of, check_halo, same_box, voxel_size_of
from cisterna.eres.rules import Rules
from cisterna.eres.sites import Sites, classify, region_members
from cisterna.rpc.server import Worker
from cisterna.store import CorruptObject, Written
from cisterna.store.arrays import open_level, read_box
from cisterna.store.objects import json_bytes
from cisterna.store.parts import from_npz, part_path, to_npz
from cisterna.store.receipts import write_once
from cisterna.tables.volumes import LINKS, OBJECTS, SITES
from cisterna.v1 import common_pb2, eres_pb2

STAGE_VERSIONS = {"eres-measure": 2, "eres-regions": 2, "eres-region": 2, "eres-sites": 2}

MEMBERS_FILE = "members.npz"

T = TypeVar("T")


@dataclass(frozen=True)
class _Window:
    vesicles: NDArray[Any]
    tubular: NDArray[Any]
    er: NDArray[np.bool_]
    golgi: NDArray[np.bool_] | None
    overlap: NDArray[np.bool_] | None
    core: Box


class SiteCalls:
    """The part of the exit-site service that measures and classifies."""

    worker: Worker

    def MeasureBlock(self, request: eres_pb2.MeasureBlockRequest, context: grpc.ServicerContext) -> Any:
        store, box = self.worker.store, box_of(request.vesicle_labels)
        golgi_given = bool(request.golgi_labels.array.path)
        size = voxel_size_of(request.voxel_size_nm)

        def read() -> tuple[_Window, Rules]:
            rules = Rules.from_json(request.rules_json).widened(request.widened or 1.0)
            from_mask = rules.golgi_from_mask(golgi_given)
            excludes = rules.check_overlap(bool(request.overlap_labels.array.path))
            need = rules.object_halo_voxels(size, from_mask)
            check_halo(request.vesicle_labels, need, rules.object_reach_nm(from_mask))
            # Not reflected: a mirrored object would be a neighbour that does not exist.
            window = box.grow(need).intersect(Box.whole(open_level(store, request.vesicle_labels.array.path).shape))

            def labels(ref: common_pb2.ChunkRef) -> NDArray[Any]:
                return read_box(store, same_box(ref, box).array.path, window)

            return (
                _Window(
                    labels(request.vesicle_labels),
                    labels(request.tubular_labels),
                    labels(request.er_labels) != 0,
                    labels(request.golgi_labels) != 0 if from_mask else None,
                    labels(request.overlap_labels) != 0 if excludes else None,
                    box.relative_to(window.offset),
                ),
                rules,
            )

        def compute(data: tuple[_Window, Rules]) -> Distances:
            w, rules = data
            return measure_block(w.vesicles, w.tubular, w.er, w.golgi, w.core, size, rules, w.overlap)

        def write(found: Distances) -> tuple[list[Written], dict[str, float]]:
            arrays = {**found.arrays(), "golgi_given": np.array([golgi_given])}
            path = part_path(request.parts.path, request.task.block_index)
            pairs = len(found.vesicle_vesicle.nm) + len(found.tubular_tubular.nm) + len(found.vesicle_tubular.nm)
            return [write_once(store, path, to_npz(arrays))], {"pairs": pairs}

        return self._site_task(context, request.task, "eres-measure", read, compute, write, box.size)

    def FindRegions(self, request: eres_pb2.FindRegionsRequest, context: grpc.ServicerContext) -> Any:
        store = self.worker.store

        def read() -> tuple[pd.DataFrame, Pairs]:
            frame = self.decoded(request.vesicle_objects.path, OBJECTS.from_parquet_bytes)
            return frame, self.measured(request.parts.path, request.blocks)[0].vesicle_vesicle

        def compute(data: tuple[pd.DataFrame, Pairs]) -> dict[str, NDArray[Any]]:
            rules = Rules.from_json(request.rules_json)
            ids, low, high = region_members(data[0], data[1], rules, request.widened or 1.0)
            return {"object_id": ids, "low_nm": low, "high_nm": high}

        def write(found: dict[str, NDArray[Any]]) -> tuple[list[Written], dict[str, float]]:
            path = f"{request.output.path}/{MEMBERS_FILE}"
            return [write_once(store, path, to_npz(found))], {"members": len(found["object_id"])}

        return self._site_task(context, request.task, "eres-regions", read, compute, write)

    def MeasureRegions(self, request: eres_pb2.MeasureRegionsRequest, context: grpc.ServicerContext) -> Any:
        store, box = self.worker.store, box_of(request.vesicle_labels)
        size = voxel_size_of(request.voxel_size_nm)

        def read() -> tuple[NDArray[np.int64], NDArray[Any] | None, Box, Rules]:
            rules = Rules.from_json(request.rules_json).widened(request.widened or 1.0)
            need = rules.halo_voxels(size)
            check_halo(request.vesicle_labels, need, rules.reach_nm())
            members = self.decoded(f"{request.regions.path}/{MEMBERS_FILE}", from_npz)
            first, end = np.asarray(box.offset) * size, np.asarray(box.end) * size
            here = np.all((members["low_nm"] < end) & (members["high_nm"] > first), axis=1)  # type: ignore[operator]
            ids = members["object_id"][here].astype(np.int64)
            window = box.grow(need).intersect(Box.whole(open_level(store, request.vesicle_labels.array.path).shape))
            labels = read_box(store, request.vesicle_labels.array.path, window) if len(ids) else None
            return ids, labels, box.relative_to(window.offset), rules

        def compute(data: tuple[NDArray[np.int64], NDArray[Any] | None, Box, Rules]) -> Pairs:
            ids, labels, core, rules = data
            return least_pairs([]) if labels is None else measure_regions(labels, ids, core, size, rules)

        def write(found: Pairs) -> tuple[list[Written], dict[str, float]]:
            arrays = {"a": found.a, "b": found.b, "nm": found.nm}
            path = part_path(request.parts.path, request.task.block_index)
            return [write_once(store, path, to_npz(arrays))], {"pairs": len(found.nm)}

        return self._site_task(context, request.task, "eres-region", read, compute, write, box.size)

    def ClassifySites(self, request: eres_pb2.ClassifySitesRequest, context: grpc.ServicerContext) -> Any:
        store = self.worker.store

        def read() -> tuple[pd.DataFrame, pd.DataFrame, Distances, bool]:
            distances, given = self.distances(request.parts.path, request.region_parts.path, request.blocks)
            vesicles, tubular = (
                self._with_profiles(self.decoded(ref.path, OBJECTS.from_parquet_bytes), parts.path, request.blocks)
                for ref, parts in (
                    (request.vesicle_objects, request.vesicle_profiles),
                    (request.tubular_objects, request.tubular_profiles),
                )
            )
            return vesicles, tubular, distances, given

        def compute(data: tuple[pd.DataFrame, pd.DataFrame, Distances, bool]) -> Sites:
            vesicles, tubular, distances, given = data
            rules = Rules.from_json(request.rules_json)
            size = voxel_size_of(request.voxel_size_nm)
            if not request.region_parts.path and not rules.golgi_from_mask(given):
                raise ValueError("region_parts is unset: without a Golgi segmentation the rules need MeasureRegions")
            return classify(vesicles, tubular, distances, size, tuple(request.volume_shape), rules, given)

        def write(sites: Sites) -> tuple[list[Written], dict[str, float]]:
            folder = request.output.path
            written = [
                write_once(store, f"{folder}/{table.name}.parquet", table.to_parquet_bytes(frame))
                for table, frame in ((OBJECTS, sites.objects), (SITES, sites.sites), (LINKS, sites.links))
            ]
            written.append(write_once(store, f"{folder}/counts.json", json_bytes(sites.counts)))
            written.append(write_once(store, f"{folder}/rules.json", json_bytes(sites.document())))
            return written, {name: float(n) for name, n in sites.counts.items()}

        return self._site_task(context, request.task, "eres-sites", read, compute, write)

    def _with_profiles(self, objects: pd.DataFrame, folder: str, blocks: int) -> pd.DataFrame:
        """The objects of one class with what the image and the ER say of them, where these were asked."""
        if not folder:
            return objects
        parts = [self.decoded(part_path(folder, n), surroundings_from_npz) for n in range(blocks)]
        seen = Measured.joined([p[0] for p in parts]).fill(objects)
        return ErForm.joined([p[1] for p in parts]).fill(seen)

    def measured(self, folder: str, blocks: int) -> tuple[Distances, bool]:
        """Distances of all blocks joined, and whether they include a Golgi segmentation."""
        parts, given = [], False
        for n in range(blocks):
            arrays = self.decoded(part_path(folder, n), from_npz)
            given = given or bool(arrays["golgi_given"][0])
            parts.append(Distances.from_arrays(arrays))
        return Distances.joined(parts), given

    def distances(self, measured: str, regions: str, blocks: int) -> tuple[Distances, bool]:
        """The same with the distances to Golgi-like regions, where these were measured."""
        found, given = self.measured(measured, blocks)
        if regions:
            parts = [self.decoded(part_path(regions, n), _pairs_from_npz) for n in range(blocks)]
            found = replace(found, vesicle_region=least_pairs(parts))
        return found, given

    def decoded(self, path: str, decode: Callable[[bytes], T]) -> T:
        """An object through its decoder; CorruptObject names the object that does not decode."""
        data = self.worker.store.get(path)
        try:
            return decode(data)
        except ValueError as error:  # pyarrow's errors are ValueErrors too
            raise CorruptObject(f"{path} does not decode: {error}") from error

    def _site_task(
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


def _pairs_from_npz(data: bytes) -> Pairs:
    arrays = from_npz(data)
    try:
        return Pairs(arrays["a"], arrays["b"], arrays["nm"])  # type: ignore[arg-type]
    except KeyError as error:
        raise ValueError(f"a part of distances to regions lacks the array {error}") from error
