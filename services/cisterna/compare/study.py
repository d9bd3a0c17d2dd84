"""The study: which run belongs to which condition, experiment and cell."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pyarrow as pa

NEEDED = ("run", "condition", "experiment")
OPTIONAL = ("cell", "batch")
ALIASES = {"path": "run"}
NOTES = "note"
SUFFIXES = {".csv": ",", ".tsv": "\t", ".txt": "\t"}


@dataclass(frozen=True)
class Row:
    """One run of the study. `run` is a run's id, or the path of a folder that `cisterna export` wrote.

    `cell` is unique within (condition, experiment); several runs may share one cell.
    """

    run: str
    condition: str
    experiment: str
    cell: str
    batch: str = ""


@dataclass(frozen=True)
class Study:
    """Rows in the order of the table; conditions in the order in which they first occur."""

    name: str
    rows: tuple[Row, ...]

    @property
    def conditions(self) -> list[str]:
        return list(dict.fromkeys(r.condition for r in self.rows))

    def experiments(self, condition: str) -> list[str]:
        return list(dict.fromkeys(r.experiment for r in self.rows if r.condition == condition))

    @property
    def paired(self) -> bool:
        """Whether every experiment holds every condition: then conditions are compared within experiments."""
        whole = set(self.conditions)
        held: dict[str, set[str]] = {}
        for r in self.rows:
            held.setdefault(r.experiment, set()).add(r.condition)
        return all(conditions == whole for conditions in held.values())

    def with_reference(self, condition: str) -> Study:
        """The study with this condition first: differences are told against it."""
        if condition not in self.conditions:
            raise ValueError(f"reference {condition!r} is no condition of {self.name}: {', '.join(self.conditions)}")
        return Study(self.name, tuple(sorted(self.rows, key=lambda r: r.condition != condition)))


def read_study(path: str | Path) -> Study:
    """A study from CSV, TSV or Parquet; folders in `run` are relative to the table's own folder.

    Raises ValueError naming what is wrong and where: a column that is missing or unknown, an empty cell of the table,
    a run that occurs twice, less than two conditions.
    """
    place = Path(path)
    if not place.is_file():
        raise ValueError(f"study {place} does not exist: give a CSV, TSV or Parquet table")
    return study_of(_table(place), place.stem, place.parent)


def study_of(table: pd.DataFrame, name: str, folder: Path | None = None) -> Study:
    """A study from a frame with the columns of `read_study`."""
    table = table.rename(columns={c: ALIASES.get(str(c).strip(), str(c).strip()) for c in table.columns})
    _check_columns(table, name)
    table = table[[c for c in table.columns if not c.startswith(NOTES)]].dropna(how="all")
    rows = []
    for number, record in enumerate(table.to_dict("records"), start=1):
        text = {k: _text(v) for k, v in record.items()}
        for column in NEEDED:
            if not text[column]:
                raise ValueError(f"{name}, row {number}: {column} is empty; fill it in or remove the row")
        run = text["run"]
        if folder is not None and not Path(run).is_absolute() and (folder / run).is_dir():
            run = str(folder / run)
        rows.append(Row(run, text["condition"], text["experiment"], text.get("cell") or run, text.get("batch", "")))
    return _checked(Study(name, tuple(rows)))


def _table(place: Path) -> pd.DataFrame:
    suffix = place.suffix.lower()
    try:
        if suffix == ".parquet":
            return pd.read_parquet(place)
        if suffix not in SUFFIXES:
            raise ValueError(f"study {place} ends in {suffix!r}: give .csv, .tsv or .parquet")
        return pd.read_csv(place, sep=SUFFIXES[suffix], dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError, OSError, pa.ArrowException) as error:
        raise ValueError(f"study {place} cannot be read ({error}): save it as UTF-8 CSV with a header line") from error


def _check_columns(table: pd.DataFrame, name: str) -> None:
    known = (*NEEDED, *OPTIONAL)
    twice = sorted({c for c in table.columns if list(table.columns).count(c) > 1})
    if twice:
        raise ValueError(f"{name} has column {twice[0]} twice (path is another name of run): keep one")
    for column in table.columns:
        if column not in known and not column.startswith(NOTES):
            near = difflib.get_close_matches(column, known, 1)
            hint = f"did you mean {near[0]}? " if near else ""
            raise ValueError(
                f"{name} has the unknown column {column!r}: {hint}columns are {', '.join(known)}; "
                f"those that begin with {NOTES} are left alone"
            )
    missing = [c for c in NEEDED if c not in table.columns]
    if missing:
        raise ValueError(f"{name} has no column {', '.join(missing)}: it needs {', '.join(NEEDED)}")


def _text(value: object) -> str:
    if value is None or value != value:
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).strip()


def _checked(study: Study) -> Study:
    seen: dict[str, int] = {}
    for number, row in enumerate(study.rows, start=1):
        if row.run in seen:
            raise ValueError(
                f"{study.name}: run {row.run} stands in row {seen[row.run]} and again in row {number}; "
                "one recording counts once: remove one row"
            )
        seen[row.run] = number
    if len(study.conditions) < 2:
        found = ", ".join(study.conditions) or "none"
        raise ValueError(f"{study.name} holds {len(study.conditions)} condition ({found}): a comparison needs two")
    return study
