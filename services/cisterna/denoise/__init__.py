"""Denoising of FIB-SEM volumes with FastFIB. torch is imported when one of these names is first used."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cisterna.denoise.apply import IntensityRange, denoise_block, denoise_volume

_HOME = {
    "IntensityRange": "cisterna.denoise.apply",
    "denoise_block": "cisterna.denoise.apply",
    "denoise_volume": "cisterna.denoise.apply",
}

__all__ = ["IntensityRange", "denoise_block", "denoise_volume"]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
