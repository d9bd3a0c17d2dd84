"""Whether conditions can be compared at all: brightness, models, pixel sizes, parameters, batches."""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from cisterna.compare.runs import RunTables
from cisterna.report.document import flat_parameters

TOLERANCE = 1.25
"""Ratio of the largest to the smallest median SNR of conditions up to which they count as matched (about 1 dB)."""

SNR_GATE = 5.0


@dataclass(frozen=True)
class Match:
    """Median SNR by condition, whether they agree, the SNR to bring the brighter ones to, and the commands that do it.

    `target` and `commands` are empty where conditions match, where an SNR is unknown, or where the dimmest condition
    lies below the gate, so that there is nothing to match to.
    """

    snr: dict[str, float]
    matched: bool
    target: float
    commands: tuple[str, ...]
    sentence: str


def match_snr(runs: pd.DataFrame, conditions: Sequence[str], store_url: str = "") -> Match:
    """Compares the median SNR of conditions (over cells, of the median over frames)."""
    cells = runs.groupby(["condition", "experiment", "cell"], sort=False)["snr_median"].mean().reset_index()
    snr = {c: _median(cells.loc[cells["condition"] == c, "snr_median"]) for c in conditions}
    known = {c: v for c, v in snr.items() if math.isfinite(v)}
    degraded = int(np.isfinite(runs["degraded_to_snr"].to_numpy(float)).sum())
    by = f" {degraded} of {len(runs)} runs stand on recordings with added noise." if degraded else ""
    told = ", ".join(f"{c} {v:.3g}" if math.isfinite(v) else f"{c} unknown" for c, v in snr.items())
    if len(known) < len(conditions):
        if not known:
            return Match(snr, True, math.nan, (), f"SNR is not known for any run, so it could not be matched.{by}")
        return Match(snr, False, math.nan, (), f"Median SNR: {told}. Conditions without it cannot be matched.{by}")
    dimmest = min(known, key=lambda c: known[c])
    target = _floor(known[dimmest])
    ratio = max(known.values()) / known[dimmest] if known[dimmest] > 0 else math.inf
    if ratio <= TOLERANCE:
        return Match(
            snr, True, math.nan, (), f"Median SNR: {told}; within a factor of {TOLERANCE:g}, so taken as matched.{by}"
        )
    differ = f"Median SNR: {told}; they differ by a factor of {ratio:.3g}, more than {TOLERANCE:g}."
    if target < SNR_GATE:
        return Match(
            snr, False, math.nan, (),
            f"{differ} {dimmest} lies below {SNR_GATE:g}, where networks are no longer traced within 10 %: record it "
            f"again, there is nothing to match to.{by}",
        )  # fmt: skip
    brighter = [c for c in conditions if known[c] > TOLERANCE * known[dimmest]]
    chosen = runs[runs["condition"].isin(brighter) & (runs["snr_median"] > target)]
    commands = tuple(degrade_command(str(run), target, store_url) for run in chosen["run"])
    return Match(
        snr, False, target, commands,
        f"{differ} What differs between them may be brightness alone: bring the {len(commands)} brighter runs to an "
        f"SNR of {target:g} with the commands listed, and put the new runs in their place.{by}",
    )  # fmt: skip


def degrade_command(run_id: str, target: float, store_url: str = "") -> str:
    """The command that runs the same recipe on a copy with added noise."""
    store = f" --store {shlex.quote(store_url)}" if store_url else ""
    return f"cisterna submit er-movie {shlex.quote(run_id)} --degrade-to-snr {target:g}{store}"


def comparability(runs: Sequence[RunTables]) -> list[str]:
    """What differs between runs besides the condition, one sentence each; first what goes along with the condition."""
    found = []
    sources = {
        "pixel or voxel size": [_size(r) for r in runs],
        "frame interval": [str(r.manifest.get("arrays", {}).get("raw", {}).get("frame_interval_s", "")) for r in runs],
        "Cisterna version": [r.document.cisterna_version for r in runs],
    }
    for name in sorted({n for r in runs for n in r.document.models}):
        sources[f"model {name}"] = [str(r.document.models.get(name, {}).get("digest", "absent")) for r in runs]
    parameters = [dict(flat_parameters(r.document.parameters)) for r in runs]
    for name in sorted({n for p in parameters for n in p}):
        sources[f"parameter {name}"] = [p.get(name, "absent") for p in parameters]
    for what, values in sources.items():
        if len(set(values)) > 1:
            groups = pd.Series(values).groupby([r.row.condition for r in runs]).unique()
            apart = not set.intersection(*(set(g) for g in groups))
            along = ", and no value is shared by all conditions: what differs may be this" if apart else ""
            shown = ", ".join(dict.fromkeys(v[:24] or "unknown" for v in values))
            found.append(f"Runs differ in {what} ({shown}){along}.")
    return [*found, *_batches(runs)]


def _batches(runs: Sequence[RunTables]) -> list[str]:
    held: dict[str, set[str]] = {}
    for r in runs:
        if r.row.batch:
            held.setdefault(r.row.batch, set()).add(r.row.condition)
    if len(held) > 1 and all(len(c) == 1 for c in held.values()):
        return ["Every batch holds one condition: what differs between conditions may be the batch."]
    return []


def _size(run: RunTables) -> str:
    raw = run.manifest.get("arrays", {}).get("raw", {})
    for key, unit in (("voxel_size_nm", "nm"), ("pixel_size_um", "µm")):
        if key in raw:
            return " × ".join(f"{v:g}" for v in raw[key]) + f" {unit}"
    return ""


def _median(values: pd.Series) -> float:
    array = values.to_numpy(float)
    array = array[np.isfinite(array)]
    return float(np.median(array)) if array.size else math.nan


def _floor(value: float) -> float:
    """Three figures, rounded down: the target never lies above the condition it comes from."""
    if not value > 0:
        return value
    step = 10.0 ** (math.floor(math.log10(value)) - 2)
    return round(math.floor(value / step + 1e-9) * step, 6)
