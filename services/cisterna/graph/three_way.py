"""A network of three-way junctions alone, drawn and traced: the multi-way share that tracing itself produces."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import pandas as pd
from scipy.spatial import Voronoi

from cisterna.graph.multi_way import multi_way_counts
from cisterna.graph.skeleton import Bools
from cisterna.graph.tracing import trace_network

JUNCTIONS = 1500
LARGEST_PX = 1024
STEP_PX = 0.5


def with_traced_null(multi_way: pd.DataFrame, pixel_size_um: float) -> pd.DataFrame:
    """The table multi_way with `traced_null_share` filled in: one network for the movie.

    It has the median density and tubule width of the frames. NaN where no frame has a density, or where tubules so
    wide at that density leave nothing to trace.
    """
    density = multi_way["junctions_per_um2"].median() * pixel_size_um**2
    width = multi_way["width_um"].median() / pixel_size_um
    if not (density > 0 and width > 0):
        return multi_way
    radii = tuple(float(r) for r in sorted(set(multi_way["merge_radius_px"])))
    shares = traced_null_shares(_rounded(density), _rounded(width), radii)
    return multi_way.assign(traced_null_share=multi_way["merge_radius_px"].map(dict(zip(radii, shares, strict=True))))


@lru_cache(maxsize=64)
def traced_null_shares(
    junctions_per_px2: float, width_px: float, radii_px: tuple[float, ...], seed: int = 0
) -> tuple[float, ...]:
    """Multi-way share at each merge radius of a drawn and traced Poisson-Voronoi network (about 1,500 junctions)."""
    mask = drawn_three_way(junctions_per_px2, width_px, seed)
    unmerged = trace_network(mask, 1.0).unmerged
    counts = [multi_way_counts(unmerged, radius) for radius in radii_px]
    return tuple(multi / junctions if junctions else math.nan for junctions, multi in counts)


def drawn_three_way(junctions_per_px2: float, width_px: float, seed: int = 0) -> Bools:
    """The Voronoi diagram of random points, two junctions a point, its straight edges drawn at a width in a square."""
    edge = int(min(max(math.sqrt(JUNCTIONS / junctions_per_px2), 64), LARGEST_PX))
    pad = 4 / math.sqrt(junctions_per_px2)
    rng = np.random.default_rng(seed)
    seeds = rng.uniform(-pad, edge + pad, (max(int((edge + 2 * pad) ** 2 * junctions_per_px2 / 2), 8), 2))
    diagram = Voronoi(seeds)
    ends = diagram.vertices[[r for r in diagram.ridge_vertices if r[0] >= 0]]
    ends = ends[((ends > -pad) & (ends < edge + pad)).all(axis=(1, 2))]
    steps = np.ceil(np.linalg.norm(ends[:, 1] - ends[:, 0], axis=1) / STEP_PX).astype(np.int64) + 1
    line = np.repeat(np.arange(len(ends)), steps)
    along = (np.arange(len(line)) - np.repeat(np.cumsum(steps) - steps, steps)) / np.maximum(steps[line] - 1, 1)
    points = ends[line, 0] + along[:, None] * (ends[line, 1] - ends[line, 0])
    reach = math.ceil(width_px / 2) + 1
    base = np.rint(points).astype(np.int64)
    inside = ((base >= -reach) & (base < edge + reach)).all(axis=1)
    points, base = points[inside], base[inside]
    size = edge + 4 * reach
    mask = np.zeros(size * size, bool)
    for dy in range(-reach, reach + 1):
        for dx in range(-reach, reach + 1):
            at = base + np.array([dy, dx])
            near = np.hypot(*(at - points).T) <= width_px / 2
            mask[(at[near, 0] + 2 * reach) * size + at[near, 1] + 2 * reach] = True
    return mask.reshape(size, size)[2 * reach : -2 * reach, 2 * reach : -2 * reach]


def _rounded(value: float) -> float:
    """Two leading digits: movies of one kind share a simulation."""
    return float(f"{value:.1e}")
