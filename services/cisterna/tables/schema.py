"""Tables as contracts: named, typed, with units, sorted, and the same bytes for the same rows."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

_ARROW = {
    "int64": pa.int64(),
    "int32": pa.int32(),
    "uint32": pa.uint32(),
    "float64": pa.float64(),
    "float32": pa.float32(),
    "bool": pa.bool_(),
    "string": pa.string(),
    "list<float32>": pa.list_(pa.float32()),
    "list<int64>": pa.list_(pa.int64()),
}


@dataclass(frozen=True)
class Column:
    """One column: its name (with the unit in it), type, unit and meaning."""

    name: str
    dtype: str
    unit: str
    text: str

    def __post_init__(self) -> None:
        if self.dtype not in _ARROW:
            raise ValueError(f"column {self.name}: type {self.dtype} is none of {', '.join(_ARROW)}")


@dataclass(frozen=True)
class Table:
    """A table's columns and the key that its rows are sorted by.

    The key identifies a row: two rows with one key are an error.
    """

    name: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]

    @property
    def names(self) -> list[str]:
        return [c.name for c in self.columns]

    @property
    def arrow(self) -> pa.Schema:
        fields = [
            pa.field(c.name, _ARROW[c.dtype], metadata={b"unit": c.unit.encode(), b"text": c.text.encode()})
            for c in self.columns
        ]
        return pa.schema(fields, metadata={b"cisterna_table": self.name.encode()})

    def frame(self, rows: pd.DataFrame | Mapping[str, Any] | Sequence[Mapping[str, Any]] = ()) -> pd.DataFrame:
        """Rows as a checked, typed and sorted frame; no rows give an empty frame with all columns.

        Raises ValueError naming missing or unknown columns, or a key that occurs twice.
        """
        columns = _columns(rows, self.names)
        missing = [n for n in self.names if n not in columns]
        unknown = [str(n) for n in columns if n not in self.names]
        if missing or unknown:
            raise ValueError(f"table {self.name}: missing columns {missing}, unknown columns {unknown}")
        typed: dict[str, Any] = {}
        for c in self.columns:
            values = columns[c.name]
            if c.dtype.startswith("list"):
                item = np.dtype(c.dtype[5:-1])
                lists = (np.asarray(v, item) for v in values)
                typed[c.name] = pd.Series(np.fromiter(lists, object, len(values)), dtype=object)
            elif c.dtype == "string":
                typed[c.name] = pd.Series(list(values), dtype=object)
            else:
                # An array, not a Series: aligning a hundred of those costs more than the rows of a frame.
                typed[c.name] = np.asarray(values).astype(c.dtype)
        out = pd.DataFrame(typed, columns=self.names)
        if len(out) < 2:
            return out
        out = out.sort_values(list(self.key), kind="stable", ignore_index=True)
        if out.duplicated(list(self.key)).any():
            twice = out.loc[out.duplicated(list(self.key)), list(self.key)].iloc[0].to_dict()
            raise ValueError(f"table {self.name}: the key {twice} occurs twice")
        return out

    def to_parquet_bytes(self, df: pd.DataFrame, note: str = "") -> bytes:
        """The frame as Parquet: one row group, zstd, no time stamps, so that equal rows give equal bytes.

        `note` is said of the whole table, in its metadata as `cisterna_note`.
        """
        df = self.frame(df)
        columns = [
            pa.array(df[c.name].tolist() if df[c.name].dtype == object else df[c.name].to_numpy(), type=_ARROW[c.dtype])
            for c in self.columns
        ]
        schema = self.arrow
        if note:
            schema = schema.with_metadata({**(schema.metadata or {}), b"cisterna_note": note.encode()})
        table = pa.Table.from_arrays(columns, schema=schema)
        out = io.BytesIO()
        pq.write_table(table, out, compression="zstd", row_group_size=max(1, table.num_rows), store_schema=True)
        return out.getvalue()

    def from_parquet_bytes(self, data: bytes) -> pd.DataFrame:
        """Reads and checks what `to_parquet_bytes` wrote."""
        return self.frame(pq.read_table(io.BytesIO(data)).to_pandas())


def _columns(rows: pd.DataFrame | Mapping[str, Any] | Sequence[Mapping[str, Any]], names: Sequence[str]) -> Any:
    """The rows by column. A few rows of a hundred columns cost more as a data frame than everything else about them."""
    if isinstance(rows, pd.DataFrame):
        return rows
    if isinstance(rows, Mapping) or not len(rows):
        return pd.DataFrame(rows if len(rows) else {n: [] for n in names})
    if all(row.keys() == rows[0].keys() for row in rows):
        return {n: [row[n] for row in rows] for n in rows[0]}
    return pd.DataFrame(rows)
