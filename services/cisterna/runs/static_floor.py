"""The floor under every lifetime as stages: a static scene of the run's own making through the run's own model.

Frame in the middle of the movie → the same scene again and again with fresh noise → classes → networks → junctions
that never moved. Whatever lives, dies or switches there does so by noise alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from cisterna.models.digest import canonical_json
from cisterna.runs.building import Builder, box_ref, task_ref
from cisterna.runs.stages import VERSIONS, Image, Needs, Stage, every
from cisterna.store.receipts import stage_folder, stage_key
from cisterna.v1 import common_pb2, ernet_pb2, graph_pb2

NEIGHBOURS = (1, 0, 0)
"""Halo of class maps in tracing: what changes for one frame only is seen beside the frames around it."""
LEAST_FRAMES = 3
"""A shorter movie has no lifetimes, so no floor of them."""


def add_static_floor(
    b: Builder,
    frames: int,
    model_name: str,
    model: Mapping[str, Any],
    classes: common_pb2.ArrayRef,
    tracing: Mapping[str, Any],
    tracking: Mapping[str, Any],
) -> None:
    """Adds the stages; ``classes`` is the full-resolution class map of the run. At most as many frames as the movie."""
    movie_frames = b.spec.shape[0]
    frames = min(frames, movie_frames)
    if frames == 0 or movie_frames < LEAST_FRAMES:
        return
    source = movie_frames // 2
    acquisition = b.acquisition
    interval_s, *pixel_um = acquisition.scale
    shape, block = (frames, *b.spec.shape[1:]), (1, *b.spec.shape[1:])
    scene_params: dict[str, Any] = {"source_frame": source, "frames": frames}
    inputs = {"classes": classes.identity, "raw": acquisition.identity}
    drawn = _key("graph-static", "", scene_params, inputs)
    segment_params = {"stack_min": acquisition.stack_min, "stack_max": acquisition.stack_max}
    segmented = _key("ernet-static", model["digest"], segment_params, {"raw": drawn})
    figures = {"psf_fwhm_um": None, "resamples": 0}
    trace_params = {
        "tracing": dict(tracing),
        "figures": figures,
        "pixel_size_um": pixel_um,
        "frame_interval_s": interval_s,
    }
    traced = _key("graph-trace-static", "", trace_params, {"classes": segmented, "raw": drawn})
    floor_params = {"tracking": dict(tracking), "pixel_size_um": pixel_um, "frame_interval_s": interval_s}
    summed = _key("graph-summary-static", "", floor_params, {"traced": traced})

    def image(name: str, stage: str, key: str, dtype: str) -> Image:
        spec = replace(b.spec, shape=shape, block=block, dtype=dtype, name=f"floor/{name}", downsampling="nearest")
        return Image(f"{stage_folder(stage, key)}/{name}.ome.zarr", spec)

    scene = image("scene", "graph-static", drawn, acquisition.raw.dtype)
    class_map = image("classes", "ernet-static", segmented, "uint8")
    confidence = image("confidence", "ernet-static", segmented, "uint8")
    grid = scene.spec.grid
    parts = common_pb2.ArrayRef(path=f"{stage_folder('graph-trace-static', traced)}/parts", identity=traced)
    scene_folder, floor_folder = (
        f"{stage_folder(stage, key)}/tables"
        for stage, key in (("graph-static", drawn), ("graph-summary-static", summed))
    )
    halo = (int(model.get("temporal_context", 0)), 0, 0)

    def chunk(of: Image, key: str, index: int, around: tuple[int, int, int] = (0, 0, 0)) -> common_pb2.ChunkRef:
        array = common_pb2.ArrayRef(path=of.level(0), identity=key)
        return common_pb2.ChunkRef(array=array, box=box_ref(grid.box(index)), halo=around)

    def around(by: tuple[int, int, int]) -> Callable[[int], list[int]]:
        return lambda index: grid.overlapping(grid.box(index).grow(by))

    def draw(index: int, attempt: int) -> Any:
        return graph_pb2.DrawStaticFrameRequest(
            task=task_ref("graph-static", VERSIONS["graph-static"], drawn, index, attempt),
            classes=b.chunk(classes.path, classes.identity, source),
            raw=b.chunk(f"{acquisition.raw.path}/0", acquisition.identity, source),
            scene=common_pb2.ArrayRef(path=scene.level(0), identity=drawn),
            scene_box=box_ref(grid.box(index)),
            frames=frames,
            output=common_pb2.ArrayRef(path=scene_folder, identity=drawn),
        )

    def segment(index: int, attempt: int) -> Any:
        return ernet_pb2.SegmentFramesRequest(
            task=task_ref("ernet-static", VERSIONS["ernet-static"], segmented, index, attempt),
            input=chunk(scene, drawn, index, halo),
            classes=common_pb2.ArrayRef(path=class_map.level(0), identity=segmented),
            confidence=common_pb2.ArrayRef(path=confidence.level(0), identity=segmented),
            model=common_pb2.ModelRef(name=model_name, digest=model["digest"]),
            **segment_params,
        )

    def trace(index: int, attempt: int) -> Any:
        return graph_pb2.TraceFramesRequest(
            task=task_ref("graph-trace-static", VERSIONS["graph-trace-static"], traced, index, attempt),
            classes=chunk(class_map, segmented, index, NEIGHBOURS),
            confidence=chunk(confidence, segmented, index),
            raw=chunk(scene, drawn, index),
            parts=parts,
            pixel_size_um=pixel_um,
            frame_interval_s=interval_s,
            tracing_json=canonical_json(dict(tracing)),
            figures_json=canonical_json(figures),
        )

    def summarise(index: int, attempt: int) -> Any:
        return graph_pb2.SummariseMovieRequest(
            task=task_ref("graph-summary-static", VERSIONS["graph-summary-static"], summed, index, attempt),
            parts=parts,
            blocks=frames,
            output=common_pb2.ArrayRef(path=floor_folder, identity=summed),
            pixel_size_um=pixel_um,
            frame_interval_s=interval_s,
            tracking_json=canonical_json(dict(tracking)),
            field_um=field_um(b),
        )

    voxels = grid.box(0).size
    scene_tables = {"floor_scene": f"{scene_folder}/floor_scene.parquet"}
    floor_tables = {t: f"{floor_folder}/{t}.parquet" for t in ("floor", "floor_survival", "floor_frames")}
    for stage in (
        Stage(
            "graph-static", "graph", "DrawStaticFrame", drawn, VERSIONS["graph-static"], frames, scene_params, draw,
            lambda i: voxels, needs=(Needs("ernet", lambda i: [source]),), images=(scene,), tables=scene_tables,
        ),
        Stage(
            "ernet-static", "ernet", "SegmentFrames", segmented, VERSIONS["ernet-static"], frames,
            {"model": model_name, **segment_params}, segment, lambda i: voxels,
            needs=(Needs("graph-static", around(halo)),),
            images=(class_map, confidence), model=model_name, flop_per_voxel=float(model["flop_per_voxel"]),
        ),
        Stage(
            "graph-trace-static", "graph", "TraceFrames", traced, VERSIONS["graph-trace-static"], frames, trace_params,
            trace, lambda i: voxels, needs=(Needs("ernet-static", around(NEIGHBOURS)),),
        ),
        Stage(
            "graph-summary-static", "graph", "SummariseFloor", summed, VERSIONS["graph-summary-static"], 1,
            floor_params, summarise, lambda i: 0, needs=(Needs("graph-trace-static", every(frames)),),
            tables=floor_tables,
        ),
    ):  # fmt: skip
        b.add(stage)
    b.tables.update(scene_tables | floor_tables)


def field_um(b: Builder) -> list[float]:
    """Position (y, x) of the last pixel's centre."""
    return [(n - 1) * size for n, size in zip(b.spec.shape[1:], b.acquisition.scale[1:], strict=True)]


def _key(stage: str, model_digest: str, params: Mapping[str, Any], inputs: Mapping[str, str]) -> str:
    return stage_key(stage, VERSIONS[stage], model_digest, params, inputs)
