"""Junctions through time: links from frame to frame, lifetimes, switches between three-way and multi-way.

Lifetimes carry the noise of segmentation: a motionless network with fresh noise shows switches and deaths of its own
(docs/graph.md), so compare them with such a floor.
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from scipy.optimize import linear_sum_assignment
from scipy.spatial import cKDTree

from cisterna.graph.parameters import TrackingParameters
from cisterna.graph.skeleton import groups
from cisterna.tables.networks import JUNCTIONS


def track_junctions(
    nodes: pd.DataFrame, frames: int, frame_interval_s: float, parameters: TrackingParameters | None = None
) -> tuple[np.ndarray, pd.DataFrame]:
    """Follows junctions (kind `junction`) through the frames of a `nodes` table.

    Between two frames the pairing with most links, then least squared displacement, is taken among pairs within
    `max_displacement_um`. A junction may be unseen for `gap_frames` frames; an older sighting yields to a newer one.

    Returns the track of each row of `nodes` (0: none) and the junctions table. `lifetime_s` is the number of frames
    from first to last sighting times the interval. A track is `censored` when it may have begun before the movie or
    may go on after it, given the gap. `changes` counts switches between degree 3 and more. Raises ValueError for an
    interval that is not positive.
    """
    parameters = parameters or TrackingParameters()
    if not (math.isfinite(frame_interval_s) and frame_interval_s > 0):
        raise ValueError(f"frame_interval_s = {frame_interval_s}: give the positive time between frames in seconds")
    rows = np.flatnonzero((nodes["kind"] == "junction").to_numpy())
    frame_of = nodes["frame"].to_numpy(np.int64)
    places = nodes[["y_um", "x_um"]].to_numpy(np.float64)
    track = np.zeros(len(nodes), np.int64)
    by_frame = _split(rows, frame_of, frames)
    last_row: dict[int, int] = {}
    alive = np.zeros(0, np.int64)
    born = 0
    for frame, here in enumerate(by_frame):
        alive = alive[[frame - int(frame_of[last_row[t]]) <= parameters.gap_frames + 1 for t in alive.tolist()]]
        before = np.array([last_row[t] for t in alive.tolist()], np.int64)
        age = frame - frame_of[before]
        links = pair_points(places[before], places[here], parameters.max_displacement_um, age - 1)
        track[here[links[:, 1]]] = alive[links[:, 0]]
        new = here[track[here] == 0]
        track[new] = np.arange(born + 1, born + 1 + len(new))
        born += len(new)
        for row in here.tolist():
            last_row[int(track[row])] = row
        alive = np.union1d(alive, track[here])
    return track, _junctions(track[rows], nodes.iloc[rows], frames, frame_interval_s, parameters)


def pair_points(before: np.ndarray, after: np.ndarray, reach: float, age: np.ndarray | None = None) -> np.ndarray:
    """One-to-one pairs (k, 2) of points (n, d) and (m, d) within `reach`: most pairs, then least cost.

    The cost of a pair is its squared distance over `reach`², plus `age` of the first point. Clusters of points that
    can reach each other are solved on their own, so the work grows with the number of points.
    """
    if len(before) == 0 or len(after) == 0:
        return np.zeros((0, 2), np.int64)
    near = cKDTree(before).sparse_distance_matrix(cKDTree(after), reach, output_type="coo_matrix")
    a, b = near.row.astype(np.int64), near.col.astype(np.int64)
    cost = (near.data / reach) ** 2 + (age[a] if age is not None else 0)
    count, label = groups(np.stack([a, len(before) + b], axis=1), len(before) + len(after))
    of_pair = label[a]
    order = np.argsort(of_pair, kind="stable")
    bounds = np.searchsorted(of_pair[order], np.arange(count + 1))
    found = []
    for k in np.flatnonzero(np.diff(bounds)).tolist():
        some = order[bounds[k] : bounds[k + 1]]
        if len(some) == 1:
            found.append((int(a[some[0]]), int(b[some[0]])))
            continue
        left, i = np.unique(a[some], return_inverse=True)
        right, j = np.unique(b[some], return_inverse=True)
        # A missing pair costs more than all others together, so the number of links comes first.
        table = np.full((len(left), len(right)), 10.0 * (1 + len(some)) * (1 + float(cost[some].max())))
        forbidden = table[0, 0]
        table[i, j] = cost[some]
        for p, q in zip(*linear_sum_assignment(table), strict=True):
            if table[p, q] < forbidden:
                found.append((int(left[p]), int(right[q])))
    return np.array(sorted(found), np.int64).reshape(-1, 2)


def kaplan_meier(lifetime_s: np.ndarray, censored: np.ndarray) -> pd.DataFrame:
    """Survival of junctions with the censored ones counted as alive until last seen (Kaplan & Meier 1958).

    Returns one row per distinct time of death: time_s, at_risk, deaths, survival (after the deaths). No deaths give
    no rows: then survival is 1 throughout.
    """
    lifetime_s, censored = np.asarray(lifetime_s, np.float64), np.asarray(censored, bool)
    if lifetime_s.shape != censored.shape:
        raise ValueError(f"{lifetime_s.size} lifetimes and {censored.size} censoring flags: give one flag per lifetime")
    times = np.unique(lifetime_s[~censored])
    at_risk = np.array([(lifetime_s >= t).sum() for t in times], np.int64)
    deaths = np.array([((lifetime_s == t) & ~censored).sum() for t in times], np.int64)
    survival = np.cumprod(1 - deaths / np.maximum(at_risk, 1))
    return pd.DataFrame({"time_s": times, "at_risk": at_risk, "deaths": deaths, "survival": survival})


def median_lifetime_s(lifetime_s: np.ndarray, censored: np.ndarray) -> float:
    """First time at which at most half survive by Kaplan–Meier; NaN when more than half outlive the movie."""
    curve = kaplan_meier(lifetime_s, censored)
    half = curve[curve["survival"] <= 0.5 + 1e-12]
    return float(half["time_s"].iloc[0]) if len(half) else math.nan


def _split(rows: np.ndarray, frame_of: np.ndarray, frames: int) -> list[np.ndarray]:
    order = rows[np.argsort(frame_of[rows], kind="stable")]
    bounds = np.searchsorted(frame_of[order], np.arange(frames + 1))
    return [order[bounds[f] : bounds[f + 1]] for f in range(frames)]


def _junctions(
    track: np.ndarray, rows: pd.DataFrame, frames: int, frame_interval_s: float, parameters: TrackingParameters
) -> pd.DataFrame:
    seen = pd.DataFrame(
        {
            "junction_id": track,
            "frame": rows["frame"].to_numpy(np.int64),
            "degree": rows["degree"].to_numpy(np.int64),
            "y_um": rows["y_um"].to_numpy(np.float64),
            "x_um": rows["x_um"].to_numpy(np.float64),
        }
    ).sort_values(["junction_id", "frame"])
    multi = (seen["degree"] > 3).to_numpy()
    same = (seen["junction_id"].diff() == 0).to_numpy()
    seen["changes"] = np.concatenate([[False], multi[1:] != multi[:-1]])[: len(seen)] & same
    each = seen.groupby("junction_id")
    first, last = each["frame"].min(), each["frame"].max()
    gap = parameters.gap_frames
    return JUNCTIONS.frame(
        pd.DataFrame(
            {
                "junction_id": first.index.to_numpy(np.int64),
                "first_frame": first.to_numpy(),
                "last_frame": last.to_numpy(),
                "lifetime_s": (last - first + 1).to_numpy() * frame_interval_s,
                "censored": ((first <= gap) | (last >= frames - 1 - gap)).to_numpy(),
                "mean_degree": each["degree"].mean().to_numpy(),
                "y_um": each["y_um"].mean().to_numpy(),
                "x_um": each["x_um"].mean().to_numpy(),
                "changes": each["changes"].sum().to_numpy(),
            }
        )
    )
