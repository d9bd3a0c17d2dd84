"""ERnet through a real Triton server: the same numbers, honest health, and recovery after kills."""

import hashlib
import json
import os
import shutil
import signal
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from cisterna.ernet.triton_client import Triton, TritonRefused, TritonUnavailable
from cisterna.ernet.triton_server import build_repository, triton_command
from cisterna.models import load_model

torch = pytest.importorskip("torch")


@pytest.fixture
def client(triton):
    client = Triton(triton.address)
    yield client
    client.close()


def frames(height=40, width=58, count=1, seed=0):
    return np.random.default_rng(seed).random((count, 1, height, width), dtype=np.float32)


@pytest.mark.parametrize("shape", [(2, 2), (40, 58), (128, 130)])
def test_triton_answers_as_torch_does(client, small_model, shape):
    network = load_model(small_model)
    with torch.no_grad():
        expected = network(torch.from_numpy(frames(*shape))).numpy()
    found = client.infer("small", frames(*shape))
    assert found.dtype == np.float32
    assert np.abs(expected).max() > 0.1
    assert np.abs(found - expected).max() <= 1e-4


def test_the_same_frame_gives_the_same_bytes(client):
    first = client.infer("small", frames())
    client.infer("small", frames(64, 64, seed=1))
    assert client.infer("small", frames()).tobytes() == first.tobytes()


def test_wrong_requests_are_refused_and_not_retried(client, small_model):
    digest = json.loads((small_model / "model.json").read_text())["onnx"]["sha256"]
    client.infer("small", frames(), digest)
    with pytest.raises(TritonRefused, match="serves another model named small"):
        client.infer("small", frames(), "0" * 64)
    with pytest.raises(TritonRefused, match="refuses this request"):
        client.infer("small", frames(count=2))  # one frame a time here
    with pytest.raises(TritonUnavailable, match="cannot load model absent"):
        Triton(client.address).infer("absent", frames())


def test_a_frame_the_network_cannot_take_is_an_error_not_a_dead_worker(client):
    with pytest.raises((TritonUnavailable, TritonRefused), match="small"):
        client.infer("small", frames(33, 40))
    assert client.healthy()


def test_a_killed_worker_is_brought_back_by_the_next_frame(triton, client):
    expected = client.infer("small", frames())
    pid = triton.worker_pid()
    os.kill(pid, signal.SIGKILL)
    np.testing.assert_array_equal(client.infer("small", frames()), expected)
    assert triton.worker_pid() != pid


def test_a_killed_worker_of_an_idle_service_is_brought_back_by_its_health_check(triton, client):
    client.infer("small", frames())
    pid = triton.worker_pid()
    os.kill(pid, signal.SIGKILL)
    assert client.healthy()
    assert triton.worker_pid() != pid


def test_a_model_the_repository_lacks_is_sent_and_sent_again_after_a_restart(triton, client, small_model):
    data = (small_model / "1/model.onnx").read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    expected = client.infer("small", frames())
    with pytest.raises(TritonRefused, match="not the one"):
        Triton(triton.address).infer("added", frames(), digest, lambda: data + b"x")
    np.testing.assert_array_equal(client.infer("added", frames(), digest, lambda: data), expected)
    triton.kill()
    triton.start()
    until = time.monotonic() + 20
    while not client.healthy():
        assert time.monotonic() < until
        time.sleep(0.2)
    np.testing.assert_array_equal(client.infer("added", frames(), digest), expected)
    client._client.unload_model("added")


def test_an_unloaded_model_is_loaded_again(client):
    expected = client.infer("small", frames())
    client._client.unload_model("small")
    np.testing.assert_array_equal(client.infer("small", frames()), expected)


def test_two_services_heal_one_dead_worker_together(triton, client):
    expected = client.infer("small", frames())
    pid = triton.worker_pid()
    os.kill(pid, signal.SIGKILL)
    others = [Triton(triton.address) for _ in range(2)]
    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(lambda each: each.infer("small", frames()), others))
    for each, answer in zip(others, answers, strict=True):
        np.testing.assert_array_equal(answer, expected)
        each.close()


def test_a_killed_server_is_unhealthy_until_it_is_back(triton, client):
    expected = client.infer("small", frames())
    assert client.healthy()
    triton.kill()
    assert not client.healthy()
    with pytest.raises(TritonUnavailable, match="did not compute"):
        client.infer("small", frames())
    triton.start()
    triton.wait()
    until = time.monotonic() + 20
    while not client.healthy():  # the same channel connects again
        assert time.monotonic() < until
        time.sleep(0.2)
    np.testing.assert_array_equal(client.infer("small", frames()), expected)


def test_the_repository_is_one_for_both_worlds(small_model, tmp_path):
    assert build_repository(small_model, tmp_path) == ["small"]
    base = (tmp_path / "small/config.pbtxt").read_text()
    local = (tmp_path / "small/configs/local.pbtxt").read_text()
    assert base == (small_model / "config.pbtxt").read_text()
    assert 'backend: "onnxruntime"' in base
    assert 'backend: "onnxruntime"' in local
    assert "tensorrt" in base
    assert "KIND_GPU" in base
    assert "KIND_GPU" not in local
    assert "max_batch_size: 1\n" in local
    assert (tmp_path / "small/1/model.onnx").read_bytes() == (small_model / "1/model.onnx").read_bytes()
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    build_repository([small_model], tmp_path)
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_a_model_folder_with_another_onnx_is_refused(small_model, tmp_path):
    shutil.copytree(small_model, tmp_path / "small")
    (tmp_path / "small/1/model.onnx").write_bytes(b"something else")
    with pytest.raises(ValueError, match="not the file that model"):
        build_repository([tmp_path / "small"], tmp_path / "repository")
    with pytest.raises(ValueError, match="not a model folder"):
        build_repository([tmp_path], tmp_path / "repository")


def test_a_folder_without_triton_says_how_to_get_it(tmp_path):
    with pytest.raises(ValueError, match=r"install\.py"):
        triton_command(tmp_path, tmp_path, 1, 2, 3)
