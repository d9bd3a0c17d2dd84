"""The part of the report that says how far to trust the segmentation."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from cisterna.report.canvas import PLATE_DPI, dress, new_figure, picture
from cisterna.report.page import Grid, Section, number
from cisterna.report.palette import INK, MUTED, SITE_COLOURS
from cisterna.report.segmentation import BINS, CUBE, ClassSignature, warnings_of

OWN = SITE_COLOURS["tubular_mixed"]
HEADER = (
    "class", "model", "input from the model's", "mirrored", "possible, undecided", "model's own", "ambiguous", "own",
    "positive", "cubes without structure", "positives in them",
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
    """A row a class: what the network was given, and the probability that it gave, beside the model's own."""
    figure = new_figure(9.0, 1.5 * len(known) + 0.5)
    plots = figure.subplots(len(known), 2, squeeze=False)
    edges = np.linspace(0, 1, BINS + 1)
    for row, s in zip(plots, known, strict=True):
        last = s is known[-1]
        pairs = ((s.input_histogram, s.own.input, (-1, 1)), (s.probability_histogram, s.own.probability, (0, 1)))
        for n, (axes, (counts, own, (low, high))) in enumerate(zip(row, pairs, strict=True)):
            at = low + (high - low) * edges
            axes.stairs(counts / max(counts.sum(), 1), at, fill=True, color=MUTED, alpha=0.55, label="this run")
            if own is not None:
                axes.stairs(own, at, color=OWN, lw=1.4, label="the model's own")
            if n:
                axes.set_yscale("log")
                axes.set_ylim(1e-6, 1.5)
            names = ("input of the network", "probability")
            dress(axes, names[n] if last else "", s.name if n == 0 else "")
        if s is known[0]:
            row[0].legend(fontsize=7.5, frameon=False, loc="upper left", labelcolor=INK)
    return figure
