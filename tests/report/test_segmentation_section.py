"""What a report says of models on foreign data: distances, warnings, and runs whose parts are old, lost or torn."""

import numpy as np
import pytest
from cisterna.report.build import build_report
from cisterna.report.document import RunDocument
from cisterna.report.page import Page, render_page
from cisterna.report.segmentation import (
    ClassSignature,
    ModelMemory,
    add_up,
    distance,
    read_segmentation,
    structure_levels,
    warnings_of,
)
from cisterna.report.segmentation_section import segmentation_section
from cisterna.segment.signature import block_signature
from cisterna.store import open_store
from cisterna.store.parts import to_npz
from cisterna.store.receipts import Receipt

SHAPE = (48, 64, 64)
BRIGHT = 180.0


def cell(seed=0, level=BRIGHT, sigma=14.0):
    """Grey values of a bright cytosol with dark membranes every 16 voxels of the first 32 columns, and what is them."""
    rng = np.random.default_rng(seed)
    grey = level + rng.normal(0, sigma, SHAPE)
    membrane = np.zeros(SHAPE, bool)
    membrane[:, :, 4:32:8] = True
    grey[membrane] -= 110
    return np.clip(grey, 0, 255).astype(np.uint8), membrane


def signature(grey, probability, low=0, high=255, **more):
    return {"offset": np.zeros(3, int), **block_signature(grey, probability, low, high, **more)}


def sharp(membrane):
    return np.where(membrane, 250, 2).astype(np.uint8)


GREY, MEMBRANE = cell()
PART = signature(GREY, sharp(MEMBRANE))
CARD = {"metrics": {name: (PART[name] / GREY.size).tolist() for name in ("input_histogram", "probability_histogram")}}


def of(part, card=CARD, name="er", **more):
    return add_up(name, f"model-{name}", ModelMemory.of(card), 1, [part], **more)


def test_the_distance_is_how_far_grey_values_must_be_moved():
    a, b = np.zeros(32), np.zeros(32)
    a[4], b[12] = 7, 1
    assert distance(a, b) == pytest.approx(8 / 32)
    assert distance(a, a) == 0
    assert np.isnan(distance(np.zeros(32), b))
    assert np.isnan(distance(a, None))
    rng = np.random.default_rng(0)
    x, y = rng.beta(2, 5, 20000), rng.beta(3, 3, 20000)
    hist = [np.histogram(v, 32, (0, 1))[0] for v in (x, y)]
    assert distance(*hist) == pytest.approx(np.abs(np.sort(x) - np.sort(y)).mean(), abs=1e-3)


def test_the_data_a_model_was_made_for_raise_nothing():
    grey, membrane = cell(seed=5, level=176, sigma=17)
    found = of(signature(grey, sharp(membrane)))
    assert found.input_distance < 0.05
    assert warnings_of([found]) == []
    (section,) = segmentation_section([found], (8, 8, 8))
    assert "Nothing here says that the data are foreign to the models." in section.text
    assert [g.caption for g in section.grids] == ["What the networks saw and gave"]


def test_bright_membranes_are_told_from_other_grey_values():
    found = of(signature(255 - GREY, sharp(MEMBRANE)))
    assert found.mirrored
    (said,) = warnings_of([found])
    assert "Membranes look bright" in said
    assert "`--polarity bright`" in said
    (said,) = warnings_of([of(signature(255 - GREY, sharp(MEMBRANE)), inverted=True)])
    assert "`--polarity dark`" in said
    corrected = of(signature(255 - GREY, sharp(MEMBRANE), invert=True), inverted=True)
    assert warnings_of([corrected]) == []
    stretched = (GREY / 3).astype(np.uint8)
    stretched[:, :4, :4] = 255
    (said,) = warnings_of([of(signature(stretched, sharp(MEMBRANE)))])
    assert "unlike those of the training" in said
    other = of(signature((GREY * 0.6).astype(np.uint8), sharp(MEMBRANE)))
    (said,) = warnings_of([other])
    assert "unlike those of the training" in said


def test_classes_with_the_same_fault_share_a_sentence():
    foreign = signature((GREY * 0.6).astype(np.uint8), sharp(MEMBRANE))
    (said,) = warnings_of([of(foreign, name=n) for n in ("er", "copi", "ccv")])
    assert said.startswith("model-er, model-copi and model-ccv met")


def test_undecided_voxels_are_judged_by_the_models_own():
    rng = np.random.default_rng(1)
    unsure = np.where(MEMBRANE, rng.integers(80, 190, SHAPE), 2).astype(np.uint8)
    (said,) = warnings_of([of(signature(GREY, unsure))])
    assert said.startswith("Much is undecided")
    assert "(0 % on the model's own data)" in said
    own = signature(GREY, unsure)
    card = {"metrics": {n: own[n].tolist() for n in ("input_histogram", "probability_histogram")}}
    always = of(own, card)
    assert always.never_decided
    assert warnings_of([always]) == []
    (section,) = segmentation_section([always], (8, 8, 8))
    assert any("undecided on its own data too" in text for text in section.text)
    assert always.own_ambiguous_share == pytest.approx(always.ambiguous_share, rel=0.02)
    few = np.where(np.arange(GREY.size).reshape(SHAPE) == 5, 128, 0).astype(np.uint8)
    assert np.isnan(of(signature(GREY, few)).undecided)


def test_positives_in_empty_resin_are_shown_with_their_places():
    seen = sharp(MEMBRANE)
    seen[20:30, 20:30, 44:54] = 250
    part = signature(GREY, seen)
    plain = structure_levels(part) < 8
    assert plain[:, :, 2:].all()
    assert not plain[:, :, :2].any()
    found = of(part)
    assert found.featureless_positives == 1000
    assert found.featureless_share == pytest.approx(1000 / (seen > 127).sum())
    said = " ".join(warnings_of([of(part), of(PART, name="copi")]))
    assert "no structure" in said
    assert "copi" not in said
    (section,) = segmentation_section([found], (4, 8, 8))
    grid = section.grids[1]
    assert sum(row[1] for row in grid.rows) == 1000
    assert grid.rows[0][1:] == (600, 16, 16, 48, 24 * 4, 24 * 8, 56 * 8)


def test_a_model_without_histograms_is_named_once():
    found = [of(PART, {"metrics": None}, n) for n in ("er", "copi")]
    (said,) = warnings_of(found)
    assert said.startswith("model-copi, model-er cannot be compared")
    for metrics in ({"input_histogram": [1, 2]}, {"input_histogram": "x"}, {"input_histogram": [0] * 32}, {}):
        assert ModelMemory.of({"metrics": metrics}).input is None
    (section,) = segmentation_section(found, (8, 8, 8))
    assert "–" in section.grids[0].rows[0]
    assert "How far to trust the segmentation" in page([section])


def test_blocks_add_up_whatever_their_order():
    parts = [
        signature(*(a[:, y : y + 32] for a in (GREY, sharp(MEMBRANE)))) | {"offset": np.array([0, y, 0])}
        for y in (0, 32)
    ]
    whole, forth, back = (add_up("er", "m", ModelMemory(), 2, p) for p in ([PART], parts, parts[::-1]))
    for name in ("ambiguous", "positives", "cubes", "featureless", "featureless_positives", "voxels"):
        assert getattr(whole, name) == getattr(forth, name)
    assert forth.worst == back.worst
    assert np.array_equal(whole.input_histogram, forth.input_histogram)


def test_nan_and_empty_parts():
    grey = np.full(SHAPE, np.nan, np.float32)
    found = of(signature(grey, np.zeros(SHAPE, np.uint8), 0, 1))
    assert found.not_finite == grey.size
    assert found.cubes == 0
    (section,) = segmentation_section([found], (8, 8, 8))
    assert any("not finite" in text for text in section.text)
    page([section])


def page(sections):
    return render_page(Page("title", "subject", RunDocument("r", "fibsem", "SUCCEEDED"), "lead", [], sections))


def run_with(path="stages/segment-er/k"):
    stage = {
        "stage_key": "k",
        "path": path,
        "blocks": 3,
        "done": 3,
        "model": "m",
        "params": {"intensity": {"invert": True}},
    }
    pyramid = stage | {"path": "stages/segment-er-pyramid1/k"}
    return RunDocument(
        "r", "fibsem", "SUCCEEDED", stages={"segment-er": stage, "segment-er-pyramid1": pyramid}, models={"m": CARD}
    )


def finished(parts):
    store = open_store("memory://")
    for number, data in enumerate(parts):
        store.put_new(
            Receipt("segment-er", "k", 3, number, 1, "w", "cpu", "m", (), 0, 0, 0, 1).path,
            Receipt("segment-er", "k", 3, number, 1, "w", "cpu", "m", (), 0, 0, 0, 1).to_bytes(),
        )
        if data is not None:
            store.put(f"stages/segment-er/k/parts/{number:08d}.npz", data)
    return store


def test_old_lost_and_torn_parts_are_a_sentence():
    whole = to_npz(PART)
    lacking = to_npz({k: v for k, v in PART.items() if k != "pairs"})
    store = finished([whole, None, whole[: len(whole) // 2], lacking])
    (found,) = read_segmentation(store, run_with())
    assert (found.name, found.model, found.inverted, found.blocks, found.parts) == ("er", "m", True, 4, 1)
    assert found.voxels == GREY.size
    (section,) = segmentation_section([found], (8, 8, 8))
    assert "not known of er: 3 of 4 blocks" in section.text[0]
    assert section.pictures
    old = read_segmentation(finished([None, None]), run_with())
    (section,) = segmentation_section(old, (8, 8, 8))
    assert len(section.text) == 1
    assert section.pictures == ()
    assert warnings_of(old) == []
    assert segmentation_section(read_segmentation(finished([]), RunDocument("r", "fibsem", "FAILED")), (8,) * 3) == []


def test_a_report_of_a_run_holds_it_and_warns_at_its_head(store, volume, make):
    run = make.document()
    stages = run.stages | run_with().stages
    run_id = make.put_volume_run(store, volume, stages=stages, models=run.models | {"m": CARD})
    receipt = Receipt("segment-er", "k", 3, 0, 1, "w", "cpu", "m", (), 0, 0, 0, GREY.size)
    store.put_new(receipt.path, receipt.to_bytes())
    store.put("stages/segment-er/k/parts/00000000.npz", to_npz(signature(255 - GREY, sharp(MEMBRANE))))
    page = build_report(store, run_id).decode()
    assert "How far to trust the segmentation" in page
    head, _, _ = page.partition("What was found")
    assert "Membranes look bright" in head
    assert "<code>--polarity dark</code>" in head


def test_a_signature_of_nothing_says_nothing():
    assert warnings_of([ClassSignature("er", "m", ModelMemory.of(CARD), 0, 0)]) == []
