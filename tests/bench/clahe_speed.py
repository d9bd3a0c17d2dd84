"""3-D CLAHE in pieces beside scikit-image's in core: processor time a voxel, memory, and whether the bits agree.

    python tests/bench/clahe_speed.py [--edge 256] [--no-reference]

One thread each. Tables: all planes of the volume, each read once. Apply: blocks as the segment service reads them (the
ones of its width-256 grid with the network's halo, inside the volume). Peak memory is that of a process of its own,
above what it held before.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import tempfile
import time

import numpy as np
from cisterna.chunks import BlockGrid, Box
from cisterna.clahe import GREYS, KERNEL, Equalisation, Grey, Lattice, interpolate, lattice_tables
from scipy.ndimage import gaussian_filter

BYTE = Grey("uint8", 0, 255)


def tissue(edge: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    volume = gaussian_filter(rng.normal(size=(edge,) * 3).astype(np.float32), 3) * 900 + 120
    volume += rng.normal(0, 8, volume.shape).astype(np.float32) + np.linspace(-30, 40, edge, dtype=np.float32)
    return np.clip(volume, 0, 255).astype(np.uint8)


def peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def ours(path: str, answer: multiprocessing.Queue) -> None:
    volume = np.load(path)
    edge = len(volume)
    lattice = Lattice(volume.shape)
    kept = Equalisation(lattice_tables(lambda z: volume[z], Lattice((2, 140, 140)), BYTE), Lattice((2, 140, 140)), BYTE)
    kept.apply(volume[:2, :140, :140], (0, 0, 0))  # compiled
    before, begun = peak_mib(), time.process_time()
    tables = lattice_tables(lambda z: volume[z], lattice, BYTE)
    counted = time.process_time() - begun
    kept, voxels, applied = Equalisation(tables, lattice, BYTE), 0, 0.0
    grid = BlockGrid(volume.shape, (min(256, edge // 2),) * 3)
    for n in range(grid.blocks):
        box = grid.box(n).grow(47, 54).intersect(Box.whole(volume.shape))
        part = np.ascontiguousarray(volume[box.slices])
        begun = time.process_time()
        kept.apply(part, box.offset)
        applied += time.process_time() - begun
        voxels += part.size
    answer.put(
        (counted / volume.size, applied / voxels, voxels / volume.size, peak_mib() - before, len(kept.to_bytes()))
    )


def reference(path: str, answer: multiprocessing.Queue) -> None:
    from skimage.exposure import equalize_adapthist
    from skimage.exposure._adapthist import _clahe

    volume = np.load(path)
    equalize_adapthist(volume[:4, :4, :4], 4, 0.02, 256)
    before, begun = peak_mib(), time.process_time()
    equalize_adapthist(volume, KERNEL, 0.02, 256)
    spent, held = time.process_time() - begun, peak_mib() - before
    lattice = Lattice(volume.shape, KERNEL, 0)
    found = np.empty(volume.shape, np.uint16)
    tables = lattice_tables(lambda z: volume[z], lattice, BYTE)
    interpolate(volume, (0, 0, 0), tables, lattice, BYTE, np.arange(GREYS, dtype=np.uint16), found)
    theirs = _clahe(np.round(volume / 255 * (GREYS - 1)).astype(np.uint16), [KERNEL] * 3, 0.02, 256)
    answer.put((spent / volume.size, held, int((found != theirs).sum())))


def alone(work, path: str):
    answer = multiprocessing.get_context("spawn").Queue()
    process = multiprocessing.get_context("spawn").Process(target=work, args=(path, answer))
    process.start()
    found = answer.get()
    process.join()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--edge", type=int, default=256)
    parser.add_argument("--no-reference", action="store_true")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/volume.npy"
        np.save(path, tissue(args.edge))
        counted, applied, read, held, stored = alone(ours, path)
        print(f"{args.edge}³ uint8, ns of one core a voxel: tables {counted * 1e9:.1f}, apply {applied * 1e9:.1f}")
        print(f"  blocks with halo read a voxel {read:.1f} times; {held:.0f} MiB more at the peak; {stored} bytes kept")
        if not args.no_reference:
            spent, memory, differing = alone(reference, path)
            print(f"  scikit-image in core: {spent * 1e9:.0f} ns, {memory:.0f} MiB more; {differing} voxels differ")


if __name__ == "__main__":
    main()
