"""Machine code for loops over voxels, kept on disk where a disk can be written."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba

Loop = TypeVar("Loop", bound=Callable[..., Any])


def compiled(loop: Loop) -> Loop:
    """The loop compiled at its first call, free of the interpreter's lock.

    Without a place for the code (read-only file system and home) every process compiles for itself.
    """
    try:
        kept = cast(Loop, numba.njit(cache=True, nogil=True)(loop))
    except RuntimeError:
        kept = cast(Loop, numba.njit(nogil=True)(loop))
    return kept
