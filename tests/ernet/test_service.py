"""The ERnet service over a real store and a real Triton: class maps, reasons of failure, health."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request

import grpc
import numpy as np
import pytest
from cisterna.chunks import Box
from cisterna.ernet.frames import segment_frame
from cisterna.models import install_model, load_model, read_model
from cisterna.rpc.errors import failure_of
from cisterna.store import open_store
from cisterna.store.arrays import ImageSpec, create_image, read_box, write_block
from cisterna.store.receipts import read_receipt
from cisterna.v1 import common_pb2, ernet_pb2, ernet_pb2_grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

torch = pytest.importorskip("torch")

from cisterna.ernet.train import torch_network  # noqa: E402

SHAPE = (3, 41, 56)
STAGE = "stages/ernet/k"


@pytest.fixture(scope="module")
def place(tmp_path_factory, small_model):
    """A store with a movie (its last frame constant) and the model."""
    url = "file://" + str(tmp_path_factory.mktemp("store"))
    store = open_store(url)
    movie = np.random.default_rng(4).integers(100, 3000, SHAPE).astype(np.uint16)
    movie[2] = 500
    create_image(store, "raw.ome.zarr", ImageSpec(SHAPE, "uint16", (1, *SHAPE[1:]), "tyx", (1.0, 0.1, 0.1)))
    for name in ("classes", "confidence"):
        spec = ImageSpec(SHAPE, "uint8", (1, *SHAPE[1:]), "tyx", (1.0, 0.1, 0.1))
        create_image(store, f"{STAGE}/{name}.ome.zarr", spec)
    for t in range(SHAPE[0]):
        write_block(store, "raw.ome.zarr/0", Box((t, 0, 0), (1, *SHAPE[1:])), movie[t : t + 1])
    install_model(store, small_model)
    return url, store, movie


@pytest.fixture(scope="module")
def service(place, triton, tmp_path_factory):
    """The service as a process of its own: (process, address, metrics address)."""
    ports = free_ports(2)
    env = os.environ | {
        "CISTERNA_STORE": place[0],
        "CISTERNA_LISTEN": f"127.0.0.1:{ports[0]}",
        "CISTERNA_METRICS": f"127.0.0.1:{ports[1]}",
        "CISTERNA_TRITON": triton.address,
    }
    log = tmp_path_factory.mktemp("service") / "log"
    with open(log, "wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "cisterna.ernet"], env=env, stdout=out, stderr=out, start_new_session=True
        )
    try:
        assert health_becomes(f"127.0.0.1:{ports[0]}", "SERVING"), log.read_text()[-500:]
        yield process, f"127.0.0.1:{ports[0]}", f"127.0.0.1:{ports[1]}"
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def health_becomes(address, wanted, seconds=25):
    with grpc.insecure_channel(address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            try:
                status = stub.Check(health_pb2.HealthCheckRequest(), timeout=1).status
            except grpc.RpcError:
                status = None
            if status == health_pb2.HealthCheckResponse.ServingStatus.Value(wanted):
                return True
            time.sleep(0.1)
    return False


def request_of(place, frame, key="k", **changes):
    _, store, movie = place
    box = common_pb2.Box(offset=[frame, 0, 0], shape=[1, *SHAPE[1:]])
    model = read_model(store, "small")
    request = ernet_pb2.SegmentFramesRequest(
        task=common_pb2.TaskRef(stage="ernet", stage_version=1, stage_key=key, block_index=frame, attempt=1),
        input=common_pb2.ChunkRef(array=common_pb2.ArrayRef(path="raw.ome.zarr/0"), box=box),
        classes=common_pb2.ArrayRef(path=f"{STAGE}/classes.ome.zarr/0"),
        confidence=common_pb2.ArrayRef(path=f"{STAGE}/confidence.ome.zarr/0"),
        model=common_pb2.ModelRef(name=model.name, digest=model.digest),
        stack_min=float(movie.min()),
        stack_max=float(movie.max()),
    )
    for name, value in changes.items():
        getattr(request, name).CopyFrom(value)
    return request


def call(service, request):
    with grpc.insecure_channel(service[1]) as channel:
        return ernet_pb2_grpc.ErnetServiceStub(channel).SegmentFrames(request, timeout=60)


@pytest.mark.parametrize("frame", [0, 2])
def test_a_frame_is_segmented_as_torch_would(service, place, small_model, frame):
    _, store, movie = place
    reply = call(service, request_of(place, frame))
    assert reply.outcome == common_pb2.OUTCOME_COMPUTED
    network = torch_network(load_model(small_model))
    classes, confidence = segment_frame(movie[frame], movie.min(), movie.max(), network)
    box = Box((frame, 0, 0), (1, *SHAPE[1:]))
    assert (read_box(store, f"{STAGE}/classes.ome.zarr/0", box)[0] == classes).mean() > 0.999
    found = read_box(store, f"{STAGE}/confidence.ome.zarr/0", box)[0].astype(int)
    assert np.abs(found - confidence).max() <= 1
    receipt = read_receipt(store, "ernet", "k", frame)
    assert len(receipt.objects) == 2
    assert receipt.figures["mean_confidence"] == pytest.approx(confidence.mean() / 255, abs=1e-3)
    assert sum(receipt.figures[f"{name}_share"] for name in ("background", "sbt", "tubule", "sheet")) == pytest.approx(
        1
    )
    assert call(service, request_of(place, frame)).outcome == common_pb2.OUTCOME_CACHED


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"model": common_pb2.ModelRef(name="small", digest="0" * 64)}, "MODEL_MISMATCH"),
        ({"model": common_pb2.ModelRef(name="absent", digest="0" * 64)}, "MISSING_INPUT"),
        (
            {
                "input": common_pb2.ChunkRef(
                    array=common_pb2.ArrayRef(path="raw.ome.zarr/0"),
                    box=common_pb2.Box(offset=[0, 0, 0], shape=[1, *SHAPE[1:]]),
                    halo=[1, 0, 0],
                )
            },
            "BAD_REQUEST",
        ),
    ],
)
def test_a_wrong_request_names_its_reason(service, place, changes, reason):
    with pytest.raises(grpc.RpcError) as raised:
        call(service, request_of(place, 1, key="wrong", **changes))
    assert failure_of(raised.value).reason_name == reason


def test_without_triton_health_fails_and_tasks_say_why_until_it_is_back(service, triton, place):
    process, address, metrics = service
    gauge = lambda: urllib.request.urlopen(f"http://{metrics}/metrics").read().decode()  # noqa: E731
    assert 'cisterna_triton_healthy{service="ernet"} 1.0' in gauge()
    triton.kill()
    assert health_becomes(address, "NOT_SERVING")
    assert 'cisterna_triton_healthy{service="ernet"} 0.0' in gauge()
    with pytest.raises(grpc.RpcError) as raised:
        call(service, request_of(place, 1))
    assert failure_of(raised.value).reason_name == "TRITON_UNAVAILABLE"
    assert failure_of(raised.value).retry_after_s > 0
    triton.start()
    triton.wait()
    assert health_becomes(address, "SERVING")
    assert call(service, request_of(place, 1)).outcome == common_pb2.OUTCOME_COMPUTED
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0


def test_the_service_says_what_it_needs():
    env = {k: v for k, v in os.environ.items() if k != "CISTERNA_TRITON"}
    done = subprocess.run(
        [sys.executable, "-m", "cisterna.ernet"], env=env, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert (
        done.stderr.strip() == "ernet: set CISTERNA_TRITON to host:port of Triton's gRPC endpoint, e.g. 127.0.0.1:8001"
    )
