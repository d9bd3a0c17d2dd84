"""The tables of a movie's dynamics from its traced frames: one call for the movie and for its static scene alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from cisterna.graph.events import EVENT_NAMES, event_table, name_partners
from cisterna.graph.flags import low_share
from cisterna.graph.lifetimes import MULTI_WAY, UNSEEN, episode_table, track_junctions
from cisterna.graph.parameters import TrackingParameters
from cisterna.graph.survival import Spans, drawn_curve, figures
from cisterna.graph.tips import track_tips
from cisterna.tables.networks import DYNAMICS, SURVIVAL


@dataclass(frozen=True)
class Dynamics:
    """`nodes` with junction_id and tip_id, and the tables of what they do."""

    nodes: pd.DataFrame
    junctions: pd.DataFrame
    episodes: pd.DataFrame
    events: pd.DataFrame
    tips: pd.DataFrame
    tip_phases: pd.DataFrame
    dynamics: pd.DataFrame
    survival: pd.DataFrame


def measure_dynamics(
    nodes: pd.DataFrame,
    edges: pd.DataFrame,
    frames: int,
    frame_interval_s: float,
    parameters: TrackingParameters | None = None,
    field_um: tuple[float, float] | None = None,
    names: np.ndarray | None = None,
    flags: Sequence[str] | None = None,
) -> Dynamics:
    """Follows the junctions and tips of traced frames (tables `nodes` and `edges` of the whole movie).

    `field_um` is the position (y, x) of the last pixel's centre: what begins or ends near the border may have come
    from outside. `names` (one a row of `nodes`) are identities of junctions that are known already. `flags` are
    the SNR flags of the frames (snr_not_applicable everywhere when left out). Raises ValueError for an interval that is
    not positive.
    """
    parameters = parameters or TrackingParameters()
    track, junctions = track_junctions(nodes, frames, frame_interval_s, parameters, field_um, names, flags)
    own = track > 0
    seen = nodes[own]
    junctions, partners = name_partners(seen, edges, track[own], junctions, parameters)
    episodes = episode_table(seen, track[own], junctions, frame_interval_s, flags)
    events = event_table(seen, track[own], junctions, episodes, partners, frame_interval_s, flags)
    nodes = nodes.assign(junction_id=track)
    tip_track, tips, phases = track_tips(nodes, edges, frames, frame_interval_s, parameters, field_um, flags)
    groups = populations(junctions, episodes, tips)
    rows: list[dict[str, object]] = [{"population": name, **figures(spans)} for name, spans in groups.items()]
    observed_min = float(groups["junctions"].seconds.sum()) / 60
    rows += [_rate(name, int((events["event"] == name).sum()), observed_min) for name in EVENT_NAMES]
    low = low_share(flags)
    curves = [drawn_curve(s).assign(population=name, low_snr_share=low) for name, s in groups.items()]
    return Dynamics(
        nodes.assign(tip_id=tip_track),
        junctions,
        episodes,
        events,
        tips,
        phases,
        DYNAMICS.frame([row | {"low_snr_share": low} for row in rows]),
        SURVIVAL.frame(pd.concat([c[SURVIVAL.names] for c in curves if len(c)]) if any(map(len, curves)) else ()),
    )


def populations(junctions: pd.DataFrame, episodes: pd.DataFrame, tips: pd.DataFrame) -> dict[str, Spans]:
    """What the tables `dynamics` and `survival` count: lifetimes of junctions (all; by mean degree below and from 3.5
    on), durations of episodes in each state, lifetimes of tips.
    """
    whole = _spans(junctions, "lifetime_s")
    multi = junctions["mean_degree"].to_numpy(float) >= MULTI_WAY - 0.5
    found = {
        "junctions": whole,
        "junctions_three_way": _part(whole, ~multi),
        "junctions_multi_way": _part(whole, multi),
    }
    spans = _spans(episodes, "duration_s")
    for state in ("three_way", "multi_way"):
        found[f"episodes_{state}"] = _part(spans, (episodes["state"] == state).to_numpy(bool))
    return found | {"tips": _spans(tips, "lifetime_s")}


def _spans(table: pd.DataFrame, column: str) -> Spans:
    return Spans(
        table[column].to_numpy(float),
        (table["began"] != UNSEEN).to_numpy(bool),
        (table["ended"] != UNSEEN).to_numpy(bool),
    )


def _part(spans: Spans, chosen: np.ndarray) -> Spans:
    return Spans(spans.seconds[chosen], spans.begun[chosen], spans.ended[chosen])


def _rate(name: str, count: int, observed_min: float) -> dict[str, object]:
    """An event that has no duration: its number, and its rate per junction and minute."""
    empty: dict[str, object] = dict.fromkeys(DYNAMICS.names, float("nan"))
    rate = count / observed_min if observed_min else float("nan")
    counts = {"n": count, "censored": 0, "km_n": 0, "begins": count, "ends": 0}
    return empty | counts | {"population": name, "observed_min": observed_min, "begins_per_min": rate}
