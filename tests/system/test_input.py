"""Input that cannot be used is refused in one line and leaves nothing; odd input works, with a note."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from cisterna.runs import record
from stacks import Stack, listing

pytestmark = pytest.mark.system

VOXELS = ("--voxel-size-nm", "8", "8", "8")


def texture(shape: tuple[int, ...], seed: int = 0) -> np.ndarray[Any, Any]:
    """Bright resin with dark membranes: enough to look like a FIB-SEM volume."""
    from scipy.ndimage import gaussian_filter

    field = gaussian_filter(np.random.default_rng(seed).normal(size=shape), 3)
    membranes = np.exp(-((field / field.std() / 0.15) ** 2))
    noise = np.random.default_rng(seed + 1).normal(0, 5, shape)
    return np.clip(180 - 90 * membranes + noise, 0, 255).astype(np.uint8)


def written(folder: Path, name: str, data: np.ndarray[Any, Any], **options: Any) -> Path:
    tifffile.imwrite(folder / name, data, photometric=options.pop("photometric", "minisblack"), **options)
    return folder / name


Case = Callable[[Path], tuple[list[Any], list[str]]]


def missing(folder: Path) -> tuple[list[Any], list[str]]:
    return ["fibsem", folder / "absent.tif", *VOXELS], ["absent.tif"]


def truncated(folder: Path) -> tuple[list[Any], list[str]]:
    path = written(folder, "cut.tif", texture((20, 40, 40)))
    path.write_bytes(path.read_bytes()[:20000])
    return ["fibsem", path, *VOXELS], ["cut.tif"]


def not_an_image(folder: Path) -> tuple[list[Any], list[str]]:
    (folder / "notes.tif").write_text("these are my notes")
    return ["fibsem", folder / "notes.tif", *VOXELS], ["notes.tif"]


def empty_file(folder: Path) -> tuple[list[Any], list[str]]:
    (folder / "empty.tif").write_bytes(b"")
    return ["fibsem", folder / "empty.tif", *VOXELS], ["empty.tif"]


def empty_folder(folder: Path) -> tuple[list[Any], list[str]]:
    (folder / "planes").mkdir()
    return ["fibsem", folder / "planes", *VOXELS], ["planes"]


def no_voxel_size(folder: Path) -> tuple[list[Any], list[str]]:
    return ["fibsem", written(folder, "plain.tif", texture((20, 40, 40)))], ["voxel", "--voxel-size-nm"]


def zero_voxel_size(folder: Path) -> tuple[list[Any], list[str]]:
    return ["fibsem", written(folder, "plain.tif", texture((20, 40, 40))), "--voxel-size-nm", "0", "8", "8"], ["0"]


def other_voxel_size(folder: Path) -> tuple[list[Any], list[str]]:
    grid = {"axes": "ZYX"} | {f"PhysicalSize{a}": 5.0 for a in "XYZ"} | {f"PhysicalSize{a}Unit": "nm" for a in "XYZ"}
    path = folder / "five.ome.tif"
    tifffile.imwrite(path, texture((20, 40, 40)), ome=True, photometric="minisblack", metadata=grid)
    return ["fibsem", path, *VOXELS], ["5", "8"]


def whole_nan(folder: Path) -> tuple[list[Any], list[str]]:
    return ["fibsem", written(folder, "nan.tif", np.full((20, 40, 40), np.nan, np.float32)), *VOXELS], [
        "nan.tif",
        "NaN",
    ]


def unknown_key(folder: Path) -> tuple[list[Any], list[str]]:
    (folder / "r.yaml").write_text("eres: {ruels: {link_nm: 40}}")
    return ["fibsem", written(folder, "a.tif", texture((20, 40, 40))), *VOXELS, "--recipe", folder / "r.yaml"], [
        "ruels",
        "'rules'",
    ]


def unknown_rule(folder: Path) -> tuple[list[Any], list[str]]:
    return ["fibsem", written(folder, "a.tif", texture((20, 40, 40))), *VOXELS, "--set", "eres.rules.link=40"], ["link"]


def unknown_model(folder: Path) -> tuple[list[Any], list[str]]:
    return [
        "er-movie",
        written(folder, "m.tif", texture((2, 40, 40))),
        "--pixel-size-nm",
        "100",
        "--frame-interval-s",
        "1",
        "--set",
        "ernet.model=absent",
    ], ["absent", "models list"]


def region_outside(folder: Path) -> tuple[list[Any], list[str]]:
    return ["fibsem", written(folder, "a.tif", texture((20, 40, 40))), *VOXELS, "--region", "0:10,0:90,0:40"], ["90"]


CASES = [
    missing,
    truncated,
    not_an_image,
    empty_file,
    empty_folder,
    no_voxel_size,
    zero_voxel_size,
    other_voxel_size,
    whole_nan,
    unknown_key,
    unknown_rule,
    unknown_model,
    region_outside,
]


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.__name__)
def test_unusable_input_is_one_line_and_leaves_nothing(stack: Stack, tmp_path: Path, case: Case) -> None:
    words, says = case(tmp_path)
    before = _registered(stack)
    done = stack.cli("submit", *words, "--wait")
    assert done.returncode == 2, done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("cisterna: ")]
    assert len(lines) == 1, done.stderr
    assert "Traceback" not in done.stderr
    for text in says:
        assert text in lines[0]
    assert _registered(stack) == before


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MB."""
    place = tmp_path / "small"
    place.mkdir()
    if (
        os.geteuid() != 0
        or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)], check=False).returncode
    ):
        pytest.skip("a full store needs root, to mount a file system of 1 MB")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_full_store_is_one_line_and_registers_nothing(stack: Stack, tmp_path: Path, small_disk: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (40, 256, 256)).astype(np.uint8)
    path = written(tmp_path, "big.tif", noise)
    done = stack.cli(
        "submit", "fibsem", path, *VOXELS, "--polarity", "dark", "--store", f"file://{small_disk}/store", "--wait"
    )
    assert done.returncode == 1, done.stderr
    last = done.stderr.splitlines()[-1]
    assert last.startswith("cisterna: ")
    assert "full" in last
    assert "Traceback" not in done.stderr
    assert not list(small_disk.rglob("manifest.json"))
    assert not list(small_disk.rglob("run.json"))


def _partly_nan() -> np.ndarray[Any, Any]:
    data = texture((16, 48, 48)).astype(np.float32)
    data[3, 10:20, 10:20] = np.nan
    return data


ODD = {
    "small": (["fibsem"], texture((9, 20, 24)), [*VOXELS, "--polarity", "dark"], ""),
    "one plane": (["fibsem"], texture((1, 64, 64)), [*VOXELS, "--polarity", "dark"], "plane"),
    "constant": (["fibsem"], np.full((16, 40, 40), 90, np.uint8), VOXELS, "constant"),
    "partly NaN": (["fibsem"], _partly_nan(), [*VOXELS, "--polarity", "dark"], "not finite"),
    "grey as RGB": (
        ["er-movie"],
        np.repeat(texture((48, 64))[..., None], 3, axis=-1),
        ["--pixel-size-nm", "100", "--frame-interval-s", "1"],
        "grey",
    ),
}


@pytest.mark.parametrize("name", ODD)
def test_odd_input_works_and_says_so(stack: Stack, tmp_path: Path, name: str) -> None:
    kind, data, options, note = ODD[name]
    photometric = "rgb" if data.ndim == 3 and data.shape[-1] == 3 else "minisblack"
    path = written(tmp_path, "odd.tif", data, photometric=photometric)
    done = stack.cli("submit", *kind, path, *options, "--wait")
    assert done.returncode == 0, done.stderr + stack.logs()
    run_id = next(w for w in done.stdout.split() if w.startswith(kind[0]))
    document = record.read_run(stack.store, run_id)
    assert document is not None
    assert document["state"] == "SUCCEEDED"
    assert any(note in text for text in document["notes"]) or not note, document["notes"]


def _registered(stack: Stack) -> set[str]:
    return set(listing(stack))
