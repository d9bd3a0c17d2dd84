"""Junctions through time against the truth of phantom movies: links, lifetimes, events, tips, and the floor.

    OMP_NUM_THREADS=1 python tests/bench/graph_dynamics.py links lifetimes floor speed [--seeds 4] [--json]

`links`: precision and recall at mean displacements of 0.5 to 3 px a frame. `lifetimes`: planted births and deaths,
found against true by the same definitions. `floor`: static scenes through perfect masks and through demo-ernet, and the
run's own static scene beside the true one. `speed`: 60 frames of 1,600 junctions.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from cisterna.graph import TrackingParameters, trace_network
from cisterna.graph.dynamics import Dynamics, measure_dynamics, populations
from cisterna.graph.static_scene import static_scene
from cisterna.graph.survival import Spans, born_in_view, figures
from cisterna.graph.tracking import follow
from cisterna.phantoms.er_movie import MoviePhantom, er_movie
from cisterna.phantoms.er_truth import LinkScore, score_links, shown_network

LIVING = {
    "lifetime_s": 8.0,
    "remodelling": 0.2,
    "tip_speed_um_per_s": 0.4,
    "step_px": 0.5,
    "drift_px": 1.0,
    "least_tubule_px": 9.0,
    "sheet": False,
}
FIGURES = ("n", "censored_share", "naive_mean_s", "km_median_s", "km_mean_s", "mean_by_rate_s")
HORIZON_S = 30.0
Rows = Iterator[dict[str, object]]


def traced(classes: np.ndarray, pixel_um: float = 0.1) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Nodes and edges of all frames of a class map (t, y, x)."""
    networks = [trace_network(c == 2, pixel_size_um=pixel_um) for c in classes]
    tables = [
        pd.concat([getattr(n, kind).assign(frame=f) for f, n in enumerate(networks)], ignore_index=True)
        for kind in ("nodes", "edges")
    ]
    return tables[0], tables[1]


def segmented(frames: np.ndarray) -> np.ndarray:
    """Classes (t, y, x) by demo-ernet."""
    import torch
    from cisterna.ernet.frames import segment_frame
    from cisterna.ernet.train import torch_network
    from cisterna.models import demo_models, load_model

    torch.set_num_threads(1)
    (folder,) = [Path(p) for p in demo_models() if Path(p).name == "demo-ernet"]
    network = torch_network(load_model(folder))
    low, high = float(frames.min()), float(frames.max())
    return np.stack([segment_frame(frame, low, high, network)[0] for frame in frames])


def field_of(movie: MoviePhantom) -> tuple[float, float]:
    y, x = ((n - 1) * movie.pixel_size_um for n in movie.frames.shape[1:])
    return y, x


def measured(
    movie: MoviePhantom, classes: np.ndarray, parameters: TrackingParameters
) -> tuple[Dynamics, Dynamics, LinkScore]:
    """Found and true dynamics of a movie, and the score of the links."""
    shown, shown_edges = shown_network(movie)
    span = (len(movie.frames), movie.frame_interval_s, parameters, field_of(movie))
    found = measure_dynamics(*traced(classes, movie.pixel_size_um), *span)
    true = measure_dynamics(shown, shown_edges, *span, names=shown["name"].to_numpy(np.int64))
    seen = found.nodes[found.nodes["kind"] == "junction"].rename(columns={"junction_id": "track"})
    junctions = shown[shown["kind"] == "junction"].reset_index(drop=True)
    return found, true, score_links(seen, junctions, 5 * movie.pixel_size_um)


def links(seeds: int) -> Rows:
    for step in (0.5, 1.0, 2.0, 3.0):
        movies = [er_movie(24, seed=9600 + s, **{**LIVING, "step_px": step}) for s in range(seeds)]
        for reach in (TrackingParameters().max_displacement_um, 1.2):
            total = LinkScore(0, 0, 0, 0, 0, 0)
            for movie in movies:
                total += measured(movie, movie.classes, TrackingParameters(max_displacement_um=reach))[2]
            yield {"step_px": step, "max_displacement_um": reach, **scores(total)}


def scores(score: LinkScore) -> dict[str, float]:
    names = ("precision", "precision_detected", "recall_detected", "recall")
    return {"links": score.found, **{k: round(getattr(score, k), 4) for k in names}}


def lifetimes(seeds: int) -> Rows:
    for scene, change in {
        "growing tips": {},
        "at once": {"tip_speed_um_per_s": 0.0},
        "meetings, all lengths": {"least_tubule_px": 0.0, "remodelling": 0.1, "meetings": 0.08},
    }.items():
        pairs = []
        total = LinkScore(0, 0, 0, 0, 0, 0)
        for seed in range(seeds):
            movie = er_movie(60, seed=9710 + seed, **{**LIVING, **change})
            found, true, score = measured(movie, movie.classes, TrackingParameters())
            pairs.append((found, true))
            total += score
        yield {"scene": scene, **scores(total)}
        for name in ("junctions", "episodes_three_way", "episodes_multi_way"):
            for side, label in ((0, "found"), (1, "true")):
                spans = pooled([populations(p[side].junctions, p[side].episodes, p[side].tips)[name] for p in pairs])
                yield {"scene": scene, "population": name, "of": label, **summary(spans)}
        for side, label in ((0, "found"), (1, "true")):
            counts = pd.concat([p[side].events["event"] for p in pairs]).value_counts().sort_index()
            yield {"scene": scene, "events": label, **{str(k): int(v) for k, v in counts.items()}}
        phases = pd.concat([p[0].tip_phases for p in pairs])
        speed = {
            f"{way} um/s": round(float(part["speed_um_per_s"].median()), 3) for way, part in phases.groupby("direction")
        }
        planted = {**LIVING, **change}["tip_speed_um_per_s"]
        yield {"scene": scene, "phases": len(phases), **speed, "planted": planted}


def pooled(spans: list[Spans]) -> Spans:
    return Spans(*(np.concatenate([getattr(s, k) for s in spans]) for k in ("seconds", "begun", "ended")))


def summary(spans: Spans) -> dict[str, float]:
    """The columns of `dynamics`, with the Kaplan-Meier mean up to a common horizon."""
    found = figures(spans)
    curve = born_in_view(spans)
    curve = curve[curve["time_s"] < HORIZON_S]
    steps = np.concatenate([[0.0], curve["time_s"], [HORIZON_S]])
    area = float((np.diff(steps) * np.concatenate([[1.0], curve["survival"]])).sum())
    return {k: round(float(found[k]), 2) for k in FIGURES if k != "km_mean_s"} | {"km_mean_30_s": round(area, 2)}


def floor(seeds: int, frames: int = 12) -> Rows:
    """Static phantoms: the true masks (nothing changes), demo-ernet on them, and the run's own static scene."""
    masks = [er_movie(frames, seed=9500 + s, static=True) for s in range(seeds)]
    perfect = [measure_dynamics(*traced(m.classes), frames, 1.0, None, field_of(m)) for m in masks]
    yield {"snr": float("inf"), "of": "true masks", **floor_figures(perfect)}
    for snr in (2.0, 3.0, 5.0, 10.0, 20.0):
        found: dict[str, list[Dynamics]] = {"true scene": [], "own scene": []}
        for seed in range(seeds):
            movie = er_movie(frames, seed=9500 + seed, snr=snr, static=True)
            classes = segmented(movie.frames)
            scene = static_scene(movie.frames[frames // 2], classes[frames // 2])
            again = segmented(np.stack([scene.frame(n) for n in range(frames)]))
            for name, own in (("true scene", classes), ("own scene", again)):
                found[name].append(measure_dynamics(*traced(own), frames, 1.0, TrackingParameters(), field_of(movie)))
        for name, parts in found.items():
            yield {"snr": snr, "of": name, **floor_figures(parts)}


def floor_figures(parts: list[Dynamics]) -> dict[str, float]:
    """Per junction and minute: births, deaths, changes; the naive means that noise alone gives."""
    spans = [populations(p.junctions, p.episodes, p.tips) for p in parts]
    whole = figures(pooled([s["junctions"] for s in spans]))
    events = pd.concat([p.events["event"] for p in parts])
    change = int(events.isin(["to_multi_way", "to_three_way"]).sum())
    row = {
        "junctions": whole["n"],
        "births": whole["begins_per_min"],
        "deaths": whole["ends_per_min"],
        "changes": change / whole["observed_min"],
        "naive_mean_s": whole["naive_mean_s"],
    }
    for state in ("three_way", "multi_way"):
        row[f"{state}_s"] = figures(pooled([s[f"episodes_{state}"] for s in spans]))["naive_mean_s"]
    return {k: round(float(v), 2) for k, v in row.items()}


def speed(seeds: int) -> Rows:
    """60 frames of 1,600 junctions at random, 2.5 % of them new in every frame; linking alone, and all tables."""
    rng = np.random.default_rng(0)
    home = rng.uniform(0, 100, (1600, 2))
    frames = []
    for frame in range(60):
        gone = rng.random(1600) < 0.025
        home[gone] = rng.uniform(0, 100, (int(gone.sum()), 2))
        places = home + rng.normal(0, 0.08, (1600, 2))
        frames.append(
            pd.DataFrame({"frame": frame, "node_id": range(1600), "y_um": places[:, 0], "x_um": places[:, 1]})
        )
    nodes = pd.concat(frames, ignore_index=True).assign(kind="junction")
    nodes["degree"] = rng.choice([3, 4], len(nodes), p=[0.9, 0.1])
    pairs = np.arange(0, len(nodes), 2)
    edges = pd.DataFrame(
        {"frame": nodes["frame"].to_numpy()[pairs], "node_a": nodes["node_id"].to_numpy()[pairs], "length_um": 0.8}
    )
    edges["node_b"] = edges["node_a"] + 1
    best = [np.inf, np.inf]
    for _ in range(max(seeds, 2)):
        start = time.process_time()
        follow(nodes[["y_um", "x_um"]].to_numpy(), nodes["frame"].to_numpy(), 60, 0.5, 1)
        middle = time.process_time()
        measure_dynamics(nodes, edges, 60, 1.0)
        best = [min(best[0], middle - start), min(best[1], time.process_time() - middle)]
    yield {"linking_s": round(best[0], 3), "all_tables_s": round(best[1], 3)}


PARTS: dict[str, Callable[[int], Rows]] = {"links": links, "lifetimes": lifetimes, "floor": floor, "speed": speed}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], help="which figures (default: all)")
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    for name in args.parts or PARTS:
        for row in PARTS[name](args.seeds):
            print(
                json.dumps({"part": name, **row}) if args.json else "  ".join(f"{k} {v}" for k, v in row.items()),
                flush=True,
            )


if __name__ == "__main__":
    main()
