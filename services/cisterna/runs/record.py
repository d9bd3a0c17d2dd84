"""The run as documents in the store: run.json, events, quarantine, cancel."""

from __future__ import annotations

import time
from collections.abc import Mapping
from importlib import metadata
from typing import Any

import cisterna
from cisterna.runs.plan import Plan
from cisterna.runs.recipes import as_mapping, to_yaml
from cisterna.store import ObjectMissing, ObjectStore
from cisterna.store.objects import json_bytes

FINAL = ("SUCCEEDED", "DEGRADED", "FAILED", "CANCELLED")
EXIT_CODES = {"SUCCEEDED": 0, "FAILED": 1, "DEGRADED": 3, "CANCELLED": 4}

_VERSIONED = (
    "cisterna",
    "numpy",
    "torch",
    "zarr",
    "obstore",
    "grpcio",
    "scipy",
    "scikit-image",
    "networkx",
    "tritonclient",
)


def run_folder(run_id: str) -> str:
    return f"runs/{run_id}"


def read_run(store: ObjectStore, run_id: str) -> dict[str, Any] | None:
    """run.json, or None where there is no such run."""
    try:
        document: dict[str, Any] = store.get_json(f"{run_folder(run_id)}/run.json")
    except ObjectMissing:
        return None
    return document


def list_runs(store: ObjectStore) -> list[dict[str, Any]]:
    """run.json of all runs, newest first."""
    found = [read_run(store, name) for name in store.folders("runs")]
    return sorted((r for r in found if r), key=lambda r: str(r["created"]), reverse=True)


def register_run(store: ObjectStore, plan: Plan) -> bool:
    """Writes recipe.yaml and, last, run.json, create-if-absent. True where this call registered the run."""
    folder = run_folder(plan.run_id)
    store.put_new(f"{folder}/recipe.yaml", to_yaml(plan.recipe).encode())
    return store.put_new(f"{folder}/run.json", json_bytes(run_document(plan, "QUEUED", time.time())))


def run_document(plan: Plan, state: str, created: float, **more: Any) -> dict[str, Any]:
    """run.json: what the run uses, with which parameters, models and versions."""
    return {
        "run_id": plan.run_id,
        "recipe": plan.recipe.recipe,
        "state": state,
        "acquisition": plan.acquisition.id,
        "created": utc(created),
        "finished": None,
        "cisterna_version": cisterna.__version__,
        "stages": {
            s.name: {
                "stage_key": s.key,
                "blocks": s.blocks,
                "done": 0,
                "path": s.folder,
                "model": s.model,
                "service": s.service,
                "params": dict(s.document),
            }
            for s in plan.stages
        },
        "arrays": dict(plan.arrays),
        "tables": dict(plan.tables),
        "models": {n: dict(m) for n, m in plan.models.items()},
        "uses": {c: {"path": u.path, "identity": u.identity, "source": u.source} for c, u in plan.uses.items()},
        "quarantined": [],
        "skipped": [],
        "warnings": list(plan.warnings),
        "notes": list(plan.acquisition.notes),
        "parameters": as_mapping(plan.recipe),
        "versions": _versions(),
        "timings": {},
        **more,
    }


def request_cancel(store: ObjectStore, run_id: str) -> None:
    store.put_new(f"{run_folder(run_id)}/cancel.json", json_bytes({"time": utc(time.time())}))


def cancel_requested(store: ObjectStore, run_id: str) -> bool:
    return store.exists(f"{run_folder(run_id)}/cancel.json")


def quarantine_path(run_id: str, stage: str, block: int) -> str:
    return f"{run_folder(run_id)}/quarantine/{stage}-{block:08d}.json"


def read_quarantine(store: ObjectStore, run_id: str) -> list[dict[str, Any]]:
    return [store.get_json(p) for p in store.list(f"{run_folder(run_id)}/quarantine")]


def clear_for_retry(store: ObjectStore, run_id: str) -> None:
    """Forgets cancel and quarantine, so that a new driver tries everything that has no receipt."""
    for path in store.list(f"{run_folder(run_id)}/quarantine"):
        store.delete(path)
    store.delete(f"{run_folder(run_id)}/cancel.json")


class EventLog:
    """Events as small objects, in order of lease and number; the CLI and the portal tail them."""

    def __init__(self, store: ObjectStore, run_id: str, lease: int) -> None:
        self._store, self._run_id, self._lease = store, run_id, lease
        self._batch: list[dict[str, Any]] = []
        self._number = 0

    def add(self, kind: str, text: str, **more: Any) -> None:
        self._batch.append({"time": utc(time.time()), "kind": kind, "text": text, **more})

    def flush(self) -> None:
        if self._batch:
            path = f"{run_folder(self._run_id)}/events/{self._lease:06d}-{self._number:06d}.json"
            self._store.put(path, json_bytes(self._batch))
            self._number += 1
            self._batch = []


def read_events(store: ObjectStore, run_id: str, after: str = "") -> tuple[list[dict[str, Any]], str]:
    """Events after a place in the log, and the place reached."""
    paths = [p for p in store.list(f"{run_folder(run_id)}/events") if p > after]
    events = [e for p in paths for e in store.get_json(p)]
    return events, paths[-1] if paths else after


def _versions() -> Mapping[str, str]:
    found = {}
    for name in _VERSIONED:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def utc(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
