"""Analytic ER networks: Voronoi edges of random points, drawn exactly, with the graph that was drawn.

After Lu et al. 2023: random points → Voronoi edges, each bent by three jittered points through a cubic spline →
drawn at the tubules' width. Points are uniform, so short edges and sharp angles are as frequent as chance has them:
7–18 % of the edges are shorter than the tubule's width + 2 px and no picture shows them.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline
from scipy.ndimage import gaussian_filter, label
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import Voronoi

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

KNOTS = np.linspace(0, 1, 5)
BEND_SHARE = 0.06  # of an edge's length: standard deviation of each bending point
LARGEST_BEND_PX = 2.2
STEP_PX = 0.4  # between the points a tubule is drawn with: their error in distance is about 0.01 px


@dataclass(frozen=True)
class VoronoiNetwork:
    """Mask (y, x) and the graph it was drawn from: nodes (n, 2) in px, edges (m, 2), lengths (m,) along the curves.

    Edges that leave the frame were not drawn, so nodes near the border have fewer branches. Pixel centres are whole
    numbers.
    """

    mask: NDArray[np.bool_]
    nodes: Floats
    edges: Ints
    length_px: Floats
    width_px: float

    def merged(self, merge_px: float) -> tuple[Floats, Ints, int]:
        """The graph that a picture can show: places, degrees, and number of tubules.

        Edges shorter than `merge_px` are contracted, a merged node lies at the mean of its members. Where two edges
        meet they are one tubule.
        """
        short = self.length_px < merge_px
        pairs = self.edges[short]
        matrix = coo_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(len(self.nodes),) * 2)
        count, name = connected_components(matrix, directed=False)
        size = np.bincount(name, minlength=count)
        places = np.stack([np.bincount(name, weights=c, minlength=count) / size for c in self.nodes.T], axis=1)
        left = name[self.edges[~short]]
        degrees = np.bincount(left.ravel(), minlength=count).astype(np.int64)
        return places, degrees, len(left) - int((degrees == 2).sum())


def voronoi_network(
    points: int, width_px: float, seed: int, shape_yx: tuple[int, int] = (1024, 1024), *, bent: bool = True
) -> VoronoiNetwork:
    """Draw the Voronoi network of `points` uniform random points. Raises ValueError below 8 points."""
    if points < 8 or not width_px > 0:
        raise ValueError(f"{points} points, width {width_px} px: give at least 8 points and a positive width")
    rng = np.random.default_rng([seed, points])
    limit = np.array(shape_yx, float)
    diagram = Voronoi(rng.uniform(0, limit, (points, 2)))
    inside = ((diagram.vertices >= 0) & (diagram.vertices <= limit - 1)).all(axis=1)
    edges = np.array([r for r in diagram.ridge_vertices if min(r) >= 0 and inside[r].all()]).reshape(-1, 2)
    used, edges = np.unique(edges, return_inverse=True)
    nodes, edges = diagram.vertices[used], edges.reshape(-1, 2).astype(np.int64)
    chord = np.linalg.norm(nodes[edges[:, 0]] - nodes[edges[:, 1]], axis=1)
    sigma = np.minimum(BEND_SHARE * chord, LARGEST_BEND_PX) if bent else np.zeros(len(edges))
    bends = rng.normal(0, 1, (len(edges), 3, 2)) * sigma[:, None, None]
    a, b = nodes[edges[:, 0], None], nodes[edges[:, 1], None]
    knots = np.concatenate([a, a + KNOTS[1:4, None] * (b - a) + bends, b], axis=1)
    lines = [_spline(k, c) for k, c in zip(knots, chord, strict=True)]
    length = np.array([np.linalg.norm(np.diff(line, axis=0), axis=1).sum() for line in lines])
    return VoronoiNetwork(_drawn(np.concatenate(lines), shape_yx, width_px), nodes, edges, length, width_px)


def roughened(mask: NDArray[np.bool_], amplitude: float, seed: int) -> NDArray[np.bool_]:
    """The mask with outlines as rough as a segmentation's: blurred by 1 px, noise added, parts below 50 px dropped."""
    rng = np.random.default_rng([seed, 7])
    noise = gaussian_filter(rng.normal(0, 1, mask.shape), 0.8)
    rough = gaussian_filter(mask.astype(np.float64), 1.0) + amplitude * noise > 0.5
    parts, _ = label(rough)
    size = np.bincount(parts.ravel())
    size[0] = 0
    return np.asarray(size[parts] >= 50)


def _spline(knots: Floats, chord: float) -> Floats:
    return np.asarray(_spline_basis(8 + 8 * int(1.2 * chord / STEP_PX / 8)) @ knots)


@lru_cache(maxsize=512)
def _spline_basis(samples: int) -> Floats:
    """(samples, 5): a cubic spline through five evenly spaced knots is linear in them."""
    return np.asarray(CubicSpline(KNOTS, np.eye(5))(np.linspace(0, 1, samples)))


def _drawn(points: Floats, shape_yx: tuple[int, int], width_px: float) -> NDArray[np.bool_]:
    reach = int(np.ceil(width_px / 2))
    size = np.array(shape_yx) + 2 * reach + 2
    mask = np.zeros(int(np.prod(size)), bool)
    base = np.rint(points).astype(np.int64)
    rest = base - points
    for dy in range(-reach, reach + 1):
        for dx in range(-reach, reach + 1):
            near = (rest[:, 0] + dy) ** 2 + (rest[:, 1] + dx) ** 2 <= (width_px / 2) ** 2
            at = base[near] + (reach + 1 + dy, reach + 1 + dx)
            mask[at[:, 0] * size[1] + at[:, 1]] = True
    return mask.reshape(size)[reach + 1 : -reach - 1, reach + 1 : -reach - 1]
