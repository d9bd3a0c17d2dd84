"""What the demonstration ERnet finds on movie phantoms of SNR 2 to 20, beside Sato + Otsu at its best.

    OMP_NUM_THREADS=1 python tests/bench/ernet_noise.py [--seeds 16] [--size 256] [--model FOLDER] [--part PART]

Frames go through the intensity rule and tiling of the service (`ernet.frames.segment_frame`; the model's ONNX file by
onnxruntime, as Triton runs it) and are traced with the defaults. The phantoms have seeds from 910,000 on, which no
training and no metric uses. Truth is merged at the tubule width + 2 px. Parts, each a table in Markdown:

* `sweep`: SNR by the paper's formula E[S²]/E[N²] and by its words mean(S)/std(N), both as measured from the frame with
  the ER that was found; pixel accuracy; IoU of each class; nodes and edges over the true ones; junction F1, recall and
  precision at 3 px. The row `classes given` traces the true class maps: what tracing alone loses.
* `kept`: the share of each noise-free figure that is left at each SNR (a ratio of counts by its distance from one).
* `gate`: the share of frames whose flag says rightly whether the SNR is at least 5, with the ER found and with the true
  ER; levels close to 5 stand there too.
* `haze`: the SNR measured (ER found) under a smooth background, by its share of the brightest signal.
* `sato`: beside it skimage's Sato filter and Otsu's threshold. All 224 settings of SIGMAS × TRANSFORMS × FACTORS ×
  LEAST_PX are tried on these very frames; at each SNR the setting with the best Dice of tubules counts, and of the
  sixteen best by Dice the one with the best junction F1. The filter knows tubules only, so what it finds inside the
  true sheets and sheet-based tubules is taken away before it is judged; `alone` is without that help.
* `confidence`: pixels by confidence, and the share of them whose class is right.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from cisterna.ernet.frames import segment_frame
from cisterna.ernet.noise_curve import FIRST_SEED, LEVELS, CurvePhantoms
from cisterna.graph import trace_network
from cisterna.graph.snr import OK, SNR_LIMIT, signal_to_noise
from cisterna.models import demo_models
from cisterna.phantoms.er_judging import FrameScore, judge_frame, reliability, share_of_clean, summary, tubule_dice
from cisterna.phantoms.er_movie import SBT, SHEET, TUBULE, MoviePhantom
from scipy.ndimage import gaussian_filter, label
from skimage.filters import sato, threshold_otsu

GATE_LEVELS = (2.0, 3.0, 4.0, 4.5, 5.0, 5.5, 6.0, 10.0, 20.0)
HAZES = (0.0, 0.05, 0.1, 0.25)
BINS = (0.25, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1.001)

SIGMAS = ((1.0,), (1.5,), (2.0,), (2.5,), (3.0,), (1.0, 2.0), (1.5, 2.5), (1.0, 1.5, 2.0, 2.5, 3.0))
TRANSFORMS = {"response": lambda r: r, "root": np.sqrt}
FACTORS = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.2)
LEAST_PX = (1, 50)
TRACED = 16


class Bench:
    def __init__(self, seeds: int, size: int, folder: Path) -> None:
        self.phantoms = CurvePhantoms(seeds=range(FIRST_SEED, FIRST_SEED + seeds), edge_px=size)
        settings = onnxruntime.SessionOptions()
        settings.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(str(folder / "1" / "model.onnx"), settings)
        self.movies = cache(self.phantoms.movie)
        self.segmented = cache(self._segmented)

    def network(self, tile: np.ndarray) -> np.ndarray:
        return np.asarray(self.session.run(None, {self.session.get_inputs()[0].name: tile})[0])

    def _segmented(self, snr: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
        movie = self.movies(snr, seed)
        low, high = float(movie.frames.min()), float(movie.frames.max())
        return segment_frame(movie.frames[0], low, high, self.network)

    def scores(self, snr: float) -> list[FrameScore]:
        found = []
        for seed in self.phantoms.seeds:
            classes, confidence = self.segmented(snr, seed)
            traced = trace_network(classes == TUBULE, 1.0)
            found.append(judge_frame(self.movies(snr, seed), 0, classes, traced, confidence))
        return found

    def given(self) -> list[FrameScore]:
        movies = [self.movies(math.inf, seed) for seed in self.phantoms.seeds]
        return [judge_frame(m, 0, m.classes[0], trace_network(m.classes[0] == TUBULE, 1.0)) for m in movies]

    def ratios(self, snr: float) -> np.ndarray:
        """(frames, 2, 2): SNR by formula and by words, measured with the ER found and with the true ER."""
        rows = []
        for seed in self.phantoms.seeds:
            movie = self.movies(snr, seed)
            both = (signal_to_noise(movie.frames[0], er > 0) for er in (self.segmented(snr, seed)[0], movie.classes[0]))
            rows.append([(s.power, s.mean_std) for s in both])
        return np.array(rows)


def name_of(snr: float) -> str:
    return f"{snr:g}" if math.isfinite(snr) else "no noise"


def sweep(bench: Bench) -> list[dict[str, Any]]:
    rows = [{"snr": "classes given", "formula": math.nan, "words": math.nan, **flat(summary(bench.given()))}]
    for snr in LEVELS:
        power, words = bench.ratios(snr)[:, 0].mean(axis=0)
        rows.append({"snr": name_of(snr), "formula": power, "words": words, **flat(summary(bench.scores(snr)))})
    return rows


def kept(bench: Bench) -> list[dict[str, Any]]:
    clean = summary(bench.scores(math.inf))
    return [{"snr": name_of(s), **share_of_clean(summary(bench.scores(s)), clean)} for s in LEVELS if math.isfinite(s)]


def gate(bench: Bench) -> list[dict[str, Any]]:
    rows = []
    for snr in GATE_LEVELS:
        hits = []
        for er in (0, 1):
            flags = []
            for seed in bench.phantoms.seeds:
                movie = bench.movies(snr, seed)
                classes = bench.segmented(snr, seed)[0] if er == 0 else movie.classes[0]
                flags.append((signal_to_noise(movie.frames[0], classes > 0).flag == OK) == (snr >= SNR_LIMIT))
            hits.append(float(np.mean(flags)))
        power = bench.ratios(snr)[:, 0, 0]
        rows.append(
            {
                "snr": name_of(snr),
                "measured": power.mean(),
                "s.d.": power.std(),
                "hits, ER found": hits[0],
                "hits, true ER": hits[1],
            }
        )
    return rows


def haze(bench: Bench) -> list[dict[str, Any]]:
    rows = []
    for snr in (3.0, 5.5, 10.0, 20.0):
        row: dict[str, Any] = {"snr": name_of(snr)}
        for share in HAZES:
            power = []
            for seed in bench.phantoms.seeds:
                frame = hazy(bench.movies(math.inf, seed).frames[0], share, snr, seed)
                classes, _ = segment_frame(frame, float(frame.min()), float(frame.max()), bench.network)
                power.append(signal_to_noise(frame, classes > 0).power)
            row[f"haze {share:g}"] = float(np.mean(power))
        rows.append(row)
    return rows


def hazy(clean: np.ndarray, share: float, snr: float, seed: int) -> np.ndarray:
    rng = np.random.default_rng([seed, 91])
    signal = clean.astype(float) - clean.min()
    smooth = gaussian_filter(rng.standard_normal(signal.shape), min(signal.shape) / 6)
    smooth *= share * signal.max() / np.abs(smooth).max()
    return np.asarray(signal + smooth + rng.normal(0, np.sqrt((signal**2).mean() / snr), signal.shape))


def responses(frame: np.ndarray) -> dict[tuple[float, ...], np.ndarray]:
    """Sato's response at every set of sigmas: the largest of its scales."""
    scales = sorted({s for sigmas in SIGMAS for s in sigmas})
    single = {s: sato(frame.astype(float), sigmas=[s], black_ridges=False) for s in scales}
    return {sigmas: np.max([single[s] for s in sigmas], axis=0) for sigmas in SIGMAS}


def without_small(mask: np.ndarray, least_px: int) -> np.ndarray:
    parts, _ = label(mask, np.ones((3, 3)))
    sizes = np.bincount(parts.ravel())
    return np.asarray(mask & (sizes >= least_px)[parts])


def known_elsewhere(movie: MoviePhantom, helped: bool) -> np.ndarray:
    return np.isin(movie.classes[0], (SBT, SHEET)) & helped


def masks(movie: MoviePhantom, helped: bool) -> Iterator[tuple[tuple[Any, ...], np.ndarray]]:
    """Every setting (sigmas, transform, factor, least part) and the tubules that it finds."""
    elsewhere = known_elsewhere(movie, helped)
    for sigmas, response in responses(movie.frames[0]).items():
        for transform, change in TRANSFORMS.items():
            values = change(response)
            otsu = threshold_otsu(values)
            for factor, least in itertools.product(FACTORS, LEAST_PX):
                yield (sigmas, transform, factor, least), without_small((values > factor * otsu) & ~elsewhere, least)


def sato_scores(movies: Sequence[MoviePhantom], helped: bool) -> dict[tuple[Any, ...], list[FrameScore]]:
    """Scores of the TRACED settings with the best Dice over all movies."""
    overlap: dict[tuple[Any, ...], np.ndarray] = {}
    for movie in movies:
        true = movie.classes[0] == TUBULE
        for setting, mask in masks(movie, helped):
            overlap[setting] = overlap.get(setting, 0) + np.array([2 * (mask & true).sum(), mask.sum() + true.sum()])
    best = sorted(overlap, key=lambda s: -overlap[s][0] / overlap[s][1])[:TRACED]
    found: dict[tuple[Any, ...], list[FrameScore]] = {}
    for movie in movies:
        others = np.where(known_elsewhere(movie, helped), movie.classes[0], 0)
        for setting, mask in masks(movie, helped):
            if setting in best:
                classes = np.where(mask, TUBULE, others)
                found.setdefault(setting, []).append(judge_frame(movie, 0, classes, trace_network(mask, 1.0)))
    return found


def beside_sato(bench: Bench) -> list[dict[str, Any]]:
    rows = []
    for snr in LEVELS:
        movies = [bench.movies(snr, seed) for seed in bench.phantoms.seeds]
        sets = {"demo-ernet": ("", bench.scores(snr))}
        for helped, name in ((True, "Sato, helped"), (False, "Sato alone")):
            tried = sato_scores(movies, helped)
            by_dice = max(tried, key=lambda s: tubule_dice(tried[s]))
            by_f1 = max(tried, key=lambda s: summary(tried[s])["junction_f1"])
            for what, chosen in (("best Dice", by_dice), ("best F1", by_f1)):
                sets[f"{name}, {what}"] = (setting(chosen), tried[chosen])
        for route, (words, scores) in sets.items():
            figures = summary(scores)
            wanted = {n: figures[n] for n in ("node_ratio", "edge_ratio", "junction_f1")}
            dice = {"tubule_dice": tubule_dice(scores)}
            rows.append({"snr": name_of(snr), "route": route, **dice, **wanted, "setting": words})
    return rows


def setting(chosen: tuple[Any, ...]) -> str:
    sigmas, transform, factor, least = chosen
    return f"σ {', '.join(f'{s:g}' for s in sigmas)} px; {factor:g} × Otsu of the {transform}; parts ≥ {least} px"


def confidence(bench: Bench) -> list[dict[str, Any]]:
    rows = []
    for snr in LEVELS:
        scores = bench.scores(snr)
        bins = {f"{r['low']:g}–{min(r['high'], 1):g}": r["share_right"] for r in reliability(scores, BINS)}
        about = summary(scores)
        rows.append(
            {
                "snr": name_of(snr),
                **bins,
                "mean confidence": about["mean_confidence"],
                "share right": about["pixel_accuracy"],
                "calibration error": about["calibration_error"],
            }
        )
    return rows


def flat(row: dict[str, Any]) -> dict[str, Any]:
    whole = {k: v for k, v in row.items() if k not in ("iou", "mean_confidence", "calibration_error", "width_px")}
    return whole | {f"IoU {k}": v for k, v in row["iou"].items()}


def markdown(rows: Sequence[dict[str, Any]]) -> str:
    def cell(value: Any) -> str:
        if isinstance(value, str):
            return value
        return "–" if math.isnan(value) else f"{value:.3f}" if value < 2 else f"{value:.2f}"

    names = list(rows[0])
    lines = [names, ["---"] * len(names), *([cell(r[n]) for n in names] for r in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


PARTS = {"sweep": sweep, "kept": kept, "gate": gate, "haze": haze, "sato": beside_sato, "confidence": confidence}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=16)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--model", type=Path, default=next(p for p in demo_models() if p.name == "demo-ernet"))
    parser.add_argument("--part", action="append", choices=PARTS)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    bench = Bench(options.seeds, options.size, options.model)
    found = {part: PARTS[part](bench) for part in options.part or PARTS}
    if options.json:
        print(json.dumps(found, indent=1))
        return
    for part, rows in found.items():
        print(f"{part}\n\n{markdown(rows)}\n")


if __name__ == "__main__":
    main()
