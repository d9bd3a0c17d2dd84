"""Where a junction lies: the middle of the mask around it, not the pixel where thinning happened to stop.

Thinned junctions carry the staircase of thinning, half a pixel of bias where tubules are an even number of pixels wide,
and forks that start late where tubules overlap. The distance transform has none of that: its centre
within a ball of about the tubule's width, weighted by the fourth power and sought from the thinned place, lies closer
to where the axes meet.
"""

from __future__ import annotations

import itertools

import numpy as np
from scipy import ndimage

from cisterna.graph.skeleton import Bools, Floats

# Radius of the ball, in local widths, and rounds of seeking. Larger balls find bent Voronoi junctions a little better
# and pull the junction of a T farther into its stem (1.0 px at 4 px width with 0.6).
BALL_WIDTHS = 0.7
ROUNDS = 3
# Blobs need no finer place than this.
LARGEST_BALL_PX = 6


def centred_positions(
    centres: Floats, junction: Bools, node_width: Floats, distance: Floats, relative_spacing: Floats
) -> Floats:
    """Positions (nodes, d) in pixels: junctions moved to the local centre of the mask, other nodes left alone.

    `distance` is the distance transform padded by one pixel (`skeleton.distance_inside`), `node_width` the local
    tubule width in units of the finest spacing. No junction moves farther than one local width.
    """
    placed = centres.copy()
    chosen = np.flatnonzero(junction)
    if len(chosen) == 0:
        return placed
    ball = np.minimum(BALL_WIDTHS * node_width[chosen], LARGEST_BALL_PX)
    reach = np.floor(ball.max() / relative_spacing).astype(int)
    grid = np.array(list(itertools.product(*(range(-r, r + 1) for r in reach))), np.float64)
    grid_length = np.linalg.norm(grid * relative_spacing, axis=1)
    start = centres[chosen]
    here = start.copy()
    for _ in range(ROUNDS):
        mass = np.zeros(len(chosen))
        moment = np.zeros_like(here)
        for offset, length in zip(grid, grid_length, strict=True):
            within = np.flatnonzero(length <= ball)
            value = ndimage.map_coordinates(distance, (here[within] + offset + 1).T, order=1, mode="nearest")
            value = np.square(np.square(value))
            mass[within] += value
            moment[within] += value[:, None] * offset
        here = here + moment / np.maximum(mass, 1e-12)[:, None]
    move = (here - start) * relative_spacing
    length = np.linalg.norm(move, axis=1)
    move *= np.minimum(1.0, node_width[chosen] / np.maximum(length, 1e-12))[:, None]
    placed[chosen] = start + move / relative_spacing
    return placed
