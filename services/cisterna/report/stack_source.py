"""What the report of a z-stack shows, read from the store."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from cisterna.chunks import Box
from cisterna.report.levels import Pyramid, match_grid, read_with_gaps
from cisterna.report.movie_figures import FrameView
from cisterna.report.movie_source import evenly
from cisterna.report.stack_figures import SHOWN_SECTIONS, StackView, seen_along_z
from cisterna.store import ObjectStore

SHOWN_FRAMES = 3


def stack_views(
    store: ObjectStore, raw: Pyramid, classes: Pyramid | None, limit: int, absent: Callable[[str], None]
) -> list[StackView]:
    """A few time points, first to last, at the level that fits `limit` pixels; `absent` is told what is missing."""
    interval, z_um, *_ = raw.levels[0].scale
    views = []
    for frame in evenly(raw.levels[0].shape[0], SHOWN_FRAMES):
        grey = _sections(store, raw, frame, limit)
        found = _sections(store, classes, frame, limit) if classes is not None else None
        if grey is None:
            absent(f"raw time point {frame}")
            continue
        stack, pixel = grey
        if found is None:
            absent(f"classes of time point {frame}")
            maps = np.zeros(stack.shape, np.uint8)
        else:
            ratio = [a / b for a, b in zip(pixel, found[1], strict=True)]
            maps = np.stack([match_grid(m, stack.shape[1:], ratio) for m in found[0]])
        flat = FrameView(frame, frame * interval, pixel, np.fmax.reduce(stack), seen_along_z(maps) if found else None)
        shown = evenly(len(stack), SHOWN_SECTIONS)
        depth = len(stack) * z_um
        views.append(StackView(frame, frame * interval, depth, flat, [(z, z * z_um, stack[z], maps[z]) for z in shown]))
    return views


def _sections(
    store: ObjectStore, pyramid: Pyramid, frame: int, limit: int
) -> tuple[np.ndarray, tuple[float, float]] | None:
    """All sections of a time point and their pixel size; None where no level has them whole."""
    for n in range(pyramid.fitting(limit, "yx"), -1, -1):
        level = pyramid.levels[n]
        data, missing = read_with_gaps(store, level, Box((frame, 0, 0, 0), (1, *level.shape[1:])))
        if not missing:
            step = max(1, -(-max(level.shape[2:]) // limit))
            return data[0, :, ::step, ::step], (level.scale[2] * step, level.scale[3] * step)
    return None
