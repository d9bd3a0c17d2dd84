"""What the networks learn from: images with labels, and the patches drawn from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cisterna.chunks import reflect_indices
from cisterna.segment.boundaries import boundaries

FOREGROUND_SAMPLE = 50_000
"""Foreground voxels remembered per class and volume as places to centre a patch on."""


@dataclass(frozen=True)
class LabelledVolume:
    """An image, the truth of each class, and where the truth is known.

    Attributes:
        name: for messages.
        image: (Z, Y, X) float32, normalised to [−1, 1].
        labels: class → (Z, Y, X), 0 = not the class; other values are instances.
        mask: (Z, Y, X) bool, True where the labels hold; None: everywhere.
    """

    name: str
    image: NDArray[np.float32]
    labels: Mapping[str, NDArray[Any]]
    mask: NDArray[np.bool_] | None = None

    def __post_init__(self) -> None:
        if self.image.ndim != 3 or self.image.size == 0:
            raise ValueError(f"{self.name}: the image must be a volume (z, y, x), got shape {self.image.shape}")
        if not np.isfinite(self.image).all():
            raise ValueError(f"{self.name}: the image holds NaN or infinity; mask those voxels and fill them")
        parts = [*self.labels.items(), *([("mask", self.mask)] if self.mask is not None else [])]
        for name, part in parts:
            if part.shape != self.image.shape:
                raise ValueError(
                    f"{self.name}: {name} has shape {part.shape} and the image {self.image.shape}; they must agree"
                )

    @property
    def known(self) -> NDArray[np.bool_]:
        """(Z, Y, X) bool: where the labels hold."""
        return np.ones(self.image.shape, bool) if self.mask is None else self.mask

    @cached_property
    def foreground(self) -> dict[str, NDArray[np.intp]]:
        """Class → (n, 3) positions of up to `FOREGROUND_SAMPLE` labelled, known voxels."""
        places = {}
        for name, label in self.labels.items():
            known = label > 0 if self.mask is None else (label > 0) & self.mask
            found = np.flatnonzero(known)
            found = found[:: max(1, -(-len(found) // FOREGROUND_SAMPLE))]
            places[name] = np.stack(np.unravel_index(found, label.shape), axis=1)
        return places


@dataclass(frozen=True)
class Patch:
    """One training example, cut and augmented.

    Attributes:
        image: (n, n, n) float32.
        truth: (classes, m, m, m) int64, 0 or 1; the central m of the n voxels.
        mask: (m, m, m) float32, 1 where the truth is known.
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


def read_volume(path: str | Path) -> NDArray[Any]:
    """A volume (z, y, x) from a TIFF stack, a .npy file, an OME-Zarr image (level 0), a Zarr or an N5 array.

    A WEBKNOSSOS dataset is a folder of such arrays: give the folder of the segmentation layer's finest magnification.
    """
    path = Path(path)
    if path.is_dir():
        from cisterna.acquire.chunked import open_chunked

        stored = open_chunked(path)
        others = [n for axis, n in zip(stored.axes, stored.shape, strict=True) if axis not in "ZYX"]
        if sorted(a for a in stored.axes if a in "ZYX") != ["X", "Y", "Z"] or any(n != 1 for n in others):
            raise ValueError(f"{path.name} has axes {stored.axes} of {stored.shape}; a volume has three (z, y, x)")
        voxels = stored.read(tuple(slice(0, n) for n in stored.shape))
        order = [stored.axes.index(axis) for axis in "ZYX"]
        rest = [n for n in range(len(stored.axes)) if n not in order]
        ordered: NDArray[Any] = voxels.transpose(*rest, *order).reshape([stored.shape[n] for n in order])
        return ordered
    if not path.is_file():
        raise ValueError(f"there is no file {path}")
    if path.suffix == ".npy":
        try:
            array = np.load(path, allow_pickle=False)
        except ValueError as error:
            raise ValueError(f"{path.name} is not a plain NumPy array: {error}") from None
    elif path.suffix.lower() in (".tif", ".tiff"):
        import tifffile

        array = tifffile.imread(path)
    else:
        raise ValueError(f"{path.name}: training volumes are .tif, .tiff, .npy, OME-Zarr, Zarr or N5")
    if array.ndim != 3:
        raise ValueError(f"{path.name} has shape {array.shape}; a volume has three axes (z, y, x)")
    volume: NDArray[Any] = array
    return volume


def file_volume(
    image: str | Path,
    labels: Mapping[str, str | Path],
    mask: str | Path | None = None,
    *,
    bodies: Mapping[str, str | Path] | None = None,
    reach_voxels: float = 1.0,
    box: Sequence[Sequence[int]] | None = None,
    invert: bool = False,
) -> LabelledVolume:
    """A volume, or a box of one, from files; 0.1 to 99.9 percentiles of the whole image become [−1, 1].

    Args:
        image: grey values.
        labels: class → instances or mask.
        mask: > 0 where the labels hold.
        bodies: class → dense segmentation whose boundaries are the class (`boundaries`, up to ``reach_voxels``).
        reach_voxels: how far from the face between two bodies a voxel is boundary.
        box: ((z, y, x) of the first voxel, (z, y, x) after the last); None: everything.
        invert: membranes are bright.
    """
    raw = read_volume(image)
    part = box_slices(box, raw.shape)
    grey = normalise(raw[part], *percentile_range(raw), invert=invert)
    truth: dict[str, NDArray[Any]] = {name: read_volume(path)[part] for name, path in labels.items()}
    known = None if mask is None else read_volume(mask)[part] > 0
    for name, path in (bodies or {}).items():
        truth[name], certain = boundaries(read_volume(path)[part], reach_voxels=reach_voxels)
        if not certain.all():
            known = certain if known is None else known & certain
    return LabelledVolume(Path(image).name, grey, truth, known)


def box_slices(box: Sequence[Sequence[int]] | None, shape: Sequence[int]) -> tuple[slice, ...]:
    """A box as slices.

    Raises:
        ValueError: it is empty, or leaves the volume.
    """
    if box is None:
        return tuple(slice(0, n) for n in shape)
    first, after = ([int(n) for n in corner] for corner in box)
    if (
        len(first) != 3
        or len(after) != 3
        or any(not 0 <= a < b <= n for a, b, n in zip(first, after, shape, strict=True))
    ):
        raise ValueError(
            f"box {[first, after]} does not lie in the volume {tuple(shape)}: give [first, after] as z, y, x voxels"
        )
    return tuple(slice(a, b) for a, b in zip(first, after, strict=True))


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
) -> Patch:
    """A random patch with random mirroring, transposition, contrast and brightness.

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
    """
    window = edge - 2 * trim
    for _ in range(20):
        volume = volumes[int(rng.integers(len(volumes)))]
        shape = np.array(volume.image.shape)
        start = np.array([rng.integers(min(0, n - window), max(0, n - window) + 1) for n in shape])
        present = [name for name in classes if len(volume.foreground[name])]
        if present and rng.random() < foreground_share:
            places = volume.foreground[present[rng.integers(len(present))]]
            start = places[rng.integers(len(places))] - rng.integers(0, window, 3)
        inner = [reflect_indices(int(s), int(s) + window, int(n)) for s, n in zip(start, shape, strict=True)]
        known = np.ones((window,) * 3, np.float32)
        if volume.mask is not None:
            known = volume.mask[np.ix_(*inner)].astype(np.float32)
            if known.mean() < 0.75 and rng.random() < 0.95:
                continue
        break
    outer = [reflect_indices(int(s) - trim, int(s) + window + trim, int(n)) for s, n in zip(start, shape, strict=True)]
    image = volume.image[np.ix_(*outer)]
    truth = np.stack([volume.labels[name][np.ix_(*inner)] > 0 for name in classes])
    axes = rng.permutation(3)
    flips = tuple(slice(None, None, -1) if f else slice(None) for f in rng.random(3) < 0.5)
    image = image.transpose(axes)[flips]
    known = known.transpose(axes)[flips]
    truth = truth.transpose(0, *(axes + 1))[(slice(None), *flips)]
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
