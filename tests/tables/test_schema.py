"""Tables: checked, sorted, and the same bytes for the same rows."""

from __future__ import annotations

import numpy as np
import pytest
from cisterna.tables import Column, Table

TABLE = Table(
    "things",
    (
        Column("thing_id", "int64", "", "key"),
        Column("length_um", "float64", "µm", "length"),
        Column("kind", "string", "", "kind"),
        Column("path_um", "list<float32>", "µm", "path"),
    ),
    ("thing_id",),
)
ROWS = [
    {"thing_id": 3, "length_um": np.nan, "kind": "a", "path_um": [1.0, 2.0]},
    {"thing_id": 1, "length_um": 2.5, "kind": "b", "path_um": []},
]


def test_rows_come_back_sorted_and_typed() -> None:
    frame = TABLE.from_parquet_bytes(TABLE.to_parquet_bytes(TABLE.frame(ROWS)))
    assert list(frame["thing_id"]) == [1, 3]
    assert np.isnan(frame["length_um"][1])
    assert list(frame["path_um"][1]) == [1.0, 2.0]


def test_order_of_rows_does_not_change_the_bytes() -> None:
    assert TABLE.to_parquet_bytes(TABLE.frame(ROWS)) == TABLE.to_parquet_bytes(TABLE.frame(ROWS[::-1]))


def test_no_rows_are_a_table_with_columns() -> None:
    frame = TABLE.from_parquet_bytes(TABLE.to_parquet_bytes(TABLE.frame()))
    assert list(frame.columns) == TABLE.names
    assert len(frame) == 0


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([{**ROWS[0], "colour": 1}], "unknown columns"),
        ([{"thing_id": 1}], "missing columns"),
        ([ROWS[0], ROWS[0]], "occurs twice"),
    ],
)
def test_wrong_rows_are_refused_by_name(rows: list[dict[str, object]], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        TABLE.frame(rows)
