"""What a training patch costs: cut plainly, deformed, and deformed and turned.

    python tests/bench/training_patches.py

Processor time of one patch, median, from a volume of 300³ voxels: padded 64³ and valid 204³, one class.
"""

from __future__ import annotations

import time

import numpy as np
from cisterna.segment.training_volumes import LabelledVolume, draw_patch
from cisterna.segment.unet import CONTEXT

HOW: dict[str, dict[str, float | bool]] = {
    "as it is": {},
    "deformed": {"elastic_jitter_voxels": 2.0},
    "deformed and turned": {"elastic_jitter_voxels": 2.0, "rotation": True},
}


def cost_ms(volume: LabelledVolume, edge: int, trim: int, how: dict[str, float | bool], repeats: int) -> float:
    """Median processor time of a patch."""
    taken = []
    for seed in range(repeats):
        begun = time.process_time()
        draw_patch([volume], ["er"], edge, trim, np.random.default_rng(seed), **how)  # type: ignore[arg-type]
        taken.append(time.process_time() - begun)
    return 1000 * float(np.median(taken))


def main() -> None:
    rng = np.random.default_rng(0)
    image = rng.uniform(-1, 1, (300, 300, 300)).astype(np.float32)
    volume = LabelledVolume("noise", image, {"er": (image > 0.99).astype(np.uint8)})
    assert len(volume.foreground["er"])
    print("| patch | " + " | ".join(HOW) + " |\n|---|" + "---|" * len(HOW))
    for name, edge, trim, repeats in (("padded 64³", 64, 8, 20), ("valid 204³", 204, CONTEXT, 8)):
        costs = [f"{cost_ms(volume, edge, trim, how, repeats):.0f} ms" for how in HOW.values()]
        print(f"| {name} | {' | '.join(costs)} |")


if __name__ == "__main__":
    main()
