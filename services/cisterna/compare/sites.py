"""A volume's figures for comparison: densities, shares and sizes of its exit sites."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from cisterna.compare.networks import Figures, mean
from cisterna.compare.runs import RunTables
from cisterna.tables.volumes import SITE_CLASSES, VESICLES

NEAR_ER = ("vesicular_standalone", "vesicular_mixed")
VESICULAR = (*NEAR_ER, "dispersed", "golgi_associated")
TUBULAR = ("tubular_isolated", "tubular_mixed")
NM3_PER_UM3 = 1e9


def site_figures(run: RunTables) -> list[Figures]:
    """One set of figures: a volume is one cell. Automatic sites are candidates until they are reviewed.

    Densities are those of the table `densities` (per volume of the cell mask and area of the ER) where the run has it,
    else counts over the volume imaged.
    """
    sites, objects = run.tables["sites"], run.tables["objects"]
    count = {name: float((sites["site_class"] == name).sum()) for name in SITE_CLASSES}
    count["vesicular_eres"] = sum(count[c] for c in NEAR_ER)
    count["tubular_eres"] = sum(count[c] for c in TUBULAR)
    vesicular = sum(count[c] for c in VESICULAR)
    counts = _densities(run, count)
    values = {f"{name}_count": n for name, n in count.items()}
    values |= {name: share(n, exposure) for name, (n, exposure) in counts.items()}
    values |= {
        "vesicular_mixed_share": share(count["vesicular_mixed"], count["vesicular_eres"]),
        "tubular_mixed_share": share(count["tubular_mixed"], count["tubular_eres"]),
        "golgi_associated_share": share(count["golgi_associated"], vesicular),
        "dispersed_share": share(count["dispersed"], vesicular),
    }
    near = sites[sites["site_class"].isin(NEAR_ER)]
    vesicles = objects[objects["class"] == VESICLES]
    members = vesicles[vesicles["site_id"].isin(near["site_id"])]
    values["near_er_vesicle_share"] = share(float(len(members)), float(len(vesicles)))
    values["vesicles_per_site"] = mean(near["objects"].to_numpy(float))
    values["site_er_distance_nm"] = median(near["er_distance_nm"])
    for column in ("diameter_mask_nm", "diameter_image_nm"):
        if column in members:
            values[f"vesicle_{column}"] = median(members[column])
    chance = run.tables.get("chance", pd.DataFrame())
    for row in chance.to_dict("records"):
        values[f"{row['quantity']}_over_chance"] = float(row["ratio"])
    return [Figures(values, counts=counts)]


def _densities(run: RunTables, count: dict[str, float]) -> dict[str, tuple[float, float]]:
    """Count and exposure of every density: of the table `densities`, whose exposures are the same in all its rows."""
    table = run.tables.get("densities", pd.DataFrame())
    if not len(table):
        volume_um3 = imaged_volume_um3(run)
        return {f"{name}_per_um3": (n, volume_um3) for name, n in count.items()}
    found: dict[str, tuple[float, float]] = {}
    for column, ending in (("per_um3_cell", "per_um3"), ("per_um2_er", "per_um2_er")):
        density = table[column].to_numpy(float)
        some = (density > 0) & np.isfinite(density)
        exposure = float(np.median(table["count"].to_numpy(float)[some] / density[some])) if some.any() else math.nan
        found |= {f"{w}_{ending}": (float(n), exposure) for w, n in zip(table["what"], table["count"], strict=True)}
    return found


def imaged_volume_um3(run: RunTables) -> float:
    """Volume of the run's image in µm³, from the manifest; NaN where there is none."""
    raw = run.manifest.get("arrays", {}).get("raw", {})
    if "voxel_size_nm" not in raw:
        return math.nan
    return float(np.prod(raw["shape"]) * np.prod(raw["voxel_size_nm"])) / NM3_PER_UM3


def median(values: pd.Series) -> float:
    """Median of the finite values; NaN where there is none."""
    finite = values.to_numpy(float)
    finite = finite[np.isfinite(finite)]
    return float(np.median(finite)) if finite.size else math.nan


def share(part: float, whole: float) -> float:
    return part / whole if whole > 0 else math.nan
