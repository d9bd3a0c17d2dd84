"""The report says what the counts mean: levels, chance, densities, effect sizes, sensitivity."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from cisterna.report import site_figures as figures
from cisterna.report.page import Section
from cisterna.report.site_statistics import (
    SiteStatisticsReport,
    chance_section,
    chance_words,
    density_section,
    levels_section,
    read_statistics,
    sensitivity_section,
)
from cisterna.report.volume import VolumeReportData, render_volume_report
from cisterna.store import ObjectMissing
from cisterna.tables.statistics import CHANCE, DENSITIES, EFFECTS, SENSITIVITY
from cisterna.tables.volumes import SITE_CLASSES

COUNTS = dict(zip(SITE_CLASSES, (179, 68, 26, 58, 705, 74), strict=True))


def chance_row(quantity, n=273, observed=247.0, expected=215.5, **other):
    row = dict.fromkeys(CHANCE.names, np.nan) | {"unit": "groups", "relocations": 1000, "left_out": 0}
    row |= {"quantity": quantity, "n": n, "observed": observed, "expected": expected, "expected_low": expected - 12}
    row |= {"expected_high": expected + 12, "ratio": observed / expected, "ratio_low": observed / (expected + 12)}
    return row | {"ratio_high": observed / (expected - 12), "p": 0.002} | other


@pytest.fixture
def document(make):
    return make.document("fibsem")


def statistics(rows=None):
    rows = rows or [chance_row("near_er_groups"), chance_row("mixed_groups", observed=68.0, expected=20.0)]
    moved = [{"parameter": "as_run", "factor": 1.0, "value": np.nan, **COUNTS}]
    for factor in (0.8, 1.2):
        counts = COUNTS | {"vesicular_mixed": int(68 * factor)}
        moved.append({"parameter": "link_nm", "factor": factor, "value": 50 * factor, **counts})
        moved.append({"parameter": "probability_er", "factor": factor, "value": 0.5 * factor, **counts})
    density = {"what": "vesicular_eres", "count": 247} | dict.fromkeys(DENSITIES.names[2:], 1.5)
    effect = dict.fromkeys(EFFECTS.names, 1.0) | {
        "measure": "diameter_image_nm", "group_a": "golgi_associated", "group_b": "vesicular_eres", "mean_a": 59.2,
        "mean_b": 75.7, "difference": 16.5, "difference_low": 12.0, "difference_high": 21.0, "hedges_g": 1.8,
    }  # fmt: skip
    size = {"cell_given": True, "cell_um3": 812.5, "cytosol_um3": 640.0, "er_um3": 60.0, "er_area_um2": 2100.0}
    return SiteStatisticsReport(
        CHANCE.frame(rows), DENSITIES.frame([density]), EFFECTS.frame([effect]), SENSITIVITY.frame(moved), size,
        ("The cell is the mask given.",),
    )  # fmt: skip


def cells(section: Section, caption):
    return next(g for g in section.grids if g.caption.startswith(caption))


def test_chance_stands_beside_the_counts():
    assert chance_words(statistics().chance) == (
        "247 of 273 groups are near the ER; by chance 216 (204–228); "
        "68 of 273 groups are near it and beside a tubular site; by chance 20.0 (8.00–32.0)."
    )
    section = chance_section(statistics())
    grid = cells(section, "Observed and expected")
    assert [r[0] for r in grid.rows] == ["groups near the ER", "groups beside a tubular site"]
    assert grid.rows[0][3:5] == (247.0, 215.5)
    assert "The cell is the mask given." in section.text
    nothing = [chance_row("near_er_groups", 0, np.nan, np.nan)]
    assert chance_words(statistics(nothing).chance) == "There were no groups that could be relocated."
    assert chance_section(statistics([chance_row("near_er_groups", left_out=3)])).text[-1].startswith("3 could not be")
    assert "did not finish" in chance_section(None).text[0]


def test_levels_are_kept_apart_and_what_extent_excluded_is_named(volume):
    sites = volume.sites.copy()
    golgi = sites["site_class"] == "golgi_associated"
    sites["level"] = np.where(golgi | (sites["site_class"] == "dispersed"), "group", "candidate")
    sites["excluded_by"] = np.where(golgi, "extent", np.where(sites["site_class"] == "dispersed", "er", ""))
    sites["otherwise"] = np.where(golgi, "vesicular_standalone", "")
    section = levels_section(volume.objects, sites, volume.links, 5)
    levels = {row[0]: row[1] for row in cells(section, "Levels").rows}
    vesicular = (sites["kind"] == "vesicular").sum()
    assert levels["vesicular groups"] == vesicular
    assert levels["vesicular site candidates"] == vesicular - (sites["level"] == "group").sum()
    assert levels["reviewed sites"] == 5
    named = cells(section, "Excluded by extent alone")
    assert [r[0] for r in named.rows] == sites.loc[golgi, "site_id"].tolist()
    assert {r[3] for r in named.rows} == {"vesicular, stand-alone"}
    unseen = levels_section(volume.objects, sites[~golgi], volume.links, None)
    assert not [g for g in unseen.grids if g.caption.startswith("Excluded")]
    assert {r[0]: r[1] for r in cells(unseen, "Levels").rows}["reviewed sites"] == "none"


def test_densities_effects_and_thresholds_have_their_tables():
    (density,) = density_section(statistics())
    assert "812 µm³" in density.text[0]
    assert cells(density, "Densities").rows[0][:3] == ("vesicular ERES", 247, 1.5)
    effect = cells(density, "Effect sizes").rows[0]
    assert effect[7:] == (16.5, "12.0 … 21.0", 1.8)
    (moved,) = sensitivity_section(statistics())
    assert "made anew" in moved.text[1]
    rows = cells(moved, "Counts").rows
    assert [r[0] for r in rows] == ["as run", "link", "link", "probability, er", "probability, er"]
    rules_only = dataclasses.replace(
        statistics(), sensitivity=SENSITIVITY.frame(statistics().sensitivity.iloc[[0, 1, 2]])
    )
    assert "sensitivity: full" in sensitivity_section(rules_only)[0].text[1]
    assert density_section(None) == sensitivity_section(None) == []


def words_of(figure):
    return [t.get_text() for axes in figure.axes for t in axes.texts]


def test_the_flow_shows_every_count_and_multiplicity():
    sites = pd.DataFrame({"site_class": [c for c, n in COUNTS.items() for _ in range(n)]})
    sites["site_id"] = np.arange(1, len(sites) + 1)
    links = [(180 + i, 1000 + i, 10.0) for i in range(68)] + [(180 + i, 1100 + i, 10.0) for i in range(6)]
    links = pd.DataFrame(links, columns=["vesicular_site_id", "tubular_site_id", "distance_nm"])
    found = " | ".join(words_of(figures.flow_figure(sites, links)))
    for words in (
        "331  vesicular groups", "247  vesicular ERES", "179  stand-alone", "68  mixed", "26  dispersed",
        "58  Golgi", "62  linked to 1", "6  linked to 2", "779  tubular", "705  isolated", "74  mixed",
    ):  # fmt: skip
        assert words in found


@pytest.mark.parametrize("rows", [0, 1])
def test_figures_say_when_there_is_nothing(volume, rows):
    sites, objects, links = (t.iloc[:rows] for t in (volume.sites, volume.objects, volume.links))
    for figure in (
        figures.flow_figure(sites, links),
        figures.golgi_or_er_figure(objects, sites),
        figures.er_distance_figure(objects, sites, 120),
        figures.chance_figure(CHANCE.frame()),
        figures.tornado_figure(SENSITIVITY.frame()),
    ):
        assert figure.axes
    assert any("nothing could be relocated" in w for w in words_of(figures.chance_figure(CHANCE.frame())))


def test_the_tornado_shows_the_change_of_each_count():
    bars = figures.tornado_figure(statistics().sensitivity).axes[1].patches
    assert sorted({round(b.get_width()) for b in bars}) == [-14, 13]


def test_the_page_holds_all_parts(volume, document):
    text = render_volume_report(
        VolumeReportData(
            document, (600, 1000, 1300), (8, 8, 8), volume.objects, volume.sites, volume.links,
            statistics=statistics(),
        )
    )  # fmt: skip
    for title in ("From vesicles to sites", "Beside chance", "Densities and effect sizes", "How thresholds move"):
        assert title in text
    assert text.index("by chance 216") < text.index("From vesicles to sites"), "beside the counts themselves"


class Shelf:
    """A store of a few objects."""

    def __init__(self, **held):
        self.held = held

    def get(self, path):
        if path not in self.held:
            raise ObjectMissing(path)
        return self.held[path]

    def get_json(self, path):
        return self.get(path)


def test_statistics_are_read_or_none(document):
    made = statistics()
    tables = {t.name: t.name for t in (CHANCE, DENSITIES, EFFECTS, SENSITIVITY)} | {"statistics": "statistics"}
    run = dataclasses.replace(document, tables=tables)
    held = {
        t.name: t.to_parquet_bytes(f)
        for t, f in (
            (CHANCE, made.chance),
            (DENSITIES, made.densities),
            (EFFECTS, made.effects),
            (SENSITIVITY, made.sensitivity),
        )
    }
    found = read_statistics(Shelf(statistics={"size": made.size, "notes": []}, **held), run)
    pd.testing.assert_frame_equal(found.chance, made.chance)
    assert found.size["cell_um3"] == 812.5
    assert read_statistics(Shelf(**held), run) is None
    assert read_statistics(Shelf(), dataclasses.replace(run, tables={})) is None
