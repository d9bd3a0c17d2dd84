"""The list of an export: index.html for people, manifest.json for programs; written last, it says: whole."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import quote

from markupsafe import Markup

from cisterna.report.document import RunDocument
from cisterna.report.page import Grid, Page, Section, number, render_page, run_warnings

MANIFEST, INDEX = "manifest.json", "index.html"
EXPORT_FORMAT = 1


@dataclass(frozen=True)
class Entry:
    """A file or folder of the export: its path, what it is, and what opens it, each in one line."""

    path: str
    what: str
    opens: str


@dataclass(frozen=True)
class Chapter:
    """The entries of one part."""

    part: str
    title: str
    entries: tuple[Entry, ...]


def files_below(folder: Path) -> list[tuple[str, int]]:
    """(path, bytes) of every file below a folder, sorted."""
    found = ((p.relative_to(folder).as_posix(), p.stat().st_size) for p in folder.rglob("*") if p.is_file())
    return sorted(found)


def unlisted(chapters: Sequence[Chapter], files: Sequence[tuple[str, int]]) -> list[str]:
    """Files that no entry speaks of; an entry that is a folder speaks of all in it."""
    entries = [e.path for c in chapters for e in c.entries]
    return [path for path, _ in files if not any(path == e or path.startswith(f"{e.rstrip('/')}/") for e in entries)]


def write_contents(
    folder: Path, run: RunDocument, chapters: Sequence[Chapter], absent: Sequence[str], left_out: Sequence[str]
) -> None:
    """Writes index.html, then manifest.json. Raises ValueError where a file of the folder stands in no entry."""
    files = files_below(folder)
    forgotten = unlisted(chapters, files)
    if forgotten:
        raise ValueError(f"files of this export that nothing describes: {', '.join(forgotten[:5])}")
    (folder / INDEX).write_text(_index(run, chapters, files, absent, left_out), encoding="utf-8")
    manifest = {
        "format": EXPORT_FORMAT, "run_id": run.run_id, "recipe": run.recipe, "state": run.state,
        "acquisition": run.acquisition, "cisterna_version": run.cisterna_version, "absent": list(absent),
        "left_out": list(left_out), "chapters": [asdict(c) for c in chapters],
        "files": [{"path": path, "bytes": size} for path, size in files],
    }  # fmt: skip
    text = json.dumps(manifest, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
    (folder / MANIFEST).write_text(text, encoding="utf-8")


def _size_words(size: int) -> str:
    for unit, step in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if size >= step:
            return f"{number(size / step)} {unit}"
    return f"{size} B"


def _index(
    run: RunDocument, chapters: Sequence[Chapter], files: Sequence[tuple[str, int]], absent: Sequence[str],
    left_out: Sequence[str],
) -> str:  # fmt: skip
    sections = []
    for chapter in chapters:
        rows = []
        for entry in chapter.entries:
            own = [size for path, size in files if path == entry.path or path.startswith(f"{entry.path}/")]
            link = Markup('<a href="{}">{}</a>').format(quote(entry.path), entry.path)
            count = f"{_size_words(sum(own))}" + (f", {number(len(own))} files" if len(own) > 1 else "")
            rows.append((link, count, entry.what, entry.opens))
        sections.append(
            Section(chapter.title, grids=[Grid("", ("path", "size", "what it is", "what opens it"), rows, wide=True)])
        )
    lacking = [f"Not in the run, so not here: {', '.join(absent)}."] if absent else []
    lacking += [f"Left out by choice: {', '.join(left_out)}."] if left_out else []
    total = sum(size for _, size in files)
    page = Page(
        title="What is in this folder",
        subject="Export",
        run=run,
        lead=f"{number(len(files))} files, {_size_words(total)}, of run {run.run_id}.",
        warnings=[*run_warnings(run), *lacking],
        sections=sections,
        facts=[("acquisition", run.acquisition), ("run", run.run_id), ("recipe", run.recipe)],
    )
    return render_page(page)
