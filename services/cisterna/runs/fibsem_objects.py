"""The objects of the fibsem recipe: probabilities of a class to numbered objects and their labels."""

from __future__ import annotations

import math
from typing import Any

from cisterna.models.digest import canonical_json
from cisterna.runs.building import Builder, task_ref
from cisterna.runs.recipes import FibsemRecipe
from cisterna.runs.stages import VERSIONS, Needs, Stage, every, same
from cisterna.store.receipts import stage_folder, stage_key
from cisterna.v1 import common_pb2, eres_pb2


def plan_objects(
    b: Builder,
    recipe: FibsemRecipe,
    class_name: str,
    path: str,
    identity: str,
    source: Stage | None,
    threshold: float,
    suffix: str = "",
) -> tuple[Stage, Stage]:
    """The stage that numbers the objects of a class, and the one that writes their labels.

    ``path``, ``identity``: level 0 of the probabilities; ``source`` fills them (None: they exist); ``threshold`` 0…1.
    ``suffix`` sets the stages of a variant apart; only those without one are named in the run.
    """
    level = max(1, math.ceil(threshold * 255))
    label_name, version = f"eres-label-{class_name}{suffix}", VERSIONS["eres-label"]
    label_key = stage_key(label_name, version, "", {"threshold": level}, {"probability": identity})
    local = b.image("local", label_name, label_key, "uint32", f"local/{class_name}")
    parts = f"{stage_folder(label_name, label_key)}/parts"

    def label_request(block: int, attempt: int) -> Any:
        return eres_pb2.LabelBlockRequest(
            task=task_ref(label_name, version, label_key, block, attempt),
            probability=b.chunk(path, identity, block),
            local_labels=common_pb2.ArrayRef(path=local.level(0), identity=label_key),
            parts=common_pb2.ArrayRef(path=parts, identity=label_key),
            threshold=level,
        )

    b.add(
        Stage(
            label_name,
            "eres",
            "LabelBlock",
            label_key,
            version,
            b.grid.blocks,
            {"class": class_name, "threshold": level},
            label_request,
            lambda i: b.grid.box(i).size,
            needs=(Needs(source.name, same()),) if source is not None else (),
            images=(local,),
        )
    )
    voxel_nm3 = math.prod(b.acquisition.scale)
    diameter = float(recipe.eres.min_diameter_nm.get(class_name, 0.0))
    min_voxels = max(1, math.ceil(math.pi / 6 * diameter**3 / voxel_nm3))
    merge_name, merge_version = f"eres-merge-{class_name}{suffix}", VERSIONS["eres-merge"]
    merge_key = stage_key(
        merge_name,
        merge_version,
        "",
        {"min_voxels": min_voxels, "class": class_name, "voxel_size_nm": list(b.acquisition.scale)},
        {"local": label_key},
    )
    folder = f"{stage_folder(merge_name, merge_key)}/merged"

    def merge_request(block: int, attempt: int) -> Any:
        return eres_pb2.MergeObjectsRequest(
            task=task_ref(merge_name, merge_version, merge_key, block, attempt),
            parts=common_pb2.ArrayRef(path=parts, identity=label_key),
            blocks=b.grid.blocks,
            min_voxels=min_voxels,
            merged=common_pb2.ArrayRef(path=folder, identity=merge_key),
            voxel_size_nm=b.acquisition.scale,
            class_name=class_name,
            volume_shape=b.grid.shape,
            block_shape=b.grid.block,
        )

    merge = b.add(
        Stage(
            merge_name,
            "eres",
            "MergeObjects",
            merge_key,
            merge_version,
            1,
            {"class": class_name, "min_voxels": min_voxels, "min_diameter_nm": diameter},
            merge_request,
            lambda i: 0,
            needs=(Needs(label_name, every(b.grid.blocks)),),
        )
    )
    numbering, numbered, split_parts = merge, None, None
    if class_name in recipe.eres.splitting.get("classes", ()):
        numbering, split_parts = _split(b, recipe, merge, class_name, path, identity, level, min_voxels, suffix)
        numbered = common_pb2.ArrayRef(path=f"{numbering.folder}/merged", identity=numbering.key)
    name, relabel_version = f"eres-relabel-{class_name}{suffix}", VERSIONS["eres-relabel"]
    key = stage_key(name, relabel_version, "", {}, {"merged": numbering.key})
    image = b.image("labels", name, key, "uint32", f"labels/{class_name}")

    def request(block: int, attempt: int) -> Any:
        return eres_pb2.RelabelBlockRequest(
            task=task_ref(name, relabel_version, key, block, attempt),
            local_labels=b.chunk(local.level(0), label_key, block),
            merged=common_pb2.ArrayRef(path=folder, identity=merge_key),
            labels=common_pb2.ArrayRef(path=image.level(0), identity=key),
            numbered=numbered,
            split_parts=split_parts,
        )

    relabel = b.add(
        Stage(
            name,
            "eres",
            "RelabelBlock",
            key,
            relabel_version,
            b.grid.blocks,
            {"class": class_name},
            request,
            lambda i: b.grid.box(i).size,
            needs=(Needs(numbering.name, every(1)), Needs(label_name, same())),
            images=(image,),
        )
    )
    if not suffix:
        b.arrays[f"labels/{class_name}"] = image.path
        b.tables[f"merged/{class_name}"] = f"{numbering.folder}/merged/objects.parquet"
        b.pyramids(relabel, image, common_pb2.DownsampleBlockRequest.MODE_NEAREST)
    return numbering, relabel


def _split(
    b: Builder,
    recipe: FibsemRecipe,
    merge: Stage,
    class_name: str,
    path: str,
    identity: str,
    level: int,
    min_voxels: int,
    suffix: str,
) -> tuple[Stage, common_pb2.ArrayRef]:
    """Touching objects cut apart, and all objects numbered anew."""
    splitting = {k: v for k, v in recipe.eres.splitting.items() if k != "classes"}
    splitting_json = canonical_json(splitting)
    name, version, scale = f"eres-split-{class_name}{suffix}", VERSIONS["eres-split"], list(b.acquisition.scale)
    params = {"splitting": splitting, "threshold": level, "min_voxels": min_voxels, "voxel_size_nm": scale}
    key = stage_key(name, version, "", params, {"merged": merge.key, "probability": identity})
    components = common_pb2.ArrayRef(path=f"{merge.folder}/merged", identity=merge.key)
    parts = common_pb2.ArrayRef(path=f"{stage_folder(name, key)}/parts", identity=key)

    def request(block: int, attempt: int) -> Any:
        return eres_pb2.SplitBlockRequest(
            task=task_ref(name, version, key, block, attempt),
            probability=b.chunk(path, identity, block),
            merged=components,
            parts=parts,
            voxel_size_nm=scale,
            threshold=level,
            min_voxels=min_voxels,
            splitting_json=splitting_json,
        )

    split = b.add(
        Stage(
            name,
            "eres",
            "SplitBlock",
            key,
            version,
            b.grid.blocks,
            {"class": class_name, "splitting": splitting},
            request,
            lambda i: b.grid.box(i).size,
            needs=(Needs(merge.name, every(1)),),
        )
    )
    number_name, number_version = f"eres-number-{class_name}{suffix}", VERSIONS["eres-number"]
    number_key = stage_key(number_name, number_version, "", {"class": class_name}, {"merged": merge.key, "split": key})
    folder = f"{stage_folder(number_name, number_key)}/merged"

    def number_request(block: int, attempt: int) -> Any:
        return eres_pb2.NumberObjectsRequest(
            task=task_ref(number_name, number_version, number_key, block, attempt),
            merged=components,
            split_parts=parts,
            blocks=b.grid.blocks,
            numbered=common_pb2.ArrayRef(path=folder, identity=number_key),
            voxel_size_nm=scale,
            class_name=class_name,
            volume_shape=b.grid.shape,
        )

    number = b.add(
        Stage(
            number_name,
            "eres",
            "NumberObjects",
            number_key,
            number_version,
            1,
            {"class": class_name},
            number_request,
            lambda i: 0,
            needs=(Needs(split.name, every(b.grid.blocks)),),
        )
    )
    return number, parts
