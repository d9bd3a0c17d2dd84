"""Checkpoints of a training: written atomically, refused when the settings differ."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn


def save(
    path: Path,
    settings: dict[str, Any],
    network: nn.Module,
    optimiser: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
    average: dict[str, Tensor],
    curve: list[dict[str, float]],
    step: int,
    spent_s: float,
) -> None:
    """Write everything that continuing needs, to a new file that then takes the old one's name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    torch.save(
        {
            "settings": settings,
            "network": network.state_dict(),
            "optimiser": optimiser.state_dict(),
            "scaler": scaler.state_dict(),
            "average": average,
            "curve": curve,
            "step": step,
            "spent_s": spent_s,
        },
        partial,
    )
    partial.replace(path)


def resume(
    path: Path,
    settings: dict[str, Any],
    network: nn.Module,
    optimiser: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
    average: dict[str, Tensor],
) -> tuple[int, float, list[dict[str, float]]]:
    """Fill the arguments from a checkpoint; returns step, seconds spent and the curve.

    Raises ValueError if it was written with other settings (the number of iterations may change).
    """
    state = torch.load(path, map_location="cpu", weights_only=True)
    changed = sorted(k for k in settings if k != "iterations" and state["settings"].get(k) != settings[k])
    if changed:
        raise ValueError(f"{path} was written with other settings ({', '.join(changed)}); delete it to start anew")
    network.load_state_dict(state["network"])
    optimiser.load_state_dict(state["optimiser"])
    if scaler.is_enabled():
        scaler.load_state_dict(state["scaler"])
    for name, value in state["average"].items():
        average[name].copy_(value)
    return int(state["step"]), float(state["spent_s"]), list(state["curve"])
