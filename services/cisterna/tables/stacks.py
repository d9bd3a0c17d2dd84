"""Tables of networks traced in three dimensions: one row a time point, node and tubule of a z-stack."""

from __future__ import annotations

from cisterna.tables.networks import CONNECTIVITY, RESAMPLED
from cisterna.tables.schema import Column, Table

STACK_FRAMES = Table(
    "stack_frames",
    (
        Column("frame", "int64", "index", "time point, from 0"),
        Column("time_s", "float64", "s", "frame times the frame interval"),
        Column("sections", "int64", "count", "z sections"),
        Column("snr_power", "float64", "1", "median over the sections whose SNR is known (Lu et al. 2023)"),
        Column("snr_sections", "int64", "count", "sections whose SNR is known"),
        Column("snr_flag", "string", "-", "of that median: ok, low (below 5) or snr_not_applicable"),
        Column("nodes", "int64", "count", "nodes of every kind"),
        Column("edges", "int64", "count", "tubules, parallel ones and loops included"),
        *CONNECTIVITY,
        *(Column(f"degree_{d}", "int64", "count", f"nodes of degree {d}") for d in range(6)),
        Column("degree_6_or_more", "int64", "count", "nodes of degree 6 or more"),
        Column("junctions", "int64", "count", "nodes of degree 3 or more"),
        Column("multi_way_share", "float64", "1", "junctions with more than three branches over all junctions"),
        Column("loops", "int64", "count", "tubules that end where they start"),
        Column("parallel_edges", "int64", "count", "tubules beside another one between the same nodes"),
        Column("growth_tips", "int64", "count", "ends in the open: of kind tip"),
        Column("border_ends", "int64", "count", "ends where a tubule leaves the stack"),
        Column("sheet_contacts", "int64", "count", "ends in a sheet"),
        Column("sbt_contacts", "int64", "count", "ends in sheet-based tubules"),
        Column("total_length_um", "float64", "µm", "length of all tubules along their curves, z included"),
        Column("mean_length_um", "float64", "µm", "mean length of a tubule"),
        Column("median_length_um", "float64", "µm", "median length of a tubule"),
        Column("mean_width_um", "float64", "µm", "mean width of a tubule; along z no finer than the sections"),
        Column("median_width_um", "float64", "µm", "median width of a tubule"),
        Column("volume_um3", "float64", "µm³", "volume measured: the stack"),
        Column("junctions_per_um3", "float64", "1/µm³", "junctions over the volume"),
        Column("length_um_per_um3", "float64", "1/µm²", "length of all tubules over the volume"),
        Column("tubule_share", "float64", "1", "tubule voxels over ER voxels"),
        Column("sheet_share", "float64", "1", "sheet voxels over ER voxels"),
        Column("sbt_share", "float64", "1", "sheet-based tubule voxels over ER voxels"),
        Column("er_share_of_volume", "float64", "1", "ER voxels over all voxels"),
        Column("mean_confidence", "float64", "1", "mean class confidence over ER voxels"),
        *(
            Column(f"{name}_{bound}", "float64", "-", f"{word} end of the central 95 % of {name} over resampled edges")
            for name in RESAMPLED
            for bound, word in (("low", "lower"), ("high", "upper"))
        ),
    ),
    ("frame",),
)

_FLAG = Column("snr_flag", "string", "-", "of the time point: ok, low (below 5) or snr_not_applicable")

STACK_NODES = Table(
    "stack_nodes",
    (
        Column("frame", "int64", "index", "time point, from 0"),
        Column("node_id", "int64", "-", "node of that time point, from 0"),
        Column("z_um", "float64", "µm", "position; the centre of the first voxel is 0"),
        Column("y_um", "float64", "µm", "position; the centre of the first voxel is 0"),
        Column("x_um", "float64", "µm", "position; the centre of the first voxel is 0"),
        Column("degree", "int64", "count", "branches; a loop counts twice"),
        Column("kind", "string", "-", "junction, tip, border, sheet, sbt, ring or isolated"),
        Column("component", "int64", "-", "connected component, 0 is the largest"),
        Column("confidence", "float64", "1", "mean probability of the traced classes around it"),
        _FLAG,
    ),
    ("frame", "node_id"),
)

STACK_EDGES = Table(
    "stack_edges",
    (
        Column("frame", "int64", "index", "time point, from 0"),
        Column("edge_id", "int64", "-", "edge of that time point, from 0"),
        Column("node_a", "int64", "-", "node where the path starts"),
        Column("node_b", "int64", "-", "node where the path ends; node_a for a loop"),
        Column("length_um", "float64", "µm", "length along the smoothed curve"),
        Column("width_um", "float64", "µm", "mean width of the mask along the tubule"),
        Column("component", "int64", "-", "connected component, 0 is the largest"),
        Column("path_zyx_um", "list<float32>", "µm", "curve z0, y0, x0, z1, y1, x1 … from node_a to node_b"),
        Column("confidence", "float64", "1", "mean probability of the traced classes along the curve"),
        Column(
            "apparent_width", "float64", "-", "1 where narrower than 1.2 PSF widths, else 0; NaN without psf_fwhm_um"
        ),
        _FLAG,
    ),
    ("frame", "edge_id"),
)
