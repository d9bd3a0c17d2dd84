"""compare.html: one self-contained page, with the machinery of the reports."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

import cisterna
from cisterna.compare.effects import LEAST_EXPERIMENTS
from cisterna.compare.figures import condition_colour
from cisterna.compare.metrics import FLOOR
from cisterna.report.canvas import Picture
from cisterna.report.document import RunDocument
from cisterna.report.page import Grid, Page, Section, Tile, number, render_page
from cisterna.report.palette import Swatch

if TYPE_CHECKING:
    from cisterna.compare.build import Comparison

SUBJECTS = {"er-movie": "ER networks", "fibsem": "exit sites"}


def render_comparison(c: Comparison, pictures: Mapping[str, Picture]) -> str:
    """The page as one HTML document: no script, no request to anywhere."""
    conditions = c.study.conditions
    cells = c.data.cells.groupby(["condition", "experiment", "cell"]).ngroups
    experiments = len({r.experiment for r in c.study.rows})
    lead = (
        f"{' v '.join(conditions)}: {_many(len(c.data.runs), 'run')}, {_many(cells, 'cell')}, "
        f"{_many(experiments, 'experiment')}. "
        f"The experiment is the unit; cells are nested in it."
    )
    page = Page(
        title="Conditions compared",
        subject=SUBJECTS[c.room],
        # The page's frame is that of a run's report; a study has no state of its own.
        run=RunDocument(c.study.name, c.room, "", acquisition=c.study.name, cisterna_version=cisterna.__version__),
        lead=lead,
        warnings=list(c.warnings),
        sections=[_summary(c, pictures), *_phenotypes(c, pictures), _cells(c, pictures), *_floor(c),
                  *_matching(c, pictures), _tests(c), _mixed(c), _means(c), _runs(c), _method(c)],
        facts=[("study", c.study.name), ("recipe", c.room), ("runs", str(len(c.data.runs))), ("cells", str(cells)),
               ("experiments", ", ".join(f"{n} {len(c.study.experiments(n))}" for n in conditions))],
        thing="study",
    )  # fmt: skip
    return render_page(page)


def _with_words(picture: Picture, alt: str, caption: str = "") -> Picture:
    return replace(picture, alt=alt, caption=caption)


def _many(count: int, word: str) -> str:
    return f"{count} {word}{'' if count == 1 else 's'}"


def _keys(c: Comparison) -> list[Swatch]:
    return [Swatch(n, n, condition_colour(c.study.conditions, n)) for n in c.study.conditions]


def _summary(c: Comparison, pictures: Mapping[str, Picture]) -> Section:
    tested = c.effects[np.isfinite(c.effects["p"])]
    passed = tested[tested["p_holm"] <= 0.05]
    if not len(tested):
        text = [
            f"No p is given: it needs {LEAST_EXPERIMENTS} experiments a condition, and no pair of conditions has them. "
            "What follows describes these cells; it does not tell whether another experiment would show the same."
        ]
    else:
        text = [
            f"{len(passed)} of {len(tested)} comparisons stay below 0.05 after Holm's adjustment across metrics. "
            "An effect size whose interval holds 0 does not show that nothing changed."
        ]
    tiles = [
        Tile(
            float(r["hedges_g"]),
            f"g, {r['metric'].replace('_', ' ')}",
            detail=f"{r['condition_b']} against {r['condition_a']}, p after Holm {number(float(r['p_holm']))}",
        )
        for r in passed.sort_values("p_holm").head(6).to_dict("records")
    ]
    words = "Hedges' g of every metric with its 95 % interval."
    caption = (
        "Hedges' g with 95 % intervals. Open dots stand on the cells of one experiment a condition: they describe "
        "those dishes only. Intervals that leave the picture are in the table."
    )
    shown = [_with_words(pictures["effects"], words, caption)] if "effects" in pictures else []
    return Section("What differs", text=text, tiles=tiles, pictures=shown)


def _phenotypes(c: Comparison, pictures: Mapping[str, Picture]) -> list[Section]:
    if "phenotypes" not in pictures:
        return []
    words = "Assembly ratio against degree assortativity; small dots are cells, large ones experiments."
    caption = (
        f"{words} Lu et al. (2023) found healthy networks at 0.90–0.92 and fragmented ones at 0.03–0.05, with an "
        "assortativity of −0.25 to −0.34."
    )
    shown = [_with_words(pictures["phenotypes"], words, caption)]
    return [Section("Assembly and assortativity", pictures=shown, keys=_keys(c))]


def _cells(c: Comparison, pictures: Mapping[str, Picture]) -> Section:
    shown = [
        _with_words(
            pictures[f"cells_{m.name}"],
            f"{m.label} of every cell and experiment by condition.",
            f"{m.label}: {m.text}.",
        )
        for m in c.metrics
    ]
    text = (
        "Violins and small dots are cells; large dots, experiment means, are what is tested; colours are experiments."
    )
    return Section("Cells and experiments", text=[text], pairs=shown)


def _floor(c: Comparison) -> list[Section]:
    """Dynamics beside what a static scene with fresh noise gives, where runs know it."""
    means = c.data.experiments
    rows = []
    for metric in c.metrics:
        for condition in c.study.conditions:
            own = means[means["condition"] == condition]
            value, floor = (own.loc[own["metric"] == n, "value"] for n in (metric.name, f"{metric.name}{FLOOR}"))
            if len(floor):
                rows.append((metric.label, condition, float(value.mean()), float(floor.mean()), metric.unit))
    if not rows:
        return []
    text = (
        "The same networks, held still and given fresh noise, show changes too: what noise and method alone produce. "
        "A difference between conditions that their floors show as well is none of the cells'."
    )
    header = ("metric", "condition", "mean", "static scene", "unit")
    return [Section("The floor of dynamics", text=[text], grids=[Grid("Means of experiments", header, rows)])]


def _matching(c: Comparison, pictures: Mapping[str, Picture]) -> list[Section]:
    if c.match is None:
        return []
    shown = [
        _with_words(pictures["snr"], "Median SNR of every run by condition.", "Rings are recordings with added noise.")
    ]
    points = [f"`{command}`" for command in c.match.commands]
    return [Section("Brightness", text=[c.match.sentence], points=points, pictures=shown)]


def _tests(c: Comparison) -> Section:
    effects = c.effects.to_dict("records")
    header = ("metric", "difference", "mean a", "mean b", "b − a [95 %]", "unit", "b / a", "g [95 %]", "g of", "test",
              "statistic", "df", "p", "p Holm", "experiments", "cells")  # fmt: skip
    rows = [
        (r["metric"], f"{r['condition_b']} − {r['condition_a']}", r["mean_a"], r["mean_b"],
         interval(r["difference"], r["difference_low"], r["difference_high"]), r["unit"],
         interval(r["ratio"], r["ratio_low"], r["ratio_high"]),
         interval(r["hedges_g"], r["hedges_g_low"], r["hedges_g_high"]), r["effect_of"], r["test"], r["statistic"],
         r["df"], r["p"], r["p_holm"], f"{r['experiments_a']} v {r['experiments_b']}",
         f"{r['cells_a']} v {r['cells_b']}")
        for r in effects
    ]  # fmt: skip
    why: dict[str, list[str]] = {}
    for r in effects:
        if r["note"]:
            why.setdefault(r["note"], []).append(f"{r['metric']} ({r['condition_a']}, {r['condition_b']})")
    points = [f"{n[0].upper()}{n[1:]}: {', '.join(of) if len(of) < len(effects) else 'all'}." for n, of in why.items()]
    note = "p Holm: adjusted across metrics within one pair of conditions. Every figure stands in tables/effects.csv."
    if np.isfinite(c.effects["ratio_low"]).any():
        note += " Intervals of b / a know the error of counting alone, not how cells or experiments differ."
    grids = [Grid("Effects", header, rows, note, wide=True)]
    if len(c.f_tests):
        names = ("metric", "test", "conditions", "F", "df", "df error", "p", "p Holm")
        grids.append(Grid("F tests", names, [tuple(r) for r in c.f_tests.to_numpy().tolist()], wide=True))
    return Section("Effects and tests", points=points, grids=grids)


def interval(value: float, low: float, high: float) -> str:
    """A value with its interval in brackets, as far as they are known."""
    return number(value) if np.isnan(low) else f"{number(value)} [{number(low)}, {number(high)}]"


def _mixed(c: Comparison) -> Section:
    rows = [
        (r["metric"], f"{r['condition_b']} − {r['condition_a']}",
         interval(r["mixed_difference"], r["mixed_low"], r["mixed_high"]), r["mixed_df"], r["mixed_p"],
         r["between_experiments_share"], r["mixed_note"])
        for r in c.effects.to_dict("records")
    ]  # fmt: skip
    header = ("metric", "difference", "b − a [95 %]", "df", "p", "share between", "note")
    text = (
        "A linear mixed model on cells with a random intercept for each experiment (and for each dish in it, where "
        "experiments hold several conditions), by REML. Its degrees of freedom are the between–within count: "
        "Satterthwaite's are not available. It stands beside the tests above and is not adjusted across metrics. "
        "“Share between” is the share of the cells' variance that lies between dishes: what a test on cells would "
        "wrongly take for many replicates."
    )
    if not np.isfinite(c.effects["mixed_p"]).any():
        why = ", ".join(dict.fromkeys(c.effects["mixed_note"]))
        return Section("Mixed model", text=[f"No mixed model on cells: {why}."])
    return Section("Mixed model", text=[text], grids=[Grid("Mixed model", header, rows, wide=True)])


def _means(c: Comparison) -> Section:
    grids = []
    for metric in c.metrics:
        own = c.data.experiments[c.data.experiments["metric"] == metric.name]
        rows = [(r["condition"], r["experiment"], int(r["cells"]), float(r["value"])) for r in own.to_dict("records")]
        grids.append(Grid(metric.axis, ("condition", "experiment", "cells", "mean"), rows))
    return Section("Experiment means", text=["What the tests are computed on."], grids=grids)


def _runs(c: Comparison) -> Section:
    movies = c.room == "er-movie"
    header = ["condition", "experiment", "cell", "run", "state"]
    if movies:
        header += ["cells", "frames", "low SNR", "SNR unknown", "used", "median SNR", "noise added to SNR"]
    columns = ["condition", "experiment", "cell", "run", "state"]
    if movies:
        columns += [
            "cells",
            "frames",
            "frames_low_snr",
            "frames_snr_unknown",
            "frames_used",
            "snr_median",
            "degraded_to_snr",
        ]
    rows = [tuple(r[n] for n in columns) for r in c.data.runs.to_dict("records")]
    text = []
    if movies:
        low, total = int(c.data.runs["frames_low_snr"].sum()), int(c.data.runs["frames"].sum())
        done = "kept all the same" if c.keep_low_snr else "left out of every mean over frames"
        text.append(
            f"{low} of {total} frames have an SNR below 5; they were {done}. Those whose SNR is unknown stay in."
        )
    return Section("Runs", text=text, grids=[Grid("Runs", header, rows, wide=True)])


def _method(c: Comparison) -> Section:
    several = len(c.study.conditions) > 2
    if c.study.paired:
        design = "Every experiment holds every condition, so conditions are compared within experiments: "
        design += "analysis of variance with experiments as blocks, then Tukey." if several else "a paired t test."
    else:
        design = "Not every experiment holds every condition, so experiments are taken as independent: "
        design += "one-way ANOVA, then Tukey–Kramer." if several else "Welch's t test."
    points = [
        "A cell's figure is the mean over its runs, an experiment's that over its cells; tests use those.",
        design,
        f"p is given where each condition has at least {LEAST_EXPERIMENTS} experiments with the metric. With two, the "
        "interval is given and no p; with one, effect sizes describe cells only.",
        "Hedges' g is the difference over the standard deviation between experiments (pooled; averaged for pairs), "
        "corrected for small samples; intervals invert the noncentral t distribution.",
        "Holm's adjustment runs across the metrics of this page: ask for few with `--metric`, chosen before looking.",
        *(f"{m.label} (`{m.name}`): {m.text}." for m in c.metrics),
    ]
    if c.room == "fibsem":
        points.append("Automatic sites are candidates until they are reviewed; counts inherit that.")
    return Section("How it was computed", points=points)
