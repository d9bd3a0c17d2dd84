"""From a mask to a multigraph of junctions and tubules.

Steps: thin → split into pixel chains → prune short free ends → merge junctions closer than the tubule is wide →
place the nodes → smooth the curves → measure. Rules and limits are in docs/graph.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cisterna.compiled import compiled
from cisterna.graph.geometry import curves, mean_over_chains, node_centres
from cisterna.graph.meeting import meeting_points, views
from cisterna.graph.merging import lengths_between, merged_pixels, without_through_nodes
from cisterna.graph.network import Network, Unmerged
from cisterna.graph.parameters import TracingParameters
from cisterna.graph.placing import centred_positions, out_of_corners
from cisterna.graph.pruning import node_width, prune
from cisterna.graph.skeleton import (
    Bools,
    Chains,
    Floats,
    Ints,
    PixelGraph,
    chains,
    distance_inside,
    pixel_graph,
    width_at,
)
from cisterna.graph.thinning import thin

# Steps back from a tip between which the direction of its tubule is taken: the last pixels curl into a corner.
_TIP_STEPS = (3, 11)


@dataclass(frozen=True)
class Thinned:
    """A mask's pruned medial line: its pixels with the tubule's width and radius at each, its nodes and chains, and the
    distance transform it was measured on. Lengths are in units of the finest spacing."""

    pixels: PixelGraph
    found: Chains
    width: Floats
    radius: Floats
    distance: NDArray[np.float32]
    relative_spacing: Floats


def trace_network(
    mask: np.ndarray,
    pixel_size_um: float | Sequence[float],
    parameters: TracingParameters | None = None,
) -> Network:
    """Traces the network that a mask shows.

    `mask` is (y, x) or (z, y, x); every non-zero pixel is tubule. `pixel_size_um` is one number for all axes or one
    per axis, in the order of the axes. The centre of the first pixel lies at 0 µm. Raises ValueError for another
    number of axes, a pixel size that is not positive, or NaN in the mask.
    """
    parameters = parameters or TracingParameters()
    on = _as_mask(mask)
    spacing = pixel_spacing(pixel_size_um, on.ndim)
    if parameters.min_part_pixels > 1:
        on = without_small_parts(on, parameters.min_part_pixels)
    relative = spacing / spacing.min()
    line = thinned(on, relative, parameters)
    pixels, plain = line.pixels, line.found
    placed, local = _placed(line)
    between = lengths_between(plain, pixels, placed, local, relative)
    absorbed = merged_pixels(plain, between, local, parameters)
    found = without_through_nodes(chains(pixels, absorbed) if absorbed.any() else plain)
    positions = _node_positions(found, plain, placed)
    border = _reach_border(positions, found, pixels.coords, line.radius, on, relative)
    lines = curves(found, pixels.coords, positions)
    return Network(
        mask=on,
        spacing_um=spacing,
        positions=positions,
        ends=found.ends,
        lines=lines,
        length_um=lines.lengths(spacing),
        width_um=mean_over_chains(line.width, found) * float(spacing.min()),
        border=border,
        unmerged=Unmerged(plain.nodes, plain.ends, between),
    )


def pixel_spacing(pixel_size_um: float | Sequence[float], ndim: int) -> Floats:
    """Pixel size per axis in µm. Raises ValueError unless all are positive and finite."""
    spacing = np.atleast_1d(np.asarray(pixel_size_um, np.float64)).ravel()
    if spacing.size == 1:
        spacing = np.repeat(spacing, ndim)
    if spacing.size != ndim:
        raise ValueError(f"pixel_size_um has {spacing.size} values for a mask of {ndim} axes; give one or {ndim}")
    if not np.all(np.isfinite(spacing) & (spacing > 0)):
        raise ValueError(f"pixel_size_um = {pixel_size_um}: every value must be positive and finite")
    return spacing


def without_small_parts(mask: Bools, least_pixels: int) -> Bools:
    """The mask without parts (diagonal contact counts) of fewer than `least_pixels` pixels."""
    labels, _ = ndimage.label(mask, np.ones((3,) * mask.ndim))
    large = np.bincount(labels.ravel()) >= least_pixels
    large[0] = False
    return np.asarray(large[labels])


def without_small_holes(mask: Bools, least_pixels: int) -> Bools:
    """The mask with its holes of fewer than `least_pixels` pixels filled; what touches the frame's border is none."""
    if mask.size == 0:
        return mask
    padded = np.pad(mask.view(np.uint8), 1, constant_values=_BORDER)
    inner = (slice(1, -1),) * mask.ndim
    # The first pixel of a hole, in raster order, has mask or border before it along every axis.
    first = padded == 0
    for axis in range(mask.ndim):
        before = tuple(slice(0, -2) if a == axis else slice(1, -1) for a in range(mask.ndim))
        first[inner] &= padded[before] != 0
    steps = np.array([s * side for s in padded.strides for side in (-1, 1)], np.int64)
    _fill_holes(padded.ravel(), np.flatnonzero(first), steps, min(least_pixels, mask.size + 1))
    return padded[inner] > 0


_BORDER = 2


@compiled
def _fill_holes(values: NDArray[np.uint8], first: Ints, steps: Ints, least: int) -> None:
    """Grows each hole from a first pixel until it is whole or too large."""
    hole = np.empty(min(least, 1 << 16), np.int64)
    for p in first:
        # A row of as many pixels is no hole: most places end here.
        row = 0
        while row < least and values[p + row] == 0:
            row += 1
        if row == 0 or row == least or values[p + row] == _BORDER:
            continue
        hole[0] = p
        values[p] = 1
        count = 1
        at = 0
        small = least > 1
        while small and at < count:
            for step in steps:
                q = hole[at] + step
                if values[q] == _BORDER or (values[q] == 0 and count + 1 >= least):
                    small = False
                    break
                if values[q] == 0:
                    if count == len(hole):
                        hole = np.concatenate((hole, np.empty(len(hole), np.int64)))
                    values[q] = 1
                    hole[count] = q
                    count += 1
            at += 1
        if not small:
            for k in range(count):
                values[hole[k]] = 0


def _as_mask(mask: np.ndarray) -> Bools:
    array = np.asarray(mask)
    if array.ndim not in (2, 3):
        raise ValueError(f"a mask has 2 or 3 axes, this one has {array.ndim} (shape {array.shape})")
    if array.dtype.kind == "f" and np.isnan(array).any():
        raise ValueError("the mask holds NaN; threshold it first")
    return np.ascontiguousarray(array != 0)


def thinned(mask: Bools, relative_spacing: Floats, parameters: TracingParameters) -> Thinned:
    """Fills small holes, thins, and prunes."""
    solid = without_small_holes(mask, parameters.min_hole_pixels) if parameters.min_hole_pixels > 1 else mask
    pixels = pixel_graph(thin(solid))
    distance = distance_inside(solid, relative_spacing)
    width, radius = width_at(distance, pixels.coords)
    pixels, width, radius, found = prune(pixels, mask.shape, width, radius, relative_spacing, parameters)
    return Thinned(pixels, found, width, radius, distance, relative_spacing)


def _centred(line: Thinned) -> tuple[Floats, Floats, Ints, Floats]:
    """Places of all nodes in pixels before anything is known of angles, the tubules' width around each, the nodes'
    degrees, and the points of the curves between these places."""
    found, coords = line.found, line.pixels.coords
    centres = node_centres(found, coords)
    length = curves(found, coords, centres).lengths(line.relative_spacing)
    local = node_width(found, mean_over_chains(line.width, found), length)
    degree = np.bincount(found.ends.ravel(), minlength=found.nodes)
    placed = centred_positions(centres, degree >= 3, local, line.distance, line.relative_spacing)
    return placed, local, degree, curves(found, coords, placed).points


def three_way_views(line: Thinned) -> tuple[NDArray[np.float32], Floats, Floats, Floats]:
    """What `cisterna.graph.meeting` is trained with: views, turns, places (n, 2) and widths of the three-way
    junctions of a frame."""
    placed, local, degree, points = _centred(line)
    three = np.flatnonzero(degree == 3)
    return *views(placed, three, line.found, points, local, line.distance), placed[three], local[three]


def _placed(line: Thinned) -> tuple[Floats, Floats]:
    """Places of all nodes in pixels, and the tubules' width around each."""
    placed, local, degree, points = _centred(line)
    flat = line.distance.ndim == 2 and bool(np.all(line.relative_spacing == 1))
    learned = (degree == 3) & flat
    moved = out_of_corners(placed, line.found, points, (degree >= 3) & ~learned, local, line.relative_spacing)
    three = np.flatnonzero(learned)
    moved[three] = meeting_points(placed, three, line.found, points, local, line.distance)
    return moved, local


def _node_positions(found: Chains, plain: Chains, centres: Floats) -> Floats:
    """A merged node lies at the mean of the junctions that it holds, each counting once."""
    member = (found.node_of >= 0) & (plain.node_of >= 0)
    held = np.unique(np.stack([found.node_of[member], plain.node_of[member]], axis=1), axis=0)
    count = np.maximum(np.bincount(held[:, 0], minlength=found.nodes), 1)
    axes = range(centres.shape[1])
    return np.stack(
        [np.bincount(held[:, 0], weights=centres[held[:, 1], a], minlength=found.nodes) / count for a in axes], axis=1
    )


def _reach_border(
    positions: Floats, found: Chains, coords: np.ndarray, radius: Floats, mask: Bools, relative: Floats
) -> Bools:
    """Flags tips whose tubule leaves the frame, and moves them onto its border (in place).

    Thinning ends about one radius short of the border. A tip belongs to a leaving tubule when it lies on a face of the
    frame, or its largest ball reaches a face that the tubule points at and the mask is set there.
    """
    border = np.zeros(found.nodes, bool)
    if len(found.ends) == 0:
        return border
    degree = np.bincount(found.ends.ravel(), minlength=found.nodes)
    first, last = found.start[:-1], found.start[1:] - 1
    near = np.minimum((last - first) // 2, _TIP_STEPS[0])
    far = np.minimum(last - first, _TIP_STEPS[1])
    at = np.concatenate([first, last])
    outward = np.concatenate([first + near, last - near])
    inward = np.concatenate([first + far, last - far])
    node = found.ends.T.ravel()
    tip = degree[node] == 1
    at, outward, inward, node = at[tip], outward[tip], inward[tip], node[tip]
    place = coords[found.pixels[at]].astype(np.float64)
    base = coords[found.pixels[outward]].astype(np.float64)
    heading = (base - coords[found.pixels[inward]]) * relative
    heading /= np.maximum(np.linalg.norm(heading, axis=1, keepdims=True), 1e-12)
    size = np.array(mask.shape, np.float64)
    best = np.full(len(node), np.inf)
    for axis in range(mask.ndim):
        for face, sign in ((0.0, -1.0), (size[axis] - 1, 1.0)):
            gap = np.abs(place[:, axis] - face) * relative[axis]
            onto = place.copy()
            onto[:, axis] = face
            on_face = mask[tuple(onto.astype(np.int64).T)]
            towards = heading[:, axis] * sign
            reaches = (gap <= radius[found.pixels[at]] + 1.5) & (towards > 0.25)
            leaves = (reaches | (gap < 1)) & on_face & (gap < best)
            ahead = np.abs(base[:, axis] - face) * relative[axis]
            step = np.minimum(ahead / np.maximum(towards, 0.25), 2 * ahead)[:, None] * heading / relative
            moved = np.clip(base + step, 0, size - 1)
            moved[:, axis] = face
            positions[node[leaves]] = moved[leaves]
            border[node[leaves]] = True
            best[leaves] = gap[leaves]
    return border
