"""Matplotlib without global state: figures, their house style, and PNG bytes that repeat exactly."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from cisterna.report.palette import INK, MUTED, RULE

CHART_DPI = 170
PLATE_DPI = 165


@dataclass(frozen=True)
class Picture:
    """A PNG with the words that stand for it (`alt`) and under it (`caption`)."""

    png: bytes
    width_px: int
    height_px: int
    alt: str
    caption: str = ""

    @property
    def data_uri(self) -> str:
        return "data:image/png;base64," + base64.b64encode(self.png).decode("ascii")


def new_figure(width_in: float, height_in: float) -> Figure:
    """An empty figure on the Agg canvas, opaque white: it reads the same on a dark page and on paper."""
    figure = Figure(figsize=(width_in, height_in), facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def plate_axes(panels: int, panel_height_over_width: float, width_in: float = 11.2) -> tuple[Figure, list[Axes]]:
    """A row of equal picture panels that fill the figure, with room for a title over each."""
    gap, title = 0.07, 0.27
    panel_in = (width_in - 2 * gap) / 3
    height_in = min(max(panel_in * panel_height_over_width, 0.5), 12.0)
    total_in = panels * panel_in + (panels - 1) * gap
    figure = Figure(figsize=(total_in, height_in + title), facecolor="white")
    FigureCanvasAgg(figure)
    box = (panel_in / total_in, height_in / (height_in + title))
    step = (panel_in + gap) / total_in
    return figure, [figure.add_axes((n * step, 0, *box)) for n in range(panels)]


def png_bytes(figure: Figure, dpi: int = CHART_DPI) -> bytes:
    """PNG of the figure; the same figure gives the same bytes (no software or date entry)."""
    sink = io.BytesIO()
    figure.savefig(sink, format="png", dpi=dpi, metadata={"Software": None})
    return sink.getvalue()


def picture(figure: Figure, alt: str, caption: str = "", dpi: int = CHART_DPI) -> Picture:
    """The figure as PNG with its size in CSS pixels (96 a inch)."""
    width_in, height_in = figure.get_size_inches()
    return Picture(png_bytes(figure, dpi), round(width_in * 96), round(height_in * 96), alt, caption)


def dress(axes: Axes, xlabel: str = "", ylabel: str = "", title: str = "", grid: str | None = "y") -> None:
    """The house style of a chart: two spines, a faint grid, a title flush left."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(MUTED)
    axes.tick_params(colors=INK, labelsize=8.5, length=3, color=MUTED)
    axes.set_axisbelow(True)
    if grid:
        axes.grid(axis=grid, color=RULE, linewidth=0.6)  # type: ignore[arg-type]
    if xlabel:
        axes.set_xlabel(xlabel, fontsize=9, color=INK)
    if ylabel:
        axes.set_ylabel(ylabel, fontsize=9, color=INK)
    if title:
        axes.set_title(title, fontsize=10, color=INK, loc="left", fontweight="bold", pad=7)


def legend_below(figure: Figure, axes: Axes, columns: int = 4) -> None:
    """The legend under the chart, where it covers no data."""
    figure.legend(
        *axes.get_legend_handles_labels(),
        loc="outside lower left",
        ncols=columns,
        fontsize=7.8,
        frameon=False,
        handlelength=1.0,
        columnspacing=1.4,
        borderaxespad=0.2,
    )


def say_empty(axes: Axes, sentence: str) -> None:
    """Say in words that there is nothing to draw: an empty frame looks like a fault."""
    axes.set_xticks([])
    axes.set_yticks([])
    axes.grid(visible=False)
    axes.text(
        0.5, 0.5, sentence, ha="center", va="center", fontsize=9, color=MUTED, transform=axes.transAxes, wrap=True
    )


def grey_range(image: np.ndarray) -> tuple[float, float]:
    """Display range: the 0.5 and 99.5 percentile of the finite pixels; never empty, never NaN."""
    finite = image[np.isfinite(image)] if image.dtype.kind == "f" else image
    if finite.size == 0:
        return 0.0, 1.0
    low, high = (float(v) for v in np.percentile(finite, (0.5, 99.5)))
    return (low, high) if high > low else (low - 0.5, low + 0.5)


def to_grey_rgb(image: np.ndarray) -> np.ndarray:
    """Grey image (rows, columns) → float RGB in [0, 1] with the display range of `grey_range`; NaN becomes black."""
    low, high = grey_range(image)
    scaled = np.clip((np.nan_to_num(image.astype(np.float32), nan=low) - low) / (high - low), 0, 1)
    return np.repeat(scaled[..., None], 3, axis=2)


def round_length(span: float) -> float:
    """The 1-2-5 length nearest below a quarter of the span, for a scale bar."""
    if not span > 0:
        return 0.0
    quarter = span / 4
    power = 10.0 ** np.floor(np.log10(quarter))
    return float(max(step * power for step in (1.0, 2.0, 5.0) if step * power <= quarter * (1 + 1e-9)))


def scale_bar(axes: Axes, width: float, height: float, unit: str, ink: str = "white") -> None:
    """A scale bar, lower right, for an image whose axes run 0…width and 0…height in `unit`."""
    length = round_length(width)
    if length == 0:
        return
    right, bottom = width - 0.04 * width, height - 0.04 * width
    text = f"{length:g} {unit}" if unit != "nm" or length < 1000 else f"{length / 1000:g} µm"
    for colour, weight in (("black" if ink == "white" else "white", 4.6), (ink, 2.8)):
        axes.plot([right - length, right], [bottom, bottom], color=colour, lw=weight, solid_capstyle="butt", zorder=9)
    label = axes.text(right - length / 2, bottom - 0.022 * width, text, color=ink, fontsize=8, ha="center", zorder=10)
    if ink == "white":
        label.set_bbox({"facecolor": "black", "alpha": 0.45, "pad": 1.0, "edgecolor": "none"})


def show_image(axes: Axes, rgb: np.ndarray, extent: Sequence[float], title: str) -> None:
    """RGB image with axes in length units, no ticks, title above; `extent` is (width, height)."""
    width, height = extent
    axes.imshow(rgb, extent=(0, width, height, 0), interpolation="antialiased", aspect="equal")
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.set_title(title, fontsize=9.5, color=INK, loc="left", pad=4)
