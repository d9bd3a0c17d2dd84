"""What a training is fed: labels by rule, windows, crops, losses and figures; small arrays with known answers."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

torch = pytest.importorskip("torch")
tifffile = pytest.importorskip("tifffile")

from cisterna.ernet.training_crops import (  # noqa: E402
    ANOTHER_CELL,
    Augmentation,
    Degradation,
    augmented,
    degraded,
    training_crop,
)
from cisterna.ernet.training_frames import LabelledFrame, phantom_frames  # noqa: E402
from cisterna.ernet.training_loss import class_loss, silence  # noqa: E402
from cisterna.ernet.training_metrics import agreement  # noqa: E402
from cisterna.ernet.training_settings import ErnetSettings  # noqa: E402
from cisterna.ernet.training_stacks import LabelRule, classes_of, labelled_stack  # noqa: E402


def stack_of(place, marks, images=None):
    paths = place / "images.tif", place / "labels.tif"
    images = np.arange(np.asarray(marks).size, dtype=np.float32).reshape(np.shape(marks)) if images is None else images
    for path, array in zip(paths, (images, np.asarray(marks)), strict=True):
        tifffile.imwrite(path, array, photometric="minisblack")
    return paths


@pytest.mark.parametrize(
    ("values", "rule", "classes"),
    [
        ([0, 1, 2, 3], LabelRule(), [0, 1, 2, 3]),
        ([0, 2, 255, 3], LabelRule(), [0, 2, 255, 3]),
        ([0, 85, 170, 255], LabelRule(), [0, 3, 1, 2]),
        ([0, 255, 0, 255], LabelRule(), [0, 2, 0, 2]),
        ([0, 255, 0, 255], LabelRule("numbers"), [0, 255, 0, 255]),
        ([0, 1, 0, 1], LabelRule("numbers"), [0, 1, 0, 1]),
        ([0, 1, 0, 1], LabelRule(mask_of="tubule"), [0, 2, 0, 2]),
        ([0, 255, 0, 255], LabelRule(mask_of="sheet"), [0, 3, 0, 3]),
        ([0, 0, 0, 0], LabelRule(mask_of="tubule"), [0, 0, 0, 0]),
        ([0, 0, 2, 0, 0, 0], LabelRule(trust_px=1, classes=("background", "tubule")), [255, 0, 2, 0, 255, 255]),
        ([0, 255, 2, 0, 0, 0], LabelRule(trust_px=2), [0, 255, 2, 0, 0, 255]),
        ([0, 0, 0], LabelRule(trust_px=2), [255, 255, 255]),
    ],
)
def test_label_values_mean_what_the_rule_says(values, rule, classes):
    assert classes_of(np.array([[values]], np.uint8), rule)[0, 0].tolist() == classes


@pytest.mark.parametrize(
    ("values", "rule", "sentence"),
    [
        ([0, 99], LabelRule(), "99"),
        ([0, 1], LabelRule(), "--mask-of"),
        ([0, 85], LabelRule("numbers"), "85"),
        ([0, 1, 2], LabelRule(mask_of="tubule"), "0 and one other"),
        ([1, 2], LabelRule(mask_of="tubule"), "0 and one other"),
        ([0, 3], LabelRule(classes=("background", "tubule")), "sheet"),
    ],
)
def test_label_values_that_are_ambiguous_or_unknown_are_refused(values, rule, sentence):
    with pytest.raises(ValueError, match=sentence):
        classes_of(np.array([[values]], np.uint8), rule)


@pytest.mark.parametrize(
    "wrong",
    [
        {"values": "colours"},
        {"mask_of": "background"},
        {"mask_of": "membrane"},
        {"classes": ("tubule",)},
        {"mask_of": "tubule", "classes": ("background", "sheet")},
        {"trust_px": -1.0},
        {"trust_px": float("nan")},
    ],
)
def test_rules_that_make_no_sense_are_refused(wrong):
    with pytest.raises(ValueError, match=r"\w"):
        LabelRule(**wrong)


def test_windows_hold_the_neighbours_and_repeat_the_ends(tmp_path):
    """Frame t is a picture with its only bright column at t, so that a window says which frames it holds."""
    images = np.zeros((6, 8, 8), np.float32)
    for t in range(6):
        images[t, :, t] = 1
    marks = np.full((6, 8, 8), 255, np.uint8)
    for t in (0, 2, 5):
        marks[t] = 2 * (images[t] > 0)
    found = labelled_stack(*stack_of(tmp_path, marks, images), frames=5)
    columns = [[int(picture[0].argmax()) for picture in frame.signal] for frame in found]
    assert columns == [[0, 0, 0, 1, 2], [0, 1, 2, 3, 4], [3, 4, 5, 5, 5]]
    assert [int(np.flatnonzero(frame.classes[0] == 2)[0]) for frame in found] == [0, 2, 5]
    with pytest.raises(ValueError, match="no target"):
        labelled_stack(*stack_of(tmp_path, np.full((2, 8, 8), 255, np.uint8)), LabelRule("numbers"))
    with pytest.raises(ValueError, match="one shape"):
        labelled_stack(*stack_of(tmp_path, marks[:2], images))
    with pytest.raises(ValueError, match="finite"):
        labelled_stack(*stack_of(tmp_path, marks, np.full(marks.shape, np.nan, np.float32)))


def test_images_and_labels_are_resampled_together(tmp_path):
    marks = np.zeros((32, 48), np.uint8)
    marks[:, 20:28] = 2
    marks[:6] = 255
    (frame,) = labelled_stack(*stack_of(tmp_path, marks, (marks == 2).astype(np.float32)), factors=(0.5, 0.5))
    assert frame.signal.shape == (1, 16, 24)
    expected = np.zeros((16, 24), np.uint8)
    expected[:, 10:14] = 2
    expected[:3] = 255
    assert np.array_equal(frame.classes, expected)
    assert (frame.signal[0, 5, 11:13] > 0.7).all()


def test_phantom_windows_repeat_move_and_keep_the_stated_snr():
    first, again, other = (phantom_frames([seed], (64, 96), 3)[0] for seed in (1, 1, 2))
    assert np.array_equal(first.signal, again.signal)
    assert not np.array_equal(first.classes, other.classes)
    assert first.signal.shape == (3, 64, 96)
    assert first.classes.shape == (64, 96)
    assert not np.array_equal(first.signal[0], first.signal[2])
    bright = first.signal[1] > 0.5
    assert (first.classes[bright] > 0).mean() > 0.95  # the classes are those of the middle frame
    how = Degradation(snr=(10, 10), blur_px=(0, 0), haze=(0, 0), gamma=(1, 1))
    noise = degraded(first.signal, how, np.random.default_rng(0)) - first.signal
    assert np.mean(first.signal.astype(float) ** 2) / np.mean(noise**2) == pytest.approx(10, rel=0.1)
    assert abs(np.corrcoef(noise[0].ravel(), noise[1].ravel())[0, 1]) < 0.1


@given(st.integers(0, 2**32), st.sampled_from([(1.0, 1.0), (0.5, 0.5), (2.0, 2.0), (0.7, 1.4)]))
def test_a_crop_keeps_images_and_classes_together_and_holds_a_target(seed, scale):
    """The picture is the class itself: wherever a crop is cut, turned and scaled from, the two still agree."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:40, :60]
    classes = np.where((x // 8 + y // 16) % 2 == 0, 2, 0).astype(np.uint8)
    classes[:, 50:] = 255
    signal = np.stack([(classes == 2).astype(np.float32)] * 3)
    frame = LabelledFrame(signal, classes, recorded=True)
    picture, targets = training_crop(frame, 16, Degradation(), Augmentation(scale=scale, gamma=(1, 1)), rng)
    assert picture.shape == (3, 16, 16)
    assert targets.shape == (16, 16)
    known = targets != 255
    assert known.any()
    wrong = (picture[1] > 0.5) != (targets == 2)
    assert wrong[known].mean() <= (0 if scale == (1.0, 1.0) else 0.2)  # magnified edges round differently


def test_augmented_frames_stay_in_range_and_change_alike():
    signal = np.broadcast_to(np.linspace(0, 1, 32, dtype=np.float32), (2, 32, 32)).copy()
    picture = augmented(signal, ANOTHER_CELL, np.random.default_rng(3))
    assert picture.dtype == np.float32
    assert picture.min() >= 0
    assert picture.max() <= 1
    steps = picture * 255
    assert np.abs(steps - np.round(steps)).max() < 1e-3
    quiet = Augmentation(gain=(0.5, 0.5), gamma=(1, 1), haze=(0.1, 0.2))
    one, two = augmented(signal, quiet, np.random.default_rng(4))
    assert np.array_equal(one, two)
    assert np.array_equal(
        augmented(signal, Augmentation(gamma=(1, 1)), np.random.default_rng(0)) * 255 // 1, signal * 255 // 1
    )
    with pytest.raises(ValueError, match="gain"):
        Augmentation(gain=(0.0, 1.0))
    with pytest.raises(ValueError, match="noise"):
        Augmentation(noise=(0.2, 0.1))


def test_absent_classes_and_unlabelled_pixels_are_no_part_of_the_loss():
    torch.manual_seed(0)
    logits = torch.randn(2, 4, 6, 6)
    classes = torch.randint(0, 2, (2, 6, 6)) * 2
    classes[0, :2] = 255
    plain = class_loss(logits, classes, (0, 2), ErnetSettings())
    other = logits.clone()
    other[:, [1, 3]] += 50
    other[0, :, :2] = 7
    assert class_loss(other, classes, (0, 2), ErnetSettings()) == pytest.approx(float(plain))
    assert class_loss(other, classes, (0, 1, 2, 3), ErnetSettings()) > 10
    labelled = classes != 255
    two = logits[:, [0, 2]].permute(0, 2, 3, 1)[labelled]
    expected = torch.nn.functional.cross_entropy(two, (classes[labelled] == 2).long())
    assert float(plain) == pytest.approx(float(expected), rel=1e-5)
    weighted = ErnetSettings(class_weights={"tubule": 3.0})
    expected = torch.nn.functional.cross_entropy(two, (classes[labelled] == 2).long(), torch.tensor([1.0, 3.0]))
    assert float(class_loss(logits, classes, (0, 2), weighted)) == pytest.approx(float(expected), rel=1e-5)


def test_the_dice_part_is_zero_for_a_perfect_answer_and_one_for_a_wrong_one():
    classes = torch.zeros(1, 8, 8, dtype=torch.int64)
    classes[0, :, 3:6] = 2
    classes[0, 7] = 255
    sure = torch.zeros(1, 4, 8, 8)
    sure[:, 2] = torch.where(classes == 2, 40.0, -40.0)
    with_dice, without = ErnetSettings(dice_weight=1.0), ErnetSettings()
    right = class_loss(sure, classes, (0, 2), with_dice) - class_loss(sure, classes, (0, 2), without)
    wrong = class_loss(-sure, classes, (0, 2), with_dice) - class_loss(-sure, classes, (0, 2), without)
    assert float(right) == pytest.approx(0, abs=1e-4)
    assert float(wrong) == pytest.approx(1, abs=0.05)


def test_silence_touches_absent_classes_only():
    from cisterna.ernet.swin2d import build

    network = build(embed=8, depths=(1,), heads=2)
    before = network.segmentation_decode.weight.detach().clone()
    silence(network, (0, 2))
    logits = network(torch.rand(1, 1, 8, 8))
    assert (logits[:, [1, 3]] == -30).all()
    assert torch.equal(network.segmentation_decode.weight[[0, 2]], before[[0, 2]])


def test_agreement_of_a_known_confusion():
    found = agreement(np.array([[6, 0, 2, 0], [0, 0, 0, 0], [1, 0, 3, 0], [0, 0, 0, 4]]))
    assert found["pixel_accuracy"] == 0.8125
    assert found["iou"] == {"background": 0.6667, "sbt": None, "tubule": 0.5, "sheet": 1.0}
    assert found["f1"]["tubule"] == 0.6667
    assert found["er_fractions"]["true"] == {"sbt": 0.0, "tubule": 0.5, "sheet": 0.5}
    assert found["er_fractions"]["found"] == {"sbt": 0.0, "tubule": 0.5556, "sheet": 0.4444}
    assert found["er_share"] == {"true": 0.5, "found": 0.5625}
    nothing = agreement(np.diag([9, 0, 0, 0]))
    assert nothing["er_fractions"] == {"true": None, "found": None}
    assert nothing["er_share"]["true"] == 0
