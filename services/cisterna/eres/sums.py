"""What is added up over the voxels of each object: exact integers, so that the order of blocks does not matter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from cisterna.chunks import Box

FORWARD = [(dz, dy, dx) for dz in (0, 1) for dy in (-1, 0, 1) for dx in (-1, 0, 1) if (dz, dy, dx) > (0, 0, 0)]
"""The 13 of 26 neighbours that come later in raster order."""

SECOND = ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2))
"""Axis pairs of the second moments, in the order of ``ObjectSums.moment``."""


@dataclass(frozen=True)
class ObjectSums:
    """Sums over the voxels of n objects; positions are voxel indices of the whole volume (z,y,x).

    ``first`` is the smallest raster (C order) index of a voxel, ``low``/``high`` the first and last voxel index per
    axis, ``position`` (n,3) the sum of voxel indices and ``moment`` (n,6) that of their products (``SECOND``).
    ``pairs`` (n,13) counts pairs of neighbouring voxels of one object along ``FORWARD``: with the volume they give
    the surface area. ``probability`` is the sum of uint8 probabilities and ``grey`` that of image values;
    ``graded``/``imaged`` count the voxels that had a probability or a grey value.
    """

    label: NDArray[np.int64]
    first: NDArray[np.int64]
    voxels: NDArray[np.int64]
    position: NDArray[np.int64]
    moment: NDArray[np.int64]
    pairs: NDArray[np.int64]
    low: NDArray[np.int64]
    high: NDArray[np.int64]
    probability: NDArray[np.int64]
    graded: NDArray[np.int64]
    grey: NDArray[np.float64]
    imaged: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.label)

    def take(self, index: NDArray[np.integer] | NDArray[np.bool_]) -> ObjectSums:
        """The chosen objects, in the order of ``index``."""
        return ObjectSums(**{f.name: getattr(self, f.name)[index] for f in fields(self)})

    def joined(self, group: NDArray[np.int64]) -> ObjectSums:
        """Sums of groups: objects with the same number in ``group`` become one; the result is ordered by number.

        ``label`` of the result is the group's number.
        """
        if not len(group):
            return self
        order = np.argsort(group, kind="stable")
        numbers, begin = np.unique(group[order], return_index=True)
        done = {name: np.add.reduceat(getattr(self, name)[order], begin, axis=0) for name in _ADDED}
        done |= {name: np.minimum.reduceat(getattr(self, name)[order], begin, axis=0) for name in ("first", "low")}
        done["high"] = np.maximum.reduceat(self.high[order], begin, axis=0)
        return ObjectSums(label=numbers.astype(np.int64), **done)

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """The fields as named arrays, for a part."""
        return {f.name: getattr(self, f.name) for f in fields(self)}

    @classmethod
    def empty(cls) -> ObjectSums:
        """No objects."""
        wide = {"position": 3, "moment": len(SECOND), "pairs": len(FORWARD), "low": 3, "high": 3}
        shape = {f.name: (0, wide[f.name]) if f.name in wide else (0,) for f in fields(cls)}
        return cls(**{n: np.zeros(s, np.float64 if n == "grey" else np.int64) for n, s in shape.items()})  # type: ignore[arg-type]

    @classmethod
    def concatenate(cls, parts: Sequence[ObjectSums]) -> ObjectSums:
        """Objects of several parts, one after the other."""
        if not parts:
            return cls.empty()
        return cls(**{f.name: np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(cls)})

    @classmethod
    def of_labels(
        cls,
        labels: NDArray[np.integer],
        offset: Sequence[int] = (0, 0, 0),
        volume_shape: Sequence[int] | None = None,
        probability: NDArray[np.uint8] | None = None,
        image: NDArray[np.generic] | None = None,
        core: Box | None = None,
    ) -> ObjectSums:
        """Sums of every label of a block (0 is background), ordered by label.

        ``labels`` (Z,Y,X) lies at ``offset`` in a volume of ``volume_shape`` voxels (default: it is the volume).
        With ``core``, a box within the arrays, its voxels alone are summed and the rest only lends neighbours to
        ``pairs``; without, neighbours beyond the arrays are not seen.
        """
        shape = tuple(volume_shape) if volume_shape is not None else labels.shape
        box = core if core is not None else Box.whole(labels.shape)
        if not box.size:
            return cls.empty()
        planes = max(1, _SLAB_VOXELS // max(1, box.shape[1] * box.shape[2]))
        slabs = []
        for start in range(box.offset[0], box.end[0], planes):
            thick = min(planes, box.end[0] - start)
            slab = Box((start, *box.offset[1:]), (thick, *box.shape[1:]))
            slabs.append(
                cls._of_slab(
                    _with_neighbours(labels, slab),
                    tuple(int(o + b) for o, b in zip(offset, slab.offset, strict=True)),
                    shape,
                    None if probability is None else probability[slab.slices],
                    None if image is None else image[slab.slices],
                )
            )
        if len(slabs) == 1:
            return slabs[0]
        every = cls.concatenate(slabs)
        return every.joined(every.label)

    @classmethod
    def _of_slab(
        cls,
        padded: NDArray[np.integer],
        offset: Sequence[int],
        shape: Sequence[int],
        probability: NDArray[np.uint8] | None,
        image: NDArray[np.generic] | None,
    ) -> ObjectSums:
        labels = padded[:-1, 1:-1, 1:-1]
        filled = np.flatnonzero(labels)
        where = np.unravel_index(filled, labels.shape)
        values = labels[where]
        numbers, inverse = _numbered(values)
        n = len(numbers)
        if not n:
            return cls.empty()
        if len(filled) >= MANY_VOXELS:
            voxels, first, low, high, local, product, pairs = _added_at_once(padded, numbers, labels.shape)
        else:
            voxels, first, low, high, local, product = _added(where, inverse, n, labels.shape)
            pairs = _pairs(padded, where, values, inverse, n)
        z, y, x = np.unravel_index(first, labels.shape)
        first = ((z + offset[0]) * shape[1] + (y + offset[1])) * shape[2] + (x + offset[2])
        at = np.asarray(offset, np.int64)
        moment = np.stack(
            [
                product[:, i] + at[a] * local[:, b] + at[b] * local[:, a] + at[a] * at[b] * voxels
                for i, (a, b) in enumerate(SECOND)
            ],
            axis=1,
        )
        summed, graded = np.zeros(n, np.int64), np.zeros(n, np.int64)
        if probability is not None:
            summed = _exact(inverse, probability[where], n)
            graded = voxels.copy()
        grey, imaged = np.zeros(n, np.float64), np.zeros(n, np.int64)
        if image is not None:
            seen = image[where].astype(np.float64)
            known = np.isfinite(seen)
            grey = np.bincount(inverse[known], seen[known], minlength=n).astype(np.float64)
            imaged = np.bincount(inverse[known], minlength=n).astype(np.int64)
        return cls(
            label=numbers,
            first=first,
            voxels=voxels,
            position=local + at * voxels[:, None],
            moment=moment,
            pairs=pairs,
            low=low + at,
            high=high + at,
            probability=summed,
            graded=graded,
            grey=grey,
            imaged=imaged,
        )


def _added(
    where: Sequence[NDArray[np.integer]], inverse: NDArray[np.intp], n: int, shape: tuple[int, ...]
) -> tuple[NDArray[np.int64], ...]:
    """Voxels, first raster index, low, high, sums of positions and of their products, in voxels of the slab."""
    voxels = np.bincount(inverse, minlength=n).astype(np.int64)
    # Voxels come in raster order, so each label's first occurrence is its smallest index.
    first, low, high = np.zeros(n, np.int64), np.zeros((n, 3), np.int64), np.zeros((n, 3), np.int64)
    first[inverse[::-1]] = np.ravel_multi_index(tuple(where), shape)[::-1]
    low[:], high[:] = np.iinfo(np.int64).max, -1
    local, product = np.zeros((n, 3), np.int64), np.zeros((n, len(SECOND)), np.int64)
    weights = [w.astype(np.float64) for w in where]
    for axis in range(3):
        np.minimum.at(low[:, axis], inverse, where[axis])
        np.maximum.at(high[:, axis], inverse, where[axis])
        local[:, axis] = _exact(inverse, weights[axis], n)
    for i, (a, b) in enumerate(SECOND):
        product[:, i] = _exact(inverse, weights[a] * weights[b], n)
    return voxels, first, low, high, local, product


def _added_at_once(
    padded: NDArray[np.integer], numbers: NDArray[np.int64], shape: tuple[int, ...]
) -> tuple[NDArray[np.int64], ...]:
    """The same, and the pairs of neighbours, from one pass of compiled code."""
    from cisterna.eres.adding import add_voxels  # numba compiles: not for a few voxels

    table = np.zeros(int(numbers[-1]) + 1, np.int64)
    table[numbers] = np.arange(len(numbers))
    sums, pairs = add_voxels(padded, table, len(numbers))
    return sums[:, 0], sums[:, 1], sums[:, 2:5], sums[:, 5:8], sums[:, 8:11], sums[:, 11:17], pairs


def _with_neighbours(labels: NDArray[np.integer], box: Box) -> NDArray[np.integer]:
    """The labels of a box with one more plane after it in z and one voxel on both sides in y and x; 0 where none."""
    window = Box(
        tuple(o - (a > 0) for a, o in enumerate(box.offset)),
        tuple(n + (1 if a == 0 else 2) for a, n in enumerate(box.shape)),
    )
    held = window.intersect(Box.whole(labels.shape))
    if held == window:
        return labels[window.slices]
    out = np.zeros(window.shape, labels.dtype)
    out[held.relative_to(window.offset).slices] = labels[held.slices]
    return out


def _numbered(values: NDArray[np.integer]) -> tuple[NDArray[np.int64], NDArray[np.intp]]:
    """What np.unique(values, return_inverse=True) gives, without sorting where labels are small numbers."""
    if not len(values):
        return np.zeros(0, np.int64), np.zeros(0, np.intp)
    highest = int(values.max())
    if highest > 4 * len(values) + 65536:
        numbers, inverse = np.unique(values, return_inverse=True)
        return numbers.astype(np.int64), inverse
    present = np.zeros(highest + 1, bool)
    present[values] = True
    table = np.cumsum(present) - 1
    return np.flatnonzero(present).astype(np.int64), table[values]


def _exact(inverse: NDArray[np.intp], weights: NDArray[np.generic], n: int) -> NDArray[np.int64]:
    """Sums of whole numbers: those of a slab are far below 2⁵³, where float64 would begin to round."""
    return np.bincount(inverse, weights, minlength=n).astype(np.int64)


def _pairs(
    padded: NDArray[np.integer],
    where: Sequence[NDArray[np.integer]],
    values: NDArray[np.integer],
    inverse: NDArray[np.intp],
    n: int,
) -> NDArray[np.int64]:
    out = np.zeros((n, len(FORWARD)), np.int64)
    flat = np.ascontiguousarray(padded).ravel()
    _, rows, row = padded.shape
    here = (where[0] * rows + where[1] + 1) * row + where[2] + 1
    for i, (dz, dy, dx) in enumerate(FORWARD):
        same = flat[here + (dz * rows + dy) * row + dx] == values
        out[:, i] = np.bincount(inverse[same], minlength=n)
    return out


MANY_VOXELS = 100_000
"""Voxels of objects in a slab from which on they are added by compiled code."""

_SLAB_VOXELS = 1 << 22
"""Voxels that are added up at a time: bounds the memory of dense classes."""

_ADDED = ("voxels", "position", "moment", "pairs", "probability", "graded", "grey", "imaged")
