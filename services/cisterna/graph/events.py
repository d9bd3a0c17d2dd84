"""What happens to junctions: births, deaths, merges, splits, and switches between three-way and multi-way."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import pandas as pd

from cisterna.graph.flags import worst_flags
from cisterna.graph.lifetimes import BIRTH, CHANGE, DEATH, UNSEEN, ordered
from cisterna.graph.parameters import TrackingParameters
from cisterna.tables.networks import EVENTS

MERGE, SPLIT = "merge", "split"
EVENT_NAMES = (BIRTH, DEATH, MERGE, SPLIT, "to_multi_way", "to_three_way")
MERGE_REACHES = 1.5
"""Two junctions can become one in a frame when their tubule is at most so many times `max_displacement_um` long:
each may move that far."""


def name_partners(
    nodes: pd.DataFrame, edges: pd.DataFrame, track: np.ndarray, junctions: pd.DataFrame, parameters: TrackingParameters
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Tells merges from deaths and splits from births; returns the junctions table with them, and their partners.

    A junction that dies has *merged* with one that a short tubule joined it to when that one is seen in the next frame
    with more branches than before (two junctions become one, multi-way). A *split* is the same, backwards in time.
    Partners: a frame of junction_id, partner_id, end (`began` or `ended`).
    """
    seen = ordered(nodes, track)[0]
    reach = MERGE_REACHES * parameters.max_displacement_um
    joined = _neighbours(nodes, edges, track, reach)
    degree: dict[tuple[int, int], int] = {}
    for name, frame, branches in seen[["track", "frame", "degree"]].to_numpy(np.int64).tolist():
        degree[name, frame] = branches
    began, ended = junctions["began"].tolist(), junctions["ended"].tolist()
    partners = []
    rows = zip(
        junctions["junction_id"].tolist(),
        junctions["first_frame"].tolist(),
        junctions["last_frame"].tolist(),
        strict=True,
    )
    waits = range(1, parameters.gap_frames + 2)
    for row, (name, start, stop) in enumerate(rows):
        for known, at, way, word, column in (
            (ended[row] == DEATH, stop, 1, MERGE, ended),
            (began[row] == BIRTH, start, -1, SPLIT, began),
        ):
            if not known:
                continue
            for other in joined.get((name, at), ()):
                later = next((at + way * w for w in waits if (other, at + way * w) in degree), None)
                if later is not None and degree[other, later] > degree[other, at]:
                    column[row] = word
                    partners.append((name, other, "ended" if way == 1 else "began"))
                    break
    return junctions.assign(began=began, ended=ended), pd.DataFrame(
        partners, columns=["junction_id", "partner_id", "end"]
    )


def event_table(
    nodes: pd.DataFrame,
    track: np.ndarray,
    junctions: pd.DataFrame,
    episodes: pd.DataFrame,
    partners: pd.DataFrame,
    frame_interval_s: float,
    flags: Sequence[str] | None = None,
) -> pd.DataFrame:
    """One row an event, in the first frame that shows it: a death in the frame after the last sighting.

    `partner_id` is the junction that another merged into or split off from, 0 for all other events.
    """
    seen = ordered(nodes, track)[0]
    place = seen.set_index(["track", "frame"])[["y_um", "x_um"]]
    rows = []
    partner = {(int(a), str(e)): int(b) for a, b, e in partners.itertuples(index=False)}
    for name, start, stop, began, ended in junctions[
        ["junction_id", "first_frame", "last_frame", "began", "ended"]
    ].itertuples(index=False):
        if began != UNSEEN:
            rows.append((start, began, name, partner.get((name, "began"), 0), start))
        if ended != UNSEEN:
            rows.append((stop + 1, ended, name, partner.get((name, "ended"), 0), stop))
    switched = episodes[episodes["began"] == CHANGE]
    rows += [
        (frame, f"to_{state}", name, 0, frame)
        for name, state, frame in switched[["junction_id", "state", "first_frame"]].itertuples(index=False)
    ]
    table = pd.DataFrame(rows, columns=["frame", "event", "junction_id", "partner_id", "at"])
    where = place.reindex(pd.MultiIndex.from_frame(table[["junction_id", "at"]])).to_numpy(float).reshape(-1, 2)
    shown = table["frame"].to_numpy(np.int64)
    return EVENTS.frame(
        table.drop(columns="at").assign(
            time_s=shown * float(frame_interval_s),
            y_um=where[:, 0],
            x_um=where[:, 1],
            snr_flag=worst_flags(flags, shown - 1, shown),
        )[EVENTS.names]
    )


def _neighbours(
    nodes: pd.DataFrame, edges: pd.DataFrame, track: np.ndarray, reach_um: float
) -> dict[tuple[int, int], list[int]]:
    """Junctions (track, frame) → tracks that a tubule of at most `reach_um` joins them to, nearest first."""
    short = edges[edges["length_um"] <= reach_um].sort_values("length_um", kind="stable")
    name = pd.Series(track, pd.MultiIndex.from_frame(nodes[["frame", "node_id"]]))
    found = defaultdict(list)
    ends = [
        name.reindex(pd.MultiIndex.from_frame(short[["frame", end]]), fill_value=0).to_numpy(np.int64)
        for end in ("node_a", "node_b")
    ]
    for frame, a, b in zip(short["frame"].tolist(), ends[0].tolist(), ends[1].tolist(), strict=True):
        if a and b and a != b:
            found[a, frame].append(b)
            found[b, frame].append(a)
    return found
