"""Both reports: well formed, self-contained, and with the numbers of the tables."""

import dataclasses
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from cisterna.report.movie import render_movie_report
from cisterna.report.page import Page, number, provenance, render_page, run_warnings
from cisterna.report.palette import SITE_CLASSES
from cisterna.report.volume import render_volume_report

VOID = {"meta", "img", "br", "link", "input", "hr"}


class Reading(HTMLParser):
    """Tags in balance, references, headings, and all tables as lists of rows of text."""

    def __init__(self, text):
        super().__init__()
        self.open, self.references, self.alts, self.tables, self.values = [], [], [], {}, []
        self.cell = self.caption = None
        self.text = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        about = dict(attributes)
        self.references += [about[name] for name in ("src", "href", "srcset", "action", "data") if name in about]
        assert not any(name.startswith("on") for name in about)
        if tag == "img":
            self.alts.append(about.get("alt"))
        if tag == "data":
            self.values.append(about["value"])
        if tag == "caption":
            self.caption = ""
        if tag == "tr":
            self.row = []
        if tag in ("td", "th"):
            self.cell = ""
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag
        if tag == "caption":
            self.rows = self.tables.setdefault(self.caption, [])
            self.caption = None
        if tag in ("td", "th"):
            self.row.append(self.cell)
            self.cell = None
        if tag == "tr":
            self.rows.append(self.row)

    def handle_data(self, data):
        self.text.append(data)
        if self.caption is not None:
            self.caption += data
        if self.cell is not None:
            self.cell += data


def check(text):
    page = Reading(text)
    assert text.startswith("<!doctype html>")
    assert all(r.startswith(("data:image/png;base64,iVBOR", "#")) for r in page.references)
    assert not re.search(r"url\(|@import|<script|<link|<iframe", text)
    assert all(alt and len(alt) > 20 for alt in page.alts)
    ids = re.findall(r' id="([^"]+)"', text)
    assert len(ids) == len(set(ids))
    return page


def by_label(text):
    found = re.findall(
        r'<span class="value"><data value="([^"]*)">[^<]*</data></span><span class="label">(?:<i [^>]*></i>)?([^<]*)',
        text,
    )
    return {label: value for value, label in found}


@pytest.fixture(scope="module")
def volume_html(make, volume):
    return render_volume_report(make.volume_data(volume))


@pytest.fixture(scope="module")
def movie_html(make, movie):
    return render_movie_report(make.movie_data(movie))


def test_volume_report_is_self_contained_and_shows_the_counts(volume_html, volume):
    page = check(volume_html)
    shown = by_label(volume_html)
    for swatch in SITE_CLASSES:
        assert int(shown[swatch.label]) == (volume.sites["site_class"] == swatch.key).sum()
    assert len(page.alts) == 3 + 4 + 3, "planes; four charts; the flow, diameters and distances by class"


def test_volume_tables_equal_the_rows_they_come_from(volume_html, volume):
    page = check(volume_html)
    header, *rows = page.tables[f"All {len(volume.sites)} sites"]
    assert header[:4] == ["site", "class", "objects", "cluster"]
    for row, site in zip(rows, volume.sites.to_dict("records"), strict=True):
        assert row[0] == str(site["site_id"])
        assert row[3] == str(site["cluster_size"])
        nm = [int(cell.replace("\u202f", "")) for cell in row[4:7]]
        assert nm == [round(site[f"centroid_{a}_nm"]) for a in "zyx"]
        assert row[8] == str(site["linked_sites"])
        assert row[7] == number(float(site["er_distance_nm"]))
    _, *links = page.tables["Links"]
    expected = volume.links.sort_values("distance_nm")
    assert [r[:2] for r in links] == expected[["vesicular_site_id", "tubular_site_id"]].astype(str).to_numpy().tolist()
    _, *forth = page.tables["Vesicular sites by number of tubular partners"]
    assert sum(int(a) * int(b) for a, b in forth) == len(volume.links)
    _, *back = page.tables["Tubular sites by number of vesicular partners"]
    assert sum(int(a) * int(b) for a, b in back) == len(volume.links)


def test_long_tables_say_that_they_are_cut(make, volume):
    page = check(render_volume_report(make.volume_data(volume, planes=[], first_sites=5)))
    assert len(page.tables[f"Sites 1 to 5 of {len(volume.sites)}"]) == 6


def test_warnings_come_before_numbers_and_are_said_once(volume_html):
    first = volume_html.index("trained on phantoms only")
    assert first < volume_html.index("What was found")
    assert volume_html.count("trained on phantoms only") == 1
    assert volume_html.index("108 nm is assumed") < volume_html.index("What was found")


def page_of(run):
    """The page around the sections, which is the same for both recipes."""
    return render_page(
        Page(
            title="ER exit sites", subject="", run=run, lead="", warnings=run_warnings(run), sections=[provenance(run)]
        )
    )


def test_models_that_are_not_demonstrations_bring_no_warning(make):
    model = {"family": "asem", "class": "copi", "digest": "0123456789abcdef" * 4, "licence": "CC0-1.0", "demo": False}
    text = page_of(make.document(models={"asem-2631": model}, warnings=[], notes=[]))
    assert "phantoms only" not in text
    assert "Read this first" not in text
    assert check(text).tables["Models"][1][:5] == ["asem-2631", "asem", "copi", "0123456789abcdef", "CC0-1.0"]


def test_a_degraded_run_lists_its_blocks_and_what_was_skipped(make):
    lost = [{"stage": "segment-copi", "block": n, "reason": "CORRUPT_CHUNK"} for n in range(20)]
    page = check(text := page_of(make.document(state="DEGRADED", quarantined=lost, skipped=["eres-sites"])))
    assert "<strong>DEGRADED</strong>" in text
    assert "Not computed: eres-sites." in text
    assert "… and 8 more" in text
    assert len(page.tables["Blocks that could not be computed (20)"]) == 21


def test_a_failed_run_gives_its_error(make):
    text = page_of(make.document(state="FAILED", error="the store is <full>"))
    assert "the store is &lt;full&gt;" in text
    assert 'role="alert"' in text


def test_stages_stand_with_their_times_and_pyramids_in_one_row(make):
    _, denoise, pyramids = check(page_of(make.document())).tables["Stages"]
    assert denoise == ["denoise", "abababababab", "demo-fastfib", "12 / 12", "1.50", "22.2", "0.500", "13.0"]
    assert pyramids[:4] == ["pyramid levels (1 stages)", "–", "–", "2 / 2"]


def test_parameters_and_versions_are_listed_whole(make):
    tables = check(page_of(make.document())).tables
    assert tables["Parameters"][1:] == [["eres.rules.name", "nair2025"], ["eres.rules.link_nm", "50.0"]]
    assert tables["Software"][1:] == [["cisterna", "0.1.0"], ["numpy", "2.4.0"]]


def test_text_from_outside_is_escaped(make):
    evil = "<script>alert(1)</script>"
    more = {"acquisition": evil, "notes": [evil + " `code`"], "parameters": {evil: evil}, "versions": {evil: "1"}}
    stages = {evil: {"stage_key": evil, "model": evil}}
    lost = [{"stage": evil, "block": evil, "reason": evil}]
    text = page_of(make.document(state="DEGRADED", quarantined=lost, stages=stages, error=evil, **more))
    check(text)
    assert text.count("&lt;script&gt;") >= 9
    assert "<code>code</code>" in text


def test_reasons_of_sites_are_escaped(make, volume):
    sites = volume.sites.assign(reason="<b>&")
    assert (
        check(render_volume_report(make.volume_data(volume, planes=[], sites=sites))).tables[f"All {len(sites)} sites"][
            1
        ][-1]
        == "<b>&"
    )


def test_an_empty_volume_gives_a_whole_report(make, volume):
    empty = {"objects": volume.objects.iloc[:0], "sites": volume.sites.iloc[:0], "links": volume.links.iloc[:0]}
    text = render_volume_report(
        make.volume_data(volume, planes=[], er_projection=None, er_volume_share=None, chance_near_er=None, **empty)
    )
    check(text)
    assert set(by_label(text).values()) == {"0"}
    assert "No group of vesicles and no tubular object was found" in text


def test_no_vesicle_near_the_er_is_said_in_words(make, volume):
    far = volume.objects.assign(er_distance_nm=np.inf)
    text = render_volume_report(make.volume_data(volume, planes=[], objects=far))
    check(text)
    assert f"0 of {(far['class'] == 'copi').sum()} vesicles lie within 120 nm" in text


def test_a_plane_without_denoised_or_labels(make, volume):
    data = make.volume_data(volume)
    bare = [dataclasses.replace(p, denoised=None, er=None, labels=None) for p in data.planes]
    text = render_volume_report(dataclasses.replace(data, planes=bare))
    assert "raw and overlay" in text
    assert "ER outline" not in text


def test_movie_report_is_self_contained_and_its_means_are_the_tables(movie_html, movie):
    page = check(movie_html)
    shown = by_label(movie_html)
    assert float(shown["nodes a frame"]) == pytest.approx(movie.frames["nodes"].mean())
    assert float(shown["edges a frame"]) == pytest.approx(movie.frames["edges"].mean())
    assert int(shown["junctions followed"]) == len(movie.junctions)
    _, *rows = page.tables[f"All {len(movie.frames)} frames"]
    assert [int(r[4]) for r in rows] == movie.frames["nodes"].tolist()
    assert [int(r[5]) for r in rows] == movie.frames["edges"].tolist()
    _, *degrees = page.tables["Nodes by degree"]
    assert int(degrees[3][1].replace("\u202f", "")) == movie.frames["degree_3"].sum()


def test_frames_below_the_gate_are_counted_in_the_warnings(make, movie):
    low = movie.frames.assign(snr_power=np.where(movie.frames["frame"] < 3, 4.9, 5.0))
    text = render_movie_report(make.movie_data(movie, views=[], frames=low))
    assert f"3 of {len(low)} frames have an SNR below 5" in text


def test_snr_that_does_not_apply_is_no_warning(make, movie):
    frames = movie.frames.assign(snr_power=np.nan, snr_flag="snr_not_applicable")
    text = render_movie_report(make.movie_data(movie, views=[], frames=frames))
    check(text)
    assert "have an SNR below" not in text
    assert "Not applicable" in text


def test_one_frame_without_any_network(make):
    one = make.movie(count=1, size=64)
    undefined = dict.fromkeys(("density", "degree_assortativity", "transitivity", "categorical_assortativity"), np.nan)
    frames = one.frames.assign(
        nodes=0, edges=0, **undefined, **{f"degree_{d}": 0 for d in range(6)}, degree_6_or_more=0
    )
    text = render_movie_report(
        make.movie_data(
            one, frames=frames, nodes=one.nodes.iloc[:0], edges=one.edges.iloc[:0], junctions=one.junctions.iloc[:0]
        )
    )
    check(text)
    assert "One frame." in text
    assert "No junction was followed" in text


def test_all_metrics_undefined(make, movie):
    numbers = movie.frames.select_dtypes("float64").columns.drop("time_s")
    text = render_movie_report(
        make.movie_data(movie, views=[], frames=movie.frames.assign(**dict.fromkeys(numbers, np.nan)))
    )
    page = check(text)
    rows = {row[0]: row[1:] for row in page.tables["Metrics over the frames in which they are defined"]}
    assert rows["degree_assortativity"] == ["0", *["–"] * 6]


def test_a_movie_of_which_nothing_was_measured(make, movie):
    nothing = {name: getattr(movie, name).iloc[:0] for name in ("frames", "nodes", "edges", "junctions")}
    check(render_movie_report(make.movie_data(movie, views=[], **nothing)))


def test_junctions_whose_end_nobody_saw(make, movie):
    junctions = movie.junctions.assign(censored=True)
    assert "no end was seen" in render_movie_report(make.movie_data(movie, views=[], junctions=junctions))


def test_the_same_data_gives_the_same_bytes(make, movie):
    data = make.movie_data(movie, views=[])
    assert render_movie_report(data) == render_movie_report(data)


def test_numbers_for_readers():
    assert number(12345) == "12\u202f345"
    assert number(0.0) == "0"
    assert number(float("nan")) == "–"
    assert number(None) == "–"
    assert number(float("inf")) == "∞"
    assert number(-0.25) == "−0.250"
    assert number(247) == "247"
    assert number(75.68) == "75.7"
    assert number(np.int64(7)) == "7"
    assert number(np.float32(0.5)) == "0.500"
    assert number(1234.5) == "1234"
    assert number(2e-6) == "2.00e−06"
