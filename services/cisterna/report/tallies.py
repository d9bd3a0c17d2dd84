"""Counting rows of result tables: class counts, multiplicities, survival. Arrays and frames in, small frames out."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from cisterna.report.palette import SITE_CLASSES


def class_counts(sites: pd.DataFrame) -> dict[str, int]:
    """Groups in each of the six site classes, zeros included; a class the rules do not know stands under its name."""
    found = sites["site_class"].value_counts() if len(sites) else pd.Series(dtype=int)
    counts = {swatch.key: int(found.get(swatch.key, 0)) for swatch in SITE_CLASSES}
    for name, number in found.items():
        counts.setdefault(str(name), int(number))
    return counts


@dataclass(frozen=True)
class Multiplicity:
    """`sites` groups of one kind have `partners` linked groups of the other kind."""

    partners: int
    sites: int


def multiplicities(links: pd.DataFrame, column: str) -> list[Multiplicity]:
    """How many sites named in `column` have one partner, two, … (sites without a link are not in `links`)."""
    if not len(links):
        return []
    partners = links.groupby(column).size().value_counts().sort_index()
    return [Multiplicity(int(str(k)), int(v)) for k, v in partners.items()]


@dataclass(frozen=True)
class Survival:
    """Kaplan–Meier estimate: share still alive after `time_s`; `at_risk` just before each step."""

    time_s: np.ndarray
    share: np.ndarray
    at_risk: np.ndarray
    events: int
    censored: int

    @property
    def median_s(self) -> float:
        """First time at which half are gone; inf if the curve never falls that low."""
        below = np.flatnonzero(self.share <= 0.5)
        return float(self.time_s[below[0]]) if below.size else float("inf")


def kaplan_meier(lifetime_s: np.ndarray, censored: np.ndarray) -> Survival | None:
    """Product-limit estimate (Kaplan & Meier 1958) of lifetimes, some of which were cut off by the end of the movie.

    `lifetime_s` (n,) seconds, `censored` (n,) bool: true where the end was not seen. NaN lifetimes are left out. None
    when no end at all was seen: then nothing can be estimated.
    """
    lifetime_s = np.asarray(lifetime_s, dtype=float)
    censored = np.asarray(censored, dtype=bool)
    keep = np.isfinite(lifetime_s)
    lifetime_s, censored = lifetime_s[keep], censored[keep]
    if not (~censored).any():
        return None
    times = np.unique(lifetime_s[~censored])
    ordered = np.sort(lifetime_s)
    at_risk = len(ordered) - np.searchsorted(ordered, times, side="left")
    ended = np.array([(lifetime_s[~censored] == t).sum() for t in times])
    share = np.cumprod(1 - ended / at_risk)
    return Survival(times, share, at_risk, int((~censored).sum()), int(censored.sum()))


DEGREE_COLUMNS = ("degree_0", "degree_1", "degree_2", "degree_3", "degree_4", "degree_5", "degree_6_or_more")


def degree_totals(frames: pd.DataFrame) -> pd.DataFrame:
    """Nodes of each degree summed over the frames, with their share of all nodes (NaN when there are no nodes)."""
    totals = np.array([float(frames[c].sum()) if c in frames else 0.0 for c in DEGREE_COLUMNS])
    total = totals.sum()
    share = totals / total if total > 0 else np.full(len(totals), np.nan)
    return pd.DataFrame({"degree": ["0", "1", "2", "3", "4", "5", "≥ 6"], "nodes": totals.astype(int), "share": share})


def finite(values: "pd.Series[float]") -> np.ndarray:
    """The finite values of a column, as float64."""
    array: np.ndarray = pd.to_numeric(values, errors="coerce").to_numpy(dtype=float, na_value=np.nan)
    kept: np.ndarray = array[np.isfinite(array)]
    return kept


def median_and_spread(values: "pd.Series[float]") -> tuple[int, float, float, float]:
    """(n, median, mean, standard deviation) of the finite values; NaN where undefined."""
    array = finite(values)
    if not array.size:
        return 0, float("nan"), float("nan"), float("nan")
    spread = float(array.std(ddof=1)) if array.size > 1 else float("nan")
    return int(array.size), float(np.median(array)), float(array.mean()), spread
