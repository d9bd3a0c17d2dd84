"""The fibsem recipe as stages: denoise beside segment, then objects and exit sites."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from cisterna.runs.building import Builder, Plan, UsedArray, range_ref, sizes, task_ref
from cisterna.runs.fibsem_sites import MEASURED_CLASSES, plan_sites
from cisterna.runs.recipes import REQUIRED_CLASSES, FibsemRecipe, RecipeError
from cisterna.runs.stages import VERSIONS, Needs, Stage, every, same
from cisterna.store.receipts import stage_folder, stage_key
from cisterna.v1 import common_pb2, denoise_pb2, eres_pb2, segment_pb2


def plan_fibsem(b: Builder, recipe: FibsemRecipe, uses: Mapping[str, UsedArray]) -> Plan:
    raw = b.acquisition.raw
    for name in REQUIRED_CLASSES:
        if name not in recipe.segment.models and name not in uses:
            raise RecipeError(
                f"class {name} has neither a model (segment.models.{name}) nor an array (--use {name}=ARRAY)"
            )
    denoised = _denoise(b, recipe) if recipe.denoise.enabled else None
    labels: dict[str, Stage] = {}
    merged: dict[str, Stage] = {}
    classes = [c for c in (*MEASURED_CLASSES, "ccv") if c in recipe.segment.models or c in uses]
    probabilities: dict[str, tuple[str, str, Stage | None, float]] = {}
    for name in classes:
        if name in uses:
            probabilities[name] = (f"{uses[name].path}/0", uses[name].identity, None, 0.5)
            b.arrays[f"probability/{name}"] = uses[name].path
        else:
            stage, threshold = _segment(b, recipe, name, denoised)
            probabilities[name] = (stage.images[0].level(0), stage.key, stage, threshold)
    for name in classes:
        path, identity, source, threshold = probabilities[name]
        threshold = recipe.eres.thresholds.get(name, threshold)
        merged[name], labels[name] = _objects(b, recipe, name, path, identity, source, threshold)
    plan_sites(b, recipe, labels, merged)
    if b.acquisition.detectors:
        b.arrays.update({d: s.path for d, s in b.acquisition.detectors.items()})
    model_sizes = {tuple(m["voxel_size_nm"]) for m in b.models.values() if m.get("voxel_size_nm")}
    for size in sorted(model_sizes):
        if any(not math.isclose(a, s, rel_tol=0.1) for a, s in zip(b.acquisition.scale, size, strict=True)):
            b.warnings.append(
                f"Voxels are {sizes(b.acquisition.scale)} nm, the models were trained at {sizes(size)} nm: "
                "expect errors at other scales."
            )
    assert raw.shape
    return b.finish(recipe, uses)


def _denoise(b: Builder, recipe: FibsemRecipe) -> Stage:
    model = b.model(recipe.denoise.model, "fastfib", "denoise.model")
    sources = list(b.acquisition.detectors.values()) or [b.acquisition.raw]
    stride = int(model["stride"])
    halo = (math.ceil(int(model["context"]) / stride) * stride,) * 3
    ranges = [{"low": s.low, "high": s.high, "invert": s.invert} for s in sources]
    document = {"model": recipe.denoise.model, "intensity": ranges, "halo_voxels": halo[0]}
    version = VERSIONS["denoise"]
    key = stage_key(
        "denoise", version, model["digest"], {"intensity": ranges, "halo": halo[0]}, {"raw": b.acquisition.identity}
    )
    image = b.image("denoised", "denoise", key, b.acquisition.raw.dtype, "denoised")

    def request(block: int, attempt: int) -> Any:
        return denoise_pb2.DenoiseBlockRequest(
            task=task_ref("denoise", version, key, block, attempt),
            inputs=[b.chunk(f"{s.path}/0", b.acquisition.identity, block, halo) for s in sources],
            output=common_pb2.ArrayRef(path=image.level(0), identity=key),
            model=common_pb2.ModelRef(name=recipe.denoise.model, digest=model["digest"]),
            intensity=[range_ref(s) for s in sources],
        )

    stage = b.add(
        Stage(
            "denoise",
            "denoise",
            "DenoiseBlock",
            key,
            version,
            b.grid.blocks,
            document,
            request,
            lambda i: b.grid.box(i).size,
            images=(image,),
            model=recipe.denoise.model,
            flop_per_voxel=float(model["flop_per_voxel"]) * len(sources),
        )
    )
    b.arrays["denoised"] = image.path
    b.pyramids(stage, image, common_pb2.DownsampleBlockRequest.MODE_MEAN)
    return stage


def _segment(b: Builder, recipe: FibsemRecipe, class_name: str, denoised: Stage | None) -> tuple[Stage, float]:
    model_name = recipe.segment.models[class_name]
    model = b.model(model_name, "asem", f"segment.models.{class_name}")
    source, name, version = b.acquisition.raw, f"segment-{class_name}", VERSIONS["segment"]
    use_denoised = recipe.segment.input == "denoised"
    assert denoised is not None or not use_denoised
    path, identity = (f"{source.path}/0", b.acquisition.identity)
    if use_denoised and denoised is not None:
        path, identity = denoised.images[0].level(0), denoised.key
    halo = (int(model["context"]),) * 3
    reach = tuple(h + int(model["stride"]) for h in halo)
    intensity = {"low": source.low, "high": source.high, "invert": source.invert}
    document = {"model": model_name, "class": class_name, "input": recipe.segment.input, "intensity": intensity}
    key = stage_key(name, version, model["digest"], {"intensity": intensity}, {"input": identity})
    image = b.image("probability", name, key, "uint8", f"probability/{class_name}")

    def request(block: int, attempt: int) -> Any:
        return segment_pb2.SegmentBlockRequest(
            task=task_ref(name, version, key, block, attempt),
            input=b.chunk(path, identity, block, halo),
            output=common_pb2.ArrayRef(path=image.level(0), identity=key),
            model=common_pb2.ModelRef(name=model_name, digest=model["digest"]),
            intensity=range_ref(source),
        )

    needs = (Needs("denoise", b.around(reach)),) if use_denoised else ()
    stage = b.add(
        Stage(
            name,
            "segment",
            "SegmentBlock",
            key,
            version,
            b.grid.blocks,
            document,
            request,
            lambda i: b.grid.box(i).size,
            needs=needs,
            images=(image,),
            model=model_name,
            flop_per_voxel=float(model["flop_per_voxel"]),
        )
    )
    b.arrays[f"probability/{class_name}"] = image.path
    b.pyramids(stage, image, common_pb2.DownsampleBlockRequest.MODE_MEAN)
    # A model states its threshold as a grey value of the uint8 probability; recipes state 0…1.
    return stage, float(model.get("metrics", {}).get("threshold", 128)) / 255


def _objects(
    b: Builder, recipe: FibsemRecipe, class_name: str, path: str, identity: str, source: Stage | None, threshold: float
) -> tuple[Stage, Stage]:
    level = max(1, math.ceil(threshold * 255))
    label_name, version = f"eres-label-{class_name}", VERSIONS["eres-label"]
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

    label = b.add(
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
    merge_name, merge_version = f"eres-merge-{class_name}", VERSIONS["eres-merge"]
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
    name, relabel_version = f"eres-relabel-{class_name}", VERSIONS["eres-relabel"]
    key = stage_key(name, relabel_version, "", {}, {"merged": merge_key})
    image = b.image("labels", name, key, "uint32", f"labels/{class_name}")

    def request(block: int, attempt: int) -> Any:
        return eres_pb2.RelabelBlockRequest(
            task=task_ref(name, relabel_version, key, block, attempt),
            local_labels=b.chunk(local.level(0), label_key, block),
            merged=common_pb2.ArrayRef(path=folder, identity=merge_key),
            labels=common_pb2.ArrayRef(path=image.level(0), identity=key),
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
            needs=(Needs(merge_name, every(1)), Needs(label_name, same())),
            images=(image,),
        )
    )
    b.arrays[f"labels/{class_name}"] = image.path
    b.tables[f"merged/{class_name}"] = f"{folder}/objects.parquet"
    b.pyramids(relabel, image, common_pb2.DownsampleBlockRequest.MODE_NEAREST)
    assert label.images
    return merge, relabel
