"""Effect sizes within one cell: differences with bootstrap intervals, and no P value, because one cell is n = 1."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cisterna.eres.densities import VESICULAR_ERES
from cisterna.tables.statistics import EFFECTS

RESAMPLES = 2000


def effects(objects: pd.DataFrame, sites: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """The `effects` table: vesicles near the Golgi against those of vesicular ERES (diameters; the paper: 59 ± 9 and
    76 ± 9 nm), and mixed against stand-alone sites (distance to the ER, vesicles per cluster).

    Sites are resampled, each with all its vesicles, because vesicles of one site are not independent.
    """
    vesicles = objects[objects["class"] == "copi"].merge(sites[["site_id", "site_class"]], on="site_id")
    near_er = vesicles[vesicles["site_class"].isin(VESICULAR_ERES)]
    golgi = vesicles[vesicles["site_class"] == "golgi_associated"]
    mixed, alone = (sites[sites["site_class"] == c] for c in ("vesicular_mixed", "vesicular_standalone"))
    compared = [
        (measure, "golgi_associated", "vesicular_eres", golgi, near_er)
        for measure in ("diameter_mask_nm", "diameter_image_nm")
        if measure in vesicles.columns
    ]
    compared += [
        (measure, "vesicular_mixed", "vesicular_standalone", mixed, alone)
        for measure in ("er_distance_nm", "cluster_size")
    ]
    rng = np.random.default_rng(seed)
    return EFFECTS.frame([_row(m, name_a, name_b, a, b, rng) for m, name_a, name_b, a, b in compared])


def _row(
    measure: str, name_a: str, name_b: str, a: pd.DataFrame, b: pd.DataFrame, rng: np.random.Generator
) -> dict[str, object]:
    row: dict[str, object] = dict.fromkeys(EFFECTS.names, np.nan)
    row.update(measure=measure, group_a=name_a, group_b=name_b)
    means, spreads, numbers = [], [], []
    boots: list[NDArray[np.float64]] = []
    for end, frame in (("a", a), ("b", b)):
        values = frame[measure].to_numpy(np.float64)
        finite = np.isfinite(values)
        values, site = values[finite], frame["site_id"].to_numpy(np.int64)[finite]
        sites, of = np.unique(site, return_inverse=True)
        n = len(values)
        mean = float(values.mean()) if n else np.nan
        spread = float(values.std(ddof=1)) if n > 1 else np.nan
        row.update({f"n_{end}": n, f"sites_{end}": len(sites), f"mean_{end}": mean, f"sd_{end}": spread})
        means.append(mean)
        spreads.append(spread)
        numbers.append(n)
        if len(sites) > 1:
            boots.append(
                _bootstrap(np.bincount(of, values).astype(np.float64), np.bincount(of).astype(np.float64), rng)
            )
    row["difference"] = means[1] - means[0]
    if len(boots) == 2:
        low, high = np.quantile(boots[1] - boots[0], [0.025, 0.975])
        row.update(difference_low=float(low), difference_high=float(high))
    freedom = sum(numbers) - 2
    if min(numbers) > 1:
        pooled = np.sqrt(sum((n - 1) * s**2 for n, s in zip(numbers, spreads, strict=True)) / freedom)
        if pooled > 0:
            row["hedges_g"] = (means[1] - means[0]) / pooled * (1 - 3 / (4 * freedom - 1))
    return row


def _bootstrap(total: NDArray[np.float64], count: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """Means of resampled sites, each weighing as many values as it holds."""
    out = np.empty(RESAMPLES)
    for i in range(RESAMPLES):
        drawn = rng.integers(0, len(total), len(total))
        out[i] = total[drawn].sum() / count[drawn].sum()
    return out
