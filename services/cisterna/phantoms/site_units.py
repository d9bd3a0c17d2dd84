"""Small scenes of known site classes: vesicles, tubular objects and ER at exact lattice distances.

Everything is a box of voxels, so the nearest voxels of two objects lie a known whole number of steps apart.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

Step = tuple[int, int, int]

GOLGI, DISPERSED, STANDALONE, MIXED = "golgi_associated", "dispersed", "vesicular_standalone", "vesicular_mixed"
ISOLATED, TUBULAR_MIXED = "tubular_isolated", "tubular_mixed"


@dataclass(frozen=True)
class Solid:
    """A box of voxels of one class (`vesicle`, `tubular` or `er`), z,y,x, relative to its unit."""

    kind: str
    low: Step
    shape: Step = (1, 1, 1)

    @property
    def end(self) -> Step:
        z, y, x = (a + n for a, n in zip(self.low, self.shape, strict=True))
        return z, y, x


@dataclass(frozen=True)
class Unit:
    """A scene that touches no other: its solids, what it adds to the counts and links, and its half clearance (voxels)."""

    name: str
    solids: tuple[Solid, ...]
    counts: dict[str, int]
    links: tuple[int, ...] = ()
    clearance: Step = (14, 18, 18)
    shared: int = 0
    extra: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class LatticeSteps:
    """The steps whose length is nearest to a threshold: just below, exactly at it (where there is one), just above."""

    below: Step
    at: Step | None
    above: Step

    @property
    def inside(self) -> list[Step]:
        """Steps that an inclusive threshold keeps."""
        return [self.below] if self.at is None else [self.below, self.at]


def length_nm(step: Sequence[int], voxel_size_nm: Sequence[float]) -> float:
    """Length of a step given in voxels."""
    return math.sqrt(sum((n * s) ** 2 for n, s in zip(step, voxel_size_nm, strict=True)))


def lattice_steps(threshold_nm: float, voxel_size_nm: Sequence[float]) -> LatticeSteps:
    """Lattice steps nearest to a threshold, searched over all directions with z, y, x ≥ 0."""
    reach = [math.ceil(threshold_nm / s) + 1 for s in voxel_size_nm]
    grid = np.stack(np.meshgrid(*(np.arange(n + 1) for n in reach), indexing="ij"), axis=-1).reshape(-1, 3)
    nm = np.sqrt(((grid * np.asarray(voxel_size_nm)) ** 2).sum(axis=1))
    at = np.flatnonzero(np.abs(nm - threshold_nm) < 1e-9)
    below, above = np.flatnonzero(nm < threshold_nm - 1e-5), np.flatnonzero(nm > threshold_nm + 1e-5)

    def step(i: int) -> Step:
        z, y, x = (int(v) for v in grid[i])
        return z, y, x

    return LatticeSteps(
        step(below[np.argmax(nm[below])]), step(at[0]) if len(at) else None, step(above[np.argmin(nm[above])])
    )


def beyond(solid: Solid, step: Step, kind: str, shape: Step = (1, 1, 1)) -> Solid:
    """A solid whose nearest voxel lies ``step`` (≥ 0 on each axis) after the last voxel of another."""
    z, y, x = (e - 1 + s for e, s in zip(solid.end, step, strict=True))
    return Solid(kind, (z, y, x), shape)


def before(solid: Solid, step: Step, kind: str, shape: Step = (1, 1, 1)) -> Solid:
    """A solid whose nearest voxel lies ``step`` (≥ 0 on each axis) ahead of the first voxel of another."""
    z, y, x = (a - s - n + 1 for a, s, n in zip(solid.low, step, shape, strict=True))
    return Solid(kind, (z, y, x), shape)


def chain(axis: int, extent: int, pitch: int, edge: int, origin: Step = (0, 0, 0)) -> list[Solid]:
    """Vesicles in a row whose common box is exactly ``extent`` voxels along ``axis``."""
    starts = [*range(0, extent - edge, pitch), extent - edge]
    rows = []
    for start in starts:
        low, shape = list(origin), [1, 1, 1]
        low[axis] += start
        shape[axis] = edge
        rows.append(Solid("vesicle", (low[0], low[1], low[2]), (shape[0], shape[1], shape[2])))
    return rows


def threshold_units(size: Sequence[float]) -> list[Unit]:
    """Distractors: for every threshold of the rules one scene below, at and above it (nair2025's figures)."""
    units: list[Unit] = []
    ves = Solid("vesicle", (0, 0, 0), (2, 2, 2))
    er = lattice_steps(120.0, size)
    for step in er.inside:
        units.append(Unit("ER at the limit", (ves, beyond(ves, step, "er")), {STANDALONE: 1}))
    units.append(Unit("ER beyond the limit", (ves, beyond(ves, er.above, "er")), {DISPERSED: 1}))

    link = lattice_steps(50.0, size)
    touching = before(ves, (0, 0, 1), "er")
    for step in link.inside:
        tubular = beyond(ves, step, "tubular", (2, 2, 3))
        units.append(Unit("link at the limit", (ves, touching, tubular), {MIXED: 1, TUBULAR_MIXED: 1}, (1,)))
    tubular = beyond(ves, link.above, "tubular", (2, 2, 3))
    units.append(Unit("link beyond the limit", (ves, touching, tubular), {STANDALONE: 1, ISOLATED: 1}))
    tubular = beyond(ves, link.below, "tubular")
    units.append(Unit("tubular beside a dispersed vesicle", (ves, tubular), {DISPERSED: 1, ISOLATED: 1}))

    # The ER lies ahead of the first vesicle, at 120 nm: the second is near it only as a member of the group.
    group = lattice_steps(60.0, size)
    patch = before(ves, (0, 0, 30), "er")
    for step in group.inside:
        second = beyond(ves, step, "vesicle", (2, 2, 2))
        units.append(Unit("group at the limit", (patch, ves, second), {STANDALONE: 1}))
    second = beyond(ves, group.above, "vesicle", (2, 2, 2))
    units.append(Unit("group beyond the limit", (patch, ves, second), {STANDALONE: 1, DISPERSED: 1}))

    tube = Solid("tubular", (0, 0, 0), (1, 3, 4))
    wide = lattice_steps(140.0, size)
    for step in wide.inside:
        units.append(Unit("tubular group at the limit", (tube, beyond(tube, step, "tubular")), {ISOLATED: 1}))
    units.append(Unit("tubular group beyond the limit", (tube, beyond(tube, wide.above, "tubular")), {ISOLATED: 2}))
    return units


def golgi_units(size: Sequence[float]) -> list[Unit]:
    """Golgi-like regions of extent just above 400 nm along each axis, with satellites at the 320 nm limit, and
    groups of the largest extent that stays."""
    far = lattice_steps(320.0, size)
    # Half clearances of a normal unit are 14, 18, 18: these make up the rest of 320 nm on each side.
    clearance = tuple(math.ceil(321.0 / s) - c for s, c in zip(size, (14, 18, 18), strict=True))
    units = []
    for axis in range(3):
        over = math.floor(400.0 / size[axis] + 1e-9) + 1
        pitch, edge = (12, 2) if axis == 0 else (17, 3)
        across = 1 if axis == 2 else 2
        region = chain(axis, over, pitch, edge)
        mark = region[0]
        solids = list(region)
        count = 1
        for step in (*far.inside, far.above):
            # Ahead of the first vesicle and turned away from the others, so that this step is the nearest one.
            away = sorted(step)
            turned = [0, 0, 0]
            turned[:] = step
            if away[1] == 0:
                turned = [0, 0, 0]
                turned[across] = step[2] or step[1]
            solids.append(before(mark, (turned[0], turned[1], turned[2]), "vesicle", (1, 1, 1)))
        units.append((axis, over, solids, count, far, clearance))
    return units  # type: ignore[return-value]


def combinations(steps: Sequence[Step]) -> list[Step]:
    """All orders of the y and x parts of steps, without repeats."""
    return sorted({(z, *yx) for z, y, x in steps for yx in itertools.permutations((y, x))})
