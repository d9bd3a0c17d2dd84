"""The surroundings of exit sites, block by block: volumes, ER area, and what random places of the cytosol are near.

Places are voxels drawn at random from the whole volume, the same ones whatever the blocks. A vesicle is taken as the
ball of its volume; a group of vesicles as its balls at their places to each other, moved but not turned. A block
answers for the places and balls whose centre lies in it, so nothing has to reach further than one ball and one rule.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from cisterna.chunks import Box
from cisterna.eres.areas import crossings
from cisterna.eres.distances import DECIMALS, VOXELS_A_QUERY, surface_voxels
from cisterna.eres.rules import TOLERANCE_NM, Rules

LARGEST_RADIUS_NM = 75.0
"""Balls beyond this are no vesicles: groups that hold one are not relocated, and counted as left out."""

BALLS = 1_000_000
"""Balls of groups placed in all; each group gets an equal number of places, 100 to 1,000."""

FITS, NEAR_ER, LINKED, GOLGI = 1, 2, 4, 8
"""What is known of a placed ball: lies in the cytosol without touching a wall; is near the ER; near a tubular site;
within the Golgi rule's distance."""

AXES = "zyx"


@dataclass(frozen=True)
class Masks:
    """A block and what lies around it, as masks (Z,Y,X); None where not given."""

    er: NDArray[np.bool_]
    tubular: NDArray[np.bool_]
    golgi: NDArray[np.bool_] | None = None
    cell: NDArray[np.bool_] | None = None
    organelles: NDArray[np.bool_] | None = None

    def cytosol(self) -> NDArray[np.bool_]:
        """The cell (or everything) without ER, tubular sites, Golgi and other organelles."""
        free = ~(self.er | self.tubular)
        for taken in (self.golgi, self.organelles):
            if taken is not None:
                free &= ~taken
        if self.cell is not None:
            free &= self.cell
        return free


@dataclass(frozen=True)
class Groups:
    """Vesicular groups to be relocated: ``site`` ids; ball i belongs to group ``of[i]`` (ascending), has a radius and
    a centre relative to its group's (nm)."""

    site: NDArray[np.int64]
    of: NDArray[np.int64]
    offset_nm: NDArray[np.float64]
    radius_nm: NDArray[np.float64]
    left_out: int

    @property
    def size(self) -> NDArray[np.int64]:
        return np.bincount(self.of, minlength=len(self.site)).astype(np.int64)

    @classmethod
    def of_tables(cls, objects: pd.DataFrame, sites: pd.DataFrame, rules: Rules) -> Groups:
        """All vesicular groups that did not leave as Golgi-like, from the `objects` and `sites` tables.

        Left out: groups beyond the Golgi extent (possible beside a segmentation) or with a ball too large.
        """
        own = sites[(sites["kind"] == "vesicular") & (sites["site_class"] != "golgi_associated")]
        extent = own[[f"extent_{a}_nm" for a in AXES]].to_numpy(np.float64).max(axis=1, initial=0.0)
        vesicles = objects[objects["site_id"].isin(own["site_id"])]
        radius = vesicles["diameter_mask_nm"].to_numpy(np.float64) / 2
        huge = vesicles.loc[radius > LARGEST_RADIUS_NM, "site_id"]
        keep = (extent <= rules.golgi_extent_nm + TOLERANCE_NM) & ~own["site_id"].isin(huge).to_numpy(bool)
        chosen = own[keep].sort_values("site_id")
        site = chosen["site_id"].to_numpy(np.int64)
        balls = vesicles[vesicles["site_id"].isin(site)].sort_values(["site_id", "object_id"])
        of = np.searchsorted(site, balls["site_id"].to_numpy(np.int64))
        middle = chosen[[f"centroid_{a}_nm" for a in AXES]].to_numpy(np.float64)
        centre = balls[[f"centroid_{a}_nm" for a in AXES]].to_numpy(np.float64)
        return cls(
            site, of, centre - middle[of], balls["diameter_mask_nm"].to_numpy(np.float64) / 2, int((~keep).sum())
        )

    def several(self) -> Groups:
        """The groups of more than one vesicle; the others need no placing of their own."""
        many = self.size > 1
        keep = many[self.of]
        of = (np.cumsum(many) - 1)[self.of[keep]]
        return Groups(self.site[many], of, self.offset_nm[keep], self.radius_nm[keep], 0)

    def placements(self) -> int:
        """Places that each group is put at."""
        return int(np.clip(BALLS // max(1, len(self.of)), 100, 1000))


@dataclass(frozen=True)
class Survey:
    """Counts and places of one block, or of all. Distances are nm, inf beyond what is asked.

    ``voxels``: of the volume, the cell, the cytosol, the ER; ``crossings`` of the ER's surface. ``place``: number of
    each place that lies in the cytosol, ``er_nm`` … ``wall_nm`` its distances. ``ball``, ``known``: number of each
    placed ball and what is known of it (FITS …).
    """

    voxels: NDArray[np.int64]
    crossings: NDArray[np.int64]
    place: NDArray[np.int64]
    er_nm: NDArray[np.float32]
    tubular_nm: NDArray[np.float32]
    golgi_nm: NDArray[np.float32]
    wall_nm: NDArray[np.float32]
    ball: NDArray[np.int64]
    known: NDArray[np.uint8]

    @classmethod
    def joined(cls, parts: Iterable[Survey]) -> Survey:
        """Sums of the counts; places and balls in order of their numbers."""
        held = list(parts)
        out = {f.name: np.concatenate([getattr(p, f.name) for p in held]) for f in fields(cls)}
        out["voxels"] = np.sum([p.voxels for p in held], axis=0)
        out["crossings"] = np.sum([p.crossings for p in held], axis=0)
        for number, others in (("place", ("er_nm", "tubular_nm", "golgi_nm", "wall_nm")), ("ball", ("known",))):
            order = np.argsort(out[number], kind="stable")
            for name in (number, *others):
                out[name] = out[name][order]
        return cls(**out)

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """The fields as named arrays, for a part."""
        return {f.name: getattr(self, f.name) for f in fields(self)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[np.generic]]) -> Survey:
        """Inverse of :meth:`arrays`."""
        return cls(**{f.name: arrays[f.name] for f in fields(cls)})  # type: ignore[arg-type]


def draw_places(volume_shape: Sequence[int], places: int, seed: int) -> NDArray[np.int64]:
    """Voxels (n,3) drawn uniformly from the volume: the same for every tiling."""
    rng = np.random.default_rng([seed, *volume_shape])
    return np.stack([rng.integers(0, n, places) for n in volume_shape], axis=1)


def survey_reach_nm(rules: Rules) -> float:
    """How far a block must see around itself, the Golgi rule apart."""
    return max(rules.near_er_nm, rules.link_nm) + LARGEST_RADIUS_NM


def region_reach_nm(rules: Rules) -> float:
    """How far it must see for the Golgi rule."""
    return rules.golgi_distance_nm + LARGEST_RADIUS_NM


def survey_block(
    masks: Masks,
    core: Box,
    offset: Sequence[int],
    volume_shape: Sequence[int],
    voxel_size_nm: Sequence[float],
    rules: Rules,
    groups: Groups,
    places: int = 200_000,
    seed: int = 0,
    reference: tuple[NDArray[np.bool_], Sequence[int]] | None = None,
) -> Survey:
    """Surveys one block.

    ``masks`` hold the block and a halo of :func:`survey_reach_nm` wherever the volume goes on; ``core`` is the block in
    them and ``offset`` their first voxel in the volume. ``groups``: those of :meth:`Groups.several`. ``reference``: the
    Golgi reference (segmentation, or vesicles of Golgi-like groups) with its own offset and a halo of
    :func:`region_reach_nm`; None where there is none near.
    """
    size = np.asarray(voxel_size_nm, np.float64)
    start = np.asarray(offset, np.int64)
    free = masks.cytosol()
    block = core.slices
    whole = masks.er[block].size
    cell = whole if masks.cell is None else int(np.count_nonzero(masks.cell[block]))
    counts = [whole, cell, int(np.count_nonzero(free[block])), int(np.count_nonzero(masks.er[block]))]

    drawn = draw_places(volume_shape, places, seed)
    first, end = np.asarray(core.offset) + start, np.asarray(core.end) + start
    here = np.flatnonzero(np.all((drawn >= first) & (drawn < end), axis=1))
    here = here[free[tuple((drawn[here] - start).T)]]
    ball, of_ball, at = _balls_in(groups, drawn, first, end, size)

    ask = np.concatenate([drawn[here], at])
    er = _distance_nm(masks.er, ask - start, size, rules.near_er_nm + LARGEST_RADIUS_NM)
    tubular = _distance_nm(masks.tubular, ask - start, size, rules.link_nm + LARGEST_RADIUS_NM)
    wall = np.minimum(er, tubular)
    for other in (masks.golgi, masks.organelles, None if masks.cell is None else ~masks.cell):
        if other is not None:
            wall = np.minimum(wall, _distance_nm(other, ask - start, size, LARGEST_RADIUS_NM))
    golgi = np.full(len(ask), np.inf)
    if reference is not None:
        golgi = _distance_nm(
            reference[0], ask - np.asarray(reference[1], np.int64), size, region_reach_nm(rules), rules.golgi_metric
        )

    n = len(here)
    radius = groups.radius_nm[of_ball]
    inside = free[tuple((at - start).T)]
    known = FITS * (inside & (wall[n:] > radius))
    known = known + NEAR_ER * _reaches(er[n:], radius, rules.near_er_nm)
    known = known + LINKED * _reaches(tubular[n:], radius, rules.link_nm)
    known = known + GOLGI * _reaches(golgi[n:], radius, rules.golgi_distance_nm)
    distances = [values[:n].astype(np.float32) for values in (er, tubular, golgi, wall)]
    return Survey(
        voxels=np.array(counts, np.int64),
        crossings=crossings(masks.er, core),
        place=here.astype(np.int64),
        er_nm=distances[0],
        tubular_nm=distances[1],
        golgi_nm=distances[2],
        wall_nm=distances[3],
        ball=ball,
        known=known.astype(np.uint8),
    )


def _reaches(distance: NDArray[np.float64], radius: NDArray[np.float64], limit_nm: float) -> NDArray[np.bool_]:
    reached: NDArray[np.bool_] = distance <= radius + limit_nm + TOLERANCE_NM
    return reached


def _balls_in(
    groups: Groups,
    drawn: NDArray[np.int64],
    first: NDArray[np.int64],
    end: NDArray[np.int64],
    size: NDArray[np.float64],
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Placed balls whose centre lies in a box: their number (ball × placements + placement), ball and voxel.

    Group g is put at the places g·T … g·T + T − 1 (modulo their number) of the drawing; balls keep their places to each
    other to the nearest voxel.
    """
    times = groups.placements()
    step = np.rint(groups.offset_nm / size).astype(np.int64)
    numbers = [np.zeros(0, np.int64)]
    balls, voxels = [np.zeros(0, np.int64)], [np.zeros((0, 3), np.int64)]
    many = max(1, _CHUNK // times)
    for begin in range(0, len(groups.of), many):
        chunk = np.arange(begin, min(begin + many, len(groups.of)))
        at = (groups.of[chunk, None] * times + np.arange(times)[None, :]) % len(drawn)
        inside = np.ones(at.shape, bool)
        for axis in range(3):
            along = drawn[:, axis][at] + step[chunk, None, axis]
            inside &= (along >= first[axis]) & (along < end[axis])
        ball, placement = np.nonzero(inside)
        numbers.append(chunk[ball] * times + placement)
        balls.append(chunk[ball])
        voxels.append(drawn[at[ball, placement]] + step[chunk[ball]])
    return np.concatenate(numbers), np.concatenate(balls), np.concatenate(voxels)


_CHUNK = 1 << 18


def _distance_nm(
    mask: NDArray[np.bool_],
    voxels: NDArray[np.int64],
    size: NDArray[np.float64],
    limit_nm: float,
    metric: str = "euclidean",
) -> NDArray[np.float64]:
    """Distance of voxels of a window to the nearest voxel of a mask; inf beyond the limit."""
    if not len(voxels) or not mask.any():
        return np.full(len(voxels), np.inf)
    inside = mask[tuple(voxels.T)]
    if metric == "euclidean" and len(voxels) * VOXELS_A_QUERY > mask.size:
        from cisterna.eres.transform import squared_distance_nm2  # numba compiles: not for a few places

        out = np.sqrt(squared_distance_nm2(mask, size.tolist())[tuple(voxels.T)])
        out[out > limit_nm + TOLERANCE_NM] = np.inf
    else:
        tree = cKDTree(surface_voxels(mask) * size, balanced_tree=False)
        p = np.inf if metric == "per_axis" else 2.0
        out = tree.query(voxels * size, p=p, distance_upper_bound=limit_nm + TOLERANCE_NM)[0]
    out[inside] = 0.0
    rounded: NDArray[np.float64] = np.round(out, DECIMALS)
    return rounded
