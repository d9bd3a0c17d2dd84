"""Frames of a run for its film, one at a time out of the store."""

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from cisterna.chunks import Box
from cisterna.report.film import FRAMES_PER_SECOND, PANEL_PX, FilmFrame, Screen, film_bytes, film_grey_range, panel_size
from cisterna.report.levels import Pyramid, read_with_gaps
from cisterna.report.page import Clip
from cisterna.store import ObjectStore

SAMPLED_FRAMES = 12
REPORT_FRAMES = 60
REPORT_PANEL_PX = 320
REPORT_FILM_BYTES = 4_000_000


def evenly(count: int, most: int) -> list[int]:
    """At most `most` of `count` frames, evenly spaced, the first and the last among them."""
    if count <= most:
        return list(range(count))
    return sorted({round(t) for t in np.linspace(0, count - 1, most)})


def film_screen(store: ObjectStore, raw: Pyramid, nodes: pd.DataFrame, panel_px: int = PANEL_PX) -> Screen:
    """What all frames of a run's film share; the display range is taken from a few frames."""
    base = raw.levels[0]
    pixel = (base.scale[1], base.scale[2])
    size = (base.shape[1] * pixel[0], base.shape[2] * pixel[1])
    panel = panel_size(base.shape[1:], pixel, panel_px)
    pictures = (read_frame(store, raw, t, panel) for t in evenly(base.shape[0], SAMPLED_FRAMES))
    grey = film_grey_range(p for p in pictures if p is not None)
    crowd = len(nodes) / max(1, base.shape[0]) / (size[0] * size[1])
    return Screen(size, pixel, grey, panel, crowd)


def film_frames(
    store: ObjectStore, raw: Pyramid, classes: Pyramid | None, nodes: pd.DataFrame, edges: pd.DataFrame,
    panel: tuple[int, int], chosen: Sequence[int],
) -> Iterator[FilmFrame]:  # fmt: skip
    """The chosen frames. A frame that is not in the store is black; classes that are not stay None."""
    interval = raw.levels[0].scale[0]
    own_nodes, own_edges = (dict(tuple(t.groupby("frame"))) for t in (nodes, edges))
    for frame in chosen:
        picture = read_frame(store, raw, frame, panel)
        found = read_frame(store, classes, frame, panel) if classes else None
        yield FilmFrame(
            frame * interval,
            np.zeros(panel, np.uint8) if picture is None else picture,
            found,
            own_nodes.get(frame, nodes.iloc[:0]),
            own_edges.get(frame, edges.iloc[:0]),
        )


def read_frame(store: ObjectStore, pyramid: Pyramid, frame: int, panel: tuple[int, int]) -> np.ndarray | None:
    """A frame at the coarsest level that still fills the panel; a finer one where that was never made.

    None where no level has it, or a part of it is missing.
    """
    enough = [n for n, level in enumerate(pyramid.levels) if level.shape[1] >= panel[0] and level.shape[2] >= panel[1]]
    for n in range(max(enough, default=0), -1, -1):
        level = pyramid.levels[n]
        pixels, missing = read_with_gaps(store, level, Box((frame, 0, 0), (1, *level.shape[1:])))
        if not missing:
            frame_pixels: np.ndarray = pixels[0]
            return frame_pixels
    return None


def report_film(
    store: ObjectStore, raw: Pyramid, classes: Pyramid | None, nodes: pd.DataFrame, edges: pd.DataFrame
) -> Clip | None:
    """A small film for the page: at most 60 frames. None for a single frame, and where it would weigh more than 4 MB.

    `cisterna export` writes all frames, larger.
    """
    count, interval = raw.levels[0].shape[0], raw.levels[0].scale[0]
    if count < 2:
        return None
    chosen = evenly(count, REPORT_FRAMES)
    screen = film_screen(store, raw, nodes, REPORT_PANEL_PX)
    frames = film_frames(store, raw, classes, nodes, edges, screen.panel, chosen)
    mp4, film = film_bytes(screen, frames, len(chosen), FRAMES_PER_SECOND)
    if len(mp4) > REPORT_FILM_BYTES:
        return None
    faster = (count - 1) * interval / ((len(chosen) - 1) / FRAMES_PER_SECOND)
    which = "All" if len(chosen) == count else f"{len(chosen)} of the"
    words = f"{which} {count} frames, {faster:.3g} × real time: raw, classes, network."
    return Clip(mp4, film.width_px, film.height_px, f"Film. {words}", f"{words} `cisterna export` writes it larger.")
