"""Sixty frames of 1024² side by side: how well tracing and all figures of a movie use the cores.

    OMP_NUM_THREADS=1 python tests/bench/graph_movie.py [--frames 60] [--processes 2]

Prints wall seconds with one process and with several, and the share of the cores used: wall with one over (wall with
several × processes). Frames are bent Voronoi networks of 1,800 points and 4 px, all distinct by shifting.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
from cisterna.graph.parameters import TracingParameters
from cisterna.graph.side_by_side import SideBySide
from cisterna.phantoms.voronoi import voronoi_network


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=60)
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    mask = voronoi_network(1800, 4.0, 1).mask
    rng = np.random.default_rng(0)
    calls = []
    for frame in range(options.frames):
        classes = np.roll(mask, 7 * frame, axis=1).astype(np.uint8) * 2
        raw = (200 + 100 * (classes > 0) + rng.normal(0, 20, classes.shape)).astype(np.uint16)
        confidence = np.full(classes.shape, 230, np.uint8)
        calls.append((classes, confidence, raw, frame, [0.1, 0.1], 1.0, TracingParameters()))
    wall = {}
    for processes in (1, options.processes):
        frames = SideBySide(processes)
        frames.traced(calls[: 2 * processes])  # start and compile
        start = time.perf_counter()
        tables = frames.traced(calls)
        wall[processes] = time.perf_counter() - start
        frames.close()
        nodes = sum(len(t.nodes) for t in tables)
        each_ms = 1e3 * wall[processes] / len(calls)
        print(f"{processes} process(es): {wall[processes]:.2f} s, {each_ms:.0f} ms a frame, {nodes} nodes")
    used = wall[1] / (wall[options.processes] * options.processes)
    print(f"{used:.0%} of {options.processes} cores used")


if __name__ == "__main__":
    main()
