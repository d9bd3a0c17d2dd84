"""Where a junction lies: the middle of the mask around it, not the pixel where thinning happened to stop.

Thinned junctions carry the staircase of thinning and half a pixel of bias where tubules are an even number of pixels
wide. The distance transform has none of that: its centre within a ball of about the tubule's width, weighted by the
fourth power and sought from the thinned place, lies closer to where the axes meet. Between two tubules at an angle it
still lies too far into the corner that they fill. A three-way junction of a frame is put right by what
`cisterna.graph.meeting` has learned, any other by the directions of its branches.
"""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import NDArray

from cisterna.compiled import compiled
from cisterna.graph.skeleton import Bools, Chains, Floats, Ints

# Radius of the ball, in local widths, and rounds of seeking. Larger balls find bent Voronoi junctions a little better
# and pull the junction of a T farther into its stem (1.0 px at 4 px width with 0.6).
BALL_WIDTHS = 0.7
ROUNDS = 3
# Blobs need no finer place than this.
LARGEST_BALL_PX = 6.0
# Length of branch, in local widths, that tells its direction: farther out tubules have bent away.
DIRECTION_WIDTHS = 1.0
# The shift in units of the inscribed disc's: the centre lies deeper in the corner than that disc does, and seen from
# there the tubules open wider than from where their axes meet.
CORNER_SHIFTS = 2.0
# Half angles below this (sine) are not told apart.
LEAST_SINE = 0.2


def centred_positions(
    centres: Floats, junction: Bools, node_width: Floats, distance: NDArray[np.float32], relative_spacing: Floats
) -> Floats:
    """Positions (nodes, d) in pixels: junctions moved to the local centre of the mask, other nodes left alone.

    `distance` is the distance transform padded by one pixel (`skeleton.distance_inside`), `node_width` the local
    tubule width in units of the finest spacing. No junction moves farther than one local width.
    """
    chosen = np.flatnonzero(junction)
    if len(chosen) == 0:
        return centres.copy()
    reach = np.floor(LARGEST_BALL_PX / relative_spacing).astype(int)
    grid = np.array(list(itertools.product(*(range(-r, r + 1) for r in reach))), np.float64)
    length = np.linalg.norm(grid * relative_spacing, axis=1)
    order = np.argsort(length, kind="stable")
    shape = np.array(distance.shape, np.int64)
    steps = grid[order].astype(np.int64)
    return _sought(centres, chosen, node_width, distance.ravel(), shape, relative_spacing, steps, length[order])


@compiled
def _sought(
    centres: Floats,
    chosen: Ints,
    node_width: Floats,
    distance: NDArray[np.float32],
    shape: Ints,
    spacing: Floats,
    steps: Ints,
    step_length: Floats,
) -> Floats:
    axes = len(shape)
    placed = centres.copy()
    stride = np.ones(axes, np.int64)
    for a in range(axes - 2, -1, -1):
        stride[a] = stride[a + 1] * shape[a + 1]
    ahead = np.zeros(len(steps), np.int64)
    for k in range(len(steps)):
        for a in range(axes):
            ahead[k] += steps[k, a] * stride[a]
    # The cell of the grid around a place is the same for all steps, so are its corners' weights.
    beside = np.zeros(1 << axes, np.int64)
    for bits in range(1 << axes):
        for a in range(axes):
            beside[bits] += stride[a] * (bits >> a & 1)
    weight = np.empty(1 << axes)
    low = np.empty(axes, np.int64)
    here = np.empty(axes)
    moment = np.empty(axes)
    for node in chosen:
        ball = min(BALL_WIDTHS * node_width[node], LARGEST_BALL_PX)
        here[:] = centres[node]
        for _ in range(ROUNDS):
            weight[:] = 1.0
            corner = 0
            for a in range(axes):
                place = min(max(here[a] + 1, 0.0), shape[a] - 1.0)
                low[a] = min(int(place), shape[a] - 2)
                corner += low[a] * stride[a]
                for bits in range(1 << axes):
                    weight[bits] *= place - low[a] if bits >> a & 1 else 1 - (place - low[a])
            mass = 0.0
            moment[:] = 0.0
            for k in range(len(steps)):
                if step_length[k] > ball:
                    break
                inside = True
                for a in range(axes):
                    inside &= 0 <= low[a] + steps[k, a] <= shape[a] - 2
                if not inside:
                    continue
                value = 0.0
                for bits in range(1 << axes):
                    value += weight[bits] * distance[corner + ahead[k] + beside[bits]]
                value = value * value * value * value
                mass += value
                for a in range(axes):
                    moment[a] += value * steps[k, a]
            for a in range(axes):
                here[a] += moment[a] / max(mass, 1e-12)
        square = 0.0
        for a in range(axes):
            square += ((here[a] - centres[node, a]) * spacing[a]) ** 2
        share = min(1.0, node_width[node] / max(np.sqrt(square), 1e-12))
        for a in range(axes):
            placed[node, a] = centres[node, a] + share * (here[a] - centres[node, a])
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
    if not junction.any():
        return moved
    first, last = found.start[:-1], found.start[1:] - 1
    node = found.ends.T.ravel()
    branch = np.flatnonzero(junction[node])
    branch = branch[np.argsort(node[branch], kind="stable")]
    node = node[branch]
    chain, back = branch % len(first), branch >= len(first)
    steps = np.minimum(np.rint(DIRECTION_WIDTHS * node_width[node]).astype(np.int64), (last - first)[chain])
    at = np.where(back, last[chain] - steps, first[chain] + steps)
    heading = _unit((points[at] - placed[node]) * relative_spacing)
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
    chosen = np.flatnonzero(junction)
    shift = -CORNER_SHIFTS * pull[chosen] / deepest[chosen, None]
    length = np.linalg.norm(shift, axis=1)
    shift *= np.minimum(1.0, node_width[chosen] / np.maximum(length, 1e-12))[:, None]
    moved[chosen] += shift / relative_spacing
    return moved


def _unit(vectors: Floats) -> Floats:
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12))
