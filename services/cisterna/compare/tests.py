"""Tests on experiment means, vectorised: leading axes are studies, the last one holds the experiments.

One mean an experiment and condition, whatever the number of cells: cells of one dish are not independent, so they do
not count as replicates (Lord et al. 2020, J. Cell Biol. 219, e202001064).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

Floats = NDArray[np.float64]
LEVEL = 0.95


@dataclass(frozen=True)
class Contrast:
    """b − a with its interval; NaN in `statistic` and `p` where the means do not spread at all."""

    difference: Floats
    low: Floats
    high: Floats
    statistic: Floats
    df: Floats
    p: Floats


@dataclass(frozen=True)
class Omnibus:
    """An F test over all conditions."""

    statistic: Floats
    df_between: int
    df_within: int
    p: Floats


def welch(a: ArrayLike, b: ArrayLike, level: float = LEVEL) -> Contrast:
    """Welch's t test of two independent sets of experiment means; degrees of freedom after Welch–Satterthwaite."""
    a, b = np.asarray(a, float), np.asarray(b, float)
    va, vb = a.var(-1, ddof=1) / a.shape[-1], b.var(-1, ddof=1) / b.shape[-1]
    spread = va + vb
    with np.errstate(invalid="ignore", divide="ignore"):
        df = spread**2 / (va**2 / (a.shape[-1] - 1) + vb**2 / (b.shape[-1] - 1))
    return _t_contrast(b.mean(-1) - a.mean(-1), np.sqrt(spread), df, _size(a, b), level)


def paired(a: ArrayLike, b: ArrayLike, level: float = LEVEL) -> Contrast:
    """Paired t test: a[i] and b[i] are the two conditions' means of experiment i."""
    a, b = np.asarray(a, float), np.asarray(b, float)
    if a.shape != b.shape:
        raise ValueError(f"{a.shape} and {b.shape} means: a paired test needs both conditions of every experiment")
    n, each = a.shape[-1], b - a
    df = np.full(each.shape[:-1], float(n - 1))
    return _t_contrast(each.mean(-1), each.std(-1, ddof=1) / math.sqrt(n), df, _size(a, b), level)


def one_way(groups: Sequence[ArrayLike]) -> Omnibus:
    """One-way analysis of variance over independent groups of experiment means."""
    values = [np.asarray(g, float) for g in groups]
    n, k = sum(g.shape[-1] for g in values), len(values)
    grand = sum(g.sum(-1) for g in values) / n
    between = sum(g.shape[-1] * (g.mean(-1) - grand) ** 2 for g in values) / (k - 1)
    return _f_test(np.asarray(between), _within(values), k - 1, n - k, _size(*values))


def blocked(values: ArrayLike) -> Omnibus:
    """Analysis of variance of a randomised block design: (…, experiments, conditions), every cell filled.

    The experiment is the block; what remains after experiments and conditions is the error. With two conditions F is
    the square of the paired t.
    """
    x = np.asarray(values, float)
    n, k = x.shape[-2:]
    between = n * ((x.mean(-2) - x.mean((-2, -1))[..., None]) ** 2).sum(-1) / (k - 1)
    return _f_test(between, _residual(x), k - 1, (n - 1) * (k - 1), _size(x.reshape(*x.shape[:-2], -1)))


def tukey(groups: Sequence[ArrayLike], level: float = LEVEL) -> dict[tuple[int, int], Contrast]:
    """Tukey–Kramer comparison of all pairs (i, j), j − i; intervals and p hold for all pairs of one metric together."""
    values = [np.asarray(g, float) for g in groups]
    df = sum(g.shape[-1] for g in values) - len(values)
    means = [g.mean(-1) for g in values]
    return _tukey(means, [g.shape[-1] for g in values], _within(values), df, _size(*values), level)


def tukey_blocked(values: ArrayLike, level: float = LEVEL) -> dict[tuple[int, int], Contrast]:
    """Tukey's comparison of all pairs in a randomised block design (…, experiments, conditions)."""
    x = np.asarray(values, float)
    n, k = x.shape[-2:]
    means = [x[..., j].mean(-1) for j in range(k)]
    size = _size(x.reshape(*x.shape[:-2], -1))
    return _tukey(means, [n] * k, _residual(x), (n - 1) * (k - 1), size, level)


def holm(p: ArrayLike) -> Floats:
    """Holm's step-down adjustment over the last axis; NaN stays NaN and counts for nothing."""
    p = np.atleast_1d(np.asarray(p, float))
    out = np.full(p.shape, np.nan)
    known = np.flatnonzero(np.isfinite(p))
    order = known[np.argsort(p[known], kind="stable")]
    out[order] = np.minimum(1.0, np.maximum.accumulate(p[order] * np.arange(len(order), 0, -1)))
    return out


def _t_contrast(difference: Floats, error: Floats, df: Floats, size: Floats, level: float) -> Contrast:
    flat = error <= 1e-12 * size
    with np.errstate(invalid="ignore", divide="ignore"):
        t = np.where(flat, np.nan, difference / np.where(flat, np.nan, error))
        half = stats.t.ppf(0.5 + level / 2, df) * np.where(flat, np.nan, error)
        p = 2 * stats.t.sf(np.abs(t), df)
    return Contrast(difference, difference - half, difference + half, t, np.where(flat, np.nan, df), p)


def _f_test(between: Floats, within: Floats, df_between: int, df_within: int, size: Floats) -> Omnibus:
    flat = within <= (1e-12 * size) ** 2
    with np.errstate(invalid="ignore", divide="ignore"):
        f = np.where(flat, np.nan, between / np.where(flat, np.nan, within))
    return Omnibus(f, df_between, df_within, stats.f.sf(f, df_between, df_within))


def _tukey(
    means: Sequence[Floats], counts: Sequence[int], within: Floats, df: int, size: Floats, level: float
) -> dict[tuple[int, int], Contrast]:
    k = len(means)
    flat = within <= (1e-12 * size) ** 2
    limit = stats.studentized_range.ppf(level, k, df)
    found = {}
    for i, j in combinations(range(k), 2):
        difference = np.asarray(means[j] - means[i])
        error = np.sqrt(np.where(flat, np.nan, within) / 2 * (1 / counts[i] + 1 / counts[j]))
        q = np.abs(difference) / error
        p = stats.studentized_range.sf(q, k, df)
        p = np.where(np.isfinite(q), np.clip(p, 0.0, 1.0), np.nan)
        half = limit * error
        found[i, j] = Contrast(
            difference, difference - half, difference + half, np.asarray(q), np.full(q.shape, float(df)), p
        )
    return found


def _within(groups: Sequence[Floats]) -> Floats:
    squares = sum(((g - g.mean(-1, keepdims=True)) ** 2).sum(-1) for g in groups)
    return np.asarray(squares / (sum(g.shape[-1] for g in groups) - len(groups)))


def _residual(x: Floats) -> Floats:
    n, k = x.shape[-2:]
    rest = x - x.mean(-1, keepdims=True) - x.mean(-2, keepdims=True) + x.mean((-2, -1), keepdims=True)
    return np.asarray((rest**2).sum((-2, -1)) / ((n - 1) * (k - 1)))


def _size(*values: Floats) -> Floats:
    """How large the figures are: a spread far below that is rounding."""
    return np.asarray(np.max([np.abs(v).max(-1) for v in values], axis=0))
