"""``cisterna models noise-curve FOLDER``: measures what a model finds in how much noise, and writes it on its card."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from cisterna.cli.home import UsageError
from cisterna.models import Model, ModelError, amend_model_folder, read_model_folder

FAMILY = "ernet"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, help="model folder of an ERnet; its model.json is amended")
    parser.add_argument("--phantoms", type=int, default=8, help="phantom frames at each SNR (8)")
    parser.add_argument("--edge-px", type=int, default=256, help="their edge (256)")
    parser.add_argument(
        "--tubule-width-px", type=float, help="width of the tubules that the model knows (default: model.json, or 3.5)"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    digest = write_noise_curve(args.folder, args.phantoms, args.edge_px, args.tubule_width_px)
    print(f"{args.folder}/model.json has its noise curve; digest {digest[:12]}…")
    return 0


def write_noise_curve(
    folder: Path,
    count: int = 8,
    edge_px: int = 256,
    tubule_width_px: float | None = None,
    report: Callable[[str], None] = lambda line: print(line, flush=True),
) -> str:
    """Measures the model on phantoms that no training uses and returns the digest of the amended folder."""
    from cisterna.ernet.frames import view_of
    from cisterna.ernet.noise_curve import FIRST_SEED, USUAL_WIDTH_PX, CurvePhantoms, noise_curve
    from cisterna.graph import trace_network

    try:
        model = read_model_folder(folder)
    except (OSError, ModelError) as error:
        raise UsageError(str(error)) from error
    if not model.family.startswith(FAMILY):
        raise UsageError(f"{model.name} is of family {model.family}: noise curves are measured of ERnets")
    known = model.spec.get("tubule_width_px")
    if count < 1 or edge_px < 32:
        raise UsageError(f"{count} phantoms of {edge_px} px: give at least one of at least 32 px")
    try:
        phantoms = CurvePhantoms(
            seeds=range(FIRST_SEED, FIRST_SEED + count),
            edge_px=edge_px,
            tubule_width_px=float(tubule_width_px or known or USUAL_WIDTH_PX),
        )
    except ValueError as error:
        raise UsageError(str(error)) from error
    network = onnx_network(folder, model)
    pixel_um = float(model.spec["pixel_size_um"])
    curve = noise_curve(network, trace_network, pixel_um, view_of(model.spec), phantoms, report)
    return amend_model_folder(folder, {"noise_curve": curve})


def onnx_network(folder: Path, model: Model) -> Callable[[Any], Any]:
    """The network as Triton runs it: its ONNX file in onnxruntime, on one thread."""
    try:
        import onnxruntime
    except ModuleNotFoundError as error:
        raise UsageError("a noise curve needs onnxruntime: pip install 'cisterna[train]'") from error
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = 1
    path = folder / str(model.spec["onnx"]["file"])
    session = onnxruntime.InferenceSession(str(path), settings, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda frames: np.asarray(session.run(None, {name: frames})[0])


def after_training(train: Callable[[argparse.Namespace], int]) -> Callable[[argparse.Namespace], int]:
    """A trainer's `run` that measures the noise curve of what it wrote, unless told not to."""

    def both(args: argparse.Namespace) -> int:
        code = train(args)
        if code == 0 and not args.no_noise_curve:
            print("measuring the noise curve", file=sys.stderr, flush=True)
            write_noise_curve(args.folder, report=lambda line: print(line, file=sys.stderr, flush=True))
        return code

    return both
