"""``cisterna demo``: up, both workflows end to end, reports, truth against result, down."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from cisterna.cli.follow import follow, object_place
from cisterna.cli.home import Home
from cisterna.cli.stack import down_command, up_command
from cisterna.cli.submit import parsed_input, submit
from cisterna.cli.verdict import Row, judge_cell, judge_movie
from cisterna.phantoms import er_movie, fibsem_cell, save_cell, save_movie
from cisterna.runs import record
from cisterna.store import open_store

CELL_SHAPE = (176, 240, 240)
CELL_VOXEL_NM = 8.0
MOVIE_FRAMES = 24
DEMO_SEED = 9501
"""Seeds from 9500 on are never trained or validated on (docs/models.md)."""


def add_arguments(commands: Any, argv: list[str]) -> None:
    p = commands.add_parser("demo", help="both workflows end to end on this machine, with reports")
    p.add_argument("--fibsem", type=Path, help="your own volume instead of the phantom cell")
    p.add_argument("--voxel-size-nm", type=float, nargs=3, metavar=("Z", "Y", "X"))
    p.add_argument("--er-movie", type=Path, help="your own movie or frame instead of the phantom movie")
    p.add_argument("--pixel-size-nm", type=float)
    p.add_argument("--frame-interval-s", type=float)
    p.add_argument("--store", help="store URL, e.g. s3://bucket; default: a directory in the home")
    p.add_argument("--keep", action="store_true", help="leave the services running afterwards")
    p.set_defaults(run=lambda a: demo_command(Home.find(), a))


def demo_command(home: Home, args: argparse.Namespace) -> int:
    start = time.monotonic()
    folder = home.folder / "demo"
    cell, movie = _inputs(folder, args)
    code = up_command(home, args.store)
    if code:
        return code
    try:
        store = open_store(home.store_url(args.store))
        runs, codes = {}, []
        for kind, options in (("fibsem", cell), ("er-movie", movie)):
            run_id, _ = submit(home, store, kind, options)
            runs[kind] = run_id
        for run_id in runs.values():
            codes.append(follow(store, run_id))
        rows: list[Row] = []
        documents = {k: record.read_run(store, r) or {} for k, r in runs.items()}
        if args.fibsem is None and codes[0] == 0:
            rows += judge_cell(store, documents["fibsem"], folder / "cell")
        if args.er_movie is None and codes[1] == 0:
            rows += judge_movie(store, documents["er-movie"], folder / "movie")
        if rows:
            Console().print(truth_table(rows))
        for kind, run_id in runs.items():
            print(f"{kind} report: {object_place(store, f'runs/{run_id}/report.html')}")
    finally:
        if not args.keep:
            down_command(home)
    print(f"demo ended after {time.monotonic() - start:.0f} s")
    missed = [r for r in rows if not r.passes]
    for r in missed:
        print(
            f"below its limit: {r.subject} {r.measure} is {r.result:.3f}, at least {r.limit} is expected",
            file=sys.stderr,
        )
    return max(codes) or (1 if missed else 0)


def _inputs(folder: Path, args: argparse.Namespace) -> tuple[argparse.Namespace, argparse.Namespace]:
    cell, movie = parsed_input("fibsem", []), parsed_input("er-movie", [])
    cell.input, cell.voxel_size_nm, cell.store = args.fibsem, args.voxel_size_nm, args.store
    movie.input, movie.pixel_size_nm, movie.store = args.er_movie, args.pixel_size_nm, args.store
    movie.frame_interval_s = args.frame_interval_s
    if args.fibsem is None:
        if not (folder / "cell" / "truth.json").is_file():
            print("drawing the phantom cell …", flush=True)
            save_cell(folder / "cell", fibsem_cell(CELL_SHAPE, CELL_VOXEL_NM, DEMO_SEED))
        cell.detector = [f"{d}={folder / 'cell' / d}.tif" for d in ("inlens", "esb")]
    if args.er_movie is None:
        if not (folder / "movie" / "truth.json").is_file():
            print("drawing the phantom movie …", flush=True)
            save_movie(folder / "movie", er_movie(MOVIE_FRAMES, seed=DEMO_SEED))
        movie.input = folder / "movie" / "movie.tif"
    return cell, movie


def truth_table(rows: list[Row]) -> Table:
    """Truth against result; limits are those a release must keep on phantoms it never saw."""
    table = Table("subject", "measure", "truth", "result", "limit", "", title="truth v result")
    for r in rows:
        shown = f"{r.result:.0f}" if r.subject == "exit sites" else f"{r.result:.3f}"
        limit = "" if r.limit is None else f"≥ {r.limit}"
        table.add_row(
            r.subject, r.measure, r.truth, shown, limit, "" if r.limit is None else ("ok" if r.passes else "BELOW")
        )
    return table
