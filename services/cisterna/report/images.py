"""Images out of the store: OME-Zarr byte for byte, TIFF stacks plane by plane."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import tifffile

from cisterna.chunks import Box
from cisterna.report.site_layers import CLASS_NUMBERS
from cisterna.report.source import RunSource, Tell
from cisterna.store import ObjectStore
from cisterna.store.arrays import open_level, read_box
from cisterna.store.pyramids import Pyramid

CLASSIC_TIFF_BYTES = 2**32 - 2**20
SLAB_BYTES = 256 * 2**20
COPIES_IN_FLIGHT = 4
SITE_CLASS_IMAGES = ("copi", "tubular_eres")


def copy_image(store: ObjectStore, path: str, target: Path, tell: Tell, what: str) -> None:
    """Every object of an image, as it is: the copy is the same OME-Zarr 0.5."""
    sources = store.list(path)

    def copy(source: str) -> None:
        place = target / source.removeprefix(path).lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(store.get(source))

    with ThreadPoolExecutor(COPIES_IN_FLIGHT) as pool:
        for done, _ in enumerate(pool.map(copy, sources), 1):
            tell(what, done / len(sources))


def planes(
    store: ObjectStore, pyramid: Pyramid, dtype: np.dtype, tell: Tell = lambda what, share: None, what: str = ""
) -> Iterator[np.ndarray]:
    """Planes of level 0, read in slabs of one chunk where memory allows, so that few chunks are decoded twice."""
    level = pyramid.levels[0]
    stored = open_level(store, level.path).dtype
    if pyramid.axes == "tzyx":
        for frame in range(level.shape[0]):
            for z in range(level.shape[1]):
                box = Box((frame, z, 0, 0), (1, 1, *level.shape[2:]))
                yield read_box(store, level.path, box)[0, 0].astype(dtype, copy=False)
            tell(what, (frame + 1) / level.shape[0])
        return
    plane_bytes = int(np.prod(level.shape[1:])) * stored.itemsize
    depth = 1 if pyramid.axes[0] == "t" else int(np.clip(SLAB_BYTES // plane_bytes, 1, 64))
    for start in range(0, level.shape[0], depth):
        count = min(depth, level.shape[0] - start)
        slab = read_box(store, level.path, Box((start, 0, 0), (count, *level.shape[1:])))
        yield from slab.astype(dtype, copy=False)
        tell(what, (start + count) / level.shape[0])


def write_tiff(store: ObjectStore, pyramid: Pyramid, target: Path, tell: Tell = lambda what, share: None) -> None:
    """Level 0 as a TIFF stack, with the voxel size in all three axes.

    Labels go out as uint16 where they fit, because Fiji opens uint32 only as its float type, exact to 2**24.
    """
    level = pyramid.levels[0]
    dtype = open_level(store, level.path).dtype
    if dtype == np.uint32 and max(int(plane.max()) for plane in planes(store, pyramid, dtype)) < 2**16:
        dtype = np.dtype(np.uint16)
    write_stack(planes(store, pyramid, dtype, tell, target.name), pyramid, dtype, target)


def write_stack(stack: Iterator[np.ndarray], pyramid: Pyramid, dtype: np.dtype, target: Path) -> None:
    """Planes on the grid of level 0 as TIFF: ImageJ's fields where they hold it, else OME-XML.

    ImageJ's flavour ends at 4 GiB and knows no uint32; beyond, it is a BigTIFF with OME-XML, which Fiji (Bio-Formats)
    and the Imaris file converter read. Both carry the size of a voxel in z too.
    """
    level = pyramid.levels[0]
    target.parent.mkdir(parents=True, exist_ok=True)
    movie, axes = pyramid.axes[0] == "t", pyramid.axes.upper()
    size = int(np.prod(level.shape)) * dtype.itemsize
    fits = size < CLASSIC_TIFF_BYTES
    unit = "µm" if movie else "nm"
    if fits and dtype.itemsize <= 2:
        about = {"axes": axes, "unit": "um" if movie else "nm"}
        about["finterval" if movie else "spacing"] = level.scale[0]  # type: ignore[assignment]
        if axes == "TZYX":
            about["spacing"] = level.scale[1]  # type: ignore[assignment]
        with tifffile.TiffWriter(target, imagej=True) as writer:
            writer.write(
                stack, shape=level.shape, dtype=dtype, photometric="minisblack", metadata=about,
                resolution=(1 / level.scale[-1], 1 / level.scale[-2]),
            )  # fmt: skip
        return
    sizes = {"PhysicalSizeX": level.scale[-1], "PhysicalSizeY": level.scale[-2]}
    units = {"PhysicalSizeXUnit": unit, "PhysicalSizeYUnit": unit}
    if movie:
        sizes["TimeIncrement"], units["TimeIncrementUnit"] = level.scale[0], "s"
    if "Z" in axes:
        sizes["PhysicalSizeZ"], units["PhysicalSizeZUnit"] = level.scale[-3], unit
    with tifffile.TiffWriter(target, ome=True, bigtiff=not fits) as writer:
        writer.write(
            stack, shape=level.shape, dtype=dtype, photometric="minisblack",
            metadata={"axes": axes, **sizes, **units},
        )  # fmt: skip


def site_class_planes(
    source: RunSource, sites: pd.DataFrame, objects: pd.DataFrame, tell: Tell
) -> Iterator[np.ndarray]:
    """Planes (uint8) in which every object of a site has the number of the site's class, 1…6; other objects are 0."""
    classes = dict(zip(sites["site_id"].tolist(), sites["site_class"].tolist(), strict=True))
    layers = []
    for name in SITE_CLASS_IMAGES:
        pyramid = source.pyramids.get(f"labels/{name}")
        if pyramid is not None:
            own = objects[objects["class"] == name]
            numbers = np.zeros(int(own["object_id"].max() if len(own) else 0) + 1, np.uint8)
            numbers[own["object_id"].to_numpy(int)] = [
                CLASS_NUMBERS.get(classes.get(s, ""), 0) for s in own["site_id"].tolist()
            ]
            layers.append((numbers, planes(source.store, pyramid, np.dtype(np.uint32))))
    count = source.base.levels[0].shape[0]
    for n in range(count):
        picture = np.zeros(source.base.levels[0].shape[1:], np.uint8)
        for numbers, stack in layers:
            labels = next(stack)
            found = numbers[np.minimum(labels, len(numbers) - 1)] * (labels < len(numbers))
            picture = np.where(found > 0, found, picture)
        yield picture
        tell("site_classes.tif", (n + 1) / count)
