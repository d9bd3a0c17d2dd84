"""`cisterna models add`: published checkpoints come in by name, and nothing else does."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest
import torch
from cisterna.cli.main import main
from cisterna.models import read_model
from cisterna.segment.unet import build as build_asem
from cisterna.store import open_store


@pytest.fixture
def store_url(tmp_path: Path) -> str:
    return f"file://{tmp_path}/store"


def add(*words: object) -> int:
    return main(["models", "add", *map(str, words)])


def test_a_published_asem_checkpoint_becomes_a_model(tmp_path: Path, store_url: str) -> None:
    checkpoint = tmp_path / "model_checkpoint_1841_er_CF.pt"
    network = build_asem(num_fmaps=32)
    torch.save({"model_state_dict": network.state_dict(), "optimizer_state_dict": {}}, checkpoint)
    options = ("--family", "asem", "--class", "er", "--voxel-size-nm", 5, 5, 5, "--store", store_url)
    assert add(checkpoint, *options) == 0
    model = read_model(open_store(store_url), "model_checkpoint_1841_er_cf")
    assert model.spec["class"] == "er"
    assert model.spec["demo"] is False
    state = model.module().state_dict()
    key = "unet.l_conv.0.conv_pass.0.weight"
    assert torch.allclose(state[key], network.state_dict()[key], atol=1e-3)


@pytest.mark.parametrize("words", [("--class", "er"), ("--voxel-size-nm", 5, 5, 5)])
def test_what_a_checkpoint_does_not_say_is_asked_for(
    tmp_path: Path, store_url: str, words: tuple[object, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "c.pt").write_bytes(b"")
    assert add(tmp_path / "c.pt", "--family", "asem", *words, "--store", store_url) == 2
    assert "--class" in capsys.readouterr().err


def test_a_file_that_is_no_checkpoint_is_refused_in_one_line(
    tmp_path: Path, store_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "c.pt").write_text("not a checkpoint")
    words = ("--family", "asem", "--class", "er", "--voxel-size-nm", 5, 5, 5, "--store", store_url)
    assert add(tmp_path / "c.pt", *words) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert open_store(store_url).folders("models") == []


SWIN2D = {"embed": 8, "depths": (1,), "heads": 2}
SWIN3D = {"frames": 3, "embed": 8, "depths": (2,), "heads": (2,), "channels": 8, "squeezed": 2, "residual_blocks": 1}


@pytest.mark.parametrize(
    ("topology", "family", "size"),
    [(SWIN2D, "ernet-swin2d", ("--pixel-size-um", 0.042)), (SWIN3D, "ernet-swin3d", ("--pixel-size-nm", 42))],
)
def test_an_ernet_checkpoint_of_either_family_becomes_a_model_for_triton(
    tmp_path: Path, store_url: str, topology: dict[str, Any], family: str, size: tuple[object, ...]
) -> None:
    network = importlib.import_module(f"cisterna.ernet.{family.removeprefix('ernet-')}").build(**topology)
    torch.save({"state_dict": {f"module.{k}": v for k, v in network.state_dict().items()}}, tmp_path / "net.pth")
    assert add(tmp_path / "net.pth", "--family", "ernet", *size, "--name", "mine", "--store", store_url) == 0
    store = open_store(store_url)
    spec = read_model(store, "mine").spec
    assert (spec["family"], spec["pixel_size_um"]) == (family, pytest.approx(0.042))
    frames = topology.get("frames", 1)
    assert spec["frames"] == frames
    assert f"dims: [ {frames}, -1, -1 ]" in store.get("models/mine/config.pbtxt").decode()
    assert store.exists("models/mine/1/model.onnx")


def test_an_ernet_checkpoint_without_its_pixel_size_or_a_key_is_refused_in_one_line(
    tmp_path: Path, store_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    state = importlib.import_module("cisterna.ernet.swin3d").build(**SWIN3D).state_dict()
    del state["layers.0.resi_connection3.bias"]
    torch.save({"state_dict": state}, tmp_path / "net.pth")
    words = (tmp_path / "net.pth", "--family", "ernet", "--store", store_url)
    assert add(*words) == 2
    assert "--pixel-size-um" in capsys.readouterr().err
    assert add(*words, "--pixel-size-um", 0.042) == 2
    error = capsys.readouterr().err
    assert "layers.0.resi_connection3.bias is missing" in error
    assert error.count("\n") == 1
