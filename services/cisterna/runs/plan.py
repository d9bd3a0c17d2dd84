"""Recipe and acquisition → stages. Pure planning: reads model.json and manifests, computes nothing."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from cisterna.chunks import Box, nm_to_voxels
from cisterna.models.digest import canonical_json, digest
from cisterna.models.folder import ModelError, read_spec
from cisterna.runs.acquisition import Acquisition, Source
from cisterna.runs.recipes import REQUIRED_CLASSES, ErMovieRecipe, FibsemRecipe, Recipe, RecipeError, as_mapping
from cisterna.runs.stages import VERSIONS, Image, Needs, Stage, every, same
from cisterna.store import ObjectMissing, ObjectStore
from cisterna.store.arrays import ImageSpec
from cisterna.store.receipts import stage_folder, stage_key
from cisterna.v1 import common_pb2, denoise_pb2, eres_pb2, ernet_pb2, graph_pb2, segment_pb2

MEASURED_CLASSES = ("copi", "tubular_eres", "er", "golgi")
"""Classes that the exit-site rules measure distances between; the others are counted as objects only."""


NEAREST = ("labels/", "local/", "ernet/classes")
"""Images whose values are names, never averaged."""


@dataclass(frozen=True)
class UsedArray:
    """A class that comes from an existing array instead of a model (uint8 probability on the raw grid)."""

    path: str
    identity: str
    source: str


@dataclass(frozen=True)
class Plan:
    """All stages of a run, in an order in which every stage follows what it needs."""

    run_id: str
    recipe: Recipe
    acquisition: Acquisition
    stages: tuple[Stage, ...]
    arrays: Mapping[str, str]
    tables: Mapping[str, str]
    models: Mapping[str, Mapping[str, Any]]
    uses: Mapping[str, UsedArray]
    warnings: tuple[str, ...]

    def stage(self, name: str) -> Stage:
        return next(s for s in self.stages if s.name == name)

    @property
    def images(self) -> list[Image]:
        return [i for s in self.stages for i in s.images]


def make_plan(
    store: ObjectStore, recipe: Recipe, acquisition: Acquisition, uses: Mapping[str, UsedArray] | None = None
) -> Plan:
    """The plan of a run. Raises RecipeError where the recipe does not fit the acquisition or names an absent model."""
    uses = dict(uses or {})
    if isinstance(recipe, FibsemRecipe) and acquisition.kind == "volume":
        builder = _Builder(store, acquisition)
        return _fibsem(builder, recipe, uses)
    if isinstance(recipe, ErMovieRecipe) and acquisition.kind == "movie":
        return _er_movie(_Builder(store, acquisition), recipe)
    raise RecipeError(f"recipe {recipe.recipe} does not fit a {acquisition.kind}: submit fibsem for volumes, er-movie for movies")


def check_models(store: ObjectStore, recipe: Recipe) -> None:
    """Raises RecipeError where the recipe names a model that is absent, altered or of another family."""
    if isinstance(recipe, FibsemRecipe):
        wanted = [(f"segment.models.{c}", m, "asem") for c, m in recipe.segment.models.items()]
        wanted += [("denoise.model", recipe.denoise.model, "fastfib")] if recipe.denoise.enabled else []
    else:
        wanted = [("ernet.model", recipe.ernet.model, "ernet")]
    for where, name, family in wanted:
        find_model(store, name, family, where)


def find_model(store: ObjectStore, name: str, family: str, where: str) -> Mapping[str, Any]:
    """model.json of a model in the store, of the family that ``where`` needs."""
    try:
        spec = read_spec(store.get(f"models/{name}/model.json"), f"models/{name}")
    except ObjectMissing:
        raise RecipeError(
            f"{where} names model {name!r}, which is not in the store: `cisterna models list` shows what is"
        ) from None
    except ModelError as e:
        raise RecipeError(f"{where}: {e}") from e
    if not spec["family"].startswith(family):
        raise RecipeError(f"{where} names model {name!r} of family {spec['family']}; it needs one of family {family}")
    return spec


class _Builder:
    """Collects stages; knows how references, keys and images are spelled."""

    def __init__(self, store: ObjectStore, acquisition: Acquisition) -> None:
        self.store = store
        self.acquisition = acquisition
        self.stages: list[Stage] = []
        self.arrays: dict[str, str] = {"raw": acquisition.raw.path}
        self.tables: dict[str, str] = {}
        self.models: dict[str, Mapping[str, Any]] = {}
        self.warnings: list[str] = []
        axes = "zyx" if acquisition.kind == "volume" else "tyx"
        self.spec = ImageSpec(acquisition.raw.shape, "uint8", acquisition.block, axes, acquisition.scale)
        self.grid = self.spec.grid

    def model(self, name: str, family: str, where: str) -> Mapping[str, Any]:
        spec = find_model(self.store, name, family, where)
        self.models[name] = spec
        return spec

    def image(self, name: str, stage: str, key: str, dtype: str, label: str) -> Image:
        return Image(f"{stage_folder(stage, key)}/{name}.ome.zarr", replace(self.spec, dtype=dtype, name=label, downsampling="nearest" if label.startswith(NEAREST) else "mean"))

    def add(self, stage: Stage) -> Stage:
        self.stages.append(stage)
        return stage

    def chunk(self, level_path: str, identity: str, block: int, halo: Sequence[int] = (0, 0, 0)) -> common_pb2.ChunkRef:
        return common_pb2.ChunkRef(
            array=common_pb2.ArrayRef(path=level_path, identity=identity), box=_box(self.grid.box(block)), halo=halo
        )

    def around(self, halo: Sequence[int]) -> Any:
        """Blocks that a block and its halo touch."""
        return lambda block: self.grid.overlapping(self.grid.box(block).grow(halo))

    def pyramids(self, stage: Stage, image: Image, mode: int) -> None:
        """The coarser levels of an image, a stage each."""
        levels = image.spec.levels
        finer, finer_grid = stage, levels[0].grid
        for n in range(1, len(levels)):
            level, factor = levels[n], levels[n - 1].factor
            suffix = "" if len(stage.images) == 1 else "-" + image.spec.name.split("/")[-1]
            name = f"{stage.name}{suffix}-pyramid{n}"
            document = {"image": image.path, "level": n, "factor": list(factor), "mode": mode}
            key = stage_key(name, VERSIONS["pyramid"], "", {"level": n, "factor": list(factor), "mode": mode, "image": image.spec.name}, {"source": stage.key})
            grid = level.grid

            def request(block: int, attempt: int, *, name: str = name, key: str = key, n: int = n, grid: Any = grid, factor: Any = factor) -> Any:
                return common_pb2.DownsampleBlockRequest(
                    task=_task(name, VERSIONS["pyramid"], key, block, attempt),
                    source=common_pb2.ArrayRef(path=image.level(n - 1), identity=stage.key),
                    target=common_pb2.ArrayRef(path=image.level(n), identity=key),
                    target_box=_box(grid.box(block)),
                    factor=factor,
                    mode=mode,  # type: ignore[arg-type]
                )

            def sources(block: int, *, grid: Any = grid, factor: Any = factor, finer_grid: Any = finer_grid) -> list[int]:
                box = grid.box(block)
                fine = Box(
                    tuple(o * f for o, f in zip(box.offset, factor, strict=True)),
                    tuple(s * f for s, f in zip(box.shape, factor, strict=True)),
                )
                return finer_grid.overlapping(fine)  # type: ignore[no-any-return]

            finer = self.add(
                Stage(
                    name=name,
                    service=stage.service,
                    method="DownsampleBlock",
                    key=key,
                    version=VERSIONS["pyramid"],
                    blocks=grid.blocks,
                    document=document,
                    request=request,
                    voxels=lambda b, grid=grid: grid.box(b).size,  # type: ignore[misc]
                    needs=(Needs(finer.name, sources),),
                )
            )
            finer_grid = grid

    def finish(self, recipe: Recipe, uses: Mapping[str, UsedArray]) -> Plan:
        identity = {
            "recipe": as_mapping(recipe),
            "acquisition": self.acquisition.identity,
            "uses": {c: u.identity for c, u in uses.items()},
            "stages": {s.name: s.key for s in self.stages},
        }
        self.warnings += [f"Model {n} was trained on phantoms only: judge its results on your own data before citing them."
                          for n, spec in sorted(self.models.items()) if spec["demo"]]
        return Plan(
            run_id=f"{recipe.recipe}-{digest(identity)[:12]}",
            recipe=recipe,
            acquisition=self.acquisition,
            stages=tuple(self.stages),
            arrays=self.arrays,
            tables=self.tables,
            models=self.models,
            uses=uses,
            warnings=tuple(self.warnings),
        )


def _fibsem(b: _Builder, recipe: FibsemRecipe, uses: Mapping[str, UsedArray]) -> Plan:
    raw = b.acquisition.raw
    for name in REQUIRED_CLASSES:
        if name not in recipe.segment.models and name not in uses:
            raise RecipeError(f"class {name} has neither a model (segment.models.{name}) nor an array (--use {name}=ARRAY)")
    denoised = _denoise(b, recipe) if recipe.denoise.enabled else None
    labels: dict[str, Stage] = {}
    merged: dict[str, Stage] = {}
    classes = [c for c in MEASURED_CLASSES + ("ccv",) if c in recipe.segment.models or c in uses]
    probabilities = {}
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
    _sites(b, recipe, labels, merged)
    if b.acquisition.detectors:
        b.arrays.update({d: s.path for d, s in b.acquisition.detectors.items()})
    model_sizes = {tuple(m["voxel_size_nm"]) for m in b.models.values() if m.get("voxel_size_nm")}
    for size in sorted(model_sizes):
        if any(not math.isclose(a, s, rel_tol=0.1) for a, s in zip(b.acquisition.scale, size, strict=True)):
            b.warnings.append(
                f"Voxels are {_sizes(b.acquisition.scale)} nm, the models were trained at {_sizes(size)} nm: expect errors at other scales."
            )
    assert raw.shape
    return b.finish(recipe, uses)


def _sizes(scale: Sequence[float]) -> str:
    return " × ".join(f"{s:g}" for s in scale)


def _denoise(b: _Builder, recipe: FibsemRecipe) -> Stage:
    model = b.model(recipe.denoise.model, "fastfib", "denoise.model")
    sources = list(b.acquisition.detectors.values()) or [b.acquisition.raw]
    stride = int(model["stride"])
    halo = (math.ceil(int(model["context"]) / stride) * stride,) * 3
    ranges = [{"low": s.low, "high": s.high, "invert": s.invert} for s in sources]
    document = {"model": recipe.denoise.model, "intensity": ranges, "halo_voxels": halo[0]}
    version = VERSIONS["denoise"]
    key = stage_key("denoise", version, model["digest"], {"intensity": ranges, "halo": halo[0]}, {"raw": b.acquisition.identity})
    image = b.image("denoised", "denoise", key, b.acquisition.raw.dtype, "denoised")

    def request(block: int, attempt: int) -> Any:
        return denoise_pb2.DenoiseBlockRequest(
            task=_task("denoise", version, key, block, attempt),
            inputs=[b.chunk(f"{s.path}/0", b.acquisition.identity, block, halo) for s in sources],
            output=common_pb2.ArrayRef(path=image.level(0), identity=key),
            model=common_pb2.ModelRef(name=recipe.denoise.model, digest=model["digest"]),
            intensity=[_range(s) for s in sources],
        )

    stage = b.add(
        Stage("denoise", "denoise", "DenoiseBlock", key, version, b.grid.blocks, document, request,
              lambda i: b.grid.box(i).size, images=(image,), model=recipe.denoise.model,
              flop_per_voxel=float(model["flop_per_voxel"]) * len(sources))
    )
    b.arrays["denoised"] = image.path
    b.pyramids(stage, image, common_pb2.DownsampleBlockRequest.MODE_MEAN)
    return stage


def _segment(b: _Builder, recipe: FibsemRecipe, class_name: str, denoised: Stage | None) -> tuple[Stage, float]:
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
            task=_task(name, version, key, block, attempt),
            input=b.chunk(path, identity, block, halo),
            output=common_pb2.ArrayRef(path=image.level(0), identity=key),
            model=common_pb2.ModelRef(name=model_name, digest=model["digest"]),
            intensity=_range(source),
        )

    needs = (Needs("denoise", b.around(reach)),) if use_denoised else ()
    stage = b.add(
        Stage(name, "segment", "SegmentBlock", key, version, b.grid.blocks, document, request,
              lambda i: b.grid.box(i).size, needs=needs, images=(image,), model=model_name,
              flop_per_voxel=float(model["flop_per_voxel"]))
    )
    b.arrays[f"probability/{class_name}"] = image.path
    b.pyramids(stage, image, common_pb2.DownsampleBlockRequest.MODE_MEAN)
    return stage, float(model.get("metrics", {}).get("threshold", 0.5))


def _objects(
    b: _Builder, recipe: FibsemRecipe, class_name: str, path: str, identity: str, source: Stage | None, threshold: float
) -> tuple[Stage, Stage]:
    level = max(1, math.ceil(threshold * 255))
    label_name, version = f"eres-label-{class_name}", VERSIONS["eres-label"]
    label_key = stage_key(label_name, version, "", {"threshold": level}, {"probability": identity})
    local = b.image("local", label_name, label_key, "uint32", f"local/{class_name}")
    parts = f"{stage_folder(label_name, label_key)}/parts"

    def label_request(block: int, attempt: int) -> Any:
        return eres_pb2.LabelBlockRequest(
            task=_task(label_name, version, label_key, block, attempt),
            probability=b.chunk(path, identity, block),
            local_labels=common_pb2.ArrayRef(path=local.level(0), identity=label_key),
            parts=common_pb2.ArrayRef(path=parts, identity=label_key),
            threshold=level,
        )

    label = b.add(
        Stage(label_name, "eres", "LabelBlock", label_key, version, b.grid.blocks, {"class": class_name, "threshold": level},
              label_request, lambda i: b.grid.box(i).size,
              needs=(Needs(source.name, same()),) if source is not None else (), images=(local,))
    )
    voxel_nm3 = math.prod(b.acquisition.scale)
    diameter = float(recipe.eres.min_diameter_nm.get(class_name, 0.0))
    min_voxels = max(1, math.ceil(math.pi / 6 * diameter**3 / voxel_nm3))
    merge_name, merge_version = f"eres-merge-{class_name}", VERSIONS["eres-merge"]
    merge_key = stage_key(merge_name, merge_version, "", {"min_voxels": min_voxels, "class": class_name,
                                                          "voxel_size_nm": list(b.acquisition.scale)}, {"local": label_key})
    folder = f"{stage_folder(merge_name, merge_key)}/merged"

    def merge_request(block: int, attempt: int) -> Any:
        return eres_pb2.MergeObjectsRequest(
            task=_task(merge_name, merge_version, merge_key, block, attempt),
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
        Stage(merge_name, "eres", "MergeObjects", merge_key, merge_version, 1,
              {"class": class_name, "min_voxels": min_voxels, "min_diameter_nm": diameter}, merge_request, lambda i: 0,
              needs=(Needs(label_name, every(b.grid.blocks)),))
    )
    name, relabel_version = f"eres-relabel-{class_name}", VERSIONS["eres-relabel"]
    key = stage_key(name, relabel_version, "", {}, {"merged": merge_key})
    image = b.image("labels", name, key, "uint32", f"labels/{class_name}")

    def request(block: int, attempt: int) -> Any:
        return eres_pb2.RelabelBlockRequest(
            task=_task(name, relabel_version, key, block, attempt),
            local_labels=b.chunk(local.level(0), label_key, block),
            merged=common_pb2.ArrayRef(path=folder, identity=merge_key),
            labels=common_pb2.ArrayRef(path=image.level(0), identity=key),
        )

    relabel = b.add(
        Stage(name, "eres", "RelabelBlock", key, relabel_version, b.grid.blocks, {"class": class_name}, request,
              lambda i: b.grid.box(i).size, needs=(Needs(merge_name, every(1)), Needs(label_name, same())), images=(image,))
    )
    b.arrays[f"labels/{class_name}"] = image.path
    b.tables[f"merged/{class_name}"] = f"{folder}/objects.parquet"
    b.pyramids(relabel, image, common_pb2.DownsampleBlockRequest.MODE_NEAREST)
    assert label.images
    return merge, relabel


def _sites(b: _Builder, recipe: FibsemRecipe, labels: Mapping[str, Stage], merged: Mapping[str, Stage]) -> None:
    rules = dict(recipe.eres.rules)
    rules_json = canonical_json(rules)
    reach_nm = max([float(v) for k, v in rules.items() if k.endswith("_nm")] or [400.0])
    halo = nm_to_voxels(reach_nm, b.acquisition.scale)
    measured = [c for c in MEASURED_CLASSES if c in labels]
    inputs = {c: labels[c].key for c in measured}
    version = VERSIONS["eres-measure"]
    scale = list(b.acquisition.scale)
    key = stage_key("eres-measure", version, "", {"rules": rules, "voxel_size_nm": scale}, inputs)
    parts = f"{stage_folder('eres-measure', key)}/parts"

    def measure_request(block: int, attempt: int) -> Any:
        refs = {c: b.chunk(labels[c].images[0].level(0), labels[c].key, block, halo) for c in measured}
        return eres_pb2.MeasureBlockRequest(
            task=_task("eres-measure", version, key, block, attempt),
            vesicle_labels=refs["copi"],
            tubular_labels=refs["tubular_eres"],
            er_labels=refs["er"],
            golgi_labels=refs.get("golgi"),
            parts=common_pb2.ArrayRef(path=parts, identity=key),
            voxel_size_nm=scale,
            rules_json=rules_json,
        )

    b.add(
        Stage("eres-measure", "eres", "MeasureBlock", key, version, b.grid.blocks, {"rules": rules}, measure_request,
              lambda i: b.grid.box(i).size, needs=tuple(Needs(labels[c].name, b.around(halo)) for c in measured))
    )
    sites_version = VERSIONS["eres-sites"]
    sites_key = stage_key("eres-sites", sites_version, "", {"rules": rules, "voxel_size_nm": scale},
                          {"measured": key, "vesicles": merged["copi"].key, "tubular": merged["tubular_eres"].key})
    folder = f"{stage_folder('eres-sites', sites_key)}/tables"

    def sites_request(block: int, attempt: int) -> Any:
        return eres_pb2.ClassifySitesRequest(
            task=_task("eres-sites", sites_version, sites_key, block, attempt),
            vesicle_objects=common_pb2.ArrayRef(path=f"{merged['copi'].folder}/merged/objects.parquet", identity=merged["copi"].key),
            tubular_objects=common_pb2.ArrayRef(path=f"{merged['tubular_eres'].folder}/merged/objects.parquet", identity=merged["tubular_eres"].key),
            parts=common_pb2.ArrayRef(path=parts, identity=key),
            blocks=b.grid.blocks,
            output=common_pb2.ArrayRef(path=folder, identity=sites_key),
            voxel_size_nm=scale,
            rules_json=rules_json,
            volume_shape=b.grid.shape,
        )

    tables = {t: f"{folder}/{t}.parquet" for t in ("objects", "sites", "links")}
    b.add(
        Stage("eres-sites", "eres", "ClassifySites", sites_key, sites_version, 1, {"rules": rules}, sites_request,
              lambda i: 0, needs=(Needs("eres-measure", every(b.grid.blocks)), Needs(merged["copi"].name, every(1)),
                                  Needs(merged["tubular_eres"].name, every(1))), tables=tables)
    )
    b.tables.update(tables)
    b.tables["counts"] = f"{folder}/counts.json"


def _er_movie(b: _Builder, recipe: ErMovieRecipe) -> Plan:
    model = b.model(recipe.ernet.model, "ernet", "ernet.model")
    acquisition = b.acquisition
    version = VERSIONS["ernet"]
    params = {"stack_min": acquisition.stack_min, "stack_max": acquisition.stack_max}
    key = stage_key("ernet", version, model["digest"], params, {"raw": acquisition.identity})
    classes = b.image("classes", "ernet", key, "uint8", "ernet/classes")
    confidence = b.image("confidence", "ernet", key, "uint8", "ernet/confidence")
    temporal = (int(model.get("temporal_context", 0)), 0, 0)
    raw_level = f"{acquisition.raw.path}/0"

    def request(block: int, attempt: int) -> Any:
        return ernet_pb2.SegmentFramesRequest(
            task=_task("ernet", version, key, block, attempt),
            input=b.chunk(raw_level, acquisition.identity, block, temporal),
            classes=common_pb2.ArrayRef(path=classes.level(0), identity=key),
            confidence=common_pb2.ArrayRef(path=confidence.level(0), identity=key),
            model=common_pb2.ModelRef(name=recipe.ernet.model, digest=model["digest"]),
            **params,
        )

    stage = b.add(
        Stage("ernet", "ernet", "SegmentFrames", key, version, b.grid.blocks, {"model": recipe.ernet.model, **params}, request,
              lambda i: b.grid.box(i).size, images=(classes, confidence), model=recipe.ernet.model,
              flop_per_voxel=float(model["flop_per_voxel"]))
    )
    b.arrays |= {"ernet/classes": classes.path, "ernet/confidence": confidence.path}
    b.pyramids(stage, classes, common_pb2.DownsampleBlockRequest.MODE_NEAREST)
    b.pyramids(stage, confidence, common_pb2.DownsampleBlockRequest.MODE_MEAN)
    interval_s, *pixel_um = acquisition.scale
    tracing, tracking = dict(recipe.graph.tracing), dict(recipe.graph.tracking)
    trace_version = VERSIONS["graph-trace"]
    trace_params = {"tracing": tracing, "pixel_size_um": pixel_um, "frame_interval_s": interval_s}
    trace_key = stage_key("graph-trace", trace_version, "", trace_params, {"classes": key, "raw": acquisition.identity})
    parts = f"{stage_folder('graph-trace', trace_key)}/parts"

    def trace_request(block: int, attempt: int) -> Any:
        return graph_pb2.TraceFramesRequest(
            task=_task("graph-trace", trace_version, trace_key, block, attempt),
            classes=b.chunk(classes.level(0), key, block),
            confidence=b.chunk(confidence.level(0), key, block),
            raw=b.chunk(raw_level, acquisition.identity, block),
            parts=common_pb2.ArrayRef(path=parts, identity=trace_key),
            pixel_size_um=pixel_um,
            frame_interval_s=interval_s,
            tracing_json=canonical_json(tracing),
        )

    b.add(
        Stage("graph-trace", "graph", "TraceFrames", trace_key, trace_version, b.grid.blocks, trace_params, trace_request,
              lambda i: b.grid.box(i).size, needs=(Needs("ernet", same()),))
    )
    summary_version = VERSIONS["graph-summary"]
    summary_params = {"tracking": tracking, "pixel_size_um": pixel_um, "frame_interval_s": interval_s}
    summary_key = stage_key("graph-summary", summary_version, "", summary_params, {"traced": trace_key})
    folder = f"{stage_folder('graph-summary', summary_key)}/tables"

    def summary_request(block: int, attempt: int) -> Any:
        return graph_pb2.SummariseMovieRequest(
            task=_task("graph-summary", summary_version, summary_key, block, attempt),
            parts=common_pb2.ArrayRef(path=parts, identity=trace_key),
            blocks=b.grid.blocks,
            output=common_pb2.ArrayRef(path=folder, identity=summary_key),
            pixel_size_um=pixel_um,
            frame_interval_s=interval_s,
            tracking_json=canonical_json(tracking),
        )

    tables = {t: f"{folder}/{t}.parquet" for t in ("frames", "nodes", "edges", "junctions")}
    b.add(
        Stage("graph-summary", "graph", "SummariseMovie", summary_key, summary_version, 1, summary_params, summary_request,
              lambda i: 0, needs=(Needs("graph-trace", every(b.grid.blocks)),), tables=tables)
    )
    b.tables.update(tables)
    trained = model.get("pixel_size_um")
    if trained and any(not math.isclose(p, float(trained), rel_tol=0.1) for p in pixel_um):
        b.warnings.append(f"Pixels are {_sizes(pixel_um)} µm, model {recipe.ernet.model} was trained at {trained:g} µm: expect errors at other scales.")
    return b.finish(recipe, {})


def _task(stage: str, version: int, key: str, block: int, attempt: int) -> common_pb2.TaskRef:
    return common_pb2.TaskRef(stage=stage, stage_version=version, stage_key=key, block_index=block, attempt=attempt)


def _box(box: Box) -> common_pb2.Box:
    return common_pb2.Box(offset=box.offset, shape=box.shape)


def _range(source: Source) -> common_pb2.IntensityRange:
    return common_pb2.IntensityRange(low=source.low, high=source.high, invert=source.invert)
