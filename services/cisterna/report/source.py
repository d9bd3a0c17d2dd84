"""A finished run as its outputs read it: images, and every table that it lists, whatever their names."""

import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pandas as pd
import pyarrow.parquet as pq

from cisterna.report.document import RunDocument, read_document, run_path
from cisterna.review.layer import review_tables
from cisterna.store import ObjectMissing, ObjectStore
from cisterna.store.pyramids import Pyramid, read_pyramid

Tell = Callable[[str, float], None]
"""Called with what is being written and the share of it that is done, 0…1."""


@dataclass(frozen=True)
class RunSource:
    """A run in its store. Nothing is read before it is asked for."""

    store: ObjectStore
    run: RunDocument

    @classmethod
    def open(cls, store: ObjectStore, run_id: str) -> "RunSource":
        """Raises ObjectMissing where there is no such run."""
        return cls(store, read_document(store.get(run_path(run_id, "run.json"))))

    @cached_property
    def pyramids(self) -> dict[str, Pyramid]:
        """The images that exist, by name."""
        found = ((name, read_pyramid(self.store, path)) for name, path in sorted(self.run.arrays.items()))
        return {name: pyramid for name, pyramid in found if pyramid is not None}

    @property
    def base(self) -> Pyramid:
        """The raw image. Raises ValueError where there is none."""
        if "raw" not in self.pyramids:
            raise ValueError(f"run {self.run.run_id} has no raw image: run `cisterna verify {self.run.run_id}`")
        return self.pyramids["raw"]

    @property
    def voxel_size(self) -> tuple[float, float, float]:
        """Of the raw image at full resolution: nm z,y,x; for movies s, µm, µm."""
        z, y, x = self.base.levels[0].scale
        return z, y, x

    @cached_property
    def table_paths(self) -> dict[str, str]:
        """Store paths of all tables by name: those run.json lists, and others in the run's own folder of tables."""
        found = dict(self.run.tables)
        folder = run_path(self.run.run_id, "tables")
        for path in self.store.list(folder):
            name, _, kind = path.removeprefix(f"{folder}/").rpartition(".")
            if kind == "parquet":
                found.setdefault(name, path)
        found |= {name: f"{name}.parquet" for name in self._reviewed}
        return dict(sorted(found.items()))

    @cached_property
    def _reviewed(self) -> dict[str, bytes]:
        """Tables of the review layer, made from its decisions; none where nobody reviewed."""
        if self.run.recipe != "fibsem":
            return {}
        try:
            made = review_tables(self.store, self.run.run_id)
        except ValueError:  # the layer speaks of other sites: the report says so
            return {}
        return {table.name: table.to_parquet_bytes(rows) for table, rows in made.items() if len(rows)}

    def table_bytes(self, name: str) -> bytes | None:
        """A table as it is stored; None where it was never written."""
        if name in self._reviewed:
            return self._reviewed[name]
        try:
            return self.store.get(self.table_paths[name])
        except (KeyError, ObjectMissing):
            return None

    def table(self, name: str) -> pd.DataFrame | None:
        """A table as it is stored, unchecked; None where it was never written."""
        data = self.table_bytes(name)
        return None if data is None else pq.read_table(io.BytesIO(data)).to_pandas()

    def rows(self, name: str) -> pd.DataFrame:
        """A table of this run. Raises ValueError where it was never written."""
        found = self.table(name)
        if found is None:
            raise ValueError(
                f"run {self.run.run_id} has no table {name}: `cisterna retry {self.run.run_id}` finishes it"
            )
        return found

    @cached_property
    def objects(self) -> pd.DataFrame:
        """Objects of all classes: those of the rules, and those that have tables of their own (CCV, Golgi)."""
        frames = [self.rows("objects")]
        for name in self.table_paths:
            kind = name.removeprefix("merged/")
            if name.startswith("merged/") and kind != "er" and kind not in set(frames[0]["class"]):
                other = self.table(name)
                if other is not None and len(other):
                    frames.append(other)
        return pd.concat([f for f in frames if len(f)] or frames[:1], ignore_index=True)

    def document(self, name: str) -> Any:
        """A JSON document of the run's tables (counts); None where it was never written."""
        data = self.table_bytes(name)
        return None if data is None else json.loads(data)
