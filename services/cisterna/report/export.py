"""One folder with everything of a run, for people and programs that know nothing of the store."""

import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from cisterna.report.choices import Choices
from cisterna.report.contents import INDEX, MANIFEST, Chapter, files_below, write_contents
from cisterna.report.export_parts import PARTS, Part
from cisterna.report.source import RunSource, Tell
from cisterna.store import ObjectStore

UNFINISHED = "unfinished-export"
NOTE = "UNFINISHED.txt"


@dataclass(frozen=True)
class Exported:
    """What was written: paths relative to the folder, and their bytes in sum; `absent` names what the run has not."""

    folder: Path
    files: tuple[str, ...]
    bytes: int
    absent: tuple[str, ...]


def part_names(recipe: str) -> list[str]:
    """What an export of this recipe can hold, in the order in which it is written."""
    return [name for name, part in PARTS.items() if recipe in part.recipes]


def chosen_parts(recipe: str, only: Sequence[str]) -> list[str]:
    """The parts to write; none named means all. Raises ValueError naming what this recipe has not."""
    known = part_names(recipe)
    wrong = [name for name in only if name not in known]
    if wrong:
        raise ValueError(f"{', '.join(wrong)}: an export of a {recipe} run can hold {', '.join(known)}")
    need = {other for name in only for other in PARTS[name].needs}
    return [name for name in known if not only or name in only or name in need]


def export_run(
    store: ObjectStore, run_id: str, folder: Path | str, only: Sequence[str] = (), choices: Choices | None = None,
    tell: Tell = lambda what, share: None,
) -> Exported:  # fmt: skip
    """Writes the parts of a run into a folder that does not exist or is empty.

    Everything is written below `unfinished-export` in it and moved up at the end, the list (index.html, manifest.json)
    last: a folder without manifest.json is no export. What a killed export left is removed by the next one.
    `tell` is called with what is being written and the share of it that is done.

    Raises ObjectMissing for an unknown run, ValueError for a folder that holds something, an unknown part or an unknown
    site, CorruptObject where a block that an array needs is gone.
    """
    source = RunSource.open(store, run_id)
    choices = choices or Choices()
    parts = chosen_parts(source.run.recipe, only)
    choices = choices.checked(source, parts)
    target = Path(folder)
    made = not target.exists()
    work = _begin(target, run_id)
    try:
        chapters, absent = _write_parts(source, [PARTS[name] for name in parts], choices, work, tell)
        absent = list(dict.fromkeys(absent))
        (work / NOTE).unlink()
        left_out = [name for name in part_names(source.run.recipe) if name not in parts]
        write_contents(work, source.run, chapters, absent, left_out)
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        if made and not any(target.iterdir()):
            target.rmdir()
        raise
    last = (INDEX, MANIFEST)
    for path in sorted(work.iterdir(), key=lambda p: (p.name in last, p.name)):
        path.rename(target / path.name)
    work.rmdir()
    files = files_below(target)
    return Exported(target, tuple(path for path, _ in files), sum(size for _, size in files), tuple(absent))


def _begin(target: Path, run_id: str) -> Path:
    """The folder to write in, below the target; what an export that was killed left there is removed."""
    work = target / UNFINISHED
    if target.exists() and not target.is_dir():
        raise ValueError(f"{target} is a file: choose a folder")
    found = sorted(p.name for p in target.iterdir()) if target.exists() else []
    if found and not (found == [UNFINISHED] and ((work / NOTE).exists() or not any(work.iterdir()))):
        raise ValueError(f"{target} is not an empty folder: choose another, nothing is overwritten")
    if found:
        shutil.rmtree(work)
    work.mkdir(parents=True)
    text = f"An export of run {run_id} was begun here. While this folder exists it is not whole; export again.\n"
    (work / NOTE).write_text(text, encoding="utf-8")
    return work


def _write_parts(
    source: RunSource, parts: Iterable[Part], choices: Choices, work: Path, tell: Tell
) -> tuple[list[Chapter], list[str]]:
    chapters, absent = [], []
    for part in parts:
        written, lacking = part.write(source, choices, work, tell)
        absent += lacking
        if written:
            chapters.append(Chapter(part.name, part.title, tuple(written)))
    return chapters, absent
