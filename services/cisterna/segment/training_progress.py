"""What a training says of itself on the way."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from cisterna.segment.training_loop import TrainingSettings, TrainingState

KEPT = ("validation", "warning")
"""Lines that begin so are not written over."""


def progress_line(settings: TrainingSettings, state: TrainingState) -> str:
    """Iteration, loss (mean of the last 50), speed and time left."""
    recent = float(np.mean(state.losses[-50:]))
    each = state.seconds / max(1, state.iteration)
    left = each * (settings.iterations - state.iteration)
    return (
        f"iteration {state.iteration}/{settings.iterations}  loss {recent:.4f}  "
        f"{each:.2f} s each  {left / 60:.0f} min left"
    )


def validation_line(iteration: int, found: Mapping[str, Any]) -> str:
    """A line that begins with "validation": Dice per class."""
    parts = [
        f"{name} Dice {r['best']['dice']:.3f} (threshold {r['threshold']}, at 128 {r['at_128']['dice']:.3f})"
        for name, r in found.items()
    ]
    return f"validation at {iteration}: " + "; ".join(parts)


def console() -> Callable[[str], None]:
    """Progress on standard error: one line rewritten on a terminal, else a line a minute."""
    terminal = sys.stderr.isatty()
    last = 0.0

    def report(line: str) -> None:
        nonlocal last
        if terminal:
            end = "\n" if line.startswith(KEPT) else ""
            sys.stderr.write(f"\r{line:<100}{end}")
            sys.stderr.flush()
        elif line.startswith(KEPT) or time.monotonic() - last >= 60:
            last = time.monotonic()
            print(line, file=sys.stderr, flush=True)

    return report
