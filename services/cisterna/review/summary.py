"""What the layer adds up to: precision of each class, counts beside the automatic lower bound, agreement."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from cisterna.review.agreement import Difference, Kappa, Share, cohen_kappa, differences, wilson
from cisterna.review.decisions import FORMS
from cisterna.review.sampling import Sample
from cisterna.tables.volumes import SITE_CLASSES


@dataclass(frozen=True)
class ClassReview:
    """One automatic class as people saw it. A site counts once, however many people reviewed it.

    `confirmed` and `exit_site`: sites that most of their reviewers judged so, of the sites that anyone judged; where
    reviewers are evenly divided the site is not confirmed, and counted in `divided`. `counts` are vesicles per site
    (mean over its reviewers) and `bound` the automatic lower bound of the same sites, both in order of `site_ids`;
    `below` names sites where people saw fewer than the bound.
    """

    site_class: str
    sites: int
    reviewed: int
    confirmed: Share
    exit_site: Share
    divided: int
    forms: dict[str, int]
    buds: Share
    site_ids: tuple[int, ...]
    counts: tuple[float, ...]
    bound: tuple[int, ...]
    below: tuple[int, ...]

    @property
    def true_sites(self) -> tuple[int, int] | None:
        """Between how many and how many sites of the class would be confirmed if all were reviewed (95 %).

        The Wilson interval taken to all sites, and never less than was seen. Holds for a uniform random sample of which
        every site was judged.
        """
        if not self.confirmed.whole:
            return None
        low = max(math.floor(self.confirmed.low * self.sites), self.confirmed.part)
        most = self.sites - (self.confirmed.whole - self.confirmed.part)
        return low, max(low, min(math.ceil(self.confirmed.high * self.sites), most))

    @property
    def mean(self) -> float:
        return float(np.mean(self.counts)) if self.counts else math.nan

    @property
    def spread(self) -> float:
        return float(np.std(self.counts, ddof=1)) if len(self.counts) > 1 else math.nan

    @property
    def median(self) -> float:
        return float(np.median(self.counts)) if self.counts else math.nan

    @property
    def mean_bound(self) -> float:
        return float(np.mean(self.bound)) if self.bound else math.nan


@dataclass(frozen=True)
class PairReview:
    """How far two reviewers agree on the sites that both of them judged."""

    one: str
    other: str
    sites: int
    form: Kappa
    exit_site: Kappa
    bud: Kappa
    counts: Difference


@dataclass(frozen=True)
class SampleReview:
    """How far a sample is reviewed: `judged` of its sites have a decision; a blank left out on purpose is a bias."""

    sample: str
    site_class: str
    seed: int
    sites: int
    population: int
    judged: int


@dataclass(frozen=True)
class Summary:
    """Everything that `cisterna review show` and the report say."""

    reviewers: tuple[str, ...]
    sites: int
    decisions: int
    samples: tuple[SampleReview, ...]
    classes: tuple[ClassReview, ...]
    pairs: tuple[PairReview, ...]


def majority(votes: Sequence[str]) -> str:
    """`yes` or `no` as most said, `divided` at an even split, empty without votes."""
    yes, no = votes.count("yes"), votes.count("no")
    return "" if yes + no == 0 else "divided" if yes == no else "yes" if yes > no else "no"


def summarise(reviewed: pd.DataFrame, sites: pd.DataFrame, samples: Sequence[Sample] = ()) -> Summary:
    """From the table `reviewed_sites`, the run's `sites` and its samples. Classes nobody looked at are left out."""
    names = [*SITE_CLASSES, *sorted(set(reviewed["site_class"]) - set(SITE_CLASSES))]
    classes = tuple(
        _class_review(name, reviewed[reviewed["site_class"] == name], int((sites["site_class"] == name).sum()))
        for name in names
        if (reviewed["site_class"] == name).any()
    )
    reviewers = tuple(sorted(set(reviewed["reviewer"])))
    pairs = tuple(
        pair for one, other in combinations(reviewers, 2) if (pair := _pair_review(reviewed, one, other)) is not None
    )
    seen = {name: set(own["item"]) for name, own in reviewed.groupby("sample")}
    drawn = tuple(
        SampleReview(s.sample, s.site_class, s.seed, len(s.items), s.population, len(seen.get(s.sample, ())))
        for s in samples
    )
    return Summary(reviewers, int(reviewed["site_id"].nunique()), len(reviewed), drawn, classes, pairs)


def _class_review(name: str, rows: pd.DataFrame, population: int) -> ClassReview:
    by_site = {int(str(site)): own for site, own in rows.groupby("site_id")}
    confirmed = [majority(own["confirmed"].tolist()) for own in by_site.values()]
    exits = [majority(own["exit_site"].tolist()) for own in by_site.values()]
    buds = [majority(own["bud"].tolist()) for own in by_site.values()]
    counted = {s: own for s, own in by_site.items() if own["vesicles"].notna().any()}
    counts = tuple(float(own["vesicles"].mean()) for own in counted.values())
    bound = tuple(int(own["cluster_size"].iloc[0]) for own in counted.values())
    forms = rows["form"].value_counts()
    return ClassReview(
        site_class=name,
        sites=population,
        reviewed=len(by_site),
        confirmed=_share(confirmed),
        exit_site=_share(exits),
        divided=confirmed.count("divided"),
        forms={form: int(forms.get(form, 0)) for form in FORMS},
        buds=_share(buds),
        site_ids=tuple(counted),
        counts=counts,
        bound=bound,
        below=tuple(s for s, count, least in zip(counted, counts, bound, strict=True) if count < least),
    )


def _share(votes: Sequence[str]) -> Share:
    judged = [v for v in votes if v]
    return wilson(judged.count("yes"), len(judged))


def _pair_review(reviewed: pd.DataFrame, one: str, other: str) -> PairReview | None:
    first, second = (reviewed[reviewed["reviewer"] == name] for name in (one, other))
    both = first.merge(second, on="site_id", suffixes=("_1", "_2"))
    if not len(both):
        return None

    def kappa(column: str) -> Kappa:
        judged = both[(both[f"{column}_1"] != "") & (both[f"{column}_2"] != "")]
        return cohen_kappa(judged[f"{column}_1"].tolist(), judged[f"{column}_2"].tolist())

    counted = both[both["vesicles_1"].notna() & both["vesicles_2"].notna()]
    return PairReview(
        one, other, len(both), kappa("form"), kappa("exit_site"), kappa("bud"),
        differences(counted["vesicles_1"].tolist(), counted["vesicles_2"].tolist()),
    )  # fmt: skip


def document_of(summary: Summary) -> dict[str, Any]:
    """The summary for JSON: derived figures stand beside what they come from, undefined ones are null."""
    classes = []
    for c in summary.classes:
        shares = {
            name: asdict(s) | {"value": s.value}
            for name in ("confirmed", "exit_site", "buds")
            for s in [getattr(c, name)]
        }
        derived: dict[str, Any] = {
            "true_sites": c.true_sites,
            "mean": c.mean,
            "spread": c.spread,
            "median": c.median,
            "mean_bound": c.mean_bound,
        }
        classes.append(asdict(c) | shares | derived)
    found: dict[str, Any] = _defined(asdict(summary) | {"classes": classes})
    return found


def _defined(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(k): _defined(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_defined(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
