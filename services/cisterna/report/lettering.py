"""Words and scale bars on pixel images, in the font that matplotlib brings."""

from functools import lru_cache
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from cisterna.report.canvas import round_length


@lru_cache(maxsize=16)
def _font(size_px: int, bold: bool) -> ImageFont.FreeTypeFont:
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name, size_px)


@lru_cache(maxsize=512)
def lettering(text: str, size_px: int, bold: bool = False) -> np.ndarray:
    """The text as coverage 0…1, float32 (rows, columns), cut at its advance width and the font's line height."""
    font = _font(size_px, bold)
    ascent, descent = font.getmetrics()
    picture = Image.new("L", (max(1, round(font.getlength(text))), ascent + descent))
    ImageDraw.Draw(picture).text((0, 0), text, fill=255, font=font)
    return np.asarray(picture, dtype=np.float32) / 255


def write_on(
    image: np.ndarray,
    text: str,
    row: int,
    column: int,
    size_px: int,
    ink: tuple[int, int, int],
    bold: bool = False,
    anchor: str = "left",
) -> int:
    """Writes on an RGB uint8 image (rows, columns, 3) in place; `row` is the top of the line. Returns its width.

    `column` is its left end, middle or right end (`anchor`: left, middle, right). What lies outside is cut off.
    """
    cover = lettering(text, size_px, bold)
    width = int(cover.shape[1])
    left = column - {"left": 0, "middle": width // 2, "right": width}[anchor]
    top = max(row, 0)
    part = image[top : row + cover.shape[0], max(left, 0) : left + width]
    if part.size:
        own = cover[top - row :, max(-left, 0) :][: part.shape[0], : part.shape[1], None]
        part[...] = np.rint(part * (1 - own) + np.array(ink, np.float32) * own).astype(np.uint8)
    return width


def length_words(length: float, unit: str) -> str:
    """A length for readers: nm from 1,000 on become µm."""
    return f"{length / 1000:g} µm" if unit == "nm" and length >= 1000 else f"{length:g} {unit}"


def draw_scale_bar(
    image: np.ndarray, pixel: float, unit: str, ink: tuple[int, int, int] = (255, 255, 255), size_px: int = 12
) -> float:
    """A scale bar with its length, lower right, on an RGB uint8 image in place; `pixel` is the width of one in `unit`.

    Returns the length; 0 where the image is too small for a bar and its words.
    """
    rows, columns = image.shape[:2]
    length = round_length(columns * pixel)
    wide = round(length / pixel) if length else 0
    words = length_words(length, unit)
    margin = max(4, round(0.03 * columns))
    if wide < 4 or max(wide, lettering(words, size_px).shape[1]) > columns - 2 * margin or rows < 3 * size_px:
        return 0.0
    right, bottom = columns - margin, rows - margin
    shade = (0, 0, 0) if sum(ink) > 380 else (255, 255, 255)
    thick = max(3, size_px // 3)
    image[bottom - thick - 1 : bottom + 1, right - wide - 1 : right + 1] = shade
    image[bottom - thick : bottom, right - wide : right] = ink
    row = bottom - thick - 3 - lettering(words, size_px).shape[0]
    for down, across in ((-1, 0), (1, 0), (0, -1), (0, 1)):
        write_on(image, words, row + down, right - wide // 2 + across, size_px, shade, anchor="middle")
    write_on(image, words, row, right - wide // 2, size_px, ink, anchor="middle")
    return length
