"""``cisterna compare STUDY``: conditions over many runs, for networks and for sites."""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Column, Table

from cisterna.cli.home import Home
from cisterna.store import open_store

if TYPE_CHECKING:
    from cisterna.compare.build import Comparison


PIPED_WIDTH = 180


def add_arguments(commands: Any, argv: list[str]) -> None:
    p = commands.add_parser("compare", help="compare conditions over many runs: effect sizes, tests, figures, a page")
    p.add_argument(
        "study", type=Path, metavar="STUDY", help="CSV, TSV or Parquet: run, condition, experiment[, cell, batch]"
    )
    p.add_argument(
        "--out", type=Path, metavar="FOLDER", help="where tables, figures and compare.html go (STUDY-compare)"
    )
    p.add_argument(
        "--metric", action="append", default=[], metavar="NAME", help="compare this metric only; may be repeated"
    )
    p.add_argument("--reference", metavar="CONDITION", help="condition to compare with (the first of the table)")
    p.add_argument("--keep-low-snr", action="store_true", help="keep frames whose SNR lies below 5")
    p.add_argument("--store", help="store URL")
    p.add_argument("--json", action="store_true", help="one JSON document; writes no folder unless --out is given")
    p.set_defaults(run=lambda a: compare_command(Home.find(), a))


def compare_command(home: Home, args: argparse.Namespace) -> int:
    """Compares, writes the folder and prints effects; one JSON document with --json."""
    from cisterna.compare.build import as_json, compare_study, write_comparison
    from cisterna.compare.study import read_study

    study = read_study(args.study)
    if args.reference:
        study = study.with_reference(args.reference)
    # A study of exported folders needs no store, and none is made for it.
    stored = any(not Path(r.run).is_dir() for r in study.rows)
    store = open_store(home.store_url(args.store)) if stored else None
    comparison = compare_study(study, store, args.metric, args.keep_low_snr, args.store or "")
    folder = args.out or (None if args.json else args.study.with_name(f"{args.study.stem}-compare"))
    written = write_comparison(comparison, folder) if folder is not None else []
    if args.json:
        print(json.dumps({**as_json(comparison), "files": [str(p) for p in written]}, indent=1))
        return 0
    _print(comparison)
    print(f"{folder}/compare.html and {len(written) - 1} more files")
    return 0


def _print(comparison: Comparison) -> None:
    for warning in comparison.warnings:
        print(f"note: {warning}")
    if comparison.match is not None:
        if comparison.match.matched:
            print(f"note: {comparison.match.sentence}")
        for command in comparison.match.commands:
            print(f"  {command}")
    head = ("b − a", "a", "b", "difference", "Hedges g", "p", "p Holm", "experiments", "cells")
    table = Table(Column("metric", no_wrap=True), *head)
    for r in comparison.effects.to_dict("records"):
        table.add_row(
            r["metric"], f"{r['condition_b']} − {r['condition_a']}", _short(r["mean_a"]), _short(r["mean_b"]),
            _interval(r["difference"], r["difference_low"], r["difference_high"]),
            _interval(r["hedges_g"], r["hedges_g_low"], r["hedges_g_high"]), _short(r["p"]), _short(r["p_holm"]),
            f"{r['experiments_a']} v {r['experiments_b']}", f"{r['cells_a']} v {r['cells_b']}",
        )  # fmt: skip
    console = Console()
    # A pipe tells no width, and eighty columns would cut every figure short.
    (console if console.is_terminal else Console(width=PIPED_WIDTH)).print(table)
    for note in sorted({r["note"] for r in comparison.effects.to_dict("records") if r["note"]}):
        print(f"note: {note}")


def _short(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.3g}"


def _interval(value: float, low: float, high: float) -> str:
    return _short(value) if math.isnan(low) else f"{_short(value)} [{_short(low)}, {_short(high)}]"
