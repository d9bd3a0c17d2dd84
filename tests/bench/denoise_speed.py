"""Speed of denoising a block: ours beside a plain sliding window of the same network, in one run.

`python tests/bench/denoise_speed.py` (CPU, two threads) or `--device cuda --width 42`.  The plain window is the usual
recipe: same padding, the halo rounded up to the stride, default memory layout, float32, eager.  Both see the same
voxels and must agree; peak memory is that of a process of its own for each.
"""

import argparse
import multiprocessing
import resource
import sys
import time
from typing import Any

import numpy as np
import torch
from cisterna.chunks import Box
from cisterna.denoise.apply import IntensityRange, denoise_detectors, prepare
from cisterna.denoise.fastfib import build, flop_per_voxel
from cisterna.tiles import infer_same

SPAN = IntensityRange(0.0, 255.0)
HALO = 56


def measure(args: argparse.Namespace, ours: bool, answer: Any) -> None:
    """Puts (seconds of the best repeat, peak bytes, result) of one way into the queue."""
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    network = build(width=args.width).eval().to(args.device)
    size = args.block + 2 * HALO
    grey = np.random.default_rng(0).integers(0, 256, (size,) * 3, dtype=np.uint8)
    denoiser = prepare(network, device=args.device, precision=args.precision) if ours else None

    def window(tile: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            x = torch.from_numpy(np.ascontiguousarray(tile))[None].to(args.device).float() * (2 / 255) - 1
            return ((network(x)[0] + 1) * (255 / 2)).cpu().numpy()

    times = []
    for _ in range(args.repeats + 1):
        start = time.perf_counter()
        if denoiser is not None:
            result = denoise_detectors([grey], HALO, [SPAN], denoiser)[0]
        else:
            box = Box.whole((args.block,) * 3)
            result = infer_same(grey, box, window, context=HALO, stride=8, origin=(-HALO,) * 3, tile=args.window)[0]
        times.append(time.perf_counter() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    if args.device.startswith("cuda"):
        peak = torch.cuda.max_memory_allocated()
    answer.put((min(times[1:]), peak, result.astype(np.float32)))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--width", type=int, default=8)
    parser.add_argument("--block", type=int, default=128)
    parser.add_argument("--window", type=int, default=64, help="outputs per tile of the plain window")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--precision", default="float32", help="of ours; the plain window is float32")
    parser.add_argument("--repeats", type=int, default=2)
    args = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    rows = []
    for ours in (False, True):
        answer = context.Queue()
        process = context.Process(target=measure, args=(args, ours, answer))
        process.start()
        rows.append(answer.get())
        process.join()
    voxels = args.block**3
    useful = flop_per_voxel(args.width) * voxels
    for name, (seconds, peak, _) in zip(("plain sliding window", f"cisterna, {args.precision}"), rows, strict=True):
        rate = f"{voxels / seconds / 1e6:.2f} Mvoxel/s, {useful / seconds / 1e9:.0f} useful GFLOP/s"
        print(f"{name}: {seconds:.2f} s a block of {args.block}³, {rate}, peak {peak / 2**20:.0f} MiB")
    apart = float(np.abs(rows[0][2] - rows[1][2]).max())
    print(f"speed-up {rows[0][0] / rows[1][0]:.2f}, largest difference {apart:.2g} grey values")
    return 0


if __name__ == "__main__":
    sys.exit(main())
