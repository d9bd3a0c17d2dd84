"""Frames a second through the ernet service and a real Triton, beside the same network run directly.

    python tests/bench/ernet_speed.py [--threads 2] [--frames 16] [--rounds 3] [--overhead-only]

Each round runs, one after the other and with the same number of threads in all: torch, onnxruntime (both the network
alone on frames that lie ready), and the service (its own process over a directory store: reading, intensity, Triton
with one worker a thread, class maps, writing, receipt). Two times are given for each: the wall clock, and processor
time (of all processes concerned), which is the one to read where other work shares the cores. The best round counts.

The second table splits what a request to Triton costs beyond its network, by message and through shared memory: a
network of one 1×1 convolution. On a machine with CUDA a third one gives the fraction of the floor that torch reaches.
Prints markdown.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import onnxruntime
import psutil
import torch
from cisterna.chunks import Box
from cisterna.ernet import swin2d, swin3d
from cisterna.ernet.export import PUBLISHED_TOPOLOGY, model_spec, write_ernet_folder
from cisterna.ernet.frames import normalise_frame
from cisterna.ernet.triton_client import Triton
from cisterna.ernet.triton_config import INPUT, OUTPUT, cluster_config, local_config
from cisterna.ernet.triton_server import build_repository, triton_command
from cisterna.models import demo_models, install_model, load_model, read_model
from cisterna.rpc.health import check
from cisterna.runs.stages import VERSIONS
from cisterna.store import open_store
from cisterna.store.arrays import ImageSpec, create_image, write_block
from cisterna.v1 import common_pb2, ernet_pb2, ernet_pb2_grpc

HOME = Path(os.environ.get("CISTERNA_TRITON_HOME", Path(__file__).parents[2] / ".triton"))
FLOOR_A_S, FLOOR_B_S = 1.55e-3, 13.9e-3  # a 1024² frame at 790 TFLOP/s


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--in-flight", type=int, default=4)
    parser.add_argument("--overhead-only", action="store_true")
    parser.add_argument("--triton-only", action="store_true", help="leave out the service and torch")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that servers are stopped
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        if not (args.overhead_only or args.triton_only):
            published = folder / "published-random"
            torch.manual_seed(0)
            spec = model_spec("published-random", PUBLISHED_TOPOLOGY, 0.1, "none", False, {}, {})
            write_ernet_folder(published, spec, swin2d.build(**PUBLISHED_TOPOLOGY))
            (demo,) = [path for path in demo_models() if path.name == "demo-ernet"]
            head = f"torch, {args.threads} threads | onnxruntime, {args.threads} threads | service + Triton"
            print(f"| network, frame | {head} | service / torch | latency, 1 in flight | {args.in_flight} in flight |")
            print("|---|---|---|---|---|---|---|")
            few = max(4, args.frames // 2)
            for model, edge, frames in ((Path(demo), 256, args.frames), (Path(demo), 512, few), (published, 256, few)):
                print(row(folder, model, edge, frames, args), flush=True)
            print()
        if not args.overhead_only:
            gathering(folder, args)
        overhead(folder)
    if torch.cuda.is_available():
        floors()


def row(place: Path, model: Path, edge: int, count: int, args: argparse.Namespace) -> str:
    movie = np.random.default_rng(0).integers(100, 3000, (count, edge, edge)).astype(np.uint16)
    ready = [normalise_frame(frame, movie.min(), movie.max())[None, None] for frame in movie]
    network = load_model(model)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = args.threads
    session = onnxruntime.InferenceSession(str(model / "1/model.onnx"), options, providers=["CPUExecutionProvider"])

    def by_torch() -> None:
        with torch.inference_mode():
            for frame in ready:
                network(torch.from_numpy(frame))

    def by_onnxruntime() -> None:
        for frame in ready:
            session.run([OUTPUT], {INPUT: frame})

    own = psutil.Process()
    direct: dict[str, list[tuple[float, float]]] = {"torch": [], "onnxruntime": []}
    served: list[tuple[float, float]] = []
    alone: list[float] = []
    together: list[float] = []
    with service(place / f"{model.name}-{edge}", model, movie, args) as (send, processes):
        send("warm", 0)
        for number in range(args.rounds):
            for name, run in (("torch", by_torch), ("onnxruntime", by_onnxruntime)):
                direct[name].append(timed(run, [own]))
            served.append(timed(partial(send_all, send, f"k{number}", count, args.in_flight, together), processes))
            alone += [send(f"a{number}", n) for n in range(min(count, 8))]
    best = {name: (min(w for w, _ in each), min(c for _, c in each)) for name, each in direct.items()}
    wall, cpu = min(w for w, _ in served), min(c for _, c in served)
    rates = [f"{count / w:.2f}/s ({c / count:.3f} s CPU)" for w, c in (*best.values(), (wall, cpu))]
    ratio = f"{best['torch'][0] / wall:.2f}× ({best['torch'][1] / cpu:.2f}× by CPU)"
    return f"| {model.name} {edge}² | {' | '.join(rates)} | {ratio} | {quantiles(alone)} | {quantiles(together)} |"


def send_all(send: Callable[[str, int], float], key: str, count: int, in_flight: int, seconds: list[float]) -> None:
    """All frames, so many at a time; adds the latency of each to `seconds`."""
    with ThreadPoolExecutor(in_flight) as pool:
        seconds += pool.map(partial(send, key), range(count))


def timed(run: Callable[[], object], processes: list[psutil.Process]) -> tuple[float, float]:
    """Wall and processor seconds of a run."""
    used, begun = sum(cpu(p) for p in processes), time.perf_counter()
    run()
    return time.perf_counter() - begun, sum(cpu(p) for p in processes) - used


def cpu(process: psutil.Process) -> float:
    return float(sum(process.cpu_times()[:2]))


def quantiles(seconds: list[float]) -> str:
    p50, p99 = np.quantile(seconds, (0.5, 0.99))
    return f"p50 {p50 * 1e3:.0f} ms, p99 {p99 * 1e3:.0f} ms (n = {len(seconds)})"


@contextmanager
def service(
    place: Path, model: Path, movie: np.ndarray, args: argparse.Namespace
) -> Iterator[tuple[Callable[[str, int], float], list[psutil.Process]]]:
    """The service over a store with the movie; gives `send(stage_key, frame)` → seconds, and the processes at work."""
    store = open_store(f"file://{place}/store")
    install_model(store, model)
    record = read_model(store, model.name)
    size = float(record.spec["pixel_size_um"])
    shape, block = movie.shape, (1, *movie.shape[1:])
    create_image(store, "raw.ome.zarr", ImageSpec(shape, "uint16", block, "tyx", (1.0, size, size)))
    for t in range(shape[0]):
        write_block(store, "raw.ome.zarr/0", Box((t, 0, 0), block), movie[t : t + 1])
    ports = free_ports(2)
    with triton([model], place / "repository", args.threads) as (address, server):
        environment = os.environ | {
            "CISTERNA_STORE": f"file://{place}/store",
            "CISTERNA_LISTEN": f"127.0.0.1:{ports[0]}",
            "CISTERNA_METRICS": f"127.0.0.1:{ports[1]}",
            "CISTERNA_TRITON": address,
            "CISTERNA_MAX_IN_FLIGHT": str(args.in_flight),
            "OMP_NUM_THREADS": "1",
        }
        with open(place / "service.log", "wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "cisterna.ernet"],
                env=environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            wait(lambda: check(f"127.0.0.1:{ports[0]}", timeout_s=1.0) == "SERVING", "the service")
            channel = grpc.insecure_channel(f"127.0.0.1:{ports[0]}")
            stub = ernet_pb2_grpc.ErnetServiceStub(channel)
            made: set[str] = set()

            def send(key: str, frame: int) -> float:
                if key not in made:
                    made.add(key)
                    for name in ("classes", "confidence"):
                        spec = ImageSpec(shape, "uint8", block, "tyx", (1.0, size, size))
                        create_image(store, f"stages/ernet/{key}/{name}.ome.zarr", spec)
                begun = time.perf_counter()
                reply = stub.SegmentFrames(request(key, frame, shape, record, movie), timeout=600)
                assert reply.outcome == common_pb2.OUTCOME_COMPUTED, reply
                return time.perf_counter() - begun

            psutil_server = psutil.Process(server)
            yield send, [psutil.Process(process.pid), psutil_server, *psutil_server.children()]
            channel.close()
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def request(key: str, frame: int, shape: tuple[int, ...], model: Any, movie: np.ndarray) -> Any:
    box = common_pb2.Box(offset=[frame, 0, 0], shape=[1, *shape[1:]])
    task = common_pb2.TaskRef(
        stage="ernet", stage_version=VERSIONS["ernet"], stage_key=key, block_index=frame, attempt=1
    )
    return ernet_pb2.SegmentFramesRequest(
        task=task,
        input=common_pb2.ChunkRef(array=common_pb2.ArrayRef(path="raw.ome.zarr/0"), box=box),
        classes=common_pb2.ArrayRef(path=f"stages/ernet/{key}/classes.ome.zarr/0"),
        confidence=common_pb2.ArrayRef(path=f"stages/ernet/{key}/confidence.ome.zarr/0"),
        model=common_pb2.ModelRef(name=model.name, digest=model.digest),
        stack_min=float(movie.min()),
        stack_max=float(movie.max()),
    )


@contextmanager
def triton(models: list[Path], repository: Path, instances: int) -> Iterator[tuple[str, int]]:
    """A Triton over model folders (or over a repository that stands already): its address and pid."""
    if models:
        build_repository(models, repository, instances)
    ports = free_ports(3)
    argv, environment = triton_command(HOME, repository, *ports)
    with open(repository.with_suffix(".log"), "wb") as log:
        server = subprocess.Popen(argv, env=environment, stdout=log, stderr=log, start_new_session=True)
    try:
        client = Triton(f"127.0.0.1:{ports[1]}", memory="off")
        wait(client.healthy, "Triton")
        client.close()
        yield f"127.0.0.1:{ports[1]}", server.pid
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait()


def gathering(place: Path, args: argparse.Namespace) -> None:
    """What more workers, and the cluster's dynamic batching, gain on this machine's cores: demo-ernet, 256² frames."""
    (demo,) = [path for path in demo_models() if path.name == "demo-ernet"]
    repository = place / "gathering"
    build_repository([demo], repository)
    digest = read_digest(repository / "demo-ernet/config.pbtxt")
    cluster = re.sub(r"(model_warmup|optimization) .*", "", cluster_config("batched", digest), flags=re.DOTALL)
    configs = {
        "one worker": local_config("one", digest),
        f"{args.threads} workers": local_config("several", digest, instances=args.threads),
        "one worker, batches of up to 8": cluster.replace("KIND_GPU", "KIND_CPU"),
    }
    for config in configs.values():
        name = config.split('"')[1]
        shutil.copytree(repository / "demo-ernet", repository / name)
        (repository / name / "configs/local.pbtxt").write_text(config)
    shutil.rmtree(repository / "demo-ernet")
    frame = np.random.default_rng(0).random((1, 1, 256, 256), dtype=np.float32)
    print("| Triton, 8 requests in flight | frames/s | CPU a frame |\n|---|---|---|")
    with triton([], repository, 1) as (address, server):
        client, process = Triton(address), psutil.Process(server)
        best: dict[str, tuple[float, float]] = {}
        for number in range(args.rounds + 1):
            for title, config in configs.items():
                run = partial(infer_all, client, config.split('"')[1], frame, args.frames)
                wall, used = timed(run, [process, *process.children()])
                if number:  # the first round warms up
                    before = best.get(title, (np.inf, np.inf))
                    best[title] = (min(before[0], wall), min(before[1], used))
        for title, (wall, used) in best.items():
            print(f"| {title} | {args.frames / wall:.2f} | {used / args.frames:.3f} s |", flush=True)
        client.close()
    print()


def infer_all(client: Triton, model: str, frame: np.ndarray, count: int) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: client.infer(model, frame), range(count)))


def read_digest(config: Path) -> str:
    found = re.search(r'onnx_sha256" value: \{ string_value: "(\w+)"', config.read_text())
    assert found
    return found[1]


def overhead(place: Path) -> None:
    """What a request costs beside its network, by message and through shared memory."""
    import io
    import warnings

    repository, buffer = place / "plain", io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            torch.nn.Conv2d(1, 4, 1), (torch.rand(1, 1, 8, 8),), buffer, input_names=[INPUT], output_names=[OUTPUT],
            dynamic_axes={INPUT: {2: "h", 3: "w"}, OUTPUT: {2: "h", 3: "w"}}, opset_version=17, dynamo=False,
        )  # fmt: skip
    (repository / "plain/1").mkdir(parents=True)
    (repository / "plain/configs").mkdir()
    (repository / "plain/1/model.onnx").write_bytes(buffer.getvalue())
    for path in ("config.pbtxt", "configs/local.pbtxt"):
        (repository / "plain" / path).write_text(local_config("plain", "-"))
    session = onnxruntime.InferenceSession(buffer.getvalue(), providers=["CPUExecutionProvider"])
    print("| one 1×1 convolution, frame | bytes in + out | onnxruntime alone | by message | through shared memory |")
    print("|---|---|---|---|---|")
    with triton([], repository, 1) as (address, _):
        by_message, by_memory = Triton(address, memory="off"), Triton(address, memory="on")
        for edge in (256, 544, 1024):
            frame = np.random.default_rng(0).random((1, 1, edge, edge), dtype=np.float32)
            times = [
                median_ms(run)
                for run in (
                    lambda frame=frame: session.run(None, {INPUT: frame}),
                    lambda frame=frame: by_message.infer("plain", frame),
                    lambda frame=frame: by_memory.infer("plain", frame),
                )
            ]
            assert by_memory.transport() == "shared_memory"
            print(f"| {edge}² | {5 * frame.nbytes / 1e6:.1f} MB | " + " | ".join(times) + " |", flush=True)
        by_message.close()
        by_memory.close()


def median_ms(run: Callable[[], object], times: int = 21) -> str:
    seconds = []
    for _ in range(times):
        begun = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - begun)
    return f"{np.median(seconds) * 1e3:.1f} ms (least {min(seconds) * 1e3:.1f})"


def floors() -> None:
    """Torch on the GPU at 1024², float32 with TF32 off and bfloat16, as fractions of the floors."""
    print("\n| family, 1024² frame on the GPU | time | fraction of the floor |\n|---|---|---|")
    for name, network, frames, floor_s in (
        ("A", swin2d.build(**PUBLISHED_TOPOLOGY), 1, FLOOR_A_S), ("B", swin3d.build(), 5, FLOOR_B_S),
    ):  # fmt: skip
        for kind in (torch.float32, torch.bfloat16):
            run = network.eval().to("cuda", kind)
            frame = torch.rand(1, frames, 1024, 1024, device="cuda", dtype=kind)
            times = []
            with torch.inference_mode():
                for _ in range(8):
                    begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
                    begin.record()
                    run(frame)
                    end.record()
                    torch.cuda.synchronize()
                    times.append(begin.elapsed_time(end) / 1e3)
            best = min(times[2:])
            print(f"| {name}, {str(kind).removeprefix('torch.')} | {best * 1e3:.2f} ms | {floor_s / best:.2f} |")


def wait(ready: Callable[[], bool], what: str, seconds: float = 120) -> None:
    until = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > until:
            raise SystemExit(f"{what} did not start in {seconds:.0f} s")
        time.sleep(0.2)


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


if __name__ == "__main__":
    main()
