"""Colour images by meaning: the one grey value that is in them, or a question; never an average."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cisterna.acquire.source import UnusableInput

NAMES = ("red", "green", "blue", "alpha")


@dataclass(frozen=True)
class Sample:
    """The sample of a colour image that is read, and what is said of it."""

    index: int
    notes: tuple[str, ...]


def choose_sample(
    name: str, samples: int, planes: int, read: Callable[[int], NDArray[Any]], channel: int | str | None
) -> Sample:
    """Which sample of (y, x, samples) images holds the grey values; `read(i)` gives image i.

    The named one; the first where red, green and blue agree everywhere; the only one that is not constant over all
    planes. Two samples are grey and alpha. Alpha is never read unless it is named. All planes are read once, up to the
    first that shows colour. Raises UnusableInput for a colour image without a choice.
    """
    names = NAMES if samples in (3, 4) else ("grey", "alpha") if samples == 2 else ("grey",)
    if channel is not None:
        index = names.index(channel.lower()) if isinstance(channel, str) and channel.lower() in names else channel
        if isinstance(index, str) or not 0 <= index < samples:
            listed = ", ".join(f"{i} {n}" for i, n in enumerate(names[:samples]))
            raise UnusableInput(
                f"{name} has no channel {channel}: it has {samples} colour samples ({listed}), counted from 0"
            )
        return Sample(index, ())
    dropped = (f"{name.rpartition('/')[2]}: its alpha was left out",) if samples in (2, 4) else ()
    if samples <= 2:
        return Sample(0, dropped)
    if samples > 4:
        raise UnusableInput(f"{name} has {samples} samples a pixel: name one with --channel 0 to {samples - 1}")
    low: NDArray[Any] | None = None
    high: NDArray[Any] | None = None
    equal, plane, odd = True, 0, 0
    for plane in range(planes):
        image = read(plane)[..., :3]
        flat = image.reshape(-1, 3)
        low = flat.min(0) if low is None else np.minimum(low, flat.min(0))
        high = flat.max(0) if high is None else np.maximum(high, flat.max(0))
        if equal and not (flat == flat[:, :1]).all():
            equal, odd = False, plane
        if not equal and int((high > low).sum()) > 1:
            break
    if equal:
        return Sample(
            0, (f"{name.rpartition('/')[2]} stores grey as {samples} equal colour samples; one was read", *dropped)
        )
    assert low is not None
    assert high is not None
    lit = np.flatnonzero(high > low)
    if len(lit) == 1:
        only = NAMES[lit[0]]
        return Sample(
            int(lit[0]), (f"{name.rpartition('/')[2]}: only its {only} carries signal; it was read", *dropped)
        )
    told = " and ".join(NAMES[i] for i in lit) or "no sample alone"
    raise UnusableInput(
        f"plane {odd} of {name} is a colour image ({told} carry signal): say which with --channel "
        "(0 red, 1 green, 2 blue)"
    )
