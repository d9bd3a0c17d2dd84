"""``cisterna runs | show | wait | cancel | retry | verify | export | rm RUN``."""

from __future__ import annotations

import argparse
import json
import time
from typing import Any

from rich.console import Console
from rich.table import Table

from cisterna.cli.export import add_export
from cisterna.cli.follow import follow, object_place
from cisterna.cli.home import Home, UsageError
from cisterna.cli.submit import driver_command, start_driver
from cisterna.runs import record
from cisterna.runs.lease import driver_alive, latest_number
from cisterna.store import ObjectStore, open_store
from cisterna.store.receipts import Receipt, read_receipt, remove_task, verify_receipt

START_S = 30.0


def add_arguments(commands: Any, argv: list[str]) -> None:
    runs = commands.add_parser("runs", help="all runs of the store")
    runs.set_defaults(run=lambda a: runs_command(_store(a), a.json))
    show = _run_command(commands, "show", "state, stages, warnings and events of a run")
    show.set_defaults(run=lambda a: show_command(_store(a), a.run_id, a.json))
    wait = _run_command(commands, "wait", "follow a run to its end; exit with its code")
    wait.set_defaults(run=lambda a: follow(_store(a), a.run_id))
    cancel = _run_command(commands, "cancel", "stop a run; what is done stays done")
    cancel.set_defaults(run=lambda a: cancel_command(_store(a), a.run_id))
    retry = _run_command(commands, "retry", "go on with a run: everything without a receipt is tried again")
    retry.add_argument("--no-wait", action="store_true", help="return at once")
    retry.set_defaults(run=lambda a: retry_command(Home.find(), _store(a), a.run_id, not a.no_wait))
    verify = _run_command(commands, "verify", "compare every object of a run with its receipt")
    verify.add_argument(
        "--repair", action="store_true", help="remove the tasks whose objects are bad; `retry` computes them again"
    )
    verify.set_defaults(run=lambda a: verify_command(_store(a), a.run_id, a.repair, a.json))
    add_export(commands)
    rm = _run_command(commands, "rm", "remove a run and the stages that no other run uses")
    rm.add_argument("--yes", action="store_true", help="do it; without it, say what would go")
    rm.set_defaults(run=lambda a: rm_command(_store(a), a.run_id, a.yes))
    for p in (runs, show, verify):
        p.add_argument("--json", action="store_true", help="one JSON document")
    runs.add_argument("--store", help="store URL")


def _run_command(commands: Any, name: str, text: str) -> argparse.ArgumentParser:
    p: argparse.ArgumentParser = commands.add_parser(name, help=text)
    p.add_argument("run_id", metavar="RUN")
    p.add_argument("--store", help="store URL")
    return p


def _store(args: argparse.Namespace) -> ObjectStore:
    return open_store(Home.find().store_url(args.store))


def _document(store: ObjectStore, run_id: str) -> dict[str, Any]:
    document = record.read_run(store, run_id)
    if document is None:
        raise UsageError(f"no run {run_id} in {store.url}: `cisterna runs` lists them")
    return document


def runs_command(store: ObjectStore, as_json: bool) -> int:
    found = record.list_runs(store)
    if as_json:
        print(json.dumps(found, indent=1))
        return 0
    table = Table("run", "state", "done", "created", "acquisition")
    for d in found:
        total, done = sum(s["blocks"] for s in d["stages"].values()), sum(s["done"] for s in d["stages"].values())
        table.add_row(d["run_id"], d["state"], f"{100 * done // max(1, total)} %", d["created"], d["acquisition"])
    Console().print(table)
    return 0


def show_command(store: ObjectStore, run_id: str, as_json: bool) -> int:
    document = _document(store, run_id)
    events, _ = record.read_events(store, run_id)
    if as_json:
        print(json.dumps({**document, "events": events}, indent=1))
        return 0
    print(f"{run_id}  {document['state']}  acquisition {document['acquisition']}")
    if document["state"] not in record.FINAL:
        print(
            "a driver is at work" if driver_alive(store, run_id) else f"no driver is at work: `cisterna retry {run_id}`"
        )
    table = Table("stage", "done", "blocks", "model", "path")
    for name, s in document["stages"].items():
        table.add_row(name, str(s["done"]), str(s["blocks"]), s["model"] or "", s["path"])
    Console().print(table)
    for kind in ("warnings", "notes"):
        for text in document[kind]:
            print(f"{kind[:-1]}: {text}")
    for q in document["quarantined"]:
        print(f"quarantined: {q['stage']} block {q['block']}: {q['message']}")
    for e in events[-10:]:
        print(f"{e['time']} {e['kind']}: {e['text']}")
    if store.exists(f"runs/{run_id}/report.html"):
        print(f"report: {object_place(store, f'runs/{run_id}/report.html')}")
    return 0


def cancel_command(store: ObjectStore, run_id: str) -> int:
    document = _document(store, run_id)
    if document["state"] in record.FINAL:
        print(f"{run_id} has ended already: {document['state']}")
        return 0
    record.request_cancel(store, run_id)
    print(f"{run_id} will stop after the blocks in flight")
    return 0


def retry_command(home: Home, store: ObjectStore, run_id: str, wait: bool) -> int:
    """Starts a new driver on a run and, normally, follows it."""
    document = _document(store, run_id)
    if driver_alive(store, run_id):
        print(f"{run_id} has a driver at work")
    else:
        if driver_command() is None:
            home.addresses()
        record.clear_for_retry(store, run_id)
        before = latest_number(store, run_id)
        if document["state"] in record.FINAL:
            store.put_json(f"runs/{run_id}/run.json", {**document, "state": "QUEUED"})
        start_driver(home, store.url, run_id)
        deadline = time.monotonic() + START_S
        while latest_number(store, run_id) == before and time.monotonic() < deadline:
            time.sleep(0.1)
    return follow(store, run_id) if wait else 0


def receipts_of(store: ObjectStore, document: dict[str, Any]) -> list[Receipt]:
    """All receipts of a run's stages."""
    return [
        r
        for name, s in document["stages"].items()
        for b in range(s["blocks"])
        if (r := read_receipt(store, name, s["stage_key"], b)) is not None
    ]


def verify_command(store: ObjectStore, run_id: str, repair: bool, as_json: bool) -> int:
    """Reads every object of a run and compares it with its receipt; exit 1 where one is bad (0 once repaired)."""
    receipts = receipts_of(store, _document(store, run_id))
    bad = [(r, faults) for r in receipts if (faults := verify_receipt(store, r))]
    if as_json:
        print(json.dumps({"receipts": len(receipts), "faults": [f for _, faults in bad for f in faults]}, indent=1))
    else:
        for _, faults in bad:
            for f in faults:
                print(f)
        print(f"{len(receipts)} receipts, {sum(len(r.objects) for r in receipts)} objects, {len(bad)} bad tasks")
    if bad and repair:
        for r, _ in bad:
            remove_task(store, r)
        print(f"removed {len(bad)} tasks: `cisterna retry {run_id}` computes them again")
        return 0
    return 1 if bad else 0


def rm_command(store: ObjectStore, run_id: str, yes: bool) -> int:
    """Removes run objects and the stages that no other run uses; acquisitions stay."""
    document = _document(store, run_id)
    if driver_alive(store, run_id):
        raise UsageError(f"{run_id} has a driver at work: `cisterna cancel {run_id}` first")
    used = {s["path"] for d in record.list_runs(store) if d["run_id"] != run_id for s in d["stages"].values()}
    going = [s["path"] for s in document["stages"].values() if s["path"] not in used]
    kept = len(document["stages"]) - len(going)
    decisions = len(store.list(f"runs/{run_id}/review/decisions"))
    if not yes:
        print(
            f"would remove run {run_id} and {len(going)} stages ({kept} stay: other runs use them); add --yes to do it"
        )
        if decisions:
            print(
                f"with it {decisions} review decisions, which no computer makes again: "
                f"`cisterna review export {run_id} --format csv --out FILE` keeps them"
            )
        return 0
    store.delete(f"runs/{run_id}/run.json")
    for prefix in [f"runs/{run_id}", *going]:
        # Receipts first: no moment shows a receipt without its data.
        paths = store.list(prefix)
        for path in sorted(paths, key=lambda p: "/receipts/" not in p):
            store.delete(path)
    print(f"removed run {run_id} and {len(going)} stages")
    return 0
