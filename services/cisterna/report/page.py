"""The page around a report: template, number formats, and what both recipes share."""

import base64
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from cisterna.report.document import RunDocument, flat_parameters

HERE = Path(__file__).parent
LISTED_BLOCKS = 12
THIN_SPACE = "\u202f"


def number(value: Any, digits: int = 3) -> str:
    """A value for readers: integers grouped by thin spaces, floats to `digits` figures, `–` for undefined."""
    if value is None or value is pd.NA:
        return "–"
    if isinstance(value, bool) or (not isinstance(value, int | float) and not hasattr(value, "dtype")):
        return str(value)
    value = value.item() if hasattr(value, "item") else value
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if isinstance(value, int):
        return f"{value:,}".replace(",", THIN_SPACE)
    if math.isnan(value):
        return "–"
    if abs(value) < 1e-12:
        return "0"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    if value != 0 and not 1e-3 <= abs(value) < 1e5:
        text = f"{value:.{digits - 1}e}"
    else:
        places = max(0, digits - 1 - (math.floor(math.log10(abs(value))) if value else 0))
        text = f"{value:.{places}f}"
    return text.replace("-", "−")


def data(value: Any, digits: int = 3) -> Markup:
    """The value as a <data> element: readable text, exact value beside it for machines."""
    return Markup('<data value="{}">{}</data>').format(value, number(value, digits))


def prose(text: str) -> Markup:
    """Escaped text; what stands between backticks is set as code."""
    parts = str(text).split("`")
    if len(parts) % 2 == 0:
        return escape(text)
    return Markup("").join(Markup("<code>{}</code>").format(p) if i % 2 else escape(p) for i, p in enumerate(parts))


@dataclass(frozen=True)
class Grid:
    """A table of the report: header cells and rows, every cell already a value; `notes` stands under it."""

    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[Any]]
    notes: str = ""
    wide: bool = False

    @property
    def numeric(self) -> list[bool]:
        """Per column: whether it holds numbers, which are set flush right."""
        return [
            bool(self.rows) and not any(isinstance(row[i], str) for row in self.rows) for i in range(len(self.header))
        ]


@dataclass(frozen=True)
class Tile:
    """A large figure with its name, the colour of its dot (empty: none) and a line under it."""

    value: Any
    label: str
    colour: str = ""
    detail: str = ""


@dataclass(frozen=True)
class Clip:
    """A short film inside the page, with the words that stand for it (`alt`) and under it (`caption`)."""

    mp4: bytes
    width_px: int
    height_px: int
    alt: str
    caption: str = ""

    @property
    def data_uri(self) -> str:
        return "data:video/mp4;base64," + base64.b64encode(self.mp4).decode("ascii")


@dataclass(frozen=True)
class Section:
    """A titled part of the page: prose, tiles, films, pictures (full width or in two columns), tables."""

    title: str
    text: Sequence[str] = ()
    tiles: Sequence[Tile] = ()
    clips: Sequence[Clip] = ()
    pictures: Sequence[Any] = ()
    pairs: Sequence[Any] = ()
    grids: Sequence[Grid] = ()
    keys: Sequence[Any] = ()
    points: Sequence[str] = ()


@dataclass(frozen=True)
class Page:
    """Everything the template shows. `thing` is what the page is about; without a state, none is shown."""

    title: str
    subject: str
    run: RunDocument
    lead: str
    warnings: Sequence[str]
    sections: Sequence[Section]
    facts: Sequence[tuple[str, str]] = field(default=())
    thing: str = "run"


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["data"] = data
    environment.filters["prose"] = prose
    return environment


def render_page(page: Page) -> str:
    """The page as one self-contained HTML document: no script, no request to anywhere."""
    css = (HERE / "report.css").read_text(encoding="utf-8")
    return (
        _environment()
        .get_template("report.html.j2")
        .render(page=page, listed=LISTED_BLOCKS, css=Markup(css), states=_STATES)
    )


_STATES = {
    "SUCCEEDED": "every block was computed",
    "DEGRADED": "some blocks could not be computed: what lies in them is missing from every figure below",
    "FAILED": "the run failed: what follows is what was finished before",
    "CANCELLED": "the run was cancelled: what follows is what was finished before",
}


def run_warnings(run: RunDocument) -> list[str]:
    """What a reader must know before any number: demo models first, then the run's own warnings and notes."""
    found = []
    demo = run.demo_models
    if demo:
        names = ", ".join(demo)
        found.append(
            f"The models were trained on phantoms only ({names}): they show that the line works. "
            "Do not draw biological conclusions from this run; use models trained on real annotations."
        )
    seen = {sentence.strip().lower() for sentence in found}
    repeated = tuple(f"model {name} was trained on phantoms only" for name in demo)
    for sentence in [*run.warnings, *run.notes]:
        if sentence.lower().startswith(repeated):
            continue  # said once above, for all of them
        if sentence.strip().lower() not in seen:
            seen.add(sentence.strip().lower())
            found.append(sentence)
    return found


def quarantine_grid(run: RunDocument) -> list[Grid]:
    """The blocks that were given up, where they are more than the banner of the report names."""
    if len(run.quarantined) <= LISTED_BLOCKS:
        return []
    rows = [(q.get("stage", "–"), q.get("block", "–"), q.get("reason", "–")) for q in run.quarantined]
    return [Grid(f"Blocks that could not be computed ({len(rows)})", ("stage", "block", "reason"), rows)]


STAGE_HEADER = ("stage", "key", "model", "blocks", "read s", "compute s", "write s", "wall s")


def stage_rows(run: RunDocument) -> list[tuple[Any, ...]]:
    """One row a stage; the many small stages that write pyramid levels stand together in a last one."""
    parts = ("read_s", "compute_s", "write_s", "wall_s")
    rows: list[tuple[Any, ...]] = []
    pyramids = [name for name in run.stages if "-pyramid" in name]
    for name, stage in run.stages.items():
        if name not in pyramids:
            timing = run.timings.get(name, {})
            finished = f"{stage.get('done', '–')} / {stage.get('blocks', '–')}"
            key = str(stage.get("stage_key", "–"))[:12]
            rows.append((name, key, stage.get("model") or "–", finished, *(timing.get(part) for part in parts)))
    if pyramids:
        done, blocks = (sum(int(run.stages[n].get(what, 0)) for n in pyramids) for what in ("done", "blocks"))
        sums = [sum(float(run.timings.get(n, {}).get(part, 0.0)) for n in pyramids) for part in parts]
        rows.append((f"pyramid levels ({len(pyramids)} stages)", "–", "–", f"{done} / {blocks}", *sums))
    return rows


def provenance(run: RunDocument) -> Section:
    """Parameters, models, stages with their times, versions: enough to do it again."""
    models = [
        (name, m.get("family", "–"), m.get("class") or "–", str(m.get("digest", "–"))[:16], m.get("licence", "–"),
         "phantoms only" if m.get("demo") else "see model.json")
        for name, m in sorted(run.models.items())
    ]  # fmt: skip
    uses = [(c, u.get("source", "–"), str(u.get("identity", "–"))[:16]) for c, u in sorted(run.uses.items())]
    times = "Sums over blocks; wall is what the driver waited for, other blocks in the queue included."
    grids = [
        Grid("Models", ("name", "family", "class", "digest", "licence", "trained on"), models, wide=True),
        Grid("Classes from existing arrays", ("class", "array", "identity"), uses, wide=True),
        Grid("Stages", STAGE_HEADER, stage_rows(run), times, wide=True),
        Grid("Parameters", ("parameter", "value"), flat_parameters(run.parameters)),
        Grid("Software", ("package", "version"), sorted(run.versions.items())),
    ]  # fmt: skip
    return Section("How it was made", grids=[*quarantine_grid(run), *(g for g in grids if g.rows)])
