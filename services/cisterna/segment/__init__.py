"""ASEM 3-D U-Nets: raw FIB-SEM volumes to the probability of one class. torch is imported when first needed."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cisterna.segment.unet import load_asem

__all__ = ["load_asem"]


def __getattr__(name: str) -> Any:
    if name == "load_asem":
        from cisterna.segment.unet import load_asem

        return load_asem
    raise AttributeError(f"module 'cisterna.segment' has no attribute {name!r}")
