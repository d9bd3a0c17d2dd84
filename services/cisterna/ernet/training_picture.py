"""A training at a glance: its loss curve beside a held-out frame, true and found. Needs matplotlib."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .frames import CLASSES
from .training_frames import UNLABELLED

COLOURS = {1: (255, 0, 255), 2: (0, 255, 255), 3: (255, 255, 0), UNLABELLED: (70, 70, 70)}
"""As in Lu et al. 2023: SBT magenta, tubules cyan, sheets yellow. Pixels without a target are grey."""

LARGEST_PX = 400  # of the frame drawn


def draw_training(
    path: Path,
    curve: Sequence[Sequence[float]],
    validation: Sequence[Sequence[Any]],
    held_out: tuple[NDArray[np.float32], NDArray[np.uint8], NDArray[np.uint8]] | None,
) -> None:
    """PNG of `curve` (step, loss), of the pixel accuracies in `validation` (step, metrics), and of a held-out frame.

    `held_out`: the frame (H, W) in [0, 1], its true and its found classes (H, W); None draws the curve alone.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12 if held_out else 4, 3.2), dpi=80, layout="constrained")
    axes = figure.subplots(1, 4 if held_out else 1, squeeze=False)[0]
    axes[0].plot([step for step, _ in curve], [loss for _, loss in curve], color="black", label="loss")
    for step, metrics in validation:
        axes[0].plot(step, metrics["pixel_accuracy"], "o", color="tab:blue")
        axes[0].annotate(f"{metrics['pixel_accuracy']:.2f}", (step, metrics["pixel_accuracy"]), color="tab:blue")
    axes[0].set(xlabel="step", ylim=(0, None), title="loss; pixel accuracy held out" if validation else "loss")
    if held_out:
        frame, true, found = held_out
        axes[1].imshow(frame[:LARGEST_PX, :LARGEST_PX], cmap="gray", vmin=0, vmax=1)
        for ax, classes, title in ((axes[2], true, "true"), (axes[3], found, "found")):
            ax.imshow(coloured(classes[:LARGEST_PX, :LARGEST_PX]))
            ax.set_title(title)
        axes[1].set_title("held out")
        for ax in axes[1:]:
            ax.set_axis_off()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)


def coloured(classes: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Classes (H, W) → RGB (H, W, 3), background black."""
    table = np.zeros((256, 3), np.uint8)
    for number, colour in COLOURS.items():
        table[number] = colour
    assert set(COLOURS) >= set(range(1, len(CLASSES)))
    return table[classes]
