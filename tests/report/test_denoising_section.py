"""The report's part about denoising, from receipts and parts as the service leaves them."""

import numpy as np
from cisterna.denoise.trust import block_figures
from cisterna.denoise.trust_map import trust_part
from cisterna.report.build import build_report
from cisterna.report.denoising import read_denoising
from cisterna.report.denoising_section import denoising_section, ranges
from cisterna.report.document import RunDocument
from cisterna.report.page import Page, render_page
from cisterna.store import ObjectStore, open_store
from cisterna.store.parts import to_npz
from cisterna.store.receipts import Receipt, stage_folder
from scipy.ndimage import gaussian_filter

SHAPE, KEY = (64, 32, 48), "k"
RUN = RunDocument(
    "r", "fibsem", "SUCCEEDED", stages={"denoise": {"path": stage_folder("denoise", KEY), "stage_key": KEY}}
)


def finished(lost: bool) -> ObjectStore:
    """Two blocks along z; in the second, where `lost`, a ball is missing from the denoised picture."""
    rng = np.random.default_rng(0)
    scene = 120 + 200 * gaussian_filter(rng.normal(size=SHAPE), 3)
    z, y, x = np.ogrid[: SHAPE[0], : SHAPE[1], : SHAPE[2]]
    ball = 15.0 * ((z - 40) ** 2 + (y - 8) ** 2 + (x - 24) ** 2 < 36)
    raws = [scene + ball + rng.normal(0, 8, SHAPE) for _ in (0, 1)]
    store = open_store("memory://")
    for number, first in enumerate((0, 32)):
        cut = slice(first, first + 32)
        clean = (scene if lost else scene + ball)[cut]
        raw, denoised = [r[cut] for r in raws], [clean, clean]
        part = {"offset": np.array([first, 0, 0]), **trust_part(raw, denoised, clean)}
        store.put_new(f"{stage_folder('denoise', KEY)}/parts/{number:08d}.npz", to_npz(part))
        receipt = Receipt(
            "denoise", KEY, 2, number, 1, "w", "cpu", "m", (), 0, 0, 0, clean.size, block_figures(raw, denoised)
        )
        store.put_new(receipt.path, receipt.to_bytes())
    return store


def test_lost_structure_is_in_the_map_and_first_in_the_table() -> None:
    report = read_denoising(finished(lost=True), RUN, SHAPE)
    assert report is not None
    assert report.score == "shared_score"
    assert report.cubes == 4 * 2 * 3
    assert report.worst[0].start == (32, 0, 16)
    assert np.unravel_index(np.nanargmax(report.above_yx), report.above_yx.shape) == (0, 1)
    assert np.unravel_index(np.nanargmax(report.above_zx), report.above_zx.shape) == (2, 1)
    (section,) = denoising_section(report, (8.0, 4.0, 4.0))
    assert section.pictures
    assert len(section.pairs) == 2
    through_z, worst = section.grids
    assert [row[0] for row in through_z.rows] == ["0–31", "32–63"]
    assert through_z.rows[0][2] > 7
    assert worst.rows[0][1:4] == (32, 0, 16)
    assert worst.rows[0][4:] == (40 * 8.0, 8 * 4.0, 24 * 4.0)


def test_a_good_result_has_an_empty_map_and_no_warning() -> None:
    report = read_denoising(finished(lost=False), RUN, SHAPE)
    assert report is not None
    assert report.flagged == 0
    assert report.worst == ()
    (section,) = denoising_section(report, (8.0, 4.0, 4.0))
    assert len(section.grids) == 1
    assert any("No stripes" in text for text in section.text)


def test_a_run_without_denoising_has_no_such_part() -> None:
    assert read_denoising(open_store("memory://"), RUN, SHAPE) is None
    assert read_denoising(open_store("memory://"), RunDocument("r", "fibsem", "SUCCEEDED"), SHAPE) is None
    assert denoising_section(None, (8.0, 8.0, 8.0)) == []


def test_plane_numbers_in_words() -> None:
    assert ranges([3, 4, 5, 9, 12, 13]) == "3–5, 9, 12–13"
    assert ranges(list(range(0, 60, 2))).endswith("and 18 more")


def test_the_page_shows_it() -> None:
    report = read_denoising(finished(lost=True), RUN, SHAPE)
    sections = denoising_section(report, (8.0, 4.0, 4.0))
    page = render_page(Page("title", "subject", RUN, "lead", ["warning"], sections))
    assert "Where the residual is least like noise" in page
    assert page.count("<img") == 3


def test_a_report_of_a_run_holds_it_and_warns_at_its_head(store, volume, make) -> None:
    run_id = make.put_volume_run(store, volume)
    key = make.document().stages["denoise"]["stage_key"]
    rng = np.random.default_rng(1)
    striped = volume.denoised + 6 * gaussian_filter(rng.normal(size=(72, 1, 160)), (1, 0, 1)) / 0.5
    raw = striped + rng.normal(0, 8, striped.shape)
    part = {"offset": np.zeros(3, int), **trust_part([raw], [striped], striped)}
    store.put("stages/denoise/x/parts/00000000.npz", to_npz(part))
    receipt = Receipt("denoise", key, 2, 0, 1, "w", "cpu", "m", (), 0, 0, 0, raw.size, block_figures([raw], [striped]))
    store.put_new(receipt.path, receipt.to_bytes())
    page = build_report(store, run_id).decode()
    assert "How far to trust the denoised volume" in page
    head, _, _ = page.partition("What was found")
    assert "stripes along y (curtains)" in head
