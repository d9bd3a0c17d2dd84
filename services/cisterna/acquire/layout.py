"""Which of an input's axes are planes: time or depth, one of several channels, sections of a z-stack."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cisterna.acquire.source import Depth, Kind, UnusableInput

Z_MODES = ("single", "max_projection", "per_section")
"""What an er-movie run does with a z-stack: one section, the maximum over z of every frame, or every section."""

_WORDS = {"Z": "z planes", "T": "time frames", "C": "channels"}


@dataclass(frozen=True)
class Selection:
    """What the user says of an input with more axes than one: names of its `axes`, a channel, what to do with z.

    `channel` is a number from 0 or a name that the file gives; `axes` one letter an axis, e.g. TCYX, where the file
    names them wrongly or not at all; `z_section` belongs to `z_mode` single.
    """

    channel: int | str | None = None
    axes: str | None = None
    z_mode: str | None = None
    z_section: int | None = None


@dataclass(frozen=True)
class Planes:
    """`count` planes; plane i is the maximum over the positions `at(i)` of the leading axes (mostly a single one).

    `depth` says what was done with a z-stack; `z_as_time` that a lone z axis was taken for time.
    """

    count: int
    at: Callable[[int], list[tuple[int, ...]]]
    notes: tuple[str, ...] = ()
    depth: Depth | None = None
    z_as_time: bool = False

    def reader(self, read_at: Callable[[tuple[int, ...], int], NDArray[Any]]) -> Callable[[int], NDArray[Any]]:
        """Plane i from a function that reads one position: values that are no number never are the maximum."""

        def read(i: int) -> NDArray[Any]:
            first, *others = self.at(i)
            plane = read_at(first, i)
            for position in others:
                plane = np.fmax(plane, read_at(position, i))
            return plane

        return read


def named_axes(name: str, axes: str, selection: Selection) -> str:
    """The axes of an array, as the user names them where they do. Raises UnusableInput where they do not fit."""
    if selection.axes is None:
        return axes
    given = selection.axes.upper()
    if (
        len(given) != len(axes)
        or len(set(given)) != len(given)
        or set(given) - set("TCZYXS")
        or not set("YX") <= set(given)
    ):
        raise UnusableInput(
            f"{name} has {len(axes)} axes ({axes}), --axes names {given}: give one letter of T, C, Z, Y, X each"
        )
    own, said = ([a for a in letters if a in "YXS"] for letters in (axes, given))
    if own != said or [a in "YXS" for a in axes] != [a in "YXS" for a in given]:
        raise UnusableInput(f"{name} stores its planes as {axes}, --axes says {given}: leave Y and X where they are")
    return given


def choose_planes(
    name: str, axes: str, shape: Sequence[int], kind: Kind, selection: Selection, channel_names: Sequence[str] = ()
) -> Planes:
    """Which of the leading axes are planes.

    Leading axes are those before the plane's own (Y, X, S), one letter each: Z, T, C, or an unnamed one (Q, I, …).
    Raises UnusableInput, naming the remedy, for several channels, a z-stack or stacks without a choice.
    """
    leading = [(a, int(n)) for a, n in zip(axes, shape, strict=True) if a not in "YXS"]
    place = {a: i for i, (a, n) in enumerate(leading) if a in "TCZ"}
    length = {a: leading[i][1] for a, i in place.items()}
    channel = chosen_channel(name, length.get("C", 1), channel_names, selection.channel) if "S" not in axes else None
    if "S" in axes and length.get("C", 1) > 1:
        raise UnusableInput(f"{name} has {length['C']} channels of colour images: export one channel as grey values")
    unnamed = [i for i, (a, n) in enumerate(leading) if a not in "TCZ" and n > 1]
    long = [a for a in "TZ" if length.get(a, 1) > 1]
    wanted = "Z" if kind == "volume" or (selection.z_mode is not None and "T" in long) else "T"
    notes: list[str] = []
    if unnamed:
        free = [a for a in ("TZ" if kind == "movie" else "Z") if a not in long]
        if len(unnamed) > 1 or len(long) + len(unnamed) > 2 or (long and kind == "volume") or not free:
            sizes = " × ".join(f"{a} {n}" for a, n in leading if n > 1)
            raise UnusableInput(
                f"{name} has several stacks ({sizes}) and does not name all its axes: name them with --axes, e.g. "
                f"--axes {'TCYX' if kind == 'movie' else 'CZYX'}"
            )
        letter = wanted if wanted in free else free[0]
        if selection.z_mode is not None and not long:
            letter = "Z"
            notes.append(
                f"{Path(name).name} names no axis; its {leading[unnamed[0]][1]} planes were read as z sections"
            )
        place[letter], length[letter] = unnamed[0], leading[unnamed[0]][1]
    frames, sections = length.get("T", 1), length.get("Z", 1)

    def index(t: int, z: int) -> tuple[int, ...]:
        at = [0] * len(leading)
        for letter, value in (("T", t), ("Z", z), ("C", channel or 0)):
            if letter in place:
                at[place[letter]] = value
        return tuple(at)

    if kind == "volume":
        if frames > 1 and sections > 1:
            raise UnusableInput(
                f"{name} has several stacks (T {frames} × Z {sections}): export one volume of one stack of planes"
            )
        if frames > 1:
            notes.append(f"{Path(name).name} calls its planes {_WORDS['T']}; they were read as {_WORDS['Z']}")
            return Planes(frames, lambda i: [index(i, 0)], tuple(notes))
        return Planes(sections, lambda i: [index(0, i)], tuple(notes))
    return _movie(name, frames, sections, index, selection, notes)


def _movie(
    name: str, frames: int, sections: int, index: Callable[[int, int], tuple[int, ...]], selection: Selection,
    notes: list[str],
) -> Planes:  # fmt: skip
    mode, section = selection.z_mode, selection.z_section
    if mode is not None and mode not in Z_MODES:
        raise UnusableInput(f"z mode {mode!r} is unknown: give {', '.join(Z_MODES[:-1])} or {Z_MODES[-1]}")
    if section is not None and mode != "single":
        raise UnusableInput(f"z section {section} is given, but the z mode is {mode}: it belongs to --z-mode single")
    if sections == 1:
        if mode in ("max_projection", "per_section") or section:
            what = f"--z-mode {mode}" if mode != "single" else f"--z-section {section}"
            raise UnusableInput(
                f"{name} has no z axis ({frames} frames of one section), {what} needs several sections: leave it out, "
                "or name the axes with --axes"
            )
        return Planes(frames, lambda i: [index(i, 0)], tuple(notes))
    if mode is None:
        if frames > 1:
            raise UnusableInput(
                f"{name} is a z-stack through time ({frames} time points of {sections} sections): say what to do with "
                f"z, --z-mode single (with --z-section N), max_projection or per_section"
            )
        notes.append(f"{Path(name).name} calls its planes {_WORDS['Z']}; they were read as {_WORDS['T']}")
        return Planes(sections, lambda i: [index(0, i)], tuple(notes), z_as_time=True)
    if mode == "single":
        if section is None or not 0 <= section < sections:
            said = "no section was chosen" if section is None else f"there is no section {section}"
            raise UnusableInput(f"{name} has {sections} z sections and {said}: give --z-section 0 to {sections - 1}")
        return Planes(frames, lambda i: [index(i, section)], tuple(notes), Depth(mode, sections, section))
    if mode == "max_projection":
        return Planes(frames, lambda i: [index(i, z) for z in range(sections)], tuple(notes), Depth(mode, sections))
    return Planes(frames * sections, lambda i: [index(*divmod(i, sections))], tuple(notes), Depth(mode, sections))


def chosen_channel(name: str, channels: int, names: Sequence[str], wanted: int | str | None) -> int:
    """The number of a channel given by number or name; raises UnusableInput listing the channels there are."""
    known = [n for n in names[:channels] if n]
    listed = ", ".join(
        f"{i} {n}" if n else str(i) for i, n in enumerate([*names[:channels], *[""] * channels][:channels])
    )
    if wanted is None:
        if channels > 1:
            by_name = " or its name" if known else ""
            raise UnusableInput(
                f"{name} has {channels} channels ({listed}): name one with --channel 0 to {channels - 1}{by_name}"
            )
        return 0
    if isinstance(wanted, str):
        same = [i for i, n in enumerate(names[:channels]) if n.strip().lower() == wanted.strip().lower()]
        if len(same) != 1:
            why = "names none of them" if not known else "has no such name" if not same else "has that name twice"
            raise UnusableInput(
                f"{name} has no single channel {wanted!r}, it {why}: give --channel by number ({listed})"
            )
        return same[0]
    if not 0 <= wanted < channels:
        raise UnusableInput(f"{name} has no channel {wanted}: it has {channels} ({listed}), counted from 0")
    return wanted
