"""From runs to one figure a metric and cell, and from cells to experiments."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from cisterna.compare.networks import frame_counts, network_figures
from cisterna.compare.runs import RunTables
from cisterna.compare.sites import site_figures


@dataclass(frozen=True)
class Aggregates:
    """`runs`: one row a run. `cells`: one row a cell and metric, with count and exposure of densities.

    `experiments`: means of cells.
    """

    runs: pd.DataFrame
    cells: pd.DataFrame
    experiments: pd.DataFrame


def aggregate(runs: Sequence[RunTables], keep_low_snr: bool = False) -> Aggregates:
    """Per run, cell and experiment. A cell's figure is the mean over its runs, an experiment's that over its cells."""
    bookkeeping, long = [], []
    for run in runs:
        row = run.row
        counted = frame_counts(run, keep_low_snr)
        found = network_figures(run, keep_low_snr) if run.document.recipe == "er-movie" else site_figures(run)
        place = {"condition": row.condition, "experiment": row.experiment, "batch": row.batch}
        bookkeeping.append(
            {
                **place,
                "cell": row.cell,
                "run": run.document.run_id,
                "state": run.document.state,
                "acquisition": run.document.acquisition,
                "cells": len(found),
                "frames": counted.frames,
                "frames_low_snr": counted.low_snr,
                "frames_snr_unknown": counted.unknown_snr,
                "frames_used": counted.used,
                "snr_median": counted.snr_median,
                "degraded_to_snr": float(run.degraded.get("to_snr", math.nan)),
            }
        )
        for figures in found:
            cell = f"{row.cell}/{figures.cell}" if figures.cell else row.cell
            for name, value in figures.values.items():
                count, exposure = figures.counts.get(name, (math.nan, math.nan))
                long.append((*place.values(), cell, name, value, count, exposure))
    order = ["condition", "experiment", "batch", "cell", "metric"]
    table = pd.DataFrame(long, columns=[*order, "value", "count", "exposure"])
    by = table.groupby(order, sort=False)
    cells = pd.DataFrame(
        {
            "value": by["value"].mean(),
            "count": by["count"].sum(min_count=1),
            "exposure": by["exposure"].sum(min_count=1),
        }
    ).reset_index()
    known = cells[np.isfinite(cells["value"])].groupby(["condition", "experiment", "metric"], sort=False)["value"]
    experiments = pd.DataFrame({"value": known.mean(), "cells": known.size()}).reset_index()
    return Aggregates(pd.DataFrame(bookkeeping), cells, experiments)
