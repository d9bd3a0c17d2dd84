"""Touching vesicles cut apart: one component of a segmentation, as many objects as it has bodies.

A component is followed from its innermost voxels outwards by the exact Euclidean distance to the background. Bodies
appear as separate cores and meet at necks; two cores are two vesicles where the neck's radius is at most
``neck_ratio`` of the thinner body's radius. Every voxel then goes to the body whose sphere it is in or nearest to
(power distance), which cuts two overlapping balls along the plane through their intersection.

The answer depends on the component's own voxels alone, so it is the same for every tiling, position and axis order.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cc3d
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt, maximum_filter

from cisterna.eres.components import CONNECTIVITY, in_raster_order


@dataclass(frozen=True)
class Splitting:
    """When one component is several objects. Lengths in nm; ``least_diameter_nm`` 0 splits nothing."""

    neck_ratio: float = 0.8
    """Neck radius over the radius of the thinner body, at most; 1 would cut at every unevenness."""
    least_diameter_nm: float = 30.0
    """A body thinner than this is part of its neighbour, not a vesicle of its own."""
    largest_box_um3: float = 20.0
    """Components whose bounding box is larger are left whole: networks are not rows of vesicles."""

    def __post_init__(self) -> None:
        for f in dataclasses.fields(self):
            value = getattr(self, f.name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
                raise ValueError(f"splitting {f.name} = {value!r}: give a finite number >= 0")
            object.__setattr__(self, f.name, float(value))
        if self.neck_ratio >= 1:
            raise ValueError(f"splitting neck_ratio = {self.neck_ratio:g}: give a share below 1, such as 0.8")

    @property
    def enabled(self) -> bool:
        return self.neck_ratio > 0 and self.least_diameter_nm > 0 and self.largest_box_um3 > 0

    def to_json(self) -> str:
        """Canonical JSON: sorted keys, no blanks."""
        return json.dumps(dataclasses.asdict(self), sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> Splitting:
        """From a mapping of changed fields; ValueError on an unknown one."""
        known = [f.name for f in dataclasses.fields(cls)]
        unknown = sorted(set(values) - set(known))
        if unknown:
            raise ValueError(f"unknown splitting field {', '.join(unknown)}: the fields are {', '.join(known)}")
        return cls(**values)

    @classmethod
    def from_json(cls, text: str) -> Splitting:
        """Inverse of :meth:`to_json`."""
        try:
            values = json.loads(text)
        except json.JSONDecodeError as error:
            raise ValueError(f"splitting is not JSON ({error}): write it with Splitting.to_json()") from error
        if not isinstance(values, dict):
            raise ValueError("splitting must be a JSON object of its fields")
        return cls.from_mapping(values)

    def may_split(
        self, voxels: NDArray[np.int64], box: NDArray[np.int64], voxel_size_nm: Sequence[float]
    ) -> NDArray[np.bool_]:
        """Which components are worth a look, by their number of voxels (n) and the shape of their box (n,3)."""
        if not self.enabled:
            return np.zeros(len(voxels), bool)
        voxel = math.prod(voxel_size_nm)
        # Two bodies of the least diameter, lost voxels at the surface allowed for.
        least = 2 * 0.5 * math.pi / 6 * self.least_diameter_nm**3
        inside = np.prod(box.astype(np.float64), axis=1) * voxel <= self.largest_box_um3 * 1e9
        chosen: NDArray[np.bool_] = (voxels * voxel >= least) & inside & (box.max(axis=1, initial=0) > 1)
        return chosen


SPLITTING = Splitting()
NO_SPLITTING = Splitting(least_diameter_nm=0.0)


def split_component(
    mask: NDArray[np.bool_], voxel_size_nm: Sequence[float], splitting: Splitting, min_voxels: int = 1
) -> NDArray[np.uint32]:
    """Bodies 1…k of one component (Z,Y,X bool), 0 outside; k = 1 where it is one object.

    Bodies are numbered in raster order of their first voxel; none has fewer than ``min_voxels`` voxels. The array's
    outside counts as background.
    """
    whole = mask.astype(np.uint32)
    distance = distance_transform_edt(np.pad(mask, 1), sampling=tuple(voxel_size_nm))[1:-1, 1:-1, 1:-1]
    # Two ways round to the same length may differ in the last bit; an order of axes must not decide.
    distance = np.round(distance, 6)
    cores = _cores(distance, splitting)
    size = np.asarray(voxel_size_nm, np.float64)
    while len(cores) > 1:
        pieces = _assign(mask, distance, cores, size)
        count = np.bincount(pieces.ravel(), minlength=len(cores) + 1)[1:]
        if count.min() >= max(1, min_voxels):
            return in_raster_order(pieces)
        # The smallest piece is none: its voxels fall to the others.
        radii = [c.radius for c in cores]
        drop = min(range(len(cores)), key=lambda i: (int(count[i]), radii[i], cores[i].voxels[0].tolist()))
        cores = [c for i, c in enumerate(cores) if i != drop]
    return whole


@dataclass(frozen=True)
class _Core:
    """Innermost part of a body: its greatest distance to the background, and the voxels (n,3) near that."""

    radius: float
    voxels: NDArray[np.int64]


_STEP_NM = 1.0
_INNER = 0.85


def _cores(distance: NDArray[np.float64], splitting: Splitting) -> list[_Core]:
    """Bodies as the distance map's maxima with a neck between them, by lowering a level in steps of 1 nm."""
    highest, least = float(distance.max()), splitting.least_diameter_nm / 2
    one = [_Core(highest, np.argwhere(distance >= _INNER * highest))]
    if highest < least:
        return one
    peaks = (distance >= least) & (distance == maximum_filter(distance, size=3))
    # All peaks in one core above the neck of the highest: nothing to cut, which is the ordinary case.
    inner = _components(distance >= splitting.neck_ratio * highest)
    if inner.max() == 1 and bool(inner[peaks].all()):
        return one
    where = np.argwhere(peaks)
    radius = distance[peaks]
    # Voxels of one plateau, and lesser maxima, join their neighbours on the way down.
    parent = np.arange(len(where))
    level = highest
    lowest = splitting.neck_ratio * least

    def find(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = int(parent[i])
        return i

    while level > lowest:
        level = max(level - _STEP_NM, lowest)
        labels = _components(distance >= level)
        label = labels[tuple(where.T)]
        for number in np.unique(label[label > 0]):
            roots = sorted({find(int(i)) for i in np.flatnonzero(label == number)}, key=lambda i: (-radius[i], i))
            for i in roots[1:]:
                # Distinct once, distinct for ever: levels only fall.
                if level > splitting.neck_ratio * radius[i]:
                    parent[i] = roots[0]
    return _grown(distance, where, radius, np.array([find(i) for i in range(len(where))]))


def _components(image: NDArray[np.generic]) -> NDArray[np.integer]:
    """Components 1…n of equal values, 0 where the image is 0."""
    found: NDArray[np.integer] = cc3d.connected_components(image, connectivity=CONNECTIVITY)  # type: ignore[call-overload]
    return found


def _grown(
    distance: NDArray[np.float64], where: NDArray[np.int64], radius: NDArray[np.float64], root: NDArray[np.int64]
) -> list[_Core]:
    """The core of each body: the voxels around its highest peaks that are nearly as deep."""
    cores = []
    for r in np.unique(root):
        highest = float(radius[r])
        near = _components(distance >= _INNER * highest)
        peaks = where[(root == r) & (radius == highest)]
        cores.append(_Core(highest, np.argwhere(np.isin(near, near[tuple(peaks.T)]))))
    return cores


def _assign(
    mask: NDArray[np.bool_], distance: NDArray[np.float64], cores: Sequence[_Core], size: NDArray[np.float64]
) -> NDArray[np.uint32]:
    """The body 1…k of every voxel of the mask by least power distance; what is cut off from its core moves on."""
    where = np.argwhere(mask)
    centres = np.array([_middle(distance, c) for c in cores]) * size
    radii = np.array([c.radius for c in cores])
    power = ((where[:, None] * size - centres) ** 2).sum(-1) - radii**2
    pieces = np.zeros(mask.shape, np.uint32)
    pieces[mask] = np.argmin(np.round(power, 6), axis=1).astype(np.uint32) + 1
    for k, core in enumerate(cores, start=1):
        pieces[tuple(core.voxels.T)] = k
    return _joined(pieces, cores)


def _middle(distance: NDArray[np.float64], core: _Core) -> NDArray[np.float64]:
    weight = distance[tuple(core.voxels.T)]
    middle: NDArray[np.float64] = (core.voxels * weight[:, None]).sum(axis=0) / weight.sum()
    return middle


def _joined(pieces: NDArray[np.uint32], cores: Sequence[_Core]) -> NDArray[np.uint32]:
    """Fragments without their body's core go to the body that they touch most."""
    for _ in range(len(cores) + 1):
        parts = _components(pieces)
        home = {int(n) for c in cores for n in parts[tuple(c.voxels.T)]}
        stray = ~np.isin(parts, [0, *home])
        if not stray.any():
            break
        settled = np.where(stray, 0, pieces)
        for number in np.unique(parts[stray]):
            own = np.argwhere(parts == number)
            votes = np.zeros(len(cores) + 1, np.int64)
            for step in _NEIGHBOURS:
                at = own + step
                inside = np.all((at >= 0) & (at < pieces.shape), axis=1)
                votes += np.bincount(settled[tuple(at[inside].T)], minlength=len(votes))
            votes[0] = 0
            if votes.any():
                pieces[parts == number] = np.argmax(votes)
    return pieces


_NEIGHBOURS = np.array(
    [(z, y, x) for z in (-1, 0, 1) for y in (-1, 0, 1) for x in (-1, 0, 1) if (z, y, x) != (0, 0, 0)]
)


def split_touching(
    labels: NDArray[np.integer], voxel_size_nm: Sequence[float], splitting: Splitting, min_voxels: int = 1
) -> NDArray[np.uint32]:
    """Labels (Z,Y,X; each label one component, 0 background) with touching bodies apart.

    Ids of the result are 1…n in raster order of each object's first voxel: what the service writes.
    """
    from scipy.ndimage import find_objects

    out = np.zeros(labels.shape, np.int64)
    last = 0
    for number, box in enumerate(find_objects(labels), start=1):
        if box is None:
            continue
        mask = labels[box] == number
        shape = np.array([mask.shape], np.int64)
        if splitting.may_split(np.array([mask.sum()]), shape, voxel_size_nm)[0]:
            pieces = split_component(mask, voxel_size_nm, splitting, min_voxels)
        else:
            pieces = mask.astype(np.uint32)
        out[box][mask] = pieces[mask].astype(np.int64) + last
        last += int(pieces.max())
    return in_raster_order(out)
