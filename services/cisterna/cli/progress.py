"""Progress of work in this process, on a terminal; silent elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

Report = Callable[[str, float], None]


@contextmanager
def ingest_progress() -> Iterator[Report]:
    """A callable ``(what, share 0…1)`` that draws a bar per step on a terminal and prints steps once elsewhere."""
    if not sys.stderr.isatty():
        seen: set[str] = set()

        def line(what: str, share: float) -> None:
            if what not in seen:
                seen.add(what)
                print(f"{what} …", file=sys.stderr, flush=True)

        yield line
        return
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    ) as bar:
        tasks: dict[str, object] = {}

        def draw(what: str, share: float) -> None:
            if what not in tasks:
                tasks[what] = bar.add_task(what, total=1.0)
            bar.update(tasks[what], completed=share)  # type: ignore[arg-type]

        yield draw
