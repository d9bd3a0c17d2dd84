"""The part of a report that people made: which sites they looked at, what they saw, how far they agree."""

import math
from dataclasses import dataclass

import pandas as pd

from cisterna.report.canvas import picture
from cisterna.report.page import Grid, Section, number
from cisterna.report.palette import SITE_CLASSES
from cisterna.report.review_figures import counts_figure, lengths_figure
from cisterna.review.agreement import share_words
from cisterna.review.decisions import FORMS
from cisterna.review.layer import read_review, tables_of
from cisterna.review.summary import ClassReview, PairReview, SampleReview, Summary, summarise
from cisterna.store import ObjectStore
from cisterna.tables.reviews import REVIEW_LENGTHS, REVIEWED_SITES

LABELS = {swatch.key: swatch.label for swatch in SITE_CLASSES}
FIRST_SITES = 30


@dataclass(frozen=True)
class ReviewReport:
    """What the section shows: the summary, its tables, and a sentence where the layer does not fit the run any more."""

    summary: Summary
    reviewed: pd.DataFrame
    lengths: pd.DataFrame
    trouble: str = ""


def read_review_report(store: ObjectStore, run_id: str, sites: pd.DataFrame) -> ReviewReport | None:
    """The run's review layer, or None where nobody decided anything."""
    review = read_review(store, run_id)
    if not review.decisions:
        return None
    try:
        tables = tables_of(review, sites)
    except ValueError as e:
        empty = REVIEWED_SITES.frame()
        return ReviewReport(summarise(empty, sites, review.samples), empty, REVIEW_LENGTHS.frame(), str(e))
    summary = summarise(tables[REVIEWED_SITES], sites, review.samples)
    return ReviewReport(summary, tables[REVIEWED_SITES], tables[REVIEW_LENGTHS])


def review_section(review: ReviewReport | None, run_id: str, candidates: int) -> Section:
    """The section; without a review it says so."""
    title = "Reviewed sites"
    if review is None:
        words = (
            f"All {number(candidates)} sites above are candidates, not reviewed: nobody has looked at them yet. "
            f"`cisterna review sample {run_id} --class all --n 30 --seed 1` draws some to look at."
        )
        return Section(title, text=[words])
    if review.trouble:
        return Section(title, text=[f"There are review decisions, but {review.trouble}."])
    summary = review.summary
    text = [
        f"{number(summary.sites)} of {number(candidates)} candidates were reviewed by {', '.join(summary.reviewers)}, "
        "blind to class and counts. The automatic tables are as they were: decisions are a layer over them.",
        " ".join(_sample_words(s) for s in summary.samples if s.judged),
    ]
    named = review.lengths.merge(review.reviewed[["site_id", "reviewer", "site_class"]], on=["site_id", "reviewer"])
    plates = [
        picture(counts_figure(summary), _count_words(summary), _COUNT_CAPTION),
        picture(lengths_figure(named), f"{len(named)} lengths measured at reviewed sites.", _length_words(named)),
    ]
    wide = sum(bool(c.counts) for c in summary.classes) > 3
    return Section(
        title,
        text=text,
        pictures=plates if wide else [],
        pairs=[] if wide else plates,
        grids=[_classes(summary), _forms(summary), *_agreement(summary), _sites(review.reviewed)],
        points=[*_below(summary), *_divided(summary)],
    )


_COUNT_CAPTION = (
    "As the paper's Fig. 3B, with this run's sites. Filled: vesicles counted by eye at random sites, mean ± s.d.; "
    "open: the automatic lower bound of the same sites (most vesicles found within one region), with its mean. Below: "
    "sites of which most reviewers confirm the automatic class, with the 95 % Wilson interval."
)


def _sample_words(s: SampleReview) -> str:
    what = {
        "all": "of all classes",
        "each": "of every class, shuffled together",
        "extent_alone": "that extent alone made Golgi-like",
    }.get(s.site_class)
    what = what or f"of class {LABELS.get(s.site_class, s.site_class)}"
    left = s.sites - s.judged
    blank = f"; {left} not judged" if left else ", all judged"
    return f"Random sample `{s.sample}`: {s.sites} of {s.population} sites {what} (seed {s.seed}){blank}."


def _count_words(summary: Summary) -> str:
    parts = [
        f"{LABELS.get(c.site_class, c.site_class)}: {number(c.mean)} by eye, lower bound {number(c.mean_bound)}, "
        f"n = {len(c.counts)}"
        for c in summary.classes
        if c.counts
    ]
    return "Vesicles per site. " + "; ".join(parts) + "." if parts else "No vesicles were counted."


def _length_words(lengths: pd.DataFrame) -> str:
    if not len(lengths):
        return "No lengths were measured."
    spread = float(lengths["length_nm"].std(ddof=1)) if len(lengths) > 1 else math.nan
    return f"n = {len(lengths)}, mean {number(float(lengths['length_nm'].mean()))} ± {number(spread)} nm (s.d.)."


def _classes(summary: Summary) -> Grid:
    header = ("class", "sites", "reviewed", "class confirmed", "would be of all",
              "an exit site", "bud seen", "vesicles by eye", "s.d.",
              "median", "lower bound")  # fmt: skip
    rows = [
        (
            LABELS.get(c.site_class, c.site_class), c.sites, c.reviewed, share_words(c.confirmed), _range(c.true_sites),
            share_words(c.exit_site), share_words(c.buds), c.mean, c.spread, c.median, c.mean_bound,
        )
        for c in summary.classes
    ]  # fmt: skip
    notes = (
        "Precision with its 95 % Wilson interval; a site counts once. A vesicular class, dispersed or Golgi-associated "
        "is confirmed by a vesicle cluster or a large vesicle with buds, a tubular one by a large vesicle with buds, a "
        "varicosity or a tubular extension. An exit site is anything but generic ER and none of these. "
        "`Would be of all` takes the interval to all sites of the class: it needs a sample that was judged completely."
    )
    return Grid("Class precision", header, rows, notes, wide=True)


def _range(span: tuple[int, int] | None) -> str:
    if span is None:
        return "–"
    return number(span[0]) if span[0] == span[1] else f"{number(span[0])}–{number(span[1])}"


def _forms(summary: Summary) -> Grid:
    rows = [(LABELS.get(c.site_class, c.site_class), *(c.forms[form] for form in FORMS)) for c in summary.classes]
    return Grid("Forms seen (decisions)", ("class", *FORMS), rows, wide=True)


def _agreement(summary: Summary) -> list[Grid]:
    if not summary.pairs:
        return []
    header = ("reviewers", "common sites", "same form", "kappa, form", "kappa, exit site", "kappa, bud",
              "count difference", "s.d.")  # fmt: skip
    rows = [_pair(p) for p in summary.pairs]
    return [Grid("Agreement", header, rows, "Cohen's kappa, unweighted; differences are first − second.", wide=True)]


def _pair(p: PairReview) -> tuple[object, ...]:
    same = f"{p.form.agreed} of {p.form.both}"
    return (
        f"{p.one}, {p.other}", p.sites, same, p.form.kappa, p.exit_site.kappa, p.bud.kappa, p.counts.mean,
        p.counts.spread,
    )  # fmt: skip


def _sites(reviewed: pd.DataFrame) -> Grid:
    rows = [
        (
            int(r["site_id"]), LABELS.get(r["site_class"], r["site_class"]), r["reviewer"], r["when_utc"],
            None if math.isnan(r["vesicles"]) else int(r["vesicles"]),
            int(r["cluster_size"]), r["form"] or "–", r["bud"] or "–", r["why"],
        )
        for r in reviewed.head(FIRST_SITES).to_dict("records")
    ]  # fmt: skip
    header = ("site", "class", "who", "when", "by eye", "lower bound", "form", "bud", "why")
    some = f"The first {len(rows)} of {len(reviewed)} decisions" if len(rows) < len(reviewed) else "All decisions"
    return Grid(some, header, rows, "`cisterna export` writes all as tables/reviewed_sites.", wide=True)


def _below(summary: Summary) -> list[str]:
    found = [(c, c.below) for c in summary.classes if c.below]
    return [
        f"People saw fewer vesicles than the lower bound at {len(sites)} of {len(c.counts)} sites, "
        f"{LABELS.get(c.site_class, c.site_class)} (site {', '.join(map(str, sites[:12]))}): there the model found "
        "what is none, or one vesicle counts twice."
        for c, sites in found
    ]


def _divided(summary: Summary) -> list[str]:
    def words(c: ClassReview) -> str:
        return (
            f"Not confirmed, because reviewers are evenly divided, {LABELS.get(c.site_class, c.site_class)}: "
            f"{c.divided}."
        )

    return [words(c) for c in summary.classes if c.divided]
