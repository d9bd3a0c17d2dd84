"""Triton's pod takes its repository from the store; what is not itself stops the pod."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from cisterna.models import demo_models, install_model
from cisterna.store import open_store

SCRIPT = Path(__file__).resolve().parents[2] / "k8s/base/fetch_models.py"


@pytest.fixture
def store(tmp_path):
    store = open_store(f"file://{tmp_path / 'store'}")
    for folder in demo_models():
        install_model(store, folder)
    return store


def fetch(store, folder):
    return subprocess.run(
        [sys.executable, str(SCRIPT), str(folder)],
        env={**os.environ, "CISTERNA_STORE": store.url}, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def test_the_repository_holds_the_network_and_the_clusters_configuration(store, tmp_path):
    done = fetch(store, tmp_path / "repository")
    assert done.returncode == 0, done.stderr
    home = tmp_path / "repository/demo-ernet"
    spec = json.loads(store.get("models/demo-ernet/model.json"))
    assert (home / "1/model.onnx").read_bytes() == store.get(f"models/demo-ernet/{spec['onnx']['file']}")
    assert "tensorrt" in (home / "config.pbtxt").read_text()
    assert [p.name for p in (tmp_path / "repository").iterdir()] == ["demo-ernet"]


def test_a_network_that_is_not_itself_stops_the_pod(store, tmp_path):
    spec = json.loads(store.get("models/demo-ernet/model.json"))
    store.put(f"models/demo-ernet/{spec['onnx']['file']}", b"not the network")
    done = fetch(store, tmp_path / "repository")
    assert done.returncode == 1
    assert "demo-ernet" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_store_without_models_stops_the_pod_with_the_remedy(tmp_path):
    done = fetch(open_store(f"file://{tmp_path / 'store'}"), tmp_path / "repository")
    assert done.returncode == 1
    assert "cisterna models add" in done.stderr
