"""Tables of a volume run: objects, sites and the links between them.

Positions are in nm from the outer corner of voxel (0, 0, 0): the centre of voxel i lies at (i + 0.5) × voxel size.
"""

from __future__ import annotations

from cisterna.tables.schema import Column, Table

VESICLES = "copi"
TUBULAR = "tubular_eres"
"""Names of the two object classes that the rules speak of, as the `class` column has them."""

SITE_CLASSES = (
    "vesicular_standalone",
    "vesicular_mixed",
    "dispersed",
    "golgi_associated",
    "tubular_isolated",
    "tubular_mixed",
)
"""The six names of `counts`, in the order of reports."""


def _axes(stem: str, text: str) -> tuple[Column, ...]:
    return tuple(Column(f"{stem}_{axis}_nm", "float64", "nm", f"{text}, {axis}") for axis in "zyx")


OBJECTS = Table(
    "objects",
    (
        Column("class", "string", "", "organelle class of the object"),
        Column("object_id", "uint32", "", "value of the object's voxels in the label volume of its class"),
        Column("voxels", "int64", "voxels", "number of voxels"),
        Column("volume_nm3", "float64", "nm³", "voxels × voxel volume"),
        *_axes("centroid", "mean position of the voxel centres"),
        *_axes("min", "outer face of the bounding box, low side"),
        *_axes("max", "outer face of the bounding box, high side"),
        Column(
            "diameter_mask_nm", "float64", "nm", "diameter of the sphere of the same volume; moves with the threshold"
        ),
        Column(
            "diameter_image_nm",
            "float64",
            "nm",
            "diameter of the membrane in the image; NaN: see the reason",
        ),
        Column("diameter_image_reason", "string", "", "why there is no diameter from the image; empty where there is"),
        Column("surface_area_nm2", "float64", "nm²", "surface area (Crofton, 13 directions)"),
        Column("sphericity", "float64", "", "surface of the ball of the same volume over the surface; 1 for a ball"),
        Column("axis_major_nm", "float64", "nm", "longest axis of the ellipsoid with the same second moments"),
        Column("axis_middle_nm", "float64", "nm", "its middle axis"),
        Column("axis_minor_nm", "float64", "nm", "its shortest axis"),
        *(Column(f"major_{axis}", "float64", "", f"unit vector along the longest axis, {axis}") for axis in "zyx"),
        Column("mean_probability", "float64", "", "mean predicted probability, 0..1; NaN where labels were given"),
        Column("mean_grey", "float64", "grey", "mean grey value in the image; NaN where no image was given"),
        Column("touches_edge", "bool", "", "has a voxel on a face of the volume: its measures are lower bounds"),
        Column("er_distance_nm", "float64", "nm", "surface distance to the ER; inf beyond the search radius"),
        Column("er_thickness_nm", "float64", "nm", "thickness of the ER nearest to its centre; NaN: none near"),
        Column("er_curvature_per_um", "float64", "1/µm", "mean curvature of that ER: 0 flat, 1/radius a tubule"),
        Column("site_id", "uint32", "", "site that the object belongs to; 0 = none"),
        Column("overlap_share", "float64", "", "share of its voxels in the class that the rules exclude overlaps with"),
        Column("excluded", "string", "", "why the rules leave the object out; empty where they do not"),
    ),
    ("class", "object_id"),
)

SITES = Table(
    "sites",
    (
        Column("site_id", "uint32", "", "consecutive from 1, vesicular groups first"),
        Column("kind", "string", "", "vesicular | tubular"),
        Column("site_class", "string", "", " | ".join(SITE_CLASSES)),
        Column("objects", "int64", "", "objects in the group"),
        Column(
            "cluster_size", "int64", "", "most objects of the group within one region (the rules' cluster_region_nm)"
        ),
        *_axes("centroid", "mean position of the voxels of all objects"),
        *_axes("extent", "box of the whole group: voxels × voxel size"),
        Column("er_distance_nm", "float64", "nm", "surface distance to the ER; inf beyond the search radius"),
        Column("linked_sites", "int64", "", "sites of the other kind that this one is linked with"),
        Column("reason", "string", "", "why the site has its class, and what extent alone excluded"),
        Column(
            "near_volume_edge", "bool", "", "the rules' search reaches beyond the volume: the class may be incomplete"
        ),
        Column("level", "string", "", "group: left by a rule, or not near the ER | candidate: a site until reviewed"),
        Column(
            "excluded_by",
            "string",
            "",
            "rule by which a group is no candidate: extent (alone) | beside_extent | golgi | er | cluster; empty",
        ),
        Column("er_form", "string", "", "form of the ER beside it: sheet | tubule | unclear; empty: no ER near"),
        Column("er_thickness_nm", "float64", "nm", "thickness of the ER there"),
        Column("er_curvature_per_um", "float64", "1/µm", "mean curvature of its membrane there"),
        Column("otherwise", "string", "", "class of a group that left as Golgi-like, had it stayed; empty"),
    ),
    ("site_id",),
)

LINKS = Table(
    "links",
    (
        Column("vesicular_site_id", "uint32", "", "vesicular ERES"),
        Column("tubular_site_id", "uint32", "", "tubular ERES"),
        Column("distance_nm", "float64", "nm", "distance between the two, measured as the rules say"),
    ),
    ("vesicular_site_id", "tubular_site_id"),
)
