"""How well thirty sites look in a review page of bounded size: JPEG quality, bytes, error against the stacks.

Stacks of 95 × 125 × 125 voxels (500 nm at 5.24 × 4 × 4 nm) at random places of a real FIB-SEM volume, as they are and
smoothed (standing in for a denoised image).  CISTERNA_TEST_DATA=… python tests/bench/review_page_size.py
"""

import io
import os
import sys
import time
from pathlib import Path

import numpy as np
import tifffile
from cisterna.review.crops import Crop, bytes_for, mosaics, to_grey
from PIL import Image
from scipy.ndimage import gaussian_filter

SHAPE = (95, 125, 125)
VOXEL_NM = (5.24, 4.0, 4.0)
SITES = 30


def main() -> int:
    data = os.environ.get("CISTERNA_TEST_DATA")
    if not data:
        print("skipped: CISTERNA_TEST_DATA names no folder with real data")
        return 0
    volume = tifffile.imread(Path(data) / "fibsem_medulla" / "train1" / "raw.tif")
    rng = np.random.default_rng(0)
    crops = []
    for _ in range(SITES):
        low = [int(rng.integers(0, n - s)) for n, s in zip(volume.shape, SHAPE, strict=True)]
        stack = volume[tuple(slice(o, o + s) for o, s in zip(low, SHAPE, strict=True))].astype(np.float32)
        crops += [Crop(to_grey(image), (0, 0, 0), VOXEL_NM) for image in (stack, gaussian_filter(stack, 0.8))]
    start = time.perf_counter()
    pictures, quality = mosaics(crops, bytes_for(SITES))
    seconds = time.perf_counter() - start
    size = sum(len(p.data_uri) for p in pictures) / 1e6
    print(f"{SITES} sites, raw and smoothed: JPEG quality {quality}, {size:.1f} MB, {seconds:.1f} s")
    for name, crop, shown in (("raw", crops[0], pictures[0]), ("smoothed", crops[1], pictures[1])):
        sheet = np.asarray(Image.open(io.BytesIO(shown.jpeg)), float)
        error = sheet[: SHAPE[1], : SHAPE[2]] - crop.grey[0]
        print(f"{name}: {20 * np.log10(255 / np.sqrt((error**2).mean())):.1f} dB in its first slice")
    return 0


if __name__ == "__main__":
    sys.exit(main())
