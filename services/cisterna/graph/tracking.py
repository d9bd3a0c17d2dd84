"""Points followed through the frames of a movie: junctions and tips alike."""

from __future__ import annotations

import math

import numpy as np

from cisterna.graph.linking import pair_points


def follow(places: np.ndarray, frame_of: np.ndarray, frames: int, reach: float, gap_frames: int) -> np.ndarray:
    """The track (from 1) of each point (n, d), given its frame (n,) and the farthest it may move between sightings.

    A track may be unseen for `gap_frames` frames. Tracks are numbered by their first frame, then by row.
    """
    track = np.zeros(len(places), np.int64)
    order = np.argsort(frame_of, kind="stable")
    bounds = np.searchsorted(frame_of[order], np.arange(frames + 1))
    last = np.zeros(0, np.int64)  # the newest row of each track that may go on
    born = 0
    for frame in range(frames):
        here = order[bounds[frame] : bounds[frame + 1]]
        last = last[frame - frame_of[last] <= gap_frames + 1]
        links = pair_points(places[last], places[here], reach, frame - frame_of[last] - 1)
        track[here[links[:, 1]]] = track[last[links[:, 0]]]
        new = here[track[here] == 0]
        track[new] = np.arange(born + 1, born + 1 + len(new))
        born += len(new)
        last = np.concatenate([np.delete(last, links[:, 0]), here])
    return track


def tracks_of_names(names: np.ndarray, frame_of: np.ndarray, gap_frames: int) -> np.ndarray:
    """Tracks (from 1) of points whose identity is known: one name is one track, unless it is unseen for longer than
    `gap_frames`.
    """
    order = np.lexsort((frame_of, names))
    name, frame = names[order], frame_of[order]
    new = np.append(True, (name[1:] != name[:-1]) | (np.diff(frame) > gap_frames + 1))[: len(names)]
    track = np.zeros(len(names), np.int64)
    track[order] = np.cumsum(new)
    return track


def check_interval(frame_interval_s: float) -> None:
    """Raises ValueError for an interval that is no time."""
    if not (math.isfinite(frame_interval_s) and frame_interval_s > 0):
        raise ValueError(f"frame_interval_s = {frame_interval_s}: give the positive time between frames in seconds")


def near_border(places: np.ndarray, field_um: tuple[float, float] | None, reach: float) -> np.ndarray:
    """Which points (n, 2) may have come from beyond the field, whose far pixel centres lie at `field_um` (y, x)."""
    if field_um is None:
        return np.zeros(len(places), bool)
    far = np.asarray(field_um, float)
    return np.asarray(((places < reach) | (places > far - reach)).any(axis=1))
