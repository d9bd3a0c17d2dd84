"""Volumes for training from files: TIFF, .npy, OME-Zarr, Zarr, N5 and WEBKNOSSOS, whole or a box of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cisterna.segment.boundaries import boundaries
from cisterna.segment.training_volumes import LabelledVolume, normalise, percentile_range

if TYPE_CHECKING:
    from cisterna.acquire.chunked import ChunkedArray

RANGE_VOXELS = 2**28
"""A larger image gives its percentiles by every n-th plane."""

Part = tuple[slice, ...]


@dataclass(frozen=True)
class StoredVolume:
    """A volume (z, y, x) on disk. ``padded``: it may go on beyond the image that it belongs to."""

    name: str
    shape: tuple[int, ...]
    read: Callable[[Part], NDArray[Any]]
    padded: bool = False

    def whole(self) -> NDArray[Any]:
        return self.read(tuple(slice(0, n) for n in self.shape))

    def fits(self, shape: Sequence[int]) -> bool:
        """Whether its voxels are those of an image of this shape."""
        if self.padded:
            return all(own >= n for own, n in zip(self.shape, shape, strict=True))
        return self.shape == tuple(shape)


def open_volume(path: str | Path) -> StoredVolume:
    """A volume in a TIFF stack, a .npy file, an OME-Zarr image (level 0), a Zarr or N5 array, or of WEBKNOSSOS.

    Of WEBKNOSSOS: the folder of a dataset in zarr format, or a downloaded .zip of a dataset or annotation; where it
    holds several layers, ``FILE.zip/LAYER``.

    Raises:
        ValueError: it is none of these, or not three-dimensional.
    """
    path = Path(path)
    from cisterna.acquire.webknossos import is_webknossos, open_webknossos

    if is_webknossos(path):
        return _chunked(path, open_webknossos(path), padded=True)
    if path.is_dir():
        from cisterna.acquire.chunked import open_chunked

        return _chunked(path, open_chunked(path), padded=False)
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
        raise ValueError(
            f"{path.name}: training volumes are .tif, .tiff, .npy, OME-Zarr, Zarr, N5 or a .zip of WEBKNOSSOS"
        )
    if array.ndim != 3:
        raise ValueError(f"{path.name} has shape {array.shape}; a volume has three axes (z, y, x)")
    return StoredVolume(path.name, array.shape, lambda part: np.asarray(array[part]))


def _chunked(path: Path, stored: ChunkedArray, *, padded: bool) -> StoredVolume:
    """The axes z, y, x of an array in chunks; others must have one voxel."""
    others = [n for axis, n in zip(stored.axes, stored.shape, strict=True) if axis not in "ZYX"]
    if sorted(a for a in stored.axes if a in "ZYX") != ["X", "Y", "Z"] or any(n != 1 for n in others):
        raise ValueError(f"{path.name} has axes {stored.axes} of {stored.shape}; a volume has three (z, y, x)")
    order = [stored.axes.index(axis) for axis in "ZYX"]
    rest = [n for n in range(len(stored.axes)) if n not in order]

    def read(part: Part) -> NDArray[Any]:
        wanted = dict(zip("ZYX", part, strict=True))
        voxels = stored.read(tuple(wanted.get(axis, slice(0, 1)) for axis in stored.axes))
        ordered: NDArray[Any] = voxels.transpose(*rest, *order)
        return ordered.reshape(ordered.shape[len(rest) :])

    return StoredVolume(path.name, tuple(stored.shape[n] for n in order), read, padded)


def read_volume(path: str | Path) -> NDArray[Any]:
    """All of a volume (z, y, x): see `open_volume`."""
    return open_volume(path).whole()


def image_range(image: StoredVolume) -> tuple[float, float]:
    """Grey values at the 0.1 and 99.9 percentiles, as ingest takes them; of a large image by every n-th plane."""
    every = max(1, -(-int(np.prod(image.shape)) // RANGE_VOXELS))
    if every == 1:
        return percentile_range(image.whole())
    across = tuple(slice(0, n) for n in image.shape[1:])
    planes = [image.read((slice(z, z + 1), *across)) for z in range(0, image.shape[0], every)]
    return percentile_range(np.concatenate(planes))


def file_volume(
    image: str | Path,
    labels: Mapping[str, str | Path],
    mask: str | Path | None = None,
    *,
    bodies: Mapping[str, str | Path] | None = None,
    masks: Mapping[str, str | Path] | None = None,
    metric_masks: Mapping[str, str | Path] | None = None,
    reach_voxels: float = 1.0,
    box: Sequence[Sequence[int]] | None = None,
    invert: bool = False,
    equalised: bool = False,
) -> LabelledVolume:
    """A volume, or a box of one, from files; 0.1 to 99.9 percentiles of the whole image become [−1, 1].

    Args:
        image: grey values.
        labels: class → instances or mask.
        mask: > 0 where the labels of every class hold.
        bodies: class → dense segmentation whose boundaries are the class (`boundaries`, up to ``reach_voxels``).
        masks: class → > 0 where its labels hold.
        metric_masks: class → > 0 where it is judged.
        reach_voxels: how far from the face between two bodies a voxel is boundary.
        box: ((z, y, x) of the first voxel, (z, y, x) after the last); None: everything.
        invert: membranes are bright.
        equalised: the image is CLAHE-equalised: 0 to 255 become [−1, 1].

    Raises:
        ValueError: a file that does not read, or whose voxels are not those of the image.
    """
    stored = open_volume(image)
    part = box_slices(box, stored.shape)
    low, high = (0.0, 255.0) if equalised else image_range(stored)

    def beside(path: str | Path) -> NDArray[Any]:
        other = open_volume(path)
        if not other.fits(stored.shape):
            raise ValueError(
                f"{other.name} has shape {other.shape} and the image {stored.name} {stored.shape}; they must agree"
            )
        return other.read(part)

    truth = {name: beside(path) for name, path in labels.items()}
    certain_of = {name: beside(path) > 0 for name, path in (masks or {}).items()}
    for name, path in (bodies or {}).items():
        truth[name], certain = boundaries(beside(path), reach_voxels=reach_voxels)
        if not certain.all():
            certain_of[name] = certain & certain_of[name] if name in certain_of else certain
    return LabelledVolume(
        stored.name,
        normalise(stored.read(part), low, high, invert=invert),
        truth,
        None if mask is None else beside(mask) > 0,
        certain_of,
        {name: beside(path) > 0 for name, path in (metric_masks or {}).items()},
    )


def box_slices(box: Sequence[Sequence[int]] | None, shape: Sequence[int]) -> Part:
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
