"""From a run's tables to one figure a metric and cell, and from cells to experiments."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from cisterna.compare.runs import RunTables
from cisterna.tables.volumes import SITE_CLASSES, TUBULAR, VESICLES

LOW = "low"
NEAR_ER = ("vesicular_standalone", "vesicular_mixed")
VESICULAR = (*NEAR_ER, "dispersed", "golgi_associated")
NM3_PER_UM3 = 1e9
NOT_FIGURES = ("frame", "time_s", "snr_power", "snr_mean_std")


@dataclass(frozen=True)
class Figures:
    """What one run gives: metrics by name (NaN where undefined), and how many frames stand behind them."""

    values: Mapping[str, float]
    frames: int = 0
    low_snr: int = 0
    unknown_snr: int = 0
    used: int = 0
    snr_median: float = math.nan


@dataclass(frozen=True)
class Aggregates:
    """`runs`: one row a run. `cells`: condition, experiment, cell, batch, metric, value. `experiments`: their means."""

    runs: pd.DataFrame
    cells: pd.DataFrame
    experiments: pd.DataFrame


def network_figures(run: RunTables, keep_low_snr: bool = False) -> Figures:
    """Means over the frames of a movie. Frames flagged low in SNR are left out, unless kept, and counted either way.

    Frames whose SNR cannot be measured (clipped background) stay in: nothing is known against them. Junction rates come
    from tracks through the whole movie; they are left out where more than half of its frames are low.
    """
    frames = run.tables["frames"].sort_values("frame")
    flag = frames["snr_flag"].to_numpy(dtype=object) if "snr_flag" in frames else np.full(len(frames), "ok", object)
    low = flag == LOW
    used = frames if keep_low_snr else frames[~low]
    kept = set(used["frame"].tolist())
    values = {
        str(c): _mean(used[c])
        for c in frames.columns
        if c not in NOT_FIGURES and pd.api.types.is_numeric_dtype(frames[c])
    }
    if "total_length_um" in used and "edges" in used:
        values["mean_tubule_length_um"] = _mean(_ratio(used["total_length_um"], used["edges"]))
    many = [c for c in used.columns if c.startswith("degree_") and c[7:8].isdigit() and int(c[7]) >= 3]
    if many:
        junctions = used[many].sum(axis=1)
        values["multi_way_share"] = _mean(_ratio(junctions - used["degree_3"], junctions))
        if "total_length_um" in used:
            values["junctions_per_um"] = _mean(_ratio(junctions, used["total_length_um"]))
    nodes = run.tables.get("nodes")
    if nodes is not None and "kind" in nodes:
        nodes = nodes[nodes["frame"].isin(kept) & (nodes["kind"] != "border")]
        tips = (nodes["kind"] == "tip").groupby(nodes["frame"]).mean()
        values["tip_share"] = _mean(tips)
    edges = run.tables.get("edges")
    if edges is not None and "width_um" in edges:
        edges = edges[edges["frame"].isin(kept)]
        weight = edges["length_um"].to_numpy(float)
        known = np.isfinite(edges["width_um"].to_numpy(float)) & (weight > 0)
        total = weight[known].sum()
        values["tubule_width_um"] = (
            float((edges["width_um"].to_numpy(float)[known] * weight[known]).sum() / total) if total else math.nan
        )
    mostly_low = not keep_low_snr and low.sum() * 2 > len(frames)
    values |= _junction_rates(run, frames, mostly_low)
    snr = frames["snr_power"].to_numpy(float) if "snr_power" in frames else np.array([])
    snr = snr[np.isfinite(snr)]
    return Figures(
        values,
        len(frames),
        int(low.sum()),
        int((flag == "snr_not_applicable").sum()),
        len(used),
        float(np.median(snr)) if snr.size else math.nan,
    )


def _junction_rates(run: RunTables, frames: pd.DataFrame, mostly_low: bool) -> dict[str, float]:
    """Ends and changes of state over the time junctions were seen (exponential rate: cut-off tracks do no harm)."""
    junctions = run.tables.get("junctions")
    if junctions is None or not len(frames):
        return {}
    nothing = {"junction_loss_per_min": math.nan, "state_changes_per_min": math.nan}
    if mostly_low or len(frames) < 2 or not len(junctions):
        return nothing
    # Time at risk: from the first sighting to the last, plus the interval in which an end would show.
    interval_s = float(np.median(np.diff(frames["time_s"].to_numpy(float))))
    last = junctions["last_frame"].to_numpy(int)
    ended = last < int(frames["frame"].max())
    steps = last - junctions["first_frame"].to_numpy(int) + ended
    minutes = float(steps.sum()) * interval_s / 60
    if not minutes > 0:
        return nothing
    found = {"junction_loss_per_min": float(ended.sum()) / minutes}
    if "changes" in junctions:
        found["state_changes_per_min"] = float(junctions["changes"].sum()) / minutes
    return found


def site_figures(run: RunTables) -> Figures:
    """Counts, densities and shares of a volume's exit sites; automatic sites are candidates until they are reviewed."""
    sites, objects = run.tables["sites"], run.tables["objects"]
    count = {name: float((sites["site_class"] == name).sum()) for name in SITE_CLASSES}
    vesicular, near = sum(count[c] for c in VESICULAR), sum(count[c] for c in NEAR_ER)
    tubular = count["tubular_isolated"] + count["tubular_mixed"]
    values = {f"{name}_count": n for name, n in count.items()}
    volume_um3 = imaged_volume_um3(run)
    values |= {f"{name}_per_um3": _share(n, volume_um3) for name, n in count.items()}
    values |= {
        "vesicular_per_um3": _share(near, volume_um3),
        "tubular_per_um3": _share(tubular, volume_um3),
        "vesicular_mixed_share": _share(count["vesicular_mixed"], near),
        "tubular_mixed_share": _share(count["tubular_mixed"], tubular),
        "golgi_associated_share": _share(count["golgi_associated"], vesicular),
        "dispersed_share": _share(count["dispersed"], vesicular),
    }
    own = sites[sites["site_class"].isin(NEAR_ER)]
    vesicles = objects[objects["class"] == VESICLES]
    members = vesicles[vesicles["site_id"].isin(own["site_id"])]
    values["near_er_vesicle_share"] = _share(float(len(members)), float(len(vesicles)))
    values["vesicles_per_site"] = _mean(own["objects"])
    values["site_er_distance_nm"] = _median(own["er_distance_nm"])
    values["vesicle_diameter_nm"] = _median(members["diameter_mask_nm"])
    for column in ("diameter_image_nm", "sphericity"):
        if column in members:
            values[f"vesicle_{column}"] = _median(members[column])
    tubes = objects[objects["class"] == TUBULAR]
    values["tubular_extent_nm"] = _median(
        (
            tubes[[f"max_{a}_nm" for a in "zyx"]].to_numpy(float)
            - tubes[[f"min_{a}_nm" for a in "zyx"]].to_numpy(float)
        ).max(1)
        if len(tubes)
        else np.array([])
    )
    return Figures(values)


def imaged_volume_um3(run: RunTables) -> float:
    """Volume of the run's image in µm³, from the manifest; NaN where there is none."""
    raw = run.manifest.get("arrays", {}).get("raw", {})
    if "voxel_size_nm" not in raw:
        return math.nan
    return float(np.prod(raw["shape"]) * np.prod(raw["voxel_size_nm"])) / NM3_PER_UM3


def aggregate(runs: Sequence[RunTables], keep_low_snr: bool = False) -> Aggregates:
    """Per run, cell and experiment. A cell's figure is the mean over its runs, an experiment's that over its cells."""
    bookkeeping, long = [], []
    for run in runs:
        network = run.document.recipe == "er-movie"
        f = network_figures(run, keep_low_snr) if network else site_figures(run)
        place = {
            "condition": run.row.condition,
            "experiment": run.row.experiment,
            "cell": run.row.cell,
            "batch": run.row.batch,
        }
        bookkeeping.append(
            {
                **place,
                "run": run.document.run_id,
                "state": run.document.state,
                "acquisition": run.document.acquisition,
                "frames": f.frames,
                "frames_low_snr": f.low_snr,
                "frames_snr_unknown": f.unknown_snr,
                "frames_used": f.used,
                "snr_median": f.snr_median,
                "degraded_to_snr": float(run.degraded.get("to_snr", math.nan)),
            }
        )
        long += [{**place, "metric": name, "value": value} for name, value in f.values.items()]
    table = pd.DataFrame(long, columns=["condition", "experiment", "cell", "batch", "metric", "value"])
    order = ["condition", "experiment", "cell", "batch", "metric"]
    cells = table.groupby(order, sort=False)["value"].mean().reset_index()
    known = cells[np.isfinite(cells["value"])].groupby(["condition", "experiment", "metric"], sort=False)["value"]
    experiments = pd.DataFrame({"value": known.mean(), "cells": known.size()}).reset_index()
    return Aggregates(pd.DataFrame(bookkeeping), cells, experiments)


def _finite(values: Any) -> np.ndarray:
    array: np.ndarray = np.asarray(values, float)
    kept: np.ndarray = array[np.isfinite(array)]
    return kept


def _mean(values: Any) -> float:
    finite = _finite(values)
    return float(finite.mean()) if finite.size else math.nan


def _median(values: Any) -> float:
    finite = _finite(values)
    return float(np.median(finite)) if finite.size else math.nan


def _ratio(a: pd.Series, b: pd.Series) -> np.ndarray:
    top, bottom = a.to_numpy(float), b.to_numpy(float)
    ratio: np.ndarray = np.divide(top, bottom, out=np.full(len(top), np.nan), where=bottom > 0)
    return ratio


def _share(part: float, whole: float) -> float:
    return part / whole if whole > 0 else math.nan
