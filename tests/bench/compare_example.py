"""A study on phantoms, run for real: two conditions, three experiments that hold both, two cells each.

The knock-out has 30 % more tubules and was recorded four times brighter. Both differences are planted; only the first
is biology. The study is compared as it is, then the brighter runs are dimmed with the commands that `cisterna compare`
prints and it is compared again. Starts and stops the one-machine stack in a home of its own.

    python tests/bench/compare_example.py FOLDER            # about 18 short runs
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from cisterna.phantoms import er_movie, save_movie

EXPERIMENTS, CELLS = 3, 2
CONDITIONS = {"control": (1.0, 8.0), "knock-out": (1.3, 32.0)}
"""Density of tubules relative to the control, and SNR as drawn."""
FRAMES, SIDE = 4, 208
METRICS = ("junctions_per_um2", "mean_length_um", "multi_way_share", "tip_share", "mean_width_um", "mean_confidence",
           "largest_component_node_share", "degree_assortativity")  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder.resolve()
    home = folder / "home"
    env = {**os.environ, "CISTERNA_HOME": str(home), "CISTERNA_STORE": f"file://{home}/store"}

    def cisterna(*words: object) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "cisterna.cli.main", *map(str, words)], env=env, text=True, capture_output=True
        )
        if done.returncode:
            raise SystemExit(f"cisterna {shlex.join(map(str, words))} ended with {done.returncode}: {done.stderr}")
        return done.stdout

    def runs(submissions: list[list[str]]) -> list[str]:
        """Run ids, once all have ended. No lifetimes are compared, so no static scene is needed for their floor."""
        floor = ("--set", "graph.static_floor_frames=0")
        found = [cisterna("submit", "er-movie", *words, *floor).split()[0] for words in submissions]
        for run_id in found:
            cisterna("wait", run_id)
        return found

    cisterna("up")
    try:
        places = movies(folder / "movies")
        rows = [(r, *place) for r, place in zip(runs([[str(p)] for p in places]), places.values(), strict=True)]
        first = compared(cisterna, folder, "as-recorded", rows)
        commands = [shlex.split(command)[3:] for command in first["snr"]["commands"]]
        dimmed = dict(zip([words[0] for words in commands], runs(commands), strict=True))
        second = compared(cisterna, folder, "matched", [(dimmed.get(r, r), *place) for r, *place in rows])
    finally:
        cisterna("down")
    print(f"SNR as recorded {first['snr']['median']}, matched {second['snr']['median']}")
    for about in (first, second):
        print(pd.DataFrame(about["effects"])[["metric", "mean_a", "mean_b", "difference", "hedges_g", "p"]].to_string())
    return 0


def movies(folder: Path) -> dict[Path, tuple[str, str, str]]:
    """Writes the movies: an experiment changes density and brightness of both its conditions."""
    rng, found, seed = np.random.default_rng(1), {}, 9600
    for experiment in range(EXPERIMENTS):
        dish, light = np.exp(rng.normal(0, 0.08)), np.exp(rng.normal(0, 0.1))
        for condition, (density, snr) in CONDITIONS.items():
            for cell in range(CELLS):
                place = folder / f"{condition}-{experiment}-{cell}"
                phantom = er_movie(
                    FRAMES, (SIDE, SIDE), snr=snr * light, seed=seed, seeds_per_um2=0.12 * density * dish,
                )  # fmt: skip
                save_movie(place, phantom)
                found[place / "movie.tif"] = (condition, f"day {experiment + 1}", f"cell {cell + 1}")
                seed += 1
    return found


def compared(cisterna: Any, folder: Path, name: str, rows: list[tuple[str, ...]]) -> dict[str, Any]:
    table = pd.DataFrame(rows, columns=["run", "condition", "experiment", "cell"])
    study = folder / f"{name}.csv"
    table.to_csv(study, index=False)
    chosen = [word for metric in METRICS for word in ("--metric", metric)]
    document: dict[str, Any] = json.loads(cisterna("compare", study, "--out", folder / name, "--json", *chosen))
    print(f"{name}: {folder / name}/compare.html")
    return document


if __name__ == "__main__":
    raise SystemExit(main())
