"""Changes of classes between frames, counted where they were planted."""

from __future__ import annotations

import math

import numpy as np
import pytest
from cisterna.graph.flags import low_share, worst_flags
from cisterna.graph.flicker import class_changes
from cisterna.graph.snr import LOW, NOT_APPLICABLE, OK
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

BACKGROUND, SBT, TUBULE, SHEET = range(4)
EVERYTHING = {
    "changed_share",
    "flicker_share",
    *(f"{name}_flicker_share" for name in ("background", "sbt", "tubule", "sheet")),
}


def scene() -> np.ndarray:
    """100 pixels of tubule, 60 of sheet, 40 of SBT on 40 × 40."""
    classes = np.zeros((40, 40), np.uint8)
    classes[5, :] = TUBULE
    classes[10:12, :30] = TUBULE
    classes[20:23, :20] = SHEET
    classes[30:32, :20] = SBT
    return classes


def test_a_motionless_scene_changes_in_no_pixel():
    found = class_changes(scene(), scene(), scene())
    assert found == dict.fromkeys(EVERYTHING, 0.0)


def test_planted_flips_are_counted_exactly():
    classes = scene()
    classes[5, :7] = BACKGROUND  # 7 of 100 pixels of tubule vanish
    classes[20, :3] = TUBULE  # 3 of 60 of sheet are called tubule
    classes[30, :2] = SHEET  # 2 of 40 of SBT are called sheet
    classes[0, :5] = SHEET  # 5 of background flash up
    found = class_changes(scene(), classes, scene())
    assert found["flicker_share"] == pytest.approx(17 / 205)
    assert found["changed_share"] == pytest.approx(17 / 205)
    assert found["tubule_flicker_share"] == pytest.approx(7 / 100)
    assert found["sheet_flicker_share"] == pytest.approx(3 / 60)
    assert found["sbt_flicker_share"] == pytest.approx(2 / 40)
    assert found["background_flicker_share"] == pytest.approx(5 / (200 - 7 + 5))


def test_what_moves_on_does_not_flicker():
    movie = [np.roll(scene(), step, axis=0) for step in range(3)]
    found = class_changes(*movie)
    assert found["changed_share"] > 0.3
    assert found["tubule_flicker_share"] == 0 or math.isnan(found["tubule_flicker_share"])
    # A line one pixel wide that goes one pixel a frame is seen in each of its places once, and only there.
    assert found["background_flicker_share"] == pytest.approx(40 / 200)


def test_a_lasting_change_is_no_flicker():
    later = scene()
    later[5, :7] = BACKGROUND
    found = class_changes(scene(), later, later)
    assert found["flicker_share"] == 0
    assert found["changed_share"] == pytest.approx(7 / 200)


def test_the_ends_of_a_movie_know_less():
    first, last = class_changes(None, scene(), scene()), class_changes(scene(), scene(), None)
    assert all(math.isnan(v) for v in first.values())
    assert last["changed_share"] == 0
    assert all(math.isnan(v) for name, v in last.items() if name != "changed_share")
    assert set(first) == set(last) == EVERYTHING


def test_without_er_there_is_nothing_to_change():
    empty = np.zeros((8, 8), np.uint8)
    assert all(math.isnan(v) for v in class_changes(empty, empty, empty).values())


def test_frames_of_another_shape_are_refused():
    with pytest.raises(ValueError, match="must agree"):
        class_changes(scene()[:-1], scene(), scene())


@settings(max_examples=60, deadline=None)
@given(arrays.arrays(np.uint8, (3, 6, 7), elements=st.integers(0, 3)))
def test_shares_are_those_of_counting_pixel_by_pixel(movie: np.ndarray):
    found = class_changes(*movie)
    counts = {name: [0, 0] for name in EVERYTHING}
    for a, b, c in movie.reshape(3, -1).T.tolist():
        flip = a == c != b
        for name, part, whole in (
            ("changed_share", a != b, a or b),
            ("flicker_share", flip, a or b or c),
            ("background_flicker_share", flip and not a, b),
            ("sbt_flicker_share", flip, a == c == SBT),
            ("tubule_flicker_share", flip, a == c == TUBULE),
            ("sheet_flicker_share", flip, a == c == SHEET),
        ):
            counts[name][0] += bool(part and whole)
            counts[name][1] += bool(whole)
    for name, (part, whole) in counts.items():
        assert found[name] == (pytest.approx(part / whole) if whole else pytest.approx(math.nan, nan_ok=True)), name


def test_the_worst_frame_flags_what_lasts_several():
    flags = [OK, OK, NOT_APPLICABLE, OK, LOW, OK]
    first, last = np.array([0, 0, 0, 3, 5, -1, 4]), np.array([1, 2, 5, 3, 9, 0, 4])
    expected = [OK, NOT_APPLICABLE, LOW, OK, OK, OK, LOW]
    assert worst_flags(flags, first, last).tolist() == expected
    assert worst_flags(None, first, last).tolist() == [NOT_APPLICABLE] * 7
    assert worst_flags(flags, first[:0], last[:0]).tolist() == []
    assert low_share(flags) == pytest.approx(1 / 6)
    assert math.isnan(low_share(None))
