"""The effects table: for each metric and pair of conditions the difference, its effect size, and p where it is due."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations

import numpy as np
import pandas as pd

from cisterna.compare import hedges
from cisterna.compare.aggregates import Aggregates
from cisterna.compare.metrics import Metric
from cisterna.compare.mixed import Mixed, mixed_model, nothing
from cisterna.compare.ratios import NO_RATIO, Ratio, count_ratio
from cisterna.compare.tests import Contrast, Omnibus, blocked, holm, one_way, paired, tukey, tukey_blocked, welch

LEAST_EXPERIMENTS = 3
"""Experiments a condition needs before a p is printed: with two, one dish decides it."""

Means = dict[str, dict[str, float]]


def effects_table(
    data: Aggregates, conditions: Sequence[str], metrics: Sequence[Metric], is_paired: bool
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """(effects, omnibus): one row a metric and pair of conditions; one F test a metric from three conditions on.

    Two conditions: Welch's t test, or the paired one where `is_paired`. More: one-way ANOVA and Tukey–Kramer, or the
    block design of both where `is_paired`. `p_holm` adjusts across metrics, within one pair of conditions.
    """
    pairs = list(combinations(conditions, 2))
    rows, tests = [], []
    for metric in metrics:
        cells = data.cells[(data.cells["metric"] == metric.name) & np.isfinite(data.cells["value"])]
        means = _means(data.experiments, metric.name, conditions)
        contrasts, omnibus, name = _test(means, conditions, is_paired)
        if omnibus is not None:
            tests.append(_omnibus_row(metric, means, omnibus, is_paired))
        models = _models(cells, means, pairs)
        rows += [
            _row(metric, a, b, means, cells, contrasts.get((a, b)), name, models[a, b], is_paired) for a, b in pairs
        ]
    effects = pd.DataFrame(rows)
    for own in effects.groupby(["condition_a", "condition_b"], sort=False).groups.values():
        effects.loc[own, "p_holm"] = holm(effects.loc[own, "p"].to_numpy(float))
    table = pd.DataFrame(tests, columns=list(_OMNIBUS))
    if len(table):
        table["p_holm"] = holm(table["p"].to_numpy(float))
    return effects, table


_OMNIBUS = ("metric", "test", "conditions", "statistic", "df_between", "df_within", "p", "p_holm")


def _means(experiments: pd.DataFrame, metric: str, conditions: Sequence[str]) -> Means:
    own = experiments[experiments["metric"] == metric]
    found: Means = {c: {} for c in conditions}
    for condition, experiment, value in zip(own["condition"], own["experiment"], own["value"], strict=True):
        found[condition][experiment] = float(value)
    return found


def _shared(means: Means, conditions: Sequence[str]) -> list[str]:
    """Experiments that have this metric in every one of the conditions."""
    return [e for e in means[conditions[0]] if all(e in means[c] for c in conditions[1:])]


def _test(
    means: Means, conditions: Sequence[str], is_paired: bool
) -> tuple[dict[tuple[str, str], Contrast], Omnibus | None, str]:
    """Contrasts that are due a p by pair, the F test where one is due, and what the contrasts are called."""
    if is_paired:
        shared = _shared(means, conditions)
        if len(shared) < LEAST_EXPERIMENTS:
            return {}, None, ""
        table = np.array([[means[c][e] for c in conditions] for e in shared])
        if len(conditions) == 2:
            return {(conditions[0], conditions[1]): paired(table[:, 0], table[:, 1])}, None, "paired t"
        found = {(conditions[i], conditions[j]): c for (i, j), c in tukey_blocked(table).items()}
        return found, blocked(table), "Tukey (blocks)"
    able = [c for c in conditions if len(means[c]) >= LEAST_EXPERIMENTS]
    groups = [np.array(list(means[c].values())) for c in able]
    if len(able) < 2:
        return {}, None, ""
    if len(able) == 2:
        return {(able[0], able[1]): welch(groups[0], groups[1])}, None, "Welch t"
    found = {(able[i], able[j]): c for (i, j), c in tukey(groups).items()}
    return found, one_way(groups), "Tukey–Kramer"


def _omnibus_row(metric: Metric, means: Means, f: Omnibus, is_paired: bool) -> dict[str, object]:
    able = [c for c in means if is_paired or len(means[c]) >= LEAST_EXPERIMENTS]
    return {
        "metric": metric.name,
        "test": "ANOVA with experiments as blocks" if is_paired else "one-way ANOVA",
        "conditions": len(able),
        "statistic": float(f.statistic),
        "df_between": f.df_between,
        "df_within": f.df_within,
        "p": float(f.p),
        "p_holm": math.nan,
    }


def _models(cells: pd.DataFrame, means: Means, pairs: Sequence[tuple[str, str]]) -> dict[tuple[str, str], Mixed]:
    if any(len(m) < LEAST_EXPERIMENTS for m in means.values()):
        return dict.fromkeys(pairs, nothing(f"a condition has fewer than {LEAST_EXPERIMENTS} experiments"))
    order = {c: n for n, c in enumerate(means)}
    return mixed_model(cells.sort_values("condition", key=lambda s: s.map(order), kind="stable"), pairs)


def _row(
    metric: Metric, a: str, b: str, means: Means, cells: pd.DataFrame, tested: Contrast | None, name: str,
    model: Mixed, is_paired: bool,
) -> dict[str, object]:  # fmt: skip
    if is_paired:
        shared = _shared(means, (a, b))
        x, y = (np.array([means[c][e] for e in shared]) for c in (a, b))
    else:
        x, y = (np.array(list(means[c].values())) for c in (a, b))
    own = {c: cells.loc[cells["condition"] == c, "value"].to_numpy(float) for c in (a, b)}
    mean_a, mean_b = (float(v.mean()) if v.size else math.nan for v in (x, y))
    interval = tested if tested is not None else _interval(x, y, is_paired)
    effect, level = _effect(x, y, own[a], own[b], is_paired)
    ratio = _ratio(mean_a, mean_b, cells[cells["condition"] == a], cells[cells["condition"] == b], level)
    return {
        "metric": metric.name,
        "unit": metric.unit,
        "condition_a": a,
        "condition_b": b,
        "mean_a": mean_a,
        "mean_b": mean_b,
        "difference": mean_b - mean_a,
        "difference_low": float(interval.low) if interval is not None else math.nan,
        "difference_high": float(interval.high) if interval is not None else math.nan,
        "ratio": ratio.ratio,
        "ratio_low": ratio.low,
        "ratio_high": ratio.high,
        "hedges_g": effect.g,
        "hedges_g_low": effect.low,
        "hedges_g_high": effect.high,
        "effect_of": level,
        "test": name if tested is not None else "none",
        "statistic": float(tested.statistic) if tested is not None else math.nan,
        "df": float(tested.df) if tested is not None else math.nan,
        "p": float(tested.p) if tested is not None else math.nan,
        "p_holm": math.nan,
        "experiments_a": len(x),
        "experiments_b": len(y),
        "cells_a": len(own[a]),
        "cells_b": len(own[b]),
        "mixed_difference": model.difference,
        "mixed_low": model.low,
        "mixed_high": model.high,
        "mixed_df": model.df,
        "mixed_p": model.p,
        "between_experiments_share": model.between_share,
        "mixed_note": model.note,
        "note": _note(x, y, tested, is_paired),
    }


def _ratio(mean_a: float, mean_b: float, cells_a: pd.DataFrame, cells_b: pd.DataFrame, level: str) -> Ratio:
    """mean_b / mean_a; where a condition has one experiment, of pooled counts with the interval of counting."""
    if level != "experiments" and "count" in cells_a:
        pooled = [float(own[c].sum()) for own in (cells_a, cells_b) for c in ("count", "exposure")]
        found = count_ratio(*pooled)
        if np.isfinite(found.ratio):
            return found
    return Ratio(mean_b / mean_a, math.nan, math.nan) if min(mean_a, mean_b) > 0 else NO_RATIO


def _interval(x: np.ndarray, y: np.ndarray, is_paired: bool) -> Contrast | None:
    """The interval of a difference that is due no p; it needs two experiments a condition all the same."""
    if min(x.size, y.size) < 2:
        return None
    return paired(x, y) if is_paired else welch(x, y)


def _effect(
    x: np.ndarray, y: np.ndarray, cells_a: np.ndarray, cells_b: np.ndarray, is_paired: bool
) -> tuple[hedges.Effect, str]:
    """g on experiment means; where a condition has one experiment, on cells, which says nothing beyond these dishes."""
    if min(x.size, y.size) >= 2:
        return (hedges.hedges_paired(x, y) if is_paired else hedges.hedges(x, y)), "experiments"
    if min(cells_a.size, cells_b.size) >= 2:
        return hedges.hedges(cells_a, cells_b), "cells"
    return hedges.NONE, "none"


def _note(x: np.ndarray, y: np.ndarray, tested: Contrast | None, is_paired: bool) -> str:
    fewest = min(x.size, y.size)
    if fewest == 0:
        return "no cell has this metric in one of the conditions"
    if tested is None:
        what = "experiment has" if fewest == 1 else "experiments have"
        held = "both conditions" if is_paired else "this metric in one condition"
        return f"no p: {fewest} {what} {held}, {LEAST_EXPERIMENTS} are needed"
    if not np.isfinite(tested.p):
        return "no p: experiments do not differ at all"
    return ""
