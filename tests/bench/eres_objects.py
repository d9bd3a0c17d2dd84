"""Touching vesicles and diameters against planted truth, and what each step costs: prints the figures of docs/eres.md.

python tests/bench/eres_objects.py
"""

import time

import numpy as np
from cisterna.chunks import Box
from cisterna.eres import SPLITTING, label_components, split_touching
from cisterna.eres.objects import objects_frame
from cisterna.eres.profiles import measure_on_image
from cisterna.eres.sums import ObjectSums
from cisterna.phantoms.cell import fibsem_cell
from cisterna.phantoms.chains import plant_chains
from cisterna.tables.volumes import VESICLES
from scipy.ndimage import gaussian_filter

AXES = [f"centroid_{a}_nm" for a in "zyx"]


def splitting() -> None:
    print(
        "splitting: planted vesicles that are an object of their own, by gap; objects that hold one vesicle (precision)"
    )
    print(
        "voxels nm       blur nm  planted  components  objects  0 nm    5 nm    10 nm   alone   precision  ms/component"
    )
    for size in ((5.24, 4.0, 4.0), (5.0, 5.0, 5.0), (8.0, 8.0, 8.0)):
        for blur in (3.0, 6.0, 9.0):
            chains = plant_chains(chains=12, lone=18, voxel_size_nm=size, segmentation_blur_nm=blur, seed=11)
            components = label_components(chains.probability >= 128)
            began = time.process_time()
            labels = split_touching(components, size, SPLITTING)
            spent = time.process_time() - began
            got = labels[tuple(np.floor(chains.truth[AXES].to_numpy() / size).astype(int).T)]
            alone = (np.bincount(got)[got] == 1) & (got > 0)
            held = np.bincount(got, minlength=int(labels.max()) + 1)[1:]
            gap = chains.truth["gap_nm"].to_numpy()
            parts = [alone[gap == g].mean() for g in (0, 5, 10)] + [alone[np.isnan(gap)].mean()]
            print(
                f"{'×'.join(f'{s:g}' for s in size):14s}  {blur:7g}  {len(got):7d}  {int(components.max()):10d}  "
                f"{int(labels.max()):7d}  " + "  ".join(f"{100 * p:4.0f} %" for p in parts)
                + f"  {100 * (held == 1).mean():7.0f} %  {1e3 * spent / components.max():10.1f}"
            )  # fmt: skip


def fit(true: np.ndarray, found: np.ndarray) -> str:
    ok = np.isfinite(found)
    slope = np.polyfit(true[ok], found[ok], 1)[0]
    off = found[ok] - true[ok]
    return f"{int(ok.sum()):4d}/{len(ok):<4d}  {slope:5.2f}  {off.mean():+6.2f} ± {off.std():4.2f}"


def diameters() -> None:
    print("\ndiameters, planted 45–95 nm: found, slope, error in nm (mean ± sd)")
    print(
        "volume                        threshold   image                             mask                    ms/vesicle"
    )
    for size in ((5.24, 4.0, 4.0), (8.0, 8.0, 8.0)):
        chains = plant_chains(chains=12, lone=30, voxel_size_nm=size, seed=12)
        truth = chains.truth.rename(columns={"diameter_nm": "true"})
        compare("chains", size, chains.image, chains.probability / 255.0, truth)
    for size, shape in (((5.24, 4.0, 4.0), (200, 300, 300)), ((8.0, 8.0, 8.0), (176, 240, 240))):
        cell = fibsem_cell(shape, size, seed=3)
        truth = cell.objects[cell.objects["class"].isin(["copi_like", "copii_like"])]
        blurred = gaussian_filter((cell.labels["copi"] > 0).astype(np.float32), 6.0 / np.asarray(size))
        compare("cell", size, cell.inlens, blurred, truth.rename(columns={"diameter_nm": "true"}))


def compare(name, size, image, probability, truth) -> None:
    for threshold in (0.3, 0.5, 0.7):
        labels = split_touching(label_components(probability >= threshold), size, SPLITTING)
        frame = objects_frame(VESICLES, ObjectSums.of_labels(labels), size, labels.shape)
        began = time.process_time()
        seen = measure_on_image(frame, labels, image, Box.whole(labels.shape), (0, 0, 0), size)
        spent = time.process_time() - began
        got = labels[tuple(np.floor(truth[AXES].to_numpy(float) / size).astype(int).T)]
        true = truth["true"].to_numpy(float)[got > 0]
        rows = seen.fill(frame).set_index("object_id").loc[got[got > 0]]
        what = f"{name} {'×'.join(f'{s:g}' for s in size)}"
        by_image, by_mask = (fit(true, rows[c].to_numpy()) for c in ("diameter_image_nm", "diameter_mask_nm"))
        print(f"{what:28s}  {threshold:9g}   {by_image}   {by_mask}   {1e3 * spent / len(frame):8.1f}")


def shapes() -> None:
    print("\nballs at 5.24×4×4 nm, random positions: area, sphericity, longest and shortest axis, over the true ones")
    size, rng = np.array((5.24, 4.0, 4.0)), np.random.default_rng(0)
    for diameter in (30, 45, 60, 76, 95):
        found = []
        for _ in range(40):
            n = int(np.ceil(diameter / 4)) + 4
            grid = np.stack(np.meshgrid(*[np.arange(n)] * 3, indexing="ij"), -1) * size
            centre = (n / 2 + rng.uniform(-0.5, 0.5, 3)) * size
            ball = (((grid - centre) ** 2).sum(-1) <= diameter**2 / 4).astype(np.uint32)
            row = objects_frame(VESICLES, ObjectSums.of_labels(ball), tuple(size), ball.shape).iloc[0]
            area = row["surface_area_nm2"] / (np.pi * diameter**2)
            found.append((area, row["sphericity"], row["axis_major_nm"] / diameter, row["axis_minor_nm"] / diameter))
        mean, spread = np.mean(found, axis=0), np.std(found, axis=0)
        print(f"{diameter:3d} nm  " + "   ".join(f"{m:.3f} ± {s:.3f}" for m, s in zip(mean, spread, strict=True)))


if __name__ == "__main__":
    splitting()
    diameters()
    shapes()
