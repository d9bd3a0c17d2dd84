"""One person's decision about one site: who, when, why, what was seen."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

FORMS = (
    "vesicle cluster",
    "large vesicle with buds",
    "varicosity",
    "tubular extension",
    "generic ER",
    "none of these",
)
"""The five forms by which Nair et al. 2025 re-examined their sites, and ours for what is none of them."""

EXIT_SITE_FORMS = FORMS[:4]
VESICULAR_FORMS = ("vesicle cluster", "large vesicle with buds")
TUBULAR_FORMS = ("large vesicle with buds", "varicosity", "tubular extension")

MOST_VESICLES = 10_000
MOST_LENGTHS = 1_000
LONGEST_TEXT = 10_000
DECIMALS = 2
"""Positions are kept to 0.01 nm, so that every way of writing them gives the same number back."""

_UTC = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
# What XML 1.0 can carry, line breaks and tabs included: a text that one of our files could not hold is refused.
_UNWRITABLE = re.compile("[^\t\n\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

Point = tuple[float, float, float]


@dataclass(frozen=True)
class Length:
    """Two clicks: positions z,y,x in nm from the outer corner of the volume's first voxel."""

    start: Point
    end: Point

    def __post_init__(self) -> None:
        for name in ("start", "end"):
            point = tuple(round(float(v), DECIMALS) + 0.0 for v in getattr(self, name))
            if len(point) != 3 or not all(math.isfinite(v) for v in point):
                raise ValueError(f"a point of a length needs z, y, x in nm, got {getattr(self, name)}")
            object.__setattr__(self, name, point)

    @property
    def nm(self) -> float:
        """Euclidean distance of the two points."""
        return math.dist(self.start, self.end)


@dataclass(frozen=True)
class Decision:
    """What one reviewer says of one item of a sample; `revision` 0 is the first word, the highest one stands.

    `vesicles` is None, `form` and `bud` are empty where the reviewer did not judge. `why` is free text. Raises
    ValueError with a sentence naming the value.
    """

    sample: str
    item: str
    reviewer: str
    when_utc: str
    vesicles: int | None = None
    form: str = ""
    bud: str = ""
    why: str = ""
    lengths: tuple[Length, ...] = ()
    revision: int = 0
    tool_version: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "why", self.why.replace("\r\n", "\n").replace("\r", "\n"))
        object.__setattr__(self, "lengths", tuple(self.lengths))
        check_reviewer(self.reviewer)
        if not _UTC.fullmatch(self.when_utc):
            raise ValueError(f"the time {self.when_utc!r} is not UTC as 2026-11-21T09:30:00Z")
        if self.vesicles is not None and not 0 <= self.vesicles <= MOST_VESICLES:
            raise ValueError(f"{self.vesicles} vesicles: write a count from 0 to {MOST_VESICLES}, or leave it empty")
        if self.form and self.form not in FORMS:
            raise ValueError(f"form {self.form!r} is none of: {', '.join(FORMS)}; leave it empty where you cannot tell")
        if self.bud not in ("", "yes", "no"):
            raise ValueError(f"bud {self.bud!r} is neither yes nor no; leave it empty where you cannot tell")
        if self.revision < 0:
            raise ValueError(f"revision {self.revision} is below 0: the first decision is 0")
        if len(self.why) > LONGEST_TEXT:
            raise ValueError(f"the reason has {len(self.why)} characters: {LONGEST_TEXT} is the most")
        if len(self.lengths) > MOST_LENGTHS:
            raise ValueError(f"{len(self.lengths)} lengths at one site: {MOST_LENGTHS} is the most")
        if bad := _UNWRITABLE.search(self.why):
            raise ValueError(
                f"the reason holds the character {bad.group()!r}, which no CSV or XML reader keeps: remove it"
            )
        if not re.fullmatch(r"[\w.+-]*", self.tool_version):
            raise ValueError(f"tool version {self.tool_version!r} holds something else than letters, digits, . + -")
        if self.is_empty:
            raise ValueError("nothing is decided: give a count, a form, a bud, a length or a reason")

    @property
    def is_empty(self) -> bool:
        return self.vesicles is None and not (self.form or self.bud or self.why.strip() or self.lengths)

    def says_the_same(self, other: Decision) -> bool:
        """Whether the two agree in everything that was judged; when and with which version does not matter."""
        return self.content == other.content

    @property
    def content(self) -> tuple[Any, ...]:
        return (
            self.sample, self.item, self.reviewer, self.vesicles, self.form, self.bud, self.why, self.lengths,
        )  # fmt: skip

    def document(self) -> dict[str, Any]:
        """As JSON; `from_document` is its inverse."""
        return asdict(self) | {"lengths": [[*length.start, *length.end] for length in self.lengths]}


def from_document(document: Mapping[str, Any]) -> Decision:
    """A decision from its JSON document."""
    lengths = tuple(length_of(numbers) for numbers in document["lengths"])
    return Decision(**{**document, "lengths": lengths})


def length_of(numbers: Sequence[float]) -> Length:
    """A length from z, y, x of its start and z, y, x of its end."""
    if len(numbers) != 6:
        raise ValueError(f"a length is six numbers, z y x of both ends in nm; got {len(numbers)}")
    z, y, x, v, u, t = (float(n) for n in numbers)
    return Length((z, y, x), (v, u, t))


def check_reviewer(name: str) -> str:
    """The reviewer's name, one line of at most 80 characters; ValueError otherwise."""
    if not name.strip() or name != name.strip() or len(name) > 80 or "\n" in name or "\t" in name:
        raise ValueError(f"reviewer {name!r}: give a name of 1 to 80 characters on one line, without spaces around it")
    if bad := _UNWRITABLE.search(name):
        raise ValueError(f"reviewer {name!r} holds the character {bad.group()!r}: write the name without it")
    return name


def form_of(text: str) -> str:
    """The form as `FORMS` spells it, for any case and spacing; unknown text comes back for Decision to refuse."""
    plain = " ".join(text.split()).casefold()
    return next((form for form in FORMS if form.casefold() == plain), text.strip())


def confirms(site_class: str, form: str) -> str:
    """`yes` where the form is one that the automatic class allows, `no` where not, empty where nobody judged.

    Vesicular classes, `dispersed` and `golgi_associated` (which differ in place, not in form) need a vesicular form,
    tubular classes a tubular one; a large vesicle with buds may be either.
    """
    if not form:
        return ""
    allowed = TUBULAR_FORMS if site_class.startswith("tubular") else VESICULAR_FORMS
    return "yes" if form in allowed else "no"


def is_exit_site(form: str) -> str:
    """`yes` for the four forms of an exit site, `no` for generic ER and none of these, empty where nobody judged."""
    return "" if not form else "yes" if form in EXIT_SITE_FORMS else "no"
