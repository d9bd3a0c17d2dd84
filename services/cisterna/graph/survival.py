"""How long things last when some begin before the movie and some outlive it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import norm

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Spans:
    """Times for which things were seen: seconds, and whether begin and end fell into the movie. All (n,)."""

    seconds: np.ndarray
    begun: np.ndarray
    ended: np.ndarray

    def __len__(self) -> int:
        return len(self.seconds)


def kaplan_meier(lifetime_s: np.ndarray, censored: np.ndarray) -> pd.DataFrame:
    """Survival with censored lifetimes counted as alive until last seen (Kaplan & Meier 1958).

    Returns one row per distinct time of an end: time_s, at_risk, ended, survival (after the ends), low, high (95 %
    limits by Greenwood's variance on the log(-log) scale). No ends give no rows: then survival is 1 throughout.
    """
    lifetime_s, censored = np.asarray(lifetime_s, np.float64), np.asarray(censored, bool)
    if lifetime_s.shape != censored.shape:
        raise ValueError(f"{lifetime_s.size} lifetimes and {censored.size} censoring flags: give one flag per lifetime")
    times, ended = np.unique(lifetime_s[~censored], return_counts=True)
    at_risk = len(lifetime_s) - np.searchsorted(np.sort(lifetime_s), times, side="left")
    survival = np.cumprod(1 - ended / np.maximum(at_risk, 1))
    with np.errstate(divide="ignore", invalid="ignore"):
        variance = np.cumsum(ended / (at_risk * (at_risk - ended)))
        log_survival = np.log(survival)
        spread = float(norm.ppf(0.5 + CONFIDENCE / 2)) * np.sqrt(variance) / np.abs(log_survival)
        low, high = survival ** np.exp(spread), survival ** np.exp(-spread)
    # Where nobody is left, Greenwood's variance has no value: the limits are 0 and those of the step before.
    gone = survival <= 0
    low[gone], high[gone] = 0.0, high[~gone][-1] if (~gone).any() else 1.0
    return pd.DataFrame(
        {"time_s": times, "at_risk": at_risk, "ended": ended, "survival": survival, "low": low, "high": high}
    )


def median_lifetime_s(lifetime_s: np.ndarray, censored: np.ndarray) -> float:
    """First time at which at most half survive by Kaplan–Meier; NaN when more than half outlive the movie."""
    return _median(kaplan_meier(lifetime_s, censored))


def born_in_view(spans: Spans) -> pd.DataFrame:
    """The Kaplan–Meier curve of those whose begin was seen; their times are whole or cut off at the end only.

    Those that were there before the movie are left out: their age is unknown, and the older a thing is the likelier it
    is to be among them.
    """
    return kaplan_meier(spans.seconds[spans.begun], ~spans.ended[spans.begun])


def drawn_curve(spans: Spans) -> pd.DataFrame:
    """`born_in_view` with a last row, without an end, at the longest time seen: so far the curve is known."""
    curve, own = born_in_view(spans), spans.seconds[spans.begun]
    if not len(own) or (len(curve) and curve["time_s"].iloc[-1] >= own.max()):
        return curve
    row = pd.DataFrame({"time_s": [own.max()], "at_risk": [(own >= own.max()).sum()], "ended": [0]})
    for column in ("survival", "low", "high"):
        row[column] = curve[column].iloc[-1] if len(curve) else 1.0
    return pd.concat([curve, row], ignore_index=True) if len(curve) else row


def figures(spans: Spans) -> dict[str, float]:
    """Counts, means and rates of spans, as the columns of the table `dynamics` name them; NaN where undefined."""
    n, minutes = len(spans), float(spans.seconds.sum()) / 60
    cut = int((~(spans.begun & spans.ended)).sum())
    own = spans.seconds[spans.begun]
    curve = born_in_view(spans)
    horizon = float(own.max()) if len(own) else math.nan
    begins, ends = int(spans.begun.sum()), int(spans.ended.sum())
    return {
        "n": n,
        "censored": cut,
        "censored_share": cut / n if n else math.nan,
        "naive_mean_s": float(spans.seconds.mean()) if n else math.nan,
        "whole_mean_s": float(spans.seconds[spans.begun & spans.ended].mean()) if n > cut else math.nan,
        "km_n": begins,
        "km_median_s": _median(curve),
        "km_mean_s": _area(curve, horizon),
        "km_horizon_s": horizon,
        "observed_min": minutes,
        "begins": begins,
        "ends": ends,
        "begins_per_min": begins / minutes if minutes else math.nan,
        "ends_per_min": ends / minutes if minutes else math.nan,
        "mean_by_rate_s": 60 * minutes / ends if ends else math.nan,
    }


def _median(curve: pd.DataFrame) -> float:
    half = curve[curve["survival"] <= 0.5 + 1e-12]
    return float(half["time_s"].iloc[0]) if len(half) else math.nan


def _area(curve: pd.DataFrame, horizon: float) -> float:
    """Mean lifetime up to the horizon: the area under the curve."""
    if math.isnan(horizon):
        return math.nan
    steps = np.concatenate([[0.0], curve["time_s"], [horizon]])
    return float((np.diff(steps) * np.concatenate([[1.0], curve["survival"]])).sum())
