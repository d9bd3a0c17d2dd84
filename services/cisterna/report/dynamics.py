"""What junctions and tips do in time, as sections of the movie report: every figure with its floor beside it."""

from dataclasses import dataclass, field

import pandas as pd

from cisterna.report import dynamics_figures as figures
from cisterna.report.canvas import picture
from cisterna.report.page import Grid, Section, Tile, number
from cisterna.tables.networks import (
    DYNAMICS,
    EPISODES,
    EVENTS,
    FLOOR,
    FLOOR_SCENE,
    FLOOR_SURVIVAL,
    SURVIVAL,
    TIP_PHASES,
    TIPS,
)

POPULATIONS = (
    ("junctions", "junctions"),
    ("junctions_three_way", "mostly three-way"),
    ("junctions_multi_way", "mostly multi-way"),
    ("episodes_three_way", "three-way episodes"),
    ("episodes_multi_way", "multi-way episodes"),
    ("tips", "tips"),
)
EVENT_NAMES = ("birth", "death", "merge", "split", "to_multi_way", "to_three_way")
NOISY_SHARE = 0.5
"""Where the floor reaches this share of a rate, most of what is seen may be noise."""


DYNAMICS_TABLES = (
    EPISODES, EVENTS, TIPS, TIP_PHASES, DYNAMICS, SURVIVAL, FLOOR, FLOOR_SURVIVAL, FLOOR_SCENE,
)  # fmt: skip


@dataclass(frozen=True)
class DynamicsTables:
    """The tables of the same names (`DYNAMICS_TABLES`, in this order); empty where the run did not write them."""

    episodes: pd.DataFrame = field(default_factory=EPISODES.frame)
    events: pd.DataFrame = field(default_factory=EVENTS.frame)
    tips: pd.DataFrame = field(default_factory=TIPS.frame)
    tip_phases: pd.DataFrame = field(default_factory=TIP_PHASES.frame)
    dynamics: pd.DataFrame = field(default_factory=DYNAMICS.frame)
    survival: pd.DataFrame = field(default_factory=SURVIVAL.frame)
    floor: pd.DataFrame = field(default_factory=FLOOR.frame)
    floor_survival: pd.DataFrame = field(default_factory=FLOOR_SURVIVAL.frame)
    floor_scene: pd.DataFrame = field(default_factory=FLOOR_SCENE.frame)


def dynamics_sections(junctions: pd.DataFrame, tables: DynamicsTables) -> list[Section]:
    """Junctions and tips; one sentence where no junction was followed."""
    if not len(junctions):
        return [Section("Junctions", text=["No junction was followed from one frame to the next."])]
    rates = event_rates(tables)
    seen = int((~junctions["censored"].astype(bool)).sum())
    born = tables.survival[tables.survival["population"] == "junctions"]
    ends = "" if born["ended"].sum() else "; no end was seen of one born in view"
    lives = f"Lifetimes of {len(junctions)} junctions, {len(junctions) - seen} of them cut off{ends}."
    noisy = [
        f"{r.words} ({number(r.per_min)} here, {number(r.floor_per_min)} in the static scene)"
        for r in rates
        if r.floor_per_min >= NOISY_SHARE * r.per_min > 0
    ]
    text = [
        "Cut off: birth or death fell outside the movie, near the border of the field, or beside a sheet. "
        "The naive mean takes such times as whole. Kaplan–Meier counts junctions whose birth was seen, the rest being "
        "of unknown age; the mean by rate is all time seen over all deaths seen.",
        floor_words(tables.floor_scene),
    ]
    if noisy:
        text.append(f"At least half of these may be noise: {'; '.join(noisy)}.")
    words = "Episodes in each state, and events per junction and minute, beside those of the static scene."
    sections = [
        Section(
            "Junctions",
            text=text,
            pictures=[
                picture(
                    figures.lifetime_figure(junctions, tables.dynamics, tables.survival, tables.floor_survival),
                    lives,
                    lives + " Band: 95 % limits.",
                ),
                picture(figures.episode_figure(tables.survival, tables.floor_survival, rates), words, words),
            ],
            grids=[_lifetimes(tables), _events(rates)],
        )
    ]
    if len(tables.tips):
        sections.append(_tips(tables))
    return sections


def event_rates(tables: DynamicsTables) -> list[figures.EventRate]:
    """How often each event happens per junction and minute; the floor is NaN where none was measured.

    A birth or death that is a split or merge counts as that alone.
    """
    return [
        figures.EventRate(
            event.replace("_", " "),
            int((tables.events["event"] == event).sum()),
            _of(tables.dynamics, event, "begins_per_min"),
            _of(tables.floor, event, "begins_per_min"),
        )
        for event in EVENT_NAMES
    ]


def floor_words(scene: pd.DataFrame) -> str:
    """What the static scene was, in a sentence."""
    if not len(scene):
        return "No floor was measured (`graph.static_floor_frames`): noise alone makes junctions die and switch, too."
    row = scene.iloc[0]
    measured = row["noise_source"] == "background"
    noise = "the background's" if measured else "that of the finest detail (there is no clean background)"
    return (
        f"Floor: frame {int(row['source_frame'])} drawn again {int(row['frames'])} times without motion, each time "
        f"with fresh noise as strong as {noise} (SNR {number(row['snr_power'])}, blur {number(row['psf_sigma_px'])} "
        f"px, {100 * row['explained']:.0f} % of that frame explained), and sent through the same model, tracing and "
        "tracking. What dies or switches there does so by noise alone."
    )


def _of(table: pd.DataFrame, population: str, column: str) -> float:
    own = table.loc[table["population"] == population, column]
    return float(own.iloc[0]) if len(own) else float("nan")


def _lifetimes(tables: DynamicsTables) -> Grid:
    rows = []
    for name, label in POPULATIONS:
        n = _of(tables.dynamics, name, "n")
        if not n > 0:
            continue
        rows.append(
            (
                label,
                int(n),
                100 * _of(tables.dynamics, name, "censored_share"),
                _of(tables.dynamics, name, "naive_mean_s"),
                int(_of(tables.dynamics, name, "km_n")),
                *(_of(tables.dynamics, name, f"km_{c}_s") for c in ("median", "mean", "horizon")),
                _of(tables.dynamics, name, "mean_by_rate_s"),
                *(_of(tables.floor, name, c) for c in ("naive_mean_s", "km_median_s", "mean_by_rate_s")),
            )
        )
    header = (
        "", "n", "cut off %", "naive mean s", "born in view", "Kaplan–Meier median s", "Kaplan–Meier mean s", "up to s",
        "mean by rate s", "floor: naive mean s", "floor: median s", "floor: mean by rate s",
    )  # fmt: skip
    note = (
        "Mostly multi-way: mean degree from 3.5 on. – : undefined, or more than half outlived the movie. The floor's "
        "naive means cannot exceed its few frames; compare means by rate."
    )
    return Grid("Lifetimes and durations", header, rows, note, wide=True)


def _events(rates: list[figures.EventRate]) -> Grid:
    rows = [(r.words, r.n, r.per_min, r.floor_per_min) for r in rates]
    return Grid("Events", ("event", "n", "per junction and minute", "floor"), rows)


def _tips(tables: DynamicsTables) -> Section:
    phases = tables.tip_phases
    tiles = [Tile(len(tables.tips), "tips followed")]
    for way in ("growth", "retraction"):
        speed = phases.loc[phases["direction"] == way, "speed_um_per_s"]
        tiles.append(Tile(float(speed.median()) if len(speed) else float("nan"), f"µm/s, median speed of {way}"))
    ways = (("ended", "fusion", "fused into a junction"), ("began", "release", "left by a junction"))
    for column, word, label in ways:
        tiles.append(Tile(int((tables.tips[column] == word).sum()), label))
    words = "Speeds along the tubule, one entry a phase of growth or retraction."
    return Section("Tips", tiles=tiles, pairs=[picture(figures.tip_figure(phases), words, words)])
