"""Tables as files: Parquet as stored, and CSV for everything else."""

import io
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from cisterna.report.source import RunSource


def file_stem(name: str) -> str:
    """A table's name as a file name: `merged/ccv` becomes `merged_ccv`."""
    return name.replace("/", "_")


def write_table(source: RunSource, name: str, folder: Path) -> list[Path] | None:
    """One table of the run, as Parquet and CSV (or JSON, as it is); None where the run never wrote it."""
    data = source.table_bytes(name)
    if data is None:
        return None
    folder.mkdir(parents=True, exist_ok=True)
    if not source.table_paths[name].endswith(".parquet"):
        target = folder / f"{file_stem(name)}.{source.table_paths[name].rpartition('.')[2]}"
        target.write_bytes(data)
        return [target]
    target = folder / f"{file_stem(name)}.parquet"
    target.write_bytes(data)
    csv = folder / f"{file_stem(name)}.csv"
    csv.write_text(to_csv(pq.read_table(io.BytesIO(data)).to_pandas()), encoding="utf-8")
    return [target, csv]


def to_csv(frame: pd.DataFrame) -> str:
    """The table as CSV; lists (edge paths) become one cell of numbers separated by spaces."""
    plain = frame.copy()
    for name in plain.columns:
        if plain[name].dtype == object and plain[name].map(lambda cell: isinstance(cell, np.ndarray | list)).any():
            plain[name] = [" ".join(f"{v:.6g}" for v in cell) if cell is not None else "" for cell in plain[name]]
    return str(plain.to_csv(index=False))


def columns_csv(source: RunSource, names: list[str]) -> str:
    """Every column of these tables with its unit and meaning, as the Parquet files themselves say."""
    rows = []
    for name in names:
        for field in pq.read_schema(io.BytesIO(source.table_bytes(name) or b"")):
            about = field.metadata or {}
            unit, text = (about.get(key, b"").decode() for key in (b"unit", b"text"))
            rows.append((file_stem(name), field.name, str(field.type), unit, text))
    return str(pd.DataFrame(rows, columns=["table", "column", "type", "unit", "meaning"]).to_csv(index=False))
