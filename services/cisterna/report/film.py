"""A film of a movie, raw | classes | network: VP9 in MP4, which every current browser plays.

Frames are drawn and encoded one at a time, so a film of any length needs the memory of a few frames.
"""

import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from cisterna.report.canvas import grey_range
from cisterna.report.lettering import draw_scale_bar, write_on
from cisterna.report.movie_figures import edge_segments
from cisterna.report.palette import DEGREES, NETWORK_CLASSES

FRAMES_PER_SECOND = 10.0
PANEL_PX = 512
GAP_PX = 6
SMALLEST_PANEL_PX = 16
PAPER = (255, 255, 255)
INK = (29, 39, 51)
TUBULE_INK = (139, 150, 163)

Tell = Callable[[str, float], None]


@dataclass(frozen=True)
class FilmFrame:
    """One frame: `raw` and `classes` (class index) as (y, x), on any grid over the whole field; tables of this frame.

    `classes` is None where they were never computed. Positions in the tables are µm from the centre of pixel 0.
    """

    time_s: float
    raw: np.ndarray
    classes: np.ndarray | None
    nodes: pd.DataFrame
    edges: pd.DataFrame


@dataclass(frozen=True)
class Film:
    """A finished film."""

    path: Path
    frames: int
    frames_per_second: float
    width_px: int
    height_px: int

    @property
    def duration_s(self) -> float:
        return self.frames / self.frames_per_second


@dataclass(frozen=True)
class Screen:
    """What all frames share: the field in µm, the size of a full-resolution pixel, grey range, size of a panel."""

    size_um: tuple[float, float]
    pixel_um: tuple[float, float]
    grey: tuple[float, float]
    panel: tuple[int, int]
    nodes_per_um2: float = 1.0

    @property
    def head_px(self) -> int:
        return round(1.5 * self.text_px) + 4

    @property
    def text_px(self) -> int:
        return max(11, min(20, self.panel[1] // 26))

    @property
    def canvas(self) -> tuple[int, int]:
        """(rows, columns), both even: 4:2:0 colour has one sample for two rows and two columns."""
        rows, columns = self.head_px + self.panel[0], 3 * self.panel[1] + 2 * GAP_PX
        return rows + rows % 2, columns + columns % 2


def panel_size(shape: Sequence[int], pixel_um: Sequence[float], limit: int = PANEL_PX) -> tuple[int, int]:
    """(rows, columns) of a panel: the field's shape, its longer side at most `limit`; small fields grow by whole steps.

    A side is never under 16 pixels: a line of pixels becomes a band that can be seen.
    """
    size = [n * p for n, p in zip(shape, pixel_um, strict=True)]
    finest = min(pixel_um)
    factor = limit * finest / max(size)
    if factor >= 1:
        factor = float(np.floor(factor))
    rows, columns = (max(SMALLEST_PANEL_PX, round(s / finest * factor)) for s in size)
    return rows, columns


def film_grey_range(samples: Iterable[np.ndarray]) -> tuple[float, float]:
    """One display range for the whole film, so that it does not flicker: over a few frames, outliers left out."""
    ranges = [grey_range(sample) for sample in samples]
    if not ranges:
        return 0.0, 1.0
    return min(low for low, _ in ranges), max(high for _, high in ranges)


def draw_frame(screen: Screen, frame: FilmFrame) -> np.ndarray:
    """One frame of the film as RGB uint8."""
    canvas = np.full((*screen.canvas, 3), 255, np.uint8)
    rows, columns = screen.panel
    grey = _grey(frame.raw, screen)
    pictures = (
        ("raw", np.repeat(grey[..., None], 3, axis=2)),
        ("classes", _classes(frame.classes, screen)),
        ("network", _network(frame, screen)),
    )
    size = screen.text_px
    for place, (title, picture) in enumerate(pictures):
        left = place * (columns + GAP_PX)
        dark = title != "network"
        draw_scale_bar(picture, screen.size_um[1] / columns, "µm", PAPER if dark else INK, size)
        canvas[screen.head_px : screen.head_px + rows, left : left + columns] = picture
        write_on(canvas, title, 2, left + 2, size, INK, bold=True)
    right = 3 * columns + 2 * GAP_PX - 3
    write_on(canvas, f"{frame.time_s:.1f} s", 2, right, size, INK, bold=True, anchor="right")
    return canvas


def write_film(
    path: Path, screen: Screen, frames: Iterable[FilmFrame], count: int,
    frames_per_second: float = FRAMES_PER_SECOND, tell: Tell = lambda what, share: None,
) -> Film:  # fmt: skip
    """Encodes the frames as they come. `tell` is called with the file's name and the share that is done.

    Raises ValueError for a film without frames, RuntimeError where this OpenCV cannot write VP9 or lost a frame. The
    file is there only when it is whole.
    """
    if count < 1:
        raise ValueError("a film needs at least one frame")
    rows, columns = screen.canvas
    unfinished = path.with_name(f"unfinished-{path.name}")
    code = cv2.VideoWriter.fourcc(*"vp09")
    writer = cv2.VideoWriter(str(unfinished), cv2.CAP_FFMPEG, code, frames_per_second, (columns, rows))
    if not writer.isOpened():
        raise RuntimeError("this OpenCV cannot write VP9 in MP4: pip install opencv-python-headless")
    try:
        for number, frame in enumerate(frames):
            writer.write(cv2.cvtColor(draw_frame(screen, frame), cv2.COLOR_RGB2BGR))
            tell(path.name, (number + 1) / count)
    finally:
        writer.release()
    written = frame_count(unfinished)
    if written != count:
        unfinished.unlink(missing_ok=True)
        raise RuntimeError(f"{path.name} has {written} frames, {count} were to be written: is the disk full?")
    unfinished.replace(path)
    return Film(path, count, frames_per_second, columns, rows)


def frame_count(path: Path) -> int:
    """Frames in a film, by its own index; 0 where it cannot be opened."""
    film = cv2.VideoCapture(str(path))
    found = int(film.get(cv2.CAP_PROP_FRAME_COUNT)) if film.isOpened() else 0
    film.release()
    return found


def film_bytes(screen: Screen, frames: Iterable[FilmFrame], count: int, frames_per_second: float) -> tuple[bytes, Film]:
    """The film as bytes, for a page that carries it inside."""
    with tempfile.TemporaryDirectory(prefix="cisterna-film-") as folder:
        film = write_film(Path(folder) / "film.mp4", screen, frames, count, frames_per_second)
        return film.path.read_bytes(), film


def _fit(picture: np.ndarray, panel: tuple[int, int]) -> np.ndarray:
    """The picture at panel size: means where it shrinks, whole pixels where it grows."""
    shrinks = picture.shape[0] > panel[0] or picture.shape[1] > panel[1]
    mode = cv2.INTER_AREA if shrinks else cv2.INTER_NEAREST_EXACT
    return np.asarray(cv2.resize(picture, (panel[1], panel[0]), interpolation=mode))


def _grey(raw: np.ndarray, screen: Screen) -> np.ndarray:
    low, high = screen.grey
    wide = np.nan_to_num(raw.astype(np.float32), nan=low, posinf=high, neginf=low)
    return np.rint(np.clip((_fit(wide, screen.panel) - low) / (high - low), 0, 1) * 255).astype(np.uint8)


def _classes(classes: np.ndarray | None, screen: Screen) -> np.ndarray:
    """The classes in their colours on black: noise beneath them would double the size of the film."""
    if classes is None:
        panel = np.full((*screen.panel, 3), 40, np.uint8)
        row, column = screen.panel[0] // 2, screen.panel[1] // 2
        write_on(panel, "not computed", row, column, screen.text_px, PAPER, anchor="middle")
        return panel
    colours = np.array([rgb(s.colour) for s in NETWORK_CLASSES], np.uint8)
    return _fit(colours[np.minimum(classes.astype(np.uint8), len(colours) - 1)], screen.panel)


def _network(frame: FilmFrame, screen: Screen) -> np.ndarray:
    """Edges along their traced path, nodes coloured by degree, at true coordinates."""
    rows, columns = screen.panel
    picture = np.full((rows, columns, 3), 255, np.uint8)
    scale = np.array([columns / screen.size_um[1], rows / screen.size_um[0]])
    corner = np.array([screen.pixel_um[1], screen.pixel_um[0]]) / 2
    sub = 16.0  # OpenCV draws between pixels in sixteenths; its pixel centres are whole numbers

    def place(xy_um: np.ndarray) -> np.ndarray:
        return np.asarray(np.rint(((xy_um + corner) * scale - 0.5) * sub), np.int32)

    thin = max(1, round(columns / 500))
    lines = [place(path).reshape(-1, 1, 2) for path in edge_segments(frame.edges)]
    if lines:
        cv2.polylines(picture, lines, False, TUBULE_INK, thin, cv2.LINE_AA, shift=4)
    radius = float(
        np.clip(0.18 * np.prod(scale) ** 0.5 / max(screen.nodes_per_um2, 1e-9) ** 0.5, 1.6, columns / 90 + 1.6)
    )
    if len(frame.nodes):
        centres = place(frame.nodes[["x_um", "y_um"]].to_numpy(float))
        for centre, degree in zip(centres.tolist(), frame.nodes["degree"].tolist(), strict=True):
            colour = rgb(DEGREES[min(max(int(degree), 0), 4)].colour)
            cv2.circle(picture, centre, round(radius * sub), colour, -1, cv2.LINE_AA, shift=4)
    return picture


def rgb(colour: str) -> tuple[int, int, int]:
    """#rrggbb as three numbers 0…255."""
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)
