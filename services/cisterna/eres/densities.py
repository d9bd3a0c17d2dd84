"""How many per µm³ of cell and per µm² of ER."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd
from scipy.stats import chi2

from cisterna.tables.statistics import DENSITIES
from cisterna.tables.volumes import SITE_CLASSES

VESICULAR_ERES = ("vesicular_standalone", "vesicular_mixed")
TUBULAR_ERES = ("tubular_isolated", "tubular_mixed")


@dataclass(frozen=True)
class CellSize:
    """What densities are divided by. ``cell_given``: the cell is a mask; otherwise it is the whole volume."""

    cell_given: bool
    volume_um3: float
    cell_um3: float
    cytosol_um3: float
    er_um3: float
    er_area_um2: float

    def document(self) -> dict[str, object]:
        return asdict(self)


def densities(objects: pd.DataFrame, sites: pd.DataFrame, size: CellSize) -> pd.DataFrame:
    """The `densities` table. Intervals are exact Poisson intervals of the counts (Garwood 1936): they say how well the
    count of this cell is known if sites fall independently, not how cells differ."""
    found = sites["site_class"].value_counts()
    counts = {name: int(found.get(name, 0)) for name in SITE_CLASSES}
    counts["vesicular_eres"] = sum(counts[c] for c in VESICULAR_ERES)
    counts["tubular_eres"] = sum(counts[c] for c in TUBULAR_ERES)
    counts["vesicles"] = int((objects["class"] == "copi").sum())
    rows = []
    for what, count in counts.items():
        row: dict[str, object] = {"what": what, "count": count}
        ends = (count, *poisson_interval(count))
        for base, unit in ((size.cell_um3, "per_um3_cell"), (size.er_area_um2, "per_um2_er")):
            for suffix, value in zip(("", "_low", "_high"), ends, strict=True):
                row[unit + suffix] = value / base if base > 0 else np.nan
        rows.append(row)
    return DENSITIES.frame(rows)


def poisson_interval(count: int, level: float = 0.95) -> tuple[float, float]:
    """Exact interval of the mean of a Poisson count (Garwood 1936)."""
    tail = (1 - level) / 2
    low = float(chi2.ppf(tail, 2 * count) / 2) if count else 0.0
    return low, float(chi2.ppf(1 - tail, 2 * count + 2) / 2)
