"""CPU time of everything between a traced network and its rows, on one 1024² frame with sheets, one core.

    OMP_NUM_THREADS=1 python tests/bench/figure_speed.py [--rounds 7] [--json]

CPU milliseconds, best of the rounds: so a busy machine matters little. `trace_network` and `all rows` stand beside the
parts for scale.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable

import numpy as np
from cisterna.graph import TracingParameters, trace_network
from cisterna.graph.areas import area_shares
from cisterna.graph.assembly import with_sheets
from cisterna.graph.confidence import confidences
from cisterna.graph.contacts import contacts
from cisterna.graph.figures import figures
from cisterna.graph.frames import from_npz, to_npz, trace_frame
from cisterna.graph.measuring import measure
from cisterna.graph.meshes import meshes
from cisterna.graph.metrics import network_metrics
from cisterna.graph.multi_way import multi_way_rows
from cisterna.graph.parameters import FigureParameters
from cisterna.graph.snr import signal_to_noise
from cisterna.phantoms.er_movie import er_movie


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    movie = er_movie(frames=1, shape_yx=(512, 512), tubule_width_px=4, seeds_per_um2=0.22, seed=1)
    classes, raw = np.tile(movie.classes[0], (2, 2)), np.tile(movie.frames[0], (2, 2))
    confidence = np.random.default_rng(0).integers(230, 255, classes.shape, np.uint8)
    cells = np.ones(classes.shape, np.uint16)
    cells[:, 512:] = 2
    tracing, wanted, plain = TracingParameters(), FigureParameters(0.3), FigureParameters(0.3, 0)
    network = trace_network(classes == 2, 0.1)
    nodes, ends, start = len(network.positions), network.ends, network.lines.start
    touched = contacts(network, classes, ("tubule",))
    whole = measure(network, classes, confidence, ("tubule",)).whole()

    def rows(labels: np.ndarray | None = None) -> Callable[[], object]:
        return lambda: trace_frame(classes, confidence, raw, 0, [0.1, 0.1], 1.0, tracing, wanted, labels)[1]

    tables = rows()()
    part = to_npz(tables)  # type: ignore[arg-type]
    with_intervals, without = "figures with 200 resamples", "figures without intervals"
    steps: dict[str, Callable[[], object]] = {
        "trace_network": lambda: trace_network(classes == 2, 0.1),
        "contacts": lambda: contacts(network, classes, ("tubule",)),
        "with_sheets": lambda: with_sheets(nodes, ends, start, touched),
        "confidences": lambda: confidences(network, classes, confidence, ("tubule",)),
        "meshes": lambda: meshes(network),
        "multi_way_rows": lambda: multi_way_rows(network, 0),
        "network_metrics": lambda: network_metrics(nodes, ends, network.length_um),
        without: lambda: figures(whole, plain, (0,)),
        with_intervals: lambda: figures(whole, wanted, (0,)),
        "area_shares": lambda: area_shares(classes, confidence),
        "signal_to_noise": lambda: signal_to_noise(raw, classes > 0),
        "all rows": rows(),
        "all rows, two cells": rows(cells),
        "to_npz": lambda: to_npz(tables),  # type: ignore[arg-type]
        "from_npz": lambda: from_npz(part),
    }
    found: dict[str, float] = {}
    for name, step in steps.items():
        step()  # compiles what is compiled
        best = np.inf
        for _ in range(options.rounds):
            begin = time.process_time()
            step()
            best = min(best, time.process_time() - begin)
        found[name] = round(1000 * best, 1)
    if options.json:
        print(json.dumps({"nodes": nodes, "edges": len(ends), "cpu_ms": found}, indent=1))
        return
    print(f"{nodes} nodes, {len(ends)} edges; CPU ms")
    for name, milliseconds in found.items():
        print(f"{name:28s} {milliseconds:7.1f}")


if __name__ == "__main__":
    main()
