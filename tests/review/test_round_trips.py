"""What is written as CSV or NML comes back exactly, whatever people typed; what cannot be meant is refused."""

import csv
import io
import re

import pytest
from cisterna.review.decisions import FORMS, Decision, Length
from cisterna.review.sampling import Item, Sample
from cisterna.review.sheet import COLUMNS, read_sheet, write_sheet, write_template
from cisterna.review.skeleton import comment_of, read_comment, read_skeleton, write_skeleton
from hypothesis import given, settings
from hypothesis import strategies as st

NOW = "2026-11-21T10:00:00Z"
ITEMS = tuple(Item(f"{n:02d}", n, "tubular_mixed", (100.0 * n, 55.5, 1e4 / n)) for n in range(1, 8))
SAMPLE = Sample("sabc", "r", "all", 7, 1, 9, "d" * 64, (5.24, 4.0, 4.1), NOW, "0.1.0", ITEMS)

# Everything XML can carry, spiced with what breaks CSV and our comments.
SPICE = [
    "; ",
    ",",
    '"',
    "\n",
    "why:",
    ": ",
    "bud: no; ",
    "'",
    "&amp;",
    "<b>",
    "é",
    "日本",
    "🔬",
    "\t",
    " ",
    "\ufeff",
    "=",
]
texts = st.lists(
    st.one_of(st.sampled_from(SPICE), st.text(st.characters(blacklist_categories=("Cs", "Cc")), max_size=8)), max_size=6
).map(lambda parts: "".join(parts).replace("\ufffe", "").replace("\uffff", ""))
names = texts.map(lambda t: " ".join(t.split())[:80].strip()).filter(lambda t: t and t == t.strip())
coordinates = st.floats(-1e6, 1e6, allow_nan=False)
points = st.tuples(coordinates, coordinates, coordinates)
lengths = st.lists(st.builds(Length, points, points), max_size=3).map(tuple)


@st.composite
def decisions(draw, reviewers=names):
    return Decision(
        sample="sabc",
        item=draw(st.sampled_from([i.item for i in ITEMS])),
        reviewer=draw(reviewers),
        when_utc=draw(st.sampled_from(["2026-01-02T03:04:05Z", NOW])),
        vesicles=draw(st.integers(0, 10_000)),
        form=draw(st.sampled_from(("", *FORMS))),
        bud=draw(st.sampled_from(("", "yes", "no"))),
        why=draw(texts),
        lengths=draw(lengths),
        revision=draw(st.integers(0, 3)),
        tool_version=draw(st.sampled_from(["0.1.0", "0.2.0.dev3+g1f"])),
    )


def by_csv(found, **given_):
    about = {"sample": "", "reviewer": "", "when_utc": "x", "tool_version": "x"} | given_
    return read_sheet(write_sheet(found).encode(), **about)[0]


def by_nml(found, **given_):
    about = {"sample": "", "reviewer": "", "when_utc": "x", "tool_version": "x"} | given_
    return read_skeleton(write_skeleton(SAMPLE, found), lambda _: SAMPLE, **about)[0]


@settings(max_examples=60)
@given(st.lists(decisions(), min_size=1, max_size=5))
def test_csv_is_exact(found):
    assert by_csv(found) == found


@settings(max_examples=60)
@given(st.lists(decisions(), min_size=1, max_size=5))
def test_nml_is_exact(found):
    assert sorted(by_nml(found), key=repr) == sorted(found, key=repr)


@settings(max_examples=60)
@given(st.lists(decisions(), min_size=1, max_size=5))
def test_one_after_the_other_is_exact(found):
    assert sorted(by_csv(by_nml(by_csv(found))), key=repr) == sorted(found, key=repr)


@settings(max_examples=60)
@given(decisions())
def test_a_spreadsheet_may_write_it_again(decision):
    """Semicolons, byte-order mark and CRLF, as spreadsheets of half of Europe save CSV."""
    rows = list(csv.reader(io.StringIO(write_sheet([decision]), newline="")))
    out = io.StringIO()
    csv.writer(out, delimiter=";", lineterminator="\r\n").writerows(rows)
    found, _ = read_sheet(b"\xef\xbb\xbf" + out.getvalue().encode(), "", "", NOW, "x")
    assert found == [decision]


@settings(max_examples=60)
@given(decisions())
def test_any_text_survives_as_a_comment(decision):
    entry = read_comment(comment_of(decision))
    assert entry["why"] == decision.why
    assert entry["vesicles"] == str(decision.vesicles)


def test_the_sample_stands_in_the_nml_as_webknossos_reads_it():
    text = write_skeleton(SAMPLE, (), "Ada", "my dataset").decode()
    assert 'experiment name="my dataset"' in text
    assert re.search(r'<scale x="4\.1" y="4\.0" z="5\.24" unit="nanometer"', text)
    node = re.search(r'<node id="2"[^>]*>', text)[0]  # item 02: (200, 55.5, 5000) nm
    assert {a: re.search(rf' {a}="([^"]*)"', node)[1] for a in "xyz"} == {"x": "1219", "y": "13", "z": "38"}
    groups = re.findall(r'group id="\d+" name="([^"]*)"', text)
    assert groups == ["review sabc", "reviewer Ada", *(f"site {i.item}" for i in ITEMS)]


def test_templates_are_blank():
    found, blank = read_sheet(write_template(SAMPLE, "Ada").encode(), "", "", NOW, "x")
    assert (found, blank) == ([], [i.item for i in ITEMS])
    found, blank = read_skeleton(write_skeleton(SAMPLE, (), "Ada"), lambda _: SAMPLE, "", "", NOW, "x")
    assert (found, blank) == ([], [i.item for i in ITEMS])


def test_what_the_file_does_not_say_is_filled_in():
    (found,), _ = read_sheet(b"item,vesicles\n01,7.0\n02,\n", "sabc", "Ada", NOW, "0.1.0")
    assert found == Decision("sabc", "01", "Ada", NOW, 7, tool_version="0.1.0")


def test_form_and_bud_are_read_in_any_case():
    (found,), _ = read_sheet(b"item,form,bud\n01,Vesicle  Cluster, YES\n", "sabc", "Ada", NOW, "x")
    assert (found.form, found.bud) == ("vesicle cluster", "yes")


def sheet(**cells):
    row = {"sample": "sabc", "item": "01", "reviewer": "Ada", "vesicles": "3"} | cells
    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS)
    writer.writeheader()
    writer.writerow(row)
    return out.getvalue().encode()


@pytest.mark.parametrize(
    ("cells", "words"),
    [
        ({"vesicles": "-2"}, r"line 2 \(item 01\): -2 vesicles: a count is 0 or more"),
        ({"vesicles": "7.5"}, "'7.5' vesicles: a count is a whole number"),
        ({"vesicles": "many"}, "'many' vesicles"),
        ({"vesicles": "99999"}, "99999 vesicles: write a count from 0 to 10000"),
        ({"form": "tubule"}, "form 'tubule' is none of: vesicle cluster, large vesicle with buds"),
        ({"bud": "perhaps"}, "bud 'perhaps' is neither yes nor no"),
        ({"lengths": "1 2 3 > 4 5"}, "'1 2 3 > 4 5' is no length"),
        ({"lengths": "1 2 3 > 4 5 inf"}, "is no length"),
        ({"lengths": "0 0 0 > 0 3 4", "lengths_nm": "6.0"}, "lengths_nm says 6.0, the points in `lengths` give 5.0"),
        ({"lengths_nm": "60.0"}, "the points in `lengths` give none"),
        ({"when_utc": "yesterday"}, "the time 'yesterday' is not UTC"),
        ({"sample": "sother"}, "belongs to sample sother, not to sabc"),
        ({"reviewer": "Bo"}, "it is Bo's decision: import it with --reviewer 'Bo'"),
        ({"revision": "one"}, "revision 'one' is no whole number"),
        ({"why": "a\x07b"}, "holds the character"),
        ({"tool_version": "0.1; rm"}, "tool version"),
    ],
)
def test_csv_refusals(cells, words):
    with pytest.raises(ValueError, match=words):
        read_sheet(sheet(**cells), "sabc", "Ada", NOW, "0.1.0")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"site,count\n1,2\n", "the first line is"),
        (b"item,vesicles,colour\n1,2,red\n", "colour"),
        (b"item,vesicles\n01,3,4\n", "line 2 has not 2 cells"),
        (b'item,why\n01,"open\n', "line"),
        (b"item,why\n01,\xff\xfe\n", "not UTF-8"),
        (b"item,why\n01,a\0b\n", "null character"),
        (b"", "the first line is"),
    ],
)
def test_csv_that_is_none(data, words):
    with pytest.raises(ValueError, match=words):
        read_sheet(data, "sabc", "Ada", NOW, "0.1.0")


def test_somebody_must_be_named():
    with pytest.raises(ValueError, match="nobody is named: add --reviewer WHO"):
        read_sheet(b"item,vesicles\n01,3\n", "sabc", "", NOW, "x")
    for name in ("", " Ada", "a" * 81, "A\nB", "A\x00"):
        with pytest.raises(ValueError, match="reviewer"):
            Decision("s", "01", name, NOW, 3)


def test_nothing_decided_is_no_decision():
    with pytest.raises(ValueError, match="nothing is decided"):
        Decision("s", "01", "Ada", NOW, why=" \n ")


# ---- what WEBKNOSSOS makes of the file ----------------------------------------------------------------------------


def read(text, sample="", reviewer="Ada"):
    return read_skeleton(text.encode(), lambda _: SAMPLE, sample, reviewer, NOW, "0.1.0")


def tree(nodes, group="", name="explorative_2026-11-21_Ada_008", edge=True):
    body = "".join(f'<node id="{i}" x="{x}" y="{y}" z="{z}" radius="1"/>' for i, z, y, x in nodes)
    edges = f'<edge source="{nodes[0][0]}" target="{nodes[-1][0]}"/>' if edge and len(nodes) > 1 else ""
    return (
        f'<thing id="{nodes[0][0] if nodes else 9000}" groupId="{group}" name="{name}"><nodes>{body}</nodes>'
        f"<edges>{edges}</edges></thing>"
    )


def template(more="", comment=None, item="03"):
    text = write_skeleton(SAMPLE).decode()
    if comment is not None:
        node = re.search(rf'name="site {item}".*?<node id="(\d+)"', text, re.S)[1]
        text = re.sub(rf'(<comment node="{node}" content=)"[^"]*"', lambda m: f'{m[1]}"{comment}"', text)
    return text.replace(" <branchpoints", more + "<branchpoints")


def group_of(item):
    return re.search(rf'<thing [^>]*groupId="(\d+)" name="site {item}"', write_skeleton(SAMPLE).decode())[1]


def test_a_line_in_the_sites_group_is_its_length():
    """Whole voxels, as WEBKNOSSOS stores clicks: 10 voxels along z are 52.4 nm, 10 along x are 41 nm."""
    more = tree([(901, 100, 5, 5), (902, 110, 5, 5)], group_of("05")) + tree(
        [(903, 1, 5, 5), (904, 1, 5, 15)], group_of("05")
    )
    (found,), blank = read(template(more, "vesicles: 4; why: two rows", "05"))
    assert (found.item, found.vesicles, found.why, found.reviewer) == ("05", 4, "two rows", "Ada")
    assert [round(length.nm, 9) for length in found.lengths] == [52.4, 41.0]
    assert blank == ["01", "02", "03", "04", "06", "07"]


def test_a_line_elsewhere_goes_to_the_nearest_site():
    z, y, x = 300 / 5.24, 55 / 4, 1e4 / 3 / 4.1  # item 03
    (found,), _ = read(template(tree([(901, z, y, x), (902, z, y + 10, x)])))
    assert (found.item, found.vesicles) == ("03", None)
    assert found.lengths[0].nm == pytest.approx(40.0, abs=0.011)


def test_a_comment_may_have_its_entries_on_lines():
    (found,), _ = read(template("", "Vesicles: 12&#10;form: VARICOSITY&#10;bud:no"))
    assert (found.vesicles, found.form, found.bud) == (12, "varicosity", "no")


def test_empty_trees_are_left_alone():
    assert read(template(tree([]).replace('id="9000"', 'id="99"')))[0] == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (lambda: template(tree([(901, 1, 1, 1)])), "tree 'explorative_.*' has 1 node"),
        (lambda: template(tree([(901, 1, 1, 1), (902, 1, 1, 2), (903, 1, 1, 3)])), "has 3 node"),
        (lambda: template(tree([(901, 1, 1, 1), (902, 1, 1, 2)], edge=False)), "not joined"),
        (lambda: template(tree([(901, 1e5, 1, 1), (902, 1e5, 1, 2)])), "farther than 1000 nm from every site"),
        (lambda: template(tree([(901, 1, 1, "nan"), (902, 1, 1, 2)])), "x='nan', no number"),
        (lambda: template(tree([(901, 1, 1, 1)], name="site 99")), "has no item '99'"),
        (lambda: template(tree([(901, 1, 1, 1), (902, 1, 1, 2)], name="site 02")), "a tree of its own"),
        (lambda: template("", "seven vesicles"), "site 03: the comment 'seven vesicles' is not understood"),
        (lambda: template("", "vesicles: -3"), "site 03: -3 vesicles"),
        (lambda: template("", "vesicles: 3; form: tubule"), "form 'tubule' is none of"),
        (lambda: template("", "bud: no; bud: yes"), "names bud twice"),
        (lambda: template().replace('z="5.24" unit', 'z="4.0" unit'), "4 × 4 × 4.1 nanometer .* 5.24 × 4 × 4.1 nm"),
        (lambda: template().replace("things", "thongs"), "begins with <thongs>"),
        (lambda: "not xml", "is no XML"),
        (lambda: "<!DOCTYPE a [<!ENTITY b 'c'>]><things/>", "declares entities"),
        (lambda: template().replace("review sabc", "mine"), "names 0 samples in its groups"),
    ],
)
def test_nml_refusals(text, words):
    with pytest.raises(ValueError, match=words):
        read(text())


def test_nml_of_another_sample_or_reviewer():
    with pytest.raises(ValueError, match="belongs to sample sabc, not to sxyz"):
        read(template(), sample="sxyz")
    one = Decision("sabc", "01", "Bo", NOW, 3)
    with pytest.raises(ValueError, match="it is Bo's decision"):
        read(write_skeleton(SAMPLE, [one]).decode())


def test_positions_are_kept_to_a_hundredth_of_a_nanometre():
    assert Length((0.004, 0, 0), (1 / 3, -0.0, 0)) == Length((0, 0, 0), (0.33, 0, 0))
