"""``--task``: the input, region and voxel size of a run from a task file of the ASEM reference program."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from cisterna.cli.home import UsageError


def add_task_options(p: argparse.ArgumentParser) -> None:
    p.add_argument(
        "--task", type=Path, metavar="FILE", help="task file (JSON) of incasem; INPUT is then the folder of its files"
    )
    p.add_argument("--task-name", metavar="NAME", help="which of the file's tasks")


def task_of(args: argparse.Namespace) -> None:
    """Writes what the task says into the arguments, as if it had been given on the command line.

    Raises UsageError where something is said twice, UnusableInput where the task does not fit its array.
    """
    if args.task is None:
        if args.task_name is not None:
            raise UsageError("--task-name without --task FILE")
        return
    from cisterna.acquire.readers import agreed_voxel_size
    from cisterna.acquire.source import Grid
    from cisterna.acquire.task_file import read_task

    for flag, given in (("--region", args.region), ("--detector", args.detector), ("--equalised", args.equalised)):
        if given:
            raise UsageError(f"{flag} and --task both say what is read: leave one out")
    task = read_task(args.task, args.input, args.task_name)
    stated = Grid(*task.voxel_size_nm)
    args.voxel_size_nm = list(agreed_voxel_size(f"task {task.name} of {args.task}", stated, args.voxel_size_nm))
    args.input, args.region, args.equalised = task.array, task.region, task.equalised
    if task.equalised:
        print(f"note: {task.array.name} is taken as equalised already: models get it as it is", file=sys.stderr)
    if task.labels or task.masks:
        print(f"note: labels and masks of task {task.name} play no part in a run", file=sys.stderr)
