"""A movie of the store read again, and the same movie with noise added."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cisterna.acquire.source import PlaneSource, UnusableInput
from cisterna.chunks import Box
from cisterna.store import ObjectStore
from cisterna.store.arrays import read_box


def stored_movie(store: ObjectStore, name: str, array: Mapping[str, Any]) -> PlaneSource:
    """The frames of an image as a manifest lists it."""
    frames, height, width = (int(n) for n in array["shape"])

    def read(i: int) -> NDArray[Any]:
        frame: NDArray[Any] = read_box(store, f"{array['path']}/0", Box((i, 0, 0), (1, height, width)))[0]
        return frame

    return PlaneSource(name, frames, (height, width), np.dtype(str(array["dtype"])), read)


def with_noise(source: PlaneSource, noise_sd: Sequence[float], seed: str) -> PlaneSource:
    """Frames as float32 with Gaussian noise of `noise_sd[i]` grey values; the same seed gives the same noise.

    Raises UnusableInput where there is not one finite, non-negative value a frame, or none above 0.
    """
    if len(noise_sd) != source.planes or not all(math.isfinite(v) and v >= 0 for v in noise_sd) or not any(noise_sd):
        raise UnusableInput(f"noise for {source.name}: give one value a frame ({source.planes}), some above 0")
    root = int.from_bytes(hashlib.sha256(seed.encode()).digest()[:16], "big")

    def read(i: int) -> NDArray[Any]:
        frame = source.read(i).astype(np.float32)
        if noise_sd[i]:
            rng = np.random.default_rng([root, i])
            frame += noise_sd[i] * rng.standard_normal(frame.shape, dtype=np.float32)
        return frame

    return replace(source, dtype=np.dtype(np.float32), read=read)
