"""The small inference that tells whether Triton computes: its frames, and how many of them find every worker."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .triton_config import CANARY_EDGE_PX, EDGE_PARAMETER


def canary_frames(config: Any) -> NDArray[np.float32]:
    """(1, T, edge, edge), a ramp from 0 to 1: the smallest input that a model of this configuration takes."""
    frames = int(config.input[0].dims[0])
    edge = int(config.parameters[EDGE_PARAMETER].string_value or CANARY_EDGE_PX)
    return np.linspace(0, 1, frames * edge * edge, dtype=np.float32).reshape(1, frames, edge, edge)


def canaries(config: Any) -> int:
    """Twice as many as the model has workers: the living ones answer for one that is dead."""
    return 2 * sum(group.count for group in config.instance_group) or 1
