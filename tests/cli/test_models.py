"""`cisterna models add`: published checkpoints come in by name, and nothing else does."""

from __future__ import annotations

from pathlib import Path

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
