"""Real frames: an ERnet trained on one COS-7 cell (`stack1`), judged on another (`stack3`).

    CISTERNA_TEST_DATA=… python tests/bench/ernet_real_frames.py --out FOLDER [--split] [--steps N]

Data: live wide-field frames of ER-YFP with hand masks of the peripheral tubules (Lu et al. 2020, Sci. Adv. 6:eabc7209).
The bright cell centre has no labels, so Dice counts pixels within 25 px of the mask only. Hyper-parameters were chosen
with `--split`: trained on the upper half of stack1's two frames, judged on the lower half. The frames carry no licence:
overlays go to FOLDER and nowhere else.

The pixel size of these frames is not stated. `IMAGE_PIXEL_SIZE_UM` is nominal: only its ratio to the model's matters.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from cisterna.ernet.frames import resampling, segment_frame
from cisterna.ernet.training import train_ernet
from cisterna.ernet.training_crops import ANOTHER_CELL
from cisterna.ernet.training_metrics import torch_network
from cisterna.ernet.training_settings import ErnetSettings
from cisterna.ernet.training_stacks import LabelRule
from cisterna.models import load_model
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

SETTINGS = ErnetSettings(
    steps=1600,
    batch=6,
    crop_px=64,
    learning_rate=3e-3,
    validations=0,
    threads=1,
    topology={"embed": 16, "depths": [2, 2], "heads": 2, "mlp_ratio": 2.0, "classes": 4},
    augmentation=ANOTHER_CELL,
)
NEAR_PX = 25.0
RULE = LabelRule(mask_of="tubule", trust_px=NEAR_PX)
IMAGE_PIXEL_SIZE_UM, MODEL_PIXEL_SIZE_UM = 0.1, 0.2
FACTORS = resampling((IMAGE_PIXEL_SIZE_UM, IMAGE_PIXEL_SIZE_UM), MODEL_PIXEL_SIZE_UM)
SATO_SIGMAS_PX = ((1,), (2,), (3,), (4,), (5,), (1, 2), (2, 3), (1, 2, 3), (2, 3, 4), (3, 4, 5))

Picture = NDArray[Any]
Mask = NDArray[np.bool_]


def frame(data: Path, name: str) -> tuple[Picture, Mask]:
    """A frame of the set and its hand mask (for `test_0000` the published output)."""
    marks = "ernet_output" if name == "test_0000" else "mask"
    return tifffile.imread(data / f"{name}_raw.tif"), tifffile.imread(data / f"{name}_{marks}.tif") > 0


def near(mask: Mask) -> Mask:
    return np.asarray(distance_transform_edt(~mask) <= NEAR_PX)


def dice(found: Mask, mask: Mask, where: Mask) -> float:
    found, mask = found & where, mask & where
    return float(2 * (found & mask).sum() / max(found.sum() + mask.sum(), 1))


def sato_otsu(picture: Picture, where: Mask, sigmas: tuple[int, ...]) -> Mask:
    """Sato's tubeness, cut at Otsu's threshold of the pixels that count."""
    from skimage.filters import sato, threshold_otsu

    tubeness = sato(picture.astype(float), sigmas=sigmas, black_ridges=False)
    return np.asarray(tubeness > threshold_otsu(tubeness[where]))


def train(data: Path, folder: Path, settings: ErnetSettings, report: Callable[[str], None]) -> Path:
    """A model of stack1's two labelled frames; 1 px of the model is 2 px of the frames."""
    stacks = [(data / f"{name}_raw.tif", data / f"{name}_mask.tif") for name in ("stack1_f000", "stack1_f126")]
    train_ernet(
        folder, settings, "cos7-stack1", stacks=stacks, held_out_stacks=(), labels=RULE,
        pixel_size_um=MODEL_PIXEL_SIZE_UM, image_pixel_size_um=IMAGE_PIXEL_SIZE_UM, licence="unknown", report=report,
    )  # fmt: skip
    return folder


def tubules(model: Path, picture: Picture) -> Mask:
    network = torch_network(load_model(model))
    classes, _ = segment_frame(picture, float(picture.min()), float(picture.max()), network, FACTORS)
    return np.asarray(classes == 2)


def halves(data: Path, place: Path) -> Iterator[tuple[Path, Path]]:
    """stack1 as upper and lower halves of its cell: for each, a folder laid out as the data is."""
    for part in ("upper", "lower"):
        (place / part).mkdir(parents=True)
        for name in ("stack1_f000", "stack1_f126"):
            picture, mask = frame(data, name)
            middle = int(np.median(np.nonzero(mask)[0]))
            # A gap, so that no pixel of one half reaches into a crop of the other.
            cut = slice(None, middle - 12) if part == "upper" else slice(middle + 12, None)
            tifffile.imwrite(place / part / f"{name}_raw.tif", picture[cut])
            tifffile.imwrite(place / part / f"{name}_mask.tif", mask[cut].astype(np.uint8))
    yield place / "upper", place / "lower"


def overlay(picture: Picture, found: Mask, mask: Mask, where: Mask, path: Path) -> None:
    """Grey values beside: both agree (white), found only (orange), mask only (blue); what does not count is dark."""
    from PIL import Image

    grey = 255 * np.clip(picture / max(np.percentile(picture[where], 98), 1), 0, 1) ** 0.6
    plain = np.stack([grey] * 3, -1)
    marked = 0.6 * plain
    for chosen, colour in (
        (found & mask, (255, 255, 255)),
        (found & ~mask, (230, 120, 20)),
        (mask & ~found, (40, 120, 255)),
    ):
        marked[chosen & where] = colour
    marked[~where] = 0.4 * plain[~where]
    rows, columns = np.nonzero(where.any(1))[0], np.nonzero(where.any(0))[0]
    cut = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
    Image.fromarray(np.concatenate([plain[cut], marked[cut]], axis=1).astype(np.uint8)).save(path)


def judged(model: Path, data: Path, names: list[str], out: Path | None) -> list[tuple[str, float, dict[str, float]]]:
    """For each frame: Dice of the model, and of Sato + Otsu at every set of scales."""
    rows = []
    for name in names:
        picture, mask = frame(data, name)
        where = near(mask)
        found = tubules(model, picture)
        if out is not None:
            overlay(picture, found, mask, where, out / f"{name}.png")
        sato = {str(s): dice(sato_otsu(picture, where, s), mask, where) for s in SATO_SIGMAS_PX}
        rows.append((name, dice(found, mask, where), sato))
    return rows


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for the model and the overlays")
    parser.add_argument("--split", action="store_true", help="upper half of stack1 to train on, lower half to judge")
    parser.add_argument("--steps", type=int, default=SETTINGS.steps)
    a = parser.parse_args(arguments)
    data = Path(os.environ["CISTERNA_TEST_DATA"]) / "er_cos7_widefield"
    from dataclasses import replace

    settings = replace(SETTINGS, steps=a.steps)
    a.out.mkdir(parents=True, exist_ok=True)
    if a.split:
        with tempfile.TemporaryDirectory() as place:
            ((upper, lower),) = halves(data, Path(place))
            model = train(upper, a.out / "split", settings, print)
            show(judged(model, lower, ["stack1_f000", "stack1_f126"], None))
        return 0
    model = train(data, a.out / "cos7-stack1", settings, print)
    show(judged(model, data, ["stack3_f000", "test_0000"], a.out))
    return 0


def show(rows: list[tuple[str, float, dict[str, float]]]) -> None:
    for name, ours, sato in rows:
        best = max(sato, key=lambda scales: sato[scales])
        print(f"{name}: ours {ours:.3f}; Sato + Otsu {sato[best]:.3f} at its best scales {best} px; all {sato}")


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
