"""Tables of the review layer: what people decided about site candidates. Volume positions in nm, as in `volumes`."""

from __future__ import annotations

from cisterna.tables.schema import Column, Table

REVIEWED_SITES = Table(
    "reviewed_sites",
    (
        Column("site_id", "uint32", "", "site candidate, as in `sites`"),
        Column("site_class", "string", "", "automatic class of the candidate, unseen by the reviewer"),
        Column("reviewer", "string", "", "who decided"),
        Column("when_utc", "string", "", "when, UTC"),
        Column("vesicles", "float64", "", "vesicles counted by eye; NaN where not counted"),
        Column("form", "string", "", "form seen; empty where not judged"),
        Column("bud", "string", "", "bud seen: yes | no | empty where not judged"),
        Column("why", "string", "", "the reviewer's words"),
        Column("confirmed", "string", "", "the form is one that the class allows: yes | no | empty where not judged"),
        Column("exit_site", "string", "", "the form is that of an exit site: yes | no | empty where not judged"),
        Column("cluster_size", "int64", "", "automatic lower bound of the vesicles, as in `sites`"),
        Column("lengths", "int64", "", "lengths measured, listed in `review_lengths`"),
        Column("sample", "string", "", "random sample in which the site was shown"),
        Column("item", "string", "", "neutral name of the site in that sample"),
        Column("revision", "int64", "", "0 = first decision of this reviewer on the site"),
        Column("tool_version", "string", "", "version that recorded the decision"),
    ),
    ("site_id", "reviewer"),
)

REVIEW_LENGTHS = Table(
    "review_lengths",
    (
        Column("site_id", "uint32", "", "site candidate, as in `sites`"),
        Column("reviewer", "string", "", "who measured"),
        Column("number", "int64", "", "consecutive from 1 within site and reviewer"),
        Column("length_nm", "float64", "nm", "distance of the two points"),
        *(Column(f"from_{axis}_nm", "float64", "nm", f"first point, {axis}") for axis in "zyx"),
        *(Column(f"to_{axis}_nm", "float64", "nm", f"second point, {axis}") for axis in "zyx"),
    ),
    ("site_id", "reviewer", "number"),
)
