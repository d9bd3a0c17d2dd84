"""What is measured on one traced frame: the whole of it, and the part of it in each cell."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cisterna.graph.assembly import Assembly, with_sheets
from cisterna.graph.cells import inside, label_at, share_inside
from cisterna.graph.confidence import Confidence, confidences
from cisterna.graph.contacts import Contacts, contacts
from cisterna.graph.figures import Part
from cisterna.graph.meshes import Meshes, meshes
from cisterna.graph.network import Network
from cisterna.graph.skeleton import Ints


@dataclass(frozen=True)
class Measured:
    """A traced frame with what its class map says of it. `kind` (n,) knows contacts with sheets from growth tips."""

    network: Network
    confidence: Confidence
    known: bool
    contacts: Contacts
    kind: np.ndarray
    meshes: Meshes
    assembly: Assembly

    def whole(self) -> Part:
        n = self.network
        return Part(
            nodes=len(n.positions),
            kind=self.kind,
            ends=n.ends,
            length_um=n.length_um,
            width_um=n.width_um,
            keep=self.confidence.edges if self.known else None,
            mesh_area_um2=self.meshes.area_um2,
            area_um2=float(np.prod(n.mask.shape) * np.prod(n.spacing_um)),
            assembly=(self.assembly.nodes, self.assembly.ends, self.assembly.sheets),
        )

    def by_cell(self, labels: np.ndarray) -> dict[int, Part]:
        """The part in each cell of a label image (y, x), by label.

        Nodes belong to the cell under them, meshes to the one under their middle, areas of sheet to the one with most
        of their pixels. A tubule that leaves a cell counts there up to its border, where it ends in a `border` end.
        """
        n, pixels = self.network, np.bincount(labels.ravel())
        node_cell, point_cell = label_at(labels, n.positions), label_at(labels, n.lines.points)
        mesh_cell = label_at(labels, self.meshes.middle_px)
        joined_cell = np.zeros(self.assembly.nodes, np.int64)
        joined_cell[self.assembly.node_name] = node_cell
        if self.contacts.areas:
            joined_cell[-self.contacts.areas :] = _areas_cells(self.contacts, labels)
        found = {}
        for cell in np.flatnonzero(pixels[1:]).tolist():
            cell += 1
            part = inside(node_cell == cell, n.ends)
            share = np.where(part.leaves, share_inside(point_cell, n.lines.start, part.edges, cell), 1.0)
            joined = inside(joined_cell == cell, self.assembly.ends)
            found[cell] = Part(
                nodes=part.nodes,
                kind=np.concatenate([self.kind[part.own], np.full(part.nodes - len(part.own), "border", object)]),
                ends=part.ends,
                length_um=n.length_um[part.edges] * share,
                width_um=n.width_um[part.edges],
                keep=self.confidence.edges[part.edges] if self.known else None,
                mesh_area_um2=self.meshes.area_um2[mesh_cell == cell],
                area_um2=float(pixels[cell] * np.prod(n.spacing_um)),
                assembly=(
                    joined.nodes,
                    joined.ends,
                    int((joined.own >= self.assembly.nodes - self.contacts.areas).sum()),
                ),
            )
        return found


def measure(network: Network, classes: np.ndarray, confidence: np.ndarray | None, traced: tuple[str, ...]) -> Measured:
    """Contacts, confidences, meshes and the graph with sheets of a network traced on a class map (y, x)."""
    sure = np.full(classes.shape, 255, np.uint8) if confidence is None else confidence
    touched = contacts(network, classes, traced)
    certain = confidences(network, classes, sure, traced)
    if confidence is None:
        certain = Confidence(np.full_like(certain.nodes, np.nan), np.full_like(certain.edges, np.nan))
    return Measured(
        network,
        certain,
        confidence is not None,
        touched,
        touched.kind(network),
        meshes(network),
        with_sheets(len(network.positions), network.ends, network.lines.start, touched),
    )


def _areas_cells(touched: Contacts, labels: np.ndarray) -> Ints:
    """For each area of sheet the cell with most of its pixels (0 where that is none)."""
    on = touched.labels > 0
    pairs = (touched.labels[on].astype(np.int64) - 1) * (int(labels.max()) + 1) + labels[on]
    counts = np.bincount(pairs, minlength=touched.areas * (int(labels.max()) + 1))
    return np.asarray(counts.reshape(touched.areas, -1).argmax(axis=1))
