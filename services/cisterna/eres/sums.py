"""What is added up over the voxels of each object: exact integers, so that the order of blocks does not matter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class ObjectSums:
    """Sums over the voxels of n objects; positions are voxel indices of the whole volume (z,y,x).

    ``first`` is the smallest raster (C order) index of a voxel, ``low``/``high`` the first and last voxel index per
    axis, ``position`` the sum of voxel indices, ``probability`` the sum of uint8 probabilities and ``grey`` that of
    image values. ``graded``/``imaged`` count the voxels that had a probability or a grey value.
    """

    label: NDArray[np.int64]
    first: NDArray[np.int64]
    voxels: NDArray[np.int64]
    position: NDArray[np.int64]
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
        numbers, inverse = np.unique(group, return_inverse=True)
        n = len(numbers)

        def added(values: NDArray[np.generic]) -> NDArray[np.generic]:
            out = np.zeros((n, *values.shape[1:]), values.dtype)
            np.add.at(out, inverse, values)
            return out

        first, low, high = (np.full((n, *a.shape[1:]), 0, np.int64) for a in (self.first, self.low, self.high))
        first[:], low[:], high[:] = np.iinfo(np.int64).max, np.iinfo(np.int64).max, -1
        np.minimum.at(first, inverse, self.first)
        np.minimum.at(low, inverse, self.low)
        np.maximum.at(high, inverse, self.high)
        sums = {name: added(getattr(self, name)) for name in _ADDED}
        return ObjectSums(label=numbers.astype(np.int64), first=first, low=low, high=high, **sums)  # type: ignore[arg-type]

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """The fields as named arrays, for a part."""
        return {f.name: getattr(self, f.name) for f in fields(self)}

    @classmethod
    def concatenate(cls, parts: Sequence[ObjectSums]) -> ObjectSums:
        """Objects of several parts, one after the other."""
        if not parts:
            return cls.of_labels(np.zeros((0, 1, 1), np.uint32))
        return cls(**{f.name: np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(cls)})

    @classmethod
    def of_labels(
        cls,
        labels: NDArray[np.integer],
        offset: Sequence[int] = (0, 0, 0),
        volume_shape: Sequence[int] | None = None,
        probability: NDArray[np.uint8] | None = None,
        image: NDArray[np.generic] | None = None,
    ) -> ObjectSums:
        """Sums of every label of a block (0 is background), ordered by label.

        ``labels`` (Z,Y,X) lies at ``offset`` in a volume of ``volume_shape`` voxels (default: it is the volume).
        """
        shape = tuple(volume_shape) if volume_shape is not None else labels.shape
        planes = max(1, _SLAB_VOXELS // max(1, labels[0].size)) if len(labels) else 1
        slabs = []
        for start in range(0, max(1, len(labels)), planes):
            part = slice(start, start + planes)
            slabs.append(
                cls._of_slab(
                    labels[part],
                    (offset[0] + start, offset[1], offset[2]),
                    shape,
                    None if probability is None else probability[part],
                    None if image is None else image[part],
                )
            )
        if len(slabs) == 1:
            return slabs[0]
        every = cls.concatenate(slabs)
        return every.joined(every.label)

    @classmethod
    def _of_slab(
        cls,
        labels: NDArray[np.integer],
        offset: Sequence[int],
        shape: Sequence[int],
        probability: NDArray[np.uint8] | None,
        image: NDArray[np.generic] | None,
    ) -> ObjectSums:
        filled = np.flatnonzero(labels != 0)
        where = np.unravel_index(filled, labels.shape)
        numbers, inverse = np.unique(labels[where], return_inverse=True)
        n = len(numbers)
        voxels = np.bincount(inverse, minlength=n).astype(np.int64)
        index = [w.astype(np.int64) + o for w, o in zip(where, offset, strict=True)]
        raster = (index[0] * shape[1] + index[1]) * shape[2] + index[2]
        # Voxels come in raster order, so each label's first occurrence is its smallest index.
        first = np.zeros(n, np.int64)
        first[inverse[::-1]] = raster[::-1]
        low, high, position = (np.zeros((n, 3), np.int64) for _ in range(3))
        low[:], high[:] = np.iinfo(np.int64).max, -1
        for axis in range(3):
            np.minimum.at(low[:, axis], inverse, index[axis])
            np.maximum.at(high[:, axis], inverse, index[axis])
            np.add.at(position[:, axis], inverse, index[axis])
        summed, graded = np.zeros(n, np.int64), np.zeros(n, np.int64)
        if probability is not None:
            np.add.at(summed, inverse, probability[where].astype(np.int64))
            graded = voxels.copy()
        grey, imaged = np.zeros(n, np.float64), np.zeros(n, np.int64)
        if image is not None:
            values = image[where].astype(np.float64)
            known = np.isfinite(values)
            grey = np.bincount(inverse[known], values[known], minlength=n).astype(np.float64)
            imaged = np.bincount(inverse[known], minlength=n).astype(np.int64)
        return cls(numbers.astype(np.int64), first, voxels, position, low, high, summed, graded, grey, imaged)


_SLAB_VOXELS = 1 << 22
"""Voxels that are added up at a time: bounds the memory of dense classes."""

_ADDED = ("voxels", "position", "probability", "graded", "grey", "imaged")
