"""``cisterna train | models | phantom``: what makes models and test data. Networks are imported only when asked for."""

from __future__ import annotations

import argparse
import importlib
import json
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from cisterna.cli import noise_curve
from cisterna.cli.asem_checkpoint import add_asem_options, import_asem, refuse_asem_options
from cisterna.cli.home import Home, UsageError
from cisterna.models import install_model, read_model_folder
from cisterna.store import open_store

TRAINERS = {"fastfib": "cisterna.denoise.train", "asem": "cisterna.segment.train", "ernet": "cisterna.ernet.train"}


MOVIE_CHANGES = {
    "drift_px": "amplitude of the junctions' smooth motion (default 1.5)",
    "remodelling": "share of the tubules that come or go (default 0); with --lifetime-s again and again",
    "lifetime_s": "mean lifetime of those tubules",
    "tip_speed_um_per_s": "speed at which they grow and retract (default: at once)",
    "meetings": "share of the tubules that shorten until their two junctions are one for a while",
    "step_px": "mean distance that a junction wanders from frame to frame",
    "least_tubule_px": "shorter tubules are joined into four-way junctions first",
}
"""Options of `phantom er-movie` that are arguments of `er_movie`."""


def add_arguments(commands: Any, argv: list[str]) -> None:
    """Adds the commands; a trainer's own options are loaded only when the command line names it."""
    train = commands.add_parser("train", help="train a model").add_subparsers(dest="family", required=True)
    for family, module in TRAINERS.items():
        p = train.add_parser(family)
        if argv[:2] == ["train", family]:
            trainer = importlib.import_module(module)
            trainer.add_arguments(p)
            p.set_defaults(run=trainer.run)
            if family == "ernet":
                p.add_argument("--no-noise-curve", action="store_true", help="leave the noise curve out of model.json")
                p.set_defaults(run=noise_curve.after_training(trainer.run))
    _models(commands)
    _phantoms(commands, argv)


def _models(commands: Any) -> None:
    models = commands.add_parser("models", help="models of the store").add_subparsers(dest="action", required=True)
    add = models.add_parser("add", help="add a model folder, or a published checkpoint of a family")
    add.add_argument("path", type=Path, help="a model folder, or with --family a checkpoint file")
    add.add_argument("--family", choices=("asem", "ernet"), help="import a published checkpoint of this family")
    add.add_argument("--name", help="name of the imported model (default: the file's name)")
    add_asem_options(add)
    pixel = add.add_mutually_exclusive_group()
    pixel.add_argument("--pixel-size-um", type=float, help="training pixel size of an ERnet checkpoint")
    pixel.add_argument("--pixel-size-nm", type=float, help="the same in nm")
    add.add_argument("--licence", default="unknown", help="SPDX name of the checkpoint's licence (default %(default)s)")
    add.add_argument("--store")
    add.set_defaults(run=add_model)
    listing = models.add_parser("list")
    listing.add_argument("--store")
    listing.add_argument("--json", action="store_true")
    listing.set_defaults(run=lambda a: list_models(a.store, a.json))
    noise_curve.add_arguments(
        models.add_parser("noise-curve", help="measure what an ERnet finds in how much noise; amends its model.json")
    )
    show = models.add_parser("show")
    show.add_argument("name")
    show.add_argument("--store")
    show.set_defaults(run=lambda a: show_model(a.store, a.name))


def add_model(args: argparse.Namespace) -> int:
    """Puts a model folder into the store; a published checkpoint is made one first, strictly, executing nothing."""
    if args.family != "asem":
        refuse_asem_options(args)
    store = open_store(Home.find().store_url(args.store))
    with tempfile.TemporaryDirectory() as scratch:
        folder = args.path if args.family is None else _imported(args, Path(scratch))
        model = read_model_folder(folder)
        install_model(store, folder)
    print(f"{model.name} ({model.family}) is in {store.url}, digest {model.digest[:12]}…")
    return 0


def _imported(args: argparse.Namespace, scratch: Path) -> Path:
    """The model folder that a published checkpoint becomes."""
    if not args.path.is_file():
        raise UsageError(f"{args.path} is no checkpoint file")
    name = args.name or re.sub(r"[^a-z0-9._-]+", "-", args.path.stem.lower())
    folder = scratch / name
    if args.family == "asem":
        import_asem(args, folder)
    else:
        size_um = args.pixel_size_um if args.pixel_size_nm is None else args.pixel_size_nm / 1000
        if size_um is None:
            raise UsageError("an ERnet checkpoint does not say its pixel size: give --pixel-size-um")
        from cisterna.ernet.export import import_checkpoint

        import_checkpoint(args.path, folder, size_um, args.licence, name)
    return folder


def list_models(store_url: str | None, as_json: bool) -> int:
    store = open_store(Home.find().store_url(store_url))
    specs = [store.get_json(f"models/{n}/model.json") for n in store.folders("models")]
    if as_json:
        print(json.dumps(specs, indent=1))
        return 0
    table = Table("model", "family", "class", "trained at", "demo", "licence", "digest")
    for s in specs:
        size = s.get("voxel_size_nm") or s.get("pixel_size_um")
        table.add_row(
            s["name"],
            s["family"],
            str(s.get("class", "")),
            str(size),
            "yes" if s["demo"] else "",
            s["licence"],
            s["digest"][:12],
        )
    Console().print(table)
    return 0


def show_model(store_url: str | None, name: str) -> int:
    store = open_store(Home.find().store_url(store_url))
    if name not in store.folders("models"):
        raise UsageError(f"no model {name}: the store has {', '.join(store.folders('models')) or 'none'}")
    print(json.dumps(store.get_json(f"models/{name}/model.json"), indent=1))
    if store.exists(f"models/{name}/card.md"):
        print(f"to read: models/{name}/card.md in the store, with its pictures", file=sys.stderr)
    return 0


def _phantoms(commands: Any, argv: list[str]) -> None:
    phantom = commands.add_parser("phantom", help="synthetic data with exact truth").add_subparsers(
        dest="what", required=True
    )
    cell = phantom.add_parser("cell", help="a FIB-SEM cell: two detectors, labels, planted objects")
    cell.add_argument("folder", type=Path)
    cell.add_argument("--shape", type=int, nargs=3, default=(176, 240, 240), metavar=("Z", "Y", "X"))
    cell.add_argument("--voxel-size-nm", type=float, default=8.0)
    cell.add_argument("--seed", type=int, default=1)
    cell.set_defaults(run=_make_cell)
    movie = phantom.add_parser("er-movie", help="an ER movie: frames, classes, true networks")
    movie.add_argument("folder", type=Path)
    movie.add_argument("--frames", type=int, default=24)
    movie.add_argument("--shape", type=int, nargs=2, default=(256, 256), metavar=("Y", "X"))
    movie.add_argument("--snr", type=float, default=10.0)
    movie.add_argument("--seed", type=int, default=1)
    movie.add_argument("--static", action="store_true", help="nothing moves or changes but the noise")
    for name, words in MOVIE_CHANGES.items():
        movie.add_argument(f"--{name.replace('_', '-')}", type=float, help=words)
    movie.set_defaults(run=_make_movie)
    sites = phantom.add_parser("sites", help="planted exit sites with the paper's counts")
    if argv[:2] == ["phantom", "sites"]:
        module = importlib.import_module("cisterna.phantoms.sites")
        module.add_arguments(sites)
        sites.set_defaults(run=module.run)


def _make_cell(args: argparse.Namespace) -> int:
    from cisterna.phantoms import fibsem_cell, save_cell

    save_cell(args.folder, fibsem_cell(tuple(args.shape), args.voxel_size_nm, args.seed))
    print(f"cell phantom in {args.folder}")
    return 0


def _make_movie(args: argparse.Namespace) -> int:
    from cisterna.phantoms import er_movie, save_movie

    changes = {name: getattr(args, name) for name in MOVIE_CHANGES if getattr(args, name) is not None}
    try:
        movie = er_movie(args.frames, tuple(args.shape), snr=args.snr, seed=args.seed, static=args.static, **changes)
    except ValueError as error:
        raise UsageError(str(error)) from error
    save_movie(args.folder, movie)
    print(f"movie phantom in {args.folder}")
    return 0
