"""The fibsem recipe after its sites: survey of the cell, statistics, and the variants that sensitivity needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cisterna.chunks import nm_to_voxels
from cisterna.models.digest import canonical_json
from cisterna.runs.building import Builder, UsedArray, task_ref
from cisterna.runs.fibsem_objects import plan_objects
from cisterna.runs.fibsem_sites import Classified, plan_sites, reach_nm
from cisterna.runs.recipes import MASKS, FibsemRecipe
from cisterna.runs.stages import VERSIONS, Needs, Stage, every
from cisterna.store.receipts import stage_folder, stage_key
from cisterna.v1 import common_pb2, eres_pb2

LARGEST_RADIUS_NM = 75.0
"""Radius of the largest ball that is relocated: a block must see that much further than the rules."""

VARIED_CLASSES = ("copi", "tubular_eres", "er")


@dataclass(frozen=True)
class Probability:
    """Where the probabilities of a class are, who fills them, and its threshold (0…1)."""

    path: str
    identity: str
    source: Stage | None
    threshold: float


@dataclass(frozen=True)
class Variant:
    """The counts of the run with the threshold of one class multiplied by ``factor``."""

    class_name: str
    factor: float
    threshold: float
    classified: Classified


def plan_variants(
    b: Builder,
    recipe: FibsemRecipe,
    probabilities: Mapping[str, Probability],
    labels: Mapping[str, Stage],
    merged: Mapping[str, Stage],
    widened: float,
) -> list[Variant]:
    """Objects and sites again, for one class at a time with its threshold moved down and up."""
    found = []
    for name in VARIED_CLASSES:
        p = probabilities[name]
        for word, factor in (("low", round(2 - widened, 9)), ("high", widened)):
            threshold = min(1.0, p.threshold * factor)
            suffix = f"-{word}"
            objects, relabelled = plan_objects(b, recipe, name, p.path, p.identity, p.source, threshold, suffix)
            classified = plan_sites(
                b, recipe, {**labels, name: relabelled}, {**merged, name: objects}, 1.0, f"-{name}{suffix}"
            )
            found.append(Variant(name, factor, threshold, classified))
    return found


def plan_statistics(
    b: Builder,
    recipe: FibsemRecipe,
    uses: Mapping[str, UsedArray],
    labels: Mapping[str, Stage],
    sites: Classified,
    widened: float,
    variants: list[Variant],
) -> None:
    """Survey of every block, then the tables of statistics."""
    rules, chance = dict(recipe.eres.rules), dict(recipe.eres.chance)
    masks = {name: uses[name] for name in MASKS if name in uses}
    survey = _survey(b, rules, chance, masks, labels, sites)
    name, version, scale = "eres-statistics", VERSIONS["eres-statistics"], list(b.acquisition.scale)
    moved = [{"class": v.class_name, "factor": v.factor, "threshold": v.threshold} for v in variants]
    params = {
        "rules": rules,
        "chance": chance,
        "widened": widened,
        "variants": moved,
        "cell": "cell" in masks,
        "voxel_size_nm": scale,
    }
    inputs = {"survey": survey.key, "sites": sites.stage.key}
    inputs.update({f"{v.class_name}-{v.factor:g}": v.classified.stage.key for v in variants})
    key = stage_key(name, version, "", params, inputs)
    folder = f"{stage_folder(name, key)}/tables"
    rules_json = canonical_json(rules)

    def parts(stage: Stage | None) -> common_pb2.ArrayRef | None:
        return common_pb2.ArrayRef(path=f"{stage.folder}/parts", identity=stage.key) if stage is not None else None

    def request(block: int, attempt: int) -> Any:
        return eres_pb2.SummariseSitesRequest(
            task=task_ref(name, version, key, block, attempt),
            sites=common_pb2.ArrayRef(path=sites.folder, identity=sites.stage.key),
            survey_parts=parts(survey),
            measure_parts=parts(sites.measure),
            region_parts=parts(sites.region),
            blocks=b.grid.blocks,
            voxel_size_nm=scale,
            volume_shape=b.grid.shape,
            rules_json=rules_json,
            places=chance["places"],
            seed=chance["seed"],
            relocations=chance["relocations"],
            widened=widened,
            variants=[
                eres_pb2.SensitivityVariant(
                    class_name=v.class_name,
                    factor=v.factor,
                    threshold=v.threshold,
                    counts=common_pb2.ArrayRef(
                        path=f"{v.classified.folder}/counts.json", identity=v.classified.stage.key
                    ),
                )
                for v in variants
            ],
            output=common_pb2.ArrayRef(path=folder, identity=key),
            cell_given="cell" in masks,
        )

    tables = {t: f"{folder}/{t}.parquet" for t in ("chance", "densities", "effects", "sensitivity")}
    b.add(
        Stage(
            name,
            "eres",
            "SummariseSites",
            key,
            version,
            1,
            params,
            request,
            lambda i: 0,
            needs=(
                Needs(survey.name, every(b.grid.blocks)),
                Needs(sites.stage.name, every(1)),
                *(Needs(v.classified.stage.name, every(1)) for v in variants),
            ),
            tables=tables,
        )
    )
    b.tables.update(tables)
    b.tables["statistics"] = f"{folder}/statistics.json"


def _survey(
    b: Builder,
    rules: Mapping[str, Any],
    chance: Mapping[str, Any],
    masks: Mapping[str, UsedArray],
    labels: Mapping[str, Stage],
    sites: Classified,
) -> Stage:
    asked = ("near_er_nm", "link_nm", "golgi_distance_nm")
    halo = nm_to_voxels(reach_nm(rules, asked, 1.0) + LARGEST_RADIUS_NM, b.acquisition.scale)
    name, version, scale = "eres-survey", VERSIONS["eres-survey"], list(b.acquisition.scale)
    surveyed = [c for c in ("er", "tubular_eres", "copi", "golgi") if c in labels]
    params = {"rules": rules, "places": chance["places"], "seed": chance["seed"], "voxel_size_nm": scale}
    inputs = {"sites": sites.stage.key, **{c: labels[c].key for c in surveyed}}
    inputs.update({name: mask.identity for name, mask in masks.items()})
    key = stage_key(name, version, "", params, inputs)
    rules_json = canonical_json(rules)

    def request(block: int, attempt: int) -> Any:
        refs = {c: b.chunk(labels[c].images[0].level(0), labels[c].key, block, halo) for c in surveyed}
        given = {m: b.chunk(f"{used.path}/0", used.identity, block, halo) for m, used in masks.items()}
        return eres_pb2.SurveyBlockRequest(
            task=task_ref(name, version, key, block, attempt),
            er_labels=refs["er"],
            tubular_labels=refs["tubular_eres"],
            vesicle_labels=refs["copi"],
            golgi_labels=refs.get("golgi"),
            cell=given.get("cell"),
            organelles=given.get("organelles"),
            sites=common_pb2.ArrayRef(path=sites.folder, identity=sites.stage.key),
            parts=common_pb2.ArrayRef(path=f"{stage_folder(name, key)}/parts", identity=key),
            voxel_size_nm=scale,
            rules_json=rules_json,
            volume_shape=b.grid.shape,
            places=chance["places"],
            seed=chance["seed"],
        )

    return b.add(
        Stage(
            name,
            "eres",
            "SurveyBlock",
            key,
            version,
            b.grid.blocks,
            params,
            request,
            lambda i: b.grid.box(i).size,
            needs=(
                Needs(sites.stage.name, every(1)),
                *(Needs(labels[c].name, b.around(halo)) for c in surveyed),
            ),
        )
    )
