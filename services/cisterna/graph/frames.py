"""The tables of traced frames, and how they travel from task to task."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from cisterna.graph.areas import area_shares
from cisterna.graph.network import Network
from cisterna.graph.parameters import CLASS_INDEX, TracingParameters
from cisterna.graph.snr import signal_to_noise
from cisterna.graph.tracing import trace_network
from cisterna.tables.networks import EDGES, FRAMES, NODES
from cisterna.tables.schema import Table

_EPOCH = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True)
class FrameTables:
    """Rows of the tables frames, nodes and edges; junction_id is 0 until the junctions are tracked."""

    frames: pd.DataFrame
    nodes: pd.DataFrame
    edges: pd.DataFrame


def trace_frame(
    classes: np.ndarray,
    confidence: np.ndarray | None,
    raw: np.ndarray,
    frame: int,
    pixel_size_um: Sequence[float],
    frame_interval_s: float,
    parameters: TracingParameters,
) -> tuple[Network, FrameTables]:
    """Traces one class map (y, x) and fills its rows. `confidence` is uint8, `raw` the frame as recorded."""
    traced = np.isin(classes, [CLASS_INDEX[c] for c in parameters.classes])
    network = trace_network(traced, pixel_size_um, parameters)
    snr = signal_to_noise(raw, classes > 0)
    figures = network.metrics() | area_shares(classes, confidence)
    row: dict[str, object] = {name: figures[name] for name in FRAMES.names if name in figures}
    row |= {"frame": frame, "time_s": frame * frame_interval_s}
    row |= {"snr_power": snr.power, "snr_mean_std": snr.mean_std, "snr_flag": snr.flag}
    nodes = network.nodes.assign(frame=frame, junction_id=0)[NODES.names]
    edges = network.edges.assign(frame=frame)[EDGES.names]
    return network, FrameTables(FRAMES.frame([row]), NODES.frame(nodes), EDGES.frame(edges))


def join(parts: Sequence[FrameTables]) -> FrameTables:
    """All frames of a movie in one set of tables. Raises ValueError when a frame occurs twice."""
    if not parts:
        return FrameTables(FRAMES.frame(), NODES.frame(), EDGES.frame())
    return FrameTables(
        FRAMES.frame(pd.concat([p.frames for p in parts], ignore_index=True)),
        NODES.frame(pd.concat([p.nodes for p in parts], ignore_index=True)),
        EDGES.frame(pd.concat([p.edges for p in parts], ignore_index=True)),
    )


def to_npz(tables: FrameTables) -> bytes:
    """The tables as an npz archive without time stamps: the same rows are the same bytes."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for table, rows in ((FRAMES, tables.frames), (NODES, tables.nodes), (EDGES, tables.edges)):
            for name, array in _arrays(table, rows).items():
                entry = zipfile.ZipInfo(f"{table.name}.{name}.npy", _EPOCH)
                entry.compress_type = zipfile.ZIP_DEFLATED
                data = io.BytesIO()
                np.lib.format.write_array(data, np.ascontiguousarray(array), allow_pickle=False)
                archive.writestr(entry, data.getvalue())
    return out.getvalue()


def from_npz(data: bytes) -> FrameTables:
    """Reads `to_npz`. Raises ValueError when the bytes are no such archive."""
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as archive:
            return FrameTables(*(_rows(table, archive) for table in (FRAMES, NODES, EDGES)))
    except (KeyError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"not a part of traced frames: {error}") from error


def _arrays(table: Table, rows: pd.DataFrame) -> dict[str, np.ndarray]:
    arrays: dict[str, np.ndarray] = {}
    for column in table.columns:
        values = rows[column.name]
        if column.dtype.startswith("list"):
            item = np.dtype(column.dtype[5:-1])
            lists = [np.asarray(v, item) for v in values]
            arrays[column.name] = np.concatenate([*lists, np.zeros(0, item)])
            arrays[f"{column.name}.lengths"] = np.array([len(v) for v in lists], np.int64)
        elif column.dtype == "string":
            arrays[column.name] = np.array(values.tolist(), dtype="U")
        else:
            arrays[column.name] = values.to_numpy(np.dtype(column.dtype))
    return arrays


def _rows(table: Table, archive: np.lib.npyio.NpzFile) -> pd.DataFrame:
    columns: dict[str, object] = {}
    for column in table.columns:
        values = archive[f"{table.name}.{column.name}"]
        if column.dtype.startswith("list"):
            ends = np.cumsum(archive[f"{table.name}.{column.name}.lengths"])
            columns[column.name] = np.split(values, ends[:-1]) if len(ends) else []
        else:
            columns[column.name] = values.tolist() if column.dtype == "string" else values
    return table.frame(
        pd.DataFrame({k: pd.Series(v, dtype=object if isinstance(v, list) else None) for k, v in columns.items()})
    )
