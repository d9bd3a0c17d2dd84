"""Acquisitions and models as documents only: enough to plan with, without a voxel."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from cisterna.models import install_model, write_model_folder
from cisterna.runs.acquisition import Acquisition, from_manifest
from cisterna.store import ObjectStore

CLASSES = ("er", "copi", "ccv", "tubular_eres")


def _array(path: str, shape: tuple[int, ...], **scale: Any) -> dict[str, Any]:
    return {
        "path": path,
        "shape": shape,
        "dtype": "uint8",
        "intensity": {"low": 3.0, "high": 250.0, "invert": False},
        **scale,
    }


def volume(
    shape: tuple[int, ...] = (130, 130, 130), detectors: tuple[str, ...] = (), voxel_nm: float = 8.0
) -> Acquisition:
    """A volume of 64-voxel blocks."""
    size = {"voxel_size_nm": [voxel_nm] * 3}
    arrays = {n: _array(f"acquisitions/v/{n}.ome.zarr", shape, **size) for n in ("raw", *detectors)}
    return from_manifest(
        {
            "id": "v",
            "identity": "identity-v",
            "kind": "volume",
            "arrays": arrays,
            "block": (64, 64, 64),
            "statistics": {"stack_min": 0, "stack_max": 255},
            "notes": [],
        }
    )


def movie(frames: int = 3) -> Acquisition:
    raw = _array("acquisitions/m/raw.ome.zarr", (frames, 40, 50), pixel_size_um=0.1, frame_interval_s=1.5)
    return from_manifest(
        {
            "id": "m",
            "identity": "identity-m",
            "kind": "movie",
            "arrays": {"raw": raw},
            "block": (1, 40, 50),
            "statistics": {"stack_min": 0, "stack_max": 255},
            "notes": [],
        }
    )


def install_models(store: ObjectStore, folder: Path) -> None:
    """Models of every family under the default names, with weights that nobody will run."""
    shared = {
        "topology": {},
        "intensity": {"rule": "range", "to": [-1, 1]},
        "flop_per_voxel": 1e4,
        "demo": True,
        "licence": "BSD-3-Clause",
    }
    specs = [
        {
            "name": f"demo-asem-{c.replace('_', '-')}",
            "family": "asem",
            "class": c,
            "padding": "valid",
            "context": 47,
            "stride": 8,
            "voxel_size_nm": [8.0] * 3,
            "metrics": {"threshold": 102},
        }
        for c in CLASSES
    ]
    specs.append(
        {
            "name": "demo-fastfib",
            "family": "fastfib",
            "padding": "same",
            "context": 52,
            "stride": 8,
            "voxel_size_nm": [8.0] * 3,
        }
    )
    specs.append(
        {
            "name": "demo-ernet",
            "family": "ernet-swin2d",
            "padding": "same",
            "context": 8,
            "stride": 2,
            "pixel_size_um": 0.1,
        }
    )
    for spec in specs:
        write_model_folder(folder / str(spec["name"]), {**spec, **shared}, {"w": np.zeros(1, np.float32)})
        install_model(store, folder / str(spec["name"]))
