"""The cells of a movie, a row each."""

from __future__ import annotations

import pandas as pd

from cisterna.report.page import Grid, Section
from cisterna.report.tallies import median_and_spread

MEANS = (
    ("area_um2", "µm²"),
    ("nodes", "nodes"),
    ("edges", "edges"),
    ("largest_component_node_share", "assembly"),
    ("largest_component_node_share_with_sheets", "with sheets"),
    ("degree_assortativity", "assortativity"),
    ("junctions_per_um2", "junctions / µm²"),
    ("length_um_per_um2", "µm / µm²"),
    ("tubule_share", "tubule"),
    ("sheet_share", "sheet"),
    ("sbt_share", "SBT"),
)


def cell_sections(cells: pd.DataFrame) -> list[Section]:
    """A table of the cells' means over their frames; nothing where no cells were labelled."""
    if not len(cells):
        return []
    rows = []
    for cell, own in cells.groupby("cell"):
        noisy = int((own["snr_flag"] == "low").sum())
        rows.append((str(cell), len(own), noisy, *(median_and_spread(own[name])[2] for name, _ in MEANS)))
    header = ("cell", "frames", "SNR low", *(label for _, label in MEANS))
    note = "Means over the frames. Tubules that leave a cell count up to its border. The whole table is cells."
    return [Section("Cells", grids=[Grid("Cells", header, rows, note, wide=True)])]
