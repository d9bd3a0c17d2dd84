"""The form of the ER beside a site: flattened sheet or tubule, from its thickness and its curvature.

Around the ER voxel nearest to an object's centre, within 80 nm: r, the largest distance of an ER voxel to the ER's
surface (half the thickness); V and S, the volume and the membrane area of that piece of ER. A slab has r S / V = 1, a
cylinder 2, whatever their size. By the tube formula V = S r (1 − κ r / 2), κ is the mean curvature of the membrane
(sum of the principal curvatures, averaged): 0 for a slab, 1 / r for a cylinder.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cc3d
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cisterna.chunks import Box
from cisterna.eres.areas import direction_shares
from cisterna.eres.components import CONNECTIVITY
from cisterna.eres.sums import FORWARD
from cisterna.eres.transform import squared_distance_nm2

RADIUS_NM = 80.0
"""Size of the neighbourhood: wider than a cisterna is thick, narrower than the gaps between tubules."""

SEARCH_NM = 200.0
"""The ER is looked for up to here from an object's centre: a vesicle's radius and the rule's 120 nm."""

SHEET_BELOW, TUBULE_FROM = 0.75, 0.86
"""Curvature × half the thickness: 0 for a slab, 1 for a cylinder. Between the two the form is unclear."""

SHEET, TUBULE, UNCLEAR = "sheet", "tubule", "unclear"


@dataclass(frozen=True)
class ErForm:
    """ER thickness (nm) and curvature (1/µm) beside objects, NaN where no ER is near."""

    object_id: NDArray[np.int64]
    thickness_nm: NDArray[np.float64]
    curvature_per_um: NDArray[np.float64]

    @classmethod
    def none(cls) -> ErForm:
        """No objects."""
        return cls(np.zeros(0, np.int64), np.zeros(0), np.zeros(0))

    @classmethod
    def joined(cls, parts: Sequence[ErForm]) -> ErForm:
        """All objects of all parts (one at least), by id."""
        ids = np.concatenate([p.object_id for p in parts])
        order = np.argsort(ids, kind="stable")
        thickness, curvature = (
            np.concatenate([getattr(p, name) for p in parts])[order] for name in ("thickness_nm", "curvature_per_um")
        )
        return cls(ids[order], thickness, curvature)

    def fill(self, objects: pd.DataFrame) -> pd.DataFrame:
        """The rows of one class with ``er_thickness_nm`` and ``er_curvature_per_um``."""
        ids = objects["object_id"].to_numpy(np.int64)
        columns = {}
        for column, values in (("er_thickness_nm", self.thickness_nm), ("er_curvature_per_um", self.curvature_per_um)):
            filled = np.full(len(ids), np.nan)
            if len(self.object_id):
                at = np.minimum(np.searchsorted(self.object_id, ids), len(self.object_id) - 1)
                hit = self.object_id[at] == ids
                filled[hit] = values[at[hit]]
            columns[column] = filled
        return objects.assign(**columns)


def form_of(thickness_nm: float, curvature_per_um: float) -> str:
    """sheet | tubule | unclear; empty where there is no ER to judge."""
    if not (math.isfinite(thickness_nm) and math.isfinite(curvature_per_um)):
        return ""
    bent = curvature_per_um * thickness_nm / 2000.0
    return SHEET if bent < SHEET_BELOW else TUBULE if bent >= TUBULE_FROM else UNCLEAR


def halo_voxels(voxel_size_nm: Sequence[float]) -> tuple[int, ...]:
    """Voxels around a block that the neighbourhoods of objects centred in it reach."""
    return tuple(math.ceil((SEARCH_NM + RADIUS_NM) / s) + 3 for s in voxel_size_nm)


def centred_in(objects: pd.DataFrame, box: Box, voxel_size_nm: Sequence[float]) -> NDArray[np.intp]:
    """Rows whose centre lies in a box of the volume: the block that measures them."""
    at = np.floor(_centres(objects, np.asarray(voxel_size_nm, np.float64)) + 0.5)
    return np.flatnonzero(np.all((at >= box.offset) & (at < box.end), axis=1))


def _centres(objects: pd.DataFrame, size: NDArray[np.float64]) -> NDArray[np.float64]:
    """Centroids (n,3) in voxel indices of the volume."""
    centres: NDArray[np.float64] = objects[[f"centroid_{a}_nm" for a in "zyx"]].to_numpy(np.float64) / size - 0.5
    return centres


def measure_er_form(
    objects: pd.DataFrame, er: NDArray[np.bool_], core: Box, offset: Sequence[int], voxel_size_nm: Sequence[float]
) -> ErForm:
    """Thickness and curvature of the ER beside the objects centred in one block.

    ``er`` (Z,Y,X) holds the block and :func:`halo_voxels` around it, clipped to the volume, and begins at ``offset``
    in it; ``core`` is the block's box within it. ``objects``: rows of the objects table, one class.
    """
    size = np.asarray(voxel_size_nm, np.float64)
    centre = _centres(objects, size) - np.asarray(offset)
    own = centred_in(objects, core.shift(offset), voxel_size_nm)
    found = np.full((len(own), 2), np.nan)
    for i, o in enumerate(own.tolist()):
        nearest = _nearest(er, centre[o], size)
        if nearest is not None:
            found[i] = thickness_and_curvature(er, nearest, voxel_size_nm)
    ids = objects["object_id"].to_numpy(np.int64)[own]
    return ErForm(ids, np.round(found[:, 0], 6), np.round(found[:, 1], 6))


def thickness_and_curvature(
    er: NDArray[np.bool_], voxel: NDArray[np.int64], voxel_size_nm: Sequence[float]
) -> tuple[float, float]:
    """Thickness (nm) and curvature (1/µm) of the ER around one of its voxels (index z,y,x).

    What lies beyond the array is unknown and is neither ER nor its surface.
    """
    size = np.asarray(voxel_size_nm, np.float64)
    reach = np.ceil(RADIUS_NM / size).astype(int) + 1
    low = np.maximum(voxel - reach, 0)
    high = np.minimum(voxel + reach + 1, er.shape)
    cut = er[tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))]
    away = [((np.arange(n) - (v - a)) * s) ** 2 for n, v, a, s in zip(cut.shape, voxel, low, size, strict=True)]
    ball = away[0][:, None, None] + away[1][:, None] + away[2] <= RADIUS_NM**2
    parts = cc3d.connected_components(cut & ball, connectivity=CONNECTIVITY)  # type: ignore[call-overload]
    piece = parts == parts[tuple(voxel - low)]
    if cut.all():
        return np.nan, np.nan
    deep = np.sqrt(squared_distance_nm2(~cut, voxel_size_nm))
    # Beyond the window's edge there may be surface nearer than any seen.
    deep = np.where(piece & (deep <= _to_edge(cut.shape, low, high, er.shape, size)), deep, 0.0)
    radius = float(deep.max())
    area = _membrane_area(cut, piece, size)
    if radius <= 0 or area <= 0:
        return np.nan, np.nan
    volume = float(piece.sum() * np.prod(size))
    ratio = max(radius * area / volume, 1.0)
    return 2.0 * radius, 1000.0 * 2.0 * (1.0 - 1.0 / ratio) / radius


def _nearest(er: NDArray[np.bool_], centre: NDArray[np.float64], size: NDArray[np.float64]) -> NDArray[np.int64] | None:
    """The ER voxel nearest to a point (indices), the first in raster order of several; None beyond the search."""
    base = np.floor(centre + 0.5).astype(np.int64)
    for reach_nm in (SEARCH_NM / 2, SEARCH_NM):
        reach = np.ceil(reach_nm / size).astype(int) + 1
        low, high = np.maximum(base - reach, 0), np.minimum(base + reach + 1, er.shape)
        cut = er[tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))]
        index = np.argwhere(cut) if cut.any() else np.zeros((0, 3), np.int64)
        if len(index):
            away = np.round((((index - (centre - low)) * size) ** 2).sum(axis=1), 6)
            best = int(np.argmin(away))
            if away[best] <= reach_nm**2:
                nearest: NDArray[np.int64] = index[best] + low
                return nearest
    return None


def _to_edge(
    shape: Sequence[int],
    low: NDArray[np.int64],
    high: NDArray[np.int64],
    volume: Sequence[int],
    size: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Distance of each voxel centre to the nearest voxel beyond the window that might not be ER."""
    steps = []
    for n, a, b, whole, s in zip(shape, low, high, volume, size, strict=True):
        i = np.arange(n)
        below = (i + 1) * s if a > 0 else np.full(n, np.inf)
        above = (n - i) * s if b < whole else np.full(n, np.inf)
        steps.append(np.minimum(below, above))
    nearest: NDArray[np.float64] = np.minimum(np.minimum(steps[0][:, None, None], steps[1][:, None]), steps[2])
    return nearest


def _membrane_area(er: NDArray[np.bool_], piece: NDArray[np.bool_], size: NDArray[np.float64]) -> float:
    """Area (nm²) of the piece that faces what is not ER, by Crofton's formula (cisterna.eres.areas)."""
    known = np.pad(er, 1, mode="edge")
    index = np.argwhere(piece) + 1
    flat = known.ravel()
    strides = np.array([known.shape[1] * known.shape[2], known.shape[2], 1])
    here = index @ strides
    length = np.linalg.norm(np.asarray(FORWARD) * size, axis=1)
    ends = [
        np.count_nonzero(~flat[here + step]) + np.count_nonzero(~flat[here - step])
        for step in np.asarray(FORWARD) @ strides
    ]
    per_line = 2.0 * float(np.prod(size)) * direction_shares(tuple(float(s) for s in size)) / length
    return float((per_line * ends).sum())
