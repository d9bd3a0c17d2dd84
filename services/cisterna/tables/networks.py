"""Tables of the network room: one row a frame, node, edge and tracked junction."""

from __future__ import annotations

from cisterna.tables.schema import Column, Table

CONNECTIVITY = (
    Column("density", "float64", "1", "2E/(N(N-1)); NaN below two nodes"),
    Column("transitivity", "float64", "1", "closed triples over all triples, simple graph"),
    Column("average_clustering", "float64", "1", "mean local clustering coefficient, simple graph"),
    Column("degree_assortativity", "float64", "1", "Pearson correlation of the degrees at edge ends"),
    Column("categorical_assortativity", "float64", "1", "assortativity with the degree as a category"),
    Column("components", "int64", "count", "connected components, isolated nodes included"),
    Column("largest_component_node_share", "float64", "1", "nodes in the largest component over all nodes"),
    Column("largest_component_edge_share", "float64", "1", "edges in the largest component over all edges"),
)
"""Figures of a graph without lengths, nodes and edges aside."""

GRAPH_FIGURES = ("nodes", "edges", *(c.name for c in CONNECTIVITY))
"""Names of all figures of a graph without lengths, in the order of every table and interval."""

RESAMPLED = (*GRAPH_FIGURES, "junctions", "multi_way_share", "total_length_um")
"""Figures with a 95 % interval, `…_low` and `…_high`."""

_TWICE = (
    Column("nodes_with_sheets", "int64", "count", "nodes, each connected sheet being one"),
    Column("edges_with_sheets", "int64", "count", "tubules between those nodes; parts that run along a sheet left out"),
    *(
        Column(f"{c.name}_with_sheets", c.dtype, c.unit, f"{c.text}; each connected sheet one node")
        for c in CONNECTIVITY
    ),
)

_PART = (
    Column("junctions", "int64", "count", "nodes of degree 3 or more"),
    Column("multi_way_share", "float64", "1", "junctions with more than three branches over all junctions"),
    Column("loops", "int64", "count", "tubules that end where they start"),
    Column("parallel_edges", "int64", "count", "tubules beside another one between the same nodes"),
    Column("growth_tips", "int64", "count", "ends in the open: of kind tip"),
    Column("border_ends", "int64", "count", "ends where a tubule leaves the frame (or the cell)"),
    Column("sheet_contacts", "int64", "count", "ends in a sheet"),
    Column("sbt_contacts", "int64", "count", "ends in sheet-based tubules"),
    Column("mean_length_um", "float64", "µm", "mean length of a tubule"),
    Column("median_length_um", "float64", "µm", "median length of a tubule"),
    Column("mean_width_um", "float64", "µm", "mean width of a tubule"),
    Column("median_width_um", "float64", "µm", "median width of a tubule"),
    Column("apparent_width_share", "float64", "1", "tubules narrower than 1.2 PSF widths; NaN without psf_fwhm_um"),
    Column("meshes", "int64", "count", "polygons that tubules enclose"),
    Column("mean_mesh_area_um2", "float64", "µm²", "mean area of a mesh between centre lines"),
    Column("median_mesh_area_um2", "float64", "µm²", "median area of a mesh between centre lines"),
    Column("area_um2", "float64", "µm²", "area measured: the frame, or the cell"),
    Column("junctions_per_um2", "float64", "1/µm²", "junctions over the area"),
    Column("length_um_per_um2", "float64", "1/µm", "length of all tubules over the area"),
    Column("sheets", "int64", "count", "connected areas of sheet and sheet-based tubules"),
    *_TWICE,
    *(
        Column(f"{name}_{bound}", "float64", "-", f"{word} end of the central 95 % of {name} over resampled edges")
        for name in RESAMPLED
        for bound, word in (("low", "lower"), ("high", "upper"))
    ),
)

_SNR_FLAG = "ok, low (below 5) or snr_not_applicable (clipped or missing background)"
_FLAG = Column("snr_flag", "string", "-", f"of the frame: {_SNR_FLAG}")
_FLAG_OF_SPAN = Column("snr_flag", "string", "-", "worst of its frames: low, else snr_not_applicable, else ok")

_COUNTS = (
    Column("nodes", "int64", "count", "nodes of every kind"),
    Column("edges", "int64", "count", "tubules, parallel ones and loops included"),
    *CONNECTIVITY,
    *(Column(f"degree_{d}", "int64", "count", f"nodes of degree {d}") for d in range(6)),
    Column("degree_6_or_more", "int64", "count", "nodes of degree 6 or more"),
    Column("total_length_um", "float64", "µm", "length of all tubules along their curves"),
    Column("tubule_share", "float64", "1", "tubule pixels over ER pixels"),
    Column("sheet_share", "float64", "1", "sheet pixels over ER pixels"),
    Column("sbt_share", "float64", "1", "sheet-based tubule pixels over ER pixels"),
    *(
        Column(f"{name}_confidence", "float64", "1", f"mean confidence of the pixels called {word}")
        for name, word in (("background", "background"), ("tubule", "tubule"), ("sheet", "sheet"), ("sbt", "SBT"))
    ),
)

FRAMES = Table(
    "frames",
    (
        Column("frame", "int64", "index", "frame of the movie, from 0"),
        Column("time_s", "float64", "s", "frame times the frame interval"),
        Column("snr_power", "float64", "1", "mean squared signal over noise variance (Lu et al. 2023)"),
        Column("snr_mean_std", "float64", "1", "mean signal over noise standard deviation"),
        Column("snr_flag", "string", "-", _SNR_FLAG),
        *_COUNTS,
        Column("er_share_of_image", "float64", "1", "ER pixels over all pixels"),
        Column("mean_confidence", "float64", "1", "mean class confidence over ER pixels"),
        Column(
            "changed_share",
            "float64",
            "1",
            "of the pixels that are ER here or in the frame before, those of another class than there; NaN in frame 0",
        ),
        Column(
            "flicker_share",
            "float64",
            "1",
            "of the pixels that are ER here, before or after, those whose class is another one here alone, the frames "
            "before and after agreeing; NaN in the first and last frame, as in the four that follow",
        ),
        Column(
            "background_flicker_share", "float64", "1", "of this frame's ER, what is background before and after it"
        ),
        *(
            Column(f"{name}_flicker_share", "float64", "1", f"of what is {word} before and after, the part not so here")
            for name, word in (("tubule", "tubule"), ("sheet", "sheet"), ("sbt", "SBT"))
        ),
        *_PART,
    ),
    ("frame",),
)

CELLS = Table(
    "cells",
    (
        Column("frame", "int64", "index", "frame of the movie, from 0"),
        Column("cell", "int64", "-", "label of the cell"),
        Column("time_s", "float64", "s", "frame times the frame interval"),
        Column("snr_flag", "string", "-", "that of the frame"),
        *_COUNTS,
        Column("er_share_of_cell", "float64", "1", "ER pixels over the cell's pixels"),
        Column("mean_confidence", "float64", "1", "mean class confidence over the cell's ER pixels"),
        *_PART,
    ),
    ("frame", "cell"),
)

MULTI_WAY = Table(
    "multi_way",
    (
        Column("frame", "int64", "index", "frame of the movie, from 0"),
        Column("merge_radius_px", "float64", "px", "junctions joined by a tubule of at most this length are one"),
        Column("junctions", "int64", "count", "junctions at this radius"),
        Column("multi_way", "int64", "count", "junctions with more than three branches at this radius"),
        Column("multi_way_share", "float64", "1", "multi_way over junctions"),
        Column("junctions_per_um2", "float64", "1/µm²", "junctions before merging over the convex hull of the nodes"),
        Column("width_um", "float64", "µm", "median tubule width"),
        Column("null_share", "float64", "1", "share of a pure three-way network of that density merged at this radius"),
        Column("traced_null_share", "float64", "1", "the same, drawn at that width and traced"),
        _FLAG,
    ),
    ("frame", "merge_radius_px"),
)

NODES = Table(
    "nodes",
    (
        Column("frame", "int64", "index", "frame of the movie, from 0"),
        Column("node_id", "int64", "-", "node of that frame, from 0"),
        Column("y_um", "float64", "µm", "position; the centre of the first pixel is 0"),
        Column("x_um", "float64", "µm", "position; the centre of the first pixel is 0"),
        Column("degree", "int64", "count", "branches; a loop counts twice"),
        Column("kind", "string", "-", "junction, tip, border, sheet, sbt, ring or isolated"),
        Column("component", "int64", "-", "connected component, 0 is the largest"),
        Column("junction_id", "int64", "-", "track in the junctions table; 0 for none"),
        Column("tip_id", "int64", "-", "track in the tips table; 0 for none"),
        Column("confidence", "float64", "1", "mean probability of the traced classes around it"),
        Column("touches_sheet", "bool", "-", "lies beside a sheet"),
        Column("touches_sbt", "bool", "-", "lies beside sheet-based tubules"),
        Column("cell", "int64", "-", "cell that it lies in; 0 for none"),
        _FLAG,
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
        Column("confidence", "float64", "1", "mean probability of the traced classes along the curve"),
        Column("sheet_contact", "float64", "1", "share of the curve beside a sheet"),
        Column("sbt_contact", "float64", "1", "share of the curve beside sheet-based tubules"),
        Column(
            "apparent_width", "float64", "-", "1 where narrower than 1.2 PSF widths, else 0; NaN without psf_fwhm_um"
        ),
        Column("cell", "int64", "-", "cell that its middle lies in; 0 for none"),
        _FLAG,
    ),
    ("frame", "edge_id"),
)

JUNCTIONS = Table(
    "junctions",
    (
        Column("junction_id", "int64", "-", "track, from 1"),
        Column("first_frame", "int64", "index", "first frame with the junction"),
        Column("last_frame", "int64", "index", "last frame with the junction"),
        Column("sightings", "int64", "count", "frames in which it was seen"),
        Column("lifetime_s", "float64", "s", "(last - first + 1) frame intervals"),
        Column("censored", "bool", "-", "birth or death was not seen: the true lifetime may be longer"),
        Column("began", "string", "-", "birth, split, or unseen: before the movie or out of view"),
        Column("ended", "string", "-", "death, merge, or unseen: after the movie or out of view"),
        Column("mean_degree", "float64", "count", "mean number of branches over its sightings"),
        Column("y_um", "float64", "µm", "mean position over its sightings"),
        Column("x_um", "float64", "µm", "mean position over its sightings"),
        Column("mean_step_um", "float64", "µm", "mean distance moved from one frame to the next; NaN for one sighting"),
        Column("changes", "int64", "count", "switches between three-way and multi-way"),
        _FLAG_OF_SPAN,
    ),
    ("junction_id",),
)

EPISODES = Table(
    "episodes",
    (
        Column("junction_id", "int64", "-", "track in the junctions table"),
        Column("episode", "int64", "-", "of that junction, from 1"),
        Column("state", "string", "-", "three_way or multi_way"),
        Column("first_frame", "int64", "index", "first frame in that state"),
        Column("last_frame", "int64", "index", "last frame before another state or the end"),
        Column("duration_s", "float64", "s", "(last - first + 1) frame intervals"),
        Column("censored", "bool", "-", "its begin or end was not seen: the true duration may be longer"),
        Column("began", "string", "-", "change, or how the junction began"),
        Column("ended", "string", "-", "change, or how the junction ended"),
        _FLAG_OF_SPAN,
    ),
    ("junction_id", "episode"),
)

EVENTS = Table(
    "events",
    (
        Column("frame", "int64", "index", "first frame that shows the event"),
        Column("time_s", "float64", "s", "frame times the frame interval"),
        Column("event", "string", "-", "birth, death, merge, split, to_multi_way or to_three_way"),
        Column("junction_id", "int64", "-", "track in the junctions table"),
        Column("partner_id", "int64", "-", "what it merged into or split off from; 0 for other events"),
        Column("y_um", "float64", "µm", "where the junction was first or last seen"),
        Column("x_um", "float64", "µm", "where the junction was first or last seen"),
        Column(
            "snr_flag", "string", "-", "worst of the frame and the one before: low, else snr_not_applicable, else ok"
        ),
    ),
    ("frame", "event", "junction_id"),
)

TIPS = Table(
    "tips",
    (
        Column("tip_id", "int64", "-", "track, from 1"),
        Column("first_frame", "int64", "index", "first frame with the tip"),
        Column("last_frame", "int64", "index", "last frame with the tip"),
        Column("sightings", "int64", "count", "frames in which it was seen"),
        Column("lifetime_s", "float64", "s", "(last - first + 1) frame intervals"),
        Column("censored", "bool", "-", "birth or death was not seen: the true lifetime may be longer"),
        Column("began", "string", "-", "birth, release (where a junction ended) or unseen"),
        Column("ended", "string", "-", "death, fusion (where a junction began) or unseen"),
        Column("y_um", "float64", "µm", "mean position over its sightings"),
        Column("x_um", "float64", "µm", "mean position over its sightings"),
        Column("mean_length_um", "float64", "µm", "mean length of its tubule"),
        Column("growth_um", "float64", "µm", "sum over its phases of growth"),
        Column("growth_s", "float64", "s", "time in phases of growth"),
        Column("growth_um_per_s", "float64", "µm/s", "growth over its time; NaN without"),
        Column("retraction_um", "float64", "µm", "sum over its phases of retraction"),
        Column("retraction_s", "float64", "s", "time in phases of retraction"),
        Column("retraction_um_per_s", "float64", "µm/s", "retraction over its time; NaN without"),
        _FLAG_OF_SPAN,
    ),
    ("tip_id",),
)

TIP_PHASES = Table(
    "tip_phases",
    (
        Column("tip_id", "int64", "-", "track in the tips table"),
        Column("phase", "int64", "-", "of that tip, from 1"),
        Column("direction", "string", "-", "growth or retraction"),
        Column("first_frame", "int64", "index", "frame in which it begins"),
        Column("last_frame", "int64", "index", "frame in which it ends"),
        Column("duration_s", "float64", "s", "(last - first) frame intervals"),
        Column("change_um", "float64", "µm", "change of the tubule's length; negative for retraction"),
        Column("speed_um_per_s", "float64", "µm/s", "size of the change over the duration"),
        _FLAG_OF_SPAN,
    ),
    ("tip_id", "phase"),
)

_SPANS = (
    Column("population", "string", "-", "what lives, changes or happens (docs/graph-dynamics.md)"),
    Column("n", "int64", "count", "tracks, episodes or events"),
    Column("censored", "int64", "count", "those whose begin or end was not seen"),
    Column("censored_share", "float64", "1", "censored over n"),
    Column("naive_mean_s", "float64", "s", "mean time seen, cut-off ones as if they were whole"),
    Column("whole_mean_s", "float64", "s", "mean time of those seen from begin to end"),
    Column("km_n", "int64", "count", "those whose begin was seen: the ones that Kaplan-Meier counts"),
    Column("km_median_s", "float64", "s", "Kaplan-Meier median; NaN when more than half outlive the movie"),
    Column("km_mean_s", "float64", "s", "area under the Kaplan-Meier curve up to km_horizon_s"),
    Column("km_horizon_s", "float64", "s", "longest time seen among them"),
    Column("observed_min", "float64", "min", "sum of all times seen"),
    Column("begins", "int64", "count", "begins seen"),
    Column("ends", "int64", "count", "ends seen"),
    Column("begins_per_min", "float64", "1/min", "begins over observed_min: per object and minute"),
    Column("ends_per_min", "float64", "1/min", "ends over observed_min: per object and minute"),
    Column("mean_by_rate_s", "float64", "s", "observed time over ends: the mean lifetime if the hazard is constant"),
    Column("low_snr_share", "float64", "1", "frames of the movie flagged low over all its frames"),
)
_CURVE = (
    Column("population", "string", "-", "as in the table dynamics"),
    Column("time_s", "float64", "s", "time since the begin at which some end"),
    Column("at_risk", "int64", "count", "those still followed just before"),
    Column("ended", "int64", "count", "ends at that time; 0 in the last row, the longest time seen"),
    Column("survival", "float64", "1", "share that lives on (Kaplan-Meier)"),
    Column("low", "float64", "1", "lower 95 % limit"),
    Column("high", "float64", "1", "upper 95 % limit"),
    Column("low_snr_share", "float64", "1", "frames of the movie flagged low over all its frames"),
)

DYNAMICS = Table("dynamics", _SPANS, ("population",))
SURVIVAL = Table("survival", _CURVE, ("population", "time_s"))

# The same figures of the static scene: what noise and method alone produce.
FLOOR = Table("floor", _SPANS, ("population",))
FLOOR_SURVIVAL = Table("floor_survival", _CURVE, ("population", "time_s"))
FLOOR_FRAMES = Table("floor_frames", FRAMES.columns, ("frame",))
FLOOR_SCENE = Table(
    "floor_scene",
    (
        Column("source_frame", "int64", "index", "frame of the movie that the static scene repeats"),
        Column("frames", "int64", "count", "frames of the static scene, each with noise of its own"),
        Column("background", "float64", "grey", "level of the background"),
        Column("mean_signal", "float64", "grey", "mean of the scene above the background, over the ER"),
        Column("noise_sigma", "float64", "grey", "standard deviation of the noise"),
        Column("noise_source", "string", "-", "background, or fine_detail where the background is clipped or missing"),
        Column("noise_correlation", "float64", "1", "of neighbouring pixels' noise"),
        Column("psf_sigma_px", "float64", "px", "Gaussian blur with which the classes fit the frame best"),
        Column("explained", "float64", "1", "share of the frame's variance that the scene explains"),
        Column("snr_power", "float64", "1", "mean squared signal over noise variance of the scene"),
    ),
    ("source_frame",),
)
