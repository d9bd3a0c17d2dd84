"""The er-movie recipe as stages: ERnet classes, traced networks, one summary."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from cisterna.chunks import Box
from cisterna.models.digest import canonical_json
from cisterna.runs.building import Builder, Plan, UsedArray, box_ref, sizes, task_ref
from cisterna.runs.er_stack import add_stack_network, check_stack, check_z, flat_note
from cisterna.runs.recipes import ErMovieRecipe, RecipeError
from cisterna.runs.stages import VERSIONS, Needs, Stage, every
from cisterna.runs.static_floor import NEIGHBOURS, add_static_floor, field_um
from cisterna.store.receipts import stage_folder, stage_key
from cisterna.v1 import common_pb2, ernet_pb2, graph_pb2

LARGEST_SCALE = 8.0
"""Pixels that differ by more than this factor from the model's are a mistake of units, or show no tubules."""


def plan_er_movie(b: Builder, recipe: ErMovieRecipe, uses: Mapping[str, UsedArray]) -> Plan:
    model = b.model(recipe.ernet.model, "ernet", "ernet.model")
    acquisition = b.acquisition
    check_z(recipe, acquisition)
    if acquisition.z_mode == "per_section":
        check_stack(uses)
    version = VERSIONS["ernet"]
    params = {"stack_min": acquisition.stack_min, "stack_max": acquisition.stack_max}
    key = stage_key("ernet", version, model["digest"], params, {"raw": acquisition.identity})
    classes = b.image("classes", "ernet", key, "uint8", "ernet/classes")
    confidence = b.image("confidence", "ernet", key, "uint8", "ernet/confidence")
    temporal = (int(model.get("temporal_context", 0)), *(0,) * (len(b.spec.shape) - 1))
    raw_level = f"{acquisition.raw.path}/0"

    def request(block: int, attempt: int) -> Any:
        return ernet_pb2.SegmentFramesRequest(
            task=task_ref("ernet", version, key, block, attempt),
            input=b.chunk(raw_level, acquisition.identity, block, temporal),
            classes=common_pb2.ArrayRef(path=classes.level(0), identity=key),
            confidence=common_pb2.ArrayRef(path=confidence.level(0), identity=key),
            model=common_pb2.ModelRef(name=recipe.ernet.model, digest=model["digest"]),
            **params,
        )

    stage = b.add(
        Stage(
            "ernet",
            "ernet",
            "SegmentFrames",
            key,
            version,
            b.grid.blocks,
            {"model": recipe.ernet.model, **params},
            request,
            lambda i: b.grid.box(i).size,
            images=(classes, confidence),
            model=recipe.ernet.model,
            flop_per_voxel=float(model["flop_per_voxel"]),
        )
    )
    b.arrays |= {"ernet/classes": classes.path, "ernet/confidence": confidence.path}
    b.pyramids(stage, classes, common_pb2.DownsampleBlockRequest.MODE_NEAREST)
    b.pyramids(stage, confidence, common_pb2.DownsampleBlockRequest.MODE_MEAN)
    _note_edge_frames(b, recipe.ernet.model, model)
    _warn_of_scale(b, recipe.ernet.model, model)
    if acquisition.z_mode == "per_section":
        add_stack_network(b, recipe, classes, confidence, key)
        return b.finish(recipe, uses)
    interval_s, *pixel_um = acquisition.scale
    tracing, tracking = dict(recipe.graph.tracing), dict(recipe.graph.tracking)
    trace_version = VERSIONS["graph-trace"]
    figures = {"psf_fwhm_um": recipe.graph.psf_fwhm_um, "resamples": recipe.graph.resamples}
    trace_params = {
        "tracing": tracing, "figures": figures, "pixel_size_um": pixel_um, "frame_interval_s": interval_s,
    }  # fmt: skip
    trace_inputs = {"classes": key, "raw": acquisition.identity}
    cells, cell_frames = _cells(b, uses)
    if cells is not None:
        trace_inputs["cells"] = cells.identity
    trace_key = stage_key("graph-trace", trace_version, "", trace_params, trace_inputs)
    parts = f"{stage_folder('graph-trace', trace_key)}/parts"

    def trace_request(block: int, attempt: int) -> Any:
        return graph_pb2.TraceFramesRequest(
            task=task_ref("graph-trace", trace_version, trace_key, block, attempt),
            classes=b.chunk(classes.level(0), key, block, NEIGHBOURS),
            confidence=b.chunk(confidence.level(0), key, block),
            raw=b.chunk(raw_level, acquisition.identity, block),
            parts=common_pb2.ArrayRef(path=parts, identity=trace_key),
            pixel_size_um=pixel_um,
            frame_interval_s=interval_s,
            tracing_json=canonical_json(tracing),
            figures_json=canonical_json(figures),
            cells=_cell_chunk(b, cells, cell_frames, block) if cells is not None else None,
        )

    b.add(
        Stage(
            "graph-trace",
            "graph",
            "TraceFrames",
            trace_key,
            trace_version,
            b.grid.blocks,
            trace_params,
            trace_request,
            lambda i: b.grid.box(i).size,
            needs=(Needs("ernet", b.around(NEIGHBOURS)),),
        )
    )
    summary_version = VERSIONS["graph-summary"]
    note = flat_note(acquisition)
    summary_params = {"tracking": tracking, "pixel_size_um": pixel_um, "frame_interval_s": interval_s}
    if note:
        summary_params["note"] = note
    summary_key = stage_key("graph-summary", summary_version, "", summary_params, {"traced": trace_key})
    folder = f"{stage_folder('graph-summary', summary_key)}/tables"

    def summary_request(block: int, attempt: int) -> Any:
        return graph_pb2.SummariseMovieRequest(
            task=task_ref("graph-summary", summary_version, summary_key, block, attempt),
            parts=common_pb2.ArrayRef(path=parts, identity=trace_key),
            blocks=b.grid.blocks,
            output=common_pb2.ArrayRef(path=folder, identity=summary_key),
            pixel_size_um=pixel_um,
            frame_interval_s=interval_s,
            tracking_json=canonical_json(tracking),
            field_um=field_um(b),
            note=note,
        )

    dynamics = ("junctions", "episodes", "events", "tips", "tip_phases", "dynamics", "survival")
    tables = {t: f"{folder}/{t}.parquet" for t in ("frames", "nodes", "edges", "multi_way", *dynamics)}
    if cells is not None:
        tables["cells"] = f"{folder}/cells.parquet"
    b.add(
        Stage(
            "graph-summary",
            "graph",
            "SummariseMovie",
            summary_key,
            summary_version,
            1,
            summary_params,
            summary_request,
            lambda i: 0,
            needs=(Needs("graph-trace", every(b.grid.blocks)),),
            tables=tables,
        )
    )
    b.tables.update(tables)
    class_map = common_pb2.ArrayRef(path=classes.level(0), identity=key)
    add_static_floor(b, recipe.graph.static_floor_frames, recipe.ernet.model, model, class_map, tracing, tracking)
    return b.finish(recipe, uses)


def _note_edge_frames(b: Builder, name: str, model: Mapping[str, Any]) -> None:
    """The rule for the ends of the movie, which nobody published: it belongs to what the results say of themselves."""
    frames = int(model.get("frames", 1))
    if frames > 1:
        before, after = frames // 2, frames - 1 - frames // 2
        b.warnings.append(
            f"Model {name} reads {frames} frames for each one that it labels ({before} before, {after} after); at the "
            "ends of the movie the first and the last frame are repeated instead, so the frames there rest on fewer."
        )


def _warn_of_scale(b: Builder, name: str, model: Mapping[str, Any]) -> None:
    pixel_um, trained = b.acquisition.scale[-2:], model.get("pixel_size_um")
    if trained and not all(1 / LARGEST_SCALE <= p / float(trained) <= LARGEST_SCALE for p in pixel_um):
        raise RecipeError(
            f"pixels of {sizes(1000 * p for p in pixel_um)} nm are more than {LARGEST_SCALE:g} times larger or smaller "
            f"than those of model {name} ({1000 * float(trained):g} nm): correct the pixel size, or name another model"
        )
    if trained and any(not math.isclose(p, float(trained), rel_tol=0.1) for p in pixel_um):
        b.warnings.append(
            f"Pixels are {sizes(pixel_um)} µm, model {name} was trained at {trained:g} µm: "
            "expect errors at other scales."
        )


def _cells(b: Builder, uses: Mapping[str, UsedArray]) -> tuple[UsedArray | None, int]:
    """The labels of cells, and how many frames they have: one for all, or one a frame."""
    cells = uses.get("cells")
    if cells is None:
        return None, 0
    b.arrays["labels/cells"] = cells.path
    return cells, int(b.store.get_json(f"{cells.path.rpartition('/')[0]}/use.json")["shape"][0])


def _cell_chunk(b: Builder, cells: UsedArray, frames: int, block: int) -> common_pb2.ChunkRef:
    box = b.grid.box(block)
    if frames == 1:
        box = Box((0, *box.offset[1:]), (1, *box.shape[1:]))
    return common_pb2.ChunkRef(
        array=common_pb2.ArrayRef(path=f"{cells.path}/0", identity=cells.identity), box=box_ref(box)
    )
