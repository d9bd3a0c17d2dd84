"""Task files of the ASEM reference program: which box of which array, in JSON.

    {"cell_6_er": {"file": "cell_6/cell_6.zarr", "offset": [400, 926, 2512], "shape": [241, 476, 528],
                   "voxel_size": [5, 5, 5], "raw": "volumes/raw_equalized_0.02", "labels": {"volumes/labels/er": 1}}}

`offset` and `shape` are voxels (z, y, x) on a grid through the origin of the file's own frame, in which the array's
attribute `offset` (nm) says where the array begins.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cisterna.acquire.chunked import open_chunked
from cisterna.acquire.readers import agreed_voxel_size
from cisterna.acquire.source import UnusableInput
from cisterna.chunks import Box

KNOWN = ("file", "offset", "shape", "voxel_size", "raw", "labels", "mask", "metric_masks")


@dataclass(frozen=True)
class Task:
    """One entry: the array, the box of it (None: all), nm per voxel, and whether it was equalised before.

    ``labels`` maps label arrays to class numbers; ``masks`` are arrays that say where labels hold, the one of the
    loss first where there is one (``mask``), then those of the metrics. They lie in ``container``; ``box_of`` places
    the task's box in any of them.
    """

    name: str
    array: Path
    region: Box | None
    voxel_size_nm: tuple[float, float, float]
    equalised: bool
    labels: Mapping[str, int]
    masks: tuple[str, ...]
    container: Path
    mask: str | None
    entry: Mapping[str, Any]

    @property
    def metric_masks(self) -> tuple[str, ...]:
        """Arrays that say where results are judged."""
        return self.masks if self.mask is None else self.masks[1:]

    def box_of(self, array: str) -> tuple[Path, Box | None]:
        """An array of the container, and the task's box in its voxels (None: all). Raises UnusableInput."""
        path = self.container / array.strip("/")
        if not path.is_dir():
            raise UnusableInput(f"task {self.name} names {path}, which does not exist: correct the task file")
        return path, _region(self.entry, path, self.voxel_size_nm, f"task {self.name}")


def read_task(path: str | Path, folder: str | Path | None = None, name: str | None = None) -> Task:
    """An entry of a task file; its array is looked for under ``folder``, else beside the task file.

    ``name`` is needed where the file holds several entries. Raises UnusableInput.
    """
    place = Path(path)
    entries = task_entries(place)
    if name is None and len(entries) > 1:
        raise UnusableInput(f"{place} holds {len(entries)} tasks: choose one with --task-name ({_some(entries)})")
    chosen = next(iter(entries)) if name is None else name
    if chosen not in entries:
        raise UnusableInput(f"{place} holds no task {chosen!r}: it has {_some(entries)}")
    entry = entries[chosen]
    where = f"task {chosen} of {place}"
    missing = [k for k in ("file", "raw", "voxel_size") if k not in entry]
    if missing:
        raise UnusableInput(f"{where} lacks {', '.join(missing)}")
    container = Path(str(entry["file"])).expanduser()
    container = container if container.is_absolute() else (Path(folder) if folder else place.parent) / container
    array = container / str(entry["raw"]).strip("/")
    if not array.is_dir():
        raise UnusableInput(f"{where} names {array}, which does not exist: give the folder its files lie in as INPUT")
    size = _three(entry["voxel_size"], f"{where}: voxel_size")
    labels = entry.get("labels", {})
    masks = [entry["mask"]] if "mask" in entry else []
    return Task(
        chosen, array, _region(entry, array, size, where), size, "equalized" in array.name or "equalised" in array.name,
        {str(k): int(v) for k, v in labels.items()}, (*masks, *entry.get("metric_masks", ())),
        container, entry.get("mask"), entry,
    )  # fmt: skip


def task_entries(path: Path) -> dict[str, Mapping[str, Any]]:
    """The entries of a task file by name; raises UnusableInput where it is none."""
    try:
        content = json.loads(path.read_text())
    except FileNotFoundError:
        raise UnusableInput(f"task file {path} does not exist: check the path") from None
    except (ValueError, OSError) as e:
        raise UnusableInput(f"task file {path} is not JSON: {str(e).splitlines()[0]}") from e
    if not isinstance(content, dict) or not content or not all(isinstance(e, dict) for e in content.values()):
        raise UnusableInput(f"{path} is no task file: it must map names to entries with file, raw and voxel_size")
    for name, entry in content.items():
        unknown = [k for k in entry if k not in KNOWN]
        if unknown:
            raise UnusableInput(f"task {name} of {path} has unknown entries: {', '.join(unknown)}")
    return content


def training_grid(path: str | Path) -> tuple[tuple[float, float, float], list[str]]:
    """Voxel size (z, y, x; nm) and the names of the labels that all tasks of a file share.

    Raises UnusableInput, also where the tasks differ in voxel size.
    """
    place = Path(path)
    entries = task_entries(place)
    sizes = {_three(e.get("voxel_size"), f"task {n} of {place}: voxel_size") for n, e in entries.items()}
    if len(sizes) > 1:
        raise UnusableInput(f"the tasks of {place} have different voxel sizes: {', '.join(map(str, sorted(sizes)))} nm")
    labels = [{str(k).strip("/").rsplit("/", 1)[-1] for k in e.get("labels", {})} for e in entries.values()]
    return sizes.pop(), sorted(set.intersection(*labels))


def _region(entry: Mapping[str, Any], array: Path, size: tuple[float, float, float], where: str) -> Box | None:
    opened = open_chunked(array)
    agreed_voxel_size(f"{where}: {array}", opened.grid, size)
    if "offset" not in entry and "shape" not in entry:
        return None
    if "offset" not in entry or "shape" not in entry:
        raise UnusableInput(f"{where} needs both offset and shape, or neither for the whole array")
    wanted = Box(_whole(entry["offset"], f"{where}: offset"), _whole(entry["shape"], f"{where}: shape"))
    begins = tuple(o / s for o, s in zip(opened.grid.origin_nm, size, strict=True))
    steps = tuple(round(b) for b in begins)
    if any(not math.isclose(b, n, abs_tol=0.01) for b, n in zip(begins, steps, strict=True)):
        raise UnusableInput(
            f"{array} begins at {opened.grid.origin_nm} nm, which is no multiple of the voxel size {size} nm: correct "
            "its attribute offset"
        )
    box = wanted.relative_to(steps)
    if wanted.empty or not Box.whole(opened.shape).contains(box):
        raise UnusableInput(
            f"{where} wants {wanted.shape} voxels from {wanted.offset} on; {array} holds {opened.shape} from {steps} on"
        )
    return box


def _whole(values: Any, what: str) -> tuple[int, ...]:
    if not isinstance(values, list) or len(values) != 3 or not all(isinstance(v, int) for v in values):
        raise UnusableInput(f"{what} is {values!r}: write three whole numbers (z, y, x; voxels)")
    if min(values) < 0 and "shape" in what:
        raise UnusableInput(f"{what} is {values!r}: a shape cannot be negative")
    return tuple(values)


def _three(values: Any, what: str) -> tuple[float, float, float]:
    if not isinstance(values, list) or len(values) != 3 or not all(isinstance(v, int | float) for v in values):
        raise UnusableInput(f"{what} is {values!r}: write three numbers (z, y, x; nm)")
    z, y, x = (float(v) for v in values)
    return (z, y, x)


def _some(entries: Mapping[str, Any]) -> str:
    names = list(entries)
    return ", ".join(names[:5]) + (" …" if len(names) > 5 else "")
