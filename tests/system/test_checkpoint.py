"""A published checkpoint on raw voxels through the whole line: equalised by tables of the whole, region and all."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
import zarr
from cisterna.chunks import Box
from cisterna.phantoms import fibsem_cell
from cisterna.segment.unet import build
from cisterna.store.arrays import read_box
from stacks import Stack

pytestmark = [pytest.mark.system, pytest.mark.long]

SHAPE, CUT = (40, 70, 134), 11
REACH = 54
RECIPE = """
denoise: {enabled: false}
segment: {models: {er: published, copi: published, tubular_eres: published}}
eres: {sensitivity: none, chance: {places: 1000, relocations: 100}}
"""


def test_a_checkpoint_s_run_and_that_of_a_task_inside_it_agree(stack: Stack, tmp_path: Path) -> None:
    volume = fibsem_cell(SHAPE, 8.0, seed=3).inlens
    tifffile.imwrite(tmp_path / "raw.tif", volume)
    array = zarr.open_group(str(tmp_path / "cell.zarr"), mode="w", zarr_format=2).create_array(
        "volumes/raw", shape=volume.shape, dtype=volume.dtype
    )
    array[...] = volume
    array.attrs.update(resolution=[8, 8, 8], offset=[80, 0, 160])
    entry = {"file": "cell.zarr", "raw": "volumes/raw", "voxel_size": [8, 8, 8], "offset": [10, 0, 20 + CUT]}
    entry["shape"] = [SHAPE[0], SHAPE[1], SHAPE[2] - CUT]
    (tmp_path / "task.json").write_text(json.dumps({"box": entry}))
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    torch.manual_seed(1)
    torch.save({"model_state_dict": build(num_fmaps=1).state_dict()}, tmp_path / "net.pt")
    grid = ("--voxel-size-nm", 8, 8, 8)
    import_it = ("models", "add", "--family", "asem", tmp_path / "net.pt", "--class", "er", "--name", "published")
    added = stack.cli(*import_it, *grid)
    assert added.returncode == 0, added.stderr
    shared = ("--polarity", "dark", "--recipe", tmp_path / "recipe.yaml")
    whole = stack.wait(stack.submit("fibsem", tmp_path / "raw.tif", *grid, *shared), 600)
    part = stack.wait(stack.submit("fibsem", tmp_path, "--task", tmp_path / "task.json", *shared), 600)
    assert (whole["state"], part["state"]) == ("SUCCEEDED", "SUCCEEDED")
    found = read_box(stack.store, f"{whole['arrays']['probability/er']}/0", Box.whole(SHAPE))
    region = read_box(stack.store, f"{part['arrays']['probability/er']}/0", Box.whole(tuple(entry["shape"])))
    assert np.ptp(found) > 1
    np.testing.assert_array_equal(region[:, :, REACH:], found[:, :, CUT + REACH :])
    labels = tmp_path / "cell.zarr/volumes/raw"  # any whole numbers will do to see where they lie
    done = stack.cli("evaluate", part["run_id"], "--truth", labels, "--class", "er", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["truth"]["box"]["shape"] == entry["shape"]
