"""How far to trust a denoised volume: figures from the raw and the denoised voxels alone.

A good denoiser removes what is noise and nothing else.  Then the residual (raw - denoised) is white, its correlation
with the signal is near zero, and the denoised detector agrees with the *other*, raw detector out to higher spatial
frequencies than the raw detectors agree with one another.  What both detectors share - curtains, charging - is signal
to every one of these figures and survives.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Image = NDArray[Any]
MAD_TO_SIGMA = 1.482602218505602
FSC_THRESHOLD = 1 / 7
FSC_EDGE = 96


def noise_sigma(volume: Image) -> float:
    """Standard deviation of white noise, in grey values, from the median absolute mixed difference.

    The first differences are taken along every axis in turn: in k dimensions white noise of deviation s becomes noise
    of deviation s * 2^(k/2), while whatever is smooth along any one axis cancels.  Axes of one voxel and NaN are left
    out; NaN if nothing remains.  Noise that is correlated between voxels is underestimated.
    """
    high = np.asarray(volume, dtype=np.float32)
    axes = [axis for axis in range(high.ndim) if high.shape[axis] > 1]
    for axis in axes:
        high = np.diff(high, axis=axis)
    values = high[np.isfinite(high)]
    if not axes or values.size == 0:
        return float("nan")
    return float(np.median(np.abs(values - np.median(values)))) * MAD_TO_SIGMA / 2 ** (len(axes) / 2)


def correlation(a: Image, b: Image) -> float:
    """Pearson correlation over the voxels where both are finite; 0 if either is constant there."""
    x, y = np.asarray(a, np.float64).ravel(), np.asarray(b, np.float64).ravel()
    both = np.isfinite(x) & np.isfinite(y)
    x, y = x[both], y[both]
    if x.size < 2:
        return 0.0
    x, y = x - x.mean(), y - y.mean()
    scale = float(np.sqrt((x * x).sum() * (y * y).sum()))
    return float((x * y).sum() / scale) if scale > 0 else 0.0


def neighbour_correlation(residual: Image) -> tuple[float, ...]:
    """Correlation of each voxel with the next one, per axis; 0 for white noise and for axes of one voxel."""
    found = []
    for axis in range(residual.ndim):
        along = np.moveaxis(residual, axis, 0)
        found.append(correlation(along[1:], along[:-1]))
    return tuple(found)


def fourier_shell_correlation(a: Image, b: Image) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(spatial frequency in cycles per voxel, correlation) of two volumes of one shape (Harauz & van Heel, 1986).

    Volumes are mean-free and tapered by a Hann window; shells are one Fourier step of the shortest axis of more than
    one voxel wide.  NaN is taken as the mean.  Raises ValueError if the shapes differ.
    """
    if a.shape != b.shape:
        raise ValueError(f"the volumes have shapes {a.shape} and {b.shape}; Fourier shells need one shape")
    spectra = []
    for volume in (a, b):
        x = np.asarray(volume, np.float64)
        x = np.nan_to_num(x - np.nanmean(x))
        for axis, n in enumerate(x.shape):
            if n > 1:
                shape = [1] * x.ndim
                shape[axis] = n
                x = x * np.hanning(n + 2)[1:-1].reshape(shape)
        spectra.append(np.fft.rfftn(x))
    grids = [np.fft.fftfreq(n) for n in a.shape[:-1]] + [np.fft.rfftfreq(a.shape[-1])]
    radius = np.sqrt(sum(g**2 for g in np.meshgrid(*grids, indexing="ij")))
    step = 1.0 / min((n for n in a.shape if n > 1), default=1)
    shell = np.rint(radius / step).astype(int).ravel()
    count = int(0.5 / step) + 1
    kept = shell < count

    def total(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.bincount(shell[kept], weights=values.ravel()[kept], minlength=count).astype(np.float64)

    cross = total((spectra[0] * spectra[1].conj()).real)
    power = np.sqrt(total(np.abs(spectra[0]) ** 2) * total(np.abs(spectra[1]) ** 2))
    curve: NDArray[np.float64] = np.divide(cross, power, out=np.zeros_like(cross), where=power > 0)
    frequency: NDArray[np.float64] = np.arange(count, dtype=np.float64) * step
    return frequency[1:], curve[1:]


def resolved_frequency(
    frequency: NDArray[np.float64], curve: NDArray[np.float64], threshold: float = FSC_THRESHOLD
) -> float:
    """Spatial frequency, cycles per voxel, up to which the correlation stays above `threshold` (1/7); 0 if never."""
    below = np.flatnonzero(curve < threshold)
    if below.size == 0:
        return float(frequency[-1]) if frequency.size else 0.0
    return float(frequency[below[0] - 1]) if below[0] > 0 else 0.0


def block_figures(raw: Sequence[Image], denoised: Sequence[Image]) -> dict[str, float]:
    """Quality figures of a block, for its receipt: one raw and one denoised array per detector, without halo.

    Means over detectors: `noise_sigma_before`, `noise_sigma_after` (grey values), `residual_whiteness` (neighbour
    correlation, mean over axes; 0 is white), `residual_signal_correlation`; with two detectors `fsc_before` (raw v
    raw) and `fsc_after` (denoised v the other, raw), in cycles per voxel, of the block's middle.  Figures that have no
    value (a constant block, say) are left out.
    """
    rows: list[dict[str, float]] = []
    for before, after in zip(raw, denoised, strict=True):
        grey = np.asarray(before, np.float32)
        residual = grey - np.asarray(after, np.float32)
        along = [c for c, n in zip(neighbour_correlation(residual), residual.shape, strict=True) if n > 1]
        rows.append(
            {
                "noise_sigma_before": noise_sigma(grey),
                "noise_sigma_after": noise_sigma(after),
                "residual_whiteness": float(np.mean(along)) if along else float("nan"),
                "residual_signal_correlation": correlation(residual, after),
            }
        )
    figures = {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}
    if len(raw) == 2:
        middle = tuple(slice((n - min(n, FSC_EDGE)) // 2, (n + min(n, FSC_EDGE)) // 2) for n in raw[0].shape)
        if all(np.isfinite(x[middle]).any() for x in raw):
            figures["fsc_before"] = resolved_frequency(*fourier_shell_correlation(raw[0][middle], raw[1][middle]))
            figures["fsc_after"] = float(
                np.mean(
                    [
                        resolved_frequency(*fourier_shell_correlation(denoised[n][middle], raw[1 - n][middle]))
                        for n in (0, 1)
                    ]
                )
            )
    return {name: value for name, value in figures.items() if np.isfinite(value)}
