"""Time and memory of the paper's temporal ERnet (five frames, full width, random weights) on whole square frames.

    python tests/bench/ernet_whole_frames.py --edges 64 128 256

Prints one line per edge and runtime: CPU seconds a frame (best of two, one thread, so that other work on the machine
counts little), GFLOP/s, and the peak resident memory of the process, in which nothing else runs.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

PAPER = {
    "frames": 5, "embed": 192, "depths": [6] * 5, "heads": [8] * 5, "window": [2, 8], "mlp_ratio": 2.0, "channels": 64,
    "squeezed": 4, "residual_blocks": 12, "classes": 4,
}  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--edges", type=int, nargs="+", default=[64, 128, 256])
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(measured(args.one[0], Path(args.one[1]), int(args.one[2])))
        return 0
    from cisterna.ernet.export import to_onnx
    from cisterna.ernet.swin3d import build

    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "model.onnx"
        model.write_bytes(to_onnx(build(**PAPER)))
        for edge in args.edges:
            for runtime in ("torch", "onnxruntime"):
                subprocess.run([sys.executable, __file__, "--one", runtime, str(model), str(edge)], check=True)
    return 0


def measured(runtime: str, model: Path, edge: int) -> str:
    from cisterna.ernet.export import flop_per_pixel
    from cisterna.ernet.swin3d import build

    frames = np.random.default_rng(0).random((1, 5, edge, edge), dtype=np.float32)
    flop = flop_per_pixel(PAPER) * edge * edge
    if runtime == "torch":
        import torch

        torch.set_num_threads(1)
        network = build(**PAPER).eval()

        def run() -> None:
            with torch.no_grad():
                network(torch.from_numpy(frames))
    else:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])

        def run() -> None:
            session.run(None, {"frames": frames})

    times = []
    for _ in range(2):
        started = time.process_time()
        run()
        times.append(time.process_time() - started)
    best = min(times)
    return (
        f"{edge:5d} px  {runtime:12s} {best:7.2f} s  {flop / best / 1e9:6.1f} GFLOP/s  "
        f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:6.0f} MiB"
    )


if __name__ == "__main__":
    raise SystemExit(main())
