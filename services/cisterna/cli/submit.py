"""``cisterna submit | plan``: input → acquisition → run, and a detached driver for it."""

from __future__ import annotations

import argparse
import json
import math
import os
import shlex
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from cisterna.chunks import Box
from cisterna.cli.follow import follow
from cisterna.cli.home import Home, Unreachable, UsageError
from cisterna.cli.movie_input import add_movie_options, channel_of, ingest_movie_input, recipe_settings
from cisterna.cli.progress import ingest_progress
from cisterna.cli.task import add_task_options, task_of
from cisterna.models import demo_models, install_model
from cisterna.runs import record
from cisterna.runs.acquisition import read_acquisition
from cisterna.runs.fibsem import equalising_models
from cisterna.runs.lease import driver_alive
from cisterna.runs.plan import Plan, UsedArray, check_models, make_plan
from cisterna.runs.recipes import ErMovieRecipe, FibsemRecipe, Recipe, parse_recipe
from cisterna.store import ObjectStore, open_store

CPU_FLOP_PER_S = 5e10
"""Rate assumed for estimates on one CPU core (float32, measured for these networks); a GPU does far more."""


def add_arguments(commands: Any, argv: list[str]) -> None:
    for verb, text in (
        ("submit", "register the input once and run a recipe on it"),
        ("plan", "what submit would do: blocks, memory, bytes, time"),
    ):
        kinds = commands.add_parser(verb, help=text).add_subparsers(
            dest="kind", required=True, metavar="fibsem|er-movie"
        )
        for kind in ("fibsem", "er-movie"):
            p = kinds.add_parser(kind)
            _input_arguments(p, kind)
            if verb == "submit" and kind == "er-movie":
                p.add_argument(
                    "--degrade-to-snr",
                    type=float,
                    metavar="SNR",
                    help="run on a copy with noise added; INPUT may be a finished run (docs/compare.md)",
                )
            if verb == "submit":
                p.add_argument("--wait", action="store_true", help="follow the run to its end; exit with its code")
                p.set_defaults(run=lambda a, kind=kind: submit_command(Home.find(), kind, a))
            else:
                p.add_argument("--json", action="store_true", help="one JSON document")
                p.set_defaults(run=lambda a, kind=kind: plan_command(Home.find(), kind, a))


def _input_arguments(p: argparse.ArgumentParser, kind: str) -> None:
    p.add_argument("input", nargs="?", type=Path, help="TIFF stack, folder of planes, OME-TIFF or OME-Zarr")
    p.add_argument("--recipe", type=Path, help="YAML file; keys left out keep their defaults")
    p.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="one recipe value, e.g. eres.rules.link_nm=40"
    )
    p.add_argument("--store", help="store URL")
    p.add_argument("--channel", help="channel of a multi-channel file: a number from 0, or its name in the file")
    if kind == "fibsem":
        p.add_argument("--voxel-size-nm", type=float, nargs=3, metavar=("Z", "Y", "X"))
        p.add_argument(
            "--detector",
            action="append",
            default=[],
            metavar="NAME=PATH",
            help="one of two detectors, e.g. inlens=a.tif",
        )
        p.add_argument(
            "--analysis-signal", default="average", help="average, or the name of a detector (default %(default)s)"
        )
        p.add_argument(
            "--use", action="append", default=[], metavar="CLASS=ARRAY", help="take a class from an existing array"
        )
        p.add_argument("--region", help="box z0:z1,y0:y1,x0:x1 in voxels")
        add_task_options(p)
        p.add_argument(
            "--polarity",
            choices=("auto", "dark", "bright"),
            default="auto",
            help="whether membranes are dark or bright",
        )
        p.add_argument(
            "--equalised", action="store_true", help="the input is CLAHE-equalised already (raw_equalized_0.02)"
        )
    else:
        add_movie_options(p)


def parsed_input(kind: str, argv: list[str]) -> argparse.Namespace:
    """What ``cisterna submit KIND`` would make of these arguments; what they leave out takes its default."""
    parser = argparse.ArgumentParser(prog=f"cisterna submit {kind}")
    _input_arguments(parser, kind)
    return parser.parse_args(argv)


def submit_command(home: Home, kind: str, args: argparse.Namespace) -> int:
    store = open_store(home.store_url(args.store))
    run_id, code = submit(home, store, kind, args)
    if code is not None:
        return code
    if args.wait:
        return follow(store, run_id)
    print(f"{run_id} submitted: `cisterna wait {run_id}` follows it")
    return 0


def submit(home: Home, store: ObjectStore, kind: str, args: argparse.Namespace) -> tuple[str, int | None]:
    """Registers and starts a run; the exit code where it has ended before already."""
    degrade = getattr(args, "degrade_to_snr", None) is not None
    recipe = None if degrade else read_recipe(kind, args.recipe, recipe_settings(args))
    if driver_command() is None:
        home.addresses()  # no services: say so before anything is registered
    plan = _registered_plan(store, kind, recipe, args) if recipe else _degraded_plan(store, args)
    document = record.read_run(store, plan.run_id)
    for warning in plan.warnings:
        print(f"note: {warning}", file=sys.stderr)
    if document is not None and document["state"] in record.FINAL:
        state = document["state"]
        hint = "" if state == "SUCCEEDED" else f"; `cisterna retry {plan.run_id}` tries again"
        print(f"{plan.run_id} was run before: {state}{hint}")
        return plan.run_id, record.EXIT_CODES[state]
    if document is None:
        record.register_run(store, plan)
    if not driver_alive(store, plan.run_id):
        start_driver(home, store.url, plan.run_id)
    return plan.run_id, None


def driver_command() -> list[str] | None:
    """CISTERNA_DRIVER: the command that starts a run's driver elsewhere (k8s/start_run.sh); None: it starts here."""
    return shlex.split(os.environ.get("CISTERNA_DRIVER", "")) or None


def start_driver(home: Home, store_url: str, run_id: str) -> None:
    """Starts the driver of a run: a detached process here (log: logs/driver-RUN.log), or by CISTERNA_DRIVER.

    Raises Unreachable with the command's own complaint where it does not start one.
    """
    elsewhere = driver_command()
    if elsewhere is not None:
        try:
            done = subprocess.run([*elsewhere, run_id], capture_output=True, text=True, timeout=120, check=False)
        except (OSError, subprocess.TimeoutExpired) as e:
            raise Unreachable(f"CISTERNA_DRIVER={elsewhere[0]} did not start the driver of {run_id}: {e}") from e
        if done.returncode:
            complaint = " ".join(done.stderr.split())
            raise Unreachable(f"CISTERNA_DRIVER={elsewhere[0]} did not start the driver of {run_id}: {complaint}")
        return
    home.logs.mkdir(parents=True, exist_ok=True)
    home.addresses()
    with (home.logs / f"driver-{run_id}.log").open("ab") as out:
        driver = subprocess.Popen(
            [sys.executable, "-m", "cisterna.cli.drive", run_id, "--store", store_url],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=dict(os.environ),
        )
    home.drivers.mkdir(parents=True, exist_ok=True)
    (home.drivers / run_id).write_text(str(driver.pid))


def read_recipe(kind: str, path: Path | None, settings: list[str], otherwise: str = "") -> Recipe:
    """The recipe of a file and --set options, rules and parameters resolved to full sets (every default written).

    Without a file, `otherwise` is the YAML to start from.
    """
    import yaml

    if path is not None and not path.is_file():
        raise UsageError(f"recipe {path} does not exist")
    values = yaml.safe_load(path.read_text() if path is not None else otherwise)
    if values is None:
        values = {}
    for setting in settings:
        key, separator, value = setting.partition("=")
        if not separator:
            raise UsageError(f"--set {setting!r}: write KEY=VALUE, e.g. eres.rules.link_nm=40")
        place = values
        *path_keys, last = key.split(".")
        for k in path_keys:
            place = place.setdefault(k, {})
            if not isinstance(place, dict):
                raise UsageError(f"--set {setting!r}: {k} is a value, not a group of keys")
        place[last] = yaml.safe_load(value)
    source = str(path) if path is not None else "--set"
    return resolve(parse_recipe(yaml.safe_dump(values), kind, source))


def resolve(recipe: Recipe) -> Recipe:
    """Rules and tracing parameters with every default written out; raises ValueError on an unknown one."""
    import dataclasses

    if isinstance(recipe, FibsemRecipe):
        from cisterna.eres.rules import Rules
        from cisterna.eres.splitting import Splitting

        rules = json.loads(Rules.from_mapping(recipe.eres.rules).to_json())
        given = dict(recipe.eres.splitting)
        classes = given.pop("classes", [])
        splitting = {"classes": classes, **json.loads(Splitting.from_mapping(given).to_json())}
        return dataclasses.replace(recipe, eres=dataclasses.replace(recipe.eres, rules=rules, splitting=splitting))
    from cisterna.graph.parameters import TracingParameters, TrackingParameters

    tracing = json.loads(TracingParameters.from_json(json.dumps(recipe.graph.tracing)).to_json())
    tracking = json.loads(TrackingParameters.from_json(json.dumps(recipe.graph.tracking)).to_json())
    return dataclasses.replace(recipe, graph=dataclasses.replace(recipe.graph, tracing=tracing, tracking=tracking))


def parse_region(text: str) -> Box:
    """A box from ``z0:z1,y0:y1,x0:x1`` (half-open, voxels)."""
    try:
        bounds = [tuple(int(v) for v in part.split(":")) for part in text.split(",")]
        (z0, z1), (y0, y1), (x0, x1) = bounds
        box = Box.from_bounds((z0, y0, x0), (z1, y1, x1))
    except ValueError:
        raise UsageError(
            f"--region {text!r}: write z0:z1,y0:y1,x0:x1 in voxels, half-open, e.g. 0:100,0:512,0:512"
        ) from None
    if box.empty or any(o < 0 for o in box.offset):
        raise UsageError(f"--region {text!r} is empty or starts below 0")
    return box


def named_paths(options: list[str], flag: str) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for option in options:
        name, separator, path = option.partition("=")
        if not separator or not name or not path:
            raise UsageError(f"{flag} {option!r}: write NAME=PATH")
        if name in found:
            raise UsageError(f"{flag} names {name} twice")
        found[name] = Path(path)
    return found


def _registered_plan(store: ObjectStore, kind: str, recipe: Recipe, args: argparse.Namespace) -> Plan:
    from cisterna.acquire import ingest_existing, ingest_volume

    for folder in demo_models():
        install_model(store, folder)
    check_models(store, recipe)
    with ingest_progress() as progress:
        if kind == "fibsem":
            task_of(args)
            detectors = named_paths(args.detector, "--detector")
            if (args.input is None) == (not detectors):
                raise UsageError("give one INPUT, or two --detector NAME=PATH")
            assert isinstance(recipe, FibsemRecipe)
            acquired = ingest_volume(
                store,
                args.input,
                voxel_size_nm=tuple(args.voxel_size_nm) if args.voxel_size_nm else None,
                detectors=detectors or None,
                analysis_signal=args.analysis_signal,
                region=parse_region(args.region) if isinstance(args.region, str) else args.region,
                polarity=args.polarity,
                equalise=bool(equalising_models(store, recipe, named_paths(args.use, "--use"))),
                equalised=args.equalised,
                channel=channel_of(args.channel),
                progress=progress,
            ).id
        else:
            assert isinstance(recipe, ErMovieRecipe)
            acquired = ingest_movie_input(store, args, recipe, progress)
        uses: dict[str, UsedArray] = {}
        if getattr(args, "cells", None) is not None:
            uses["cells"] = _cells(store, acquired, args.cells)
        for name, path in named_paths(getattr(args, "use", []), "--use").items():
            used = ingest_existing(store, acquired, name, path)
            uses[name] = UsedArray(used.path, used.identity, str(path))
    return make_plan(store, recipe, read_acquisition(store, acquired), uses)


def _degraded_plan(store: ObjectStore, args: argparse.Namespace) -> Plan:
    """The same recipe over a copy of a finished run's recording with noise added (docs/compare.md)."""
    from cisterna.cli.degrade import ingest_degraded_copy, run_to_degrade

    given = [
        args.pixel_size_nm,
        args.frame_interval_s,
        args.channel,
        args.cells,
        args.axes,
        args.z_mode,
        args.z_section,
    ]
    given.append(args.z_spacing_nm)
    if args.input is None:
        raise UsageError("give the INPUT movie, or a finished run of it")
    with ingest_progress() as progress:
        acquired = None
        if args.input.exists():
            acquired = ingest_movie_input(store, args, None, progress)
        elif any(value is not None for value in given):
            raise UsageError(
                f"{args.input} is no file: sizes, axes, channel and cells of a run stand already, leave them out"
            )
        document = run_to_degrade(store, args.input, acquired)
        recipe_yaml = store.get(f"{record.run_folder(document['run_id'])}/recipe.yaml").decode()
        recipe = read_recipe("er-movie", args.recipe, args.set, recipe_yaml)
        check_models(store, recipe)
        copy = ingest_degraded_copy(store, document, args.degrade_to_snr, progress)
        uses = {c: UsedArray(u["path"], u["identity"], u["source"]) for c, u in document["uses"].items()}
        if args.cells is not None:
            uses["cells"] = _cells(store, copy.id, args.cells)
    return make_plan(store, recipe, copy, uses)


def _cells(store: ObjectStore, acquisition_id: str, path: Path) -> UsedArray:
    from cisterna.acquire import ingest_cells

    used = ingest_cells(store, acquisition_id, path)
    return UsedArray(used.path, used.identity, str(path))


def plan_command(home: Home, kind: str, args: argparse.Namespace) -> int:
    """Prints what submit would do. The input is read into a store in memory: nothing is registered or computed."""
    recipe = read_recipe(kind, args.recipe, recipe_settings(args))
    plan = _registered_plan(open_store("memory://"), kind, recipe, args)
    estimate = estimates(plan)
    if args.json:
        print(json.dumps({"run_id": plan.run_id, "stages": estimate, "warnings": list(plan.warnings)}, indent=1))
        return 0
    table = Table(
        "stage",
        "blocks",
        "Mvoxel",
        "GFLOP",
        "MB written",
        "core-minutes",
        title=f"{plan.run_id} on {plan.acquisition.id}",
    )
    for e in estimate:
        table.add_row(
            e["stage"],
            str(e["blocks"]),
            f"{e['voxels'] / 1e6:.1f}",
            f"{e['flop'] / 1e9:.0f}",
            f"{e['bytes'] / 1e6:.0f}",
            f"{e['core_s'] / 60:.1f}",
        )
    Console().print(table)
    total_s = sum(e["core_s"] for e in estimate)
    print(
        f"about {total_s / 60:.0f} core-minutes, {sum(e['bytes'] for e in estimate) / 1e6:.0f} MB uncompressed, "
        f"{max(e['task_bytes'] for e in estimate) / 1e6:.0f} MB of memory a task"
    )
    for w in plan.warnings:
        print(f"note: {w}")
    return 0


def estimates(plan: Plan) -> list[Mapping[str, Any]]:
    """Per stage: blocks, voxels, operations (with halos), bytes written, core-seconds, memory of a task."""
    rows: list[Mapping[str, Any]] = []
    for s in plan.stages:
        voxels = sum(s.voxels(b) for b in range(s.blocks))
        halo = (
            2 * int(plan.models[s.model].get("context", 0))
            if s.model is not None and plan.acquisition.kind == "volume"
            else 0
        )
        edge = plan.acquisition.block[0]
        # What a block costs with its halo, relative to its own voxels: on the lattice that the network works on.
        edges = [edge * f for f in s.document.get("resample") or (1.0,) * 3]
        amplification = math.prod((n + halo) / n for n in edges)
        flop = voxels * s.flop_per_voxel * math.sqrt(amplification)
        written = sum(math.prod(i.spec.shape) * _itemsize(i.spec.dtype) for i in s.images) or voxels
        rows.append(
            {
                "stage": s.name,
                "blocks": s.blocks,
                "voxels": voxels,
                "flop": flop,
                "bytes": written,
                "core_s": flop / CPU_FLOP_PER_S + voxels * 4e-8,
                "task_bytes": 8 * max(s.voxels(0), 1) * amplification,
            }
        )
    return rows


def _itemsize(dtype: str) -> int:
    import numpy as np

    return np.dtype(dtype).itemsize
