"""Least distances as values: of objects to masks, of pairs of objects, and how those of many blocks are joined."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cisterna.eres.rules import TOLERANCE_NM

NO_NEAREST = (np.zeros(0, np.int64), np.zeros(0, np.float64))
NO_PAIR = (np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.float64))


@dataclass(frozen=True)
class Nearest:
    """Least distance of single objects to a mask: object ids (ascending) and nm."""

    id: NDArray[np.int64]
    nm: NDArray[np.float64]

    def of(self, ids: NDArray[np.integer]) -> NDArray[np.float64]:
        """Distance of each of ``ids``; inf where none was found within reach."""
        if not len(self.id):
            return np.full(len(ids), np.inf)
        at = np.minimum(np.searchsorted(self.id, ids), len(self.id) - 1)
        return np.where(self.id[at] == ids, self.nm[at], np.inf)


@dataclass(frozen=True)
class Pairs:
    """Least distance of pairs of objects, sorted by (a, b); within one class a < b."""

    a: NDArray[np.int64]
    b: NDArray[np.int64]
    nm: NDArray[np.float64]

    def within(self, limit_nm: float) -> Pairs:
        keep = self.nm <= limit_nm + TOLERANCE_NM
        return Pairs(self.a[keep], self.b[keep], self.nm[keep])


@dataclass(frozen=True)
class Overlap:
    """Voxels that single objects share with a mask: object ids (ascending) and counts."""

    id: NDArray[np.int64]
    voxels: NDArray[np.int64]

    def of(self, ids: NDArray[np.integer]) -> NDArray[np.int64]:
        """Shared voxels of each of ``ids``."""
        if not len(self.id):
            return np.zeros(len(ids), np.int64)
        at = np.minimum(np.searchsorted(self.id, ids), len(self.id) - 1)
        return np.where(self.id[at] == ids, self.voxels[at], 0)

    @classmethod
    def counted(cls, labels: NDArray[np.integer], mask: NDArray[np.bool_]) -> Overlap:
        """Of labels (0 background) and a mask of one shape."""
        ids, voxels = np.unique(labels[mask & (labels != 0)], return_counts=True)
        return cls(ids.astype(np.int64), voxels.astype(np.int64))

    @classmethod
    def joined(cls, parts: Sequence[Overlap]) -> Overlap:
        """Sum over parts."""
        every = np.concatenate([np.zeros(0, np.int64), *(p.id for p in parts)])
        voxels = np.concatenate([np.zeros(0, np.int64), *(p.voxels for p in parts)])
        ids, at = np.unique(every, return_inverse=True)
        total = np.zeros(len(ids), np.int64)
        np.add.at(total, at, voxels)
        return cls(ids, total)


@dataclass(frozen=True)
class Distances:
    """Everything the rules ask of the geometry, from one block or joined from many.

    ``vesicle_region`` (from :func:`measure_regions`) is measured in the metric of the Golgi rule, and only where groups
    of large extent are the Golgi reference; ``vesicle_golgi`` only where a segmentation is. Pairs whose rule compares
    centroids are empty. ``vesicle_overlap`` is counted only where the rules exclude overlaps.
    """

    vesicle_er: Nearest
    tubular_er: Nearest
    vesicle_golgi: Nearest
    vesicle_vesicle: Pairs
    vesicle_region: Pairs
    tubular_tubular: Pairs
    vesicle_tubular: Pairs
    vesicle_overlap: Overlap

    @classmethod
    def joined(cls, parts: Iterable[Distances]) -> Distances:
        """Minimum over parts."""
        held = list(parts)
        out: dict[str, Nearest | Pairs | Overlap] = {}
        for f in fields(cls):
            values = [getattr(p, f.name) for p in held]
            if f.name == "vesicle_overlap":
                out[f.name] = Overlap.joined(values)
            else:
                out[f.name] = least_pairs(values) if _is_pairs(f.name) else least(values)
        return cls(**out)  # type: ignore[arg-type]

    def without_vesicles(self, ids: NDArray[np.integer]) -> Distances:
        """The same without any pair of the vesicles ``ids``."""
        if not len(ids):
            return self
        found: dict[str, Any] = {}
        for name in ("vesicle_vesicle", "vesicle_region", "vesicle_tubular"):
            pairs: Pairs = getattr(self, name)
            out = np.isin(pairs.a, ids)
            if name != "vesicle_tubular":
                out |= np.isin(pairs.b, ids)
            found[name] = Pairs(pairs.a[~out], pairs.b[~out], pairs.nm[~out])
        return replace(self, **found)

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """Named arrays, for a part."""
        return {
            f"{f.name}.{g.name}": getattr(getattr(self, f.name), g.name)
            for f in fields(self)
            for g in fields(getattr(self, f.name))
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[np.generic]]) -> Distances:
        """Inverse of :meth:`arrays`."""
        out: dict[str, Nearest | Pairs | Overlap] = {}
        for f in fields(cls):
            kind = Overlap if f.name == "vesicle_overlap" else Pairs if _is_pairs(f.name) else Nearest
            out[f.name] = kind(*(arrays[f"{f.name}.{g.name}"] for g in fields(kind)))  # type: ignore[arg-type]
        return cls(**out)  # type: ignore[arg-type]


def _is_pairs(name: str) -> bool:
    return name in ("vesicle_vesicle", "vesicle_region", "tubular_tubular", "vesicle_tubular")


def least(parts: Sequence[Nearest]) -> Nearest:
    """Each object once, with its least distance over all parts."""
    if not parts:
        return Nearest(*NO_NEAREST)
    ids = np.concatenate([p.id for p in parts])
    nm = np.concatenate([p.nm for p in parts])
    order = np.lexsort((nm, ids))
    keep, first = np.unique(ids[order], return_index=True)
    return Nearest(keep.astype(np.int64), nm[order][first])


def least_pairs(parts: Sequence[Pairs]) -> Pairs:
    """Each pair once, with its least distance over all parts."""
    if not parts:
        return Pairs(*NO_PAIR)
    a, b, nm = (np.concatenate([getattr(p, name) for p in parts]) for name in ("a", "b", "nm"))
    order = np.lexsort((nm, b, a))
    a, b, nm = a[order], b[order], nm[order]
    first = np.ones(len(a), bool)
    first[1:] = (a[1:] != a[:-1]) | (b[1:] != b[:-1])
    return Pairs(a[first].astype(np.int64), b[first].astype(np.int64), nm[first])
