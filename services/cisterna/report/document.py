"""The run document `runs/<run_id>/run.json`, as the report reads it."""

import json
from dataclasses import dataclass, field
from typing import Any

TERMINAL_STATES = ("SUCCEEDED", "DEGRADED", "FAILED", "CANCELLED")
RECIPES = ("fibsem", "er-movie")


@dataclass(frozen=True)
class RunDocument:
    """What one run used, made and suffered. Paths are store paths; times are seconds."""

    run_id: str
    recipe: str
    state: str
    acquisition: str = ""
    created: str = ""
    finished: str = ""
    cisterna_version: str = ""
    stages: dict[str, dict[str, Any]] = field(default_factory=dict)
    arrays: dict[str, str] = field(default_factory=dict)
    tables: dict[str, str] = field(default_factory=dict)
    models: dict[str, dict[str, Any]] = field(default_factory=dict)
    quarantined: list[dict[str, Any]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    parameters: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    timings: dict[str, dict[str, float]] = field(default_factory=dict)
    uses: dict[str, dict[str, Any]] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)
    error: str = ""

    @property
    def demo_models(self) -> list[str]:
        """Names of the models that were trained on phantoms for demonstration."""
        return sorted(name for name, model in self.models.items() if model.get("demo"))


def run_path(run_id: str, *parts: str) -> str:
    """Store path below the folder of a run."""
    return "/".join(("runs", run_id, *parts))


def read_document(data: bytes) -> RunDocument:
    """Parse run.json. Entries this version does not know are left alone; null means absent."""
    try:
        raw = json.loads(data)
    except ValueError as error:
        raise ValueError(f"run.json is not JSON ({error}); delete it and run `cisterna retry`") from error
    if not isinstance(raw, dict):
        raise ValueError(f"run.json holds a {type(raw).__name__}, not an object; delete it and run `cisterna retry`")
    missing = [name for name in ("run_id", "recipe", "state") if not raw.get(name)]
    if missing:
        raise ValueError(f"run.json has no {', '.join(missing)}; delete it and run `cisterna retry`")
    known = {name: raw[name] for name in RunDocument.__dataclass_fields__ if raw.get(name) is not None}
    return RunDocument(**known)


def flat_parameters(parameters: dict[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Nested parameters as (dotted name, value) rows, in order."""
    rows: list[tuple[str, str]] = []
    for name, value in parameters.items():
        label = f"{prefix}.{name}" if prefix else str(name)
        if isinstance(value, dict) and value:
            rows += flat_parameters(value, label)
        elif isinstance(value, str):
            rows.append((label, value))
        else:
            rows.append((label, json.dumps(value, ensure_ascii=False)))
    return rows
