"""Segmentation side by side on one machine, same weights, same threads, each in a process of its own.

    python tests/bench/segment_speed.py [--num-fmaps 32] [--edge 528] [--threads 2] [--processes-gib 16 3]

* sliding window: eager float32, 204³ in, 110³ out, stepping by 110: what the published program does
* ours: aligned tiles chosen from a memory budget, channels last, upsampling folded into the next convolution; once for
  each limit of `--processes-gib` on the memory of the whole process

Figures are output voxels per second of complete forward passes, by the wall clock and by processor time (all threads);
the latter is the one to read on a busy machine. Rounds alternate between the variants, and the quickest of each counts.
The peak is that of the process, from its start. The window's rate counts all of its outputs, although tiles that step
by 110 change their pooling phase and leave seams; ours counts those written.
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import subprocess
import sys
import time
from collections.abc import Sequence

import numpy as np
import torch
from cisterna.chunks import Box
from cisterna.segment.probability import IntensityRule, bytes_per_voxel, foreground, prepare
from cisterna.segment.unet import GEOMETRY, build, flop_per_voxel
from cisterna.tiles import choose_tile, plan_tiles
from cisterna.tiles.torch_network import torch_network

PROCESS_GIB = 0.7
"""What a process holds besides the forward pass: Python, torch, weights, the block and the result."""


def measured(num_fmaps: int, edge: int, threads: int, limit_gib: float | None) -> dict[str, float]:
    """One pass of the sliding window (`limit_gib` None) or of ours, after a pass to warm up."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    plain = build(num_fmaps=num_fmaps).eval()
    rule = IntensityRule(0, 255)
    if limit_gib is None:
        network, read, written = plain, (204, 204, 204), 110**3
    else:
        network = prepare(plain)
        box = Box((0, 0, 0), (edge,) * 3)
        budget = int((limit_gib - PROCESS_GIB) * 2**30)
        tile = plan_tiles(box, GEOMETRY, choose_tile(box.shape, GEOMETRY, budget, bytes_per_voxel(network)))[0]
        read, written = tile.read.shape, tile.write.size
    grey = np.random.default_rng(0).integers(0, 256, (1, *read), dtype=np.uint8)
    run = torch_network(network, before=rule.apply, after=foreground)
    run(grey)
    begun, used = time.perf_counter(), time.process_time()
    run(grey)
    return {
        "wall_s": time.perf_counter() - begun,
        "cpu_s": time.process_time() - used,
        "voxels": written,
        "read_edge": read[0],
        "peak_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
    }


def in_a_process(arguments: Sequence[object]) -> dict[str, float]:
    done = subprocess.run([sys.executable, __file__, *map(str, arguments)], check=True, capture_output=True, text=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--num-fmaps", type=int, default=32)
    parser.add_argument("--edge", type=int, default=528, help="of the block that ours divides into tiles")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--processes-gib", type=float, nargs="+", default=[16.0, 3.0])
    parser.add_argument("--only", type=float, help=argparse.SUPPRESS)  # a variant's own process: 0 is the window
    args = parser.parse_args()
    if args.only is not None:
        print(json.dumps(measured(args.num_fmaps, args.edge, args.threads, args.only or None)))
        return
    variants = [0.0, *args.processes_gib]
    shared = ["--num-fmaps", args.num_fmaps, "--edge", args.edge, "--threads", args.threads]
    found = {v: [in_a_process([*shared, "--only", v])] for v in variants}
    for _ in range(args.rounds - 1):
        for v in variants:
            found[v].append(in_a_process([*shared, "--only", v]))
    cost = flop_per_voxel(args.num_fmaps) / 1e3
    print(f"num_fmaps {args.num_fmaps}, {args.threads} threads, {cost:.0f} kFLOP a voxel in tiles of 264³\n")
    print("| | voxels/s, wall | voxels per CPU second | gain, wall | gain, CPU | peak of the process, GiB |")
    print("|---|---|---|---|---|---|")
    rates = {}
    for v, rounds in found.items():
        wall, cpu = (max(r["voxels"] / r[kind] for r in rounds) for kind in ("wall_s", "cpu_s"))
        rates[v] = wall, cpu
        edge, out = int(rounds[0]["read_edge"]), math.floor(rounds[0]["voxels"] ** (1 / 3) + 0.5)
        name = f"within {v:g} GiB, {edge}³ → {out}³" if v else f"sliding window, {edge}³ → {out}³"
        gains = " | ".join(f"{a / b:.2f}" for a, b in zip(rates[v], rates[0.0], strict=True))
        peak = max(r["peak_gib"] for r in rounds)
        print(f"| {name} | {wall:,.0f} | {cpu:,.0f} | {gains} | {peak:.1f} |")


if __name__ == "__main__":
    main()
