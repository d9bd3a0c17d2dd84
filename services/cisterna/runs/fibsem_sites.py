"""The fibsem recipe after its objects: distances, Golgi-like regions, sites."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cisterna.chunks import nm_to_voxels
from cisterna.models.digest import canonical_json
from cisterna.runs.building import Builder, task_ref
from cisterna.runs.fibsem_profiles import plan_profiles
from cisterna.runs.recipes import FibsemRecipe, RecipeError
from cisterna.runs.stages import VERSIONS, Needs, Stage, every
from cisterna.store.receipts import stage_folder, stage_key
from cisterna.v1 import common_pb2, eres_pb2

MEASURED_CLASSES = ("copi", "tubular_eres", "er", "golgi")
"""Classes that the exit-site rules measure distances between; the others are counted as objects only."""

UNSTATED_NM = 400.0
"""Reach assumed of a rule that the recipe does not spell out (submission writes all of them out)."""


@dataclass(frozen=True)
class Classified:
    """One classification: where its tables and its parts stand."""

    stage: Stage
    folder: str
    measure: Stage
    region: Stage | None


def plan_sites(
    b: Builder,
    recipe: FibsemRecipe,
    labels: Mapping[str, Stage],
    merged: Mapping[str, Stage],
    widened: float,
    suffix: str = "",
) -> Classified:
    """Distances up to ``widened`` × each threshold, regions and sites of the labels given.

    ``suffix`` sets the stages of a variant apart.
    """
    rules = dict(recipe.eres.rules)
    from_mask = "golgi" in labels and rules.get("golgi_reference") != "extent"
    measure, measured_parts = _measure(b, rules, widened, labels, from_mask, suffix)
    region, region_parts = None, None
    if not from_mask:
        region, region_parts = _regions(b, rules, widened, labels["copi"], merged["copi"], measure, suffix)
    name, version = f"eres-sites{suffix}", VERSIONS["eres-sites"]
    inputs = {"measured": measure.key, "vesicles": merged["copi"].key, "tubular": merged["tubular_eres"].key}
    if region is not None:
        inputs["regions"] = region.key
    # A variant is asked for its counts alone; those do not need the image.
    profiles = (
        {} if suffix else {c: plan_profiles(b, c, merged[c], labels[c], labels["er"]) for c in ("copi", "tubular_eres")}
    )
    inputs |= {f"profiles-{c}": stage.key for c, stage in profiles.items()}
    scale = list(b.acquisition.scale)
    key = stage_key(name, version, "", {"rules": rules, "voxel_size_nm": scale}, inputs)
    folder = f"{stage_folder(name, key)}/tables"
    rules_json = canonical_json(rules)

    def request(block: int, attempt: int) -> Any:
        return eres_pb2.ClassifySitesRequest(
            task=task_ref(name, version, key, block, attempt),
            vesicle_objects=_objects_ref(merged["copi"]),
            tubular_objects=_objects_ref(merged["tubular_eres"]),
            parts=measured_parts,
            region_parts=region_parts,
            vesicle_profiles=_parts_ref(profiles, "copi"),
            tubular_profiles=_parts_ref(profiles, "tubular_eres"),
            blocks=b.grid.blocks,
            output=common_pb2.ArrayRef(path=folder, identity=key),
            voxel_size_nm=scale,
            rules_json=rules_json,
            volume_shape=b.grid.shape,
        )

    last = region if region is not None else measure
    needs = [
        Needs(last.name, every(b.grid.blocks)),
        *(Needs(merged[c].name, every(1)) for c in ("copi", "tubular_eres")),
        *(Needs(stage.name, every(b.grid.blocks)) for stage in profiles.values()),
    ]
    tables = {t: f"{folder}/{t}.parquet" for t in ("objects", "sites", "links")}
    stage = b.add(
        Stage(
            name,
            "eres",
            "ClassifySites",
            key,
            version,
            1,
            {"rules": rules},
            request,
            lambda i: 0,
            needs=tuple(needs),
            tables=tables,
        )
    )
    if not suffix:
        b.tables.update(tables)
        b.tables["counts"] = f"{folder}/counts.json"
    return Classified(stage, folder, measure, region)


def _parts_ref(profiles: Mapping[str, Stage], class_name: str) -> common_pb2.ArrayRef | None:
    stage = profiles.get(class_name)
    return None if stage is None else common_pb2.ArrayRef(path=f"{stage.folder}/parts", identity=stage.key)


def _objects_ref(merged: Stage) -> common_pb2.ArrayRef:
    return common_pb2.ArrayRef(path=f"{merged.folder}/merged/objects.parquet", identity=merged.key)


def reach_nm(rules: Mapping[str, Any], names: tuple[str, ...], widened: float) -> float:
    """How far these rules ask for distances."""
    return max(float(rules.get(n, UNSTATED_NM)) for n in names) * widened


def _measure(
    b: Builder, rules: Mapping[str, Any], widened: float, labels: Mapping[str, Stage], from_mask: bool, suffix: str
) -> tuple[Stage, common_pb2.ArrayRef]:
    asked = ("near_er_nm", "group_vesicles_nm", "group_tubular_nm", "link_nm")
    far = reach_nm(rules, (*asked, "golgi_distance_nm") if from_mask else asked, widened)
    halo = nm_to_voxels(max(far, reach_nm(rules, ("er_search_nm",), 1.0)), b.acquisition.scale)
    measured = [c for c in MEASURED_CLASSES if c in labels]
    other = str(rules.get("exclude_overlap_with", "none"))
    if other != "none":
        if other not in labels:
            raise RecipeError(
                f"eres.rules.exclude_overlap_with is {other}, but that class has neither a model nor an array: "
                "add one, or write none"
            )
        measured.append(other)
    name, version, scale = f"eres-measure{suffix}", VERSIONS["eres-measure"], list(b.acquisition.scale)
    key = stage_key(
        name,
        version,
        "",
        {"rules": rules, "voxel_size_nm": scale, "widened": widened},
        {c: labels[c].key for c in measured},
    )
    parts = common_pb2.ArrayRef(path=f"{stage_folder(name, key)}/parts", identity=key)
    rules_json = canonical_json(rules)

    def request(block: int, attempt: int) -> Any:
        refs = {c: b.chunk(labels[c].images[0].level(0), labels[c].key, block, halo) for c in measured}
        return eres_pb2.MeasureBlockRequest(
            task=task_ref(name, version, key, block, attempt),
            vesicle_labels=refs["copi"],
            tubular_labels=refs["tubular_eres"],
            er_labels=refs["er"],
            golgi_labels=refs.get("golgi"),
            overlap_labels=refs.get(other),
            parts=parts,
            voxel_size_nm=scale,
            rules_json=rules_json,
            widened=widened,
        )

    stage = b.add(
        Stage(
            name,
            "eres",
            "MeasureBlock",
            key,
            version,
            b.grid.blocks,
            {"rules": rules, "widened": widened},
            request,
            lambda i: b.grid.box(i).size,
            needs=tuple(Needs(labels[c].name, b.around(halo)) for c in measured),
        )
    )
    return stage, parts


def _regions(
    b: Builder, rules: Mapping[str, Any], widened: float, vesicles: Stage, merged: Stage, measure: Stage, suffix: str
) -> tuple[Stage, common_pb2.ArrayRef]:
    """Which vesicles may be of a Golgi-like region, and how far the others are from them."""
    find, version = f"eres-regions{suffix}", VERSIONS["eres-regions"]
    params = {"rules": rules, "widened": widened}
    key = stage_key(find, version, "", params, {"measured": measure.key, "vesicles": merged.key})
    folder = common_pb2.ArrayRef(path=f"{stage_folder(find, key)}/regions", identity=key)
    measured_parts = common_pb2.ArrayRef(path=f"{measure.folder}/parts", identity=measure.key)
    rules_json, scale = canonical_json(rules), list(b.acquisition.scale)

    def find_request(block: int, attempt: int) -> Any:
        return eres_pb2.FindRegionsRequest(
            task=task_ref(find, version, key, block, attempt),
            vesicle_objects=_objects_ref(merged),
            parts=measured_parts,
            blocks=b.grid.blocks,
            output=folder,
            rules_json=rules_json,
            widened=widened,
        )

    found = b.add(
        Stage(
            find,
            "eres",
            "FindRegions",
            key,
            version,
            1,
            params,
            find_request,
            lambda i: 0,
            needs=(Needs(measure.name, every(b.grid.blocks)), Needs(merged.name, every(1))),
        )
    )
    name, region_version = f"eres-region{suffix}", VERSIONS["eres-region"]
    asked = ("golgi_distance_nm", "er_search_nm", "near_er_nm", "group_vesicles_nm", "group_tubular_nm", "link_nm")
    halo = nm_to_voxels(reach_nm(rules, asked, widened), b.acquisition.scale)
    region_key = stage_key(name, region_version, "", {**params, "voxel_size_nm": scale}, {"regions": key})
    parts = common_pb2.ArrayRef(path=f"{stage_folder(name, region_key)}/parts", identity=region_key)

    def request(block: int, attempt: int) -> Any:
        return eres_pb2.MeasureRegionsRequest(
            task=task_ref(name, region_version, region_key, block, attempt),
            vesicle_labels=b.chunk(vesicles.images[0].level(0), vesicles.key, block, halo),
            regions=folder,
            parts=parts,
            voxel_size_nm=scale,
            rules_json=rules_json,
            widened=widened,
        )

    stage = b.add(
        Stage(
            name,
            "eres",
            "MeasureRegions",
            region_key,
            region_version,
            b.grid.blocks,
            params,
            request,
            lambda i: b.grid.box(i).size,
            needs=(Needs(found.name, every(1)), Needs(vesicles.name, b.around(halo))),
        )
    )
    return stage, parts
