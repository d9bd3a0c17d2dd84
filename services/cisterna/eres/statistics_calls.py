"""The calls behind the statistics of sites: a survey of every block, then the tables. References in, tables out."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import grpc
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cisterna.chunks import Box
from cisterna.eres.least_distances import Distances
from cisterna.eres.requests import box_of, check_halo, same_box, voxel_size_of
from cisterna.eres.rules import Rules
from cisterna.eres.sensitivity import Variant
from cisterna.eres.site_calls import SiteCalls
from cisterna.eres.statistics import SiteStatistics, region_objects, summarise
from cisterna.eres.survey import Groups, Masks, Survey, region_reach_nm, survey_block, survey_reach_nm
from cisterna.store import Written
from cisterna.store.arrays import open_level, read_box
from cisterna.store.objects import json_bytes
from cisterna.store.parts import from_npz, part_path, to_npz
from cisterna.store.receipts import write_once
from cisterna.tables.statistics import CHANCE, DENSITIES, EFFECTS, SENSITIVITY
from cisterna.tables.volumes import OBJECTS, SITES, TUBULAR, VESICLES
from cisterna.v1 import common_pb2, eres_pb2

STAGE_VERSIONS = {"eres-survey": 2, "eres-statistics": 2}

POSITIVE = 128
"""A mask given as an array holds probabilities: half of 255 and more is inside."""


@dataclass(frozen=True)
class _Surroundings:
    masks: Masks
    core: Box
    offset: tuple[int, ...]
    reference: tuple[NDArray[np.bool_], tuple[int, ...]] | None
    groups: Groups
    rules: Rules


class StatisticsCalls(SiteCalls):
    """The part of the exit-site service that surveys and summarises."""

    def SurveyBlock(self, request: eres_pb2.SurveyBlockRequest, context: grpc.ServicerContext) -> Any:
        store, box = self.worker.store, box_of(request.er_labels)
        size, shape = voxel_size_of(request.voxel_size_nm), tuple(request.volume_shape)

        def read() -> _Surroundings:
            rules = Rules.from_json(request.rules_json)
            reach, far = survey_reach_nm(rules), max(survey_reach_nm(rules), region_reach_nm(rules))
            need, far_need = (tuple(int(np.ceil(r / s)) for s in size) for r in (reach, far))
            check_halo(request.er_labels, far_need, far)
            whole = Box.whole(open_level(store, request.er_labels.array.path).shape)
            window, wide = (box.grow(n).intersect(whole) for n in (need, far_need))

            def voxels(ref: common_pb2.ChunkRef, where: Box) -> NDArray[Any]:
                return read_box(store, same_box(ref, box).array.path, where)

            def mask(ref: common_pb2.ChunkRef, least: int) -> NDArray[np.bool_] | None:
                return voxels(ref, window) >= least if ref.array.path else None

            objects, sites = self._site_tables(request.sites.path)
            masks = Masks(
                voxels(request.er_labels, window) != 0,
                voxels(request.tubular_labels, window) != 0,
                mask(request.golgi_labels, 1),
                mask(request.cell, POSITIVE),
                mask(request.organelles, POSITIVE),
            )
            if rules.golgi_from_mask(bool(request.golgi_labels.array.path)):
                near = voxels(request.golgi_labels, wide) != 0
            else:
                near = _region_near(objects, sites, wide, size, lambda: voxels(request.vesicle_labels, wide))
            reference = (near, wide.offset) if near is not None and near.any() else None
            groups = Groups.of_tables(objects, sites, rules).several()
            return _Surroundings(masks, box.relative_to(window.offset), window.offset, reference, groups, rules)

        def compute(s: _Surroundings) -> Survey:
            return survey_block(
                s.masks, s.core, s.offset, shape, size, s.rules, s.groups, request.places, request.seed, s.reference
            )

        def write(found: Survey) -> tuple[list[Written], dict[str, float]]:
            path = part_path(request.parts.path, request.task.block_index)
            figures = {"places": float(len(found.place)), "balls": float(len(found.ball))}
            return [write_once(store, path, to_npz(found.arrays()))], figures

        return self._statistics_task(context, request.task, "eres-survey", read, compute, write, box.size)

    def SummariseSites(self, request: eres_pb2.SummariseSitesRequest, context: grpc.ServicerContext) -> Any:
        store, size = self.worker.store, voxel_size_of(request.voxel_size_nm)

        def read() -> tuple[pd.DataFrame, pd.DataFrame, Distances, bool, Survey, list[Variant]]:
            objects, sites = self._site_tables(request.sites.path)
            distances, given = self.distances(request.measure_parts.path, request.region_parts.path, request.blocks)
            parts = (
                self.decoded(part_path(request.survey_parts.path, n), _survey_from_npz) for n in range(request.blocks)
            )
            variants = [
                Variant(v.class_name, v.factor, v.threshold, self.decoded(v.counts.path, _counts_from_json))
                for v in request.variants
            ]
            return objects, sites, distances, given, Survey.joined(parts), variants

        def compute(data: tuple[pd.DataFrame, pd.DataFrame, Distances, bool, Survey, list[Variant]]) -> SiteStatistics:
            objects, sites, distances, given, survey, variants = data
            classes = [objects[objects["class"] == c].reset_index(drop=True) for c in (VESICLES, TUBULAR)]
            return summarise(
                classes[0], classes[1], objects, sites, distances, survey, size, tuple(request.volume_shape),
                Rules.from_json(request.rules_json), given, request.cell_given, request.places, request.relocations,
                request.seed, request.widened or 1.0, variants,
            )  # fmt: skip

        def write(found: SiteStatistics) -> tuple[list[Written], dict[str, float]]:
            folder = request.output.path
            tables = (
                (CHANCE, found.chance),
                (DENSITIES, found.densities),
                (EFFECTS, found.effects),
                (SENSITIVITY, found.sensitivity),
            )
            written = [write_once(store, f"{folder}/{t.name}.parquet", t.to_parquet_bytes(f)) for t, f in tables]
            written.append(write_once(store, f"{folder}/statistics.json", json_bytes(found.document())))
            return written, {"er_area_um2": found.size.er_area_um2, "cytosol_um3": found.size.cytosol_um3}

        return self._statistics_task(context, request.task, "eres-statistics", read, compute, write)

    def _site_tables(self, folder: str) -> tuple[pd.DataFrame, pd.DataFrame]:
        """The tables `objects` and `sites` of ClassifySites."""
        return (
            self.decoded(f"{folder}/{OBJECTS.name}.parquet", OBJECTS.from_parquet_bytes),
            self.decoded(f"{folder}/{SITES.name}.parquet", SITES.from_parquet_bytes),
        )

    def _statistics_task(
        self,
        context: grpc.ServicerContext,
        task: common_pb2.TaskRef,
        stage: str,
        read: Any,
        compute: Any,
        write: Any,
        voxels: int = 0,
    ) -> Any:
        return self.worker.tasks.run(context, task, STAGE_VERSIONS[stage], read, compute, write, voxels=voxels)


def _region_near(
    objects: pd.DataFrame, sites: pd.DataFrame, window: Box, size: tuple[float, float, float], read: Any
) -> NDArray[np.bool_] | None:
    """Voxels of Golgi-like groups in a window; the labels are read only where such a group's box meets it."""
    ids = region_objects(objects, sites)
    own = objects[(objects["class"] == VESICLES) & objects["object_id"].isin(ids)]
    low, high = np.asarray(window.offset) * size, np.asarray(window.end) * size
    meets = np.ones(len(own), bool)
    for i, axis in enumerate("zyx"):
        meets &= (own[f"min_{axis}_nm"] < high[i]).to_numpy() & (own[f"max_{axis}_nm"] > low[i]).to_numpy()
    if not meets.any():
        return None
    labels: NDArray[Any] = read()
    table = np.zeros(int(max(labels.max(), ids.max())) + 1, bool)
    table[ids] = True
    near: NDArray[np.bool_] = table[labels]
    return near


def _survey_from_npz(data: bytes) -> Survey:
    arrays = from_npz(data)
    try:
        return Survey.from_arrays(arrays)
    except KeyError as error:
        raise ValueError(f"a surveyed block lacks the array {error}") from error


def _counts_from_json(data: bytes) -> dict[str, int]:
    return {str(k): int(v) for k, v in json.loads(data).items()}
