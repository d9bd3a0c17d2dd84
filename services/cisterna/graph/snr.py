"""Signal-to-noise ratio of a frame, and whether its network can be trusted.

Lu et al. 2023 find nodes and edges within 90 % of the truth above a ratio of 5, by SNR = E[S²] / E[N²].
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from cisterna.graph.areas import grown

SNR_LIMIT = 5.0
# The blur of the microscope carries ER light this far: such pixels are no background.
HALO_PX = 4
# Fewer background pixels than this say nothing about noise.
LEAST_PIXELS = 100
# A background with more pixels than this at its lowest value was cut off there.
CLIPPED_SHARE = 0.05

OK, LOW, NOT_APPLICABLE = "ok", "low", "snr_not_applicable"


@dataclass(frozen=True)
class SignalToNoise:
    """`power` is E[S²] / E[N²], `mean_std` is mean(S) / std(N), `noise_sd` is std(N) in grey values.

    All are NaN where `flag` is snr_not_applicable.
    """

    power: float
    mean_std: float
    flag: str
    noise_sd: float = math.nan


def signal_to_noise(raw: np.ndarray, er: np.ndarray) -> SignalToNoise:
    """Measures one frame (y, x) given its ER pixels.

    The background is what lies more than 4 px away from any ER (all other pixels, when fewer than 100 do). Its mean
    is the offset, its variance E[N²]. E[S²] is the mean of (frame - offset)² over the frame, less E[N²], because the
    frame holds signal plus noise; mean(S) is taken over the ER. Pixels that are not finite are left out.

    `flag` is `low` below 5, and `snr_not_applicable` when the background is missing, constant or clipped (more than
    5 % of it at its lowest value, which holds that value alone: reconstructed SIM and Airyscan frames).
    """
    frame = np.asarray(raw, np.float64)
    er = np.asarray(er) != 0
    if frame.shape != er.shape:
        raise ValueError(f"the frame is {frame.shape}, its ER mask {er.shape}: they must agree")
    known = np.isfinite(frame)
    if not known.all():
        frame, er, around = frame[known], er[known], grown(er, HALO_PX)[known]
    else:
        around = grown(er, HALO_PX)
    background = frame[~around]
    if len(background) < LEAST_PIXELS:
        background = frame[~er]
    signal = frame[er]
    nothing = SignalToNoise(math.nan, math.nan, NOT_APPLICABLE)
    if len(background) < LEAST_PIXELS or len(signal) == 0 or is_clipped(background):
        return nothing
    offset, noise = float(background.mean()), float(background.var())
    beyond = (frame - offset).ravel()
    power = max(float(beyond @ beyond) / beyond.size - noise, 0.0) / noise
    flag, noise_sd = OK if power >= SNR_LIMIT else LOW, math.sqrt(noise)
    return SignalToNoise(power, float((signal.mean() - offset) / noise_sd), flag, noise_sd)


def noise_to_reach(found: SignalToNoise, power: float) -> float:
    """Standard deviation of the Gaussian noise that brings a frame down to an SNR of `power`: σ √(P / power − 1).

    E[S²] stays as it is, and E[N²] becomes σ² + the variance added. 0 where the frame is no brighter; NaN where its
    SNR is unknown.
    """
    if not power > 0 or not math.isfinite(power):
        raise ValueError(f"an SNR of {power:g} cannot be reached: give a positive number")
    if math.isnan(found.power):
        return math.nan
    return found.noise_sd * math.sqrt(max(found.power / power - 1, 0.0))


def is_clipped(background: np.ndarray) -> bool:
    """Whether noise was cut off at the bottom: the lowest value is much more frequent than a tail allows.

    Grey levels are few in 8-bit frames of little noise, so the lowest value must also hold more pixels than the next
    one that occurs.
    """
    values, counts = np.unique(background, return_counts=True)
    if len(values) == 1:
        return True
    return bool(counts[0] > CLIPPED_SHARE * counts.sum() and counts[0] > counts[1])
