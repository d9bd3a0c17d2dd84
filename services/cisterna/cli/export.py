"""``cisterna export RUN --out FOLDER``: everything of a run in one folder."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from cisterna.cli.home import Home, UsageError
from cisterna.cli.progress import ingest_progress
from cisterna.runs import record
from cisterna.store import ObjectStore, open_store

PARTS = (
    "report", "tables", "film", "networks", "contact-sheet", "meshes", "arrays", "tiff", "viewer", "webknossos",
)  # fmt: skip


def add_export(commands: Any) -> None:
    p: argparse.ArgumentParser = commands.add_parser(
        "export", help="gather a run into one folder: images, tables, networks, film, sites, surfaces, viewer files"
    )
    p.add_argument("run_id", metavar="RUN")
    p.add_argument("folder", type=Path, nargs="?", metavar="FOLDER", help="a folder that is empty or not there yet")
    p.add_argument("--out", type=Path, metavar="FOLDER", help="the same")
    p.add_argument("--only", nargs="+", default=[], metavar="PART", help=f"some parts only: {', '.join(PARTS)}")
    p.add_argument(
        "--at-site", type=int, metavar="SITE", help="the viewer opens at this site; its surroundings as mesh"
    )
    p.add_argument("--base-url", metavar="URL", help="address at which the folder will be served to Neuroglancer")
    p.add_argument("--sites-per-class", type=int, metavar="N", help="sites of each class on the contact sheet")
    p.add_argument("--store", help="store URL")
    p.set_defaults(run=_export)


def _export(args: argparse.Namespace) -> int:
    if (args.folder is None) == (args.out is None):
        raise UsageError("name one folder to export into: `cisterna export RUN --out FOLDER`")
    only = [name for words in args.only for name in words.split(",") if name]
    chosen = {"at_site": args.at_site, "base_url": args.base_url, "sites_per_class": args.sites_per_class}
    store = open_store(Home.find().store_url(args.store))
    return export_command(store, args.run_id, args.out or args.folder, only, **chosen)


def export_command(store: ObjectStore, run_id: str, folder: Path, only: list[str], **chosen: Any) -> int:
    """Writes the export and says what it holds. Choices that are None keep their defaults."""
    from cisterna.report.choices import Choices
    from cisterna.report.export import export_run

    if record.read_run(store, run_id) is None:
        raise UsageError(f"no run {run_id} in {store.url}: `cisterna runs` lists them")
    try:
        choices = Choices(**{name: value for name, value in chosen.items() if value is not None})
        with ingest_progress() as tell:
            done = export_run(store, run_id, folder, only, choices, tell)
    except ValueError as error:
        raise UsageError(str(error)) from error
    for name in done.absent:
        print(f"not in the run: {name}")
    size = f"{done.bytes / 1e6:.1f} MB"
    print(f"{run_id} exported to {folder}: {len(done.files)} files, {size}; open {folder / 'index.html'}")
    return 0
