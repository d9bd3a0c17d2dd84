"""Frames of several tasks at once through a real Triton: same bytes, a full queue, models taken away under load."""

import os
import re
import shutil
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from cisterna.cli.triton_watch import TritonWatch
from cisterna.ernet.triton_client import Triton, TritonBusy, TritonUnavailable
from cisterna.ernet.triton_config import cluster_config, local_config
from cisterna.ernet.triton_server import build_repository
from prometheus_client import REGISTRY

pytest.importorskip("torch")

FRAMES = [np.random.default_rng(seed).random((1, 1, 64, 96), dtype=np.float32) for seed in range(6)]


@pytest.fixture(scope="module")
def pair(triton_home, small_model, tmp_path_factory):
    """A server with three configurations of the same network, each of two instances where it computes:

    `small`: as on one machine; `short`: with a queue of two places; `batched`: with the cluster's dynamic batching.
    """
    from conftest import TritonServer

    place = tmp_path_factory.mktemp("pair")
    build_repository([small_model], place, instances=2)
    digest = (place / "small/config.pbtxt").read_text().split(DIGEST)[1][:64]
    short = re.sub(r"max_queue_size: \d+", "max_queue_size: 2", local_config("short", digest))
    batched = cluster_config("batched", digest)
    for name, config in (("short", short), ("batched", on_cpu(batched))):
        shutil.copytree(place / "small", place / name)
        (place / name / "configs/local.pbtxt").write_text(config)
    server = TritonServer(triton_home, place, tmp_path_factory.mktemp("log") / "triton.log")
    server.start()
    try:
        server.wait()
        yield server
    finally:
        server.kill(signal.SIGTERM)


DIGEST = 'parameters { key: "onnx_sha256" value: { string_value: "'


def on_cpu(config):
    """The cluster's configuration without its GPU: everything else of it has to load on a real server."""
    without = re.sub(r"optimization \{.*", "", config, flags=re.DOTALL)
    return without.replace("KIND_GPU", "KIND_CPU").replace("256, 256", "32, 32")


@pytest.fixture
def client(pair):
    client = Triton(pair.address)
    yield client
    client.close()


def counted(name, **labels):
    return REGISTRY.get_sample_value(name, {"service": "ernet", **labels}) or 0.0


def test_two_instances_give_the_bytes_of_one(pair, client, triton):
    alone = Triton(triton.address)
    expected = [alone.infer("small", frames).tobytes() for frames in FRAMES]
    alone.close()
    assert len(pair.worker_pids()) == 4  # small 2, short 1, batched 1
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda n: client.infer("small", FRAMES[n % 6]).tobytes(), range(36)))
    assert answers == [expected[n % 6] for n in range(36)]


def test_the_clusters_batches_are_stacked_and_cut_apart_again(client):
    """Frames of several senders in one batch; another shape among them is a batch of its own."""
    odd = np.random.default_rng(9).random((1, 1, 32, 34), dtype=np.float32)
    wanted = [client.infer("small", frames) for frames in FRAMES] + [client.infer("small", odd)]
    sent = [*FRAMES, odd]
    with ThreadPoolExecutor(14) as pool:
        answers = list(pool.map(lambda n: client.infer("batched", sent[n % 7]), range(42)))
    for n, answer in enumerate(answers):
        assert np.abs(answer - wanted[n % 7]).max() <= 1e-4
    (stats,) = client._client.get_inference_statistics("batched").model_stats
    assert stats.execution_count < stats.inference_count, "some frames must have shared a batch"
    assert client.infer("batched", np.concatenate(FRAMES)).shape == (6, 4, 64, 96)


def test_a_full_queue_is_a_refusal_that_says_so_and_the_frame_comes_through_later(client):
    expected = client.infer("small", FRAMES[0])
    before = counted("cisterna_triton_answers_total", outcome="busy")

    def send(_):
        refused = 0
        while True:
            try:
                return client.infer("short", FRAMES[0]), refused
            except TritonBusy:
                refused += 1
                time.sleep(0.02)

    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(send, range(24)))
    assert sum(refused for _, refused in answers) > 0
    for answer, _ in answers:
        np.testing.assert_array_equal(answer, expected)
    assert counted("cisterna_triton_answers_total", outcome="busy") > before
    assert client.healthy()


def test_one_dead_worker_of_two_is_found_and_replaced(pair, client):
    """The living one answers for it half of the time, so one canary would not do."""
    expected = client.infer("small", FRAMES[0])
    before = counted("cisterna_triton_recoveries_total", how="reloaded")
    for pid in workers_of(pair, "small")[:1]:
        os.kill(pid, signal.SIGKILL)
    assert client.healthy()
    watch = TritonWatch(pair.address)
    assert pair.process is not None
    assert watch.forgotten(pair.process.pid, 1.0) == [], "it may be at work: looked at twice"

    def only_two() -> bool:
        for forgotten in watch.forgotten(pair.process.pid, 1.0):  # unloading has left the living one of the two behind
            os.kill(forgotten, signal.SIGKILL)
        return len(workers_of(pair, "small")) == 2

    assert becomes(only_two, 30)
    watch.stop()
    for _ in range(4):
        np.testing.assert_array_equal(client.infer("small", FRAMES[0]), expected)
    assert counted("cisterna_triton_recoveries_total", how="reloaded") == before + 1


def workers_of(server, model):
    """Stub processes of one model: their command line names its folder."""
    found = []
    for pid in server.worker_pids():
        with open(f"/proc/{pid}/cmdline") as f:
            if f"/{model}/" in f.read():
                found.append(pid)
    return found


@pytest.mark.parametrize("times", [3, pytest.param(40, marks=pytest.mark.long)])
def test_no_frame_is_wrong_or_lost_while_the_model_is_unloaded_every_second(pair, client, times):
    expected = [client.infer("small", frames).tobytes() for frames in FRAMES]
    before = counted("cisterna_triton_recoveries_total", how="loaded")
    gone = threading.Event()

    def take_away():
        other = Triton(pair.address)
        for _ in range(times):
            time.sleep(1.0)
            other._client.unload_model("small")
        other.close()
        gone.set()

    def run(n):
        while True:  # as the driver does: again, and never charged to the block
            try:
                return client.infer("small", FRAMES[n % 6]).tobytes() == expected[n % 6]
            except TritonUnavailable:
                time.sleep(0.2)

    thief = threading.Thread(target=take_away)
    thief.start()
    answers = []
    with ThreadPoolExecutor(4) as pool:
        while not gone.is_set():
            answers += list(pool.map(run, range(12)))
        answers += list(pool.map(run, range(12)))
    thief.join()
    assert len(answers) >= 24
    assert all(answers)
    assert counted("cisterna_triton_recoveries_total", how="loaded") > before
    assert client.healthy()


@pytest.mark.long
def test_a_hanging_worker_is_told_from_a_busy_one(pair, client):
    assert pair.process is not None
    client.infer("small", FRAMES[0])
    (pid, *_) = workers_of(pair, "small")
    watch = TritonWatch(pair.address, stuck_s=1.5, ask_s=0.3)
    try:
        assert not becomes(lambda: watch.stuck(pair.process.pid), 2.5), "an answering server does not hang"
        for each in workers_of(pair, "small"):
            os.kill(each, signal.SIGSTOP)
        assert becomes(lambda: watch.stuck(pair.process.pid), 15)
    finally:
        watch.stop()
        for each in workers_of(pair, "small"):
            os.kill(each, signal.SIGCONT)
    assert pid in workers_of(pair, "small")


def becomes(check, seconds):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if check():
            return True
        time.sleep(0.1)
    return False
