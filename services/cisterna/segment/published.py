"""A published ASEM checkpoint as a model folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cisterna.segment.unet import CONTEXT, STRIDE, flop_per_voxel, load_asem, topology_of


def write_published_model(
    checkpoint: str | Path,
    folder: str | Path,
    *,
    class_name: str,
    voxel_size_nm: Sequence[float],
    intensity_rule: str = "clahe",
    licence: str = "BSD-3-Clause",
) -> str:
    """Import a checkpoint ``{"model_state_dict": …}`` strictly and write ``folder``; its last part is the model's name.

    Args:
        checkpoint: see `load_asem`.
        folder: of the model.
        class_name: what it segments.
        voxel_size_nm: z, y, x that it was trained on.
        intensity_rule: ``clahe`` as the published networks were trained, or ``range`` for volumes equalised before.
        licence: of the weights.

    Returns:
        The model's digest.

    Raises:
        ValueError: the checkpoint does not fit (`load_asem`), or a rule or voxel size that does not exist.
    """
    from cisterna.models import write_model_folder

    if intensity_rule not in ("clahe", "range"):
        raise ValueError(f"intensity_rule must be 'clahe' or 'range', got {intensity_rule!r}")
    if len(voxel_size_nm) != 3 or not all(0 < v < 1e6 for v in voxel_size_nm):
        raise ValueError(f"voxel_size_nm must be three positive numbers (z, y, x), got {tuple(voxel_size_nm)}")
    weights = load_asem(checkpoint).state_dict()
    topology = topology_of(weights)
    spec = {
        "name": Path(folder).name,
        "family": "asem",
        "class": class_name,
        "topology": topology,
        "padding": "valid",
        "context": CONTEXT,
        "stride": STRIDE,
        "voxel_size_nm": [float(v) for v in voxel_size_nm],
        "polarity": "dark_membranes",
        "intensity": {"rule": intensity_rule, "to": [-1.0, 1.0]},
        "flop_per_voxel": round(flop_per_voxel(topology["num_fmaps"], topology["fmap_inc_factor"])),
        "demo": False,
        "licence": licence,
        "training": {"checkpoint": Path(checkpoint).name},
    }
    return write_model_folder(folder, spec, {key: value.numpy() for key, value in weights.items()})
