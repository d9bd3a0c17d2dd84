"""What the networks learn from: images with labels, and the patches drawn from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cisterna.chunks import reflect_indices
from cisterna.segment.deformation import draw_deformation, nearest, sample_linear

FOREGROUND_SAMPLE = 50_000
"""Foreground voxels remembered per class and volume as places to centre a patch on."""


@dataclass(frozen=True)
class LabelledVolume:
    """An image, the truth of each class, and where the truth is known.

    Attributes:
        name: for messages.
        image: (Z, Y, X) float32, normalised to [−1, 1].
        labels: class → (Z, Y, X), 0 = not the class; other values are instances. A class that is missing is unknown.
        mask: (Z, Y, X) bool, True where the labels of every class hold; None: everywhere.
        masks: class → (Z, Y, X) bool, where its labels hold, besides ``mask``; missing: everywhere.
        metric_masks: class → (Z, Y, X) bool, where it is judged, besides where it is known; missing: everywhere.
    """

    name: str
    image: NDArray[np.float32]
    labels: Mapping[str, NDArray[Any]]
    mask: NDArray[np.bool_] | None = None
    masks: Mapping[str, NDArray[np.bool_]] = field(default_factory=dict)
    metric_masks: Mapping[str, NDArray[np.bool_]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.image.ndim != 3 or self.image.size == 0:
            raise ValueError(f"{self.name}: the image must be a volume (z, y, x), got shape {self.image.shape}")
        if not np.isfinite(self.image).all():
            raise ValueError(f"{self.name}: the image holds NaN or infinity; mask those voxels and fill them")
        parts = [*self.labels.items(), *([("mask", self.mask)] if self.mask is not None else [])]
        parts += [(f"the mask of {name}", part) for name, part in self.masks.items()]
        parts += [(f"the metric mask of {name}", part) for name, part in self.metric_masks.items()]
        for name, part in parts:
            if part.shape != self.image.shape:
                raise ValueError(
                    f"{self.name}: {name} has shape {part.shape} and the image {self.image.shape}; they must agree"
                )

    def known(self, name: str) -> NDArray[np.bool_]:
        """(Z, Y, X) bool: where the labels of a class hold."""
        if name not in self.labels:
            return np.zeros(self.image.shape, bool)
        given = [m for m in (self.mask, self.masks.get(name)) if m is not None]
        return np.logical_and.reduce(given) if given else np.ones(self.image.shape, bool)

    def judged(self, name: str) -> NDArray[np.bool_]:
        """(Z, Y, X) bool: where a class counts in validation and metrics."""
        known = self.known(name)
        return known & self.metric_masks[name] if name in self.metric_masks else known

    def truth(self, name: str) -> NDArray[Any]:
        """(Z, Y, X): the labels of a class, nothing where it is missing."""
        return self.labels[name] if name in self.labels else np.zeros(self.image.shape, np.uint8)

    @cached_property
    def foreground(self) -> dict[str, NDArray[np.intp]]:
        """Class → (n, 3) positions of up to `FOREGROUND_SAMPLE` labelled, known voxels."""
        places = {}
        for name, label in self.labels.items():
            found = np.flatnonzero((label > 0) & self.known(name))
            found = found[:: max(1, -(-len(found) // FOREGROUND_SAMPLE))]
            places[name] = np.stack(np.unravel_index(found, label.shape), axis=1)
        return places


@dataclass(frozen=True)
class Patch:
    """One training example, cut and augmented.

    Attributes:
        image: (n, n, n) float32.
        truth: (classes, m, m, m) int64, 0 or 1; the central m of the n voxels.
        mask: (classes, m, m, m) float32, 1 where the truth of the class is known.
    """

    image: NDArray[np.float32]
    truth: NDArray[np.int64]
    mask: NDArray[np.float32]


def normalise(image: NDArray[Any], low: float, high: float, *, invert: bool = False) -> NDArray[np.float32]:
    """Grey values to [−1, 1]: ``low`` → −1, ``high`` → 1, clipped; inverted when membranes are bright."""
    if not (np.isfinite(low) and np.isfinite(high) and high > low):
        raise ValueError(f"an intensity range needs low < high, got low {low}, high {high}: is the volume constant?")
    scaled: NDArray[np.float32] = np.clip(
        (image.astype(np.float32) - np.float32(low)) * np.float32(2 / (high - low)) - 1, -1, 1
    )
    return -scaled if invert else scaled


def percentile_range(image: NDArray[Any], low: float = 0.1, high: float = 99.9) -> tuple[float, float]:
    """Grey values at two percentiles of a volume, as ingest takes them."""
    a, b = np.percentile(image, [low, high])
    return float(a), float(b)


def phantom_volume(
    seed: int, classes: Sequence[str], *, voxel_size_nm: float = 8.0, small: bool = True
) -> LabelledVolume:
    """A phantom cell, detectors averaged, its optics varied with the seed.

    Small ones are crowded, so that each patch teaches something; the others have the density of a cell.
    """
    from cisterna.phantoms.cell import fibsem_cell

    rng = np.random.default_rng([seed, 77])
    phantom = fibsem_cell(
        (112, 144, 144) if small else (160, 208, 208),
        voxel_size_nm,
        seed=seed,
        density=float(rng.uniform(1.5, 3.0)) if small else 1.0,
        site_rules=False if small else None,
        contrast=float(rng.uniform(0.9, 1.1)),
        noise=float(rng.uniform(0.8, 1.3)),
        blur_nm=float(rng.uniform(4.0, 7.0)),
        plane_jitter=float(rng.uniform(0.5, 2.5)),
    )
    missing = [name for name in classes if name not in phantom.labels]
    if missing:
        raise ValueError(f"phantoms have no class {', '.join(missing)}; they have {', '.join(phantom.labels)}")
    image = (phantom.inlens.astype(np.float32) + phantom.esb) / 2
    labels = {name: phantom.labels["vesicles" if name == "copi" else name].astype(np.uint16) for name in classes}
    return LabelledVolume(f"phantom {seed}", normalise(image, *percentile_range(image)), labels)


def draw_patch(
    volumes: Sequence[LabelledVolume],
    classes: Sequence[str],
    edge: int,
    trim: int,
    rng: np.random.Generator,
    *,
    foreground_share: float = 0.8,
    intensity: float = 0.15,
    noise: float = 0.0,
    blur_voxels: float = 0.0,
    elastic_jitter_voxels: float = 0.0,
    rotation: bool = False,
) -> Patch:
    """A random patch: deformed and turned about z, mirrored and transposed, changed in contrast and brightness.

    Args:
        volumes: to draw from.
        classes: order of the truth's first axis.
        edge: input voxels per axis, n. Where a volume is smaller it is continued by reflection.
        trim: voxels per side that have no output: m = n − 2·trim.
        rng: the only source of chance.
        foreground_share: of the patches whose output holds a voxel of a class (each class as often as any other).
        intensity: contrast and brightness change by up to this.
        noise: white noise of a standard deviation up to this is added to half of the patches.
        blur_voxels: a quarter of the patches is blurred by a Gaussian of up to this σ.
        elastic_jitter_voxels: displacement of control points (`deformation.draw_deformation`).
        rotation: about z, by up to a quarter turn.
    """
    window = edge - 2 * trim
    bent = elastic_jitter_voxels > 0 or rotation
    outer = draw_deformation(edge, rng, jitter_voxels=elastic_jitter_voxels, rotation=rotation) if bent else None
    inner = outer.inner(trim) if outer is not None else None
    for _ in range(20):
        volume = volumes[int(rng.integers(len(volumes)))]
        shape = volume.image.shape
        start = np.array([rng.integers(min(0, n - window), max(0, n - window) + 1) for n in shape])
        present = [name for name in classes if name in volume.labels and len(volume.foreground[name])]
        if present and rng.random() < foreground_share:
            places = volume.foreground[present[rng.integers(len(present))]]
            place, within = places[rng.integers(len(places))], rng.integers(0, window, 3)
            moved = within if inner is None else np.rint(inner.places[(slice(None), *within)]).astype(int) - trim
            start = place - moved  # whatever the deformation, that voxel of the output shows that place
        if inner is None:
            at: tuple[NDArray[np.intp], ...] = np.ix_(
                *[reflect_indices(int(s), int(s) + window, n) for s, n in zip(start, shape, strict=True)]
            )
        else:
            at = nearest(shape, (start - trim).tolist(), inner)
        known = _known(volume, classes, at, window)
        if known.mean(axis=(1, 2, 3)).max() < 0.75 and rng.random() < 0.95:
            continue
        break
    if outer is None:
        grid = [reflect_indices(int(s) - trim, int(s) + window + trim, n) for s, n in zip(start, shape, strict=True)]
        image = volume.image[np.ix_(*grid)]
    else:
        image = sample_linear(volume.image, (start - trim).tolist(), outer)
    truth = np.stack(
        [volume.labels[name][at] > 0 if name in volume.labels else np.zeros((window,) * 3, bool) for name in classes]
    )
    axes = rng.permutation(3)
    flips = tuple(slice(None, None, -1) if f else slice(None) for f in rng.random(3) < 0.5)
    image = image.transpose(axes)[flips]
    known, truth = (part.transpose(0, *(axes + 1))[(slice(None), *flips)] for part in (known, truth))
    scale, shift = 1 + rng.uniform(-intensity, intensity), rng.uniform(-intensity, intensity)
    centre = image.mean()
    image = (image - centre) * np.float32(scale) + centre + np.float32(shift)
    if blur_voxels and rng.random() < 0.25:
        image = ndimage.gaussian_filter(image, rng.uniform(0, blur_voxels), mode="nearest")
    if noise and rng.random() < 0.5:
        image = image + rng.uniform(0, noise) * rng.standard_normal(image.shape, np.float32)
    return Patch(
        np.ascontiguousarray(np.clip(image, -1, 1), dtype=np.float32),
        np.ascontiguousarray(truth, dtype=np.int64),
        np.ascontiguousarray(known),
    )


def _known(
    volume: LabelledVolume, classes: Sequence[str], at: tuple[NDArray[np.intp], ...], window: int
) -> NDArray[np.float32]:
    """(classes, m, m, m): 1 where the labels of a class hold."""
    known = np.ones((len(classes), *(window,) * 3), np.float32)
    if volume.mask is not None:
        known *= volume.mask[at]
    for index, name in enumerate(classes):
        if name not in volume.labels:
            known[index] = 0
        elif name in volume.masks:
            known[index] *= volume.masks[name][at]
    return known
