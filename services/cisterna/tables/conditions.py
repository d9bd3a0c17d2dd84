"""Tables of a comparison of conditions: runs, cells, experiments, effects and F tests."""

from __future__ import annotations

from cisterna.tables.schema import Column, Table

_PLACE = (
    Column("condition", "string", "-", "condition, as the study names it"),
    Column("experiment", "string", "-", "experiment (a day, a transfection, an animal): the unit of replication"),
    Column("cell", "string", "-", "cell within its experiment and condition"),
    Column("batch", "string", "-", "batch, as the study names it; empty where it does not"),
)

COMPARED_RUNS = Table(
    "runs",
    (
        *_PLACE,
        Column("run", "string", "-", "run"),
        Column("state", "string", "-", "state of the run"),
        Column("acquisition", "string", "-", "recording that the run stands on"),
        Column("cells", "int64", "count", "cells in the run: labelled ones, else 1"),
        Column("frames", "int64", "count", "frames of the movie; 0 for volumes"),
        Column("frames_low_snr", "int64", "count", "frames flagged low in SNR"),
        Column("frames_snr_unknown", "int64", "count", "frames whose SNR cannot be measured; they stay in"),
        Column("frames_used", "int64", "count", "frames that the figures are means of"),
        Column("snr_median", "float64", "1", "median SNR (E[S²] / E[N²]) over all frames"),
        Column("degraded_to_snr", "float64", "1", "SNR that noise was added down to; NaN for a recording as it came"),
    ),
    ("condition", "experiment", "cell", "run"),
)

CELLS = Table(
    "cells",
    (
        *_PLACE,
        Column("metric", "string", "-", "what was measured"),
        Column("unit", "string", "-", "unit of the value"),
        Column("value", "float64", "as `unit` says", "the cell's figure: the mean over its runs; NaN where undefined"),
    ),
    ("metric", "condition", "experiment", "cell", "batch"),
)

EXPERIMENTS = Table(
    "experiments",
    (
        *_PLACE[:2],
        Column("metric", "string", "-", "what was measured"),
        Column("unit", "string", "-", "unit of the value"),
        Column("value", "float64", "as `unit` says", "mean over the cells that have the metric: what is tested"),
        Column("cells", "int64", "count", "cells that have the metric"),
    ),
    ("metric", "condition", "experiment"),
)

EFFECTS = Table(
    "effects",
    (
        Column("metric", "string", "-", "what was measured"),
        Column("unit", "string", "-", "unit of means and differences"),
        Column("condition_a", "string", "-", "condition that is compared with"),
        Column("condition_b", "string", "-", "condition that is compared"),
        Column("mean_a", "float64", "as `unit` says", "mean of experiment means"),
        Column("mean_b", "float64", "as `unit` says", "mean of experiment means"),
        Column("difference", "float64", "as `unit` says", "mean_b − mean_a"),
        Column("difference_low", "float64", "as `unit` says", "95 % interval of the test (Tukey: of all pairs)"),
        Column("difference_high", "float64", "as `unit` says", "95 % interval of the test named"),
        Column("ratio", "float64", "1", "mean_b / mean_a; NaN unless both are positive"),
        Column("ratio_low", "float64", "1", "95 % interval of counting alone; densities of one experiment a condition"),
        Column("ratio_high", "float64", "1", "95 % interval of counting alone"),
        Column("hedges_g", "float64", "1", "difference over the spread between experiments"),
        Column("hedges_g_low", "float64", "1", "95 % interval"),
        Column("hedges_g_high", "float64", "1", "95 % interval"),
        Column("effect_of", "string", "-", "what g stands on: experiments; cells (one experiment a condition); none"),
        Column("test", "string", "-", "paired t, Welch t, Tukey–Kramer, Tukey (blocks), none"),
        Column("statistic", "float64", "1", "t; q for Tukey"),
        Column("df", "float64", "1", "degrees of freedom"),
        Column("p", "float64", "1", "p of the test; Tukey's holds for all pairs of the metric; NaN where none is due"),
        Column("p_holm", "float64", "1", "p after Holm across the metrics of this pair of conditions"),
        Column("experiments_a", "int64", "count", "experiments behind mean_a"),
        Column("experiments_b", "int64", "count", "experiments behind mean_b"),
        Column("cells_a", "int64", "count", "cells of condition a with the metric"),
        Column("cells_b", "int64", "count", "cells of condition b with the metric"),
        Column("mixed_difference", "float64", "as `unit` says", "b − a by the mixed model on cells"),
        Column("mixed_low", "float64", "as `unit` says", "95 % interval, between–within degrees of freedom"),
        Column("mixed_high", "float64", "as `unit` says", "95 % interval"),
        Column("mixed_df", "float64", "1", "between–within degrees of freedom"),
        Column("mixed_p", "float64", "1", "p of the mixed model, not adjusted"),
        Column("between_experiments_share", "float64", "1", "share of the variance of cells that lies between dishes"),
        Column("mixed_note", "string", "-", "why the mixed model says nothing, or less"),
        Column("note", "string", "-", "why there is no p"),
    ),
    ("metric", "condition_a", "condition_b"),
)  # fmt: skip

F_TESTS = Table(
    "f_tests",
    (
        Column("metric", "string", "-", "what was measured"),
        Column("test", "string", "-", "one-way ANOVA, or ANOVA with experiments as blocks"),
        Column("conditions", "int64", "count", "conditions in the test"),
        Column("statistic", "float64", "1", "F"),
        Column("df_between", "int64", "1", "degrees of freedom of conditions"),
        Column("df_within", "int64", "1", "degrees of freedom of the error"),
        Column("p", "float64", "1", "p of the F test"),
        Column("p_holm", "float64", "1", "p after Holm across metrics"),
    ),
    ("metric",),
)
