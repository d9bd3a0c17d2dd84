"""The part of the report that says how far to trust the denoised volume."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from cisterna.report.canvas import PLATE_DPI, Picture, dress, new_figure, picture
from cisterna.report.denoising import CUBE, STRIPE_PLANES, STRIPE_SCORE, DenoisingReport
from cisterna.report.page import Grid, Section, number
from cisterna.report.palette import INK, MUTED, SITE_COLOURS

LISTED_PLANES = 12
NAMES = {
    "noise_sigma_before": "noise before",
    "noise_sigma_after": "noise after",
    "residual_whiteness": "residual: neighbours",
    "residual_signal_correlation": "residual: signal",
    "fsc_before": "FSC raw v raw",
    "fsc_after": "FSC denoised v other raw",
}
FIRST, SECOND = SITE_COLOURS["vesicular_mixed"], SITE_COLOURS["tubular_mixed"]


def ranges(numbers: Sequence[int]) -> str:
    """Plane numbers in words: 3–5, 9, 12–40; the first dozen of runs, then how many more planes there are."""
    runs: list[list[int]] = []
    for n in numbers:
        if runs and n == runs[-1][-1] + 1:
            runs[-1][1:] = [int(n)]
        else:
            runs.append([int(n)])
    words = [f"{r[0]}–{r[-1]}" if len(r) > 1 else f"{r[0]}" for r in runs[:LISTED_PLANES]]
    rest = sum(r[-1] - r[0] + 1 for r in runs[LISTED_PLANES:])
    return ", ".join(words) + (f" and {rest} more" if rest else "")


def artefact_warnings(data: DenoisingReport | None) -> list[str]:
    """Artefacts that survive denoising, one sentence each: stripes, and uneven planes."""
    if data is None or data.planes is None:
        return []
    found = []
    for axis, planes in data.planes.striped.items():
        own = data.planes.stripe_amplitude["yx".index(axis)][planes]
        found.append(
            f"The denoised volume has stripes along {axis} (curtains) in {len(planes)} of {len(data.planes.mean)} "
            f"planes, of at least {number(float(np.sqrt(np.mean(own**2))), 2)} grey values: planes "
            f"{ranges(planes.tolist())}. "
            "Stripes are the same in both detectors, so denoising keeps them and its figures do not count them; do not "
            "trust structure that follows them."
        )
    uneven = data.planes.uneven
    if uneven.size:
        largest = float(np.nanmax(np.abs(data.planes.jump[uneven])))
        found.append(
            f"{'Planes' if uneven.size > 1 else 'Plane'} {ranges(uneven.tolist())} of the denoised volume: brightness "
            f"(by up to {number(largest, 2)} grey values) or contrast differs from the neighbours', as charging or a "
            "pause of the microscope leaves it. Denoising does not mend that."
        )
    return found


def denoising_section(data: DenoisingReport | None, voxel_nm: Sequence[float]) -> list[Section]:
    """Figures through z, the map of where the residual is not noise, the worst places, artefacts that survive."""
    if data is None:
        return []
    text = [
        f"{number(data.blocks)} blocks. A good result has far less noise than before, a residual (raw − denoised) "
        "whose neighbours and signal hardly correlate, and a Fourier shell correlation with the other, raw detector "
        "that does not fall.",
        *artefact_warnings(data),
    ]
    if data.planes is not None and not data.planes.striped:
        text.append(
            f"No stripes (curtains) found: fewer than {STRIPE_PLANES} planes score {STRIPE_SCORE:g}, nor do all "
            "score a little."
        )
    grids, pictures = [_slabs(data, voxel_nm)], []
    if data.cubes:
        text.append(_map_words(data))
        pictures.append(_map_picture(data, voxel_nm))
    if data.worst:
        rows = [
            (
                p.score,
                *p.start,
                *((s + CUBE / 2) * v for s, v in zip(p.start, voxel_nm, strict=True)),
            )
            for p in data.worst
        ]
        header = ("score", "z", "y", "x", "z nm", "y nm", "x nm")
        notes = f"First voxel of each cube of {CUBE} voxels, and its centre. Look at raw and denoised there."
        grids.append(Grid("Where the residual is least like noise", header, rows, notes))
    pairs = []
    if len(data.slabs) > 1:
        pairs.append(picture(_through_z(data, voxel_nm), "Noise and residual figures through z.", ""))
    if data.planes is not None and len(data.planes.mean) > 1:
        pairs.append(
            picture(
                _planes_figure(data, voxel_nm),
                "Brightness and stripe score of every plane.",
                f"Above {STRIPE_SCORE:g}, stripes that noise and cells do not make.",
            )
        )
    return [Section("How far to trust the denoised volume", text=text, grids=grids, pictures=pictures, pairs=pairs)]


def _map_words(data: DenoisingReport) -> str:
    what = (
        "what the residuals of the two detectors share in one place"
        if data.score == "shared_score"
        else "how neighbouring residuals correlate"
    )
    words = (
        f"The score of a cube of {CUBE} voxels is {what}, in standard errors of white noise; its median is "
        f"{number(data.median_score, 2)}. Of {number(data.cubes)} cubes, {number(data.flagged)} exceed "
        f"{number(data.threshold)}, which white noise does once in a hundred volumes: there, structure may have been "
        "taken for noise."
    )
    if data.median_score > data.threshold:
        words += (
            " Most of the volume does: the noise itself is correlated from voxel to voxel (a filtered, resampled or "
            "slowly sampled picture), or the network removes contrast everywhere. Compare places, not the threshold."
        )
    return words


def _slabs(data: DenoisingReport, voxel_nm: Sequence[float]) -> Grid:
    names = [n for n in NAMES if any(n in row for row in data.slabs)]
    rows = [
        (
            f"{row['plane']:.0f}–{row['plane'] + row['planes'] - 1:.0f}",
            f"{row['plane'] * voxel_nm[0] / 1000:.3g}–{(row['plane'] + row['planes']) * voxel_nm[0] / 1000:.3g}",
            *(row.get(n, float("nan")) for n in names),
        )
        for row in data.slabs
    ]
    notes = "Noise in grey values. FSC: cycles per voxel up to which Fourier shells correlate by 1/7."
    return Grid("Denoising through z", ("planes", "z µm", *(NAMES[n] for n in names)), rows, notes, wide=True)


def _map_picture(data: DenoisingReport, voxel_nm: Sequence[float]) -> Picture:
    views = (
        ("largest along z (y down, x right)", data.above_yx, 1),
        ("largest along y (z down, x right)", data.above_zx, 0),
    )
    tallest = max(v.shape[0] * voxel_nm[a] / (v.shape[1] * voxel_nm[2]) for _, v, a in views)
    figure = new_figure(9.0, min(max(4.1 * tallest, 1.2), 12.0) + 0.4)
    plots = figure.subplots(1, 2)
    top = max(2 * data.threshold, *(float(np.nanmax(v)) if np.isfinite(v).any() else 0.0 for _, v, _ in views))
    image = None
    for axes, (title, scores, axis) in zip(plots, views, strict=True):
        height, width = (n * CUBE * v / 1000 for n, v in zip(scores.shape, (voxel_nm[axis], voxel_nm[2]), strict=True))
        extent = (0.0, width, height, 0.0)
        image = axes.imshow(scores, extent=extent, cmap="magma", vmin=0, vmax=top, interpolation="nearest")
        above = np.nan_to_num(scores) > data.threshold
        for row, column in np.argwhere(above)[:4000]:
            cell = (height / scores.shape[0], width / scores.shape[1])
            axes.plot((column + 0.5) * cell[1], (row + 0.5) * cell[0], ".", color="#56D4F5", markersize=2.2)
        axes.set_xticks([])
        axes.set_yticks([])
        axes.set_title(title, fontsize=9.5, color=INK, loc="left", pad=4)
    assert image is not None
    bar = figure.colorbar(image, ax=plots, fraction=0.025, pad=0.02)
    bar.ax.tick_params(labelsize=8, colors=INK)
    caption = f"Map of the score per cube; dots: above {number(data.threshold)}. Dark is noise alone."
    return picture(figure, f"Map of {data.cubes} cubes, {data.flagged} above the threshold.", caption, PLATE_DPI)


def _through_z(data: DenoisingReport, voxel_nm: Sequence[float]) -> Figure:
    figure = new_figure(5.3, 4.4)
    plots = figure.subplots(3, 1, sharex=True)
    at = [(row["plane"] + row["planes"] / 2) * voxel_nm[0] / 1000 for row in data.slabs]
    for axes, (label, names) in zip(
        plots,
        (
            ("noise, grey", ("noise_sigma_before", "noise_sigma_after")),
            ("residual", ("residual_whiteness", "residual_signal_correlation")),
            ("FSC, cycles/voxel", ("fsc_before", "fsc_after")),
        ),
        strict=True,
    ):
        for name, colour in zip(names, (MUTED if "before" in names[0] else FIRST, SECOND), strict=True):
            if any(name in row for row in data.slabs):
                values = [row.get(name, float("nan")) for row in data.slabs]
                axes.plot(at, values, "o-", color=colour, lw=1.4, ms=3.5, label=NAMES[name])
        dress(axes, "z (µm)" if axes is plots[-1] else "", label)
        if axes.get_legend_handles_labels()[0]:
            axes.legend(fontsize=7.5, frameon=False, loc="best")
    return figure


def _planes_figure(data: DenoisingReport, voxel_nm: Sequence[float]) -> Figure:
    assert data.planes is not None
    figure = new_figure(5.3, 3.6)
    above, below = figure.subplots(2, 1, sharex=True)
    z = (np.arange(len(data.planes.mean)) + 0.5) * voxel_nm[0] / 1000
    above.plot(z, data.planes.mean, color=INK, lw=1.0)
    uneven = data.planes.uneven
    above.plot(z[uneven], data.planes.mean[uneven], "o", color=FIRST, ms=4)
    dress(above, "", "mean grey")
    for n, (axis, colour) in enumerate((("y", FIRST), ("x", SECOND))):
        below.plot(z, data.planes.stripe_score[n], color=colour, lw=1.0, label=f"stripes along {axis}")
    below.axhline(STRIPE_SCORE, color=MUTED, lw=0.8, ls="--")
    below.legend(fontsize=7.5, frameon=False, loc="best")
    dress(below, "z (µm)", "stripe score")
    return figure
