"""Speed of denoising a block: ours beside a plain sliding window of the same network, in one run.

`python tests/bench/denoise_speed.py` (CPU, two threads) or `--device cuda --width 42`.  The plain window is the usual
recipe: same padding, the halo rounded up to the stride, default memory layout, float32, eager.  Both see the same
voxels and must agree; peak memory is that of a process of its own for each.

`--rates` also prints both as shares of the bf16 matrix rate that the same device reaches, compute only and with I/O:
the service reading and writing the blocks of a store in a folder.  For a GPU: `--device cuda --width 42 --block 256
--precision bfloat16 --rates`.  That has been run on a CPU only.
"""

import argparse
import multiprocessing
import resource
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import torch
from cisterna.chunks import BlockGrid, Box
from cisterna.denoise.__main__ import register
from cisterna.denoise.apply import IntensityRange, denoise_detectors, prepare
from cisterna.denoise.fastfib import build, flop_per_voxel
from cisterna.denoise.service import STAGE_VERSION
from cisterna.denoise.train import write_fastfib_model
from cisterna.denoise.training import FastFibSettings, TrainingResult
from cisterna.models import install_model, read_model
from cisterna.rpc.server import ServerConfig, Worker
from cisterna.store import open_store
from cisterna.store.arrays import ImageSpec, create_image, write_block
from cisterna.tiles import infer_same
from cisterna.v1 import common_pb2, denoise_pb2, denoise_pb2_grpc

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


def matrix_rate(device: str) -> float:
    """FLOP/s of a square bf16 matrix product, the best of ten."""
    n = 8192 if device.startswith("cuda") else 1024
    a = torch.randn(n, n, device=device).bfloat16()
    times = []
    for _ in range(11):
        start = time.perf_counter()
        float((a @ a)[0, 0])  # waits for the device
        times.append(time.perf_counter() - start)
    return 2.0 * n**3 / min(times[1:])


def through_the_service(args: argparse.Namespace) -> float:
    """Voxels a second of the denoise service over a store in a folder, eight blocks after one to warm up."""
    torch.set_num_threads(args.threads)
    edge = args.block
    grid = BlockGrid((2 * edge,) * 3, (edge,) * 3)
    with tempfile.TemporaryDirectory() as folder:
        store = open_store((Path(folder) / "store").as_uri())
        result = TrainingResult(build(width=args.width).eval(), [{"iteration": 0.0}], 0.0)
        settings = FastFibSettings(width=args.width)
        write_fastfib_model(
            Path(folder) / "m", result, settings, voxel_size_nm=(8, 8, 8), demo=True, licence="none", data="none"
        )
        install_model(store, Path(folder) / "m")
        model = read_model(store, "m")
        spec = ImageSpec(grid.shape, "uint8", grid.block, "zyx", (8.0, 8.0, 8.0))
        for name in ("raw", "warm", "out"):
            create_image(store, f"{name}.ome.zarr", spec)
        rng = np.random.default_rng(0)
        for n in range(grid.blocks):
            box = grid.box(n)
            write_block(store, "raw.ome.zarr/0", box, rng.integers(0, 256, box.shape, dtype=np.uint8))
        server = grpc.server(ThreadPoolExecutor(6))
        config = ServerConfig("denoise", "", "", "", "", args.device, args.threads, 3)
        register(server, Worker(config, store, args.device, lambda: None))
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel, ThreadPoolExecutor(3) as callers:
            stub = denoise_pb2_grpc.DenoiseServiceStub(channel)

            def block(n: int, out: str = "out") -> None:
                box = common_pb2.Box(offset=grid.box(n).offset, shape=grid.box(n).shape)
                raw = common_pb2.ArrayRef(path="raw.ome.zarr/0")
                stub.DenoiseBlock(
                    denoise_pb2.DenoiseBlockRequest(
                        task=common_pb2.TaskRef(
                            stage="denoise", stage_version=STAGE_VERSION, stage_key=out, block_index=n, attempt=1
                        ),
                        inputs=[common_pb2.ChunkRef(array=raw, box=box, halo=[HALO] * 3)],
                        output=common_pb2.ArrayRef(path=f"{out}.ome.zarr/0"),
                        model=common_pb2.ModelRef(name=model.name, digest=model.digest),
                        intensity=[common_pb2.IntensityRange(low=0, high=255)],
                        precision=args.precision,
                    )
                )

            block(0, "warm")
            start = time.perf_counter()
            list(callers.map(block, range(grid.blocks)))
            seconds = time.perf_counter() - start
        server.stop(None).wait()
    return grid.blocks * edge**3 / seconds


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--width", type=int, default=8)
    parser.add_argument("--block", type=int, default=128)
    parser.add_argument("--window", type=int, default=64, help="outputs per tile of the plain window")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--precision", default="float32", help="of ours; the plain window is float32")
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--rates", action="store_true", help="shares of the bf16 matrix rate, without and with I/O")
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
    if args.rates:
        torch.set_num_threads(args.threads)
        rate = matrix_rate(args.device)
        print(
            f"bf16 matrix product: {rate / 1e12:.3f} TFLOP/s; {args.width} channels: {useful / voxels:.0f} FLOP a voxel"
        )
        for what, per_s in (("compute only", voxels / rows[1][0]), ("with I/O", through_the_service(args))):
            print(f"{what}: {per_s / 1e6:.2f} Mvoxel/s, {per_s * useful / voxels / rate:.1%} of the matrix rate")
    return 0


if __name__ == "__main__":
    sys.exit(main())
