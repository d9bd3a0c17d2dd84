"""Tables of the network room: one row a frame, node, edge and tracked junction."""

from __future__ import annotations

from cisterna.tables.schema import Column, Table

_FIGURES = (
    Column("density", "float64", "1", "2E/(N(N-1)); NaN below two nodes"),
    Column("transitivity", "float64", "1", "closed triples over all triples, simple graph"),
    Column("average_clustering", "float64", "1", "mean local clustering coefficient, simple graph"),
    Column("degree_assortativity", "float64", "1", "Pearson correlation of the degrees at edge ends"),
    Column("categorical_assortativity", "float64", "1", "assortativity with the degree as a category"),
    Column("components", "int64", "count", "connected components, isolated nodes included"),
    Column("largest_component_node_share", "float64", "1", "nodes in the largest component over all nodes"),
    Column("largest_component_edge_share", "float64", "1", "edges in the largest component over all edges"),
)

FRAMES = Table(
    "frames",
    (
        Column("frame", "int64", "index", "frame of the movie, from 0"),
        Column("time_s", "float64", "s", "frame times the frame interval"),
        Column("snr_power", "float64", "1", "mean squared signal over noise variance (Lu et al. 2023)"),
        Column("snr_mean_std", "float64", "1", "mean signal over noise standard deviation"),
        Column("snr_flag", "string", "-", "ok, low (below 5) or snr_not_applicable (clipped or missing background)"),
        Column("nodes", "int64", "count", "nodes of every kind"),
        Column("edges", "int64", "count", "tubules, parallel ones and loops included"),
        *_FIGURES,
        *(Column(f"degree_{d}", "int64", "count", f"nodes of degree {d}") for d in range(6)),
        Column("degree_6_or_more", "int64", "count", "nodes of degree 6 or more"),
        Column("total_length_um", "float64", "µm", "length of all tubules along their curves"),
        Column("tubule_share", "float64", "1", "tubule pixels over ER pixels"),
        Column("sheet_share", "float64", "1", "sheet pixels over ER pixels"),
        Column("sbt_share", "float64", "1", "sheet-based tubule pixels over ER pixels"),
        Column("er_share_of_image", "float64", "1", "ER pixels over all pixels"),
        Column("mean_confidence", "float64", "1", "mean class confidence over ER pixels"),
    ),
    ("frame",),
)

NODES = Table(
    "nodes",
    (
        Column("frame", "int64", "index", "frame of the movie, from 0"),
        Column("node_id", "int64", "-", "node of that frame, from 0"),
        Column("y_um", "float64", "µm", "position; the centre of the first pixel is 0"),
        Column("x_um", "float64", "µm", "position; the centre of the first pixel is 0"),
        Column("degree", "int64", "count", "branches; a loop counts twice"),
        Column("kind", "string", "-", "junction, tip, border, ring or isolated"),
        Column("component", "int64", "-", "connected component, 0 is the largest"),
        Column("junction_id", "int64", "-", "track in the junctions table; 0 for none"),
    ),
    ("frame", "node_id"),
)

EDGES = Table(
    "edges",
    (
        Column("frame", "int64", "index", "frame of the movie, from 0"),
        Column("edge_id", "int64", "-", "edge of that frame, from 0"),
        Column("node_a", "int64", "-", "node where the path starts"),
        Column("node_b", "int64", "-", "node where the path ends; node_a for a loop"),
        Column("length_um", "float64", "µm", "length along the smoothed curve"),
        Column("width_um", "float64", "µm", "mean width of the mask along the tubule"),
        Column("component", "int64", "-", "connected component, 0 is the largest"),
        Column("path_yx_um", "list<float32>", "µm", "curve y0, x0, y1, x1 … from node_a to node_b"),
    ),
    ("frame", "edge_id"),
)

JUNCTIONS = Table(
    "junctions",
    (
        Column("junction_id", "int64", "-", "track, from 1"),
        Column("first_frame", "int64", "index", "first frame with the junction"),
        Column("last_frame", "int64", "index", "last frame with the junction"),
        Column("lifetime_s", "float64", "s", "(last - first + 1) frame intervals"),
        Column("censored", "bool", "-", "present at the movie's start or end: the true lifetime is longer"),
        Column("mean_degree", "float64", "count", "mean number of branches over its sightings"),
        Column("y_um", "float64", "µm", "mean position over its sightings"),
        Column("x_um", "float64", "µm", "mean position over its sightings"),
        Column("changes", "int64", "count", "switches between three-way and multi-way"),
    ),
    ("junction_id",),
)
