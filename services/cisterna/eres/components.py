"""Connected components of a volume, block by block, equal to the in-core answer for every tiling.

Connectivity is 26. On these grids a diagonal step is at most 7.7 nm (5.24×4×4 nm), below the thickness of a
membrane, and a membrane or tubule that is one voxel thick and runs obliquely falls apart under 6. Objects closer
than the grouping distance become one site anyway, so 26 cannot change a site; 6 could multiply its objects.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import cc3d
import numpy as np
from numpy.typing import NDArray

from cisterna.chunks import BlockGrid, Box
from cisterna.eres.sums import FORWARD, ObjectSums

CONNECTIVITY = 26

MANY_VOXELS = 1 << 21
"""Size of an array from which on labels are numbered by compiled code."""

LAST_ID = np.iinfo(np.uint32).max


@dataclass(frozen=True)
class LabelledBlock:
    """Components of one block: sums of local labels 1…n, and the positive voxels on the block's faces.

    ``shell_index`` holds their raster index in the whole volume, ascending; ``shell_label`` their local label.
    """

    sums: ObjectSums
    shell_index: NDArray[np.int64]
    shell_label: NDArray[np.int64]


@dataclass(frozen=True)
class Merged:
    """Objects of the whole volume, ids 1…n in raster order of their first voxel.

    Local label l of block b has the id ``ids[start[b] + l - 1]``; 0 where the object was dropped as too small.
    """

    sums: ObjectSums
    start: NDArray[np.int64]
    ids: NDArray[np.uint32]

    def relabel(self, block: int, local: NDArray[np.integer]) -> NDArray[np.uint32]:
        """Final labels (uint32) of a block from its local labels."""
        table = np.concatenate([np.zeros(1, np.uint32), self.ids[self.start[block] : self.start[block + 1]]])
        if local.size and int(local.max()) >= len(table):
            raise ValueError(
                f"block {block} has local label {int(local.max())}, its part knows {len(table) - 1}: label it again"
            )
        final: NDArray[np.uint32] = table[local]
        return final


def label_components(mask: NDArray[np.bool_]) -> NDArray[np.uint32]:
    """26-connected components of a mask (Z,Y,X), numbered 1…n in raster order of their first voxel."""
    if mask.ndim != 3:
        raise ValueError(f"components need a volume (z,y,x), got an array of shape {mask.shape}")
    if mask.size == 0 or not mask.any():
        return np.zeros(mask.shape, np.uint32)
    labels = cc3d.connected_components(  # type: ignore[call-overload]
        np.ascontiguousarray(mask), connectivity=CONNECTIVITY, out_dtype=np.uint32
    )
    if labels.size < MANY_VOXELS or not labels.flags.c_contiguous:
        return in_raster_order(labels)
    from cisterna.eres.adding import renumber  # numba compiles: not for a small array

    renumber(labels, int(labels.max()))
    numbered: NDArray[np.uint32] = labels
    return numbered


def in_raster_order(labels: NDArray[np.integer]) -> NDArray[np.uint32]:
    """Labels (0 background) numbered anew, 1…n in raster order of each label's first voxel."""
    flat = labels.ravel()
    filled = np.flatnonzero(flat)
    values = flat[filled]
    if not len(values):
        return np.zeros(labels.shape, np.uint32)
    highest = int(values.max())
    if highest > 4 * len(values) + 65536:
        numbers, inverse = np.unique(values, return_inverse=True)
    else:
        numbers, inverse = np.arange(highest + 1), values.astype(np.intp)
    first = np.full(len(numbers), np.iinfo(np.int64).max)
    # Written from the back: what stays is each label's first voxel.
    first[inverse[::-1]] = filled[::-1]
    found = np.flatnonzero(first < np.iinfo(np.int64).max)
    table = np.zeros(len(numbers), np.uint32)
    table[found[np.argsort(first[found])]] = np.arange(1, len(found) + 1, dtype=np.uint32)
    out = np.zeros(flat.shape, np.uint32)
    out[filled] = table[inverse]
    return out.reshape(labels.shape)


def label_block(
    probability: NDArray[np.uint8], threshold: int, box: Box, volume_shape: Sequence[int]
) -> tuple[NDArray[np.uint32], LabelledBlock]:
    """Local labels of one block, and what the merge needs of it.

    ``probability`` (Z,Y,X, uint8) covers ``box`` of a volume of ``volume_shape`` voxels; positive is
    ``probability >= threshold``, 1 ≤ threshold ≤ 255.
    """
    if not 1 <= threshold <= 255:
        raise ValueError(f"threshold {threshold} is outside 1…255: at 0 every voxel would be positive")
    if probability.shape != box.shape:
        raise ValueError(f"probabilities of shape {probability.shape} do not fill {box}")
    labels = label_components(probability >= threshold)
    sums = ObjectSums.of_labels(labels, box.offset, volume_shape, probability)
    return labels, LabelledBlock(sums, *_shell(labels, box, volume_shape))


def merge_blocks(blocks: Iterable[LabelledBlock], grid: BlockGrid, min_voxels: int = 1) -> Merged:
    """Joins components across blocks by union-find; ``blocks`` come in the grid's order.

    Objects below ``min_voxels`` are dropped and get no id. Only the faces of one layer of blocks are held at a
    time. Raises ValueError for more than 2³²−1 objects.
    """
    sums: list[ObjectSums] = []
    start = np.zeros(grid.blocks + 1, np.int64)
    pairs: list[NDArray[np.int64]] = []
    across: list[NDArray[np.int64]] = []
    above = _Shell.empty()
    layer: list[_Shell] = []
    per_layer = grid.blocks // grid.counts[0]
    number = -1
    for number, block in enumerate(blocks):
        if number >= grid.blocks:
            raise ValueError(f"more parts than the {grid.blocks} blocks of the grid")
        sums.append(block.sums)
        start[number + 1] = start[number] + len(block.sums)
        layer.append(_Shell(block.shell_index, block.shell_label - 1 + start[number]))
        if (number + 1) % per_layer == 0:
            current = _Shell.joined([above, *layer])
            found, between = _touching(current, grid.shape, start[: number + 2], grid.box(number).offset[0])
            pairs.append(found)
            across.append(between)
            last_plane = grid.box(number).end[0] - 1
            above = current.from_plane(last_plane, grid.shape)
            layer = []
    if number + 1 != grid.blocks:
        raise ValueError(f"{number + 1} parts for the {grid.blocks} blocks of the grid: label the missing blocks first")
    every = ObjectSums.concatenate(sums)
    # Neighbours in two blocks, which neither of them could count.
    counted = every.pairs.copy()
    for between in across:
        np.add.at(counted, (between[:, 0], between[:, 1]), 1)
    every = replace(every, pairs=counted)
    root = _union(len(every), np.concatenate(pairs) if pairs else np.zeros((0, 2), np.int64))
    objects = every.joined(root)
    order = np.argsort(objects.first, kind="stable")
    kept = order[objects.voxels[order] >= min_voxels]
    if len(kept) > LAST_ID:
        raise ValueError(f"{len(kept)} objects do not fit uint32 ids: raise the threshold or min_voxels")
    id_of_group = np.zeros(len(objects), np.uint32)
    id_of_group[kept] = np.arange(1, len(kept) + 1, dtype=np.uint32)
    ids = id_of_group[np.searchsorted(objects.label, root)]
    merged = objects.take(kept)
    return Merged(merged.joined(np.arange(1, len(kept) + 1)), start, ids.astype(np.uint32))


@dataclass(frozen=True)
class _Shell:
    """Positive voxels on block faces: raster index in the volume, number of the component."""

    index: NDArray[np.int64]
    component: NDArray[np.int64]

    @classmethod
    def empty(cls) -> _Shell:
        return cls(np.zeros(0, np.int64), np.zeros(0, np.int64))

    @classmethod
    def joined(cls, shells: Sequence[_Shell]) -> _Shell:
        index = np.concatenate([s.index for s in shells])
        order = np.argsort(index, kind="stable")
        return cls(index[order], np.concatenate([s.component for s in shells])[order])

    def from_plane(self, plane: int, shape: Sequence[int]) -> _Shell:
        begin = np.searchsorted(self.index, plane * shape[1] * shape[2])
        return _Shell(self.index[begin:], self.component[begin:])


def _shell(labels: NDArray[np.uint32], box: Box, shape: Sequence[int]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    found, values = [], []
    inner = [slice(None)] * 3
    for axis, size in enumerate(labels.shape):
        for at in sorted({0, size - 1}):
            face = [*inner[:axis], slice(at, at + 1), *inner[axis + 1 :]]
            cut = labels[tuple(face)]
            where = np.nonzero(cut)
            values.append(cut[where].astype(np.int64))
            low = [(s.start or 0) + o for s, o in zip(face, box.offset, strict=True)]
            z, y, x = (w.astype(np.int64) + o for w, o in zip(where, low, strict=True))
            found.append((z * shape[1] + y) * shape[2] + x)
        inner[axis] = slice(1, max(1, size - 1))  # no voxel twice: the faces of later axes leave out the edges
    index = np.concatenate(found)
    order = np.argsort(index)
    return index[order], np.concatenate(values)[order]


def _touching(
    shell: _Shell, shape: Sequence[int], start: NDArray[np.int64], first_plane: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pairs of different components with 26-adjacent voxels in the shell; and, for every two such voxels in two
    blocks of which the later lies in ``first_plane`` or beyond, a row (component, direction)."""
    if not len(shell.index):
        return np.zeros((0, 2), np.int64), np.zeros((0, 2), np.int64)
    yx = shape[1] * shape[2]
    y, x = (shell.index % yx) // shape[2], shell.index % shape[2]
    block = np.searchsorted(start, shell.component, side="right")
    found, between = [], []
    for direction, (dz, dy, dx) in enumerate(FORWARD):
        inside = np.flatnonzero((y + dy >= 0) & (y + dy < shape[1]) & (x + dx >= 0) & (x + dx < shape[2]))
        wanted = shell.index[inside] + dz * yx + dy * shape[2] + dx
        at = np.minimum(np.searchsorted(shell.index, wanted), len(shell.index) - 1)
        hit = shell.index[at] == wanted
        one, two = inside[hit], at[hit]
        other = block[one] != block[two]
        pairs = np.stack([shell.component[one[other]], shell.component[two[other]]], axis=1)
        found.append(np.unique(pairs, axis=0))
        new = one[other & (shell.index[two] >= first_plane * yx)]
        between.append(np.stack([shell.component[new], np.full(len(new), direction)], axis=1))
    return np.concatenate(found), np.concatenate(between)


def _union(n: int, pairs: NDArray[np.int64]) -> NDArray[np.int64]:
    """Number of the connected group of each of n elements (SciPy's graph search is a union-find in C)."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    if n == 0:
        return np.zeros(0, np.int64)
    graph = coo_array((np.ones(len(pairs), np.int32), (pairs[:, 0], pairs[:, 1])), shape=(n, n))
    group: NDArray[np.int64] = connected_components(graph, directed=False)[1].astype(np.int64)
    return group
