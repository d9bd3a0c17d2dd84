"""Tables of what the counts of a volume run mean: chance, densities, effect sizes, sensitivity."""

from __future__ import annotations

from cisterna.tables.schema import Column, Table
from cisterna.tables.volumes import SITE_CLASSES

CHANCE = Table(
    "chance",
    (
        Column("quantity", "string", "", "near_er_vesicles | near_er_groups | mixed_groups | mixed_share_near_er | "
               "nearest_neighbour | evenness"),
        Column("unit", "string", "", "what observed and expected are: vesicles | groups | share | nm | chi2"),
        Column("n", "int64", "", "vesicles, groups or sites that were relocated"),
        Column("observed", "float64", "as `unit`", "as found"),
        Column("expected", "float64", "as `unit`", "mean of the relocations; NaN where there was nothing to relocate"),
        Column("expected_low", "float64", "as `unit`", "2.5 % quantile of the relocations"),
        Column("expected_high", "float64", "as `unit`", "97.5 % quantile"),
        Column("ratio", "float64", "", "observed / expected"),
        Column("ratio_low", "float64", "", "observed / expected_high"),
        Column("ratio_high", "float64", "", "observed / expected_low"),
        Column("p_as_many", "float64", "", "share of relocations that reach the observed value, (k + 1) / (n + 1)"),
        Column("p_as_few", "float64", "", "share of relocations that stay at or below it"),
        Column("p", "float64", "", "two-sided: twice the smaller of both, at most 1; of this one cell"),
        Column("relocations", "int64", "", "relocations of all of them"),
        Column("left_out", "int64", "", "groups or vesicles that could not be relocated"),
    ),
    ("quantity",),
)  # fmt: skip

DENSITIES = Table(
    "densities",
    (
        Column("what", "string", "", "vesicles | vesicular_eres | tubular_eres | one of the six site classes"),
        Column("count", "int64", "", "number found"),
        Column("per_um3_cell", "float64", "1/µm³", "per volume of the cell mask, or of the whole volume without one"),
        Column("per_um3_cell_low", "float64", "1/µm³", "exact Poisson interval of the count, 95 %"),
        Column("per_um3_cell_high", "float64", "1/µm³", "upper end"),
        Column("per_um2_er", "float64", "1/µm²", "per surface area of the ER"),
        Column("per_um2_er_low", "float64", "1/µm²", "exact Poisson interval of the count, 95 %"),
        Column("per_um2_er_high", "float64", "1/µm²", "upper end"),
    ),
    ("what",),
)

EFFECTS = Table(
    "effects",
    (
        Column("measure", "string", "", "what is compared (a column of `objects` or `sites`)"),
        Column("group_a", "string", "", "golgi_associated | vesicular_mixed"),
        Column("group_b", "string", "", "vesicular_eres | vesicular_standalone"),
        Column("n_a", "int64", "", "objects or sites in a"),
        Column("n_b", "int64", "", "objects or sites in b"),
        Column("sites_a", "int64", "", "sites they belong to: the unit that is resampled"),
        Column("sites_b", "int64", "", "sites they belong to"),
        Column("mean_a", "float64", "as the measure", "mean in a"),
        Column("sd_a", "float64", "as the measure", "standard deviation in a"),
        Column("mean_b", "float64", "as the measure", "mean in b"),
        Column("sd_b", "float64", "as the measure", "standard deviation in b"),
        Column("difference", "float64", "as the measure", "mean_b − mean_a"),
        Column("difference_low", "float64", "as the measure", "95 % bootstrap interval over sites, within this cell"),
        Column("difference_high", "float64", "as the measure", "upper end"),
        Column("hedges_g", "float64", "", "difference / pooled standard deviation, corrected for small n"),
    ),
    ("measure", "group_a", "group_b"),
)

SENSITIVITY = Table(
    "sensitivity",
    (
        Column("parameter", "string", "", "as_run | a rule | probability_<class>"),
        Column("factor", "float64", "", "what the threshold was multiplied by"),
        Column("value", "float64", "", "its value: nm for rules, 0..1 for probabilities"),
        *(Column(name, "int64", "", f"groups counted as {name}") for name in SITE_CLASSES),
    ),
    ("parameter", "factor"),
)
