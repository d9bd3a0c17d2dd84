"""Which volumes to learn from: JSON lists of files, and task files of the ASEM reference program."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cisterna.segment.training_volumes import LabelledVolume, normalise
from cisterna.segment.volume_files import file_volume, image_range, open_volume

PER_CLASS = ("labels", "bodies", "masks")
ENTRY = {
    *PER_CLASS, "image", "reach_voxels", "box", "mask", "metric_mask", "invert", "equalised", "held_out",
}  # fmt: skip


@dataclass(frozen=True)
class TrainingVolumes:
    """What to learn from and what to judge on, their grid, and whether their images are CLAHE-equalised."""

    classes: tuple[str, ...]
    train: list[LabelledVolume]
    held_out: list[LabelledVolume]
    voxel_size_nm: tuple[float, float, float]
    equalised: bool


def read_training_volumes(
    data: Sequence[Path],
    validation: Sequence[Path] = (),
    *,
    classes: Sequence[str] | None = None,
    default_classes: Sequence[str] = (),
    voxel_size_nm: Sequence[float] | None = None,
    folder: Path | None = None,
) -> TrainingVolumes:
    """The volumes of lists and task files.

    Args:
        data: JSON files, each a list of volumes or a task file.
        validation: the same; everything in them is held out.
        classes: to learn; None: those that task files label, or ``default_classes`` where there are lists.
        default_classes: of lists.
        voxel_size_nm: z, y, x; task files say it themselves, and must agree with what is given.
        folder: where the files of lists and the containers of task files lie; None: beside the JSON file.

    Raises:
        ValueError: files that do not read, disagree about voxel size or equalisation, or label none of the classes.
    """
    contents = {path: _content(path) for path in (*data, *validation)}
    tasks = [path for path, content in contents.items() if isinstance(content, dict)]
    size = _agreed_size(tasks, voxel_size_nm)
    if classes is None:
        classes = sorted({n for path in tasks for n in _labelled(contents[path])}) if tasks else default_classes
    if not classes:
        raise ValueError(f"{', '.join(p.name for p in tasks)} name no labels: there is nothing to learn")
    train: list[LabelledVolume] = []
    held_out: list[LabelledVolume] = []
    equalised: set[bool] = set()
    for number, path in enumerate((*data, *validation)):
        judged_only = number >= len(data)
        if path in tasks:
            found = [(*task_volume(path, name, classes, folder), False) for name in contents[path]]
        else:
            found = [listed_volume(path, n, entry, classes, folder) for n, entry in enumerate(contents[path])]
        for volume, flat, out in found:
            (held_out if judged_only or out else train).append(volume)
            equalised.add(flat)
    if len(equalised) > 1:
        raise ValueError("some of the volumes are CLAHE-equalised and others are not: a model is for one of the two")
    return TrainingVolumes(tuple(classes), train, held_out, size, equalised.pop())


def _content(path: Path) -> Any:
    """A list of entries, or the entries of a task file by name."""
    from cisterna.acquire.task_file import task_entries

    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} is not a readable JSON list of volumes or task file: {error}") from None
    if isinstance(content, dict) and content:
        return task_entries(path)
    if not isinstance(content, list) or not content or not all(isinstance(e, dict) for e in content):
        raise ValueError(
            f'{path} must hold a list like [{{"image": "raw.tif", "labels": {{"er": "er.tif"}}}}], or be a task file'
        )
    return content


def _agreed_size(tasks: Sequence[Path], given: Sequence[float] | None) -> tuple[float, float, float]:
    from cisterna.acquire.readers import agreed_voxel_size
    from cisterna.acquire.source import Grid
    from cisterna.acquire.task_file import training_grid

    size = None if given is None else (float(given[0]), float(given[1]), float(given[2]))
    for path in tasks:
        stated, _ = training_grid(path)
        size = agreed_voxel_size(f"task file {path}", Grid(*stated), size)
    if size is None:
        raise ValueError("--data needs --voxel-size-nm Z Y X: the model is for volumes of that voxel size")
    return size


def _labelled(entries: Mapping[str, Mapping[str, Any]]) -> set[str]:
    return {_class_of(array) for entry in entries.values() for array in entry.get("labels", {})}


def _class_of(array: str) -> str:
    """`volumes/labels/er` labels the class er."""
    return array.strip("/").rsplit("/", 1)[-1]


def listed_volume(
    path: Path, number: int, entry: Mapping[str, Any], classes: Sequence[str], folder: Path | None = None
) -> tuple[LabelledVolume, bool, bool]:
    """An entry of a list: the volume, whether it is equalised, whether it is held out."""
    where = f"entry {number} of {path}"
    unknown = sorted(set(entry) - ENTRY)
    for key in PER_CLASS:
        if not isinstance(entry.get(key, {}), dict):
            raise ValueError(f'{where}: "{key}" maps classes to files, as in {{"{classes[0]}": "FILE"}}')
    labels, bodies, masks = (entry.get(key, {}) for key in PER_CLASS)
    missing = [c for c in classes if c not in labels and c not in bodies]
    if "image" not in entry or missing or unknown:
        raise ValueError(
            f"{where} needs image and labels for {', '.join(classes)}"
            + (f"; unknown: {', '.join(unknown)}" if unknown else "")
        )
    here = folder or path.parent
    judged = entry.get("metric_mask", {})
    judged = judged if isinstance(judged, dict) else dict.fromkeys(classes, judged)
    strangers = sorted((set(masks) | set(judged)) - set(labels) - set(bodies))
    if strangers:
        raise ValueError(f"{where} masks {', '.join(strangers)}, of which it has no labels: correct the name")
    volume = file_volume(
        here / entry["image"],
        {name: here / labels[name] for name in classes if name in labels},
        here / entry["mask"] if "mask" in entry else None,
        bodies={name: here / bodies[name] for name in classes if name not in labels},
        masks={name: here / masks[name] for name in classes if name in masks},
        metric_masks={name: here / judged[name] for name in classes if name in judged},
        reach_voxels=float(entry.get("reach_voxels", 1)),
        box=entry.get("box"),
        invert=bool(entry.get("invert", False)),
        equalised=bool(entry.get("equalised", False)),
    )
    return volume, bool(entry.get("equalised", False)), bool(entry.get("held_out", False))


def task_volume(
    path: Path, name: str, classes: Sequence[str], folder: Path | None = None
) -> tuple[LabelledVolume, bool]:
    """A task as a volume, and whether it is equalised.

    Classes that the task does not label are unknown in it. A metric mask named after one of ``classes`` is that
    class's; any other counts for all.
    """
    from cisterna.acquire.task_file import read_task

    task = read_task(path, folder, name)
    raw = open_volume(task.array)
    low, high = (0.0, 255.0) if task.equalised else image_range(raw)

    def part(array: str) -> NDArray[Any]:
        place, box = task.box_of(array)
        stored = open_volume(place)
        return stored.read(box.slices) if box is not None else stored.whole()

    image = normalise(raw.read(task.region.slices) if task.region is not None else raw.whole(), low, high)
    labels = {_class_of(array): part(array) for array in task.labels if _class_of(array) in classes}
    judged: dict[str, NDArray[np.bool_]] = {}
    for array in task.metric_masks:
        inside = part(array) > 0
        for other in [_class_of(array)] if _class_of(array) in classes else labels:
            judged[other] = judged[other] & inside if other in judged else inside
    known = None if task.mask is None else part(task.mask) > 0
    return LabelledVolume(name, image, labels, known, {}, judged), task.equalised
