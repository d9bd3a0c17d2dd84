"""ERnet: movie frames to background, sheet-based tubule, tubule and sheet; the network itself runs in Triton.

Importing this package never imports torch; `load_ernet` does, when it is first asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .checkpoint import load_ernet

__all__ = ["load_ernet"]


def __getattr__(name: str) -> Any:
    if name == "load_ernet":
        from .checkpoint import load_ernet

        return load_ernet
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
