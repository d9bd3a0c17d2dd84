"""Where a junction lies: the middle of the mask around it, not the pixel where thinning happened to stop.

Thinned junctions carry the staircase of thinning and half a pixel of bias where tubules are an even number of pixels
wide. The distance transform has none of that: its centre within a ball of about the tubule's width, weighted by the
fourth power and sought from the thinned place, lies closer to where the axes meet. Between two tubules at an angle it
still lies too far into the corner that they fill, which their directions put right.
"""

from __future__ import annotations

import itertools

import numpy as np
from scipy import ndimage

from cisterna.graph.skeleton import Bools, Chains, Floats

# Radius of the ball, in local widths, and rounds of seeking. Larger balls find bent Voronoi junctions a little better
# and pull the junction of a T farther into its stem (1.0 px at 4 px width with 0.6).
BALL_WIDTHS = 0.7
ROUNDS = 3
# Blobs need no finer place than this.
LARGEST_BALL_PX = 6
# Length of branch, in local widths, that tells its direction: farther out tubules have bent away.
DIRECTION_WIDTHS = 1.0
# The shift in units of the inscribed disc's: the centre lies deeper in the corner than that disc does, and seen from
# there the tubules open wider than from where their axes meet.
CORNER_SHIFTS = 2.0
# Half angles below this (sine) are not told apart.
LEAST_SINE = 0.2


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


def out_of_corners(
    placed: Floats,
    found: Chains,
    points: Floats,
    junction: Bools,
    node_width: Floats,
    relative_spacing: Floats,
) -> Floats:
    """Positions (nodes, d) in pixels: junctions moved out of the corners between their tubules.

    Where two tubules of width w leave at the angle 2a, the disc inscribed between their outer sides and the corner's
    tip has its centre on the bisector, w (1 - sin a) / (2 sin a (1 + sin a)) from where the axes meet. Each pair of
    branches pushes back along its bisector, the deepest most, so a straight crossing and an even Y stay. `points` are
    the curves of `found`, their ends at `placed`. No junction moves farther than one local width.
    """
    moved = placed.copy()
    first, last = found.start[:-1], found.start[1:] - 1
    node = found.ends.T.ravel()
    steps = np.minimum(np.rint(DIRECTION_WIDTHS * node_width[node]).astype(np.int64), np.tile(last - first, 2))
    at = np.concatenate([first, last]) + np.repeat([1, -1], len(first)) * steps
    branch = np.flatnonzero(junction[node])
    branch = branch[np.argsort(node[branch], kind="stable")]
    node = node[branch]
    heading = _unit((points[at[branch]] - placed[node]) * relative_spacing)
    pull = np.zeros_like(placed)
    deepest = np.full(len(placed), 1e-12)
    for apart in range(1, int(np.bincount(node, minlength=1).max(initial=0))):
        one = np.flatnonzero(node[apart:] == node[:-apart])
        bisector = heading[one] + heading[one + apart]
        cosine = np.linalg.norm(bisector, axis=1) / 2
        sine = np.maximum(np.sqrt(np.maximum(1 - cosine**2, 0)), LEAST_SINE)
        depth = node_width[node[one]] * (1 - sine) / (2 * sine * (1 + sine))
        np.maximum.at(deepest, node[one], depth)
        np.add.at(pull, node[one], np.square(depth)[:, None] * _unit(bisector))
    shift = -CORNER_SHIFTS * pull / deepest[:, None]
    length = np.linalg.norm(shift, axis=1)
    shift *= np.minimum(1.0, node_width / np.maximum(length, 1e-12))[:, None]
    moved[junction] += shift[junction] / relative_spacing
    return moved


def _unit(vectors: Floats) -> Floats:
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12))
