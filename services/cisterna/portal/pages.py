"""The portal's pages as HTML: everything that comes out of the store is escaped."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

STYLE = """
:root{color-scheme:light dark;--paper:#fdfcf9;--ink:#1d2733;--muted:#57626f;--rule:#d9dcdf;
--accent:#0b6070;--good:#1b7f5c;--warn:#a86e00;--bad:#c23616}
@media (prefers-color-scheme:dark){:root{
--paper:#12171d;--ink:#e6eaee;--muted:#a3aeb9;--rule:#313a44;
--accent:#6cc7d6;--good:#4cc09a;--warn:#e0a530;--bad:#ef7458}}
html{background:var(--paper);color:var(--ink);font:16px/1.5 system-ui,"Segoe UI",Roboto,Arial,sans-serif}
body{max-width:1120px;margin:0 auto;padding:2rem 1.5rem}
h1{font:600 2.2rem/1.2 Palatino,Georgia,"DejaVu Serif",serif;margin:0 0 .4rem}
a{color:var(--accent)}p{color:var(--muted);margin:.2rem 0 1rem}.scroll{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
th{text-align:left;font-weight:500;color:var(--muted);border-bottom:1px solid var(--ink);padding:.35rem 1rem .35rem 0}
td{border-bottom:1px solid var(--rule);padding:.45rem 1rem .45rem 0;vertical-align:top;overflow-wrap:anywhere}
progress{width:7rem;accent-color:var(--accent);vertical-align:middle}
.SUCCEEDED{color:var(--good)}.DEGRADED{color:var(--warn)}.FAILED,.CANCELLED{color:var(--bad)}
"""


def progress(run: Mapping[str, Any]) -> tuple[int, int]:
    """(finished, all) blocks of a run's stages; entries that are no numbers count as none."""
    done = total = 0
    stages = run.get("stages")
    for stage in stages.values() if isinstance(stages, Mapping) else ():
        if isinstance(stage, Mapping):
            done += _whole(stage.get("done"))
            total += _whole(stage.get("blocks"))
    return min(done, total), total


def _whole(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0


def page(title: str, body: str) -> bytes:
    """A whole page; `body` is HTML already, `title` is text."""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head><body><main>{body}</main></body></html>\n"
    ).encode()


def run_row(run: Mapping[str, Any], has_report: bool) -> str:
    """One row of the list of runs. The id has been checked to be a plain name."""
    run_id, state = str(run.get("run_id", "")), str(run.get("state", "?"))
    done, total = progress(run)
    percent = f"{100 * done // total} %" if total else "–"
    bar = f'<progress max="{max(total, 1)}" value="{done}" aria-label="blocks done"></progress>'
    bar += f" {done} / {total} ({percent})"
    word = escape(state)
    shown = f'<strong class="{word}">{word}</strong>' if state.isalpha() else word
    href = f"/runs/{escape(run_id, quote=True)}"
    report = f'<a href="{href}/report.html">report</a> · ' if has_report else ""
    cells = (
        f'<th scope="row">{escape(run_id)}</th>',
        f"<td>{escape(str(run.get('recipe', '–')))}</td>",
        f"<td>{escape(str(run.get('acquisition', '–')))}</td>",
        f"<td>{shown}</td>",
        f"<td>{bar}</td>",
        f"<td>{escape(str(run.get('created') or '–'))}</td>",
        f'<td>{report}<a href="{href}/run.json">run.json</a></td>',
    )
    return f"<tr>{''.join(cells)}</tr>"


def runs_page(rows: Sequence[str], store_url: str, unreadable: Sequence[str]) -> bytes:
    """The list of runs, newest first as given."""
    head = "".join(
        f'<th scope="col">{name}</th>'
        for name in ("run", "recipe", "acquisition", "state", "blocks", "created", "look")
    )
    table = "<p>No run yet. Submit one with <code>cisterna submit</code>.</p>"
    if rows:
        body = "".join(rows)
        table = f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
    bad = f"<p>Not shown, because run.json cannot be read: {escape(', '.join(unreadable))}</p>" if unreadable else ""
    return page("Cisterna runs", f"<h1>Runs</h1><p>in {escape(store_url)}</p>{table}{bad}")


def message_page(title: str, text: str) -> bytes:
    """A page with one sentence and the way back."""
    return page(title, f'<h1>{escape(title)}</h1><p>{escape(text)}</p><p><a href="/">All runs</a></p>')
