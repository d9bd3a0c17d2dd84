"""The layer in the store: samples and decisions as objects that are created once and never changed.

`runs/<run>/review/samples/<sample>.json` and `runs/<run>/review/decisions/<sample>/<item>/<reviewer>-<revision>.json`.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import pandas as pd
import pyarrow.parquet as pq

from cisterna.review.decisions import Decision, confirms, from_document, is_exit_site
from cisterna.review.sampling import Item, Sample, sample_from_document, sites_digest
from cisterna.store import ObjectMissing, ObjectStore
from cisterna.store.objects import json_bytes
from cisterna.tables.reviews import REVIEW_LENGTHS, REVIEWED_SITES
from cisterna.tables.schema import Table
from cisterna.tables.volumes import SITES

NEEDED = ("site_id", "kind", "site_class", "cluster_size", *(f"centroid_{axis}_nm" for axis in "zyx"))
USEFUL = ("excluded_by",)


def review_folder(run_id: str) -> str:
    return f"runs/{run_id}/review"


@dataclass(frozen=True)
class Review:
    """All samples of a run and all decisions, superseded ones included, in order."""

    run_id: str
    samples: tuple[Sample, ...]
    decisions: tuple[Decision, ...]

    def sample(self, name: str) -> Sample:
        found = next((s for s in self.samples if s.sample == name), None)
        if found is None:
            known = ", ".join(s.sample for s in self.samples) or "none was drawn yet: `cisterna review sample`"
            raise ValueError(f"sample {name!r} is not one of run {self.run_id}; its samples: {known}")
        return found

    def item(self, decision: Decision) -> Item:
        found = self.sample(decision.sample).item(decision.item)
        if found is None:
            raise ValueError(f"sample {decision.sample} has no item {decision.item!r}")
        return found

    @property
    def standing(self) -> tuple[Decision, ...]:
        """The last word of each reviewer on each item."""
        last: dict[tuple[str, str, str], Decision] = {}
        for d in self.decisions:
            last[d.sample, d.item, d.reviewer] = d
        return tuple(last.values())


def read_sites(store: ObjectStore, run_id: str) -> pd.DataFrame:
    """What a review needs of the run's site table, whichever version wrote it. ValueError where the run has none."""
    try:
        path = store.get_json(f"runs/{run_id}/run.json").get("tables", {}).get(SITES.name)
        if path:
            table = pq.read_table(io.BytesIO(store.get(path)))
            found: pd.DataFrame = table.select([n for n in (*NEEDED, *USEFUL) if n in table.column_names]).to_pandas()
            return found
    except ObjectMissing as e:
        if e.path.endswith("run.json"):
            raise ValueError(f"no run {run_id} in {store.url}: `cisterna runs` lists them") from None
    raise ValueError(f"run {run_id} has no site table to review; `cisterna show {run_id}` says how far it is")


def read_review(store: ObjectStore, run_id: str) -> Review:
    """Everything in the layer; empty where nobody reviewed anything."""
    folder = review_folder(run_id)
    samples = [sample_from_document(store.get_json(path)) for path in store.list(f"{folder}/samples")]
    decisions = [from_document(store.get_json(path)) for path in store.list(f"{folder}/decisions")]
    return Review(
        run_id,
        tuple(sorted(samples, key=lambda s: (s.created_utc, s.sample))),
        tuple(sorted(decisions, key=lambda d: (d.sample, d.item, d.reviewer, d.revision))),
    )


def add_sample(store: ObjectStore, sample: Sample) -> Sample:
    """Records the key of a sample; the same request again gives the one that is there."""
    path = f"{review_folder(sample.run_id)}/samples/{sample.sample}.json"
    if store.put_new(path, json_bytes(sample.document())):
        return sample
    return sample_from_document(store.get_json(path))


def check_sites(review: Review, sites: pd.DataFrame, names: Iterable[str]) -> None:
    """Refuses samples of sites that are no longer the run's: their ids may mean other places now."""
    digest = sites_digest(sites)
    for name in names:
        if review.sample(name).sites != digest:
            raise ValueError(
                f"the sites of run {review.run_id} are not those that sample {name} was drawn from (blocks were "
                "computed since): draw a new sample with another seed"
            )


@dataclass(frozen=True)
class Added:
    """What an import did: decisions written, and how many were there already word for word."""

    written: tuple[Decision, ...]
    repeated: int


def add_decisions(store: ObjectStore, run_id: str, decisions: Sequence[Decision], revise: bool = False) -> Added:
    """Checks all decisions, then writes them; the automatic tables are never touched.

    A decision that stands already is left out. A different one by the same person on the same site is refused, unless
    `revise`: then it is the next revision, and needs a reason. Nothing is written when one of them is refused. Raises
    ValueError with a sentence naming item and value.
    """
    review = read_review(store, run_id)
    check_sites(review, read_sites(store, run_id), {d.sample for d in decisions})
    _check_repeats(decisions)
    _check_spelling(decisions, review)
    standing = {(d.sample, d.item, d.reviewer): d for d in review.standing}
    by_site = {(review.item(d).site_id, d.reviewer): d for d in review.standing}
    there = set(review.decisions)
    written: list[Decision] = []
    repeated = 0
    for d in decisions:
        key, site = (d.sample, d.item, d.reviewer), (review.item(d).site_id, d.reviewer)
        before, elsewhere = standing.get(key), by_site.get(site)
        if before is None and elsewhere is not None:
            raise ValueError(
                f"item {d.item} of {d.sample} is the site that {d.reviewer} has reviewed as item {elsewhere.item} of "
                f"{elsewhere.sample}: a site counts once for a person, take this row out"
            )
        if before is None and d.revision:
            raise ValueError(f"item {d.item}: revision {d.revision} without the decision before it")
        if before is not None and (d in there or (before.says_the_same(d) and d.revision <= before.revision)):
            repeated += 1
            continue
        if before is not None and d.revision != before.revision + 1:
            if not revise:
                raise ValueError(
                    f"item {d.item} of {d.sample}: {d.reviewer} has reviewed it already ({before.when_utc}); to put a "
                    "new decision over that one, give the reason in `why` and add --revise"
                )
            d = replace(d, revision=before.revision + 1)
        if d.revision and not d.why.strip():
            raise ValueError(f"item {d.item}: a revision needs its reason in `why`")
        standing[key] = by_site[site] = d
        written.append(d)
    for d in written:
        if not store.put_new(decision_path(run_id, d), json_bytes(d.document())):
            raise ValueError(
                f"item {d.item}: somebody recorded {d.reviewer}'s decision just now; import the file again"
            )
    return Added(tuple(written), repeated)


def _check_repeats(decisions: Sequence[Decision]) -> None:
    seen: set[tuple[str, str, str, int]] = set()
    for d in decisions:
        key = (d.sample, d.item, d.reviewer, d.revision)
        if key in seen:
            raise ValueError(f"item {d.item} of {d.sample} stands twice for {d.reviewer}: keep one row")
        seen.add(key)


def _check_spelling(decisions: Sequence[Decision], review: Review) -> None:
    """One person under two spellings would agree with herself."""
    known = {d.reviewer.casefold(): d.reviewer for d in [*decisions, *review.decisions]}
    for d in decisions:
        if (other := known[d.reviewer.casefold()]) != d.reviewer:
            raise ValueError(f"reviewer {d.reviewer!r} is spelled {other!r} in other decisions: use one spelling")


def decision_path(run_id: str, decision: Decision) -> str:
    """One object a revision: two writers of the same one cannot both succeed."""
    who = hashlib.sha256(decision.reviewer.encode()).hexdigest()[:12]
    place = f"{review_folder(run_id)}/decisions/{decision.sample}/{decision.item}"
    return f"{place}/{who}-{decision.revision:04d}.json"


def review_tables(store: ObjectStore, run_id: str) -> dict[Table, pd.DataFrame]:
    """`reviewed_sites` and `review_lengths` of a run: the last word of each reviewer. Empty where nobody reviewed."""
    review = read_review(store, run_id)
    if not review.decisions:
        return {REVIEWED_SITES: REVIEWED_SITES.frame(), REVIEW_LENGTHS: REVIEW_LENGTHS.frame()}
    return tables_of(review, read_sites(store, run_id))


def tables_of(review: Review, sites: pd.DataFrame) -> dict[Table, pd.DataFrame]:
    """The layer's tables from what is in it and the run's site table."""
    check_sites(review, sites, {d.sample for d in review.decisions})
    bound = dict(zip(sites["site_id"].tolist(), sites["cluster_size"].tolist(), strict=True))
    rows, lengths = [], []
    for d in review.standing:
        item = review.item(d)
        rows.append(
            (
                item.site_id, item.site_class, d.reviewer, d.when_utc,
                float("nan") if d.vesicles is None else d.vesicles, d.form, d.bud, d.why,
                confirms(item.site_class, d.form), is_exit_site(d.form), bound[item.site_id], len(d.lengths), d.sample,
                d.item, d.revision, d.tool_version,
            )
        )  # fmt: skip
        for n, length in enumerate(d.lengths, 1):
            lengths.append((item.site_id, d.reviewer, n, length.nm, *length.start, *length.end))
    return {
        REVIEWED_SITES: REVIEWED_SITES.frame(pd.DataFrame(rows, columns=REVIEWED_SITES.names)),
        REVIEW_LENGTHS: REVIEW_LENGTHS.frame(pd.DataFrame(lengths, columns=REVIEW_LENGTHS.names)),
    }
