"""`cisterna train fastfib`: from phantoms, two detectors or one detector to a model folder."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from cisterna.denoise.fastfib import FastFib, flop_per_voxel
from cisterna.denoise.training import FastFibSettings, TrainingResult, train_fastfib
from cisterna.denoise.training_data import TrainingVolume, phantom_volumes, read_volume, training_volume

INTENSITY_TO = (-1.0, 1.0)
PHANTOM_VALIDATION_SEED = 900
__all__ = ["FastFibSettings", "add_arguments", "run", "train_fastfib", "write_fastfib_model"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `cisterna train fastfib`."""
    parser.add_argument(
        "--out", type=Path, required=True, help="model folder to write; its last part is the model's name"
    )
    source = parser.add_argument_group("what to train on (one of three)")
    source.add_argument(
        "--detector",
        action="append",
        default=[],
        metavar="NAME=PATH",
        help="a detector of a pair, TIFF or .npy; twice for pair training",
    )
    source.add_argument("--single", type=Path, metavar="PATH", help="a volume of one detector: see --one-detector")
    source.add_argument("--phantoms", type=int, metavar="N", help="N phantom cells with two detectors")
    source.add_argument("--phantom-shape", type=int, nargs=3, default=(128, 160, 160), metavar=("Z", "Y", "X"))
    source.add_argument(
        "--phantom-noise",
        type=float,
        nargs=2,
        default=(0.6, 1.8),
        metavar=("LOW", "HIGH"),
        help="noise of the phantoms, relative to their default",
    )
    source.add_argument("--phantom-detectors", type=int, choices=(1, 2), default=2, help="1: see --one-detector")
    parser.add_argument("--voxel-size-nm", type=float, nargs=3, metavar=("Z", "Y", "X"), default=(8.0, 8.0, 8.0))
    parser.add_argument(
        "--start-from", type=Path, metavar="MODEL", help="fine-tune this model folder (same width, levels)"
    )
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads; 0 leaves the choice to torch")
    parser.add_argument("--time-limit-s", type=float, help="stop early; the learning rate follows the clock")
    parser.add_argument("--licence", default="unstated", help="licence of the weights, written into model.json")
    parser.add_argument("--demo", action="store_true", help="mark the model as a demonstration model")
    settings = parser.add_argument_group("settings")
    for setting in dataclasses.fields(FastFibSettings):
        flag = "--" + setting.name.replace("_", "-")
        text = f"{setting.metadata['help']} (default {setting.default})"
        if isinstance(setting.default, bool):
            settings.add_argument(flag, action=argparse.BooleanOptionalAction, default=setting.default, help=text)
        else:
            settings.add_argument(flag, type=type(setting.default), default=setting.default, help=text)


def run(args: argparse.Namespace) -> int:
    """Train and write the model folder; 0 when done. Raises ValueError for input that cannot be used."""
    settings = FastFibSettings(**{f.name: getattr(args, f.name) for f in dataclasses.fields(FastFibSettings)})
    if args.threads:
        torch.set_num_threads(args.threads)
    volumes, validation, data = _sources(args, settings)
    start = None
    if args.start_from is not None:
        from cisterna.models import load_model

        loaded = load_model(args.start_from)
        if not isinstance(loaded, FastFib):
            raise ValueError(f"{args.start_from} is not a fastfib model; it cannot be fine-tuned here")
        start = loaded
    say(f"training on {data}")
    result = train_fastfib(
        volumes,
        settings,
        validation=validation,
        device=args.device,
        checkpoint=args.out.with_name(args.out.name + ".training.pt"),
        start_from=start,
        time_limit_s=args.time_limit_s,
        report=say,
    )
    digest = write_fastfib_model(
        args.out, result, settings, voxel_size_nm=args.voxel_size_nm, demo=args.demo, licence=args.licence, data=data
    )
    say(f"wrote {args.out} (digest {digest[:12]}) after {result.time_s:.0f} s")
    return 0


def say(line: str) -> None:
    """Progress goes to standard error, so that standard output stays for results."""
    print(line, file=sys.stderr, flush=True)


def _sources(
    args: argparse.Namespace, settings: FastFibSettings
) -> tuple[list[TrainingVolume], list[TrainingVolume], str]:
    given = [bool(args.detector), args.single is not None, args.phantoms is not None]
    if sum(given) != 1:
        raise ValueError("say what to train on: two --detector NAME=PATH, --single PATH, or --phantoms N")
    if args.phantoms is not None:
        if len(set(args.voxel_size_nm)) != 1:
            raise ValueError(f"phantoms for training are isotropic; --voxel-size-nm is {args.voxel_size_nm}")
        low, high = args.phantom_noise
        voxel_nm = float(args.voxel_size_nm[0])
        volumes = phantom_volumes(
            args.phantoms, tuple(args.phantom_shape), voxel_nm, 100 * (settings.seed + 1), (low, high)
        )
        validation = phantom_volumes(1, (96, 96, 96), voxel_nm, PHANTOM_VALIDATION_SEED, (1.0, 1.0))
        if args.phantom_detectors == 1:
            volumes = [dataclasses.replace(v, detectors=v.detectors[:1], ranges=v.ranges[:1]) for v in volumes]
        shape = "x".join(map(str, args.phantom_shape))
        kind = "pairs" if args.phantom_detectors == 2 else "single detectors"
        return volumes, validation, f"{args.phantoms} phantom cells of {shape} voxels ({kind}), noise {low} to {high}"
    if args.single is not None:
        volume = training_volume(args.single.name, [read_volume(args.single)], held_out=settings.held_out)
        return [volume], [], f"one detector, {args.single.name}"
    if len(args.detector) != 2 or any("=" not in d for d in args.detector):
        raise ValueError(f"--detector was given as {args.detector}; give it twice, as NAME=PATH")
    names, paths = zip(*(d.split("=", 1) for d in args.detector), strict=True)
    volume = training_volume(
        " and ".join(names),
        [read_volume(p) for p in paths],
        held_out=settings.held_out,
        match_contrast=settings.match_contrast,
    )
    return [volume], [], f"two detectors, {' and '.join(names)}"


def write_fastfib_model(
    folder: Path,
    result: TrainingResult,
    settings: FastFibSettings,
    *,
    voxel_size_nm: Sequence[float],
    demo: bool,
    licence: str,
    data: str,
    name: str | None = None,
) -> str:
    """The trained network as a model folder; returns its digest. `data` says in words what it was trained on."""
    from cisterna.models import write_model_folder

    network = result.network
    spec = {
        "name": name or folder.name,
        "family": "fastfib",
        "topology": {"width": settings.width, "levels": settings.levels},
        "padding": "same",
        "context": network.context,
        "stride": network.stride,
        "voxel_size_nm": [float(v) for v in voxel_size_nm],
        "polarity": "dark_membranes",
        "intensity": {"rule": "range", "to": list(INTENSITY_TO)},
        "flop_per_voxel": flop_per_voxel(settings.width, settings.levels),
        "parameters": sum(p.numel() for p in network.parameters()),
        "demo": demo,
        "licence": licence,
        "training": {
            "data": data,
            "settings": dataclasses.asdict(settings),
            "time_s": round(result.time_s, 1),
            "curve": [{k: round(v, 5) for k, v in row.items()} for row in result.curve],
        },
        "metrics": {k: round(v, 4) for k, v in result.curve[-1].items()},
    }
    weights = {k: v.detach().cpu().numpy() for k, v in network.state_dict().items()}
    return write_model_folder(folder, spec, weights)
