"""The training of an ERnet of either family, from frames to a model folder. Needs torch.

Cross-entropy over four classes with Adam on crops, as published (Lu et al. 2023).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from . import swin2d, swin3d
from .checkpoint import Ernet
from .export import model_spec, rounded, write_ernet_folder
from .frames import CLASSES, resampling
from .training_crops import batch_of_crops
from .training_frames import LabelledFrame, phantom_frames, read_frames, save_frames
from .training_loss import awaken, class_loss, silence
from .training_metrics import evaluate, found_classes, seen_frames, torch_network
from .training_picture import draw_training
from .training_settings import ErnetSettings, rate
from .training_stacks import LabelRule, labelled_stack
from .training_state import CHECKPOINT, CURVE, Progress, identity, resume, save, start_weights, write_curve
from .tubule_width import tubule_width_px

HELD_OUT_FROM = 900_000  # phantom seeds from here on are never trained on
PICTURE = "training.png"
BUILD: dict[str, Callable[..., Ernet]] = {"ernet-swin2d": swin2d.build, "ernet-swin3d": swin3d.build}

Stacks = Sequence[tuple[Path, Path]]


@dataclass(frozen=True)
class TrainingData:
    """Frames to train on and frames held out, what they are, and the classes that their labels tell apart."""

    frames: list[LabelledFrame]
    held_out: list[LabelledFrame]
    names: list[str] | str
    known: tuple[int, ...]


def train_ernet(
    folder: Path | str,
    settings: ErnetSettings,
    name: str,
    *,
    stacks: Stacks = (),
    held_out_stacks: Stacks | None = None,
    labels: LabelRule | None = None,
    pixel_size_um: float = 0.1,
    image_pixel_size_um: float | None = None,
    start: Path | str | None = None,
    licence: str = "BSD-3-Clause",
    demo: bool = False,
    work: Path | str | None = None,
    checkpoint_s: float = 60.0,
    picture: bool = False,
    report: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Trains and writes the model folder; returns the metrics on frames never trained on.

    `stacks`: (images, labels) TIFF files read by the rule `labels`; the last labelled frame of each is held out, or
    those of `held_out_stacks` are (none, if that is empty). Without stacks, phantom movies are made from
    `settings.seed`. `pixel_size_um` is the model's; images of another pixel size (`image_pixel_size_um`) are resampled
    to it, as in production. `start`: a model folder whose weights are the first ones. `work` (`<folder>.training` by
    default) keeps a checkpoint, written every `checkpoint_s` seconds, and `loss.csv`, the live curve; a training goes
    on from a checkpoint that is there, if frames, start and settings (but for `steps`) are equal. `picture` adds
    `training.png` there: the curve, and a held-out frame, true and found.
    """
    folder = Path(folder)
    checkpoint = Path(work or folder.with_name(folder.name + ".training")) / CHECKPOINT
    factors = resampling((image_pixel_size_um or pixel_size_um,) * 2, pixel_size_um)
    device = chosen_device(settings.device)
    torch.set_num_threads(settings.threads)
    torch.manual_seed(settings.seed)
    network = BUILD[settings.family](**settings.topology).train()
    data = training_data(settings, stacks, held_out_stacks, labels or LabelRule(), factors, checkpoint.parent, report)
    digest, known = None, data.known
    if start is None:
        silence(network, known)
    else:
        digest, before = start_weights(start, settings, network)
        awaken(network, sorted(set(known) - set(before)))
        known = tuple(sorted({*known, *before}))
    optimiser = torch.optim.Adam(network.to(device).parameters(), lr=settings.learning_rate)
    progress = Progress(network, optimiser)
    who = identity(settings, data.frames, digest)
    resume(checkpoint, who, progress, report)
    learn(progress, data, settings, device, checkpoint, who, checkpoint_s, report)
    rounded(network.eval())  # the metrics are those of the weights as they are stored
    metrics = evaluate(network, data.held_out, settings)
    training = {
        **asdict(settings),
        "data": data.names,
        "labels": asdict(labels or LabelRule()) if stacks else None,
        "known_classes": list(known),
        "image_pixel_size_um": image_pixel_size_um or pixel_size_um,
        "from": digest,
        "seconds": round(progress.spent_s),
        "loss": progress.curve,
        "validation": progress.validation,
    }
    spec = model_spec(name, settings.topology, pixel_size_um, licence, demo, training, metrics)
    width_px = tubule_width_px(frame.classes for frame in data.frames)
    if np.isfinite(width_px):
        spec["tubule_width_px"] = round(width_px, 2)
    write_ernet_folder(folder, spec, network)
    if picture:
        shown = None
        if data.held_out:
            images = seen_frames(data.held_out[0], settings, 0)
            found = found_classes(torch_network(network), images, settings)
            shown = (images[settings.frames // 2], data.held_out[0].classes, found)
        draw_training(checkpoint.with_name(PICTURE), progress.curve, progress.validation, shown)
    return metrics


def learn(
    progress: Progress,
    data: TrainingData,
    settings: ErnetSettings,
    device: str,
    checkpoint: Path,
    who: str,
    checkpoint_s: float,
    report: Callable[[str], None],
) -> None:
    """Steps from where `progress` stands to the last one, with reports, looks at held-out frames and checkpoints."""
    network, optimiser, recent = progress.network, progress.optimiser, progress.recent
    started, last_save = time.monotonic() - progress.spent_s, time.monotonic()
    every = settings.steps // (settings.validations + 1) if settings.validations else settings.steps
    for step in range(progress.step, settings.steps):
        # Each step draws from its own generator, so a resumed training sees the same crops as an unbroken one.
        rng = np.random.default_rng([settings.seed, 5, step])
        images, classes = (
            torch.from_numpy(part).to(device)
            for part in batch_of_crops(
                data.frames, settings.batch, settings.crop_px, settings.degradation, settings.augmentation, rng
            )
        )
        for group in optimiser.param_groups:
            group["lr"] = settings.learning_rate * rate(step, settings)
        with mixed_precision(settings.precision, device):
            logits = network(images)
        loss = class_loss(logits, classes, data.known, settings)
        if not torch.isfinite(loss):
            raise ValueError(f"the loss became {loss.item()} at step {step}; train with a smaller --learning-rate")
        optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        progress.step, last = step + 1, step + 1 == settings.steps
        progress.spent_s = time.monotonic() - started
        recent.append(loss.item())
        if progress.step % 20 == 0 or last:
            progress.curve.append([progress.step, round(float(np.mean(recent)), 4)])
            report(f"step {progress.step}/{settings.steps}  loss {np.mean(recent):.4f}  {progress.spent_s:.0f} s")
            write_curve(checkpoint.with_name(CURVE), progress)
            recent.clear()
        if data.held_out and settings.validations and progress.step % max(every, 1) == 0 and not last:
            found = evaluate(network, data.held_out, settings)
            progress.validation.append([progress.step, found])
            said = "  ".join(f"{n} {v:.3f}" for n, v in found["iou"].items() if v is not None)
            report(f"held out at step {progress.step}: pixel accuracy {found['pixel_accuracy']:.3f}  IoU {said}")
        if time.monotonic() - last_save >= checkpoint_s or last:
            save(checkpoint, who, progress)
            last_save = time.monotonic()


def training_data(
    settings: ErnetSettings,
    stacks: Stacks,
    held_out_stacks: Stacks | None,
    rule: LabelRule,
    factors: tuple[float, float],
    work: Path,
    report: Callable[[str], None],
) -> TrainingData:
    """Frames of the stacks, or of phantom movies that are made once and kept in `work`."""
    if stacks:
        parts = [labelled_stack(images, marks, rule, settings.frames, factors) for images, marks in stacks]
        names = [images.name for images, _ in stacks]
        if held_out_stacks is None:
            frames = [frame for part in parts for frame in part[:-1]]
            held_out = [part[-1] for part in parts]
        else:
            frames = [frame for part in parts for frame in part]
            others = (
                labelled_stack(images, marks, rule, settings.frames, factors) for images, marks in held_out_stacks
            )
            held_out = [frame for part in others for frame in part]
        if not frames:
            raise ValueError(
                "each stack has one labelled frame only, which is held out; give stacks of at least two, hold out "
                "other stacks (--held-out-images) or nothing (--hold-out-nothing)"
            )
        report(f"{len(frames)} labelled frames to train on: {class_shares(frames)}")
        return TrainingData(frames, held_out, names, rule.known)
    first = settings.seed * 10_000
    if first + settings.phantoms > HELD_OUT_FROM:
        raise ValueError(f"seed {settings.seed} reaches into the held-out phantoms; take one below 89")
    wanted = (range(first, first + settings.phantoms), range(HELD_OUT_FROM, HELD_OUT_FROM + settings.held_out))
    sets = []
    for seeds in wanted:
        kept = work / f"phantoms-{settings.frames}-{seeds.start}-{seeds.stop}.npz"
        if not kept.is_file():
            report(f"making {len(seeds)} phantom frames")
            save_frames(kept, phantom_frames(seeds, frames=settings.frames))
        sets.append(read_frames(kept))
    return TrainingData(sets[0], sets[1], "er_movie phantoms", tuple(range(len(CLASSES))))


def class_shares(frames: Sequence[LabelledFrame]) -> str:
    """Share of each class among all pixels, in words: a wrong reading of the labels is seen here."""
    counts = sum(np.bincount(frame.classes.reshape(-1), minlength=256) for frame in frames)
    named = {**dict(enumerate(CLASSES)), 255: "no target"}
    whole = np.asarray(counts).sum()
    return ", ".join(f"{name} {100 * np.asarray(counts)[n] / whole:.1f} %" for n, name in named.items())


def chosen_device(device: str) -> str:
    if device != "auto":
        return device
    return "cuda" if torch.cuda.is_available() else "cpu"


def mixed_precision(precision: str, device: str) -> Any:
    """bfloat16 where the settings ask for it, or where a CUDA device has it: no loss scaling is needed."""
    kind = torch.device(device).type
    if precision == "auto":
        wanted = kind == "cuda" and torch.cuda.is_bf16_supported()
    else:
        wanted = precision == "bfloat16"
    return torch.autocast(kind, dtype=torch.bfloat16) if wanted else nullcontext()
