"""What a training keeps on disk to go on from, and weights to start from. Needs torch."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from cisterna.models import read_model_folder

from .training_frames import LabelledFrame
from .training_settings import ErnetSettings

CHECKPOINT = "checkpoint.pt"
CURVE = "loss.csv"


@dataclass
class Progress:
    """Where a training stands. `curve`: step, mean loss since the last; `validation`: step, metrics; both up to `step`.

    `recent`: the losses since the curve's last point.
    """

    network: torch.nn.Module
    optimiser: torch.optim.Optimizer
    step: int = 0
    spent_s: float = 0.0
    curve: list[list[float]] = field(default_factory=list)
    validation: list[list[Any]] = field(default_factory=list)
    recent: list[float] = field(default_factory=list)


def identity(settings: ErnetSettings, frames: Sequence[LabelledFrame], start: str | None) -> str:
    """What two trainings have in common if one may go on from the other's checkpoint: all but the number of steps."""
    data = hashlib.sha256()
    for frame in frames:
        data.update(frame.signal.tobytes())
        data.update(frame.classes.tobytes())
    chosen = {**asdict(settings), "steps": 0, "validations": 0, "data": data.hexdigest(), "from": start}
    return json.dumps(chosen, sort_keys=True)


def save(path: Path, who: str, progress: Progress) -> None:
    """Whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {
        "identity": who,
        "network": progress.network.state_dict(),
        "optimiser": progress.optimiser.state_dict(),
        "step": progress.step,
        "spent_s": progress.spent_s,
        "curve": progress.curve,
        "validation": json.dumps(progress.validation),
        "recent": progress.recent,
    }
    fresh = path.with_suffix(".new")
    torch.save(content, fresh)
    fresh.replace(path)


def resume(path: Path, who: str, progress: Progress, report: Callable[[str], None]) -> None:
    """Fills `progress` from a checkpoint of the same identity, if there is one.

    Only `steps` may differ: a training may end earlier or later than it was planned to, on the new schedule.
    """
    if not path.is_file():
        return
    content = torch.load(path, map_location="cpu", weights_only=True)
    if content.get("identity") != who:
        raise ValueError(
            f"{path} is of a training with other settings, frames or starting weights; "
            "remove it or give another --work folder"
        )
    progress.network.load_state_dict(content["network"])
    progress.optimiser.load_state_dict(content["optimiser"])
    progress.step, progress.spent_s = content["step"], content["spent_s"]
    progress.curve, progress.validation = content["curve"], json.loads(content["validation"])
    progress.recent = content["recent"]
    report(f"going on from step {progress.step} of {path}")


def write_curve(path: Path, progress: Progress) -> None:
    """The loss so far as a table anyone can open while the training runs."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [f"{step:.0f},{loss}" for step, loss in progress.curve]
    path.write_text("\n".join(["step,loss", *lines]) + "\n")


def start_weights(folder: Path | str, settings: ErnetSettings, network: torch.nn.Module) -> tuple[str, tuple[int, ...]]:
    """Loads a model folder's weights into the network; returns its digest and the classes it knows.

    Raises ValueError for a model of another family or topology.
    """
    model = read_model_folder(folder)
    if model.family != settings.family:
        raise ValueError(f"{folder} is of family {model.family}, this training of {settings.family}")
    if dict(model.spec["topology"]) != settings.topology:
        raise ValueError(
            f"{folder} has the topology {dict(model.spec['topology'])}, this training {settings.topology}; "
            "leave the topology's options out to take the model's"
        )
    network.load_state_dict(model.module().state_dict())
    return model.digest, tuple(model.spec["training"].get("known_classes", range(4)))
