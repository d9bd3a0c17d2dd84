"""Every figure of a network, or of the part of one in a cell, under its exact name."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from cisterna.graph.metrics import network_metrics
from cisterna.graph.parameters import FigureParameters
from cisterna.graph.skeleton import Floats, Ints
from cisterna.tables.networks import GRAPH_FIGURES, RESAMPLED

APPARENT_PSF = 1.2
"""Below this many PSF widths the distance transform measures the microscope, not the tubule."""

ENDS = {"growth_tips": "tip", "border_ends": "border", "sheet_contacts": "sheet", "sbt_contacts": "sbt"}
WITH_SHEETS = GRAPH_FIGURES
"""Figures taken twice: on tubules only, and with each connected sheet as one node (`…_with_sheets`)."""


@dataclass(frozen=True)
class Part:
    """What is measured: `nodes` nodes of a `kind` each, edges `ends` (m, 2) with their length, width and probability.

    `keep` (m,) is the probability that an edge is there, None where no confidence is known. `mesh_area_um2` holds the
    enclosed polygons. `assembly` is the graph with sheets: number of nodes, ends, number of sheets.
    """

    nodes: int
    kind: np.ndarray
    ends: Ints
    length_um: Floats
    width_um: Floats
    keep: Floats | None
    mesh_area_um2: Floats
    area_um2: float
    assembly: tuple[int, Ints, int]


def figures(part: Part, parameters: FigureParameters, seed: tuple[int, ...]) -> dict[str, float | int]:
    """All figures of a part; NaN where one has no value. `seed` makes the intervals repeatable."""
    found = network_metrics(part.nodes, part.ends, part.length_um)
    found |= {name: int((part.kind == kind).sum()) for name, kind in ENDS.items()}
    for name, values in (("length", part.length_um), ("width", part.width_um), ("mesh_area", part.mesh_area_um2)):
        unit = "um2" if name == "mesh_area" else "um"
        found[f"mean_{name}_{unit}"] = float(values.mean()) if len(values) else math.nan
        found[f"median_{name}_{unit}"] = float(np.median(values)) if len(values) else math.nan
    narrow = apparent_width(part.width_um, parameters.psf_fwhm_um)
    found["apparent_width_share"] = float(narrow.mean()) if len(narrow) else math.nan
    found["meshes"] = len(part.mesh_area_um2)
    found["area_um2"] = part.area_um2
    found["junctions_per_um2"] = found["junctions"] / part.area_um2 if part.area_um2 > 0 else math.nan
    found["length_um_per_um2"] = found["total_length_um"] / part.area_um2 if part.area_um2 > 0 else math.nan
    nodes, ends, sheets = part.assembly
    joined = network_metrics(nodes, ends, np.zeros(len(ends)))
    found["sheets"] = sheets
    found |= {f"{name}_with_sheets": joined[name] for name in WITH_SHEETS}
    return found | _intervals(part, parameters, seed)


def apparent_width(width_um: Floats, psf_fwhm_um: float | None) -> Floats:
    """Per edge 1.0 where its width is below 1.2 PSF widths, else 0.0; NaN where the PSF is not known."""
    if psf_fwhm_um is None:
        return np.full(len(width_um), math.nan)
    return (width_um < APPARENT_PSF * psf_fwhm_um).astype(np.float64)


def _intervals(part: Part, parameters: FigureParameters, seed: tuple[int, ...]) -> dict[str, float | int]:
    # numba is loaded with the first frame, not with the service.
    from cisterna.graph.resampling import intervals

    found: dict[str, float | int] = {}
    if part.keep is None or parameters.resamples == 0:
        bounds = dict.fromkeys(RESAMPLED, (math.nan, math.nan))
    else:
        bounds = intervals(part.nodes, part.ends, part.length_um, part.keep, parameters.resamples, seed)
    for name, (low, high) in bounds.items():
        found |= {f"{name}_low": low, f"{name}_high": high}
    return found
