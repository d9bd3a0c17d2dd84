"""The training loop of FastFIB: two detectors (Noise2Noise) or one (recorruption, blind spots).

Two detectors: f(x1) learns x2 and f(x2) learns x1 after their contrasts are matched; nobody ever sees a clean volume
(Lehtinen et al., ICML 2018).  One detector: noise as strong as its own is added to it and taken from it, which gives a
pair with independent noise (Pang et al., CVPR 2021); or a few voxels of the input are replaced by neighbours and the
loss is taken there alone (Krull et al., CVPR 2019).  docs/denoise.md has the measurement that chose between the two.
Neighbour subsampling trains at half the resolution, where membranes are two voxels thinner, and is not offered.
All assume noise that is independent from voxel to voxel; do not train on upsampled or filtered data.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cisterna.denoise.apply import IntensityRange, denoise_volume, prepare
from cisterna.denoise.checkpoint import resume, save
from cisterna.denoise.fastfib import FastFib, build
from cisterna.denoise.losses import blur_radius, fastfib_loss
from cisterna.denoise.training_data import (
    TrainingVolume,
    augment,
    blind_spots,
    cut_pair,
    draw_pair,
    recorrupted,
    scale_of,
)

UNIT_RANGE = IntensityRange(-1.0, 1.0)


def _setting(default: Any, text: str) -> Any:
    return field(default=default, metadata={"help": text})


@dataclass(frozen=True)
class FastFibSettings:
    """Every setting of a training; those that the paper leaves open carry our default."""

    width: int = _setting(42, "channels of the finest level (42: 10.05 million parameters)")
    levels: int = _setting(4, "resolutions of the U-Net; one pooling less")
    iterations: int = _setting(20000, "optimiser steps")
    patch: int = _setting(64, "edge of a training patch in voxels, a multiple of the stride")
    batch: int = _setting(4, "patches a step")
    learning_rate: float = _setting(1e-3, "peak learning rate of Adam; falls to 1 percent by a half cosine")
    warmup: int = _setting(100, "steps over which the learning rate rises")
    blur_sigma: float = _setting(0.5, "sigma, in voxels, of the Gaussian on the output before the loss; 0 for none")
    gradient_weight: float = _setting(0.02, "weight lambda of the penalty on the gradient of (output - blurred output)")
    gradient_norm: str = _setting("l1", "norm of that gradient: l1 or l2")
    gradient_stencil: str = _setting("forward", "differences of that gradient: forward or central")
    crop: int = _setting(4, "voxels cut from each face before the loss, at least ceil(3 sigma) + 1")
    alpha: float = _setting(0.5, "exponent of the Charbonnier loss")
    epsilon: float = _setting(1e-3, "smoothing of the Charbonnier loss, in units of the range [-1, 1]")
    both_directions: bool = _setting(True, "learn detector 2 from 1 and 1 from 2")
    match_contrast: bool = _setting(True, "bring detector 2 to the contrast of detector 1 before training")
    rotate: bool = _setting(True, "exchange axes at random; switch off for anisotropic voxels")
    gain_jitter: float = _setting(0.2, "random gain of a patch, 1 +- this")
    offset_jitter: float = _setting(0.15, "random offset of a patch, +- this, in units of the range [-1, 1]")
    one_detector: str = _setting("recorrupt", "one detector: recorrupt (needs white noise) or blind-spots")
    recorruption: float = _setting(0.5, "one detector: share of the noise's own strength that is added to the input")
    noise_sigma: float = _setting(0.0, "one detector: its noise in grey values, where known; 0: measured")
    blind_share: float = _setting(0.03, "one detector: share of voxels that are hidden")
    blind_window: int = _setting(2, "one detector: half width of the window that hidden voxels are replaced from")
    held_out: float = _setting(0.1, "share of the planes kept for validation, at the far end of z (not for phantoms)")
    average: float = _setting(0.995, "decay of the running mean of the weights, which is what is saved")
    precision: str = _setting("float32", "arithmetic: float32, bfloat16 or float16 (mixed)")
    seed: int = _setting(0, "seed of weights, patches and augmentation")
    validate_every: int = _setting(500, "steps between validations")
    checkpoint_every: int = _setting(250, "steps between checkpoints")

    def __post_init__(self) -> None:
        stride = 2 ** (self.levels - 1)
        if self.patch % stride or self.patch < stride:
            raise ValueError(f"patch is {self.patch}; it must be a multiple of the stride {stride}")
        if self.crop < blur_radius(self.blur_sigma) + 1 or self.patch <= 2 * self.crop + 2:
            raise ValueError(
                f"crop is {self.crop} with a patch of {self.patch}; give at least {blur_radius(self.blur_sigma) + 1} "
                "and leave three voxels of the patch"
            )
        if self.iterations < 1 or self.batch < 1:
            raise ValueError(f"iterations {self.iterations} and batch {self.batch} must be at least 1")
        if self.one_detector not in ("recorrupt", "blind-spots"):
            raise ValueError(f"unknown one-detector training {self.one_detector!r}; use recorrupt or blind-spots")
        if not self.recorruption > 0 or self.noise_sigma < 0:
            raise ValueError(
                f"recorruption {self.recorruption} must be positive and noise_sigma {self.noise_sigma} not negative"
            )
        if self.precision not in ("float32", "bfloat16", "float16"):
            raise ValueError(f"unknown precision {self.precision!r}; use float32, bfloat16 or float16")


@dataclass(frozen=True)
class TrainingResult:
    """The averaged network in eval mode and the curve: one row a validation (iteration, loss, validation figures)."""

    network: FastFib
    curve: list[dict[str, float]]
    time_s: float


def train_fastfib(
    volumes: Sequence[TrainingVolume],
    settings: FastFibSettings,
    *,
    validation: Sequence[TrainingVolume] = (),
    device: str = "cpu",
    checkpoint: Path | None = None,
    start_from: FastFib | None = None,
    time_limit_s: float | None = None,
    report: Callable[[str], None] = lambda line: None,
) -> TrainingResult:
    """Train on volumes that all have two detectors (pair training) or all one (recorruption or blind spots).

    `validation`: volumes whose `clean` picture is known give a PSNR; without any, the held-out planes of `volumes` give
    the loss.  `checkpoint`: file to resume from, if there, and to write; other settings than it was written with are
    refused.  `time_limit_s` ends early, the learning rate following the clock.  `start_from`: fine-tune this network.
    """
    counts = {len(v.detectors) for v in volumes}
    if len(counts) != 1:
        raise ValueError(
            "give training volumes, all of one detector or all of two" if volumes else "no training volume"
        )
    if settings.noise_sigma:
        volumes = [dataclasses.replace(v, noise_sigma=settings.noise_sigma) for v in volumes]
    if counts == {1} and settings.one_detector == "recorrupt":
        for volume in volumes:
            report(f"{volume.name}: noise of {volume.noise_sigma:.3g} grey values")
    torch.manual_seed(settings.seed)
    network = build(width=settings.width, levels=settings.levels)
    if start_from is not None:
        if (start_from.width, start_from.levels) != (settings.width, settings.levels):
            raise ValueError(
                f"the model to start from has width {start_from.width} and {start_from.levels} levels; "
                f"the settings say {settings.width} and {settings.levels}"
            )
        network.load_state_dict(start_from.state_dict())
    network = network.to(device).to(memory_format=torch.channels_last_3d).train()  # type: ignore[call-overload]
    optimiser = torch.optim.Adam(network.parameters(), lr=settings.learning_rate)
    scaler = torch.amp.GradScaler(device.split(":")[0], enabled=settings.precision == "float16")
    average = {k: v.detach().clone() for k, v in network.state_dict().items()}
    curve: list[dict[str, float]] = []
    first, spent = 0, 0.0
    if checkpoint is not None and checkpoint.exists():
        first, spent, curve = resume(checkpoint, dataclasses.asdict(settings), network, optimiser, scaler, average)
        report(f"resumed at step {first} from {checkpoint}")
    started = time.monotonic() - spent
    running: list[float] = []
    step = first

    def spent_s() -> float:
        return time.monotonic() - started

    while step < settings.iterations:
        elapsed = time.monotonic() - started
        done = step / settings.iterations
        if time_limit_s is not None:
            done = max(done, elapsed / time_limit_s)
            if done >= 1:
                report(f"stopped at step {step}: the time limit of {time_limit_s:.0f} s is reached")
                break
        for group in optimiser.param_groups:
            group["lr"] = settings.learning_rate * _schedule(step, done, settings.warmup)
        loss = _step(volumes, settings, network, optimiser, scaler, step, device)
        running.append(loss)
        decay = min(settings.average, (1 + step) / (10 + step))
        with torch.no_grad():
            for name, value in network.state_dict().items():
                average[name].lerp_(value, 1 - decay)
        step += 1
        if step % 50 == 0:
            rate = (time.monotonic() - started - spent) / (step - first)
            report(f"step {step}/{settings.iterations}  loss {np.mean(running[-50:]):.5f}  {rate:.3f} s a step")
        if step % settings.validate_every == 0 or step == settings.iterations:
            curve.append(
                {"iteration": step, "loss": float(np.mean(running[-settings.validate_every :]))}
                | _validate(_averaged(settings, average), volumes, validation, settings, device)
            )
            report("validation  " + "  ".join(f"{k} {v:.5g}" for k, v in curve[-1].items()))
        if checkpoint is not None and step % settings.checkpoint_every == 0:
            save(checkpoint, dataclasses.asdict(settings), network, optimiser, scaler, average, curve, step, spent_s())
    if not curve or curve[-1]["iteration"] != step:
        figures = _validate(_averaged(settings, average), volumes, validation, settings, device)
        recent = float(np.mean(running[-50:])) if running else float("nan")
        curve.append({"iteration": step, "loss": recent} | figures)
        report("validation  " + "  ".join(f"{k} {v:.5g}" for k, v in curve[-1].items()))
    if checkpoint is not None:
        save(checkpoint, dataclasses.asdict(settings), network, optimiser, scaler, average, curve, step, spent_s())
    return TrainingResult(_averaged(settings, average), curve, time.monotonic() - started)


def psnr(image: NDArray[Any], truth: NDArray[Any], data_range: float) -> float:
    """Peak signal-to-noise ratio in dB."""
    error = float(np.mean((np.asarray(image, np.float64) - np.asarray(truth, np.float64)) ** 2))
    return float("inf") if error == 0 else 10 * float(np.log10(data_range**2 / error))


def _schedule(step: int, done: float, warmup: int) -> float:
    rise = min(1.0, (step + 1) / max(1, warmup))
    return rise * (0.01 + 0.99 * 0.5 * (1 + float(np.cos(np.pi * min(1.0, done)))))


def _step(
    volumes: Sequence[TrainingVolume],
    settings: FastFibSettings,
    network: FastFib,
    optimiser: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
    step: int,
    device: str,
) -> float:
    # One generator a step, seeded by the step: a resumed training draws what the uninterrupted one would have drawn.
    rng = np.random.default_rng([settings.seed, step])
    sources, targets, masks = [], [], []
    blind = has_blind_spots(volumes[0], settings)
    for _ in range(settings.batch):
        source, target = draw_pair(
            volumes,
            settings.patch,
            rng,
            both_directions=settings.both_directions,
            recorruption=0.0 if blind else settings.recorruption,
        )
        source, target = augment(
            source, target, rng, rotate=settings.rotate, scale=settings.gain_jitter, shift=settings.offset_jitter
        )
        if blind:
            source, mask = blind_spots(np.ascontiguousarray(source), settings.blind_share, settings.blind_window, rng)
            masks.append(mask)
        sources.append(source)
        targets.append(target)
    x = _tensor(sources, device).contiguous(memory_format=torch.channels_last_3d)
    with torch.autocast(device.split(":")[0], dtype=_half(settings), enabled=settings.precision != "float32"):
        output = network(x)
    loss = fastfib_loss(
        output.float(),
        _tensor(targets, device),
        sigma=settings.blur_sigma,
        gradient_weight=settings.gradient_weight,
        crop=settings.crop,
        mask=_tensor(masks, device) if masks else None,
        alpha=settings.alpha,
        epsilon=settings.epsilon,
        norm="l2" if settings.gradient_norm == "l2" else "l1",
        stencil="central" if settings.gradient_stencil == "central" else "forward",
    )
    optimiser.zero_grad(set_to_none=True)
    scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
    scaler.unscale_(optimiser)
    torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
    scaler.step(optimiser)
    scaler.update()
    value = float(loss.detach())
    if not np.isfinite(value):
        raise ValueError(f"the loss is {value} at step {step}; lower the learning rate or use precision float32")
    return value


def has_blind_spots(volume: TrainingVolume, settings: FastFibSettings) -> bool:
    return len(volume.detectors) == 1 and settings.one_detector == "blind-spots"


def _half(settings: FastFibSettings) -> torch.dtype:
    return torch.float16 if settings.precision == "float16" else torch.bfloat16


def _tensor(patches: Sequence[NDArray[Any]], device: str) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(np.stack(patches)[:, None])).to(device)


def _averaged(settings: FastFibSettings, average: dict[str, Tensor]) -> FastFib:
    network = build(width=settings.width, levels=settings.levels)
    network.load_state_dict(average)
    return network.eval()


def _validate(
    network: FastFib,
    volumes: Sequence[TrainingVolume],
    validation: Sequence[TrainingVolume],
    settings: FastFibSettings,
    device: str,
) -> dict[str, float]:
    """PSNR of each validation volume against its clean picture, or the error on the held-out planes."""
    denoiser = prepare(network, device=device)
    figures: dict[str, float] = {}
    if validation:
        before, after = [], []
        for volume in validation:
            assert volume.clean is not None
            truth = np.asarray(volume.clean, np.float64)
            reach = float(truth.max() - truth.min())
            cleaned = denoise_volume(volume.detectors[0], denoiser, range=volume.ranges[0])
            before.append(psnr(volume.detectors[0], truth, reach))
            after.append(psnr(cleaned, truth, reach))
        return {"psnr_noisy_db": float(np.mean(before)), "psnr_db": float(np.mean(after))}
    errors = []
    for volume in volumes:
        depth, height, width = volume.detectors[0].shape
        if depth == volume.planes[1]:
            continue
        edge = min(128, height, width)
        rows, columns = (height - edge) // 2, (width - edge) // 2
        cut = (slice(volume.planes[1], depth), slice(rows, rows + edge), slice(columns, columns + edge))
        source, target = cut_pair(volume, cut)
        mask, rng = np.ones(source.shape, bool), np.random.default_rng(0)
        if has_blind_spots(volume, settings):
            source, mask = blind_spots(source, settings.blind_share, settings.blind_window, rng)
        elif len(volume.detectors) == 1:
            sigma = volume.noise_sigma * scale_of(volume.ranges[0])
            source, target = recorrupted(source, sigma, settings.recorruption, rng)
        cleaned = denoise_volume(source, denoiser, range=UNIT_RANGE)
        errors.append(float(np.sqrt(np.mean((cleaned - target)[mask] ** 2))))
    return {"held_out_rms": float(np.mean(errors))} if errors else figures
