"""A run's tables for comparison: out of a store, or out of a folder that `cisterna export` wrote."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from cisterna.compare.study import Row
from cisterna.report.document import RunDocument, read_document, run_path
from cisterna.store import ObjectMissing, ObjectStore

NEEDED = {"er-movie": ("frames",), "fibsem": ("objects", "sites")}
READ_TOO = {"er-movie": ("cells", "dynamics", "floor", "tips"), "fibsem": ("densities", "chance")}
"""Tables that are read where a run has them; nodes, edges and tracks stay where they are."""


@dataclass(frozen=True)
class RunTables:
    """One run of the study: its document, its acquisition's manifest and its tables, as they were written."""

    row: Row
    document: RunDocument
    manifest: Mapping[str, Any]
    tables: Mapping[str, pd.DataFrame]

    @property
    def degraded(self) -> Mapping[str, Any]:
        """What the manifest says of added noise; empty for a recording as it came."""
        return self.manifest.get("degraded") or {}

    @property
    def recording(self) -> str:
        """The acquisition this run stands on; that of the recording itself where noise was added."""
        return str(self.degraded.get("acquisition") or self.document.acquisition)


def read_runs(study_rows: tuple[Row, ...], store: ObjectStore | None) -> list[RunTables]:
    """All runs of a study. Raises ValueError naming every run that is missing, unfinished, or of another recipe."""
    found, faults = [], []
    for row in study_rows:
        try:
            found.append(read_run_tables(row, store))
        except ValueError as error:
            faults.append(str(error))
    if faults:
        more = f" (and {len(faults) - 3} more runs)" if len(faults) > 3 else ""
        raise ValueError("; ".join(faults[:3]) + more)
    first = found[0].document
    for run in found[1:]:
        if run.document.recipe != first.recipe:
            raise ValueError(
                f"run {first.run_id} is {first.recipe}, {run.document.run_id} is {run.document.recipe}: "
                "a study compares runs of one recipe"
            )
    heard: dict[str, RunTables] = {}
    for run in found:
        other = heard.setdefault(run.recording, run)
        if other is not run:
            raise ValueError(
                f"runs {other.document.run_id} and {run.document.run_id} stand on the same recording "
                f"{run.recording}: one recording counts once, keep one of them"
            )
    return found


def read_run_tables(row: Row, store: ObjectStore | None) -> RunTables:
    """One run. Raises ValueError saying what it lacks and what to do."""
    folder = Path(row.run)
    if folder.is_dir():
        return _read(row, *_exported(folder))
    if "/" in row.run or store is None:
        raise ValueError(f"run {row.run} is no folder: give a run's id, or a folder that `cisterna export` wrote")
    return _read(row, *_stored(store, row.run))


Get = Callable[[str], bytes | None]


def _exported(folder: Path) -> tuple[RunDocument, Mapping[str, Any], Get]:
    document = folder / "run.json"
    if not document.is_file():
        raise ValueError(f"{folder} holds no run.json: give a folder that `cisterna export` wrote")
    manifest = folder / "acquisition.json"

    def get(name: str) -> bytes | None:
        place = folder / "tables" / f"{name}.parquet"
        return place.read_bytes() if place.is_file() else None

    return read_document(document.read_bytes()), json.loads(manifest.read_text()) if manifest.is_file() else {}, get


def _stored(store: ObjectStore, run_id: str) -> tuple[RunDocument, Mapping[str, Any], Get]:
    try:
        document = read_document(store.get(run_path(run_id, "run.json")))
    except ObjectMissing:
        raise ValueError(
            f"run {run_id} is not in {store.url}: `cisterna runs` lists them, --store names another store"
        ) from None
    try:
        manifest: Mapping[str, Any] = store.get_json(f"acquisitions/{document.acquisition}/manifest.json")
    except ObjectMissing:
        manifest = {}

    def get(name: str) -> bytes | None:
        path = document.tables.get(name, "")
        if not path.endswith(".parquet"):
            return None
        try:
            return store.get(path)
        except ObjectMissing:
            return None

    return document, manifest, get


def _read(row: Row, document: RunDocument, manifest: Mapping[str, Any], get: Get) -> RunTables:
    if document.recipe not in NEEDED:
        raise ValueError(f"run {document.run_id} has recipe {document.recipe}: compare knows {', '.join(NEEDED)}")
    tables: dict[str, pd.DataFrame] = {}
    # Older and newer runs differ in columns: what is there is read, no schema is demanded.
    for name in (*NEEDED[document.recipe], *READ_TOO[document.recipe]):
        data = get(name)
        if data is None:
            continue
        try:
            arrow = pq.read_table(io.BytesIO(data))
        except pa.ArrowException as error:
            raise ValueError(
                f"table {name} of run {document.run_id} does not decode ({error}): `cisterna verify {document.run_id}`"
            ) from error
        tables[name] = arrow.to_pandas()
    missing = [t for t in NEEDED[document.recipe] if t not in tables]
    if missing and "stack_frames" in document.tables:
        raise ValueError(
            f"run {document.run_id} traced z sections in 3-D: a study compares flat movies, take it out or run its "
            "file with z_mode max_projection"
        )
    if missing:
        raise ValueError(
            f"run {document.run_id} ({document.state}) has no table {', '.join(missing)}: "
            f"`cisterna retry {document.run_id}` finishes it, or take it out of the study"
        )
    return RunTables(row, document, manifest, tables)
