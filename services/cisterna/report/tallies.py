"""Counting rows of result tables: class counts, multiplicities, degrees. Arrays and frames in, small frames out."""

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
