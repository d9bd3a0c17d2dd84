"""Following a run to its end by its objects alone."""

from __future__ import annotations

import sys
import time

from cisterna.cli.home import Unreachable, UsageError
from cisterna.runs import record
from cisterna.runs.lease import driver_alive
from cisterna.store import ObjectStore, StoreUnavailable

POLL_S = 0.5
DRIVER_GRACE_S = 30.0
UNREACHABLE_S = 120.0


def follow(store: ObjectStore, run_id: str, quiet: bool = False) -> int:
    """Prints a run's progress until it ends; returns its exit code (5 where store or driver are gone)."""
    last = ""
    without_driver = away = 0.0
    while True:
        try:
            document = record.read_run(store, run_id)
            if document is None:
                raise UsageError(f"no run {run_id} in {store.url}: `cisterna runs` lists them")
            living = driver_alive(store, run_id)
            away = 0.0
        except StoreUnavailable as e:
            away = away or time.monotonic()
            if time.monotonic() - away > UNREACHABLE_S:
                raise Unreachable(str(e)) from e
            time.sleep(2)
            continue
        line = progress_line(document)
        if line != last and not quiet:
            print(line, file=sys.stderr, flush=True)
            last = line
        # The final state is written first, the report after it, the lease is released last.
        if document["state"] in record.FINAL and not living:
            return finished(store, document, quiet)
        if living:
            without_driver = 0.0
        else:
            without_driver = without_driver or time.monotonic()
            if time.monotonic() - without_driver > DRIVER_GRACE_S:
                raise Unreachable(
                    f"run {run_id} has no driver: `cisterna retry {run_id}` goes on from where it stopped"
                )
        time.sleep(POLL_S)


def finished(store: ObjectStore, document: dict[str, object], quiet: bool = False) -> int:
    run_id, state = str(document["run_id"]), str(document["state"])
    if not quiet:
        if document.get("error"):
            print(f"{run_id}: {document['error']}", file=sys.stderr)
        print(f"{run_id} {state}")
        if store.exists(f"runs/{run_id}/report.html"):
            print(f"report: {object_place(store, f'runs/{run_id}/report.html')}")
    return record.EXIT_CODES[state]


def object_place(store: ObjectStore, path: str) -> str:
    """Where a person finds an object: a file path for a directory store, else its URL."""
    return str(store.folder / path) if store.folder is not None else f"{store.url.rstrip('/')}/{path}"


def progress_line(document: dict[str, object]) -> str:
    """One line: percent of all blocks, and the stages that are under way."""
    stages: dict[str, dict[str, int]] = document["stages"]  # type: ignore[assignment]
    total, done = sum(s["blocks"] for s in stages.values()), sum(s["done"] for s in stages.values())
    moving = [f"{n} {s['done']}/{s['blocks']}" for n, s in stages.items() if 0 < s["done"] < s["blocks"]]
    return (
        f"{document['run_id']} {document['state']} {100 * done // max(1, total):3d} %  {', '.join(moving[:4])}".rstrip()
    )
