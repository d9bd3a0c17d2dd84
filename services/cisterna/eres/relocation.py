"""Vesicles and their groups put at random places of the cytosol: what chance alone would give, beside what was found.

The places were surveyed block by block (:mod:`cisterna.eres.survey`), so a relocation is a draw from what is known of
them and costs no distance transform. Relocated groups do not exclude each other. Places within the Golgi rule's
distance are not drawn: groups there are not compared either.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from cisterna.eres.rules import TOLERANCE_NM, Rules
from cisterna.eres.survey import AXES, FITS, GOLGI, LINKED, NEAR_ER, Groups, Survey, draw_places
from cisterna.tables.statistics import CHANCE

REGIONS = 3
"""The volume is cut into this many parts an axis to ask how evenly the sites lie."""

FEWEST = 20
"""Places that a group must fit at; one that fits at fewer is left out."""


@dataclass(frozen=True)
class Chances:
    """Per group: how many of its places leave it away from the ER, near it, near it and linked; (n,3) whole numbers."""

    group: NDArray[np.int64]
    places: NDArray[np.int64]


def group_chances(survey: Survey, groups: Groups, rules: Rules) -> Chances:
    """What the places of each group are like, for groups that fit at :data:`FEWEST` of them or more.

    A group of one uses all surveyed places; one of several those at which it was put. ``group`` is its index in
    ``groups.site``.
    """
    size = groups.size
    table = np.zeros((len(groups.site), 3), np.int64)
    single = size[groups.of] == 1
    for radius in np.unique(np.round(groups.radius_nm[single])):
        own = single & (np.round(groups.radius_nm) == radius)
        table[groups.of[own]] = _ball_places(survey, float(radius), rules)
    several = groups.several()
    if len(several.site):
        table[np.flatnonzero(size > 1)] = _group_places(survey, several)
    kept = np.flatnonzero(table.sum(axis=1) >= FEWEST)
    return Chances(kept, table[kept])


def _ball_places(survey: Survey, radius: float, rules: Rules) -> NDArray[np.int64]:
    near, linked, allowed = _of_places(survey, radius, rules)
    return np.array([np.sum(allowed & ~near), np.sum(allowed & near & ~linked), np.sum(allowed & near & linked)])


def _of_places(
    survey: Survey, radius: float, rules: Rules
) -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_]]:
    """Of each surveyed place, for a ball: near the ER; near a tubular site; free, and away from the Golgi."""
    near = survey.er_nm <= radius + rules.near_er_nm + TOLERANCE_NM
    linked = survey.tubular_nm <= radius + rules.link_nm + TOLERANCE_NM
    away = survey.golgi_nm > radius + rules.golgi_distance_nm + TOLERANCE_NM
    return near, linked, (survey.wall_nm > radius) & away


def _group_places(survey: Survey, groups: Groups) -> NDArray[np.int64]:
    times = groups.placements()
    flat = np.zeros(len(groups.of) * times, np.uint8)
    flat[survey.ball] = survey.known
    known = flat.reshape(len(groups.of), times)
    begin = np.searchsorted(groups.of, np.arange(len(groups.site)))
    # A ball whose centre fell outside the volume was seen by no block: known is 0 and the place does not count.
    every = np.bitwise_and.reduceat(known, begin, axis=0)
    some = np.bitwise_or.reduceat(known, begin, axis=0)
    allowed = ((every & FITS) != 0) & ((some & GOLGI) == 0)
    near, linked = (some & NEAR_ER) != 0, (some & LINKED) != 0
    return np.stack([(allowed & ~near).sum(1), (allowed & near & ~linked).sum(1), (allowed & near & linked).sum(1)], 1)


def chance_table(
    objects: pd.DataFrame,
    sites: pd.DataFrame,
    survey: Survey,
    rules: Rules,
    voxel_size_nm: Sequence[float],
    volume_shape: Sequence[int],
    places: int = 200_000,
    relocations: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """The `chance` table: observed, expected with its middle 95 %, and how often chance does as much.

    ``objects``, ``sites`` as :func:`cisterna.eres.sites.classify` gives them, ``survey`` of the same volume with the
    same ``places`` and ``seed``. Raises ValueError for fewer than 1 relocation.
    """
    if relocations < 1:
        raise ValueError(f"relocations = {relocations}: give at least 1, and 1000 for a 95 % interval")
    groups = Groups.of_tables(objects, sites, rules)
    rng = np.random.default_rng(seed)
    rows = [
        *_of_vesicles(objects, groups, survey, rules, relocations, rng),
        *_of_groups(sites, groups, survey, rules, relocations, rng),
        *_of_positions(sites, groups, survey, rules, voxel_size_nm, volume_shape, places, relocations, seed, rng),
    ]
    return CHANCE.frame(pd.DataFrame(rows, columns=CHANCE.names))


def _of_vesicles(
    objects: pd.DataFrame,
    groups: Groups,
    survey: Survey,
    rules: Rules,
    relocations: int,
    rng: np.random.Generator,
) -> list[dict[str, object]]:
    """Each vesicle on its own: how many are near the ER."""
    radius = np.round(groups.radius_nm)
    values, inverse = np.unique(radius, return_inverse=True)
    fits = np.zeros(len(values), bool)
    total = np.zeros(relocations)
    for i, value in enumerate(values):
        counts = _ball_places(survey, float(value), rules)
        fits[i] = counts.sum() >= FEWEST
        if fits[i]:
            share = float(counts[1:].sum() / counts.sum())
            total += rng.binomial(int(np.sum(inverse == i)), share, relocations)
    kept = fits[inverse] if len(values) else np.zeros(0, bool)
    nm = objects.loc[objects["site_id"].isin(groups.site)].sort_values(["site_id", "object_id"])["er_distance_nm"]
    near = nm.to_numpy(np.float64) <= rules.near_er_nm + TOLERANCE_NM
    observed = float(np.sum(near[kept]))
    left = int((~kept).sum())
    return [_row("near_er_vesicles", "vesicles", int(kept.sum()), observed, total, left)]


def _of_groups(
    sites: pd.DataFrame,
    groups: Groups,
    survey: Survey,
    rules: Rules,
    relocations: int,
    rng: np.random.Generator,
) -> list[dict[str, object]]:
    """Groups as they are: how many are near the ER, how many beside a tubular site."""
    chances = group_chances(survey, groups, rules)
    drawn = np.zeros((relocations, 3), np.int64)
    for kind, number in zip(*np.unique(chances.places, axis=0, return_counts=True), strict=True):
        drawn += rng.multinomial(int(number), kind / kind.sum(), relocations)
    own = sites.set_index("site_id").loc[groups.site[chances.group]]
    near = own["er_distance_nm"].to_numpy(np.float64) <= rules.near_er_nm + TOLERANCE_NM
    mixed = near & (own["site_class"] == "vesicular_mixed").to_numpy(bool)
    n, left = len(chances.group), groups.left_out + len(groups.site) - len(chances.group)
    with np.errstate(invalid="ignore", divide="ignore"):
        share = drawn[:, 2] / (drawn[:, 1] + drawn[:, 2])
    observed_share = float(mixed.sum() / near.sum()) if near.any() else np.nan
    return [
        _row("near_er_groups", "groups", n, float(near.sum()), drawn[:, 1:].sum(axis=1), left),
        _row("mixed_groups", "groups", n, float(mixed.sum()), drawn[:, 2], left),
        _row("mixed_share_near_er", "share", int(near.sum()), observed_share, share[np.isfinite(share)], left),
    ]


def _of_positions(
    sites: pd.DataFrame,
    groups: Groups,
    survey: Survey,
    rules: Rules,
    voxel_size_nm: Sequence[float],
    volume_shape: Sequence[int],
    places: int,
    relocations: int,
    seed: int,
    rng: np.random.Generator,
) -> list[dict[str, object]]:
    """Vesicular ERES against as many places near the ER: nearest neighbours, and evenness over the volume."""
    eres = sites[sites["site_class"].isin(["vesicular_standalone", "vesicular_mixed"])]
    found = eres[[f"centroid_{a}_nm" for a in AXES]].to_numpy(np.float64)
    n = len(found)
    radius = float(np.median(groups.radius_nm)) if len(groups.radius_nm) else 0.0
    near, _, allowed = _of_places(survey, radius, rules)
    size = np.asarray(voxel_size_nm, np.float64)
    pool = (draw_places(volume_shape, places, seed)[survey.place[near & allowed]] + 0.5) * size
    names = ("nearest_neighbour", "evenness")
    if n < 2 or len(pool) < max(n, FEWEST):
        return [_row(name, unit, n, np.nan, np.zeros(0), n) for name, unit in zip(names, ("nm", "chi2"), strict=True)]
    extent = np.asarray(volume_shape) * size
    weight = np.bincount(_region(pool, extent), minlength=REGIONS**3) / len(pool)

    def measures(points: NDArray[np.float64]) -> tuple[float, float]:
        nearest = cKDTree(points).query(points, k=2)[0][:, 1]
        count = np.bincount(_region(points, extent), minlength=REGIONS**3)
        some = weight > 0
        expected = n * weight[some]
        return float(nearest.mean()), float(np.sum((count[some] - expected) ** 2 / expected))

    observed = measures(found)
    drawn = np.array([measures(pool[rng.choice(len(pool), n, replace=False)]) for _ in range(relocations)])
    return [
        _row("nearest_neighbour", "nm", n, observed[0], drawn[:, 0], 0),
        _row("evenness", "chi2", n, observed[1], drawn[:, 1], 0),
    ]


def _region(points: NDArray[np.float64], extent: NDArray[np.float64]) -> NDArray[np.int64]:
    at = np.clip((points / extent * REGIONS).astype(np.int64), 0, REGIONS - 1)
    number: NDArray[np.int64] = (at[:, 0] * REGIONS + at[:, 1]) * REGIONS + at[:, 2]
    return number


def _row(
    quantity: str, unit: str, n: int, observed: float, drawn: NDArray[np.generic], left_out: int
) -> dict[str, object]:
    values = np.asarray(drawn, np.float64)
    row: dict[str, object] = dict.fromkeys(CHANCE.names, np.nan)
    row.update(quantity=quantity, unit=unit, n=n, observed=observed, relocations=len(values), left_out=left_out)
    if n and len(values) and np.isfinite(observed):
        low, high = np.quantile(values, [0.025, 0.975])
        more = (np.sum(values >= observed - 1e-12) + 1) / (len(values) + 1)
        less = (np.sum(values <= observed + 1e-12) + 1) / (len(values) + 1)
        mean = float(values.mean())
        row.update(expected=mean, expected_low=float(low), expected_high=float(high))
        row.update(p_as_many=float(more), p_as_few=float(less), p=float(min(1.0, 2 * min(more, less))))
        for name, value in (("ratio", mean), ("ratio_low", high), ("ratio_high", low)):
            row[name] = observed / float(value) if value > 0 else np.nan
    return row
