"""`cisterna train ernet`: from phantom movies or labelled stacks to a model folder. Needs torch."""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

from cisterna.models import read_model_folder

from .frames import CLASSES
from .training import train_ernet
from .training_crops import AUGMENTATIONS
from .training_metrics import agreement, torch_network
from .training_settings import FAMILIES, NARROW, PUBLISHED, SCHEDULES, ErnetSettings
from .training_stacks import LABEL_VALUES, LabelRule
from .training_state import CHECKPOINT

__all__ = ["CHECKPOINT", "ErnetSettings", "add_arguments", "agreement", "run", "torch_network", "train_ernet"]

SETTINGS: dict[str, tuple[type, str]] = {
    "steps": (int, "steps of the optimiser"),
    "batch": (int, "crops a step"),
    "crop_px": (int, "edge of a crop"),
    "learning_rate": (float, "highest rate of Adam"),
    "schedule": (str, f"of the rate: {' or '.join(SCHEDULES)}"),
    "halve_every": (int, "steps after which `halving` halves the rate"),
    "seed": (int, "of weights, crops and phantoms"),
    "phantoms": (int, "phantom movies to train on"),
    "validations": (int, "looks at the held-out frames on the way"),
    "dice_weight": (float, "of 1 - Dice of the structures, added to the cross-entropy"),
    "precision": (str, "auto, float32 or bfloat16; auto is bfloat16 on CUDA devices that have it"),
    "threads": (int, "CPU threads"),
    "device": (str, "auto, cpu or cuda"),
}
"""Settings that are options of the same name."""

TOPOLOGY: dict[str, tuple[dict[str, Any], str]] = {
    "embed": ({"type": int}, "width of the network (published: 64, family B 192)"),
    "depths": ({"type": int, "nargs": "+"}, "blocks of each group (published: 6 6, family B 6 6 6 6 6)"),
    "heads": ({"type": int, "nargs": "+"}, "attention heads (published: 8), in family B one number a group"),
    "frames": ({"type": int}, "family B: frames at once (published: 5)"),
    "channels": ({"type": int}, "family B: channels of the full-resolution part (published: 64)"),
    "residual_blocks": ({"type": int}, "family B: channel-attention blocks a group (published: 12)"),
}
"""Options that change the topology."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `cisterna train ernet`."""
    parser.add_argument("folder", type=Path, help="model folder to write")
    parser.add_argument("--name", help="model name (default: the folder's name)")
    parser.add_argument("--licence", default="BSD-3-Clause", help="SPDX name of the weights' licence")
    parser.add_argument("--demo", action="store_true", help="mark as a demonstration model")
    parser.add_argument(
        "--work", type=Path, help="folder of checkpoint, live loss curve and picture (default: FOLDER.training)"
    )

    data = parser.add_argument_group("what to train on (default: phantom movies)")
    data.add_argument("--images", type=Path, action="append", default=[], help="TIFF stack (t, y, x) to train on")
    data.add_argument("--labels", type=Path, action="append", default=[], help="labels of each --images, in order")
    data.add_argument(
        "--held-out-images", type=Path, action="append", default=[], metavar="IMAGES",
        help="stack held out instead of the last labelled frame of each --images",
    )  # fmt: skip
    data.add_argument("--held-out-labels", type=Path, action="append", default=[], metavar="LABELS")
    data.add_argument("--hold-out-nothing", action="store_true", help="train on all frames; no metrics then")
    data.add_argument(
        "--label-values", choices=LABEL_VALUES, default="auto",
        help="numbers: 0 background, 1 SBT, 2 tubule, 3 sheet, 255 no target; greys: 0, 170 SBT, 255 tubule, 85 sheet",
    )  # fmt: skip
    data.add_argument("--mask-of", choices=CLASSES[1:], help="labels are a mask of this class: 0 and one other value")
    data.add_argument(
        "--classes", nargs="+", choices=CLASSES, help="classes that the labels tell apart; others take no part"
    )
    data.add_argument("--trust-px", type=float, help="pixels farther than this from a labelled structure are no target")
    data.add_argument("--pixel-size-um", type=float, help="pixel size of the images (default: the model's)")
    data.add_argument(
        "--model-pixel-size-um", type=float,
        help="pixel size the model works at (default: the images', else that of --from, else 0.1)",
    )  # fmt: skip
    data.add_argument("--augmentation", choices=AUGMENTATIONS, default="standard", help="of recorded frames")

    network = parser.add_argument_group("network")
    network.add_argument("--family", choices=FAMILIES, help="swin2d: one frame; swin3d: T frames, labels of the middle")
    network.add_argument("--from", dest="start", type=Path, metavar="MODEL", help="fine-tune this model folder")
    for name, (how, text) in TOPOLOGY.items():
        network.add_argument("--" + name.replace("_", "-"), help=text, **how)

    training = parser.add_argument_group("training")
    training.add_argument("--preset", choices=PUBLISHED, help="hyper-parameters that the paper names")
    standard = ErnetSettings()
    for name, (kind, text) in SETTINGS.items():
        text = f"{text} (default {getattr(standard, name)})"
        training.add_argument("--" + name.replace("_", "-"), type=kind, help=text)
    training.add_argument(
        "--class-weights", nargs="+", default=[], metavar="CLASS=WEIGHT", help="in the cross-entropy; 1 where not named"
    )


def run(arguments: argparse.Namespace) -> int:
    """`cisterna train ernet`; 0 when the model folder is written, 2 for arguments or data that cannot be used."""
    a = arguments
    try:
        held_out = pairs(a.held_out_images, a.held_out_labels, "--held-out-images", "--held-out-labels")
        if held_out and a.hold_out_nothing:
            raise ValueError("--hold-out-nothing and --held-out-images contradict each other; give one")
        model_pixel_size_um = a.model_pixel_size_um or a.pixel_size_um
        if model_pixel_size_um is None:
            model_pixel_size_um = read_model_folder(a.start).spec["pixel_size_um"] if a.start else 0.1
        metrics = train_ernet(
            a.folder,
            settings_of(a),
            a.name or a.folder.resolve().name,
            stacks=pairs(a.images, a.labels, "--images", "--labels"),
            held_out_stacks=held_out or (() if a.hold_out_nothing else None),
            labels=LabelRule(a.label_values, a.mask_of, a.trust_px, tuple(a.classes) if a.classes else None),
            pixel_size_um=model_pixel_size_um,
            image_pixel_size_um=a.pixel_size_um,
            start=a.start,
            licence=a.licence,
            demo=a.demo,
            work=a.work,
            picture=importlib.util.find_spec("matplotlib") is not None,
            report=lambda line: print(line, flush=True),
        )
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    print(json.dumps(metrics))
    return 0


def settings_of(a: argparse.Namespace) -> ErnetSettings:
    """The preset, changed by what is given; the topology of `--from`, or the family's narrow one, changed likewise."""
    chosen = dict(PUBLISHED[a.preset]) if a.preset else {}
    chosen |= {name: getattr(a, name) for name in SETTINGS if getattr(a, name) is not None}
    if a.start:
        spec = read_model_folder(a.start).spec
        if spec["family"] not in FAMILIES:
            raise ValueError(f"{a.start} is of family {spec['family']}, not an ERnet")
        family, topology = a.family or spec["family"], dict(spec["topology"])
    else:
        family = a.family or FAMILIES[0]
        topology = dict(NARROW[family])
    for name in TOPOLOGY:
        value = getattr(a, name)
        if value is None:
            continue
        if name not in topology:
            raise ValueError(f"--{name.replace('_', '-')} is of family B (--family ernet-swin3d)")
        topology[name] = value
    if family == FAMILIES[0] and isinstance(topology["heads"], list):
        if len(topology["heads"]) != 1:
            raise ValueError("family A has one number of heads for all groups")
        topology["heads"] = topology["heads"][0]
    return ErnetSettings(
        **chosen,
        family=family,
        topology=topology,
        class_weights=weights_of(a.class_weights),
        augmentation=AUGMENTATIONS[a.augmentation],
    )


def weights_of(texts: list[str]) -> dict[str, float]:
    """`["tubule=2"]` → `{"tubule": 2.0}`."""
    weights = {}
    for text in texts:
        name, _, number = text.partition("=")
        try:
            weights[name] = float(number)
        except ValueError as error:
            raise ValueError(f"--class-weights takes CLASS=WEIGHT, such as tubule=2; got {text!r}") from error
    return weights


def pairs(images: list[Path], labels: list[Path], one: str, other: str) -> list[tuple[Path, Path]]:
    if len(images) != len(labels):
        raise ValueError(f"{len(images)} {one} but {len(labels)} {other}: give one of each per stack")
    return list(zip(images, labels, strict=True))


if __name__ == "__main__":
    _parser = argparse.ArgumentParser(prog="cisterna train ernet", description=__doc__)
    add_arguments(_parser)
    raise SystemExit(run(_parser.parse_args()))
