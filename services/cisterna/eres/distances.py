"""Surface distances between objects, block by block, exact.

The distance of two masks is the distance between the centres of their nearest voxels, in nm on the anisotropic
grid; overlapping masks are at 0. One block emits the least distance that one of its own voxels has to anything in
the block and its halo. Every pair of voxels within the halo's reach has its first voxel in exactly one block, so the
minimum over all blocks is the distance in the whole volume.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from cisterna.chunks import Box
from cisterna.eres.least_distances import NO_NEAREST, NO_PAIR, Distances, Nearest, Overlap, Pairs, least, least_pairs
from cisterna.eres.rules import TOLERANCE_NM, Rules

DECIMALS = 6
"""Distances are rounded to 1e-6 nm, so that the block in which a pair was seen leaves no trace in the last bit."""

_SLACK_NM = 1e-5


def measure_block(
    vesicles: NDArray[np.integer],
    tubular: NDArray[np.integer],
    er: NDArray[np.bool_],
    golgi: NDArray[np.bool_] | None,
    core: Box,
    voxel_size_nm: Sequence[float],
    rules: Rules,
    overlap: NDArray[np.bool_] | None = None,
) -> Distances:
    """Distances seen from one block, all but ``vesicle_region``.

    The arrays (Z,Y,X) hold the block and its halo, clipped to the volume; ``core`` is the block's box within them.
    The halo must reach ``rules.object_halo_voxels(...)`` wherever the volume goes on. ``golgi`` None = there is
    no Golgi segmentation; ``overlap`` is the class that the rules exclude overlaps with.
    """
    size = np.asarray(voxel_size_nm, np.float64)
    ves = _Surfaces.of_labels(vesicles, core, size)
    tub = _Surfaces.of_labels(tubular, core, size)
    from_mask = rules.golgi_from_mask(golgi is not None)
    no_pairs = Pairs(*NO_PAIR)
    surface_groups = rules.group_measure == "surface"
    to_er = _Field(er, size)
    links = no_pairs
    if rules.link_measure == "surface":
        links = _pairs(ves, tub, rules.link_nm, "euclidean")
        links = least_pairs([links, _overlapping(vesicles, tubular, core)])
    return Distances(
        vesicle_er=_to_mask(vesicles, ves, to_er, core, rules.er_search_nm, "euclidean"),
        tubular_er=_to_mask(tubular, tub, to_er, core, rules.er_search_nm, "euclidean"),
        vesicle_golgi=(
            _to_mask(vesicles, ves, _Field(golgi, size), core, rules.golgi_distance_nm, rules.golgi_metric)
            if from_mask and golgi is not None
            else Nearest(*NO_NEAREST)
        ),
        vesicle_vesicle=(
            _pairs(ves, ves, rules.group_vesicles_nm, "euclidean", same=True) if surface_groups else no_pairs
        ),
        vesicle_region=no_pairs,
        tubular_tubular=(
            _pairs(tub, tub, rules.group_tubular_nm, "euclidean", same=True) if surface_groups else no_pairs
        ),
        vesicle_tubular=links,
        vesicle_overlap=(
            Overlap.counted(vesicles[core.slices], overlap[core.slices])
            if rules.check_overlap(overlap is not None) and overlap is not None
            else Overlap.joined([])
        ),
    )


def measure_regions(
    vesicles: NDArray[np.integer],
    members: NDArray[np.integer],
    core: Box,
    voxel_size_nm: Sequence[float],
    rules: Rules,
) -> Pairs:
    """Distances seen from one block between the objects ``members`` (ids) and every other vesicle.

    Members are the objects of groups so large that they may be the Golgi reference
    (:func:`cisterna.eres.sites.region_members`); with most blocks holding none, this costs next to nothing. Arrays
    as in :func:`measure_block`; the halo must reach ``rules.golgi_distance_nm``.
    """
    size = np.asarray(voxel_size_nm, np.float64)
    every = _Surfaces.of_labels(vesicles, core, size)
    found = _pairs(every.only(members), every, rules.golgi_distance_nm, rules.golgi_metric)
    a, b = np.minimum(found.a, found.b), np.maximum(found.a, found.b)
    apart = a != b
    return least_pairs([Pairs(a[apart], b[apart], found.nm[apart])])


def surface_voxels(mask: NDArray[np.generic]) -> NDArray[np.int64]:
    """Indices (n,3), in raster order, of non-zero voxels with a 6-neighbour of another value in the array.

    The nearest voxels of two disjoint masks are always among these: from a voxel that is not, one step along an
    axis brings you closer to the other mask and stays in the first.
    """
    planes = max(1, _SLAB_VOXELS // max(1, mask[0].size)) if len(mask) else 1
    found = [np.zeros((0, 3), np.int64)]
    for start in range(0, len(mask), planes):
        stop = min(start + planes, len(mask))
        low, high = max(start - 1, 0), min(stop + 1, len(mask))
        slab = mask[low:high]
        filled = np.flatnonzero(slab != 0)
        if len(filled) > slab.size // 20:
            surface = np.flatnonzero(_edges(slab))
        else:
            surface = filled[_beside_another(slab, filled)]
        index = np.stack(np.unravel_index(surface, slab.shape), axis=1).astype(np.int64)
        index[:, 0] += low
        found.append(index[(index[:, 0] >= start) & (index[:, 0] < stop)])
    return np.concatenate(found)


def _edges(mask: NDArray[np.generic]) -> NDArray[np.bool_]:
    edge = np.zeros(mask.shape, bool)
    for axis in range(mask.ndim):
        near, far = [slice(None)] * mask.ndim, [slice(None)] * mask.ndim
        near[axis], far[axis] = slice(None, -1), slice(1, None)
        other = mask[tuple(near)] != mask[tuple(far)]
        edge[tuple(near)] |= other
        edge[tuple(far)] |= other
    edge &= mask != 0
    return edge


def _beside_another(mask: NDArray[np.generic], filled: NDArray[np.int64]) -> NDArray[np.bool_]:
    """What :func:`_edges` says, of a few voxels (raster indices)."""
    flat, own = mask.ravel(), mask.ravel()[filled]
    edge = np.zeros(len(filled), bool)
    stride = 1
    for size in reversed(mask.shape):
        at = (filled // stride) % size
        for inside, step in ((at > 0, -stride), (at < size - 1, stride)):
            edge |= inside & (flat[np.where(inside, filled + step, filled)] != own)
        stride *= size
    return edge


_SLAB_VOXELS = 1 << 23


@dataclass(frozen=True)
class _Surfaces:
    """Surface voxels of labelled objects, object after object: ``begin[i]:begin[i+1]`` are those of ``label[i]``.

    An object that fills the whole array has none: nothing is left for it to have a distance to, only overlaps.
    """

    size: NDArray[np.float64]
    label: NDArray[np.int64]
    begin: NDArray[np.int64]
    index: NDArray[np.int64]
    nm: NDArray[np.float64]
    in_core: NDArray[np.bool_]
    low: NDArray[np.float64]
    high: NDArray[np.float64]

    @classmethod
    def of_labels(cls, labels: NDArray[np.integer], core: Box, size: NDArray[np.float64]) -> _Surfaces:
        index = surface_voxels(labels)
        number = labels[tuple(index.T)].astype(np.int64)
        order = np.argsort(number, kind="stable")
        index = index[order]
        label, begin = np.unique(number[order], return_index=True)
        nm = index * size
        begins = np.append(begin, len(index)).astype(np.int64)
        in_core = np.all((index >= core.offset) & (index < core.end), axis=1)
        low = np.minimum.reduceat(nm, begin, axis=0) if len(label) else np.zeros((0, 3))
        high = np.maximum.reduceat(nm, begin, axis=0) if len(label) else np.zeros((0, 3))
        return cls(size, label, begins, index, nm, in_core, low, high)

    def only(self, ids: NDArray[np.integer]) -> _Surfaces:
        """The objects among ``ids``."""
        keep = np.isin(self.label, ids)
        count = np.diff(self.begin)
        voxels = np.repeat(keep, count)
        begin = np.concatenate([np.zeros(1, np.int64), np.cumsum(count[keep])])
        return _Surfaces(
            self.size, self.label[keep], begin, self.index[voxels], self.nm[voxels], self.in_core[voxels],
            self.low[keep], self.high[keep],
        )  # fmt: skip

    def points(self, i: int) -> slice:
        return slice(int(self.begin[i]), int(self.begin[i + 1]))


def _lengths(steps: NDArray[np.int64], size: NDArray[np.float64], metric: str) -> NDArray[np.float64]:
    """Length in nm of steps given in voxels, rounded; always from whole voxels, so equal steps have equal lengths."""
    nm = np.abs(steps) * size
    raw = nm.max(axis=-1) if metric == "per_axis" else np.sqrt((nm * nm).sum(axis=-1))
    rounded: NDArray[np.float64] = np.round(raw, DECIMALS)
    return rounded


def _pairs(a: _Surfaces, b: _Surfaces, limit_nm: float, metric: str, same: bool = False) -> Pairs:
    """Least distances (at most ``limit_nm``) from core voxels of ``a`` to voxels of ``b``, for disjoint objects."""
    if not len(a.label) or not len(b.label):
        return Pairs(*NO_PAIR)
    p = np.inf if metric == "per_axis" else 2.0
    whole = np.array([bool(b.in_core[b.points(j)].all()) for j in range(len(b.label))])
    trees: dict[int, cKDTree] = {}
    found: list[tuple[int, int, float]] = []
    for i in range(len(a.label)):
        own = a.in_core[a.points(i)]
        if not own.any():
            continue
        points, index = a.nm[a.points(i)][own], a.index[a.points(i)][own]
        gap = np.maximum(0, np.maximum(b.low - points.max(axis=0), points.min(axis=0) - b.high))
        for j in np.flatnonzero(np.linalg.norm(gap, ord=p, axis=1) <= limit_nm + _SLACK_NM).tolist():
            # Two objects wholly inside the block see each other twice; once is enough.
            if same and (i == j or (j < i and whole[i] and whole[j])):
                continue
            other = b.points(j)
            if len(index) * (other.stop - other.start) <= _FEW_PAIRS:
                step: NDArray[np.int64] | None = _nearest_of_all(index, b.index[other], a.size, metric)
            else:
                if j not in trees:
                    trees[j] = cKDTree(b.nm[other], balanced_tree=False, compact_nodes=False)
                step = _nearest_step(points, index, trees[j], b, j, p, limit_nm)
            if step is not None:
                nm = float(_lengths(step, a.size, metric))
                if nm <= limit_nm + TOLERANCE_NM:
                    pair = (int(a.label[i]), int(b.label[j]))
                    found.append((min(pair), max(pair), nm) if same else (*pair, nm))
    if not found:
        return Pairs(*NO_PAIR)
    one, two, nms = zip(*found, strict=True)
    return least_pairs([Pairs(np.array(one, np.int64), np.array(two, np.int64), np.array(nms, np.float64))])


_FEW_PAIRS = 3000


def _nearest_of_all(
    a: NDArray[np.int64], b: NDArray[np.int64], size: NDArray[np.float64], metric: str
) -> NDArray[np.int64]:
    """Voxel step between the nearest of two small sets of voxels, by all their pairs."""
    steps = (a[:, None] - b[None]).reshape(-1, 3)
    nearest: NDArray[np.int64] = steps[_lengths(steps, size, metric).argmin()]
    return nearest


def _nearest_step(
    points: NDArray[np.float64],
    index: NDArray[np.int64],
    tree: cKDTree,
    b: _Surfaces,
    j: int,
    p: float,
    limit_nm: float,
) -> NDArray[np.int64] | None:
    """Voxel step between the nearest of ``points`` and object j of ``b``; None beyond the limit."""
    box = np.maximum(0, np.maximum(b.low[j] - points, points - b.high[j]))
    reach = np.linalg.norm(box, ord=p, axis=1)
    # The point nearest to the other's box gives an upper bound; only points whose box distance is below it can win.
    bound = float(tree.query(points[int(reach.argmin())], p=p)[0])
    bound = min(bound, limit_nm) + _SLACK_NM
    near = np.flatnonzero(reach <= bound)
    if not len(near):
        return None
    nm, at = tree.query(points[near], p=p, distance_upper_bound=bound)
    best = int(np.argmin(nm))
    if not np.isfinite(nm[best]):
        return None
    step: NDArray[np.int64] = index[near[best]] - b.index[int(b.begin[j]) + int(at[best])]
    return step


def _overlapping(a: NDArray[np.integer], b: NDArray[np.integer], core: Box) -> Pairs:
    """Pairs of labels that share a voxel of the core: distance 0."""
    own_a, own_b = a[core.slices], b[core.slices]
    both = (own_a != 0) & (own_b != 0)
    pairs = np.unique(np.stack([own_a[both].astype(np.int64), own_b[both].astype(np.int64)], axis=1), axis=0)
    return Pairs(pairs[:, 0], pairs[:, 1], np.zeros(len(pairs)))


@dataclass(frozen=True)
class _Field:
    """A mask and the distances to it: a transform of the whole window, made once and only where it is worth it."""

    mask: NDArray[np.bool_]
    size: NDArray[np.float64]

    @cached_property
    def squared_nm2(self) -> NDArray[np.float64]:
        from cisterna.eres.transform import squared_distance_nm2  # numba compiles: not for a few small objects

        return squared_distance_nm2(self.mask, self.size.tolist())

    @cached_property
    def surface(self) -> NDArray[np.int64]:
        return surface_voxels(self.mask)


def _to_mask(
    labels: NDArray[np.integer], objects: _Surfaces, to: _Field, core: Box, limit_nm: float, metric: str
) -> Nearest:
    """Least distance (at most ``limit_nm``) of each object's core voxels to a mask."""
    own, mask = labels[core.slices], to.mask
    inside = np.unique(own[(mask[core.slices] != 0) & (own != 0)]).astype(np.int64)
    found = [Nearest(inside, np.zeros(len(inside)))]
    every = np.repeat(objects.label, np.diff(objects.begin))
    ask = objects.in_core & ~np.isin(every, inside)
    if not ask.any() or not mask.any():
        return least(found)
    label, index = every[ask], objects.index[ask]
    made = "squared_nm2" in vars(to)
    if metric == "euclidean" and (made or len(index) * VOXELS_A_QUERY > mask.size):
        nm = np.round(np.sqrt(to.squared_nm2[tuple(index.T)]), DECIMALS)
    else:
        label, nm = _by_tree(label, index, objects, to, limit_nm, metric)
    keep = nm <= limit_nm + TOLERANCE_NM
    found.append(Nearest(label[keep], nm[keep]))
    return least(found)


VOXELS_A_QUERY = 400
"""A query of the tree costs as much as the transform of so many voxels (15 µs, 35 ns)."""


def _by_tree(
    label: NDArray[np.int64],
    index: NDArray[np.int64],
    objects: _Surfaces,
    to: _Field,
    limit_nm: float,
    metric: str,
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Labels and distances of the voxels that have the mask within the limit."""
    near = np.zeros(to.mask.shape, bool)
    reach = np.floor((limit_nm + _SLACK_NM) / objects.size).astype(np.int64)
    for i in range(len(objects.label)):
        points = objects.index[objects.points(i)][objects.in_core[objects.points(i)]]
        if len(points):
            low, high = np.maximum(points.min(axis=0) - reach, 0), points.max(axis=0) + reach + 1
            near[tuple(slice(a, b) for a, b in zip(low, high, strict=True))] = True
    target = to.surface[near[tuple(to.surface.T)]]
    if not len(target):
        return label[:0], np.zeros(0)
    tree = cKDTree(target * objects.size, balanced_tree=False)
    p = np.inf if metric == "per_axis" else 2.0
    at = tree.query(index * objects.size, p=p, distance_upper_bound=limit_nm + _SLACK_NM)[1]
    hit = at < len(target)
    return label[hit], _lengths(index[hit] - target[at[hit]], objects.size, metric)
