"""CLAHE tables of an acquisition: taken from the whole input, so a region is equalised as the whole is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from cisterna.acquire.source import PlaneSource
from cisterna.clahe import BINS, CLIP_LIMIT, Equalisation, Grey, Lattice, lattice_tables
from cisterna.store import ObjectStore, write_once
from cisterna.store.objects import json_bytes

FORMAT = 1


def take_tables(
    store: ObjectStore, manifest: Mapping[str, Any], whole: PlaneSource, report: Callable[[str, float], None]
) -> None:
    """Write ``clahe.safetensors`` and, last, ``clahe.json`` beside a manifest; nothing where they stand already.

    ``whole`` is the analysis signal before any region was cut out of it: one more reading of the input.
    """
    folder = f"acquisitions/{manifest['id']}"
    if store.exists(f"{folder}/clahe.json"):
        return
    raw = manifest["arrays"]["raw"]
    intensity = raw["intensity"]
    grey = Grey.of_volume(raw["dtype"], intensity["low"], intensity["high"], invert=intensity["invert"])
    lattice = Lattice(whole.shape)
    at = manifest.get("region", {}).get("offset", (0, 0, 0))
    tables = lattice_tables(whole.read, lattice, grey, report=lambda share: report("equalising raw", share))
    kept = Equalisation(tables, lattice, grey, CLIP_LIMIT, (at[0], at[1], at[2]))
    written = write_once(store, f"{folder}/clahe.safetensors", kept.to_bytes())
    document = {
        "format": FORMAT, "path": written.path, "sha256": written.sha256, "bytes": written.bytes,
        "kernel_voxels": lattice.kernel, "clip_limit": CLIP_LIMIT, "bins": BINS, "cells": list(lattice.cells),
        "grey": [grey.low, grey.high], "of_shape": list(whole.shape),
    }  # fmt: skip
    write_once(store, f"{folder}/clahe.json", json_bytes(document))
