"""Frames through shared memory: the same bytes, nothing left behind by kills, gRPC where it does not work."""

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from cisterna.ernet import triton_memory
from cisterna.ernet.triton_client import Triton
from cisterna.ernet.triton_memory import FOLDER, PREFIX, is_own_host, memory_setting, namespace, orphaned, started
from cisterna.ernet.triton_server import memory_prefix
from tritonclient.utils import InferenceServerException

pytest.importorskip("torch")


@pytest.fixture
def client(triton):
    client = Triton(triton.address)
    yield client
    client.close()


def frames(height=40, width=58, seed=0):
    return np.random.default_rng(seed).random((1, 1, height, width), dtype=np.float32)


def registered(client):
    return set(client._client.get_system_shared_memory_status().regions)


def eventually(condition, patience_s=5.0):
    """Triton holds a region for a moment after the answer that it carried."""
    until = time.monotonic() + patience_s
    while not condition() and time.monotonic() < until:
        time.sleep(0.02)
    return condition()


def unregistered(client):
    try:
        client._client.unregister_system_shared_memory()
    except InferenceServerException:
        return False
    return True


def files():
    return [path.name for path in FOLDER.glob(f"{PREFIX}.*")]


def test_the_bytes_are_those_of_plain_messages_at_every_size(triton, client):
    plain = Triton(triton.address, memory="off")
    for edge in (16, 200, 40, 330, 200):  # growing, shrinking, growing
        expected = plain.infer("small", frames(edge, edge, seed=edge))
        assert client.infer("small", frames(edge, edge, seed=edge)).tobytes() == expected.tobytes()
    assert client.transport() == "shared_memory"
    assert plain.transport() == "grpc"
    assert eventually(lambda: client._memory.sweep() or len(registered(client)) == 1), "what was outgrown is given back"
    assert files() == []
    client.close()
    assert registered(plain) == set()
    plain.close()


def test_concurrent_frames_do_not_share_a_region(triton, client):
    plain = Triton(triton.address, memory="off")
    expected = [plain.infer("small", frames(seed=seed)).tobytes() for seed in range(8)]
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda seed: client.infer("small", frames(seed=seed % 8)).tobytes(), range(48)))
    assert answers == [expected[seed % 8] for seed in range(48)]
    assert client.transport() == "shared_memory"
    assert len(registered(client)) <= 4
    plain.close()


def test_a_killed_service_leaves_nothing_behind(triton, client):
    script = (
        "import sys, time, numpy as np; from cisterna.ernet.triton_client import Triton\n"
        f"t = Triton({triton.address!r}); t.infer('small', np.zeros((1, 1, 64, 64), np.float32))\n"
        "print(t.transport(), flush=True); time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline().strip() == "shared_memory"
        client.infer("small", frames())
        (own,) = (name for name in registered(client) if f".{os.getpid()}." in name)
        (other,) = registered(client) - {own}
        assert client.healthy()
        assert {own, other} <= registered(client), "a living process keeps its regions"
    finally:
        process.kill()
        process.wait()
    assert files() == []
    assert client.healthy()
    assert own in registered(client)
    assert other not in registered(client)


def test_a_region_of_a_failed_request_is_never_used_again(client):
    client.infer("small", frames())
    before = registered(client)
    with pytest.raises(Exception, match="small"):
        client.infer("small", frames(33, 40))
    expected = client.infer("small", frames())
    assert client.infer("small", frames()).tobytes() == expected.tobytes()
    assert eventually(lambda: client._memory.sweep() or not before & registered(client))


def test_a_region_unregistered_under_a_frame_costs_one_message(client):
    expected = client.infer("small", frames())
    assert eventually(lambda: unregistered(client))
    assert client.infer("small", frames()).tobytes() == expected.tobytes()
    client.infer("small", frames())
    assert client.transport() == "shared_memory", "asked again, found to work"


def test_another_host_is_served_by_message(triton, monkeypatch, tmp_path):
    """A folder that the server does not see stands for its being elsewhere; so does a /dev/shm that is full."""
    monkeypatch.setattr(triton_memory, "FOLDER", tmp_path)
    elsewhere = Triton(triton.address)
    reference = Triton(triton.address, memory="off")
    assert elsewhere.infer("small", frames()).tobytes() == reference.infer("small", frames()).tobytes()
    assert elsewhere.transport() == "grpc"
    assert list(tmp_path.iterdir()) == []
    elsewhere.close()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.undo()
    crowded = Triton(triton.address)
    crowded.infer("small", frames())
    monkeypatch.setattr(os, "posix_fallocate", full)
    assert crowded.infer("small", frames(600, 600)).shape == (1, 4, 600, 600)
    assert files() == []
    crowded.close()
    reference.close()


def test_a_restarted_server_is_asked_again(triton, client):
    expected = client.infer("small", frames())
    triton.kill()
    triton.start()
    triton.wait()
    until = time.monotonic() + 20
    while not client.healthy():
        assert time.monotonic() < until
        time.sleep(0.2)
    assert client.infer("small", frames()).tobytes() == expected.tobytes()
    assert client.transport() == "shared_memory"
    assert files() == []
    assert len(list(FOLDER.glob(f"{memory_prefix(triton.ports[1])}*"))) == len(triton.worker_pids())


def test_only_regions_of_dead_processes_of_this_machine_are_orphans():
    me = f"{PREFIX}.{namespace()}.{os.getpid()}.{started(os.getpid())}.0-0"
    assert not orphaned(me)
    assert orphaned(f"{PREFIX}.{namespace()}.{os.getpid()}.1.0-0"), "the pid is another process's now"
    assert not orphaned(f"{PREFIX}.1.{os.getpid()}.1.0-0"), "another pid namespace"
    assert not orphaned("someone-elses-region")
    process = subprocess.Popen([sys.executable, "-c", "pass"])
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert orphaned(f"{PREFIX}.{namespace()}.{process.pid}.1.0-0")


@pytest.mark.parametrize(
    ("address", "own"),
    [("127.0.0.1:8001", True), ("localhost:1", True), ("[::1]:1", True), ("triton:8001", False), ("10.0.0.1:1", False)],
)
def test_which_addresses_are_this_machine(address, own):
    assert is_own_host(address) is own


def test_the_setting_is_checked(monkeypatch):
    monkeypatch.setenv("CISTERNA_TRITON_SHARED_MEMORY", "yes")
    with pytest.raises(SystemExit, match="auto, on or off"):
        memory_setting()
