"""`cisterna train asem`: from phantoms or labelled volumes to one model folder per class."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cisterna.segment.training_loop import TrainingSettings
    from cisterna.segment.training_volumes import LabelledVolume
    from cisterna.segment.unet import AsemUNet
    from cisterna.segment.volume_lists import TrainingVolumes

DEMO_CLASSES = ("er", "copi", "ccv", "tubular_eres")
DEMO_ALSO = ("golgi", "mitochondria")
PHANTOM_VOXEL_NM = 8.0
SETTINGS = (
    "num_fmaps",
    "convolutions",
    "patch",
    "iterations",
    "learning_rate",
    "final_learning_rate",
    "warm_up",
    "weight_decay",
    "gradient_norm",
    "rate_by_fan_in",
    "balance",
    "foreground_share",
    "intensity",
    "noise",
    "blur_voxels",
    "elastic_jitter_voxels",
    "rotation",
    "precision",
    "seed",
)


def demo_settings(classes: tuple[str, ...] = DEMO_CLASSES + DEMO_ALSO) -> TrainingSettings:
    """What the demonstration models were trained with."""
    from cisterna.segment.training_loop import TrainingSettings

    return TrainingSettings(
        classes,
        num_fmaps=8,
        convolutions="padded",
        patch=64,
        iterations=6000,
        learning_rate=1e-3,
        final_learning_rate=1e-5,
        warm_up=100,
        weight_decay=0.0,
        gradient_norm=0.5,
        balance=0.5,
        elastic_jitter_voxels=0.0,
        rotation=False,
        precision="bfloat16",
        seed=1,
    )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `cisterna train asem`."""
    parser.add_argument("--output", type=Path, required=True, metavar="FOLDER", help="model folders go here")
    parser.add_argument("--name", default="asem", help="model folders are called NAME-CLASS (default: asem)")
    parser.add_argument(
        "--classes", nargs="+", metavar="CLASS",
        help="classes to learn at once, sharing one network up to its last convolution (default: those that task files "
        f"label; otherwise {' '.join(DEMO_CLASSES)})",
    )  # fmt: skip
    parser.add_argument(
        "--also", nargs="*", metavar="CLASS",
        help="classes learnt beside them and not exported: what the others must not be mistaken for "
        "(with --demo on phantoms: golgi mitochondria)",
    )  # fmt: skip
    source = parser.add_argument_group("what to learn from")
    source.add_argument(
        "--data", type=Path, nargs="+", metavar="JSON",
        help='list of {"image": FILE, "labels": {CLASS: FILE}, "mask": FILE, "masks": {CLASS: FILE}, "metric_mask": '
        'FILE, "box": …, "invert": bool, "held_out": bool}, files relative to the list; or a task file of the ASEM '
        "reference program",
    )  # fmt: skip
    source.add_argument(
        "--validation", type=Path, nargs="+", default=[], metavar="JSON", help="the same; never trained on"
    )
    source.add_argument(
        "--data-folder", type=Path, metavar="FOLDER", help="where the files of lists and tasks lie (beside the JSON)"
    )
    source.add_argument(
        "--voxel-size-nm", type=float, nargs=3, metavar=("Z", "Y", "X"), help="of --data; task files say it"
    )
    source.add_argument("--phantoms", type=int, default=24, metavar="N", help="without --data: phantom cells (24)")
    source.add_argument("--phantom-seed", type=int, default=100, metavar="SEED", help="of the first phantom (100)")
    how = parser.add_argument_group("how to learn (defaults: as the published networks were)")
    how.add_argument("--demo", action="store_true", help="start from the settings of the demonstration models")
    how.add_argument("--num-fmaps", type=int, help="feature maps of the finest level (32)")
    how.add_argument("--convolutions", choices=("valid", "padded"), help="padded: more supervised voxels per second")
    how.add_argument("--patch", type=int, help="input voxels per axis (204)")
    how.add_argument("--iterations", type=int, help="(100000)")
    how.add_argument("--learning-rate", type=float, help="(3e-5)")
    how.add_argument("--final-learning-rate", type=float, help="fall to this along half a cosine (constant)")
    how.add_argument("--warm-up", type=int, help="iterations over which the rate rises (0)")
    how.add_argument("--weight-decay", type=float, help="(3e-5)")
    how.add_argument("--gradient-norm", type=float, help="gradients are shortened to this norm, 0: never (1)")
    how.add_argument(
        "--rate-by-fan-in", action=argparse.BooleanOptionalAction,
        help="each layer's rate in inverse proportion to its inputs, so that no level dies at a high rate (no)",
    )  # fmt: skip
    how.add_argument("--balance", type=float, help="1: classes weigh the same in a block, 0: voxels do (1)")
    how.add_argument("--foreground-share", type=float, help="of patches centred on a class (0.8)")
    how.add_argument("--intensity", type=float, help="contrast and brightness change by up to this (0.15)")
    how.add_argument("--noise", type=float, help="white noise of up to this, of a range of 2 (0)")
    how.add_argument("--blur-voxels", type=float, help="Gaussian blur of up to this (0)")
    how.add_argument(
        "--elastic-jitter-voxels", type=float, help="elastic deformation: control points move by this (σ), 0: none (2)"
    )
    how.add_argument(
        "--rotation", action=argparse.BooleanOptionalAction, help="turn patches about z, up to a quarter turn (yes)"
    )
    how.add_argument("--precision", choices=("float32", "bfloat16"), help="of the arithmetic (float32)")
    how.add_argument("--seed", type=int, help="(0)")
    run_ = parser.add_argument_group("this run")
    run_.add_argument("--state", type=Path, metavar="FILE", help="written each minute, resumed from when it exists")
    run_.add_argument("--minutes", type=float, help="stop, and export, after so many")
    run_.add_argument("--validate-every", type=int, default=500, metavar="N", help="iterations (500)")
    run_.add_argument(
        "--patience", type=int, default=0, metavar="N", help="stop after N validations without a better one"
    )
    run_.add_argument(
        "--start-from", type=Path, metavar="MODEL",
        help="fine-tune: a model folder, or a published checkpoint; its feature maps are taken over",
    )  # fmt: skip
    run_.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    run_.add_argument("--threads", type=int, default=0, help="of the CPU (all)")
    run_.add_argument("--licence", default="not stated", help="of the exported weights")


def run(args: argparse.Namespace) -> int:
    """Train and export; prints one line of metrics per class. Raises ValueError with what to change."""
    import torch

    from cisterna.segment.export import export
    from cisterna.segment.living_channels import warning
    from cisterna.segment.training_loop import TrainingSettings, train_asem
    from cisterna.segment.training_progress import console

    given: TrainingVolumes | None = None
    if args.data is not None:
        from cisterna.segment.volume_lists import read_training_volumes

        given = read_training_volumes(
            args.data,
            args.validation,
            classes=None if args.classes is None else [*args.classes, *(args.also or [])],
            default_classes=[*DEMO_CLASSES, *(args.also or [])],
            voxel_size_nm=args.voxel_size_nm,
            folder=args.data_folder,
        )
    elif args.validation or args.data_folder:
        raise ValueError("--validation and --data-folder go with --data: phantoms need neither")
    also = args.also if args.also is not None else (list(DEMO_ALSO) if args.demo and args.data is None else [])
    wanted = args.classes or (list(DEMO_CLASSES) if given is None else [c for c in given.classes if c not in also])
    classes = (*wanted, *(name for name in also if name not in wanted))
    settings = demo_settings(classes) if args.demo else TrainingSettings(classes)
    settings = replace(settings, **{k: getattr(args, k) for k in SETTINGS if getattr(args, k) is not None})
    weights = None
    if args.start_from is not None:
        network = starting_network(args.start_from)
        if args.num_fmaps not in (None, network.num_fmaps):
            raise ValueError(
                f"{args.start_from} has {network.num_fmaps} feature maps, not {args.num_fmaps}: leave them out"
            )
        settings, weights = replace(settings, num_fmaps=network.num_fmaps), network.state_dict()
    device = ("cuda" if torch.cuda.is_available() else "cpu") if args.device == "auto" else args.device
    if args.threads:
        torch.set_num_threads(args.threads)
    report = console()
    trained_on: dict[str, Any]
    if given is not None:
        voxel_size_nm, volumes, held_out = given.voxel_size_nm, given.train, given.held_out
        trained_on = {"data": [v.name for v in volumes]}
    else:
        voxel_size_nm = (PHANTOM_VOXEL_NM,) * 3
        volumes, held_out = phantoms(classes, args.phantom_seed, args.phantoms, report)
        trained_on = {"data": "phantom cells", "phantom_seeds": [args.phantom_seed, args.phantom_seed + args.phantoms]}
    if args.start_from is not None:
        trained_on["started_from"] = args.start_from.name
    state = train_asem(
        settings,
        volumes,
        held_out,
        state_file=args.state,
        device=device,
        seconds=None if args.minutes is None else args.minutes * 60,
        validate_every=args.validate_every,
        patience=args.patience,
        weights=weights,
        report=report,
    )
    report("judging on the held-out volumes" if held_out else "no held-out volumes: the models carry no metrics")
    found = export(
        settings,
        state,
        {name: args.output / f"{args.name}-{name.replace('_', '-')}" for name in wanted},
        held_out,
        voxel_size_nm=voxel_size_nm,
        trained_on=trained_on,
        demo=args.data is None,
        licence=args.licence,
        device=device,
        trained_volumes=volumes,
        equalised=given is not None and given.equalised,
    )
    if line := warning(next(iter(found.values()))["living_channels"]):
        print(f"warning: {line}", file=sys.stderr)
    for name, metrics in found.items():
        print(f"{args.name}-{name.replace('_', '-')}  {json.dumps({k: metrics.get(k) for k in ('voxels', 'objects')})}")
    return 0


def starting_network(path: Path) -> AsemUNet:
    """The network of a model folder of family asem, or of a published checkpoint.

    Raises:
        ValueError: it is neither.
    """
    from cisterna.models import load_model, read_model_folder
    from cisterna.segment.unet import AsemUNet, load_asem

    if not path.is_dir():
        return load_asem(path)
    family = read_model_folder(path).spec["family"]
    network = load_model(path) if family == "asem" else None
    if not isinstance(network, AsemUNet):
        raise ValueError(f"{path.name} is a model of family {family}: fine-tuning takes asem models")
    return network


def phantoms(
    classes: tuple[str, ...], first_seed: int, count: int, report: Any
) -> tuple[list[LabelledVolume], list[LabelledVolume]]:
    """``count`` cells to train on (three crowded ones to each ordinary one) and two held out."""
    from cisterna.segment.training_volumes import phantom_volume

    if count < 1:
        raise ValueError(f"--phantoms must be at least 1, got {count}")
    volumes = []
    for index in range(count):
        report(f"drawing phantom {index + 1}/{count}")
        volumes.append(phantom_volume(first_seed + index, classes, small=index % 4 != 3))
    held_out = [phantom_volume(first_seed + 1_000_000 + index, classes, small=index == 0) for index in range(2)]
    return volumes, held_out
