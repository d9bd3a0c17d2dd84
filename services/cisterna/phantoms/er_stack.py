"""A drawn ER network in three dimensions, as a z-stack through time, with its true junctions.

Two layers of polygons lie above one another and never meet: along z their tubules cross, which only sections tell from
junctions. Every layer is a relaxed Voronoi diagram on a gently curved sheet, so each junction has three branches.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from scipy.spatial import Voronoi

TUBULE = 2
STEP_UM = 0.04
LEAST_EDGE_UM = 0.8
"""Polygon sides below this are drawn as one junction: shorter tubules than a few widths cannot be resolved."""


@dataclass(frozen=True)
class ErStack:
    """`frames` uint16 and `classes` uint8 (t, z, y, x); `junctions_um` (n, 3) and `length_um` of one time point.

    `junctions_um` are z, y, x, the centre of the first voxel being 0, of those at least a polygon's width inside.
    """

    frames: NDArray[np.uint16]
    classes: NDArray[np.uint8]
    junctions_um: NDArray[np.float64]
    length_um: float
    voxel_size_um: tuple[float, float, float]


def er_stack(
    frames: int = 1,
    shape_zyx: tuple[int, int, int] = (17, 160, 160),
    voxel_size_um: tuple[float, float, float] = (0.2, 0.1, 0.1),
    *,
    layers: int = 2,
    polygon_um: float = 3.0,
    tubule_um: float = 0.4,
    snr: float = 60.0,
    seed: int = 0,
) -> ErStack:
    """The same network at every time point, with noise of its own. `snr` is E[S²] / E[N²].

    Layers are `shape z / layers` apart. Raises ValueError where they would touch.
    """
    rng = np.random.default_rng(seed)
    spacing = np.array(voxel_size_um)
    size_um = np.array(shape_zyx) * spacing
    gap_um = size_um[0] / layers
    if gap_um < 2.5 * tubule_um + 2 * spacing[0]:
        raise ValueError(f"{layers} layers {gap_um:.2g} µm apart touch: give more sections or fewer layers")
    mask = np.zeros(shape_zyx, bool)
    inside, total = [], 0.0
    for layer in range(layers):
        vertices, sides, inner = _polygons(size_um[1:], polygon_um, rng)
        middle, sway = gap_um * (layer + 0.5) - spacing[0] / 2, (gap_um - 2.5 * tubule_um) / 2
        about = middle, sway, rng.uniform(0, 2 * np.pi, 2), size_um[1:]
        for a, b in sides:
            count = 2 + int(np.linalg.norm(vertices[b] - vertices[a]) / STEP_UM)
            line = _lifted(vertices[a] + (vertices[b] - vertices[a]) * np.linspace(0, 1, count)[:, None], *about)
            within = ((line >= 0) & (line <= size_um - spacing)).all(axis=1)
            total += float(np.linalg.norm(np.diff(line, axis=0), axis=1)[within[1:] & within[:-1]].sum())
            _draw(mask, line[within], spacing, tubule_um / 2)
        inside.append(_lifted(vertices[inner], *about))
    signal = gaussian_filter(mask.astype(np.float32), [0.3 / spacing[0], 0.1 / spacing[1], 0.1 / spacing[2]])
    signal *= 1500
    noise = float(np.sqrt(np.mean(signal**2) / snr))
    seen = signal + rng.normal(0, noise, (frames, *shape_zyx)) + 800
    classes = np.broadcast_to(np.where(mask, TUBULE, 0).astype(np.uint8), seen.shape)
    grey = np.clip(np.rint(seen), 0, 65535).astype(np.uint16)
    voxel = (float(spacing[0]), float(spacing[1]), float(spacing[2]))
    return ErStack(grey, classes.copy(), np.concatenate(inside), total, voxel)


def _lifted(
    yx: NDArray[np.float64], middle: float, sway: float, phase: NDArray[np.float64], size_um: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Places of a layer (n, 2) on its curved sheet (n, 3)."""
    wave = np.prod(np.sin(2 * np.pi * yx / size_um + phase), axis=1)
    return np.column_stack([middle + 0.5 * sway * wave, yx])


def _polygons(
    size_um: NDArray[np.float64], polygon_um: float, rng: np.random.Generator
) -> tuple[NDArray[np.float64], list[tuple[int, int]], NDArray[np.int64]]:
    """Vertices (n, 2), sides as pairs of them, and which are true junctions well inside the field."""
    margin = 2 * polygon_um
    area = float(np.prod(size_um + 2 * margin))
    points = rng.uniform(-margin, size_um + margin, (int(area / polygon_um**2), 2))
    for _ in range(4):  # Lloyd: cells of like size, few short sides
        diagram = Voronoi(points)
        for i, region in enumerate(diagram.point_region):
            corners = diagram.regions[region]
            if corners and -1 not in corners:
                centre = diagram.vertices[corners].mean(axis=0)
                if (centre > -margin).all() and (centre < size_um + margin).all():
                    points[i] = centre
    diagram = Voronoi(points)
    vertices = diagram.vertices.copy()
    name = np.arange(len(vertices))
    sides = [(int(a), int(b)) for a, b in diagram.ridge_vertices if a >= 0 and b >= 0]
    for a, b in sides:
        if np.linalg.norm(vertices[a] - vertices[b]) < LEAST_EDGE_UM:
            name[name == name[b]] = name[a]
    for one in np.unique(name):
        vertices[one] = vertices[name == one].mean(axis=0)
    joined = sorted({(min(int(name[a]), int(name[b])), max(int(name[a]), int(name[b]))) for a, b in sides})
    joined = [(a, b) for a, b in joined if a != b]
    degree = np.bincount(np.array(joined).ravel(), minlength=len(vertices))
    kept = ((vertices > 0.5) & (vertices < size_um - 0.5)).all(axis=1) & (degree >= 3)
    return vertices, joined, np.flatnonzero(kept)


def _draw(
    mask: NDArray[np.bool_], line_um: NDArray[np.float64], spacing: NDArray[np.float64], radius_um: float
) -> None:
    """Sets the voxels whose centre lies within the radius of the line's points."""
    if not len(line_um):
        return
    reach = np.ceil(radius_um / spacing).astype(int) + 1
    offsets = np.stack(np.meshgrid(*[np.arange(-r, r + 1) for r in reach], indexing="ij"), axis=-1).reshape(-1, 3)
    near = np.rint(line_um / spacing).astype(np.int64)
    at = near[:, None] + offsets
    close = np.linalg.norm(at * spacing - line_um[:, None], axis=2) <= radius_um
    at = at[close]
    at = at[((at >= 0) & (at < np.array(mask.shape))).all(axis=1)]
    mask[tuple(at.T)] = True
