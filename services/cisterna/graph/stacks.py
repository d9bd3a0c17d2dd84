"""One time point of a z-stack whose sections were segmented one by one: its network in three dimensions, as rows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import ndimage

from cisterna.graph.areas import area_shares
from cisterna.graph.confidence import confidences
from cisterna.graph.figures import apparent_width
from cisterna.graph.metrics import network_metrics
from cisterna.graph.network import Network
from cisterna.graph.parameters import CLASS_INDEX, FigureParameters, TracingParameters
from cisterna.graph.snr import LOW, NOT_APPLICABLE, OK, SNR_LIMIT, signal_to_noise
from cisterna.graph.tracing import trace_network
from cisterna.tables.networks import RESAMPLED
from cisterna.tables.schema import Table
from cisterna.tables.stacks import STACK_EDGES, STACK_FRAMES, STACK_NODES

REACH_VOXELS = 1.5
"""A tip ends in a sheet within half its tubule's width and so many of the finest voxel edges of one."""


@dataclass(frozen=True)
class StackTables:
    """Rows of the three tables of stacks."""

    stack_frames: pd.DataFrame
    stack_nodes: pd.DataFrame
    stack_edges: pd.DataFrame


TABLES: tuple[Table, ...] = (STACK_FRAMES, STACK_NODES, STACK_EDGES)
"""In the order of the fields of `StackTables`."""


def trace_stack(
    classes: np.ndarray,
    confidence: np.ndarray | None,
    raw: np.ndarray,
    frame: int,
    voxel_size_um: Sequence[float],
    frame_interval_s: float,
    parameters: TracingParameters,
    wanted: FigureParameters | None = None,
) -> tuple[Network, StackTables]:
    """Traces the class maps (z, y, x) of all sections of a time point as one network and fills its rows.

    `voxel_size_um` is z, y, x; `confidence` is uint8. Figures of flat frames (meshes, areas, sheets as nodes) are not
    made: they mean nothing, or something else, in a volume. Raises ValueError for arrays of other shapes.
    """
    wanted = wanted or FigureParameters()
    if classes.ndim != 3 or any(a is not None and a.shape != classes.shape for a in (confidence, raw)):
        raise ValueError(
            f"sections are (z, y, x), one shape for classes, confidence and raw; classes are {classes.shape}"
        )
    traced = np.isin(classes, [CLASS_INDEX[name] for name in parameters.classes])
    network = trace_network(traced, voxel_size_um, parameters)
    kind = _ends(network, classes, parameters.classes)
    if confidence is None:
        sure = np.full(len(network.positions), math.nan), np.full(len(network.ends), math.nan)
    else:
        found = confidences(network, classes, confidence, parameters.classes)
        sure = found.nodes, found.edges
    row: dict[str, object] = {"frame": frame, "time_s": frame * frame_interval_s, "sections": len(classes)}
    row |= _signal_to_noise(raw, classes) | _figures(network, kind, classes, confidence)
    row |= _intervals(network, sure[1] if confidence is not None else None, wanted, frame)
    nodes = network.nodes.assign(frame=frame, kind=kind, confidence=sure[0], snr_flag=str(row["snr_flag"]))
    edges = network.edges.assign(
        frame=frame,
        confidence=sure[1],
        apparent_width=apparent_width(network.width_um, wanted.psf_fwhm_um),
        snr_flag=str(row["snr_flag"]),
    )
    return network, StackTables(
        STACK_FRAMES.frame([{name: row[name] for name in STACK_FRAMES.names}]),
        STACK_NODES.frame(nodes[STACK_NODES.names]),
        STACK_EDGES.frame(edges[STACK_EDGES.names]),
    )


def join(parts: Sequence[StackTables]) -> StackTables:
    """All time points in one set of tables. Raises ValueError when one occurs twice."""
    return StackTables(*(t.frame(pd.concat([getattr(p, t.name) for p in parts], ignore_index=True)) for t in TABLES))


def _signal_to_noise(raw: np.ndarray, classes: np.ndarray) -> dict[str, object]:
    power = [signal_to_noise(r, c > 0).power for r, c in zip(raw, classes, strict=True)]
    known = [p for p in power if math.isfinite(p)]
    middle = float(np.median(known)) if known else math.nan
    flag = NOT_APPLICABLE if not known else OK if middle >= SNR_LIMIT else LOW
    return {"snr_power": middle, "snr_sections": len(known), "snr_flag": flag}


def _figures(
    network: Network, kind: np.ndarray, classes: np.ndarray, confidence: np.ndarray | None
) -> dict[str, object]:
    found: dict[str, object] = dict(network_metrics(len(network.positions), network.ends, network.length_um))
    ends = {"growth_tips": "tip", "border_ends": "border", "sheet_contacts": "sheet", "sbt_contacts": "sbt"}
    found |= {name: int((kind == k).sum()) for name, k in ends.items()}
    for name, values in (("length", network.length_um), ("width", network.width_um)):
        found[f"mean_{name}_um"] = float(values.mean()) if len(values) else math.nan
        found[f"median_{name}_um"] = float(np.median(values)) if len(values) else math.nan
    volume = float(classes.size * np.prod(network.spacing_um))
    shares = area_shares(classes, confidence)
    return (
        found
        | shares
        | {
            "er_share_of_volume": shares["er_share_of_image"],
            "volume_um3": volume,
            "junctions_per_um3": int((network.degree >= 3).sum()) / volume if volume else math.nan,
            "length_um_per_um3": float(network.length_um.sum()) / volume if volume else math.nan,
        }
    )


def _intervals(network: Network, keep: np.ndarray | None, wanted: FigureParameters, frame: int) -> dict[str, object]:
    from cisterna.graph.resampling import intervals

    bounds = dict.fromkeys(RESAMPLED, (math.nan, math.nan))
    if keep is not None and wanted.resamples:
        nodes = len(network.positions)
        bounds |= intervals(nodes, network.ends, network.length_um, keep, wanted.resamples, (frame,))
    return {
        f"{name}_{end}": value
        for name, pair in bounds.items()
        for end, value in zip(("low", "high"), pair, strict=True)
    }


def _ends(network: Network, classes: np.ndarray, traced: tuple[str, ...]) -> np.ndarray:
    """`network.kind` with tips that touch a sheet or sheet-based tubules called `sheet` or `sbt`."""
    kind = network.kind.copy()
    tips = np.flatnonzero(kind == "tip")
    if not len(tips):
        return kind
    at = tuple(np.clip(np.rint(network.positions[tips]).astype(np.int64), 0, np.array(classes.shape) - 1).T)
    half = np.zeros(len(network.positions))
    np.maximum.at(half, network.ends.ravel(), np.repeat(network.width_um, 2) / 2)
    reach = half[tips] + REACH_VOXELS * float(network.spacing_um.min())
    for name in ("sbt", "sheet"):
        other = classes == CLASS_INDEX[name]
        if name not in traced and other.any():
            distance = ndimage.distance_transform_edt(~other, sampling=network.spacing_um)
            kind[tips[distance[at] <= reach]] = name
    return kind
