"""The layer is append-only: who, when, why stand in the store, the automatic tables never change."""

import dataclasses

import pandas as pd
import pytest
from cisterna.review.decisions import FORMS, Decision, Length, confirms, is_exit_site
from cisterna.review.layer import (
    add_decisions,
    add_sample,
    decision_path,
    read_review,
    read_sites,
    review_tables,
    tables_of,
)
from cisterna.review.sampling import draw_sample
from cisterna.review.summary import document_of, summarise
from cisterna.tables.reviews import REVIEW_LENGTHS, REVIEWED_SITES

NOW, LATER = "2026-11-21T10:00:00Z", "2026-11-21T12:00:00Z"


@pytest.fixture
def sample(run):
    drawn = draw_sample(run.run_id, run.sites, "all", 10, 1, (5.0, 4.0, 4.0), NOW, "0.1.0")
    return add_sample(run.store, drawn)


def say(sample, item="01", who="Ada", **more):
    about = {"vesicles": 3, "form": "vesicle cluster", "when_utc": NOW, "tool_version": "0.1.0"} | more
    return Decision(sample=sample.sample, item=item, reviewer=who, **about)


def everything(store):
    return {path: store.get(path) for path in store.list("")}


def test_decisions_are_written_once_and_alone(run, sample):
    before = everything(run.store)
    one = say(sample, why="clear", lengths=(Length((1, 2, 3), (4, 5, 6)),))
    assert add_decisions(run.store, run.run_id, [one, say(sample, "02")]).repeated == 0
    after = everything(run.store)
    assert {p: after[p] for p in before} == before
    assert all(p.startswith(f"runs/{run.run_id}/review/decisions/") for p in after.keys() - before.keys())
    assert run.store.get_json(decision_path(run.run_id, one)) == {
        "sample": sample.sample, "item": "01", "reviewer": "Ada", "when_utc": NOW, "vesicles": 3,
        "form": "vesicle cluster", "bud": "", "why": "clear", "lengths": [[1, 2, 3, 4, 5, 6]], "revision": 0,
        "tool_version": "0.1.0",
    }  # fmt: skip
    assert read_review(run.store, run.run_id).decisions == (one, say(sample, "02"))


def test_a_second_import_of_the_same_is_no_second_decision(run, sample):
    add_decisions(run.store, run.run_id, [say(sample)])
    before = everything(run.store)
    added = add_decisions(run.store, run.run_id, [say(sample, when_utc=LATER)])
    assert (added.written, added.repeated) == ((), 1)
    assert everything(run.store) == before


def test_another_word_of_the_same_person_needs_revise_and_a_reason(run, sample):
    add_decisions(run.store, run.run_id, [say(sample)])
    other = say(sample, vesicles=9, when_utc=LATER)
    with pytest.raises(ValueError, match=f"Ada has reviewed it already \\({NOW}\\).*--revise"):
        add_decisions(run.store, run.run_id, [other])
    with pytest.raises(ValueError, match="needs its reason in `why`"):
        add_decisions(run.store, run.run_id, [other], revise=True)
    told = dataclasses.replace(other, why="counted in the other plane")
    (written,) = add_decisions(run.store, run.run_id, [told], revise=True).written
    assert written.revision == 1
    review = read_review(run.store, run.run_id)
    assert [d.vesicles for d in review.decisions] == [3, 9]
    assert [d.vesicles for d in review.standing] == [9]
    again = dataclasses.replace(told, vesicles=3)
    assert add_decisions(run.store, run.run_id, [again], revise=True).written[0].revision == 2


def test_all_or_nothing(run, sample):
    with pytest.raises(ValueError, match="has no item '77'"):
        add_decisions(run.store, run.run_id, [say(sample), say(sample, "77")])
    assert read_review(run.store, run.run_id).decisions == ()


def test_refusals(run, sample):
    with pytest.raises(ValueError, match=r"sample 'snone' is not one of run .*; its samples: s"):
        add_decisions(run.store, run.run_id, [dataclasses.replace(say(sample), sample="snone")])
    with pytest.raises(ValueError, match=r"item 01 of .* stands twice for Ada: keep one row"):
        add_decisions(run.store, run.run_id, [say(sample), say(sample, vesicles=4)])
    with pytest.raises(ValueError, match="revision 2 without the decision before it"):
        add_decisions(run.store, run.run_id, [say(sample, revision=2, why="x")])
    add_decisions(run.store, run.run_id, [say(sample, "05")])
    with pytest.raises(ValueError, match="reviewer 'ADA' is spelled 'Ada' in other decisions"):
        add_decisions(run.store, run.run_id, [say(sample, who="ADA")])
    with pytest.raises(ValueError, match="no run fibsem-none"):
        read_sites(run.store, "fibsem-none")


def test_a_site_counts_once_for_a_person_also_across_samples(run, sample):
    other = add_sample(run.store, draw_sample(run.run_id, run.sites, "all", 24, 2, (5.0, 4.0, 4.0), NOW, "0.1.0"))
    site = sample.items[0].site_id
    same = next(i.item for i in other.items if i.site_id == site)
    add_decisions(run.store, run.run_id, [say(sample)])
    with pytest.raises(ValueError, match=f"item {same} of .* is the site that Ada has reviewed as item 01"):
        add_decisions(run.store, run.run_id, [say(other, same)])
    add_decisions(run.store, run.run_id, [say(other, same, who="Bo")])
    reviewed = review_tables(run.store, run.run_id)[REVIEWED_SITES]
    assert reviewed["site_id"].tolist() == [site, site]


def test_sites_that_changed_take_no_decisions(run, sample, make):
    add_decisions(run.store, run.run_id, [say(sample)])
    moved = run.sites.copy()
    moved.loc[3, "site_class"] = "dispersed" if moved.loc[3, "site_class"] != "dispersed" else "tubular_mixed"
    with pytest.raises(ValueError, match=r"are not those that sample s.* was drawn from"):
        tables_of(read_review(run.store, run.run_id), moved)


def test_tables(run, sample):
    z = Length((0, 0, 0), (30, 40, 0))
    add_decisions(
        run.store, run.run_id, [say(sample, lengths=(z, z)), say(sample, "02", form="", vesicles=None, bud="yes")]
    )
    tables = review_tables(run.store, run.run_id)
    reviewed, lengths = tables[REVIEWED_SITES], tables[REVIEW_LENGTHS]
    first = reviewed[reviewed["item"] == "01"].iloc[0]
    site = run.sites.set_index("site_id").loc[sample.items[0].site_id]
    assert (first["site_class"], first["cluster_size"]) == (site["site_class"], site["cluster_size"])
    assert first["confirmed"] == ("no" if site["site_class"].startswith("tubular") else "yes")
    second = reviewed[reviewed["item"] == "02"].iloc[0]
    assert pd.isna(second["vesicles"])
    assert (second["confirmed"], second["exit_site"], second["bud"]) == ("", "", "yes")
    assert lengths["length_nm"].tolist() == [50.0, 50.0]
    assert lengths["number"].tolist() == [1, 2]
    for table, frame in tables.items():
        pd.testing.assert_frame_equal(table.from_parquet_bytes(table.to_parquet_bytes(frame)), frame)


def test_nobody_reviewed(run):
    tables = review_tables(run.store, run.run_id)
    assert [len(f) for f in tables.values()] == [0, 0]
    assert summarise(tables[REVIEWED_SITES], run.sites).classes == ()


@pytest.mark.parametrize(
    ("site_class", "form", "confirmed", "exit_site"),
    [
        ("vesicular_standalone", "vesicle cluster", "yes", "yes"),
        ("vesicular_mixed", "tubular extension", "no", "yes"),
        ("tubular_isolated", "varicosity", "yes", "yes"),
        ("tubular_isolated", "vesicle cluster", "no", "yes"),
        ("tubular_mixed", "large vesicle with buds", "yes", "yes"),
        ("golgi_associated", "vesicle cluster", "yes", "yes"),
        ("dispersed", "generic ER", "no", "no"),
        ("vesicular_mixed", "none of these", "no", "no"),
        ("vesicular_mixed", "", "", ""),
    ],
)
def test_what_confirms_a_class(site_class, form, confirmed, exit_site):
    assert (confirms(site_class, form), is_exit_site(form)) == (confirmed, exit_site)


def reviewed(rows):
    """(site, class, who, vesicles, form, bound) → the table."""
    return REVIEWED_SITES.frame(
        [
            {
                "site_id": site, "site_class": name, "reviewer": who, "when_utc": NOW, "vesicles": count, "form": form,
                "bud": "", "why": "", "confirmed": confirms(name, form), "exit_site": is_exit_site(form),
                "cluster_size": bound, "lengths": 0, "sample": "s", "item": "01", "revision": 0, "tool_version": "",
            }
            for site, name, who, count, form, bound in rows
        ]
    )  # fmt: skip


def test_what_the_precision_says_of_all_sites(run):
    """24 sites, 4 of a class: 2 of 3 confirmed cannot mean more than 3 or fewer than 2 of the 4."""
    v = "vesicular_mixed"
    table = reviewed([(s, v, "Ada", 1, form, 1) for s, form in ((2, FORMS[0]), (8, FORMS[0]), (14, FORMS[4]))])
    assert summarise(table, run.sites).classes[0].true_sites == (2, 3)
    many = pd.concat([run.sites] * 50)  # 200 of the class
    low, high = summarise(table, many).classes[0].true_sites
    assert (low, high) == (41, 188)  # Wilson 20.8–93.9 %
    unjudged = reviewed([(2, v, "Ada", 1, "", 1)])
    assert summarise(unjudged, run.sites).classes[0].true_sites is None


def test_samples_say_how_much_was_judged(run, sample):
    add_decisions(run.store, run.run_id, [say(sample), say(sample, "02"), say(sample, who="Bo")])
    review = read_review(run.store, run.run_id)
    (found,) = summarise(tables_of(review, run.sites)[REVIEWED_SITES], run.sites, review.samples).samples
    assert (found.sites, found.population, found.judged) == (10, 24, 2)


def test_summary(run):
    v, nan = "vesicular_mixed", float("nan")
    table = reviewed(
        [
            (2, v, "Ada", 10, "vesicle cluster", 3), (2, v, "Bo", 14, "vesicle cluster", 3),
            (8, v, "Ada", 2, "generic ER", 4), (8, v, "Bo", 4, "vesicle cluster", 4),
            (14, v, "Ada", nan, "varicosity", 1), (20, v, "Bo", 6, "", 2),
        ]
    )  # fmt: skip
    summary = summarise(table, run.sites)
    (found,) = summary.classes
    assert (found.sites, found.reviewed, found.divided) == (4, 4, 1)
    assert (found.confirmed.part, found.confirmed.whole) == (1, 3), "the divided site is judged and not confirmed"
    assert (found.exit_site.part, found.exit_site.whole) == (2, 3)
    assert (found.site_ids, found.counts, found.bound) == ((2, 8, 20), (12.0, 3.0, 6.0), (3, 4, 2))
    assert (found.mean, found.median, found.below) == (7.0, 6.0, (8,))
    assert found.forms["vesicle cluster"] == 3
    (pair,) = summary.pairs
    assert (pair.one, pair.other, pair.sites, pair.form.agreed, pair.form.both) == ("Ada", "Bo", 2, 1, 2)
    assert (pair.counts.mean, pair.counts.pairs) == (-3.0, 2)
    document = document_of(summary)
    assert document["classes"][0]["confirmed"]["value"] == pytest.approx(1 / 3)
    assert document["pairs"][0]["bud"]["kappa"] is None
