"""`cisterna models add`: published checkpoints come in by name, and nothing else does."""

from __future__ import annotations

import importlib
import json
import pickle
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


class _Opens:
    """Pickled, it asks whoever loads it to open a file for writing."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (str(self.path), "w")


def _wrong_key(state: dict[str, Any], _: Path) -> Any:
    state["unet.l_conv.0.conv_pass.9.weight"] = torch.zeros(3)
    return {"model_state_dict": state}


def _wrong_shape(state: dict[str, Any], _: Path) -> Any:
    state["unet.l_conv.2.conv_pass.0.weight"] = torch.zeros(8, 4, 1, 3, 3)
    return {"model_state_dict": state}


def _code(state: dict[str, Any], trace: Path) -> Any:
    return {"model_state_dict": state, "optimizer_state_dict": _Opens(trace)}


@pytest.mark.parametrize("family", ["asem", "ernet"])
@pytest.mark.parametrize(
    ("make", "words"),
    [(_wrong_key, "conv_pass.9.weight"), (_wrong_shape, "(8, 4, 1, 3, 3)"), (_code, "bad.pt"), (None, "bad.pt")],
    ids=["key", "shape", "code", "cut short"],
)
def test_an_untrusted_checkpoint_is_refused_with_a_sentence_and_runs_nothing(
    tmp_path: Path, store_url: str, make: Any, words: str, family: str, capsys: pytest.CaptureFixture[str]
) -> None:
    trace, state = tmp_path / "trace", build_asem(num_fmaps=2).state_dict()
    content = {"model_state_dict": state} if make is None else make(state, trace)
    torch.save(content, tmp_path / "bad.pt")
    if make is None:
        (tmp_path / "bad.pt").write_bytes((tmp_path / "bad.pt").read_bytes()[:-2000])
    options = {"asem": ("--class", "er", "--voxel-size-nm", 5, 5, 5), "ernet": ("--pixel-size-nm", 42)}[family]
    assert add(tmp_path / "bad.pt", "--family", family, *options, "--store", store_url) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert (words if family == "asem" else "bad.pt") in error
    assert not trace.exists()
    assert open_store(store_url).folders("models") == []


@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_a_bare_pickle_is_not_loaded(
    tmp_path: Path, store_url: str, protocol: int, capsys: pytest.CaptureFixture[str]
) -> None:
    trace = tmp_path / "trace"
    (tmp_path / "bad.pt").write_bytes(pickle.dumps({"model_state_dict": _Opens(trace)}, protocol))
    words = ("--family", "asem", "--class", "er", "--voxel-size-nm", 5, 5, 5, "--store", store_url)
    assert add(tmp_path / "bad.pt", *words) == 2
    assert "bad.pt" in capsys.readouterr().err
    assert not trace.exists()


def test_a_task_file_says_class_and_grid(tmp_path: Path, store_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"model_state_dict": build_asem(num_fmaps=1).state_dict()}, tmp_path / "c.pt")
    entry = {"file": "a.zarr", "raw": "volumes/raw", "voxel_size": [5.24, 4, 4], "labels": {"volumes/labels/er": 1}}
    task = tmp_path / "task.json"
    task.write_text(json.dumps({"a": entry, "b": entry}))
    words = (tmp_path / "c.pt", "--family", "asem", "--task", task, "--store", store_url)
    assert add(*words, "--name", "mine") == 0
    spec = read_model(open_store(store_url), "mine").spec
    assert (spec["class"], spec["voxel_size_nm"], spec["intensity"]["rule"]) == ("er", [5.24, 4.0, 4.0], "clahe")
    assert add(*words, "--name", "other", "--intensity", "range") == 0
    assert read_model(open_store(store_url), "other").spec["intensity"]["rule"] == "range"
    capsys.readouterr()
    for more, sentence in [
        (("--class", "copi"), "names the labels er"),
        (("--voxel-size-nm", 5, 5, 5), "5.24×4×4"),
    ]:
        assert add(*words, *more) == 2
        assert sentence in capsys.readouterr().err
    task.write_text(json.dumps({"a": entry, "b": entry | {"voxel_size": [5, 5, 5]}}))
    assert add(*words) == 2
    assert "different voxel sizes" in capsys.readouterr().err


def test_options_of_asem_checkpoints_stand_beside_nothing_else(
    tmp_path: Path, store_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for words in (("--intensity", "range"), ("--class", "er")):
        assert add(tmp_path, *words, "--store", store_url) == 2
        assert f"{words[0]} is for --family asem" in capsys.readouterr().err
