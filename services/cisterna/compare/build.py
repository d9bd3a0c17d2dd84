"""A study compared, from its runs to a folder with tables, figures and a page."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from cisterna.compare import figures
from cisterna.compare.aggregates import Aggregates, aggregate
from cisterna.compare.effects import effects_table
from cisterna.compare.matching import SNR_GATE, Match, comparability, match_snr
from cisterna.compare.metrics import ASSEMBLY, ASSORTATIVITY, Metric, chosen, describe
from cisterna.compare.page import render_comparison
from cisterna.compare.runs import RunTables, read_runs
from cisterna.compare.study import Study
from cisterna.report.canvas import CHART_DPI, picture
from cisterna.store import ObjectStore
from cisterna.tables.conditions import CELLS, COMPARED_RUNS, EFFECTS, EXPERIMENTS, F_TESTS
from cisterna.tables.schema import Table

MOVIES = "er-movie"


@dataclass(frozen=True)
class Comparison:
    """A study's figures and tests. `match` is None for volumes, which have no SNR of their own."""

    study: Study
    room: str
    runs: Sequence[RunTables]
    metrics: Sequence[Metric]
    data: Aggregates
    effects: pd.DataFrame
    f_tests: pd.DataFrame
    match: Match | None
    warnings: Sequence[str]
    keep_low_snr: bool


def compare_study(
    study: Study,
    store: ObjectStore | None,
    metrics: Sequence[str] = (),
    keep_low_snr: bool = False,
    store_name: str = "",
) -> Comparison:
    """Reads the runs of a study and compares its conditions. Writes nothing.

    `metrics`: names to compare, the defaults of the room where empty. `store_name` goes into the commands that degrade
    brighter runs. Raises ValueError naming what the study or a run lacks.
    """
    runs = read_runs(study.rows, store)
    room = runs[0].document.recipe
    data = aggregate(runs, keep_low_snr)
    names = chosen(room, data.cells["metric"].unique(), data.experiments["metric"].unique(), metrics)
    compared = [describe(room, n) for n in names]
    effects, f_tests = effects_table(data, study.conditions, compared, study.paired)
    match = match_snr(data.runs, study.conditions, store_name) if room == MOVIES else None
    return Comparison(
        study, room, runs, compared, data, effects, f_tests, match, _warnings(runs, data, match), keep_low_snr
    )


def _warnings(runs: Sequence[RunTables], data: Aggregates, match: Match | None) -> list[str]:
    found = []
    demo = sorted({name for r in runs for name in r.document.demo_models})
    if demo:
        found.append(
            f"Models trained on phantoms only were used ({', '.join(demo)}): this shows that the line works. "
            "Do not draw biological conclusions from it."
        )
    if match is not None and not match.matched:
        found.append(match.sentence)
    found += comparability(runs)
    lost = data.runs[data.runs["state"] != "SUCCEEDED"]
    if len(lost):
        told = ", ".join(f"{r} {s}" for r, s in zip(lost["run"], lost["state"], strict=True))
        found.append(
            f"{len(lost)} of {len(data.runs)} runs did not succeed, and their tables lack what was lost: {told}."
        )
    empty = data.runs[(data.runs["frames"] > 0) & (data.runs["frames_used"] == 0)]
    if len(empty):
        found.append(
            f"{len(empty)} runs have no frame above the SNR gate and give no figures: {', '.join(empty['run'])}."
        )
    return found


def drawn(comparison: Comparison) -> dict[str, Figure]:
    """All figures by file name, without ending."""
    c = comparison
    conditions, found = c.study.conditions, {}
    if np.isfinite(c.effects["hedges_g"]).any():
        found["effects"] = figures.forest(c.effects, c.metrics, conditions)
    if c.room == MOVIES and {ASSEMBLY, ASSORTATIVITY} <= set(c.data.cells["metric"]):
        found["phenotypes"] = figures.phenotype_figure(c.data, conditions)
    if c.match is not None:
        found["snr"] = figures.snr_figure(c.data.runs, conditions, SNR_GATE)
    for metric in c.metrics:
        found[f"cells_{metric.name}"] = figures.superplot(c.data, metric, conditions, c.study.paired, _line(c, metric))
    return found


def _line(c: Comparison, metric: Metric) -> str:
    own = c.effects[c.effects["metric"] == metric.name]
    if len(own) != 1:
        return ""
    row = own.iloc[0]
    if row["p"] != row["p"]:
        return f"g {row['hedges_g']:.2f}" if row["hedges_g"] == row["hedges_g"] else ""
    return f"g {row['hedges_g']:.2f}, p Holm {row['p_holm']:.2g}"


def tables(comparison: Comparison) -> list[tuple[Table, pd.DataFrame]]:
    """The tables of a comparison with their schemas; only the metrics compared."""
    c = comparison
    units = {m.name: m.unit for m in c.metrics}
    cells, experiments = (t[t["metric"].isin(units)] for t in (c.data.cells, c.data.experiments))
    return [
        (COMPARED_RUNS, c.data.runs),
        (CELLS, cells.drop(columns=["count", "exposure"]).assign(unit=cells["metric"].map(units))),
        (EXPERIMENTS, experiments.assign(unit=experiments["metric"].map(units))),
        (EFFECTS, c.effects),
        *([(F_TESTS, c.f_tests)] if len(c.f_tests) else []),
    ]


def write_comparison(comparison: Comparison, folder: Path) -> list[Path]:
    """Writes compare.html, tables (Parquet and CSV) and figures (PNG and SVG) into a new or empty folder.

    Raises ValueError where the folder holds something: nothing is overwritten.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"{folder} is not an empty folder: name another with --out, nothing is overwritten")
    written = []

    def put(name: str, data: bytes) -> None:
        place = folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
        written.append(place)

    for schema, frame in tables(comparison):
        checked = schema.frame(frame)
        put(f"tables/{schema.name}.parquet", schema.to_parquet_bytes(checked))
        put(f"tables/{schema.name}.csv", checked.to_csv(index=False).encode())
    pictures = {}
    for name, figure in drawn(comparison).items():
        pictures[name] = picture(figure, name)
        put(f"figures/{name}.png", pictures[name].png)
        put(f"figures/{name}.svg", svg_bytes(figure))
    put("compare.html", render_comparison(comparison, pictures).encode())
    return written


def svg_bytes(figure: Figure) -> bytes:
    """The figure as SVG with text as text, for a paper's editor; the same figure gives the same bytes."""
    import matplotlib

    sink = io.BytesIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "cisterna"}):
        figure.savefig(sink, format="svg", dpi=CHART_DPI, metadata={"Date": None, "Creator": None})
    return sink.getvalue()


def as_json(comparison: Comparison) -> dict[str, Any]:
    """What was found, as one JSON document: NaN becomes null."""
    c = comparison
    match = c.match
    return {
        "study": c.study.name,
        "recipe": c.room,
        "conditions": c.study.conditions,
        "paired": c.study.paired,
        "experiments": {n: len(c.study.experiments(n)) for n in c.study.conditions},
        "runs": _records(c.data.runs),
        "metrics": [{"name": m.name, "unit": m.unit, "text": m.text} for m in c.metrics],
        "effects": _records(c.effects),
        "f_tests": _records(c.f_tests),
        "snr": None
        if match is None
        else {
            "median": {k: _plain(v) for k, v in match.snr.items()},
            "matched": match.matched,
            "target": _plain(match.target),
            "commands": list(match.commands),
        },
        "warnings": list(c.warnings),
    }


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(k): _plain(v) for k, v in row.items()} for row in table.to_dict("records")]


def _plain(value: Any) -> Any:
    value = value.item() if hasattr(value, "item") else value
    return None if isinstance(value, float) and not math.isfinite(value) else value
