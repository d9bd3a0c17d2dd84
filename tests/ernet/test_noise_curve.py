"""Noise curves of networks whose answers are known, and the card that they are written on."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
from cisterna.cli.home import UsageError
from cisterna.cli.main import main
from cisterna.cli.noise_curve import write_noise_curve
from cisterna.ernet.frames import View
from cisterna.ernet.noise_curve import CurvePhantoms, noise_curve
from cisterna.ernet.tubule_width import outline_px, tubule_width_px
from cisterna.graph import trace_network
from cisterna.models import ModelError, amend_model_folder, demo_models, read_model_folder
from cisterna.phantoms import er_movie
from numpy.typing import NDArray

SMALL = CurvePhantoms(seeds=range(910_000, 910_002), levels=(1.0, 20.0, math.inf), edge_px=128)


def threshold(frames: NDArray[np.float32]) -> NDArray[np.float32]:
    """A network that calls bright pixels of the middle frame tubule, surely, and knows nothing else."""
    middle = frames[:, frames.shape[1] // 2]
    logits = np.zeros((len(frames), 4, *frames.shape[2:]), np.float32)
    logits[:, 2] = np.where(middle > 0.45, 8, -8)
    return logits


def test_the_curve_rises_as_noise_goes() -> None:
    curve = noise_curve(threshold, trace_network, 0.05, phantoms=SMALL)
    assert [row["snr"] for row in curve["levels"]] == [1.0, 20.0, None]
    accuracy = [row["pixel_accuracy"] for row in curve["levels"]]
    assert accuracy[0] < accuracy[1] <= accuracy[2]
    assert curve["levels"][0]["junction_f1"] < curve["levels"][2]["junction_f1"]
    assert (curve["pixel_size_um"], curve["tubule_width_px"], curve["frames"]) == (0.05, 3.5, 2)
    assert "910000 to 910001" in curve["data"]
    assert all(row["mean_confidence"] > 0.4 for row in curve["levels"])
    json.dumps(curve, allow_nan=False)


def test_a_temporal_network_is_shown_its_frames_and_judged_at_the_middle_one() -> None:
    shown: list[tuple[int, ...]] = []

    def network(frames: NDArray[np.float32]) -> NDArray[np.float32]:
        shown.append(frames.shape)
        return threshold(frames)

    phantoms = CurvePhantoms(seeds=[910_000], levels=(math.inf,), edge_px=64)
    noise_curve(network, trace_network, 0.1, View(frames=5, stride=4, smallest_px=8, whole=True), phantoms)
    assert shown == [(1, 5, 64, 64)]


def test_phantoms_grow_with_the_tubules() -> None:
    wide = CurvePhantoms(tubule_width_px=7.0, edge_px=128).movie(math.inf, 910_000)
    usual = CurvePhantoms(edge_px=64).movie(math.inf, 910_000)
    assert wide.tubule_width_px == 7
    assert tubule_width_px(wide.classes) == pytest.approx(2 * tubule_width_px(usual.classes), rel=0.1)
    # The same network, twice as large: as many junctions.
    assert len(wide.nodes) == pytest.approx(len(usual.nodes), abs=12)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"seeds": []}, "at least one"),
        ({"levels": (5.0, 0.0)}, "positive"),
        ({"tubule_width_px": 0.5}, "0.5 px"),
        ({"tubule_width_px": math.nan}, "nan px"),
    ],
)
def test_phantoms_that_cannot_be_drawn_are_refused(changes: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        CurvePhantoms(**changes)  # type: ignore[arg-type]


def test_the_outline_of_a_disc_and_the_width_of_a_ribbon() -> None:
    y, x = np.mgrid[:201, :201] - 100
    assert outline_px(np.hypot(y, x) <= 80) == pytest.approx(2 * math.pi * 80, rel=0.02)
    for angle in (0.0, 0.3, math.pi / 4, 1.2):
        ribbon = np.abs(y * math.cos(angle) + x * math.sin(angle)) <= 3.25
        assert tubule_width_px([2 * ribbon]) == pytest.approx(6.5, abs=1.0)
    assert math.isnan(tubule_width_px([np.zeros((8, 8))]))


@pytest.mark.parametrize("width", [2.8, 4.2])
def test_the_width_of_phantom_tubules_comes_back(width: float) -> None:
    movie = er_movie(1, (256, 256), seed=910_000, tubule_width_px=width)
    assert tubule_width_px(movie.classes) == pytest.approx(width, rel=0.12)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(next(p for p in demo_models() if p.name == "demo-ernet"), tmp_path / "demo-ernet"))


def test_a_command_writes_the_curve_on_the_card(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = read_model_folder(folder)
    assert main(["models", "noise-curve", str(folder), "--phantoms", "1", "--edge-px", "64"]) == 0
    after = read_model_folder(folder)
    assert after.digest != before.digest
    assert after.digest[:12] in capsys.readouterr().out
    curve = after.spec["noise_curve"]
    assert [row["snr"] for row in curve["levels"]] == [2, 3, 5, 10, 20, None]
    assert curve["pixel_size_um"] == before.spec["pixel_size_um"]
    assert all((after.weights[k] == v).all() for k, v in before.weights.items())


def test_models_without_a_curve_are_refused_in_a_sentence(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no model folder"):
        write_noise_curve(tmp_path / "nothing")
    with pytest.raises(UsageError, match="at least one"):
        write_noise_curve(folder, count=0)
    other = next(p for p in demo_models() if p.name == "demo-fastfib")
    with pytest.raises(UsageError, match="fastfib"):
        write_noise_curve(other)


def test_what_identifies_a_model_cannot_be_amended(folder: Path) -> None:
    digest = read_model_folder(folder).digest
    with pytest.raises(ModelError, match="name"):
        amend_model_folder(folder, {"name": "other"})
    assert read_model_folder(folder).digest == digest
    assert amend_model_folder(folder, {}) == digest


def test_the_demonstration_model_carries_its_curve() -> None:
    (folder,) = (p for p in demo_models() if p.name == "demo-ernet")
    spec = read_model_folder(folder).spec
    levels = {row["snr"]: row for row in spec["noise_curve"]["levels"]}
    assert set(levels) == {2, 3, 5, 10, 20, None}
    assert spec["noise_curve"]["pixel_size_um"] == spec["pixel_size_um"]
    for snr in (5, 10, 20):
        for name in ("pixel_accuracy", "junction_f1"):
            assert levels[snr][name] >= 0.9 * levels[None][name], (snr, name)
