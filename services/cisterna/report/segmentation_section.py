"""The part of the report that says how far to trust the segmentation."""

from collections.abc import Sequence
from textwrap import wrap

import numpy as np
from matplotlib.figure import Figure

from cisterna.report.canvas import PLATE_DPI, dress, new_figure, picture
from cisterna.report.page import Grid, Section, number
from cisterna.report.palette import INK, MUTED, SITE_COLOURS
from cisterna.report.segmentation import BINS, CUBE, ClassSignature, alike, warnings_of

OWN = SITE_COLOURS["tubular_mixed"]
HEADER = (
    "class", "model", "distance of input", "mirrored", "undecided of possible", "on its own data", "undecided of all",
    "on its own data", "positive", "cubes without structure", "positives in them",
)  # fmt: skip


def segmentation_section(found: Sequence[ClassSignature], voxel_nm: Sequence[float]) -> list[Section]:
    """Histograms beside the models' own, distances, undecided and featureless shares; nothing without such stages."""
    if not found:
        return []
    title = "How far to trust the segmentation"
    known = [s for s in found if s.voxels]
    lost = [f"{s.name}: {number(s.blocks - s.parts)} of {number(s.blocks)} blocks" for s in found if s.parts < s.blocks]
    text = []
    if lost:
        text.append(
            f"What the networks saw is not known of {'; '.join(lost)}: an older version computed them, or a part is "
            "lost. They are missing from what follows."
        )
    if not known:
        return [Section(title, text=text or ["No block of it is finished."])]
    text += [
        "A model can be trusted where it is given what it was trained on. The distance of two histograms is how far "
        "grey values must be moved, on average, to turn one into the other, in units of the input range: 0 is the "
        "same picture, phantoms of other noise and contrast lie up to 0.12 away, white noise 0.28. Mirrored is the "
        "distance to the model's histogram turned round, as bright membranes make it.",
        f"Undecided is a probability of 0.3 to 0.7, of all that are 0.3 or more. A cube of {CUBE}³ voxels is without "
        "structure where its voxels vary by less than 3 % of the input range beyond their noise; positives there are "
        "at the model's own threshold.",
    ]
    never = [s.name for s in known if s.never_decided]
    if never:
        text.append(
            f"{', '.join(never)}: the model leaves most of what it finds possible undecided on its own data too. Its "
            "probability orders places; it does not separate."
        )
    odd = [f"{number(100 * s.not_finite / s.voxels)} % ({s.name})" for s in known if s.not_finite]
    if odd:
        text.append(f"Voxels that are not finite count as the darkest: {', '.join(odd)}.")
    text += warnings_of(found) or ["Nothing here says that the data are foreign to the models."]
    alt = f"Histograms of input and probability of {len(known)} classes, beside the models' own."
    caption = "Grey: this run. Line: the model's own held-out data. Probabilities on a logarithmic scale."
    return [
        Section(
            title, text=text, grids=[_figures(known), *_worst(known, voxel_nm)],
            pictures=[picture(histogram_figure(known), alt, caption, PLATE_DPI)],
        )
    ]  # fmt: skip


def _figures(known: Sequence[ClassSignature]) -> Grid:
    rows = [
        (
            s.name, s.model or "–", s.input_distance, s.mirrored_distance, _percent(s.undecided),
            _percent(s.own_undecided), _percent(s.ambiguous_share), _percent(s.own_ambiguous_share),
            _percent(s.positives / s.voxels), _percent(s.featureless / s.cubes if s.cubes else float("nan")),
            _percent(s.featureless_share),
        )
        for s in known
    ]  # fmt: skip
    notes = "The models' own shares are read off their histograms of 32 bins, those that 0.3 and 0.7 cut in part."
    return Grid("What the networks saw and gave", HEADER, rows, notes, wide=True)


def _percent(share: float) -> str:
    return "–" if not np.isfinite(share) else f"{number(100 * share)} %"


def _worst(known: Sequence[ClassSignature], voxel_nm: Sequence[float]) -> list[Grid]:
    rows = [
        (s.name, count, *start, *((a + CUBE / 2) * v for a, v in zip(start, voxel_nm, strict=True)))
        for s in known
        if s.in_resin
        for count, start in s.worst
    ]
    header = ("class", "positive voxels", "z", "y", "x", "z nm", "y nm", "x nm")
    notes = f"First voxel of each cube of {CUBE} voxels, and its centre."
    return [Grid("Positives where there is no structure", header, rows, notes)] if rows else []


def histogram_figure(known: Sequence[ClassSignature]) -> Figure:
    """What the networks were given, once for classes that share it, and the probability of each, beside their own."""
    panels = [
        ("input of " + ", ".join(s.name for s in group), group[0].input_histogram, group[0].own.input, (-1, 1))
        for group in alike(known)
    ]
    panels += [(f"probability of {s.name}", s.probability_histogram, s.own.probability, (0, 1)) for s in known]
    columns = min(3, len(panels))
    rows = -(-len(panels) // columns)
    figure = new_figure(9.0, 2.1 * rows)
    plots = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, (title, counts, own, (low, high)) in zip(plots, panels, strict=False):
        edges = np.linspace(low, high, BINS + 1)
        axes.stairs(counts / max(counts.sum(), 1), edges, fill=True, color=MUTED, alpha=0.55)
        if own is not None:
            axes.stairs(own, edges, color=OWN, lw=1.4)
        if low == 0:
            axes.set_yscale("log")
            axes.set_ylim(1e-6, 1.5)
        dress(axes, "", "")
        axes.set_title("\n".join(wrap(title, 46)), fontsize=9, color=INK, loc="left", pad=4)
    for axes in plots[len(panels) :]:
        axes.set_axis_off()
    return figure
