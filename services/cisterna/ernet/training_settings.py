"""What is chosen about a training, and the choices that the paper names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .frames import CLASSES
from .training_crops import Augmentation, Degradation

FAMILIES = ("ernet-swin2d", "ernet-swin3d")
"""Family A, one frame in; family B, T frames in and the classes of the middle one out."""

NARROW: dict[str, dict[str, Any]] = {
    "ernet-swin2d": {"embed": 32, "depths": [2, 2], "heads": 2, "mlp_ratio": 2.0, "classes": 4},
    "ernet-swin3d": {
        "frames": 5, "embed": 24, "depths": [2, 2], "heads": [2, 2], "window": [2, 8], "mlp_ratio": 2.0,
        "channels": 16, "squeezed": 4, "residual_blocks": 2, "classes": 4,
    },
}  # fmt: skip
"""Narrow networks of the published topologies, which train on a CPU."""

SCHEDULES = ("cosine", "halving")

PUBLISHED: dict[str, dict[str, Any]] = {
    "lu2023-iterations": {
        "steps": 65_000, "batch": 10, "crop_px": 128, "learning_rate": 1e-5, "schedule": "halving",
        "halve_every": 30_000,
    },
    "lu2023-epochs": {
        "steps": 6_500, "batch": 10, "crop_px": 128, "learning_rate": 1e-4, "schedule": "halving",
        "halve_every": 3_250,
    },
}  # fmt: skip
"""Lu et al., Nature Methods 2023, names two: a rate of 1e-5 halved after 30,000 iterations, 65,000 iterations; and
1e-4 halved every 50 epochs, 100 epochs, where an epoch of its 650 training images at batch 10 is 65 steps."""


@dataclass(frozen=True)
class ErnetSettings:
    """One training. `steps` fixes the schedule of the rate."""

    steps: int = 1000
    batch: int = 6
    crop_px: int = 96
    learning_rate: float = 2e-3
    schedule: str = "cosine"  # or `halving`, every `halve_every` steps
    halve_every: int = 30_000
    seed: int = 0
    phantoms: int = 96
    held_out: int = 6
    validations: int = 4  # looks at the held-out frames on the way, evenly spaced
    class_weights: Mapping[str, float] = field(default_factory=dict)  # in the cross-entropy; 1 where not named
    dice_weight: float = 0.0  # of 1 − Dice of the classes but background, added to the cross-entropy
    precision: str = "auto"  # float32, bfloat16 (forward pass only), or auto: bfloat16 on CUDA devices that have it
    threads: int = 2
    device: str = "auto"
    family: str = "ernet-swin2d"
    topology: dict[str, Any] = field(default_factory=dict)  # keyword arguments of the family's `build`; else NARROW
    degradation: Degradation = field(default_factory=Degradation)
    augmentation: Augmentation = field(default_factory=Augmentation)

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "phantoms", "held_out", "threads", "halve_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        if self.family not in FAMILIES:
            raise ValueError(f"the family is {' or '.join(FAMILIES)}, not {self.family!r}")
        if not self.topology:
            object.__setattr__(self, "topology", NARROW[self.family])
        if self.crop_px < 16 or self.crop_px % self.grid_px:
            even = "even" if self.grid_px == 2 else "a multiple of 4"
            raise ValueError(f"the crop must be {even} and at least 16 px, not {self.crop_px}")
        if self.validations < 0 or self.dice_weight < 0:
            raise ValueError("validations and dice_weight must be 0 or more")
        if self.schedule not in SCHEDULES:
            raise ValueError(f"the schedule is {' or '.join(SCHEDULES)}, not {self.schedule!r}")
        if self.precision not in ("auto", "float32", "bfloat16"):
            raise ValueError(f"the precision is auto, float32 or bfloat16, not {self.precision!r}")
        for name, weight in self.class_weights.items():
            if name not in CLASSES or not weight > 0:
                raise ValueError(f"class weight {name}={weight}: weights are above 0, classes {', '.join(CLASSES)}")

    @property
    def frames(self) -> int:
        """T, the frames that go into the network at once."""
        return int(self.topology.get("frames", 5)) if self.family == "ernet-swin3d" else 1

    @property
    def grid_px(self) -> int:
        """Edges of what goes into the network are multiples of this."""
        return 4 if self.family == "ernet-swin3d" else 2


def rate(step: int, settings: ErnetSettings) -> float:
    """Factor of the learning rate.

    `cosine`: linear warm-up over 3 % of the steps, then half a cosine down to 1 %. `halving`: as published.
    """
    if settings.schedule == "halving":
        return float(0.5 ** (step // settings.halve_every))
    steps = settings.steps
    warm = max(1, round(0.03 * steps))
    if step < warm:
        return (step + 1) / warm
    return 0.01 + 0.99 * 0.5 * (1 + float(np.cos(np.pi * (step - warm) / max(1, steps - warm))))
