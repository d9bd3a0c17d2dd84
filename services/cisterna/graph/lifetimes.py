"""Junctions through time: who lives how long, in which state, and what happens to them.

Lifetimes carry the noise of segmentation: a motionless network with fresh noise shows switches and deaths of its own
(docs/graph-dynamics.md), so every run measures that floor beside its lifetimes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from cisterna.graph.flags import worst_flags
from cisterna.graph.parameters import TrackingParameters
from cisterna.graph.tracking import check_interval, follow, near_border, tracks_of_names
from cisterna.tables.networks import EPISODES, JUNCTIONS

MULTI_WAY = 4
"""Least degree of a multi-way junction."""
UNSEEN, BIRTH, DEATH, CHANGE = "unseen", "birth", "death", "change"


def track_junctions(
    nodes: pd.DataFrame,
    frames: int,
    frame_interval_s: float,
    parameters: TrackingParameters | None = None,
    field_um: tuple[float, float] | None = None,
    names: np.ndarray | None = None,
    flags: Sequence[str] | None = None,
) -> tuple[np.ndarray, pd.DataFrame]:
    """Follows junctions (kind `junction`) through the frames of a `nodes` table.

    Between two frames the assignment of `linking.pair_points` is taken among pairs within `max_displacement_um`. A
    junction may be unseen for `gap_frames` frames; an older sighting yields to a newer one.

    Returns the track of each row of `nodes` (0: none) and the junctions table (see `junction_table`). `field_um` is
    the position of the last pixel's centre (y, x): what begins or ends within `max_displacement_um` of the border may
    have come from outside. `names` (one a row) are identities that are known already, from a phantom or by hand:
    nothing is linked then. `flags` are the SNR flags of the frames. Raises ValueError for an interval that is not
    positive.
    """
    parameters = parameters or TrackingParameters()
    check_interval(frame_interval_s)
    rows = np.flatnonzero((nodes["kind"] == "junction").to_numpy())
    track = np.zeros(len(nodes), np.int64)
    places, frame_of = nodes[["y_um", "x_um"]].to_numpy(np.float64)[rows], nodes["frame"].to_numpy(np.int64)[rows]
    if names is None:
        track[rows] = follow(places, frame_of, frames, parameters.max_displacement_um, parameters.gap_frames)
    else:
        track[rows] = tracks_of_names(names[rows], frame_of, parameters.gap_frames)
    return track, junction_table(nodes.iloc[rows], track[rows], frames, frame_interval_s, parameters, field_um, flags)


def ordered(nodes: pd.DataFrame, track: np.ndarray) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
    """Sightings sorted by track and frame, and the first and last row of each track."""
    seen = nodes.assign(track=track).sort_values(["track", "frame"], kind="stable", ignore_index=True)
    new = np.flatnonzero(np.diff(seen["track"].to_numpy(), prepend=-1))
    return seen, new, np.append(new[1:], len(seen)) - 1 if len(new) else new


def begun_and_ended(
    seen: pd.DataFrame,
    first: np.ndarray,
    last: np.ndarray,
    frames: int,
    reach_um: float,
    gap: int,
    field_um: tuple[float, float] | None,
) -> tuple[np.ndarray, np.ndarray]:
    """Whether birth and death of each track fell into movie and view, given the gap that tracking closes.

    Out of view: within reach of the border of the field, or beside a sheet (columns `touches_sheet`, `touches_sbt`),
    which may have passed over it.
    """
    frame, places = seen["frame"].to_numpy(), seen[["y_um", "x_um"]].to_numpy(np.float64)
    hidden = near_border(places, field_um, reach_um)
    for column in ("touches_sheet", "touches_sbt"):
        if column in seen:
            hidden |= seen[column].to_numpy(bool)
    return (frame[first] > gap) & ~hidden[first], (frame[last] < frames - 1 - gap) & ~hidden[last]


def junction_table(
    nodes: pd.DataFrame,
    track: np.ndarray,
    frames: int,
    frame_interval_s: float,
    parameters: TrackingParameters,
    field_um: tuple[float, float] | None = None,
    flags: Sequence[str] | None = None,
) -> pd.DataFrame:
    """The table `junctions` of sightings (rows of `nodes`) whose track is known.

    `lifetime_s` is the number of frames from first to last sighting times the interval. `began` and `ended` are
    `unseen` where birth or death may lie outside the movie (given the gap), beyond the field or under a sheet; either
    makes a track `censored`. `changes` counts switches between degree 3 and more.
    """
    seen, first, last = ordered(nodes, track)
    if not len(seen):
        return JUNCTIONS.frame()
    begun, ended = begun_and_ended(
        seen, first, last, frames, parameters.max_displacement_um, parameters.gap_frames, field_um
    )
    frame, degree = seen["frame"].to_numpy(np.int64), seen["degree"].to_numpy(np.int64)
    count = last - first + 1
    multi = degree >= MULTI_WAY
    switched = np.append(False, multi[1:] != multi[:-1])
    switched[first] = False
    places = seen[["y_um", "x_um"]].to_numpy(np.float64)
    step = np.append(np.nan, np.linalg.norm(np.diff(places, axis=0), axis=1))
    adjacent = np.append(False, np.diff(frame) == 1)
    adjacent[first] = False
    steps = np.add.reduceat(adjacent.astype(np.int64), first)
    walked = np.add.reduceat(np.where(adjacent, step, 0.0), first)
    return JUNCTIONS.frame(
        pd.DataFrame(
            {
                "junction_id": seen["track"].to_numpy()[first],
                "first_frame": frame[first],
                "last_frame": frame[last],
                "sightings": count,
                "lifetime_s": (frame[last] - frame[first] + 1) * frame_interval_s,
                "censored": ~(begun & ended),
                "began": np.where(begun, BIRTH, UNSEEN),
                "ended": np.where(ended, DEATH, UNSEEN),
                "mean_degree": np.add.reduceat(degree, first) / count,
                "y_um": np.add.reduceat(places[:, 0], first) / count,
                "x_um": np.add.reduceat(places[:, 1], first) / count,
                "mean_step_um": np.where(steps > 0, walked / np.maximum(steps, 1), np.nan),
                "changes": np.add.reduceat(switched.astype(np.int64), first),
                "snr_flag": worst_flags(flags, frame[first], frame[last]),
            }
        )
    )


def episode_table(
    nodes: pd.DataFrame,
    track: np.ndarray,
    junctions: pd.DataFrame,
    frame_interval_s: float,
    flags: Sequence[str] | None = None,
) -> pd.DataFrame:
    """The times that each junction spends three-way and multi-way, one row an uninterrupted episode.

    An episode lasts until the next one begins; frames in which the junction is unseen belong to the one before.
    `began` and `ended` are `change`, or those of the junction.
    """
    seen = ordered(nodes, track)[0]
    if not len(seen):
        return EPISODES.frame()
    frame, name = seen["frame"].to_numpy(np.int64), seen["track"].to_numpy()
    multi = (seen["degree"] >= MULTI_WAY).to_numpy()
    starts = np.append(True, (multi[1:] != multi[:-1]) | (name[1:] != name[:-1]))
    start = np.flatnonzero(starts)
    follows = np.append(name[start[1:]] == name[start[:-1]], False)  # another episode of the same junction comes next
    opens = np.append(True, ~follows[:-1])
    stop = np.append(start[1:], len(seen)) - 1
    until = np.where(follows, frame[np.append(start[1:], start[-1])], frame[stop] + 1)
    row = np.searchsorted(junctions["junction_id"].to_numpy(), name[start])
    opened, closed = junctions["began"].to_numpy()[row], junctions["ended"].to_numpy()[row]
    began, ended = np.where(opens, opened, CHANGE), np.where(follows, CHANGE, closed)
    return EPISODES.frame(
        pd.DataFrame(
            {
                "junction_id": name[start],
                "episode": pd.Series(start).groupby(name[start]).cumcount().to_numpy() + 1,
                "state": np.where(multi[start], "multi_way", "three_way"),
                "first_frame": frame[start],
                "last_frame": until - 1,
                "duration_s": (until - frame[start]) * frame_interval_s,
                "censored": (began == UNSEEN) | (ended == UNSEEN),
                "began": began,
                "ended": ended,
                "snr_flag": worst_flags(flags, frame[start], until - 1),
            }
        )
    )
