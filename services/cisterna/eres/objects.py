"""The table of objects, from the sums over their voxels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from cisterna.eres.shape import principal_axes, sphericity, surface_area_nm2
from cisterna.eres.sums import ObjectSums
from cisterna.tables.volumes import OBJECTS

NO_IMAGE = "no image was measured"
"""Reason for a missing diameter until a profile was looked for."""


def objects_frame(
    class_name: str, sums: ObjectSums, voxel_size_nm: Sequence[float], volume_shape: Sequence[int]
) -> pd.DataFrame:
    """Rows of the `objects` table for one class; ``er_distance_nm`` is inf and ``site_id`` 0 until classified.

    ``sums.label`` is the object id. Positions in nm: the centre of voxel i lies at (i + 0.5) × voxel size.
    """
    size = np.asarray(voxel_size_nm, np.float64)
    voxels = sums.voxels.astype(np.float64)
    volume = voxels * float(np.prod(size))
    centroid = (sums.position / voxels[:, None] + 0.5) * size if len(sums) else np.zeros((0, 3))
    low, high = sums.low * size, (sums.high + 1) * size
    with np.errstate(invalid="ignore", divide="ignore"):
        probability = sums.probability / (255.0 * sums.graded)
        grey = sums.grey / sums.imaged
    area = surface_area_nm2(sums, voxel_size_nm)
    lengths, along = principal_axes(sums, voxel_size_nm)
    rows = {
        "class": [class_name] * len(sums),
        "object_id": sums.label,
        "voxels": sums.voxels,
        "volume_nm3": volume,
        "diameter_mask_nm": np.cbrt(6.0 * volume / np.pi),
        "diameter_image_nm": np.full(len(sums), np.nan),
        "diameter_image_reason": [NO_IMAGE] * len(sums),
        "surface_area_nm2": area,
        "sphericity": sphericity(volume, area),
        "axis_major_nm": lengths[:, 0],
        "axis_middle_nm": lengths[:, 1],
        "axis_minor_nm": lengths[:, 2],
        "mean_probability": probability,
        "mean_grey": grey,
        "touches_edge": np.any((sums.low == 0) | (sums.high == np.asarray(volume_shape) - 1), axis=1),
        "er_distance_nm": np.full(len(sums), np.inf),
        "er_thickness_nm": np.full(len(sums), np.nan),
        "er_curvature_per_um": np.full(len(sums), np.nan),
        "site_id": np.zeros(len(sums), np.uint32),
        "overlap_share": np.zeros(len(sums)),
        "excluded": [""] * len(sums),
    }
    for i, axis in enumerate("zyx"):
        rows[f"centroid_{axis}_nm"] = centroid[:, i]
        rows[f"major_{axis}"] = along[:, i]
        rows[f"min_{axis}_nm"] = low[:, i]
        rows[f"max_{axis}_nm"] = high[:, i]
    return OBJECTS.frame(pd.DataFrame(rows))
