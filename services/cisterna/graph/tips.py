"""Tips: ends of tubules followed through time, and how fast their tubules grow and retract."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.spatial import cKDTree

from cisterna.graph.flags import worst_flags
from cisterna.graph.lifetimes import BIRTH, DEATH, UNSEEN, begun_and_ended, ordered
from cisterna.graph.parameters import TrackingParameters
from cisterna.graph.tracking import check_interval, follow
from cisterna.tables.networks import TIP_PHASES, TIPS

GROWTH, RETRACTION = "growth", "retraction"
FUSION, RELEASE = "fusion", "release"


def track_tips(
    nodes: pd.DataFrame,
    edges: pd.DataFrame,
    frames: int,
    frame_interval_s: float,
    parameters: TrackingParameters | None = None,
    field_um: tuple[float, float] | None = None,
    flags: Sequence[str] | None = None,
) -> tuple[np.ndarray, pd.DataFrame, pd.DataFrame]:
    """Follows tips (kind `tip`); `nodes` carries `junction_id`, the tracks of the junctions.

    Returns the track of each row of `nodes` (0: none) and the tables `tips` and `tip_phases`. The length of a tip's
    tubule is that of its edge, as long as the junction at its other end stays the same one. A phase is a stretch of
    growth or retraction by at least `min_phase_um`, up to its turning point; its speed is that change over its time.
    A tip has *fused* when a junction is born within reach of where it was last seen, and was *released* when a junction
    died where it was first seen.
    """
    parameters = parameters or TrackingParameters()
    check_interval(frame_interval_s)
    reach = parameters.max_tip_displacement_um
    rows = np.flatnonzero((nodes["kind"] == "tip").to_numpy())
    track = np.zeros(len(nodes), np.int64)
    places = nodes[["y_um", "x_um"]].to_numpy(np.float64)
    track[rows] = follow(places[rows], nodes["frame"].to_numpy(np.int64)[rows], frames, reach, parameters.gap_frames)
    if not len(rows):
        return track, TIPS.frame(), TIP_PHASES.frame()
    length, root = _tubules(nodes, edges)
    own = nodes.iloc[rows].assign(length_um=length[rows], root=root[rows])
    seen, first, last = ordered(own, track[rows])
    begun, ended = begun_and_ended(seen, first, last, frames, reach, parameters.gap_frames, field_um)
    frame, name = seen["frame"].to_numpy(np.int64), seen["track"].to_numpy()
    at = seen[["y_um", "x_um"]].to_numpy(np.float64)
    spans = junction_spans(nodes)
    fused = _met(at[last], frame[last], spans, "first", 1, reach, parameters.gap_frames)
    released = _met(at[first], frame[first], spans, "last", -1, reach, parameters.gap_frames)
    phases = []
    for a, b in zip(first.tolist(), last.tolist(), strict=True):
        phases += _phases(seen.iloc[a : b + 1], parameters.min_phase_um, frame_interval_s)
    table = pd.DataFrame(phases, columns=[n for n in TIP_PHASES.names if n not in ("phase", "snr_flag")])
    table.insert(1, "phase", table.groupby("tip_id").cumcount() + 1)
    table["snr_flag"] = worst_flags(flags, table["first_frame"].to_numpy(), table["last_frame"].to_numpy())
    count = last - first + 1
    tips = {
        "tip_id": name[first],
        "first_frame": frame[first],
        "last_frame": frame[last],
        "sightings": count,
        "lifetime_s": (frame[last] - frame[first] + 1) * frame_interval_s,
        "censored": ~(begun & ended),
        "began": np.where(begun, np.where(released, RELEASE, BIRTH), UNSEEN),
        "ended": np.where(ended, np.where(fused, FUSION, DEATH), UNSEEN),
        "y_um": np.add.reduceat(at[:, 0], first) / count,
        "x_um": np.add.reduceat(at[:, 1], first) / count,
        "mean_length_um": np.add.reduceat(seen["length_um"].to_numpy(float), first) / count,
        "snr_flag": worst_flags(flags, frame[first], frame[last]),
    }
    for way in (GROWTH, RETRACTION):
        part = table[table["direction"] == way].groupby("tip_id")
        change = part["change_um"].sum().abs().reindex(name[first], fill_value=0.0).to_numpy()
        seconds = part["duration_s"].sum().reindex(name[first], fill_value=0.0).to_numpy()
        tips[f"{way}_um"] = change
        tips[f"{way}_s"] = seconds
        tips[f"{way}_um_per_s"] = np.where(seconds > 0, change / np.where(seconds > 0, seconds, 1), math.nan)
    return track, TIPS.frame(pd.DataFrame(tips)), TIP_PHASES.frame(table)


def junction_spans(nodes: pd.DataFrame) -> pd.DataFrame:
    """First and last sighting (frame, place) of every junction track in `nodes`."""
    own = nodes[nodes["junction_id"] > 0].sort_values(["junction_id", "frame"], kind="stable")
    each = own.groupby("junction_id")[["frame", "y_um", "x_um"]]
    return each.first().add_suffix("_first").join(each.last().add_suffix("_last"))


def _met(
    at: np.ndarray, frame: np.ndarray, spans: pd.DataFrame, side: str, way: int, reach: float, gap: int
) -> np.ndarray:
    """Whether a junction begins (way 1) or ends (way -1) within reach just after or before each place and frame."""
    met = np.zeros(len(at), bool)
    if not len(spans):
        return met
    tree = cKDTree(spans[[f"y_um_{side}", f"x_um_{side}"]].to_numpy(float))
    moment = spans[f"frame_{side}"].to_numpy(np.int64)
    for i, found in enumerate(tree.query_ball_point(at, reach)):
        wait = way * (moment[found] - frame[i])
        met[i] = bool(((wait >= 0) & (wait <= gap + 1)).any())
    return met


def _tubules(nodes: pd.DataFrame, edges: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """For each row of `nodes`: length of its last edge (µm, NaN without) and the junction track at its other end."""
    row = pd.Series(np.arange(len(nodes)), pd.MultiIndex.from_frame(nodes[["frame", "node_id"]]))
    a, b = (
        row.reindex(pd.MultiIndex.from_frame(edges[["frame", end]]), fill_value=-1).to_numpy(np.int64)
        for end in ("node_a", "node_b")
    )
    length, root = np.full(len(nodes), np.nan), np.zeros(len(nodes), np.int64)
    junction = nodes["junction_id"].to_numpy(np.int64)
    for own, other in ((a, b), (b, a)):
        length[own], root[own] = edges["length_um"].to_numpy(float), junction[other]
    return length, root


def _phases(seen: pd.DataFrame, least_um: float, frame_interval_s: float) -> list[tuple[object, ...]]:
    """Growth and retraction of one tip: turning points count when the length turns back by `least_um`.

    Rest before and after, within a third of that, is no part of a phase.
    """
    name = int(seen["track"].to_numpy(np.int64)[0])
    frame, length, root = (seen[c].to_numpy() for c in ("frame", "length_um", "root"))
    pieces = np.flatnonzero((root[1:] != root[:-1]) | (root[1:] == 0)) + 1
    found: list[tuple[object, ...]] = []
    for part in np.split(np.arange(len(seen)), pieces):
        part = part[np.isfinite(length[part])]
        for i, j in turning_points(length[part], least_um):
            i, j = without_rest(length[part], i, j, least_um / 3)
            change = float(length[part[j]] - length[part[i]])
            seconds = float(frame[part[j]] - frame[part[i]]) * frame_interval_s
            way = GROWTH if change > 0 else RETRACTION
            found.append((name, way, frame[part[i]], frame[part[j]], seconds, change, abs(change) / seconds))
    return found


def turning_points(values: np.ndarray, least: float) -> list[tuple[int, int]]:
    """Stretches (i, j) over which a series rises or falls by at least `least` without turning back by as much."""
    stretches: list[tuple[int, int]] = []
    low = high = 0
    way = 0  # of the stretch under way: 1 rising, -1 falling
    for i, value in enumerate(values):
        if way == 0:
            low, high = (i if value <= values[low] else low), (i if value >= values[high] else high)
            if value - values[low] >= least:
                way, high = 1, i
            elif values[high] - value >= least:
                way, low = -1, i
        elif way == 1:
            if value > values[high]:
                high = i
            elif values[high] - value >= least:
                stretches.append((low, high))
                way, low = -1, i
        elif value < values[low]:
            low = i
        elif value - values[low] >= least:
            stretches.append((high, low))
            way, high = 1, i
    if way:
        stretches.append((low, high) if way == 1 else (high, low))
    return stretches


def without_rest(values: np.ndarray, i: int, j: int, rest: float) -> tuple[int, int]:
    """The stretch (i, j) without what its ends stood still for: it leaves and reaches their values by `rest`."""
    inside = values[i : j + 1]
    start = i + int(np.flatnonzero(np.abs(inside - values[i]) <= rest)[-1])
    stop = i + int(np.flatnonzero(np.abs(inside - values[j]) <= rest)[0])
    return (start, stop) if stop > start else (i, j)
