"""A z-stack of which every section is kept, as stages: class maps section by section, one 3-D network a time point.

A network that reads several frames reads those of one section: its halo runs along t alone. None of what is measured
on flat frames (meshes, cells, lifetimes, the static scene) is made.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cisterna.chunks import Box
from cisterna.models.digest import canonical_json
from cisterna.runs.acquisition import Acquisition
from cisterna.runs.building import Builder, UsedArray, box_ref, task_ref
from cisterna.runs.recipes import ErMovieRecipe, RecipeError
from cisterna.runs.stages import VERSIONS, Image, Needs, Stage, every
from cisterna.store.receipts import stage_folder, stage_key
from cisterna.v1 import common_pb2, graph_pb2

TABLES = ("stack_frames", "stack_nodes", "stack_edges")
LEFT_OUT = (
    "z sections were segmented one by one and traced in 3-D: lifetimes, tips through time, figures per cell, meshes "
    "and the static floor are measures of flat frames and were not made."
)


def check_z(recipe: ErMovieRecipe, acquisition: Acquisition) -> None:
    """Raises RecipeError where the recipe wants something else of a z-stack than the acquisition was made from."""
    z = acquisition.manifest.get("z")
    if z is None:
        # A movie without z is the one section that mode single asks for.
        if recipe.z_mode in (None, "single") and not recipe.z_section:
            return
        made = "from no z-stack"
    else:
        if (recipe.z_mode, recipe.z_section) == (z["mode"], z["section"]):
            return
        made = f"with z_mode {z['mode']}" + ("" if z["section"] is None else f", z_section {z['section']}")
    said = f"z_mode {recipe.z_mode or 'null'}" + ("" if recipe.z_section is None else f", z_section {recipe.z_section}")
    raise RecipeError(
        f"the recipe says {said}, but acquisition {acquisition.id} was made {made}: submit the file again with the "
        "mode that you want"
    )


def flat_note(acquisition: Acquisition) -> str:
    """What is said of every figure of a movie that was made flat from a z-stack; empty for others."""
    return str((acquisition.manifest.get("z") or {}).get("note", ""))


def check_stack(uses: Mapping[str, UsedArray]) -> None:
    """Raises RecipeError for what a run over all sections of a z-stack cannot do."""
    if "cells" in uses:
        raise RecipeError("labels of cells are flat, z_mode per_section traces in 3-D: leave --cells out")


def add_stack_network(b: Builder, recipe: ErMovieRecipe, classes: Image, confidence: Image, key: str) -> None:
    """Adds tracing and summary; `key` is that of the stage that wrote both images (t,z,y,x)."""
    frames, sections, height, width = b.spec.shape
    interval_s, *voxel_um = b.acquisition.scale
    tracing = dict(recipe.graph.tracing)
    figures = {"psf_fwhm_um": recipe.graph.psf_fwhm_um, "resamples": recipe.graph.resamples}
    params = {"tracing": tracing, "figures": figures, "voxel_size_um": voxel_um, "frame_interval_s": interval_s}
    version = VERSIONS["graph-trace-stack"]
    inputs = {"classes": key, "raw": b.acquisition.identity}
    trace_key = stage_key("graph-trace-stack", version, "", params, inputs)
    parts = common_pb2.ArrayRef(path=f"{stage_folder('graph-trace-stack', trace_key)}/parts", identity=trace_key)

    def chunk(path: str, identity: str, frame: int) -> common_pb2.ChunkRef:
        box = Box((frame, 0, 0, 0), (1, sections, height, width))
        return common_pb2.ChunkRef(array=common_pb2.ArrayRef(path=path, identity=identity), box=box_ref(box))

    def trace(frame: int, attempt: int) -> Any:
        return graph_pb2.TraceStackRequest(
            task=task_ref("graph-trace-stack", version, trace_key, frame, attempt),
            classes=chunk(classes.level(0), key, frame),
            confidence=chunk(confidence.level(0), key, frame),
            raw=chunk(f"{b.acquisition.raw.path}/0", b.acquisition.identity, frame),
            parts=parts,
            voxel_size_um=voxel_um,
            frame_interval_s=interval_s,
            tracing_json=canonical_json(tracing),
            figures_json=canonical_json(figures),
        )

    summary_version = VERSIONS["graph-summary-stack"]
    summary_key = stage_key("graph-summary-stack", summary_version, "", {}, {"traced": trace_key})
    folder = f"{stage_folder('graph-summary-stack', summary_key)}/tables"

    def summarise(block: int, attempt: int) -> Any:
        return graph_pb2.SummariseStacksRequest(
            task=task_ref("graph-summary-stack", summary_version, summary_key, block, attempt),
            parts=parts,
            blocks=frames,
            output=common_pb2.ArrayRef(path=folder, identity=summary_key),
        )

    tables = {name: f"{folder}/{name}.parquet" for name in TABLES}
    own = Needs("ernet", lambda frame: list(range(frame * sections, (frame + 1) * sections)))
    b.add(
        Stage(
            "graph-trace-stack", "graph", "TraceStack", trace_key, version, frames, params, trace,
            lambda i: sections * height * width, needs=(own,),
        )
    )  # fmt: skip
    b.add(
        Stage(
            "graph-summary-stack", "graph", "SummariseStacks", summary_key, summary_version, 1, {}, summarise,
            lambda i: 0, needs=(Needs("graph-trace-stack", every(frames)),), tables=tables,
        )
    )  # fmt: skip
    b.tables.update(tables)
    b.warnings.append(LEFT_OUT)
