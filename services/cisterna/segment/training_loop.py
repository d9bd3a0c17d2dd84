"""The loop that trains ASEM networks: settings, state files, iterations, validation."""

from __future__ import annotations

import itertools
import json
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cisterna.segment.accuracy import best_threshold, voxel_agreement
from cisterna.segment.living_channels import summary, warning, watched
from cisterna.segment.loss import balanced_cross_entropy
from cisterna.segment.probability import IntensityRule, volume_probability
from cisterna.segment.shared_trunk import SharedAsem
from cisterna.segment.training_progress import progress_line, validation_line
from cisterna.segment.training_volumes import LabelledVolume, Patch, draw_patch
from cisterna.segment.unet import CONTEXT, SMALLEST_INPUT, STRIDE

PADDED_TRIM = 8
"""Voxels per side of a padded patch that do not count: there the padding is felt most."""


@dataclass(frozen=True)
class TrainingSettings:
    """Everything that a training run depends on, next to its volumes.

    The defaults are those of the published networks, and a bound on the gradient's norm (0: none): without one a high
    rate soon leaves whole levels of the network without a living channel. ``convolutions="padded"`` with
    ``precision="bfloat16"`` supervises 20 times more voxels per second on a CPU.
    """

    classes: tuple[str, ...]
    num_fmaps: int = 32
    convolutions: str = "valid"
    patch: int = 204
    iterations: int = 100_000
    learning_rate: float = 3e-5
    final_learning_rate: float | None = None
    warm_up: int = 0
    weight_decay: float = 3e-5
    gradient_norm: float = 1.0
    rate_by_fan_in: bool = False
    balance: float = 1.0
    foreground_share: float = 0.8
    intensity: float = 0.15
    noise: float = 0.0
    blur_voxels: float = 0.0
    elastic_jitter_voxels: float = 2.0
    rotation: bool = True
    precision: str = "float32"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.convolutions not in ("valid", "padded"):
            raise ValueError(f"convolutions must be 'valid' or 'padded', got {self.convolutions!r}")
        if self.precision not in ("float32", "bfloat16"):
            raise ValueError(f"precision must be 'float32' or 'bfloat16', got {self.precision!r}")
        if self.convolutions == "valid" and (self.patch < SMALLEST_INPUT or (self.patch - SMALLEST_INPUT) % STRIDE):
            raise ValueError(f"a valid patch is 100 + 8·k voxels (132, 148, 204, …), got {self.patch}")
        if self.convolutions == "padded" and (self.patch <= 2 * PADDED_TRIM or self.patch % STRIDE):
            raise ValueError(f"a padded patch is a multiple of 8 above {2 * PADDED_TRIM} voxels, got {self.patch}")
        if not self.gradient_norm >= 0:
            raise ValueError(f"the bound on the gradient's norm must be at least 0, got {self.gradient_norm}")
        if not self.elastic_jitter_voxels >= 0:
            raise ValueError(
                f"control points move by at least 0 voxels (elastic deformation), got {self.elastic_jitter_voxels}"
            )
        if self.iterations < 1 or not self.learning_rate > 0:
            raise ValueError(
                f"training needs iterations >= 1 and a positive rate, got {self.iterations} and {self.learning_rate}"
            )

    @property
    def trim(self) -> int:
        """Voxels per side of a patch without a counted output."""
        return CONTEXT if self.convolutions == "valid" else PADDED_TRIM

    def rate(self, iteration: int) -> float:
        """Learning rate: rising over ``warm_up`` iterations, then constant or falling along half a cosine."""
        start = min(1.0, (iteration + 1) / self.warm_up) if self.warm_up else 1.0
        if self.final_learning_rate is None:
            return start * self.learning_rate
        done = min(1.0, iteration / self.iterations)
        span = self.learning_rate - self.final_learning_rate
        return start * (self.final_learning_rate + span * (1 + math.cos(math.pi * done)) / 2)


@dataclass
class TrainingState:
    """A network on its way: what a state file holds. ``best``: its weights at the best validation."""

    network: SharedAsem
    optimiser: torch.optim.Adam
    iteration: int = 0
    seconds: float = 0.0
    losses: list[float] = field(default_factory=list)
    validations: list[dict[str, Any]] = field(default_factory=list)
    best: dict[str, torch.Tensor] = field(default_factory=dict)

    @property
    def validations_since_best(self) -> int:
        """How many validations the best one, by mean Dice over the classes, lies back."""
        scores = [_score(v) for v in self.validations]
        return len(scores) - 1 - int(np.argmax(scores)) if scores else 0


def start(
    settings: TrainingSettings, device: str | torch.device = "cpu", weights: Mapping[str, torch.Tensor] | None = None
) -> TrainingState:
    """A fresh network and optimiser; the seed fixes the weights, unless ``weights`` of an `AsemUNet` are given.

    Raises:
        ValueError: the given weights are of another width.
    """
    torch.manual_seed(settings.seed)
    network = SharedAsem(settings.classes, settings.num_fmaps)
    if weights is not None:
        network.take(weights)
    network = network.to(device=device, memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    optimiser = torch.optim.Adam(
        _groups(network, settings), lr=settings.learning_rate, weight_decay=settings.weight_decay
    )
    return TrainingState(network, optimiser)


def _groups(network: SharedAsem, settings: TrainingSettings) -> list[dict[str, Any]]:
    """Parameters with the share of the learning rate that is theirs.

    Adam moves every weight by about the rate, so the sum over a layer's inputs moves with their number: what suits the
    finest level throws the activations of the coarsest about until its channels are dead. In inverse proportion to the
    number of inputs all levels move alike (Yang et al., NeurIPS 2021, "Tensor Programs V").
    """
    if not settings.rate_by_fan_in:
        return [{"params": list(network.parameters()), "share": 1.0}]
    finest = settings.num_fmaps
    layers = [m for m in network.modules() if isinstance(m, torch.nn.Conv3d)]
    return [{"params": list(m.parameters()), "share": min(1.0, finest / m.in_channels)} for m in layers]


def save_state(path: Path, settings: TrainingSettings, state: TrainingState) -> None:
    """Write the state whole or not at all."""
    partial = path.with_suffix(".partial")
    torch.save(
        {
            "settings": json.dumps(asdict(settings), sort_keys=True),
            "iteration": state.iteration,
            "seconds": state.seconds,
            "losses": state.losses,
            "validations": json.dumps(state.validations),
            "network": state.network.state_dict(),
            "best": state.best,
            "optimiser": state.optimiser.state_dict(),
        },
        partial,
    )
    os.replace(partial, path)


def resume(
    path: Path,
    settings: TrainingSettings,
    device: str | torch.device = "cpu",
    report: Callable[[str], None] | None = None,
) -> TrainingState:
    """Continue from a state file. Its network must have the classes and width of ``settings``.

    Other settings may differ (more iterations, another rate): they hold from here on, and ``report`` gets a line.
    """
    try:
        content = torch.load(path, map_location=device, weights_only=True)
        before = json.loads(content["settings"])
    except Exception as error:  # damaged bytes fail in whatever way the reader meets them first
        raise ValueError(f"{path} is not a state file of this training ({type(error).__name__}): start anew") from None
    for name in ("classes", "num_fmaps", "rate_by_fan_in"):
        now, then = asdict(settings)[name], before.get(name, False)
        if list(np.atleast_1d(then)) != list(np.atleast_1d(now)):
            raise ValueError(f"{path} was trained with {name} {then}, not {now}: give it the same, or start anew")
    changed = {k: (before.get(k), v) for k, v in json.loads(json.dumps(asdict(settings))).items() if before.get(k) != v}
    if report and changed:
        said = ", ".join(f"{k} {a} → {b}" for k, (a, b) in changed.items())
        report(f"warning: {path.name} goes on with other settings: {said}")
    state = start(settings, device)
    state.network.load_state_dict(content["network"])
    state.optimiser.load_state_dict(content["optimiser"])
    for group in state.optimiser.param_groups:
        group.setdefault("share", 1.0)  # states written before rates had shares
    state.iteration, state.seconds = content["iteration"], content["seconds"]
    state.losses, state.validations = list(content["losses"]), json.loads(content["validations"])
    state.best = dict(content.get("best", {}))
    return state


def patch_of(settings: TrainingSettings, volumes: Sequence[LabelledVolume], iteration: int) -> Patch:
    """The patch of an iteration: it depends on the seed and the iteration alone."""
    return draw_patch(
        volumes,
        settings.classes,
        settings.patch,
        settings.trim,
        np.random.default_rng([settings.seed, iteration]),
        foreground_share=settings.foreground_share,
        intensity=settings.intensity,
        noise=settings.noise,
        blur_voxels=settings.blur_voxels,
        elastic_jitter_voxels=settings.elastic_jitter_voxels,
        rotation=settings.rotation,
    )


def step(settings: TrainingSettings, state: TrainingState, patch: Patch, device: str | torch.device) -> float:
    """One iteration on one patch; returns the loss."""
    image = torch.from_numpy(patch.image)[None, None].to(device)
    truth = torch.from_numpy(patch.truth).to(device)
    mask = torch.from_numpy(patch.mask).to(device)
    for group in state.optimiser.param_groups:
        group["lr"] = settings.rate(state.iteration) * group["share"]
    kind = torch.device(device).type
    with torch.autocast(kind, torch.bfloat16, enabled=settings.precision == "bfloat16"):
        if settings.convolutions == "valid":
            logits = state.network(image)
        else:
            inner = slice(settings.trim, -settings.trim)
            logits = state.network.forward_padded(image)[..., inner, inner, inner]
    logits = logits[0].float()
    known = [i for i in range(len(settings.classes)) if patch.mask[i].any()] or [0]
    loss = torch.stack(
        [balanced_cross_entropy(logits[i : i + 1], truth[i : i + 1], mask[i : i + 1], settings.balance) for i in known]
    ).mean()
    if not torch.isfinite(loss):
        raise ValueError(
            f"the loss became {float(loss)} at iteration {state.iteration}: lower the learning rate "
            f"({settings.learning_rate}) or train in float32"
        )
    state.optimiser.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    if settings.gradient_norm:
        torch.nn.utils.clip_grad_norm_(state.network.parameters(), settings.gradient_norm)
    state.optimiser.step()
    state.iteration += 1
    return float(loss.detach())


def validate(
    settings: TrainingSettings, network: SharedAsem, volumes: Sequence[LabelledVolume], device: str | torch.device
) -> dict[str, Any]:
    """Voxel agreement per class on held-out volumes, within their masks and metric masks.

    At each class's best threshold, and at 128.
    """
    network.eval()
    probabilities = [
        volume_probability(v.image, network, IntensityRule(-1.0, 1.0), device=device, after=_each_foreground)
        for v in volumes
    ]
    network.train()
    result: dict[str, Any] = {}
    for index, name in enumerate(settings.classes):
        judged = [v.judged(name) for v in volumes]
        p = np.concatenate([array[index][where] for array, where in zip(probabilities, judged, strict=True)])
        t = np.concatenate([v.truth(name)[where] > 0 for v, where in zip(volumes, judged, strict=True)])
        threshold = best_threshold(p, t)
        result[name] = {
            "threshold": threshold,
            "best": asdict(voxel_agreement(p >= threshold, t)),
            "at_128": asdict(voxel_agreement(p >= 128, t)),
        }
    return result


def _each_foreground(logits: torch.Tensor) -> torch.Tensor:
    """(N, classes, 2, …) → uint8 (N, classes, …)."""
    return (torch.softmax(logits.float(), dim=2)[:, :, 1] * 255).round_().to(torch.uint8)


def train_asem(
    settings: TrainingSettings,
    volumes: Sequence[LabelledVolume],
    held_out: Sequence[LabelledVolume],
    *,
    state_file: Path | None = None,
    device: str | torch.device = "cpu",
    seconds: float | None = None,
    validate_every: int = 0,
    patience: int = 0,
    weights: Mapping[str, torch.Tensor] | None = None,
    save_every_s: float = 60.0,
    report: Callable[[str], None] | None = None,
) -> TrainingState:
    """Train until ``settings.iterations``, or for ``seconds``.

    Args:
        settings: what is trained, and how.
        volumes: to draw patches from.
        held_out: to validate on; never trained on.
        state_file: resumed from when it exists, and written every ``save_every_s`` seconds and at the end.
        device: where to compute.
        seconds: of this call, at most; None: no limit.
        validate_every: iterations; 0: only `export` judges.
        patience: stop after so many validations without a better mean Dice, and return the best weights; 0: never.
        weights: of a network of the same width to begin with (fine-tuning), where there is no state file.
        report: gets a line of progress about once a second.

    Returns:
        The state, its network in training mode.
    """
    if not volumes:
        raise ValueError("there is nothing to train on: give at least one labelled volume")
    for name in settings.classes:
        if not any(name in v.labels and len(v.foreground[name]) for v in volumes):
            raise ValueError(f"no training volume has a labelled voxel of class {name}")
    state = (
        resume(state_file, settings, device, report)
        if state_file is not None and state_file.exists()
        else start(settings, device, weights)
    )
    if patience and not (validate_every and held_out):
        raise ValueError(
            "early stopping needs held-out volumes and validations: hold one out, or leave out the patience"
        )
    state.network.train()
    begun = saved = said = time.monotonic()
    before = state.seconds
    ahead = _patches(settings, volumes, state.iteration, device)
    while state.iteration < settings.iterations and not (patience and state.validations_since_best >= patience):
        state.losses.append(step(settings, state, next(ahead), device))
        now = time.monotonic()
        state.seconds = before + now - begun
        if validate_every and held_out and state.iteration % validate_every == 0:
            with watched(state.network) as living:
                found = validate(settings, state.network, held_out, device)
            shares = living.shares()
            state.validations.append({"iteration": state.iteration, "classes": found, "living_channels": shares})
            if patience and state.validations_since_best == 0:
                state.best = {key: value.detach().clone() for key, value in state.network.state_dict().items()}
            if report:
                report("; ".join(filter(None, (validation_line(state.iteration, found), summary(shares)))))
                if poor := warning(shares):
                    report(f"warning: {poor}")
        if report and now - said >= 1:
            said = now
            report(progress_line(settings, state))
        if state_file is not None and now - saved >= save_every_s:
            saved = now
            save_state(state_file, settings, state)
        if seconds is not None and now - begun >= seconds:
            break
    if state_file is not None:
        save_state(state_file, settings, state)
    if patience and state.best:
        state.network.load_state_dict(state.best)
    return state


def _patches(
    settings: TrainingSettings, volumes: Sequence[LabelledVolume], first: int, device: str | torch.device
) -> Iterator[Patch]:
    """The patches from an iteration on. Beside a GPU the next one is cut while it computes."""
    if torch.device(device).type == "cpu":
        yield from (patch_of(settings, volumes, n) for n in itertools.count(first))
        return
    with ThreadPoolExecutor(1) as cutter:
        coming = cutter.submit(patch_of, settings, volumes, first)
        for n in itertools.count(first + 1):
            patch = coming.result()
            coming = cutter.submit(patch_of, settings, volumes, n)
            yield patch


def _score(validation: Mapping[str, Any]) -> float:
    """Mean Dice over the classes; a class without truth or prediction counts 0."""
    dice = [float(r["best"]["dice"]) for r in validation["classes"].values()]
    return float(np.mean([d if math.isfinite(d) else 0.0 for d in dice]))
