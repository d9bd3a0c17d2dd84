"""Ratios of densities that stand on counts: what can be said of one cell against another."""

from __future__ import annotations

import math
from dataclasses import dataclass

from scipy import stats

from cisterna.compare.tests import LEVEL


@dataclass(frozen=True)
class Ratio:
    """b over a; the interval knows the error of counting and nothing of how cells or experiments differ."""

    ratio: float
    low: float
    high: float


NO_RATIO = Ratio(math.nan, math.nan, math.nan)


def count_ratio(count_a: float, exposure_a: float, count_b: float, exposure_b: float, level: float = LEVEL) -> Ratio:
    """Ratio of two Poisson rates, count over exposure, with the exact conditional interval.

    Given the sum of both counts, that of b is binomial (Przyborowski & Wilenski 1940); the interval is Clopper and
    Pearson's, mapped to the ratio. 0 and inf are ends of an interval where one count is 0. No ratio without any count
    or exposure.
    """
    a, b = round(count_a), round(count_b)
    if a + b == 0 or not (exposure_a > 0 and exposure_b > 0):
        return NO_RATIO
    tail, scale = (1 - level) / 2, exposure_a / exposure_b
    low = float(stats.beta.ppf(tail, b, a + 1)) if b else 0.0
    high = float(stats.beta.ppf(1 - tail, b + 1, a)) if a else 1.0
    return Ratio(*(scale * p / (1 - p) if p < 1 else math.inf for p in (b / (a + b), low, high)))
