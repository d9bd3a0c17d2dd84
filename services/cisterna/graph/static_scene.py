"""A motionless copy of one frame with fresh noise: what segmentation and tracing make of it is the floor of all change.

The scene is drawn from what the run itself found: the classes of one frame, filled with the frame's own brightness,
blurred until they fit it, on its own background, with noise as strong and as correlated as the frame's.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from cisterna.graph.snr import HALO_PX, LEAST_PIXELS, is_clipped

BRIGHTNESS_PX = 4.0
"""Brightness is averaged over so many pixels within a class: dim tubules stay dim, their noise does not stay."""
BLURS_PX = (0.0, 0.5, 0.7, 0.85, 1.0, 1.15, 1.3, 1.5, 1.75, 2.0, 2.5, 3.0)
DETAIL_PX, DETAIL_WINDOW_PX = 1.0, 3.5
LARGEST_CORRELATION = 0.95
FINE_PX = 3.0
"""Noise is what a Gaussian of this width leaves: uneven background and bright parts that were missed are none."""
FINE_NOISE = 0.987
"""White noise keeps this share of its standard deviation: √(1 - 2 / (2π s²) + 1 / (4π s²)) for s = 3."""
BACKGROUND, FINE_DETAIL = "background", "fine_detail"


@dataclass(frozen=True)
class StaticScene:
    """`clean` (y, x) float64 without noise, in grey levels, and what was measured to draw it (table `floor_scene`)."""

    clean: np.ndarray
    dtype: np.dtype
    background: float
    mean_signal: float
    noise_sigma: float
    noise_source: str
    noise_correlation: float
    psf_sigma_px: float
    explained: float

    @property
    def snr_power(self) -> float:
        """E[S²] / E[N²] of the scene; infinite without noise."""
        power = float(((self.clean - self.background) ** 2).mean())
        return power / self.noise_sigma**2 if self.noise_sigma else math.inf

    def row(self, source_frame: int, frames: int) -> dict[str, object]:
        """The row of the table `floor_scene`: which frame is repeated how often, and what was measured of it."""
        measured = ("background", "mean_signal", "noise_sigma", "noise_source", "noise_correlation", "psf_sigma_px")
        row: dict[str, object] = {name: getattr(self, name) for name in (*measured, "explained", "snr_power")}
        return {"source_frame": source_frame, "frames": frames, **row}

    def frame(self, number: int) -> np.ndarray:
        """One noisy frame in the type of the movie; the same number gives the same noise."""
        rng = np.random.default_rng([number, 17])
        noise = correlated_noise(self.clean.shape, self.noise_correlation, rng) * self.noise_sigma
        image = self.clean + noise
        if self.dtype.kind in "iu":
            limits = np.iinfo(self.dtype)
            image = np.clip(np.rint(image), limits.min, limits.max)
        return image.astype(self.dtype)


def static_scene(raw: np.ndarray, classes: np.ndarray) -> StaticScene:
    """Measures and draws the scene of one frame.

    The classes of the frame, with its own brightness, are blurred until they fit it; what they leave beyond noise
    (`unexplained_structure`) is added, so that tubules which the model nearly missed are nearly missed again.

    `raw` (y, x) as recorded; `classes` (y, x), 0 background. Pixels that are not finite count as background. The blur
    is the one of `BLURS_PX` whose scene explains most of the frame. Noise is that of the background; where this is
    clipped or missing, that of the finest detail (Immerkær 1996), called `fine_detail`. A frame without ER gives a
    scene of background and noise.
    """
    if raw.shape != classes.shape or raw.ndim != 2:
        raise ValueError(f"the frame is {raw.shape}, its classes {classes.shape}: give one frame and its classes")
    frame = np.asarray(raw, np.float64)
    known = np.isfinite(frame)
    er = classes > 0
    empty = known & ~(ndimage.binary_dilation(er, np.ones((3, 3)), iterations=HALO_PX) if er.any() else er)
    if empty.sum() < LEAST_PIXELS:
        empty = known & ~er
    far = frame[empty]
    level = float(np.median(far)) if len(far) else float(np.min(frame[known], initial=np.inf)) if known.any() else 0.0
    frame = np.where(known, frame, level)
    fine = frame - ndimage.gaussian_filter(frame, FINE_PX)
    sigma, source = fine_detail_sigma(frame), FINE_DETAIL
    if len(far) >= LEAST_PIXELS and not is_clipped(far):
        quiet = _spread(fine[empty]) / FINE_NOISE
        # A background without noise beside noisy detail is clipped or saturated too.
        if quiet >= 0.5 * sigma:
            sigma, source = quiet, BACKGROUND
    signal = frame - level
    body = _brightness(signal, classes)
    clean, blur, explained = _best_blur(signal, body)
    rest = signal - clean
    correlation = neighbour_correlation(fine, empty) if source == BACKGROUND else 0.0
    clean = clean + unexplained_structure(rest, fine if source == BACKGROUND else None, empty, sigma)
    return StaticScene(
        clean=clean + level,
        dtype=raw.dtype,
        background=level,
        mean_signal=float(clean[er].mean()) if er.any() else 0.0,
        noise_sigma=sigma,
        noise_source=source,
        noise_correlation=correlation,
        psf_sigma_px=blur,
        explained=explained,
    )


def unexplained_structure(rest: np.ndarray, fine: np.ndarray | None, empty: np.ndarray, sigma: float) -> np.ndarray:
    """What the classes leave of the frame beyond noise: dim tubules that were missed, uneven brightness.

    The rest under a Gaussian of 1 px, scaled by the share of its local power that noise does not explain (Wiener). The
    power of smoothed noise is that of the `fine` frame's background, else that of white noise of `sigma`.
    """
    smooth = ndimage.gaussian_filter(rest, DETAIL_PX)
    if fine is not None:
        noise = _spread(ndimage.gaussian_filter(fine, DETAIL_PX)[empty]) ** 2
    else:
        noise = sigma**2 / (4 * math.pi * DETAIL_PX**2)
    power = ndimage.gaussian_filter(smooth**2, DETAIL_WINDOW_PX)
    gain = np.clip(1 - noise / np.where(power > 0, power, 1), 0, 1)
    return np.asarray(np.where(power > 0, gain * smooth, 0.0))


def _spread(values: np.ndarray) -> float:
    """Standard deviation by the median of absolute values, which a few missed tubules do not move."""
    return 1.4826 * float(np.median(np.abs(values - np.median(values)))) or float(values.std())


def fine_detail_sigma(frame: np.ndarray) -> float:
    """Noise from the difference of two Laplacians, which structure of a few pixels hardly reaches (Immerkær 1996)."""
    if min(frame.shape) < 3:
        return 0.0
    mask = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], float)
    inner = ndimage.convolve(frame, mask)[1:-1, 1:-1]
    return float(math.sqrt(math.pi / 2) * np.abs(inner).mean() / 6)


def neighbour_correlation(rest: np.ndarray, where: np.ndarray) -> float:
    """Mean correlation of pixels with their right and lower neighbours, both in `where`; at least 0."""
    found = []
    for axis in (0, 1):
        a, b = np.delete(rest, -1, axis), np.delete(rest, 0, axis)
        both = np.delete(where, -1, axis) & np.delete(where, 0, axis)
        if both.sum() >= LEAST_PIXELS and a[both].std() > 0 and b[both].std() > 0:
            found.append(float(np.corrcoef(a[both], b[both])[0, 1]))
    return min(max(float(np.mean(found)), 0.0), LARGEST_CORRELATION) if found else 0.0


def correlated_noise(shape: tuple[int, ...], correlation: float, rng: np.random.Generator) -> np.ndarray:
    """Gaussian noise of variance 1 whose neighbours correlate so: white noise under a small symmetric filter.

    Three taps (a, 1, a) on each axis give neighbours the correlation 2a / (1 + 2a²); a Gaussian filter of width s
    gives exp(-1 / (4 s²)), which holds where it is wide.
    """
    white = rng.normal(size=shape)
    if correlation <= 0:
        return white
    if correlation <= 0.65:
        a = (1 - math.sqrt(1 - 2 * correlation**2)) / (2 * correlation)
        smooth = white
        for axis in (0, 1):
            smooth = ndimage.convolve1d(smooth, [a, 1.0, a], axis=axis, mode="wrap")
    else:
        smooth = ndimage.gaussian_filter(white, math.sqrt(-1 / (4 * math.log(correlation))), mode="wrap")
    return np.asarray(smooth / smooth.std())


def _brightness(signal: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """The frame's own brightness within each class, smoothed there and nowhere else; 0 in the background."""
    body = np.zeros(signal.shape)
    for value in np.unique(classes[classes > 0]):
        own = (classes == value).astype(float)
        weight = ndimage.gaussian_filter(own, BRIGHTNESS_PX)
        smooth = ndimage.gaussian_filter(signal * own, BRIGHTNESS_PX) / np.where(weight > 0, weight, 1)
        body += np.where(own > 0, np.maximum(smooth, 0), 0)
    return body


def _best_blur(signal: np.ndarray, body: np.ndarray) -> tuple[np.ndarray, float, float]:
    """The blurred and scaled scene that explains most of the signal, its blur, and the share it explains."""
    total = float((signal**2).sum())
    if not body.any() or total == 0:
        return np.zeros(signal.shape), 0.0, 0.0
    best: tuple[float, float, np.ndarray] | None = None
    for blur in BLURS_PX:
        drawn = ndimage.gaussian_filter(body, blur) if blur else body
        gain = float((drawn * signal).sum() / (drawn**2).sum())
        error = float(((signal - gain * drawn) ** 2).sum())
        if best is None or error < best[0]:
            best = error, blur, gain * drawn
    assert best is not None
    return best[2], best[1], 1 - best[0] / total
