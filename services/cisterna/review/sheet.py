"""Decisions as CSV, both ways: the template, what the review page saves, and the export."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence

from cisterna.review.decisions import Decision, Length, form_of, length_of
from cisterna.review.sampling import Sample

COLUMNS = (
    "sample",
    "item",
    "reviewer",
    "when_utc",
    "vesicles",
    "form",
    "bud",
    "why",
    "lengths",
    "lengths_nm",
    "revision",
    "tool_version",
)
NEEDED = ("item",)
JUDGED = ("vesicles", "form", "bud", "why", "lengths")
"""`lengths`: per length `z y x > z y x` in nm, several separated by `;`. `lengths_nm` repeats them for people."""


def lengths_text(lengths: Sequence[Length]) -> str:
    """The points of all lengths in one cell."""
    ends = [" > ".join(" ".join(f"{v:.10g}" for v in point) for point in (d.start, d.end)) for d in lengths]
    return "; ".join(ends)


def read_lengths(text: str) -> tuple[Length, ...]:
    """The inverse of `lengths_text`; ValueError naming the part that is no length."""
    found = []
    for part in (p for p in text.split(";") if p.strip()):
        try:
            found.append(length_of([float(n) for n in part.replace(">", " ").split()]))
        except ValueError:
            raise ValueError(f"{part.strip()!r} is no length: write `z y x > z y x` in nm") from None
    return tuple(found)


def write_sheet(decisions: Sequence[Decision]) -> str:
    """CSV of decisions, one row each; `read_sheet` gives them back exactly."""
    rows = [
        (
            d.sample, d.item, d.reviewer, d.when_utc, "" if d.vesicles is None else d.vesicles, d.form, d.bud, d.why,
            lengths_text(d.lengths), " ".join(f"{one.nm:.1f}" for one in d.lengths), d.revision, d.tool_version,
        )
        for d in decisions
    ]  # fmt: skip
    return _csv(rows)


def write_template(sample: Sample, reviewer: str) -> str:
    """CSV with the sample's items and nothing filled in."""
    blank = [""] * (len(COLUMNS) - 3)
    return _csv([(sample.sample, item.item, reviewer, *blank) for item in sample.items])


def _csv(rows: Sequence[Sequence[object]]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(rows)
    return out.getvalue()


def read_sheet(
    data: bytes, sample: str, reviewer: str, when_utc: str, tool_version: str
) -> tuple[list[Decision], list[str]]:
    """Decisions of a CSV file (comma or semicolon, with or without byte-order mark) and the items left blank.

    `sample` and `reviewer` stand for empty cells; a cell that names another is refused, `reviewer` empty takes what the
    cells say. `when_utc` and `tool_version` fill in what the file does not say. Raises ValueError naming line and
    value.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as e:
        raise ValueError(f"the file is not UTF-8 ({e.reason} at byte {e.start}): save it as CSV UTF-8") from None
    if "\0" in text:
        raise ValueError("the file holds a null character: it is no CSV; save it as CSV UTF-8")
    head = text.split("\n", 1)[0]
    reader = csv.DictReader(
        io.StringIO(text, newline=""), delimiter=";" if head.count(";") > head.count(",") else ",", strict=True
    )
    names = [str(n) for n in reader.fieldnames or []]
    missing = [n for n in NEEDED if n not in names]
    unknown = [n for n in names if n not in COLUMNS]
    if missing or unknown or len(set(names)) != len(names):
        raise ValueError(f"the first line is {names}: it needs {', '.join(COLUMNS)} (item is the least)")
    found, blank = [], []
    try:
        for row in reader:
            where = f"line {reader.line_num}"
            if None in row or any(v is None for v in row.values()):
                raise ValueError(f"{where} has not {len(names)} cells: quote texts that hold the separator")
            cell = {n: row.get(n, "") for n in COLUMNS}
            try:
                if not any(cell[n].strip() for n in JUDGED):
                    blank.append(cell["item"])
                    continue
                found.append(_decision(cell, sample, reviewer, when_utc, tool_version))
            except ValueError as e:
                raise ValueError(f"{where} (item {cell['item'] or '?'}): {e}") from None
    except csv.Error as e:
        raise ValueError(f"line {reader.line_num}: {e}; save the file as CSV UTF-8") from None
    return found, blank


def _decision(cell: dict[str, str], sample: str, reviewer: str, when_utc: str, tool_version: str) -> Decision:
    if cell["sample"] and sample and cell["sample"] != sample:
        raise ValueError(f"it belongs to sample {cell['sample']}, not to {sample}")
    if cell["reviewer"] and reviewer and cell["reviewer"] != reviewer:
        raise ValueError(f"it is {cell['reviewer']}'s decision: import it with --reviewer '{cell['reviewer']}'")
    if not (cell["reviewer"] or reviewer):
        raise ValueError("nobody is named: add --reviewer WHO")
    lengths = read_lengths(cell["lengths"])
    check_lengths_nm(lengths, cell["lengths_nm"])
    revision = cell["revision"].strip() or "0"
    if not re.fullmatch(r"\d{1,6}", revision):
        raise ValueError(f"revision {revision!r} is no whole number")
    return Decision(
        sample=cell["sample"] or sample,
        item=cell["item"],
        reviewer=cell["reviewer"] or reviewer,
        when_utc=cell["when_utc"].strip() or when_utc,
        vesicles=read_count(cell["vesicles"]),
        form=form_of(cell["form"]),
        bud=cell["bud"].strip().lower(),
        why=cell["why"],
        lengths=lengths,
        revision=int(revision),
        tool_version=cell["tool_version"].strip() or tool_version,
    )


def read_count(text: str) -> int | None:
    """A count as spreadsheets write it (`7`, `7.0`); None where empty. ValueError for anything else."""
    plain = text.strip()
    if not plain:
        return None
    if re.fullmatch(r"-\d+(\.0*)?", plain) and float(plain) < 0:
        raise ValueError(f"{plain} vesicles: a count is 0 or more")
    if not re.fullmatch(r"-?[0-9]{1,9}(\.0*)?", plain):
        raise ValueError(f"{plain!r} vesicles: a count is a whole number, or empty where you cannot tell")
    return abs(int(plain.split(".")[0]))


def check_lengths_nm(lengths: Sequence[Length], text: str) -> None:
    """Refuses lengths in nm that their points do not bear out: one of the two was edited."""
    try:
        told = [float(n) for n in text.replace(";", " ").split()]
    except ValueError:
        raise ValueError(f"lengths_nm {text!r} are no numbers") from None
    if told and (len(told) != len(lengths) or any(abs(a - b.nm) > 0.1 for a, b in zip(told, lengths, strict=True))):
        points = " ".join(f"{one.nm:.1f}" for one in lengths) or "none"
        raise ValueError(f"lengths_nm says {text}, the points in `lengths` give {points}: empty one of the two cells")
