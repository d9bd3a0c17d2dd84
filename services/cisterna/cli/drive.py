"""The driver as a process of its own: ``python -m cisterna.cli.drive RUN``.

Started detached by `cisterna submit`, and as the container command of the driver's Job on a cluster. It finds store
and services by CISTERNA_STORE and CISTERNA_SERVICES (or this machine's stack).
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable

from cisterna.cli.driver_metrics import served
from cisterna.cli.home import Home, Unreachable, UsageError
from cisterna.report.build import build_report
from cisterna.report.neuroglancer import build_viewer_state
from cisterna.runs import record
from cisterna.runs.acquisition import read_acquisition
from cisterna.runs.driver import Driver, RunStopped
from cisterna.runs.lease import LeaseHeld, LeaseLost
from cisterna.runs.plan import Plan, UsedArray, make_plan
from cisterna.runs.recipes import parse_recipe
from cisterna.store import ObjectStore, StoreError, StoreUnavailable, open_store


def replan(store: ObjectStore, run_id: str) -> Plan:
    """The plan of a registered run, made again from its recipe, acquisition and used arrays."""
    document = record.read_run(store, run_id)
    if document is None:
        raise UsageError(f"no run {run_id} in {store.url}: `cisterna runs` lists them")
    text = store.get(f"runs/{run_id}/recipe.yaml").decode()
    recipe = parse_recipe(text, document["recipe"], f"runs/{run_id}/recipe.yaml")
    uses = {c: UsedArray(u["path"], u["identity"], u["source"]) for c, u in document["uses"].items()}
    plan = make_plan(store, recipe, read_acquisition(store, document["acquisition"]), uses)
    if plan.run_id != run_id:
        raise UsageError(
            f"run {run_id} was planned by another release (models or stage versions differ): submit the input again, "
            f"it becomes {plan.run_id}"
        )
    return plan


def drive(home: Home, store: ObjectStore, run_id: str, say: Callable[[str], None]) -> int:
    """Drives a run to its end and writes its report; returns the exit code."""
    plan = replan(store, run_id)
    driver = Driver(store, plan, home.addresses(), say)
    try:
        state = driver.run(
            after=lambda state: write_report(store, run_id) if state in ("SUCCEEDED", "DEGRADED") else None
        )
    except LeaseHeld as e:
        say(str(e))
        return 0
    except LeaseLost as e:
        say(str(e))
        return 1
    except RunStopped as e:
        say(f"run {run_id} FAILED: {e}")
        return 1
    say(f"run {run_id} {state}")
    return record.EXIT_CODES[state]


def write_report(store: ObjectStore, run_id: str) -> None:
    """report.html and neuroglancer.json of a run, from its results alone."""
    store.put(f"runs/{run_id}/report.html", build_report(store, run_id))
    store.put(f"runs/{run_id}/neuroglancer.json", build_viewer_state(store, run_id))


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m cisterna.cli.drive", description=__doc__)
    parser.add_argument("run_id")
    parser.add_argument("--store", help="store URL; default CISTERNA_STORE or this machine's")
    args = parser.parse_args(argv)
    logging.basicConfig(level="INFO", stream=sys.stderr, format="%(asctime)s driver %(levelname)s %(message)s")
    log = logging.getLogger("cisterna.drive")
    home = Home.find()
    try:
        with served(home, args.run_id):
            return drive(home, open_store(home.store_url(args.store)), args.run_id, lambda text: log.info("%s", text))
    except (StoreUnavailable, Unreachable) as e:
        log.error("%s; `cisterna retry %s` goes on from here", e, args.run_id)
        return 5
    except StoreError as e:
        log.error("%s", e)
        return 1
    except ValueError as e:
        log.error("%s", e)
        return 2


if __name__ == "__main__":
    raise SystemExit(main())
