"""A volume in blocks without services: for memory-mapped arrays, and for the proof that tiling is exact."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from cisterna.chunks import BlockGrid, Box
from cisterna.eres.components import LabelledBlock, Merged, label_block, merge_blocks
from cisterna.eres.distances import measure_block, measure_regions
from cisterna.eres.er_form import ErForm, centred_in, measure_er_form
from cisterna.eres.er_form import halo_voxels as form_halo_voxels
from cisterna.eres.least_distances import Distances, least_pairs
from cisterna.eres.objects import objects_frame
from cisterna.eres.pieces import Numbered, Outline, number_objects, paint, parts_of_block, split_block
from cisterna.eres.rules import Rules, find_rules
from cisterna.eres.sites import Sites, classify, region_members
from cisterna.eres.splitting import SPLITTING, Splitting
from cisterna.eres.sums import ObjectSums
from cisterna.tables.volumes import TUBULAR, VESICLES


def split_in_blocks(
    probability: NDArray[np.uint8],
    threshold: int,
    block: Sequence[int],
    voxel_size_nm: Sequence[float],
    splitting: Splitting = SPLITTING,
    min_voxels: int = 1,
) -> tuple[NDArray[np.uint32], Numbered]:
    """Consecutive labels (uint32) of a volume with touching objects cut apart, computed block by block."""
    labels, merged = label_in_blocks(probability, threshold, block, min_voxels)
    grid, outline = BlockGrid(probability.shape, tuple(block)), Outline.of(merged.sums)

    def read(box: Box) -> NDArray[np.uint8]:
        return np.asarray(probability[box.slices])

    parts = [
        split_block(outline, grid.box(n), read, threshold, voxel_size_nm, grid.shape, splitting, min_voxels)
        for n in range(grid.blocks)
    ]
    numbered = number_objects(merged.sums, parts)
    for number in range(grid.blocks):
        box = grid.box(number)
        held = [(n, parts[n]) for n in parts_of_block(numbered, box)]
        labels[box.slices] = paint(numbered, labels[box.slices], box, grid.shape, held)
    return labels, numbered


def label_in_blocks(
    probability: NDArray[np.uint8], threshold: int, block: Sequence[int], min_voxels: int = 1
) -> tuple[NDArray[np.uint32], Merged]:
    """Consecutive labels (uint32) of a volume and its objects, computed block by block."""
    grid = BlockGrid(probability.shape, tuple(block))
    parts: list[LabelledBlock] = []
    labels = np.zeros(probability.shape, np.uint32)
    for number in range(grid.blocks):
        box = grid.box(number)
        local, part = label_block(np.asarray(probability[box.slices]), threshold, box, grid.shape)
        labels[box.slices] = local
        parts.append(part)
    merged = merge_blocks(parts, grid, min_voxels)
    for number in range(grid.blocks):
        box = grid.box(number)
        labels[box.slices] = merged.relabel(number, labels[box.slices])
    return labels, merged


def classify_in_blocks(
    vesicle_labels: NDArray[np.integer],
    tubular_labels: NDArray[np.integer],
    er_mask: NDArray[np.generic],
    voxel_size_nm: Sequence[float],
    block: Sequence[int],
    rules: str | Rules | Mapping[str, object] = "nair2025",
    golgi_mask: NDArray[np.generic] | None = None,
    ccv_mask: NDArray[np.generic] | None = None,
) -> Sites:
    """What :func:`classify_sites` gives, holding one block and its halo at a time. Labels must be whole numbers."""
    chosen = find_rules(rules)
    grid = BlockGrid(vesicle_labels.shape, tuple(block))
    halo = chosen.object_halo_voxels(voxel_size_nm, golgi_mask is not None)
    sums: dict[str, list[ObjectSums]] = {VESICLES: [], TUBULAR: []}
    parts: list[Distances] = []
    for number in range(grid.blocks):
        box = grid.box(number)
        # One voxel at least: neighbours across blocks tell the surface area.
        window = box.grow([max(1, h) for h in halo]).intersect(Box.whole(grid.shape))
        for name, labels in ((VESICLES, vesicle_labels), (TUBULAR, tubular_labels)):
            cut = np.asarray(labels[window.slices])
            sums[name].append(ObjectSums.of_labels(cut, window.offset, grid.shape, core=box.relative_to(window.offset)))
        parts.append(
            measure_block(
                np.asarray(vesicle_labels[window.slices]),
                np.asarray(tubular_labels[window.slices]),
                np.asarray(er_mask[window.slices]) != 0,
                None if golgi_mask is None else np.asarray(golgi_mask[window.slices]) != 0,
                box.relative_to(window.offset),
                voxel_size_nm,
                chosen,
                None if ccv_mask is None else np.asarray(ccv_mask[window.slices]) != 0,
            )
        )
    frames = []
    for name in (VESICLES, TUBULAR):
        every = ObjectSums.concatenate(sums[name])
        frames.append(objects_frame(name, every.joined(every.label), voxel_size_nm, grid.shape))
    for i, frame in enumerate(frames):
        forms = [ErForm.none()]
        for number in range(grid.blocks):
            box = grid.box(number)
            if not len(centred_in(frame, box, voxel_size_nm)):
                continue
            window = box.grow(form_halo_voxels(voxel_size_nm)).intersect(Box.whole(grid.shape))
            mask = np.asarray(er_mask[window.slices]) != 0
            core = box.relative_to(window.offset)
            forms.append(measure_er_form(frame, mask, core, window.offset, voxel_size_nm))
        frames[i] = ErForm.joined(forms).fill(frame)
    distances = Distances.joined(parts)
    if not chosen.golgi_from_mask(golgi_mask is not None):
        members, _, _ = region_members(frames[0], distances.vesicle_vesicle, chosen)
        regions = []
        for number in range(grid.blocks):
            box = grid.box(number)
            if np.isin(vesicle_labels[box.slices], members).any():
                window = box.grow(chosen.halo_voxels(voxel_size_nm)).intersect(Box.whole(grid.shape))
                cut, core = np.asarray(vesicle_labels[window.slices]), box.relative_to(window.offset)
                regions.append(measure_regions(cut, members, core, voxel_size_nm, chosen))
        distances = replace(distances, vesicle_region=least_pairs(regions))
    return classify(frames[0], frames[1], distances, voxel_size_nm, grid.shape, chosen, golgi_mask is not None)
