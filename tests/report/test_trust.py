"""What the report says of noise, confidence, flicker and scale, against tables whose figures are known."""

import math

import numpy as np
import pandas as pd
import pytest
from cisterna.report.document import RunDocument
from cisterna.report.movie import render_movie_report
from cisterna.report.trust import (
    NoiseCurve,
    confidence_words,
    flicker_words,
    noise_curve,
    noise_words,
    trust_section,
    trust_warnings,
    width_ratio,
)
from cisterna.report.trust_figures import confidence_figure, curve_figure, flicker_figure
from cisterna.tables.networks import FLOOR_FRAMES, FRAMES

LEVELS = [
    {"snr": 2.0, "junction_recall": 0.6, "junction_precision": 0.7, "junction_f1": 0.65, "pixel_accuracy": 0.9,
     "width_px": 3.4},
    {"snr": 8.0, "junction_recall": 0.8, "junction_precision": 0.9, "junction_f1": 0.85, "pixel_accuracy": 0.96,
     "width_px": 3.6},
    {"snr": None, "junction_recall": 0.9, "junction_precision": 0.9, "junction_f1": 0.9, "pixel_accuracy": 0.97,
     "width_px": None},
]  # fmt: skip
CARD = {"family": "ernet-swin2d", "demo": False, "noise_curve": {"pixel_size_um": 0.1, "levels": LEVELS}}


def run_with(card=CARD):
    return RunDocument("er-movie-1", "er-movie", "SUCCEEDED", models={"my-ernet": card})


def frames_of(**columns):
    count = max(len(v) for v in columns.values())
    blank = {"string": "ok", "int64": 0, "float64": math.nan}
    rows = {c.name: [blank[c.dtype]] * count for c in FRAMES.columns}
    return FRAMES.frame(
        pd.DataFrame({**rows, "frame": range(count), "time_s": np.arange(count, dtype=float), **columns})
    )


def test_the_curve_is_read_off_the_models_card():
    curve = noise_curve(run_with())
    assert curve.model == "my-ernet"
    assert curve.snr.tolist() == [2.0, 8.0]
    assert curve.at("junction_recall", 4.0) == pytest.approx(0.7)  # halfway in the logarithm
    assert curve.at("junction_recall", 0.5) == 0.6
    assert curve.at("junction_recall", 100.0) == 0.8
    assert math.isnan(curve.at("nothing", 4.0))
    assert curve.holds_from() == 8.0
    assert curve.holds_from("pixel_accuracy") == 2.0


@pytest.mark.parametrize(
    "card",
    [
        {"family": "ernet-swin2d"},
        {"family": "fastfib", "noise_curve": CARD["noise_curve"]},
        {"family": "ernet-swin2d", "noise_curve": {"levels": []}},
        {"family": "ernet-swin2d", "noise_curve": {"levels": [{"snr": None}]}},
        {"family": "ernet-swin2d", "noise_curve": "lost"},
    ],
)
def test_a_card_without_a_curve_is_said_to_have_none(card):
    assert noise_curve(run_with(card)) is None
    assert "no noise curve" in noise_words(None, np.array([6.0]))


def test_the_sentence_names_the_movies_place_on_the_curve():
    said = noise_words(noise_curve(run_with()), np.array([3.0, 4.0, 5.0]))
    assert "median SNR of 4.00" in said
    assert "finds 70.0 % of the junctions" in said
    assert "80.0 % of those it finds are true" in said
    assert "Down to an SNR of 8" in said
    assert "measured from 2 to 8" in noise_words(noise_curve(run_with()), np.array([30.0]))
    assert "cannot be measured" in noise_words(noise_curve(run_with()), np.zeros(0))


def test_a_wrong_scale_is_a_warning():
    for width_um, warned in ((0.35, False), (0.30, True), (0.42, True)):
        frames = frames_of(median_width_um=[width_um] * 3, snr_power=[8.0] * 3)
        ratio, here, expected = width_ratio(run_with(), frames, (0.1, 0.1))
        assert (here, expected) == (pytest.approx(10 * width_um), 3.6)
        assert ratio == pytest.approx(here / expected)
        found = trust_warnings(run_with(), frames, (0.1, 0.1))
        assert any("check the pixel size" in w for w in found) == warned
    # Pixels of half the size are resampled to the model's: 0.35 µm are 3.5 px there too.
    frames = frames_of(median_width_um=[0.35], snr_power=[8.0])
    assert width_ratio(run_with(), frames, (0.05, 0.05))[1] == pytest.approx(3.5)
    assert width_ratio(run_with(), frames_of(median_width_um=[math.nan], snr_power=[8.0]), (0.1, 0.1)) is None
    assert width_ratio(run_with({"family": "ernet-swin2d"}), frames, (0.1, 0.1)) is None


def test_frames_whose_noise_is_unknown_are_counted():
    frames = frames_of(snr_flag=["ok", "snr_not_applicable", "snr_not_applicable"], snr_power=[9.0, math.nan, math.nan])
    (said,) = trust_warnings(run_with(), frames, (0.1, 0.1))
    assert said.startswith("The SNR of 2 of 3 frames")
    assert trust_warnings(run_with(), FRAMES.frame(), (0.1, 0.1)) == []


def test_flicker_stands_beside_that_of_the_static_scene():
    frames = frames_of(changed_share=[math.nan, 0.2, 0.3, 0.4], flicker_share=[math.nan, 0.02, 0.04, math.nan])
    assert "30.0 % of the ER's pixels" in flicker_words(frames, FLOOR_FRAMES.frame())
    still = frames_of(flicker_share=[math.nan, 0.01, math.nan])
    said = flicker_words(frames, still)
    assert "3.00 % differ" in said
    assert "1.00 % in the static scene" in said
    assert "needs three frames" in flicker_words(frames_of(flicker_share=[math.nan] * 2), still)


def test_confidence_is_said_by_class():
    said = confidence_words(frames_of(tubule_confidence=[0.9, 0.8], sheet_confidence=[math.nan] * 2))
    assert "tubules 0.850" in said
    assert "sheets" not in said
    assert "unknown" in confidence_words(frames_of(tubule_confidence=[math.nan]))


def test_figures_are_drawn_of_much_little_and_nothing():
    curve = noise_curve(run_with())
    nothing = frames_of(snr_power=[math.nan], flicker_share=[math.nan])
    some = frames_of(
        snr_power=[3.0, 6.0, 0.0, 4000.0],
        changed_share=[math.nan, 0.2, 0.1, 0.3],
        flicker_share=[math.nan, 0.1, 0.1, math.nan],
        tubule_confidence=[0.9, 0.8, 0.7, 0.6],
    )
    for frames in (FRAMES.frame(), nothing, some):
        assert curve_figure(curve, frames, 5.0).axes[0].lines
        assert flicker_figure(frames, FLOOR_FRAMES.frame()).axes
        assert confidence_figure(frames).axes
    axes = flicker_figure(some, some).axes[0]
    assert [t.get_text() for t in axes.get_legend().get_texts()][-1] == "static scene"
    bars = curve_figure(curve, some, 5.0).axes[0].patches
    assert sum(p.get_height() > 0 for p in bars) >= 3


def test_the_report_holds_the_section(make, movie):
    page = render_movie_report(make.movie_data(movie, run=run_with()))
    assert "How far to trust it" in page
    assert "my-ernet finds" in page
    (without,) = trust_section(make.document("er-movie"), movie.frames, FLOOR_FRAMES.frame(), 5.0)
    assert "has no noise curve" in without.text[0]
    assert len(without.pairs) == 2
    assert trust_section(run_with(), FRAMES.frame(), FLOOR_FRAMES.frame(), 5.0) == []


def test_a_curve_holds_nowhere_where_the_last_level_fails():
    clean = {"junction_f1": 1.0}
    curve = NoiseCurve("m", np.array([2.0, 5.0]), [{"junction_f1": 0.95}, {"junction_f1": 0.5}], clean, 0.1)
    assert math.isnan(curve.holds_from())
    assert "Down to" not in noise_words(curve, np.array([5.0]))
