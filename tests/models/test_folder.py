"""Model folders: what was written is what is read, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from cisterna.models import ModelError, demo_models, install_model, read_model, read_model_folder, write_model_folder
from cisterna.store import open_store

SPEC = {
    "name": "test-model",
    "family": "asem",
    "class": "er",
    "topology": {"num_fmaps": 2},
    "padding": "valid",
    "context": 47,
    "stride": 8,
    "voxel_size_nm": [8.0, 8.0, 8.0],
    "intensity": {"rule": "range", "to": [-1, 1]},
    "flop_per_voxel": 1.0,
    "demo": True,
    "licence": "BSD-3-Clause",
}
WEIGHTS = {"a.weight": np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4), "a.index": np.arange(4)}


def test_a_folder_comes_back(tmp_path: Path) -> None:
    digest = write_model_folder(tmp_path / "m", SPEC, WEIGHTS)
    model = read_model_folder(tmp_path / "m")
    assert model.digest == digest
    np.testing.assert_allclose(model.weights["a.weight"], WEIGHTS["a.weight"], atol=1e-3)
    assert (model.weights["a.index"] == WEIGHTS["a.index"]).all()


def test_the_same_model_has_the_same_digest(tmp_path: Path) -> None:
    assert write_model_folder(tmp_path / "a", SPEC, WEIGHTS) == write_model_folder(tmp_path / "b", SPEC, WEIGHTS)


def test_a_store_keeps_the_meaning_of_a_name(tmp_path: Path) -> None:
    store = open_store("memory://")
    own = {**SPEC, "demo": False}
    write_model_folder(tmp_path / "a", own, WEIGHTS)
    install_model(store, tmp_path / "a")
    install_model(store, tmp_path / "a")
    assert read_model(store, "test-model").name == "test-model"
    write_model_folder(tmp_path / "b", own, {k: v + 1 for k, v in WEIGHTS.items()})
    with pytest.raises(ModelError, match="another name"):
        install_model(store, tmp_path / "b")


def test_a_demonstration_model_gives_way_to_that_of_a_newer_release(tmp_path: Path) -> None:
    store = open_store("memory://")
    write_model_folder(tmp_path / "old", SPEC, WEIGHTS)
    new = write_model_folder(tmp_path / "new", SPEC, {k: v + 1 for k, v in WEIGHTS.items()})
    install_model(store, tmp_path / "old")
    install_model(store, tmp_path / "new")
    assert read_model(store, "test-model").digest == new


def test_altered_files_are_refused(tmp_path: Path) -> None:
    write_model_folder(tmp_path, SPEC, WEIGHTS)
    blob = (tmp_path / "weights.safetensors").read_bytes()
    (tmp_path / "weights.safetensors").write_bytes(blob[:-1] + b"\x01")
    with pytest.raises(ModelError, match="sha256"):
        read_model_folder(tmp_path)
    document = json.loads((tmp_path / "model.json").read_text())
    (tmp_path / "model.json").write_text(json.dumps({**document, "context": 40}))
    with pytest.raises(ModelError, match="altered"):
        read_model_folder(tmp_path)


@pytest.mark.parametrize(
    ("change", "says"),
    [({"family": "resnet"}, "family"), ({"name": "Bad Name"}, "name"), ({"stride": ...}, "lacks stride")],
)
def test_incomplete_models_are_refused(tmp_path: Path, change: dict[str, object], says: str) -> None:
    spec = {k: v for k, v in {**SPEC, **change}.items() if v is not ...}
    with pytest.raises(ModelError, match=says):
        write_model_folder(tmp_path, spec, WEIGHTS)


def test_every_demonstration_model_is_whole_small_and_says_what_it_is() -> None:
    models = [read_model_folder(p) for p in demo_models()]
    assert {m.name for m in models} == {
        "demo-fastfib",
        "demo-asem-er",
        "demo-asem-copi",
        "demo-asem-ccv",
        "demo-asem-tubular-eres",
        "demo-ernet",
    }
    for path, model in zip(demo_models(), models, strict=True):
        assert model.spec["demo"] is True
        size = sum(f.stat().st_size for f in path.rglob("*") if f.is_file())
        assert size <= 2_000_000, f"{model.name} takes {size} bytes"
