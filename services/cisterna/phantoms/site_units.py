"""Small scenes of known site classes: vesicles, tubular objects and ER at exact lattice distances.

Everything is a box of voxels, so the nearest voxels of two objects lie a known whole number of steps apart.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

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
    """A scene of its own: its solids, the groups it adds to each class, and the links of each mixed group."""

    name: str
    solids: tuple[Solid, ...]
    counts: dict[str, int]
    links: tuple[int, ...] = ()

    @property
    def low(self) -> Step:
        z, y, x = (min(s.low[i] for s in self.solids) for i in range(3))
        return z, y, x

    @property
    def shape(self) -> Step:
        z, y, x = (max(s.end[i] for s in self.solids) - self.low[i] for i in range(3))
        return z, y, x

    @property
    def tubular_only(self) -> bool:
        return all(s.kind == "tubular" for s in self.solids)

    @property
    def clearance(self) -> Step:
        """Half the empty voxels to the next unit: two tubular sites stay more than 140 nm apart, vesicles more than
        60 nm, a dispersed group more than 120 nm from anyone's ER (at 5.24×4×4 nm)."""
        if DISPERSED in self.counts:
            return (17, 22, 22)
        return (14, 18, 18) if any(s.kind == "tubular" for s in self.solids) else (6, 8, 8)


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


def extent_units(size: Sequence[float]) -> list[Unit]:
    """Groups of the largest extent that stays (not more than 400 nm), each beside a group that would leave with it."""
    units = []
    next_group = lattice_steps(60.0, size).above
    for axis in range(3):
        row = chain(axis, math.floor(400.0 / size[axis] + 1e-9), *_PITCH_EDGE[axis])
        neighbour = beyond(row[-1], next_group, "vesicle")
        patches = (before(row[0], (1, 0, 0), "er"), beyond(neighbour, (1, 0, 0), "er"))
        units.append(Unit("extent at the limit", (*row, neighbour, *patches), {STANDALONE: 2}))
    return units


def twice_linked(size: Sequence[float]) -> Unit:
    """One vesicular group between two tubular sites."""
    row = chain(2, 37, 17, 3)
    step = lattice_steps(50.0, size).below
    ends = (before(row[0], step, "tubular", (1, 2, 2)), beyond(row[-1], step, "tubular", (1, 2, 2)))
    solids = (*row, *ends, before(row[1], (3, 0, 0), "er"))
    return Unit("linked to two tubular sites", solids, {MIXED: 1, TUBULAR_MIXED: 2}, (2,))


def shared_tubule() -> Unit:
    """Two vesicular groups on both sides of one tubular site."""
    tube = Solid("tubular", (0, 0, 0), (2, 2, 3))
    sides = (before(tube, (0, 0, 10), "vesicle", (2, 2, 2)), beyond(tube, (0, 0, 10), "vesicle", (2, 2, 2)))
    patches = (before(sides[0], (0, 6, 0), "er"), beyond(sides[1], (0, 6, 0), "er"))
    return Unit("two groups share a tubular site", (tube, *sides, *patches), {MIXED: 2, TUBULAR_MIXED: 1}, (1, 1))


def golgi_region(groups: int, size: Sequence[float], rng: np.random.Generator) -> Unit:
    """Three Golgi-like groups, just above 400 nm along z, y and x, and satellites that leave with them.

    Satellites stand at the lattice distances nearest to 320 nm: below and at the limit they are golgi_associated,
    above it they are dispersed. More are drawn at random nearer by, up to ``groups`` that leave. One region touches
    the ER and lies beside a tubular object, which stays isolated.
    """
    regions = [
        chain(axis, math.floor(400.0 / size[axis] + 1e-9) + 1, *_PITCH_EDGE[axis], origin)
        for axis, origin in ((0, (16, 0, 0)), (1, (0, 20, 0)), (2, (0, 0, 20)))
    ]
    every = [v for row in regions for v in row]
    tube = beyond(regions[2][3], (5, 5, 0), "tubular", (2, 2, 2))
    solids = [*every, before(regions[2][3], (2, 0, 0), "er"), tube]
    satellites: list[Solid] = []

    def apart(point: Step) -> bool:
        return all(length_nm(gap(Solid("vesicle", point), s), size) > 62.0 for s in satellites)

    far = lattice_steps(320.0, size)
    inside = outside = 0
    for step in (*far.inside, far.above):
        kept = 0
        for point in _around([row[0] for row in regions], step):
            nearest = min(length_nm(gap(Solid("vesicle", point), v), size) for v in every)
            if kept < 4 and abs(nearest - length_nm(step, size)) < 1e-9 and apart(point):
                satellites.append(Solid("vesicle", point))
                kept += 1
        inside, outside = (inside, outside + kept) if step == far.above else (inside + kept, outside)
    while inside + len(regions) < groups:
        z, y, x = (int(v) for v in rng.integers((-50, -75, -75), (70, 100, 100)))
        nearest = min(length_nm(gap(Solid("vesicle", (z, y, x)), v), size) for v in every)
        if 62.0 < nearest < 315.0 and apart((z, y, x)):
            satellites.append(Solid("vesicle", (z, y, x)))
            inside += 1
    counts = {GOLGI: inside + len(regions), DISPERSED: outside, ISOLATED: 1}
    return Unit("Golgi-like regions", (*solids, *satellites), counts)


def gap(a: Solid, b: Solid) -> Step:
    """Step between the nearest voxels of two boxes, per axis (0 where they overlap)."""
    z, y, x = (max(0, lb - (ea - 1), la - (eb - 1)) for la, ea, lb, eb in zip(a.low, a.end, b.low, b.end, strict=True))
    return z, y, x


_PITCH_EDGE = ((11, 2), (17, 3), (17, 3))
"""Per axis: voxels from one vesicle of a row to the next (at most 60 nm apart), and their edge."""


def _around(marks: Sequence[Solid], step: Step) -> Iterator[Step]:
    """Voxels at a step from the first voxel of each mark, in every direction; y and x are exchangeable."""
    for mark in marks:
        for yx in itertools.permutations(step[1:]):
            for signs in itertools.product((-1, 1), repeat=3):
                z, y, x = (o + s * d for o, s, d in zip(mark.low, signs, (step[0], *yx), strict=True))
                yield z, y, x
