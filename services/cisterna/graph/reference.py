"""The columns of the published CSV, measured on a graph made the reference program's way.

That graph is plain: parallel tubules are one edge and coordinates play no part. It stands beside our own figures
for comparison with published tables only; its known faults are listed in docs/graph.md.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence

import networkx as nx
import numpy as np
from scipy import ndimage
from skimage.morphology import skeletonize

REFERENCE_LEAST_PIXELS = 50
REFERENCE_COLUMNS = (
    *("Filename", "no_nodes", "no_edges", "assortativity", "clustering", "compo", "ratio_nodes", "ratio_edges"),
    *(f"degree {d}" for d in range(1, 7)),
)
"""The published CSV's columns in its order."""


def reference_columns(mask: np.ndarray, name: str) -> dict[str, object]:
    """Published columns of one frame's mask (y, x), in their order, values unrounded.

    8-connected parts of fewer than 50 pixels are dropped, the rest is thinned and read by sknw with its defaults. A
    frame without nodes has zero counts and NaN figures. "degree 6" counts nodes of degree 6 only: isolated nodes,
    which the reference program books there, and nodes of higher degree, which it leaves out, are in no column.
    Raises ValueError for masks that are not 2-D: the published table knows flat frames only.
    """
    if mask.ndim != 2:
        raise ValueError(f"reference columns exist for flat frames; this mask has {mask.ndim} axes")
    return columns_of(reference_graph(mask), name)


def columns_of(graph: nx.Graph, name: str) -> dict[str, object]:
    """The published columns of a plain graph."""
    nodes, edges = graph.number_of_nodes(), graph.number_of_edges()
    parts = sorted(nx.connected_components(graph), key=len, reverse=True)
    largest = graph.subgraph(parts[0]) if parts else graph
    degrees = [d for _, d in graph.degree()]
    with warnings.catch_warnings():
        # networkx divides by a zero variance where all degrees are equal: NaN is the answer.
        warnings.simplefilter("ignore", RuntimeWarning)
        assortativity = float(nx.degree_assortativity_coefficient(graph)) if edges else math.nan
    row: dict[str, object] = {
        "Filename": name,
        "no_nodes": nodes,
        "no_edges": edges,
        "assortativity": assortativity,
        "clustering": float(nx.average_clustering(graph)) if nodes else math.nan,
        "compo": len(parts),
        "ratio_nodes": largest.number_of_nodes() / nodes if nodes else math.nan,
        "ratio_edges": largest.number_of_edges() / edges if edges else math.nan,
    }
    for degree in range(1, 7):
        row[f"degree {degree}"] = degrees.count(degree)
    return row


def csv_text(rows: Sequence[Mapping[str, object]]) -> str:
    """Rows of `reference_columns` as the published file writes them: a header, counts whole, figures with 5 decimals.

    The components are written with decimals too, as they are there; figures without a value are `nan`.
    """
    lines = [",".join(REFERENCE_COLUMNS)]
    for row in rows:
        counts = [str(row[name]) for name in REFERENCE_COLUMNS[:3]]
        figures = [f"{float(str(row[name])):.5f}" for name in REFERENCE_COLUMNS[3:8]]
        lines.append(",".join([*counts, *figures, *(str(row[name]) for name in REFERENCE_COLUMNS[8:])]))
    return "\n".join(lines) + "\n"


def reference_graph(mask: np.ndarray) -> nx.Graph:
    """The plain graph of a mask: parts below 50 pixels dropped, scikit-image thinning, sknw defaults."""
    import sknw  # brings numba: loaded when these columns are asked for, not with the service

    labels, _ = ndimage.label(mask != 0, np.ones((3, 3)))
    large = np.bincount(labels.ravel()) >= REFERENCE_LEAST_PIXELS
    large[0] = False
    skeleton = skeletonize(large[labels])  # type: ignore[no-untyped-call]
    if not skeleton.any():
        return nx.Graph()
    return sknw.build_sknw(skeleton.astype(np.uint16))
