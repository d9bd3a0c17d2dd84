"""Trains an ERnet of family A, on phantom movies or on labelled stacks, and writes its model folder. Needs torch.

Cross-entropy over four classes with Adam on crops, as published (Lu et al. 2023); warm-up and cosine decay of the rate.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from .export import model_spec, write_ernet_folder
from .frames import CLASSES, segment_frame
from .swin2d import Swin2d, build
from .training_frames import (
    Degradation,
    LabelledFrame,
    degraded,
    labelled_stack,
    phantom_frames,
    read_frames,
    save_frames,
    training_crop,
)

HELD_OUT_FROM = 900_000  # phantom seeds from here on are never trained on
CHECKPOINT = "checkpoint.pt"


@dataclass(frozen=True)
class ErnetSettings:
    """One training. `steps` fixes the schedule of the rate."""

    steps: int = 1000
    batch: int = 6
    crop_px: int = 96
    learning_rate: float = 2e-3
    seed: int = 0
    phantoms: int = 96
    held_out: int = 6
    threads: int = 2
    device: str = "auto"
    topology: dict[str, Any] = field(
        default_factory=lambda: {"embed": 32, "depths": [2, 2], "heads": 2, "mlp_ratio": 2.0, "classes": 4}
    )
    degradation: Degradation = field(default_factory=Degradation)

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "phantoms", "held_out", "threads"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        if self.crop_px < 16 or self.crop_px % 2:
            raise ValueError(f"the crop must be even and at least 16 px, not {self.crop_px}")


def train_ernet(
    folder: Path | str,
    settings: ErnetSettings,
    name: str,
    *,
    stacks: Sequence[tuple[Path, Path]] = (),
    pixel_size_um: float = 0.1,
    licence: str = "BSD-3-Clause",
    demo: bool = False,
    work: Path | str | None = None,
    checkpoint_s: float = 60.0,
    report: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Trains and writes the model folder; returns the metrics on frames never trained on.

    `stacks`: (images, labels) TIFF files; the last frame of each is held out. Without them phantom frames are made from
    `settings.seed`. `work` (`<folder>.training` by default) keeps a checkpoint, written every `checkpoint_s` seconds;
    training goes on from one that is there, if its settings (but for `steps`) are equal.
    """
    folder = Path(folder)
    device = "cuda" if settings.device == "auto" and torch.cuda.is_available() else settings.device
    device = "cpu" if device == "auto" else device
    torch.set_num_threads(settings.threads)
    torch.manual_seed(settings.seed)
    network = build(**settings.topology).to(device).train()
    checkpoint = Path(work or folder.with_name(folder.name + ".training")) / CHECKPOINT
    frames, held_out = training_sets(settings, stacks, checkpoint.parent, report)
    optimiser = torch.optim.Adam(network.parameters(), lr=settings.learning_rate)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: rate(step, settings.steps))
    done, curve, spent_s = resume(checkpoint, settings, network, optimiser, schedule, report)
    started = time.monotonic() - spent_s
    last_save, recent = time.monotonic(), list[float]()
    for step in range(done, settings.steps):
        # Each step draws from its own generator, so a resumed training sees the same crops as an unbroken one.
        rng = np.random.default_rng([settings.seed, 5, step])
        images, classes = crops(frames, settings, rng)
        loss = F.cross_entropy(network(images.to(device)), classes.to(device))
        if not torch.isfinite(loss):
            raise ValueError(f"the loss became {loss.item()} at step {step}; train with a smaller --learning-rate")
        optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        recent.append(loss.item())
        if (step + 1) % 20 == 0 or step + 1 == settings.steps:
            elapsed = time.monotonic() - started
            curve.append([step + 1, round(float(np.mean(recent)), 4)])
            report(f"step {step + 1}/{settings.steps}  loss {np.mean(recent):.4f}  {elapsed:.0f} s")
            recent.clear()
        if time.monotonic() - last_save >= checkpoint_s or step + 1 == settings.steps:
            save(checkpoint, settings, network, optimiser, schedule, step + 1, curve, time.monotonic() - started)
            last_save = time.monotonic()
    seconds = time.monotonic() - started
    network.cpu().eval()
    spec = model_spec(name, settings.topology, pixel_size_um, licence, demo, {}, {})
    write_ernet_folder(folder, spec, network)  # rounds the weights; the metrics are those of the rounded network
    metrics = evaluate(network, held_out, settings)
    training = {
        **asdict(settings),
        "data": [str(image.name) for image, _ in stacks] or "er_movie phantoms",
        "seconds": round(seconds),
        "loss": curve,
    }
    write_ernet_folder(folder, {**spec, "training": training, "metrics": metrics}, network)
    return metrics


def training_sets(
    settings: ErnetSettings, stacks: Sequence[tuple[Path, Path]], work: Path, report: Callable[[str], None]
) -> tuple[list[LabelledFrame], list[LabelledFrame]]:
    """(frames to train on, frames held out)."""
    if stacks:
        parts = [labelled_stack(images, labels) for images, labels in stacks]
        frames = [frame for part in parts for frame in part[:-1]]
        if not frames:
            raise ValueError("each stack has one frame only, which is held out; give stacks of at least two frames")
        return frames, [part[-1] for part in parts]
    first = settings.seed * 10_000
    if first + settings.phantoms > HELD_OUT_FROM:
        raise ValueError(f"seed {settings.seed} reaches into the held-out phantoms; take one below 89")
    wanted = (range(first, first + settings.phantoms), range(HELD_OUT_FROM, HELD_OUT_FROM + settings.held_out))
    sets = []
    for seeds in wanted:
        kept = work / f"phantoms-{seeds.start}-{seeds.stop}.npz"
        if not kept.is_file():
            report(f"making {len(seeds)} phantom frames")
            save_frames(kept, phantom_frames(seeds))
        sets.append(read_frames(kept))
    return sets[0], sets[1]


def crops(
    frames: Sequence[LabelledFrame], settings: ErnetSettings, rng: np.random.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """A batch: images (N, 1, crop, crop) float32 and classes (N, crop, crop) int64."""
    chosen = [
        training_crop(frames[int(rng.integers(len(frames)))], settings.crop_px, settings.degradation, rng)
        for _ in range(settings.batch)
    ]
    images = torch.from_numpy(np.stack([image for image, _ in chosen])[:, None])
    return images, torch.from_numpy(np.stack([classes for _, classes in chosen]).astype(np.int64))


def rate(step: int, steps: int) -> float:
    """Factor of the learning rate: linear warm-up over 3 % of the steps, then half a cosine down to 1 %."""
    warm = max(1, round(0.03 * steps))
    if step < warm:
        return (step + 1) / warm
    return 0.01 + 0.99 * 0.5 * (1 + float(np.cos(np.pi * (step - warm) / max(1, steps - warm))))


def evaluate(
    network: Swin2d, frames: Sequence[LabelledFrame], settings: ErnetSettings, snr: float = 10.0
) -> dict[str, Any]:
    """Pixel accuracy, and IoU and F1 per class, over held-out frames; phantoms are degraded to this SNR."""
    confusion = np.zeros((4, 4), np.int64)
    for number, frame in enumerate(frames):
        image: NDArray[Any] = frame.signal
        if not frame.recorded:
            how = Degradation(snr=(snr, snr), blur_px=(0, 0), haze=(0, 0), gamma=(1, 1))
            image = degraded(frame.signal, how, np.random.default_rng([settings.seed, 6, number]))
        classes, _ = segment_frame(image, float(image.min()), float(image.max()), torch_network(network))
        confusion += np.bincount(4 * frame.classes.reshape(-1) + classes.reshape(-1), minlength=16).reshape(4, 4)
    return {**agreement(confusion), "frames": len(frames), "snr": None if frames[0].recorded else snr}


def agreement(confusion: NDArray[np.int64]) -> dict[str, Any]:
    """Of a confusion matrix (true, found): pixel accuracy, IoU and F1 of each class (None where it never occurs)."""
    hits = np.diag(confusion).astype(float)
    true, found = confusion.sum(axis=1), confusion.sum(axis=0)
    union = true + found - hits
    iou = {n: round(float(h / u), 4) if u else None for n, h, u in zip(CLASSES, hits, union, strict=True)}
    f1 = {
        n: round(float(2 * h / (t + f)), 4) if t + f else None
        for n, h, t, f in zip(CLASSES, hits, true, found, strict=True)
    }
    return {"pixel_accuracy": round(float(hits.sum() / max(confusion.sum(), 1)), 4), "iou": iou, "f1": f1}


def torch_network(network: torch.nn.Module) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    """A torch network as the callable that `frames` works with."""

    def infer(frames: NDArray[np.float32]) -> NDArray[np.float32]:
        with torch.no_grad():
            logits: NDArray[np.float32] = network(torch.from_numpy(frames)).numpy()
            return logits

    return infer


def save(
    path: Path,
    settings: ErnetSettings,
    network: Swin2d,
    optimiser: Any,
    schedule: Any,
    step: int,
    curve: Any,
    spent_s: float,
) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {
        "settings": json.dumps(asdict(settings), sort_keys=True),
        "network": network.state_dict(),
        "optimiser": optimiser.state_dict(),
        "schedule": schedule.state_dict(),
        "step": step,
        "curve": curve,
        "spent_s": spent_s,
    }
    fresh = path.with_suffix(".new")
    torch.save(content, fresh)
    fresh.replace(path)


def resume(
    path: Path, settings: ErnetSettings, network: Swin2d, optimiser: Any, schedule: Any, report: Callable[[str], None]
) -> tuple[int, list[Any], float]:
    """(steps done, curve, seconds spent); fills the rest from a checkpoint of equal settings.

    Only `steps` may differ: a training may end earlier or later than it was planned to, on the new schedule.
    """
    if not path.is_file():
        return 0, [], 0.0
    content = torch.load(path, map_location="cpu", weights_only=True)
    theirs, ours = (json.loads(text) for text in (content["settings"], json.dumps(asdict(settings))))
    if {**theirs, "steps": 0} != {**ours, "steps": 0}:
        raise ValueError(f"{path} is of a training with other settings; remove it or give another --work folder")
    network.load_state_dict(content["network"])
    optimiser.load_state_dict(content["optimiser"])
    schedule.load_state_dict(content["schedule"])
    report(f"going on from step {content['step']} of {path}")
    return content["step"], content["curve"], content["spent_s"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `cisterna train ernet`."""
    standard = ErnetSettings()
    parser.add_argument("folder", type=Path, help="model folder to write")
    parser.add_argument("--name", help="model name (default: the folder's name)")
    parser.add_argument(
        "--images", type=Path, action="append", default=[], help="TIFF stack to train on; default phantoms"
    )
    parser.add_argument("--labels", type=Path, action="append", default=[], help="labels of each --images, in order")
    parser.add_argument("--pixel-size-um", type=float, default=0.1, help="pixel size of the training images (0.1)")
    parser.add_argument("--licence", default="BSD-3-Clause", help="SPDX name of the weights' licence")
    parser.add_argument("--demo", action="store_true", help="mark as a demonstration model")
    parser.add_argument("--work", type=Path, help="folder of the checkpoint (default: FOLDER.training)")
    parser.add_argument(
        "--embed", type=int, default=standard.topology["embed"], help="width of the network (published: 64)"
    )
    parser.add_argument("--heads", type=int, default=standard.topology["heads"], help="attention heads (published: 8)")
    parser.add_argument(
        "--depths", type=int, nargs="+", default=standard.topology["depths"], help="blocks (published: 6 6)"
    )
    parser.add_argument("--steps", type=int, default=standard.steps)
    parser.add_argument("--batch", type=int, default=standard.batch, help="crops a step")
    parser.add_argument("--crop-px", type=int, default=standard.crop_px)
    parser.add_argument("--learning-rate", type=float, default=standard.learning_rate)
    parser.add_argument("--seed", type=int, default=standard.seed)
    parser.add_argument("--phantoms", type=int, default=standard.phantoms, help="phantom frames to train on")
    parser.add_argument("--threads", type=int, default=standard.threads)
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")


def run(arguments: argparse.Namespace) -> int:
    """`cisterna train ernet`; 0 when the model folder is written, 2 for arguments or data that cannot be used."""
    a = arguments
    topology = {"embed": a.embed, "depths": list(a.depths), "heads": a.heads, "mlp_ratio": 2.0, "classes": 4}
    try:
        if len(a.images) != len(a.labels):
            raise ValueError(f"{len(a.images)} --images but {len(a.labels)} --labels: give one of each per stack")
        settings = ErnetSettings(
            steps=a.steps,
            batch=a.batch,
            crop_px=a.crop_px,
            learning_rate=a.learning_rate,
            seed=a.seed,
            phantoms=a.phantoms,
            threads=a.threads,
            device=a.device,
            topology=topology,
        )
        metrics = train_ernet(
            a.folder,
            settings,
            a.name or a.folder.resolve().name,
            stacks=list(zip(a.images, a.labels, strict=True)),
            pixel_size_um=a.pixel_size_um,
            licence=a.licence,
            demo=a.demo,
            work=a.work,
            report=lambda line: print(line, flush=True),
        )
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    print(json.dumps(metrics))
    return 0


if __name__ == "__main__":
    _parser = argparse.ArgumentParser(prog="cisterna train ernet", description=__doc__)
    add_arguments(_parser)
    raise SystemExit(run(_parser.parse_args()))
