"""Surfaces of labels as GLB, in µm: block by block, so that no volume is ever held whole.

A block is read with a margin, its mask smoothed a little and cut by marching cubes (Lewiner 2003); neighbouring blocks
share their border samples, so their surfaces meet in the same vertices, which are then joined.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import trimesh
from scipy import ndimage
from skimage.measure import marching_cubes

from cisterna.chunks import BlockGrid, Box
from cisterna.report.film import rgb
from cisterna.store import ObjectStore
from cisterna.store.arrays import read_box
from cisterna.store.pyramids import Level

BLOCK = 128
SMOOTHING_VOXELS = 0.5
MARGIN = 4  # samples that the smoothing reaches to
MOST_FACES = 4_000_000

Numbering = Callable[[np.ndarray], np.ndarray]
"""Label image → uint8 image: which surface a voxel belongs to; 0 for none."""


@dataclass(frozen=True)
class Surface:
    """Triangles: `vertices` (n, 3) x,y,z in µm from the outer corner of the first voxel, `faces` (m, 3) outward."""

    name: str
    vertices: np.ndarray
    faces: np.ndarray
    colour: str = "#ffffff"
    opacity: float = 1.0


class TooManyFaces(Exception):
    """A surface grew beyond what a viewer opens; a coarser level is the remedy."""


def surfaces(
    store: ObjectStore, level: Level, numbering: Numbering, names: Mapping[int, tuple[str, str, float]],
    within: Box | None = None, most_faces: int = MOST_FACES, tell: Callable[[float], None] = lambda share: None,
) -> list[Surface]:  # fmt: skip
    """The surface of every number in `names` (name, #rrggbb, opacity), closed at the borders of the volume or box.

    Raises TooManyFaces, CorruptObject where a block is gone.
    """
    whole = Box.whole(level.shape)
    region = whole if within is None else within.intersect(whole)
    grid = BlockGrid(region.shape, (BLOCK,) * 3)
    found: dict[int, list[tuple[np.ndarray, np.ndarray]]] = {number: [] for number in names}
    faces = 0
    for index in range(grid.blocks):
        block = grid.box(index)
        offset = tuple(o + r for o, r in zip(block.offset, region.offset, strict=True))
        numbers, corner = _read(store, level, numbering, Box(offset, block.shape), region)
        for number in np.unique(numbers[numbers > 0]).tolist():
            if number in found:
                piece = _cut(numbers == number, Box(offset, block.shape), region, corner)
                if piece is not None:
                    found[number].append(piece)
                    faces += len(piece[1])
        if faces > most_faces:
            raise TooManyFaces(f"more than {most_faces} triangles at {level.scale} nm")
        tell((index + 1) / grid.blocks)
    return [
        Surface(name, *_join(found[number], level.scale), colour, opacity)
        for number, (name, colour, opacity) in names.items()
        if found[number]
    ]


def _read(
    store: ObjectStore, level: Level, numbering: Numbering, block: Box, region: Box
) -> tuple[np.ndarray, tuple[int, ...]]:
    """Numbers of a block with its margin, 0 outside the region, and the index of the first sample."""
    grown = block.grow((MARGIN + 1,) * 3)
    inside = grown.intersect(region)
    data = numbering(read_box(store, level.path, inside))
    pad = [(i - g, ge - ie) for i, g, ie, ge in zip(inside.offset, grown.offset, inside.end, grown.end, strict=True)]
    return np.pad(data, pad), grown.offset


def _cut(
    mask: np.ndarray, block: Box, region: Box, corner: tuple[int, ...]
) -> tuple[np.ndarray, np.ndarray] | None:  # fmt: skip
    """Vertices (sample indices z,y,x of the level) and faces of the cells that belong to a block.

    A block owns the cells from its first sample to the next block's first; at the region's low border also the cell
    before it, where the surface closes.
    """
    smooth = ndimage.gaussian_filter(mask.astype(np.float32), SMOOTHING_VOXELS, truncate=MARGIN / SMOOTHING_VOXELS)
    # Bodies that smoothing would swallow (a voxel or two) keep their own edge.
    small = mask & (ndimage.maximum_filter(smooth, 3) < 0.5)
    if small.any():
        smooth = np.where(ndimage.binary_dilation(small), mask.astype(np.float32), smooth)
    low = [b - (b == r) - c for b, r, c in zip(block.offset, region.offset, corner, strict=True)]
    high = [e - c for e, c in zip(block.end, corner, strict=True)]
    own = smooth[tuple(slice(a, b + 1) for a, b in zip(low, high, strict=True))]
    if own.min() >= 0.5 or own.max() <= 0.5:
        return None
    vertices, faces, _, _ = marching_cubes(own, 0.5, allow_degenerate=False)  # type: ignore[no-untyped-call]
    start = np.array([a + c for a, c in zip(low, corner, strict=True)])
    return vertices.astype(np.float64) + start, faces


def _join(pieces: Sequence[tuple[np.ndarray, np.ndarray]], scale_nm: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """One list of vertices (x,y,z µm) and faces; vertices that two blocks share become one."""
    counts = np.cumsum([0, *(len(v) for v, _ in pieces)])
    points = np.concatenate([v for v, _ in pieces])
    faces = np.concatenate([f + n for (_, f), n in zip(pieces, counts[:-1], strict=True)])
    keys = np.rint((points + 1) * 256).astype(np.int64)
    span = keys.max(axis=0) + 1
    _, first, back = np.unique(
        (keys[:, 0] * span[1] + keys[:, 1]) * span[2] + keys[:, 2], return_index=True, return_inverse=True
    )
    faces = back[faces]
    whole = (faces[:, 0] != faces[:, 1]) & (faces[:, 1] != faces[:, 2]) & (faces[:, 0] != faces[:, 2])
    placed = (points[first] + 0.5) * np.asarray(scale_nm) / 1000
    # scikit-image's triangles face inward; turning z,y,x into x,y,z mirrors them outward.
    return placed[:, ::-1].astype(np.float32), faces[whole].astype(np.int32)


def write_glb(path: Path, found: Sequence[Surface], facts: Mapping[str, str]) -> None:
    """The surfaces as one binary glTF scene: a named node and material each, 1 unit = 1 µm (said in `extras`)."""
    scene = trimesh.Scene(metadata={"units": "micrometer", "axes": "x, y, z of the volume", **facts})
    for one in found:
        colour = [*rgb(one.colour), round(255 * one.opacity)]
        material = trimesh.visual.material.PBRMaterial(  # type: ignore[no-untyped-call]
            name=one.name, baseColorFactor=colour, metallicFactor=0.0, roughnessFactor=0.8, doubleSided=True,
            alphaMode="OPAQUE" if one.opacity >= 1 else "BLEND",
        )  # fmt: skip
        mesh = trimesh.Trimesh(one.vertices, one.faces, process=False)
        mesh.visual = trimesh.visual.TextureVisuals(material=material)  # type: ignore[no-untyped-call]
        scene.add_geometry(mesh, node_name=one.name, geom_name=one.name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(trimesh.exchange.gltf.export_glb(scene, include_normals=True))  # type: ignore[no-untyped-call]
