"""Labelled TIFF stacks as frames to train an ERnet on: what the values of the labels mean, and what is no target."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from .frames import CLASSES, normalise_frame, scaled_frame, to_shape
from .training_frames import UNLABELLED, LabelledFrame

PUBLISHED_GREY = {0: 0, 85: 3, 170: 1, 255: 2}
"""Grey values of published label images → class: 0 background, 85 sheet, 170 SBT, 255 tubule."""

LABEL_VALUES = ("auto", "numbers", "greys")


@dataclass(frozen=True)
class LabelRule:
    """How a label image is read.

    `values`: `numbers` (0 background, 1 SBT, 2 tubule, 3 sheet, 255 no target), `greys` (the published ones, in which
    255 is tubule), or `auto`: numbers where 1, 2 or 3 occurs, greys otherwise.
    `mask_of`: the labels are a mask instead, and what is not 0 is of this class.
    `trust_px`: only pixels within this distance of a labelled structure are targets, because hand masks rarely cover
    a whole frame; None trusts all.
    `classes`: those that the labels tell apart. Others are absent: they take no part in the loss. None: all four, or
    background and `mask_of`.
    """

    values: str = "auto"
    mask_of: str | None = None
    trust_px: float | None = None
    classes: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if self.values not in LABEL_VALUES:
            raise ValueError(f"label values are {', '.join(LABEL_VALUES)}, not {self.values!r}")
        for name in (*(self.classes or ()), *([self.mask_of] if self.mask_of else [])):
            if name not in CLASSES:
                raise ValueError(f"{name!r} is no class; the classes are {', '.join(CLASSES)}")
        if self.mask_of == CLASSES[0]:
            raise ValueError("a mask is of sbt, tubule or sheet; what it leaves out is background")
        if self.classes is not None and len(set(self.classes)) < 2:
            raise ValueError(f"labels tell at least two classes apart; got {', '.join(self.classes) or 'none'}")
        if self.mask_of and self.classes and not {CLASSES[0], self.mask_of} <= set(self.classes):
            raise ValueError(f"a mask of {self.mask_of} holds background and {self.mask_of}; name both as classes")
        if self.trust_px is not None and not self.trust_px >= 0:
            raise ValueError(f"the trusted distance must be 0 px or more, not {self.trust_px}")

    @property
    def known(self) -> tuple[int, ...]:
        """Numbers of the classes that the labels tell apart, ascending."""
        names = self.classes or ((CLASSES[0], self.mask_of) if self.mask_of else CLASSES)
        return tuple(number for number, name in enumerate(CLASSES) if name in names)


def labelled_stack(
    images: Path,
    labels: Path,
    rule: LabelRule | None = None,
    frames: int = 1,
    factors: tuple[float, float] = (1.0, 1.0),
) -> list[LabelledFrame]:
    """Frames of a TIFF stack (t, y, x) or single image, with labels of the same shape.

    Each is normalised as published, with the range of its stack. `frames` is the length T of a window: previous …
    current … next, the first and last frame of the stack repeated where it ends. A frame without any target is context
    only. `factors` (y, x): images and labels are scaled by them (`frames.resampling`).
    Raises ValueError for labels that do not fit the images or the rule.
    """
    import tifffile

    rule = rule or LabelRule()
    pictures, marks = (np.asarray(tifffile.imread(path)) for path in (images, labels))
    if pictures.shape != marks.shape or pictures.ndim not in (2, 3):
        raise ValueError(f"{images} is {pictures.shape}, {labels} is {marks.shape}: give (t, y, x) stacks of one shape")
    shape = (-1, *pictures.shape[-2:])
    pictures, marks = pictures.reshape(shape), marks.reshape(shape)
    classes = classes_of(marks, rule, str(labels))
    finite = pictures[np.isfinite(pictures)]
    if not finite.size:
        raise ValueError(f"{images} holds no finite grey value")
    low, high = float(finite.min()), float(finite.max())
    seen = [scaled_frame(normalise_frame(picture, low, high), factors) for picture in pictures]
    before = frames // 2
    found = []
    for number, mark in enumerate(classes):
        if (mark == UNLABELLED).all():
            continue
        window = np.clip(np.arange(number - before, number - before + frames), 0, len(seen) - 1)
        signal = np.stack([seen[i] for i in window])
        found.append(LabelledFrame(signal, scaled_classes(mark, signal.shape[1:]), recorded=True))
    if not found:
        raise ValueError(f"{labels} holds no target: every pixel is unlabelled")
    return found


def classes_of(marks: NDArray[Any], rule: LabelRule, source: str = "the labels") -> NDArray[np.uint8]:
    """Label values (t, y, x) → classes (t, y, x), uint8: 0 to 3 or `UNLABELLED`. Raises ValueError for other values."""
    values = set(np.unique(marks).tolist())
    if rule.mask_of:
        classes = np.where(marks != 0, np.uint8(CLASSES.index(rule.mask_of)), np.uint8(0))
        if len(values) > 2 or (len(values) == 2 and 0 not in values):
            raise ValueError(f"{source} holds the values {some(values)}: a mask has 0 and one other value")
    elif (
        rule.values != "greys"
        and values <= {0, 1, 2, 3, UNLABELLED}
        and (rule.values == "numbers" or values & {1, 2, 3})
    ):
        classes = marks.astype(np.uint8)
        if rule.values == "auto" and values <= {0, 1}:
            raise ValueError(
                f"{source} holds only 0 and 1: for a mask, name its class (--mask-of tubule); "
                "if 1 is sheet-based tubule, say so (--label-values numbers)"
            )
    elif rule.values != "numbers" and values <= set(PUBLISHED_GREY):
        classes = np.zeros(marks.shape, np.uint8)
        for grey, number in PUBLISHED_GREY.items():
            classes[marks == grey] = number
    else:
        raise ValueError(
            f"{source} holds the values {some(values)}; labels are 0 background, 1 SBT, 2 tubule, 3 sheet, 255 no "
            "target, or the published grey values 0, 85, 170, 255, or a mask of one class (--mask-of)"
        )
    absent = (set(np.unique(classes).tolist()) - {UNLABELLED}) - set(rule.known)
    if absent:
        names = ", ".join(CLASSES[number] for number in sorted(absent))
        raise ValueError(f"{source} holds {names}, which --classes leaves out")
    if rule.trust_px is not None:
        for mark in classes:
            structure = (mark != 0) & (mark != UNLABELLED)
            near = distance_transform_edt(~structure) <= rule.trust_px if structure.any() else structure
            mark[~near] = UNLABELLED
    return classes


def scaled_classes(classes: NDArray[np.uint8], shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Classes on another grid over the same area: of each pixel the class with the largest share of it."""
    if classes.shape == tuple(shape):
        return classes
    present = np.unique(classes)
    shares = [to_shape((classes == value).astype(np.float32), shape) for value in present]
    return np.asarray(present[np.argmax(shares, axis=0)])


def some(values: set[Any]) -> str:
    listed = sorted(values)
    return ", ".join(str(value) for value in listed[:6]) + (" …" if len(listed) > 6 else "")
