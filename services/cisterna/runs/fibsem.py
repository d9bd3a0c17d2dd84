"""The fibsem recipe as stages: denoise beside segment, then objects and exit sites."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Any

from cisterna.lattice import halo as lattice_halo
from cisterna.runs.acquisition import Tables, read_tables
from cisterna.runs.building import Builder, Plan, UsedArray, find_model, range_ref, sizes, task_ref
from cisterna.runs.fibsem_objects import plan_objects
from cisterna.runs.fibsem_sites import MEASURED_CLASSES, plan_sites
from cisterna.runs.fibsem_statistics import Probability, plan_statistics, plan_variants
from cisterna.runs.recipes import CLASSES, MASKS, REQUIRED_CLASSES, SENSITIVITY, FibsemRecipe, RecipeError
from cisterna.runs.stages import VERSIONS, Needs, Stage
from cisterna.runs.voxel_sizes import off_axes, resampling, segmentation_notes
from cisterna.store import ObjectStore
from cisterna.store.receipts import stage_key
from cisterna.v1 import common_pb2, denoise_pb2, segment_pb2


def plan_fibsem(b: Builder, recipe: FibsemRecipe, uses: Mapping[str, UsedArray]) -> Plan:
    raw = b.acquisition.raw
    for name in REQUIRED_CLASSES:
        if name not in recipe.segment.models and name not in uses:
            raise RecipeError(
                f"class {name} has neither a model (segment.models.{name}) nor an array (--use {name}=ARRAY)"
            )
    for name in uses:
        if name not in (*CLASSES, *MASKS):
            raise RecipeError(f"--use {name}=ARRAY: {name} is none of {', '.join((*CLASSES, *MASKS))}")
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
        merged[name], labels[name] = plan_objects(b, recipe, name, path, identity, source, threshold)
    widened = SENSITIVITY[recipe.eres.sensitivity]
    sites = plan_sites(b, recipe, labels, merged, widened)
    variants = []
    if recipe.eres.sensitivity == "full":
        sources = {n: Probability(*p[:3], recipe.eres.thresholds.get(n, p[3])) for n, p in probabilities.items()}
        variants = plan_variants(b, recipe, sources, labels, merged, widened)
    plan_statistics(b, recipe, uses, labels, sites, widened, variants)
    if b.acquisition.detectors:
        b.arrays.update({d: s.path for d, s in b.acquisition.detectors.items()})
    b.warnings += segmentation_notes(
        b, recipe, {c: b.models[recipe.segment.models[c]] for c in CLASSES if c in classes and c not in uses}
    )
    assert raw.shape
    return b.finish(recipe, uses)


def _denoise(b: Builder, recipe: FibsemRecipe) -> Stage:
    model = b.model(recipe.denoise.model, "fastfib", "denoise.model")
    sources = list(b.acquisition.detectors.values()) or [b.acquisition.raw]
    stride = int(model["stride"])
    factor = _upsampling(b, recipe)
    plain = (math.ceil(int(model["context"]) / stride) * stride,) * 3
    halo = lattice_halo(int(model["context"]), factor) if factor else plain
    ranges = [{"low": s.low, "high": s.high, "invert": s.invert} for s in sources]
    precision = recipe.denoise.precision
    phase = list(b.acquisition.offset) if factor else [o % stride for o in b.acquisition.offset]
    document = {
        "model": recipe.denoise.model,
        "intensity": ranges,
        "halo_voxels": list(halo),
        "precision": precision,
        "upsample": list(factor),
    }
    version = VERSIONS["denoise"]
    key = stage_key(
        "denoise",
        version,
        model["digest"],
        {"intensity": ranges, "halo": list(halo), "precision": precision, "phase": phase, "upsample": list(factor)},
        {"raw": b.acquisition.identity},
    )
    image = b.image("denoised", "denoise", key, b.acquisition.raw.dtype, "denoised")

    def request(block: int, attempt: int) -> Any:
        return denoise_pb2.DenoiseBlockRequest(
            task=task_ref("denoise", version, key, block, attempt),
            inputs=[b.chunk(f"{s.path}/0", b.acquisition.identity, block, halo) for s in sources],
            output=common_pb2.ArrayRef(path=image.level(0), identity=key),
            model=common_pb2.ModelRef(name=recipe.denoise.model, digest=model["digest"]),
            intensity=[range_ref(s) for s in sources],
            precision=precision,
            region_offset=b.acquisition.offset,
            upsample=factor,
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
            flop_per_voxel=float(model["flop_per_voxel"]) * len(sources) * math.prod(factor),
        )
    )
    trained = model.get("voxel_size_nm")
    if trained and off_axes([s / f for s, f in zip(b.acquisition.scale, factor or (1.0,) * 3, strict=True)], trained):
        b.warnings.append(
            f"Voxels are {sizes(b.acquisition.scale)} nm, the denoising model was trained at {sizes(trained)} nm: "
            "expect errors at other scales."
        )
    b.arrays["denoised"] = image.path
    b.pyramids(stage, image, common_pb2.DownsampleBlockRequest.MODE_MEAN)
    return stage


def _upsampling(b: Builder, recipe: FibsemRecipe) -> tuple[float, ...]:
    """Fine voxels per voxel and axis, the finest axis 1; nothing where voxels are cubes or it is not asked for."""
    finest = min(b.acquisition.scale)
    factor = tuple(s / finest if s > 1.001 * finest else 1.0 for s in b.acquisition.scale)
    if recipe.denoise.upsample == "none":
        return ()
    if max(factor) == 1:
        b.warnings.append("denoise.upsample is isotropic, but the voxels are cubes already: nothing is upsampled.")
        return ()
    b.warnings.append(
        f"Denoising works on voxels of {finest:g} nm, upsampled from {sizes(b.acquisition.scale)} nm: "
        f"{math.prod(factor):.2f} times the arithmetic."
    )
    return factor


def _segment(b: Builder, recipe: FibsemRecipe, class_name: str, denoised: Stage | None) -> tuple[Stage, float]:
    model_name = recipe.segment.models[class_name]
    model = b.model(model_name, "asem", f"segment.models.{class_name}")
    source, name, version = b.acquisition.raw, f"segment-{class_name}", VERSIONS["segment"]
    use_denoised = recipe.segment.input == "denoised"
    assert denoised is not None or not use_denoised
    path, identity = (f"{source.path}/0", b.acquisition.identity)
    if use_denoised and denoised is not None:
        path, identity = denoised.images[0].level(0), denoised.key
    factor = resampling(b, recipe, class_name, model)
    context = int(model["context"])
    reach = lattice_halo(context + int(model["stride"]), factor) if factor else (context + int(model["stride"]),) * 3
    halo = reach if factor else (context,) * 3
    low, high = source.low, source.high
    tables: Tables | None = None
    if model["intensity"]["rule"] == "clahe":
        if use_denoised and not b.acquisition.equalised:
            raise RecipeError(
                f"segment.input is denoised, but model {model_name} of class {class_name} takes equalised raw voxels: "
                "write segment.input raw"
            )
        low, high = 0.0, 255.0  # of the equalised voxels
        tables = None if b.acquisition.equalised else _tables(b, model_name)
    intensity = {"low": low, "high": high, "invert": source.invert}
    precision = recipe.segment.precision
    document = {
        "model": model_name,
        "class": class_name,
        "input": recipe.segment.input,
        "intensity": intensity,
        "precision": precision,
        "resample": list(factor),
    }
    params: dict[str, Any] = {"intensity": intensity, "precision": precision, "resample": list(factor)}
    inputs = {"input": identity}
    if any(b.acquisition.offset):
        document["anchor"] = params["anchor"] = list(b.acquisition.offset)
    if tables is not None:
        document["equalisation"] = inputs["equalisation"] = tables.sha256
    key = stage_key(name, version, model["digest"], params, inputs)
    image = b.image("probability", name, key, "uint8", f"probability/{class_name}")

    def request(block: int, attempt: int) -> Any:
        return segment_pb2.SegmentBlockRequest(
            task=task_ref(name, version, key, block, attempt),
            input=b.chunk(path, identity, block, halo),
            output=common_pb2.ArrayRef(path=image.level(0), identity=key),
            model=common_pb2.ModelRef(name=model_name, digest=model["digest"]),
            intensity=common_pb2.IntensityRange(low=low, high=high, invert=source.invert),
            equalisation=common_pb2.ArrayRef(path=tables.path, identity=tables.sha256) if tables else None,
            anchor=b.acquisition.offset if any(b.acquisition.offset) else None,
            equalised=b.acquisition.equalised,
            precision=precision,
            resample=factor,
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
            flop_per_voxel=float(model["flop_per_voxel"]) * math.prod(factor),
        )
    )
    b.arrays[f"probability/{class_name}"] = image.path
    b.pyramids(stage, image, common_pb2.DownsampleBlockRequest.MODE_MEAN)
    # A model states its threshold as a grey value of the uint8 probability; recipes state 0…1.
    return stage, float(model.get("metrics", {}).get("threshold", 128)) / 255


def _tables(b: Builder, model_name: str) -> Tables:
    tables = read_tables(b.store, b.acquisition.id)
    if tables is None:
        raise RecipeError(
            f"model {model_name} takes equalised voxels, and no CLAHE tables were taken of {b.acquisition.id}: submit "
            "its file again with this recipe"
        )
    return tables


def equalising_models(store: ObjectStore, recipe: FibsemRecipe, uses: Collection[str]) -> list[str]:
    """Models of the recipe that take CLAHE-equalised voxels, without those whose class comes from an array."""
    names = {m for c, m in recipe.segment.models.items() if c not in uses}
    return sorted(m for m in names if find_model(store, m, "asem", "segment.models")["intensity"]["rule"] == "clahe")
