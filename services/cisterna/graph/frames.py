"""The tables of traced frames, and how they travel from task to task."""

from __future__ import annotations

import io
import itertools
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from cisterna.graph.areas import area_shares, cell_shares
from cisterna.graph.cells import label_at
from cisterna.graph.figures import apparent_width, figures
from cisterna.graph.flicker import class_changes
from cisterna.graph.measuring import measure
from cisterna.graph.multi_way import multi_way_rows
from cisterna.graph.network import Network
from cisterna.graph.parameters import CLASS_INDEX, FigureParameters, TracingParameters
from cisterna.graph.snr import signal_to_noise
from cisterna.graph.tracing import trace_network
from cisterna.tables.networks import CELLS, EDGES, FRAMES, MULTI_WAY, NODES
from cisterna.tables.schema import Table

_EPOCH = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True)
class FrameTables:
    """Rows of the tables of traced frames; junction_id and tip_id are 0 until they are tracked."""

    frames: pd.DataFrame
    nodes: pd.DataFrame
    edges: pd.DataFrame
    cells: pd.DataFrame
    multi_way: pd.DataFrame


TABLES: tuple[Table, ...] = (FRAMES, NODES, EDGES, CELLS, MULTI_WAY)
"""In the order of the fields of `FrameTables`."""


def trace_frame(
    classes: np.ndarray,
    confidence: np.ndarray | None,
    raw: np.ndarray,
    frame: int,
    pixel_size_um: Sequence[float],
    frame_interval_s: float,
    parameters: TracingParameters,
    wanted: FigureParameters | None = None,
    cells: np.ndarray | None = None,
    before: np.ndarray | None = None,
    after: np.ndarray | None = None,
) -> tuple[Network, FrameTables]:
    """Traces one class map (y, x) and fills its rows. `confidence` is uint8, `raw` the frame as recorded.

    `before` and `after` are the class maps of the frames around it; without them what they tell stays NaN.

    `cells` (y, x) labels the cells (0: none); without it the table cells has no rows. Raises ValueError where its shape
    is another.
    """
    wanted = wanted or FigureParameters()
    if cells is not None and cells.shape != classes.shape:
        raise ValueError(f"the cell labels are {cells.shape}, the frame is {classes.shape}: they must agree")
    traced = np.zeros(classes.shape, bool)
    for name in parameters.classes:
        traced |= classes == CLASS_INDEX[name]
    network = trace_network(traced, pixel_size_um, parameters)
    snr = signal_to_noise(raw, classes > 0)
    measured = measure(network, classes, confidence, parameters.classes)
    found = figures(measured.whole(), wanted, (frame,)) | area_shares(classes, confidence)
    found |= class_changes(before, classes, after)
    about: dict[str, object] = {"frame": frame, "time_s": frame * frame_interval_s}
    row = about | {"snr_power": snr.power, "snr_mean_std": snr.mean_std, "snr_flag": snr.flag}
    rows = [_row(FRAMES, row | found)]
    cell_rows = []
    if cells is not None:
        for cell, part in measured.by_cell(cells).items():
            own = figures(part, wanted, (frame, cell)) | cell_shares(classes, confidence, cells, cell)
            cell_rows.append(_row(CELLS, about | {"cell": cell, "snr_flag": snr.flag} | own))
    nodes = network.nodes.assign(
        frame=frame,
        junction_id=0,
        tip_id=0,
        kind=measured.kind,
        confidence=measured.confidence.nodes,
        touches_sheet=measured.contacts.node_sheet,
        touches_sbt=measured.contacts.node_sbt,
        cell=label_at(cells, network.positions) if cells is not None else 0,
        snr_flag=snr.flag,
    )
    edges = network.edges.assign(
        frame=frame,
        confidence=measured.confidence.edges,
        sheet_contact=measured.contacts.edge_sheet,
        sbt_contact=measured.contacts.edge_sbt,
        apparent_width=apparent_width(network.width_um, wanted.psf_fwhm_um),
        cell=label_at(cells, _middles(network)) if cells is not None else 0,
        snr_flag=snr.flag,
    )
    return network, FrameTables(
        FRAMES.frame(rows),
        NODES.frame(nodes[NODES.names]),
        EDGES.frame(edges[EDGES.names]),
        CELLS.frame(cell_rows),
        MULTI_WAY.frame(multi_way_rows(network, frame, snr.flag)),
    )


def _row(table: Table, values: Mapping[str, object]) -> dict[str, object]:
    return {name: values[name] for name in table.names}


def _middles(network: Network) -> np.ndarray:
    start = network.lines.start
    return np.asarray(network.lines.points[(start[:-1] + start[1:] - 1) // 2])


def join(parts: Sequence[FrameTables]) -> FrameTables:
    """All frames of a movie in one set of tables. Raises ValueError when a frame occurs twice."""
    if not parts:
        return FrameTables(*(table.frame() for table in TABLES))
    return FrameTables(
        *(table.frame(pd.concat([getattr(p, table.name) for p in parts], ignore_index=True)) for table in TABLES)
    )


def to_npz(tables: FrameTables) -> bytes:
    """The tables as an npz archive without time stamps: the same rows are the same bytes.

    It is not compressed: curves are noise to a compressor, and take most of its time and of the space.
    """
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        for table in TABLES:
            for name, array in _arrays(table, getattr(tables, table.name)).items():
                entry = zipfile.ZipInfo(f"{table.name}.{name}.npy", _EPOCH)
                data = io.BytesIO()
                np.lib.format.write_array(data, np.ascontiguousarray(array), allow_pickle=False)
                archive.writestr(entry, data.getvalue())
    return out.getvalue()


def from_npz(data: bytes) -> FrameTables:
    """Reads `to_npz`. Raises ValueError when the bytes are no such archive."""
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as archive:
            return FrameTables(*(_rows(table, archive) for table in TABLES))
    except (KeyError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"not a part of traced frames: {error}") from error


def _arrays(table: Table, rows: pd.DataFrame) -> dict[str, np.ndarray]:
    """All columns of one type as one array (rows, columns), texts and lists each as their own."""
    arrays: dict[str, np.ndarray] = {}
    for dtype, names in _plain_columns(table).items():
        arrays[dtype] = np.stack([rows[n].to_numpy(np.dtype(dtype)) for n in names], axis=1)
    for column in table.columns:
        values = rows[column.name]
        if column.dtype.startswith("list"):
            item = np.dtype(column.dtype[5:-1])
            lists = [np.asarray(v, item) for v in values]
            arrays[column.name] = np.concatenate([*lists, np.zeros(0, item)])
            arrays[f"{column.name}.lengths"] = np.array([len(v) for v in lists], np.int64)
        elif column.dtype == "string":
            arrays[column.name] = np.array(values.tolist(), dtype="U")
    return arrays


def _rows(table: Table, archive: np.lib.npyio.NpzFile) -> pd.DataFrame:
    columns: dict[str, object] = {}
    for dtype, names in _plain_columns(table).items():
        columns |= dict(zip(names, archive[f"{table.name}.{dtype}"].T, strict=True))
    for column in table.columns:
        if column.dtype.startswith("list"):
            values = archive[f"{table.name}.{column.name}"]
            ends = np.cumsum(archive[f"{table.name}.{column.name}.lengths"]).tolist()
            lists = (values[a:b] for a, b in itertools.pairwise([0, *ends]))
            columns[column.name] = pd.Series(np.fromiter(lists, object, len(ends)), dtype=object)
        elif column.dtype == "string":
            columns[column.name] = pd.Series(archive[f"{table.name}.{column.name}"].tolist(), dtype=object)
    return table.frame(pd.DataFrame(columns))


def _plain_columns(table: Table) -> dict[str, list[str]]:
    plain: dict[str, list[str]] = {}
    for column in table.columns:
        if not column.dtype.startswith("list") and column.dtype != "string":
            plain.setdefault(column.dtype, []).append(column.name)
    return plain
