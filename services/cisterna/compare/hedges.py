"""Hedges' g: the difference in units of the spread between experiments, with its interval.

Intervals invert the noncentral t distribution. For paired designs the standardiser is the same as for unpaired ones
(the spread of each condition over experiments), with the interval of Algina & Keselman (2003), so that g of both
designs can be read side by side.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import optimize, special

from cisterna.compare.tests import LEVEL


@dataclass(frozen=True)
class Effect:
    """g with its interval; NaN where there is no spread or one degree of freedom."""

    g: float
    low: float
    high: float


NONE = Effect(math.nan, math.nan, math.nan)


def correction(df: float) -> float:
    """Hedges' factor for small samples, exact: Γ(df/2) / (√(df/2) Γ((df − 1)/2)). 0 at one degree of freedom."""
    if df <= 1:
        return 0.0
    return math.exp(special.gammaln(df / 2) - special.gammaln((df - 1) / 2)) / math.sqrt(df / 2)


def hedges(a: ArrayLike, b: ArrayLike, level: float = LEVEL) -> Effect:
    """g of b − a for two independent sets, in units of their pooled standard deviation."""
    a, b = np.asarray(a, float), np.asarray(b, float)
    df = a.size + b.size - 2
    if min(a.size, b.size) < 1 or df < 2:
        return NONE
    pooled = math.sqrt((((a - a.mean()) ** 2).sum() + ((b - b.mean()) ** 2).sum()) / df)
    root = math.sqrt(a.size * b.size / (a.size + b.size))
    if pooled <= 1e-12 * max(np.abs(a).max(), np.abs(b).max()):
        return NONE
    return _effect(float(b.mean() - a.mean()) / pooled, root, df, 1.0, level)


def hedges_paired(a: ArrayLike, b: ArrayLike, level: float = LEVEL) -> Effect:
    """g of b − a for pairs, in units of √((s_a² + s_b²) / 2)."""
    a, b = np.asarray(a, float), np.asarray(b, float)
    if a.size != b.size or a.size < 3:
        return NONE
    n, each = a.size, b - a
    average = math.sqrt((a.var(ddof=1) + b.var(ddof=1)) / 2)
    own = float(each.std(ddof=1))
    if min(average, own) <= 1e-12 * max(np.abs(a).max(), np.abs(b).max()):
        return NONE
    return _effect(float(each.mean()) / own, math.sqrt(n), n - 1, own / average, level)


def _effect(d: float, root: float, df: int, scale: float, level: float) -> Effect:
    low, high = noncentrality(d * root, df, level)
    j = correction(df) * scale
    return Effect(j * d, j * low / root, j * high / root)


def noncentrality(t: float, df: int, level: float = LEVEL) -> tuple[float, float]:
    """The noncentralities whose t distribution has `t` at its upper and lower tail of (1 − level) / 2."""
    tail = (1 - level) / 2

    def at(share: float) -> float:
        def miss(nc: float) -> float:
            value = special.nctdtr(df, nc, t)
            return float(value if math.isfinite(value) else float(t > nc)) - share

        reach = 4.0 + abs(t)
        while miss(t - reach) < 0 or miss(t + reach) > 0:
            reach *= 2
            if reach > 1e6:
                return math.nan
        return float(optimize.brentq(miss, t - reach, t + reach, xtol=1e-9))

    return at(1 - tail), at(tail)
