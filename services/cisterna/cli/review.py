"""``cisterna review sample | import | list | export | show RUN``: people's decisions as a layer over a run."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cisterna
from cisterna.cli.home import Home, UsageError
from cisterna.runs import record
from cisterna.store import ObjectMissing, ObjectStore, open_store

REGION_NM = 400.0


def add_arguments(commands: Any, argv: list[str]) -> None:
    review = commands.add_parser("review", help="random blinded samples of sites, and people's decisions about them")
    kinds = review.add_subparsers(dest="kind", required=True, metavar="WHAT")

    def command(name: str, text: str) -> argparse.ArgumentParser:
        p: argparse.ArgumentParser = kinds.add_parser(name, help=text)
        p.add_argument("run_id", metavar="RUN")
        p.add_argument("--store", help="store URL")
        return p

    sample = command("sample", "draw sites at random and write a folder to review them with")
    sample.add_argument(
        "--class",
        dest="site_class",
        required=True,
        metavar="C",
        help="one of the six site classes, vesicular, tubular, extent_alone, all, or each: N of every class",
    )
    sample.add_argument("--n", type=int, default=30, help="how many sites (30)")
    sample.add_argument(
        "--seed", type=int, required=True, metavar="S", help="decides which: the same one, the same sites"
    )
    sample.add_argument("--reviewer", default="", metavar="NAME", help="written into the page and the sheet")
    sample.add_argument("--out", type=Path, metavar="FOLDER", help="where (review-SAMPLE)")
    sample.add_argument("--edge-nm", type=float, default=None, metavar="NM", help="side of the stacks (500)")
    sample.add_argument("--dataset", default="", metavar="NAME", help="name of the dataset in WEBKNOSSOS")
    sample.set_defaults(run=lambda a: sample_command(_store(a), a))
    add = command("import", "check decisions and add them to the layer")
    add.add_argument("file", type=Path, metavar="FILE.csv|FILE.nml")
    add.add_argument("--reviewer", default="", metavar="WHO", help="who decided, where the file does not say")
    add.add_argument("--sample", default="", metavar="ID", help="the sample, where the file does not say")
    add.add_argument("--revise", action="store_true", help="put decisions over earlier ones of the same person")
    add.set_defaults(run=lambda a: import_command(_store(a), a.run_id, a.file, a.reviewer, a.sample, a.revise))
    listing = command("list", "samples and decisions")
    listing.add_argument("--json", action="store_true", help="one JSON document")
    listing.set_defaults(run=lambda a: list_command(_store(a), a.run_id, a.json))
    export = command("export", "all decisions as one file, for `cisterna review import` elsewhere")
    export.add_argument("--format", choices=("csv", "nml"), required=True)
    export.add_argument("--sample", default="", metavar="ID", help="one sample alone")
    export.add_argument("--reviewer", default="", metavar="WHO", help="one reviewer alone")
    export.add_argument("--dataset", default="", metavar="NAME", help="name of the dataset in WEBKNOSSOS")
    export.add_argument("--out", type=Path, metavar="FILE", help="where (else standard output)")
    export.set_defaults(run=lambda a: export_command(_store(a), a))
    show = command("show", "class precision, vesicle counts beside the lower bound, agreement")
    show.add_argument("--json", action="store_true", help="one JSON document")
    show.set_defaults(run=lambda a: show_command(_store(a), a.run_id, a.json))


def _store(args: argparse.Namespace) -> ObjectStore:
    return open_store(Home.find().store_url(args.store))


def _document(store: ObjectStore, run_id: str) -> dict[str, Any]:
    document = record.read_run(store, run_id)
    if document is None:
        raise UsageError(f"no run {run_id} in {store.url}: `cisterna runs` lists them")
    return document


def sample_command(store: ObjectStore, args: argparse.Namespace) -> int:
    """Draws a sample, keeps its key in the store, and writes the reviewer's folder."""
    from cisterna.review.crops import EDGE_NM
    from cisterna.review.decisions import check_reviewer
    from cisterna.review.layer import add_sample, read_sites
    from cisterna.review.page import render_review_page
    from cisterna.review.sampling import draw_sample
    from cisterna.review.sheet import write_template
    from cisterna.review.skeleton import write_skeleton
    from cisterna.store.pyramids import read_pyramid

    document = _document(store, args.run_id)
    if args.reviewer:
        check_reviewer(args.reviewer)
    images = [
        (name, pyramid)
        for name in ("raw", "denoised")
        if (path := document["arrays"].get(name)) and (pyramid := read_pyramid(store, path)) is not None
    ]
    if not images or images[0][0] != "raw":
        raise UsageError(f"run {args.run_id} has no raw image to look at: `cisterna verify {args.run_id}`")
    z, y, x = images[0][1].levels[0].scale
    sample = draw_sample(
        args.run_id, read_sites(store, args.run_id), args.site_class, args.n, args.seed, (z, y, x),
        record.utc(time.time()), cisterna.__version__,
    )  # fmt: skip
    folder = args.out or Path(f"review-{sample.sample}")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder} is not an empty folder: choose another with --out, nothing is overwritten")
    edge_nm = EDGE_NM if args.edge_nm is None else args.edge_nm
    page = render_review_page(store, sample, images, args.reviewer, _region_nm(store, document), edge_nm)
    sample = add_sample(store, sample)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "review.html").write_text(page.html, encoding="utf-8")
    (folder / "decisions.csv").write_text(write_template(sample, args.reviewer), encoding="utf-8")
    (folder / "sites.nml").write_bytes(write_skeleton(sample, (), args.reviewer, args.dataset))
    few = f" ({sample.asked} asked)" if len(sample.items) < sample.asked else ""
    print(f"sample {sample.sample}: {len(sample.items)} of {sample.population} sites{few}, in {folder}")
    print(f"pictures at JPEG quality {page.quality}, {len(page.html) / 1e6:.1f} MB")
    print(
        f"open {folder}/review.html (or fill in decisions.csv, or annotate sites.nml in WEBKNOSSOS), then\n"
        f"cisterna review import {args.run_id} decisions.csv --reviewer {args.reviewer or 'WHO'}"
    )
    if page.with_gaps:
        print(f"{page.with_gaps} stacks lack blocks that the run lost: black there", file=sys.stderr)
    if len(images) == 1:
        print("this run has no denoised image: the page shows the raw one alone", file=sys.stderr)
    return 0


def _region_nm(store: ObjectStore, document: Mapping[str, Any]) -> float:
    """Side of the region in which the rules count vesicles: the frame in which people count."""
    folder = document["stages"].get("eres-sites", {}).get("path")
    try:
        rules = store.get_json(f"{folder}/tables/rules.json")["rules"] if folder else {}
    except ObjectMissing:
        rules = {}
    return float(rules.get("cluster_region_nm", REGION_NM))


def import_command(store: ObjectStore, run_id: str, file: Path, reviewer: str, sample: str, revise: bool) -> int:
    """Adds the decisions of a file to the layer, all or none, and makes the report anew."""
    from cisterna.review.decisions import check_reviewer
    from cisterna.review.layer import add_decisions, read_review
    from cisterna.review.sheet import read_sheet
    from cisterna.review.skeleton import read_skeleton

    document = _document(store, run_id)
    if reviewer:
        check_reviewer(reviewer)
    if sample:
        read_review(store, run_id).sample(sample)
    suffix = file.suffix.lower()
    if suffix not in (".csv", ".nml"):
        raise UsageError(f"{file} ends neither in .csv nor in .nml")
    data, now = file.read_bytes(), record.utc(time.time())
    try:
        if suffix == ".csv":
            decisions, blank = read_sheet(data, sample, reviewer, now, cisterna.__version__)
        else:
            find = read_review(store, run_id).sample
            decisions, blank = read_skeleton(data, find, sample, reviewer, now, cisterna.__version__)
        if not decisions:
            raise ValueError(f"nothing is filled in at any of {len(blank)} sites")
        added = add_decisions(store, run_id, decisions, revise)
    except ValueError as e:
        raise UsageError(f"{file}: {e}; nothing was imported") from e
    words = f"{len(added.written)} decisions added"
    words += f", {added.repeated} were there already" if added.repeated else ""
    print(words + (f", {len(blank)} sites left blank" if blank else ""))
    if added.written and document["state"] in record.FINAL:
        _report_anew(store, run_id)
    return 0


def _report_anew(store: ObjectStore, run_id: str) -> None:
    from cisterna.report.build import build_report

    try:
        store.put(f"runs/{run_id}/report.html", build_report(store, run_id))
    except (ValueError, ObjectMissing) as e:
        print(f"the decisions are in; the report was not made anew: {e}", file=sys.stderr)
    else:
        print(f"runs/{run_id}/report.html made anew: it shows the review")


def list_command(store: ObjectStore, run_id: str, as_json: bool) -> int:
    from rich.console import Console
    from rich.table import Table

    from cisterna.review.layer import read_review

    _document(store, run_id)
    review = read_review(store, run_id)
    if as_json:
        samples = [
            {"sample": s.sample, "class": s.site_class, "n": len(s.items), "asked": s.asked, "seed": s.seed,
             "population": s.population, "created_utc": s.created_utc, "tool_version": s.tool_version}
            for s in review.samples
        ]  # fmt: skip
        print(json.dumps({"samples": samples, "decisions": [d.document() for d in review.decisions]}, indent=1))
        return 0
    table = Table("sample", "sites", "class", "seed", "drawn", "decisions by reviewer")
    for s in review.samples:
        own = [d for d in review.standing if d.sample == s.sample]
        who = ", ".join(f"{r} {sum(d.reviewer == r for d in own)}" for r in sorted({d.reviewer for d in own})) or "–"
        table.add_row(s.sample, f"{len(s.items)} of {s.population}", s.site_class, str(s.seed), s.created_utc, who)
    Console().print(table)
    old = len(review.decisions) - len(review.standing)
    print(f"{len(review.standing)} decisions stand" + (f", {old} earlier ones are kept beneath them" if old else ""))
    return 0


def export_command(store: ObjectStore, args: argparse.Namespace) -> int:
    """All decisions, superseded ones included, as `cisterna review import` reads them."""
    from cisterna.review.layer import read_review
    from cisterna.review.sheet import write_sheet
    from cisterna.review.skeleton import write_skeleton

    _document(store, args.run_id)
    review = read_review(store, args.run_id)
    if args.sample:
        review.sample(args.sample)
    found = [d for d in review.decisions if args.sample in ("", d.sample) and args.reviewer in ("", d.reviewer)]
    if not found:
        raise UsageError(f"run {args.run_id} has no such decision to export: `cisterna review list {args.run_id}`")
    if args.format == "csv":
        data = write_sheet(found).encode()
    else:
        names = sorted({d.sample for d in found})
        if len(names) > 1:
            raise UsageError(f"an NML file holds one sample: add --sample with one of {', '.join(names)}")
        data = write_skeleton(review.sample(names[0]), found, "", args.dataset)
    if args.out is None:
        sys.stdout.buffer.write(data)
    else:
        if args.out.exists():
            raise UsageError(f"{args.out} is there already: choose another name, nothing is overwritten")
        args.out.write_bytes(data)
        print(f"{len(found)} decisions in {args.out}")
    return 0


def show_command(store: ObjectStore, run_id: str, as_json: bool) -> int:
    """Class precision with Wilson intervals, human counts beside the automatic lower bound, agreement."""
    from rich.console import Console
    from rich.table import Table

    from cisterna.review.agreement import share_words
    from cisterna.review.layer import read_review, read_sites, tables_of
    from cisterna.review.summary import document_of, summarise
    from cisterna.tables.reviews import REVIEW_LENGTHS, REVIEWED_SITES

    _document(store, run_id)
    sites = read_sites(store, run_id)
    review = read_review(store, run_id)
    tables = tables_of(review, sites)
    summary = summarise(tables[REVIEWED_SITES], sites, review.samples)
    if as_json:
        lengths = tables[REVIEW_LENGTHS].to_dict("records")
        found = {"run_id": run_id, "reviewed": bool(summary.sites), **document_of(summary), "lengths": lengths}
        print(json.dumps(found, indent=1))
        return 0
    if not summary.sites:
        print(f"{run_id}: {len(sites)} candidates, not reviewed")
        print(f"`cisterna review sample {run_id} --class all --seed 1` begins")
        return 0
    who = ", ".join(summary.reviewers)
    print(f"{run_id}: {summary.sites} of {len(sites)} sites reviewed by {who}")
    for s in summary.samples:
        print(f"sample {s.sample}: {s.judged} of {s.sites} judged, drawn from {s.population} ({s.site_class})")
    table = Table("class", "reviewed", "confirmed (95 %)", "exit site (95 %)", "vesicles by eye", "bound")
    for c in summary.classes:
        counted = (
            f"{c.mean:.1f}{f' ± {c.spread:.1f}' if len(c.counts) > 1 else ''}, n = {len(c.counts)}" if c.counts else "–"
        )
        bound = f"{c.mean_bound:.1f}" if c.bound else "–"
        shares = (share_words(c.confirmed), share_words(c.exit_site))
        table.add_row(c.site_class, f"{c.reviewed} of {c.sites}", *shares, counted, bound)
    Console().print(table)
    for c in summary.classes:
        if c.below:
            named = ", ".join(map(str, c.below))
            print(f"{c.site_class}: people counted fewer vesicles than the lower bound at site {named}")
        if c.divided:
            print(f"{c.site_class}: not confirmed, because reviewers are evenly divided: {c.divided}")
    for p in summary.pairs:
        print(
            f"{p.one} and {p.other} on {p.sites} common sites: "
            f"kappa of the form {p.form.kappa:.2f} (n = {p.form.both}), "
            f"exit site or not {p.exit_site.kappa:.2f}, bud {p.bud.kappa:.2f}; "
            f"counts differ by {p.counts.mean:+.1f} ± {p.counts.spread:.1f} (n = {p.counts.pairs})"
        )
    return 0
