"""Segmentation side by side on one machine, same weights, same threads.

    python tests/bench/segment_speed.py [--num-fmaps 32] [--edge 256] [--threads 2]

* sliding window: eager float32, 204³ in, 110³ out, stepping by 110: what the published program does
* ours: aligned tiles chosen from the memory budget, channels last, upsampling folded into the next convolution

Figures are output voxels per second of complete forward passes, by the wall clock and by processor time (all threads);
the latter is the one to read on a busy machine. The window's rate counts all of its outputs, although tiles that step
by 110 change their pooling phase and leave seams; ours counts those written.
"""

from __future__ import annotations

import argparse
import copy
import math
import time

import numpy as np
import torch
from cisterna.chunks import Box
from cisterna.segment.probability import MEMORY_BYTES, IntensityRule, bytes_per_voxel, foreground, prepare
from cisterna.segment.unet import GEOMETRY, build, flop_per_voxel
from cisterna.tiles import choose_tile, plan_tiles
from cisterna.tiles.torch_network import torch_network


def seconds(run, tile: np.ndarray, rounds: int) -> tuple[float, float]:
    """Shortest wall and processor time of a pass; one more goes before to warm up."""
    run(tile)
    wall, cpu = math.inf, math.inf
    for _ in range(rounds):
        begun, used = time.perf_counter(), time.process_time()
        run(tile)
        wall, cpu = min(wall, time.perf_counter() - begun), min(cpu, time.process_time() - used)
    return wall, cpu


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--num-fmaps", type=int, default=32)
    parser.add_argument("--edge", type=int, default=256)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--memory-gib", type=float, default=MEMORY_BYTES / 2**30)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    plain = build(num_fmaps=args.num_fmaps).eval()
    rule = IntensityRule(0, 255)
    rng = np.random.default_rng(0)
    rates = {}

    window = rng.integers(0, 256, (1, 204, 204, 204), dtype=np.uint8)
    run = torch_network(plain, before=rule.apply, after=foreground)
    rates["sliding window 204 → 110"] = (*seconds(run, window, args.rounds), 110**3)

    fast = prepare(copy.deepcopy(plain))
    box = Box((0, 0, 0), (args.edge,) * 3)
    edge = choose_tile(box.shape, GEOMETRY, int(args.memory_gib * 2**30), bytes_per_voxel(fast))
    tiles = plan_tiles(box, GEOMETRY, edge)
    tile = rng.integers(0, 256, (1, *tiles[0].read.shape), dtype=np.uint8)
    run = torch_network(fast, before=rule.apply, after=foreground)
    rates[f"ours {tiles[0].read.shape[0]} → {edge[0]}"] = (*seconds(run, tile, args.rounds), tiles[0].write.size)

    cost = flop_per_voxel(args.num_fmaps) / 1e3
    print(f"num_fmaps {args.num_fmaps}, {args.threads} threads, {cost:.0f} kFLOP a voxel in tiles of 264³")
    for name, (wall, cpu, voxels) in rates.items():
        rates_text = (
            f"wall {wall:6.2f} s, {voxels / wall:7.0f} voxels/s   CPU {cpu:6.2f} s, {voxels / cpu:7.0f} voxels/s"
        )
        print(f"{name:26} {rates_text}")


if __name__ == "__main__":
    main()
