"""Labels that a run is judged by: any array, on its own grid, brought onto the voxels of an acquisition."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cisterna.acquire.existing import open_labels, placed_grid, voxels_under
from cisterna.acquire.source import UnusableInput
from cisterna.chunks import Box


@dataclass(frozen=True)
class Truth:
    """Labels (0: background) on the raw voxels of ``box``, which the array covers; ``content`` is their digest."""

    labels: NDArray[np.int64]
    box: Box
    content: str
    notes: tuple[str, ...]


def read_truth(path: str | Path, manifest: Mapping[str, Any]) -> Truth:
    """Labels of an array as they lie on a volume: each raw voxel takes the label of the voxel that holds its centre.

    Reads what `ingest_existing` reads. Only the part that both cover is kept, so labels of a small box are no truth
    about the rest. Raises UnusableInput.
    """
    if manifest["kind"] != "volume":
        raise UnusableInput(f"{manifest['id']} is a movie: labels of a volume are no truth about it")
    raw = manifest["arrays"]["raw"]
    size = tuple(float(v) for v in raw["voxel_size_nm"])
    shape = tuple(int(n) for n in raw["shape"])
    planes, dtype, grid, read, told, _ = open_labels(Path(path), size)
    notes: list[str] = list(told)
    if dtype.kind not in "bui":
        raise UnusableInput(f"{path} holds {dtype}: truth is labels, in whole numbers")
    steps, corner = placed_grid(str(path), planes, grid, shape, size, notes)
    origin = tuple(float(v) for v in raw.get("origin_nm", (0.0, 0.0, 0.0)))
    lookup = voxels_under(str(path), planes, steps, corner, shape, size, origin, [])
    covered = [np.flatnonzero(index >= 0) for index in lookup]
    box = Box.from_bounds([int(c[0]) for c in covered], [int(c[-1]) + 1 for c in covered])
    z, y, x = (index[index >= 0] for index in lookup)
    labels = np.empty(box.shape, np.int64)
    for i, plane in enumerate(z):
        labels[i] = read(int(plane))[np.ix_(y, x)]
    if labels.min() < 0:
        raise UnusableInput(
            f"{path} holds negative labels ({labels.min()}): write 0 for background, 1, 2, … for objects"
        )
    content = hashlib.sha256(f"{box.offset}{box.shape}".encode() + labels.astype("<i8").tobytes()).hexdigest()
    return Truth(labels, box, content, tuple(notes))
