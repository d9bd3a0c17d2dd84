"""Signed distances of the shapes a phantom cell is built from.

Every shape lives in nanometres (z, y, x) and knows nothing of voxels, so the same cell can be sampled on any
grid. `distance` is negative inside. Coordinates come as three arrays that broadcast against each other.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Ball:
    """A sphere of `radius_nm` about `centre_nm`; `spikes` unit vectors raise `spike_nm` high knobs on it."""

    centre_nm: Floats
    radius_nm: float
    spikes: Floats | None = None
    spike_nm: float = 0.0

    def distance(self, z: Floats, y: Floats, x: Floats) -> Floats:
        """Signed distance in nm; the tips of the spikes reach `radius_nm`."""
        cz, cy, cx = (np.float32(c) for c in self.centre_nm)
        dz, dy, dx = z - cz, y - cy, x - cx
        length = np.sqrt(dz * dz + dy * dy + dx * dx)
        if self.spikes is None:
            return np.asarray(length - np.float32(self.radius_nm))
        safe = np.maximum(length, 1e-3)
        cosine = np.full(length.shape, -1.0, np.float32)
        for sz, sy, sx in self.spikes.astype(np.float32):
            np.maximum(cosine, (dz * sz + dy * sy + dx * sx) / safe, out=cosine)
        knob = np.exp((cosine - 1.0) * 40.0)
        return np.asarray(length - np.float32(self.radius_nm) + np.float32(self.spike_nm) * (1.0 - knob))

    @cached_property
    def bounds(self) -> Floats:
        """Corners of the enclosing box (2, 3), nm."""
        return np.stack([self.centre_nm - self.radius_nm, self.centre_nm + self.radius_nm])


@dataclass(frozen=True)
class Tube:
    """A round tube along the polyline `path_nm` (n, 3) with `radius_nm` (n,) at its vertices."""

    path_nm: Floats
    radius_nm: Floats

    def distance(self, z: Floats, y: Floats, x: Floats) -> Floats:
        """Signed distance in nm to the union of the (cone-like) segments."""
        best: Floats | None = None
        path = self.path_nm.astype(np.float32)
        radius = self.radius_nm.astype(np.float32)
        for a, b, ra, rb in zip(path[:-1], path[1:], radius[:-1], radius[1:], strict=True):
            ab = b - a
            scale = np.float32(1.0) / max(np.float32(ab @ ab), np.float32(1e-6))
            pz, py, px = z - a[0], y - a[1], x - a[2]
            t = np.clip((pz * ab[0] + py * ab[1] + px * ab[2]) * scale, 0.0, 1.0)
            ez, ey, ex = pz - t * ab[0], py - t * ab[1], px - t * ab[2]
            d = np.sqrt(ez * ez + ey * ey + ex * ex) - (ra + t * (rb - ra))
            best = d if best is None else np.minimum(best, d, out=best)
        assert best is not None
        return best

    def point_distance(self, points_nm: Floats) -> Floats:
        """The same distance for a few points (n, 3), all segments at once."""
        path = self.path_nm
        a, ab, ra, dr = path[:-1], np.diff(path, axis=0), self.radius_nm[:-1], np.diff(self.radius_nm)
        away = points_nm[:, None, :] - a
        t = np.clip((away * ab).sum(-1) / np.maximum((ab * ab).sum(-1), 1e-6), 0.0, 1.0)
        gap = away - t[..., None] * ab
        return np.asarray((np.sqrt((gap * gap).sum(-1)) - (ra + t * dr)).min(axis=1))

    @cached_property
    def bounds(self) -> Floats:
        """Corners of the enclosing box (2, 3), nm."""
        reach = float(self.radius_nm.max())
        return np.stack([self.path_nm.min(axis=0) - reach, self.path_nm.max(axis=0) + reach])

    def pieces(self, segments: int = 8) -> list["Tube"]:
        """The same tube cut into short ones, so that each fills its own box well."""
        last = len(self.path_nm) - 1
        return [
            Tube(self.path_nm[i : i + segments + 1], self.radius_nm[i : i + segments + 1])
            for i in range(0, last, segments)
        ]


@dataclass(frozen=True)
class Plate:
    """A thin, gently bent cisterna: a wavy disc with rounded rim, optional holes and a swollen rim.

    `frame` holds the unit vectors u, v, n as rows; the outline is R(theta) = radius (1 + sum a cos(k theta + p)) for
    rows (k, a, p) of `outline`; the mid-surface stands at height sum a sin(ku u + kv v + p), rows (a, ku, kv, p) of
    `waves`; `holes` has rows (u, v, radius). Lengths in nm. The distance is first-order exact near the surface.
    """

    centre_nm: Floats
    frame: Floats
    radius_nm: float
    half_thickness_nm: float
    outline: Floats
    waves: Floats
    holes: Floats
    rim_swelling_nm: float = 0.0

    def _height(self) -> float:
        return float(np.abs(self.waves[:, 0]).sum()) if len(self.waves) else 0.0

    def _reach(self) -> float:
        return self.radius_nm * (1.0 + float(np.abs(self.outline[:, 1]).sum()) if len(self.outline) else 1.0)

    def distance(self, z: Floats, y: Floats, x: Floats) -> Floats:
        """Signed distance in nm (exact to first order in the slope of the mid-surface)."""
        u, v, n = self._local(z, y, x)
        return self._flat_distance(u, v, n)

    def near_distance(self, z: Floats, y: Floats, x: Floats, margin_nm: float, out: Floats) -> None:
        """Lower `out` to the distance wherever the surface may be within `margin_nm`: a slab, not the whole box."""
        u, v, n = self._local(z, y, x)
        slab = np.abs(n) < self.half_thickness_nm + self.rim_swelling_nm + self._height() + margin_nm
        out[slab] = np.minimum(out[slab], self._flat_distance(u[slab], v[slab], n[slab]))

    def _local(self, z: Floats, y: Floats, x: Floats) -> list[Floats]:
        dz, dy, dx = (p - np.float32(c) for p, c in zip((z, y, x), self.centre_nm, strict=True))
        return [dz * f[0] + dy * f[1] + dx * f[2] for f in self.frame.astype(np.float32)]

    def _flat_distance(self, u: Floats, v: Floats, n: Floats) -> Floats:
        rho = np.sqrt(u * u + v * v)
        theta = np.arctan2(v, u)
        rim = np.ones_like(rho)
        for k, a, p in self.outline:
            rim += np.float32(a) * np.cos(np.float32(k) * theta + np.float32(p))
        beyond = rho - np.float32(self.radius_nm) * rim
        for hu, hv, hr in self.holes:
            beyond = np.maximum(beyond, np.float32(hr) - np.hypot(u - np.float32(hu), v - np.float32(hv)))
        height, slope_u, slope_v = np.zeros_like(rho), np.zeros_like(rho), np.zeros_like(rho)
        for a, ku, kv, p in self.waves.astype(np.float32):
            phase = ku * u + kv * v + p
            height += a * np.sin(phase)
            cos = a * np.cos(phase)
            slope_u += ku * cos
            slope_v += kv * cos
        off = (n - height) / np.sqrt(1.0 + slope_u**2 + slope_v**2)
        half = np.float32(self.half_thickness_nm)
        if self.rim_swelling_nm:
            half = half + np.float32(self.rim_swelling_nm) * np.exp(-(((beyond + 2 * half) / np.float32(30.0)) ** 2))
        return np.asarray(np.hypot(np.maximum(beyond + half, 0.0), off) - half)

    @cached_property
    def bounds(self) -> Floats:
        """Corners of the enclosing box (2, 3), nm."""
        flat = self._reach()
        thick = self.half_thickness_nm + self.rim_swelling_nm + self._height()
        reach = flat * np.hypot(self.frame[0], self.frame[1]) + thick * np.abs(self.frame[2]) + thick
        return np.stack([self.centre_nm - reach, self.centre_nm + reach])


Shape = Ball | Tube | Plate


def distance_to(shapes: list[Shape], points_nm: Floats) -> Floats:
    """Smallest signed distance (n,) in nm from each of `points_nm` (n, 3) to any of `shapes`; inf without shapes."""
    points = np.atleast_2d(points_nm).astype(float)
    best = np.full(len(points), np.inf)
    if not shapes:
        return best
    corners = np.stack([s.bounds for s in shapes])
    away = np.maximum(np.maximum(corners[:, None, 0] - points, points - corners[:, None, 1]), 0.0)
    # the distance to the box is a lower bound: nearest boxes first, and most shapes never need the exact one
    least = np.sqrt((away * away).sum(-1))
    for i in np.argsort(least.min(axis=1), kind="stable"):
        near = (least[i] < best) | (least[i] == 0)  # inside a box the depth is not known yet
        if near.any():
            shape = shapes[i]
            at = points[near]
            exact = shape.point_distance(at) if isinstance(shape, Tube) else shape.distance(*at.T)
            best[near] = np.minimum(best[near], exact)
    return best


def stamp(
    field: Floats,
    shape: Shape,
    voxel_size_nm: Floats,
    margin_nm: float,
    index: NDArray[Any] | None = None,
    number: int = 0,
) -> None:
    """Lower the distance `field` (z, y, x) to that of `shape` within `margin_nm` of it, in the shape's own box only.

    Voxel i covers [i, i+1) x voxel size and is sampled at its centre. Where the shape is nearest, `index` (when
    given) becomes `number`.
    """
    parts: list[Shape] = list(shape.pieces()) if isinstance(shape, Tube) else [shape]
    for part in parts:
        low, high = part.bounds
        start = np.maximum(np.floor((low - margin_nm) / voxel_size_nm).astype(int), 0)
        stop = np.minimum(np.ceil((high + margin_nm) / voxel_size_nm).astype(int) + 1, field.shape)
        if (stop <= start).any():
            continue
        z, y, x = np.ix_(
            *[
                ((np.arange(a, b) + 0.5) * s).astype(np.float32)
                for a, b, s in zip(start, stop, voxel_size_nm, strict=True)
            ]
        )
        box = tuple(slice(a, b) for a, b in zip(start, stop, strict=True))
        view = field[box]
        before = view.copy() if index is not None else None
        if isinstance(part, Plate):
            part.near_distance(z, y, x, margin_nm, view)
        else:
            np.minimum(view, part.distance(z, y, x), out=view)
        if index is not None and before is not None:
            index[box][view < before] = number
