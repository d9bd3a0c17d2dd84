"""Splitting block by block: each component is cut by the block of its first voxel, then all objects are renumbered.

A component is read as far as it reaches, so the pieces are those of the in-core call for every tiling. A part holds
the pieces as runs of voxels along x; components that stay whole leave no trace in it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cisterna.chunks import Box
from cisterna.eres.components import LAST_ID, label_components
from cisterna.eres.splitting import Splitting, split_component
from cisterna.eres.sums import ObjectSums

NEAR_VOXELS = 64
"""Components that reach no farther out of the block are read with it in one go, the others alone."""


@dataclass(frozen=True)
class Outline:
    """Where the merged components 1…n lie: first voxel (raster index), number of voxels, first and last voxel index."""

    first: NDArray[np.int64]
    voxels: NDArray[np.int64]
    low: NDArray[np.int64]
    high: NDArray[np.int64]

    @classmethod
    def of(cls, sums: ObjectSums) -> Outline:
        """Of components numbered 1…n."""
        return cls(sums.first, sums.voxels, sums.low, sums.high)

    def box(self, i: int) -> Box:
        return Box.from_bounds(self.low[i].tolist(), (self.high[i] + 1).tolist())


@dataclass(frozen=True)
class SplitPart:
    """The components that one block cut: pieces 1…m with the component of each, and the voxels of each as runs."""

    pieces: ObjectSums
    component: NDArray[np.int64]
    run_start: NDArray[np.int64]
    run_length: NDArray[np.int64]
    run_piece: NDArray[np.int64]


def split_block(
    outline: Outline,
    box: Box,
    read: Callable[[Box], NDArray[np.uint8]],
    threshold: int,
    voxel_size_nm: Sequence[float],
    volume_shape: Sequence[int],
    splitting: Splitting,
    min_voxels: int = 1,
) -> SplitPart:
    """Cuts the components whose first voxel lies in ``box``.

    ``read`` gives the uint8 probability of any box of the volume (Z,Y,X); a voxel is positive from ``threshold`` on.
    """
    first = np.stack(np.unravel_index(outline.first, tuple(volume_shape)), axis=1).reshape(-1, 3)
    own = np.all((first >= box.offset) & (first < box.end), axis=1)
    own &= splitting.may_split(outline.voxels, outline.high - outline.low + 1, voxel_size_nm)
    chosen = np.flatnonzero(own)
    near = box.grow(NEAR_VOXELS).intersect(Box.whole(volume_shape))
    boxes = {int(i): outline.box(int(i)) for i in chosen}
    inside = [b for b in boxes.values() if near.contains(b)]
    shared = _hull(inside)
    probability = read(shared) if shared is not None else None
    sums: list[ObjectSums] = []
    component: list[int] = []
    runs: list[NDArray[np.int64]] = [np.zeros((0, 3), np.int64)]
    for i, at in boxes.items():
        if shared is not None and probability is not None and shared.contains(at):
            window = probability[at.relative_to(shared.offset).slices]
        else:
            window = read(at)
        labels = label_components(window >= threshold)
        mask = labels == labels[tuple(np.asarray(first[i]) - at.offset)]
        pieces = split_component(mask, voxel_size_nm, splitting, min_voxels)
        count = int(pieces.max())
        if count > 1:
            runs.append(_runs(pieces, at, volume_shape) + np.array([0, 0, len(component)]))
            sums.append(ObjectSums.of_labels(pieces, at.offset, volume_shape, window))
            component += [i + 1] * count
    every = np.concatenate(runs)
    return SplitPart(ObjectSums.concatenate(sums), np.array(component, np.int64), every[:, 0], every[:, 1], every[:, 2])


@dataclass(frozen=True)
class Numbered:
    """Final objects 1…n in raster order of their first voxel.

    ``of_component`` is the id of each component 1…, 0 where it was cut; piece p of part b has the id
    ``of_piece[start[b] + p - 1]``. ``cut_part``, ``cut_low``, ``cut_high`` say which part holds each cut component
    and where it lies.
    """

    sums: ObjectSums
    of_component: NDArray[np.uint32]
    start: NDArray[np.int64]
    of_piece: NDArray[np.uint32]
    cut_part: NDArray[np.int64]
    cut_low: NDArray[np.int64]
    cut_high: NDArray[np.int64]


def number_objects(components: ObjectSums, parts: Iterable[SplitPart]) -> Numbered:
    """Ids for the components (1…n) and pieces of a class; ValueError for more than 2³²−1."""
    start, pieces, owner, cut_part = [0], [], [], []
    for number, part in enumerate(parts):
        pieces.append(part.pieces)
        owner.append(part.component)
        start.append(start[-1] + len(part.component))
        cut_part.append(np.full(len(np.unique(part.component)), number, np.int64))
    cut = np.unique(np.concatenate(owner)) if owner else np.zeros(0, np.int64)
    # Parts come in the order of blocks, components in that of their first voxels: sort both alike.
    parts_of = np.concatenate(cut_part)[_order_of_first(owner)] if owner else np.zeros(0, np.int64)
    kept = np.ones(len(components), bool)
    kept[cut - 1] = False
    whole = np.flatnonzero(kept)
    every = ObjectSums.concatenate([components.take(whole), *pieces])
    if len(every) > LAST_ID:
        raise ValueError(f"{len(every)} objects do not fit uint32 ids: raise the threshold or min_voxels")
    order = np.argsort(every.first, kind="stable")
    ids = np.zeros(len(every), np.uint32)
    ids[order] = np.arange(1, len(every) + 1, dtype=np.uint32)
    of_component = np.zeros(len(components) + 1, np.uint32)
    of_component[whole + 1] = ids[: len(whole)]
    sums = every.take(order)
    return Numbered(
        sums.joined(np.arange(1, len(every) + 1)),
        of_component,
        np.array(start, np.int64),
        ids[len(whole) :],
        parts_of,
        components.low[cut - 1],
        components.high[cut - 1],
    )


def parts_of_block(numbered: Numbered, box: Box) -> list[int]:
    """Parts that hold a cut component with a box that reaches into ``box``."""
    here = np.all((numbered.cut_low < box.end) & (numbered.cut_high >= box.offset), axis=1)
    return [int(n) for n in np.unique(numbered.cut_part[here])]


def paint(
    numbered: Numbered,
    components: NDArray[np.uint32],
    box: Box,
    volume_shape: Sequence[int],
    parts: Iterable[tuple[int, SplitPart]],
) -> NDArray[np.uint32]:
    """Final labels of a block from its component ids; ``parts`` are those of :func:`parts_of_block` with numbers."""
    labels: NDArray[np.uint32] = numbered.of_component[components]
    rows = int(volume_shape[1])
    for number, part in parts:
        ids = numbered.of_piece[numbered.start[number] : numbered.start[number + 1]]
        line, x = np.divmod(part.run_start, int(volume_shape[2]))
        z, y = np.divmod(line, rows)
        end = x + part.run_length
        here = (z >= box.offset[0]) & (z < box.end[0]) & (y >= box.offset[1]) & (y < box.end[1])
        here &= (x < box.end[2]) & (end > box.offset[2])
        low, high = np.maximum(x[here], box.offset[2]), np.minimum(end[here], box.end[2])
        length = high - low
        begin = ((z[here] - box.offset[0]) * box.shape[1] + y[here] - box.offset[1]) * box.shape[2]
        begin += low - box.offset[2]
        step = np.arange(int(length.sum())) - np.repeat(np.cumsum(length) - length, length)
        labels.reshape(-1)[np.repeat(begin, length) + step] = np.repeat(ids[part.run_piece[here] - 1], length)
    return labels


def _order_of_first(owner: Sequence[NDArray[np.int64]]) -> NDArray[np.intp]:
    return np.argsort(np.concatenate([np.unique(o) for o in owner]), kind="stable")


def _hull(boxes: Sequence[Box]) -> Box | None:
    if not boxes:
        return None
    low = np.min([b.offset for b in boxes], axis=0)
    return Box.from_bounds(low.tolist(), np.max([b.end for b in boxes], axis=0).tolist())


def _runs(pieces: NDArray[np.uint32], at: Box, volume_shape: Sequence[int]) -> NDArray[np.int64]:
    """Rows (raster index of the first voxel, length, piece) of the runs along x."""
    padded = np.zeros((*pieces.shape[:2], pieces.shape[2] + 2), np.int64)
    padded[:, :, 1:-1] = pieces
    change = padded[:, :, 1:] != padded[:, :, :-1]
    begins = np.nonzero(change & (padded[:, :, 1:] != 0))
    ends = np.nonzero(change & (padded[:, :, :-1] != 0))
    z, y, x = (b + o for b, o in zip(begins, at.offset, strict=True))
    start = (z * volume_shape[1] + y) * volume_shape[2] + x
    return np.stack([start, ends[2] - begins[2], pieces[begins].astype(np.int64)], axis=1)
