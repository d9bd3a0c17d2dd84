"""``cisterna models add --family asem``: what a published checkpoint does not say, from options or a task file."""

from __future__ import annotations

import argparse
from pathlib import Path

from cisterna.cli.home import UsageError
from cisterna.runs.recipes import CLASSES


def add_asem_options(add: argparse.ArgumentParser) -> None:
    add.add_argument("--class", dest="class_name", choices=CLASSES, help="what an ASEM checkpoint finds")
    add.add_argument(
        "--voxel-size-nm", type=float, nargs=3, metavar=("Z", "Y", "X"), help="training grid of an ASEM checkpoint"
    )
    add.add_argument(
        "--task", type=Path, metavar="FILE", help="a task file that it was trained or run with: says class and grid"
    )
    add.add_argument(
        "--intensity",
        choices=("clahe", "range"),
        help="how voxels reach an ASEM network: equalised as published (clahe, the default), or by percentiles",
    )


def import_asem(args: argparse.Namespace, folder: Path) -> None:
    """Writes the model folder of ``args.path``; raises UsageError where class or grid are not said or said twice."""
    class_name, size = args.class_name, args.voxel_size_nm
    if args.task is not None:
        from cisterna.acquire.readers import agreed_voxel_size
        from cisterna.acquire.source import Grid
        from cisterna.acquire.task_file import training_grid

        stated, labels = training_grid(args.task)
        size = agreed_voxel_size(f"task file {args.task}", Grid(*stated), size)
        known = [name for name in labels if name in CLASSES]
        if class_name is None and len(known) == 1:
            class_name = known[0]
        if class_name is not None and known and class_name not in known:
            raise UsageError(f"--class is {class_name}, but {args.task} names the labels {', '.join(labels)}")
    if class_name is None or size is None:
        raise UsageError("an ASEM checkpoint does not say what it finds: give --class and --voxel-size-nm Z Y X")
    from cisterna.segment.published import write_published_model

    write_published_model(
        args.path,
        folder,
        class_name=class_name,
        voxel_size_nm=size,
        intensity_rule=args.intensity or "clahe",
        licence=args.licence,
    )


def refuse_asem_options(args: argparse.Namespace) -> None:
    """Raises UsageError where an option of ASEM checkpoints stands beside something else."""
    given = {"--class": args.class_name, "--voxel-size-nm": args.voxel_size_nm, "--task": args.task}
    for option, value in {**given, "--intensity": args.intensity}.items():
        if value is not None:
            raise UsageError(f"{option} is for --family asem: leave it out")
