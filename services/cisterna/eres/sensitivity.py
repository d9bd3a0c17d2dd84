"""How every count moves when a threshold moves."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from cisterna.eres.least_distances import Distances
from cisterna.eres.rules import Rules
from cisterna.eres.sites import count_classes
from cisterna.tables.statistics import SENSITIVITY

MOVED = (
    "group_vesicles_nm",
    "group_tubular_nm",
    "golgi_extent_nm",
    "golgi_distance_nm",
    "near_er_nm",
    "link_nm",
    "cluster_region_nm",
)
"""Thresholds that are moved; the cluster region counts only where the rules demand a cluster."""


@dataclass(frozen=True)
class Variant:
    """Counts at another segmentation threshold (probability, 0..1) of one class."""

    class_name: str
    factor: float
    threshold: float
    counts: dict[str, int]


def moved(rules: Rules, name: str, factor: float) -> Rules:
    """The rules with one threshold multiplied; the search radius of the ER grows with `near_er_nm` where it must."""
    value = getattr(rules, name) * factor
    changed = dataclasses.replace(rules, **{name: value}) if name != "near_er_nm" else None
    if changed is None:
        changed = dataclasses.replace(rules, near_er_nm=value, er_search_nm=max(rules.er_search_nm, value))
    return changed


def sensitivity_table(
    vesicles: pd.DataFrame,
    tubular: pd.DataFrame,
    distances: Distances,
    rules: Rules,
    golgi_given: bool,
    widened: float = 1.2,
    variants: Sequence[Variant] = (),
) -> pd.DataFrame:
    """The `sensitivity` table: the six counts as run, with each threshold × (2 − ``widened``) and × ``widened``, and
    with each segmentation threshold of ``variants``.

    ``distances`` reach ``rules.widened(widened)``. A ``widened`` of 1 moves no rule.
    """

    def counts(chosen: Rules) -> dict[str, int]:
        return count_classes(vesicles, tubular, distances, chosen, golgi_given)

    rows: list[dict[str, object]] = [{"parameter": "as_run", "factor": 1.0, "value": float("nan"), **counts(rules)}]
    names = [n for n in MOVED if rules.require_cluster or n != "cluster_region_nm"] if widened > 1 else []
    if rules.golgi_from_mask(golgi_given):
        names = [n for n in names if n != "golgi_extent_nm"]
    for name in names:
        for factor in (round(2 - widened, 9), widened):
            chosen = moved(rules, name, factor)
            rows.append({"parameter": name, "factor": factor, "value": getattr(chosen, name), **counts(chosen)})
    for v in variants:
        name = f"probability_{v.class_name}"
        rows.append({"parameter": name, "factor": v.factor, "value": v.threshold, **v.counts})
    return SENSITIVITY.frame(rows)
