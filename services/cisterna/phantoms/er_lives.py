"""What makes an ER phantom live: tubules that come and go, tips that grow and retract, junctions that meet and wander.

Everything is drawn from the seed before the first frame, so the truth of every frame is exact.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

LEAST_ABSENCE_FRAMES = 5
"""So long a tubule stays away at least: longer than any gap that tracking closes (2 frames)."""
LEAST_LIFE_FRAMES = 2
LEAST_MORTAL_PX = 14.0
"""Shorter tubules never come and go: their two junctions would be one in the picture."""
LONGEST_MEETING_PX = 22.0
"""Junctions farther apart than this never meet."""
MEETING_SPEED_PX_PER_S = 2.0


@dataclass(frozen=True)
class Living:
    """Times of tubules and meetings, and the wandering of junctions. Indices are edges and vertices of the network."""

    spells: dict[int, NDArray[np.float64]] = field(default_factory=dict)  # edge: (k, 2) from and to, s
    from_second: dict[int, bool] = field(default_factory=dict)  # edge: grows out of its second vertex
    speed_px_per_s: float = 0.0  # of tips; 0: a tubule appears and vanishes at once
    meetings: dict[int, NDArray[np.float64]] = field(default_factory=dict)  # edge whose ends meet: (k, 2) s
    wander: NDArray[np.float64] | None = None  # (frames, vertices, 2) px

    def grown(self, edge: int, length_px: float, time_s: float) -> float:
        """Length (px) of a tubule that is there at `time_s`, of `length_px` when whole."""
        if edge not in self.spells:
            return length_px
        for start, stop in self.spells[edge]:
            if not self.speed_px_per_s:
                if start <= time_s < stop:
                    return length_px
                continue
            out = min(length_px, (min(time_s, stop) - start) * self.speed_px_per_s)
            left = out - max(0.0, time_s - stop) * self.speed_px_per_s
            if time_s >= start and left > 0:
                return float(left)
        return 0.0

    def moved(
        self, places: NDArray[np.float64], edges: NDArray[np.int64], frame: int, time_s: float
    ) -> NDArray[np.float64]:
        """Vertices (n, 2) with their wandering, and the ends of meeting tubules drawn together."""
        places = places + self.wander[frame] if self.wander is not None else places.copy()
        for edge, times in self.meetings.items():
            a, b = edges[edge]
            apart = places[b] - places[a]
            ramp = MEETING_SPEED_PX_PER_S / max(float(np.linalg.norm(apart)) / 2, 1e-9)
            share = max((float(np.clip(min((time_s - t0) * ramp, (t1 - time_s) * ramp), 0, 1)) for t0, t1 in times))
            places[a] += 0.5 * share * apart
            places[b] -= 0.5 * share * apart
        return places


def draw_living(
    vertices: NDArray[np.float64],
    edges: NDArray[np.int64],
    frames: int,
    frame_interval_s: float,
    rng: np.random.Generator,
    *,
    mortal_share: float = 0.0,
    lifetime_s: float = 0.0,
    speed_px_per_s: float = 0.0,
    meeting_share: float = 0.0,
    step_px: float = 0.0,
) -> Living:
    """Chooses mortal tubules (no two share a junction) and meeting junctions, and draws their times.

    Lives are exponential with mean `lifetime_s` beyond `LEAST_LIFE_FRAMES`, absences and meetings last half as long
    beyond `LEAST_ABSENCE_FRAMES`; the process is in its steady state when the movie begins. `step_px` is the mean
    distance that a junction wanders from one frame to the next, round its place (correlation 0.5 between frames).
    """
    length = np.linalg.norm(vertices[edges[:, 0]] - vertices[edges[:, 1]], axis=1)
    order = rng.permutation(len(edges))
    taken = np.zeros(len(vertices), bool)
    duration_s = frames * frame_interval_s
    spells: dict[int, NDArray[np.float64]] = {}
    meetings: dict[int, NDArray[np.float64]] = {}
    from_second: dict[int, bool] = {}
    wanted = round(mortal_share * len(edges)) if lifetime_s else 0
    least, least_away = LEAST_LIFE_FRAMES * frame_interval_s, LEAST_ABSENCE_FRAMES * frame_interval_s
    for edge in order.tolist():
        a, b = edges[edge]
        if len(spells) >= wanted:
            break
        if length[edge] < LEAST_MORTAL_PX or taken[a] or taken[b]:
            continue
        taken[[a, b]] = True
        # With a growing tip, a life ends when the tip starts back and an absence starts when it is gone.
        away = least_away + (1.2 * length[edge] / speed_px_per_s if speed_px_per_s else 0.0)
        spells[edge] = _spells(rng, duration_s, least, max(lifetime_s - least, 0.0), away, lifetime_s / 2)
        from_second[edge] = bool(rng.random() < 0.5)
    for edge in order.tolist():
        a, b = edges[edge]
        if len(meetings) >= round(meeting_share * len(edges)):
            break
        if not LEAST_MORTAL_PX <= length[edge] <= LONGEST_MEETING_PX or taken[a] or taken[b]:
            continue
        taken[[a, b]] = True
        pause = (lifetime_s or 10 * frame_interval_s) / 2
        meetings[edge] = _spells(rng, duration_s, least_away, pause, 2 * least_away, pause)
    wander = _wander(len(vertices), frames, step_px, rng) if step_px else None
    return Living(spells, from_second, speed_px_per_s, meetings, wander)


def _spells(
    rng: np.random.Generator, duration_s: float, least: float, mean: float, least_away: float, mean_away: float
) -> NDArray[np.float64]:
    """Times (k, 2) of presence that touch 0 … `duration_s`, of a renewal process begun long before."""
    time_s = -10 * (least + mean + least_away + mean_away) * (1 + rng.random())
    found = []
    while time_s < duration_s:
        stop = time_s + least + rng.exponential(mean)
        found.append((time_s, stop))
        time_s = stop + least_away + rng.exponential(mean_away)
    # Ends before the movie stay: a tip may still be on its way back.
    return np.array(found[-max(4, int(duration_s / (least + least_away)) + 4) :])


def _wander(count: int, frames: int, step_px: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """(frames, count, 2): an autoregressive walk round 0 whose mean step is `step_px`."""
    spread = step_px / np.sqrt(np.pi / 2)  # a step's length is Rayleigh: its mean is spread · √(π/2)
    walk = np.empty((frames, count, 2))
    walk[0] = rng.normal(0, spread, (count, 2))
    for frame in range(1, frames):
        # With correlation ρ = 0.5 the step's variance is 2 (1 − ρ) = 1 times that of the walk.
        walk[frame] = 0.5 * walk[frame - 1] + rng.normal(0, np.sqrt(0.75) * spread, (count, 2))
    return walk


def contracted(
    vertices: NDArray[np.float64], edges: NDArray[np.int64], least_px: float
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]:
    """Edges shorter than `least_px` are taken out and their ends made one: four-way junctions are planted so.

    Shortest first, and no junction twice: where more than four meet, tubules run side by side and no picture shows
    where. Returns the vertices (joined ones at their mean place), the ends of the edges that are left, and which rows
    of `edges` these are.
    """
    stands, taken = np.arange(len(vertices)), np.zeros(len(vertices), bool)
    length = np.linalg.norm(vertices[edges[:, 0]] - vertices[edges[:, 1]], axis=1)
    for edge in np.argsort(length, kind="stable"):
        a, b = edges[edge]
        if length[edge] < least_px and not (taken[a] or taken[b]):
            taken[[a, b]] = True
            stands[max(a, b)] = min(a, b)
    ends = np.sort(stands[edges], axis=1)
    _, first = np.unique(ends, axis=0, return_index=True)
    keep = np.sort(first)
    keep = keep[ends[keep, 0] != ends[keep, 1]]
    members = np.bincount(stands, minlength=len(vertices))
    sums = np.stack([np.bincount(stands, vertices[:, k], len(vertices)) for k in (0, 1)], axis=1)
    return (sums / np.maximum(members, 1)[:, None])[stands], stands[edges[keep]], keep
