"""The commands as a reviewer and the person behind the reviewer meet them."""

import csv
import io
import json
import re

import pytest
from cisterna.cli.main import main
from cisterna.review.layer import read_review
from cisterna.store import open_store
from cisterna.tables.volumes import SITE_CLASSES


def say(*words):
    return main(["review", *map(str, words)])


def sample(run, folder="out", seed=1, n=6, **more):
    options = [f for name, value in more.items() for f in (f"--{name.replace('_', '-')}", value)]
    code = say("sample", run.run_id, "--class", "all", "--n", n, "--seed", seed, "--out", folder, *options)
    assert code == 0
    return read_review(run.store, run.run_id).samples[-1]


@pytest.fixture(scope="module")
def untouched(tmp_path_factory, make):
    """A run that every command of these refuses to write to."""
    return make.put_run(open_store(f"file://{tmp_path_factory.mktemp('untouched')}"))


def filled(path, rows):
    """The template with cells filled in, by item."""
    found = list(csv.DictReader(io.StringIO(path.read_text())))
    out = io.StringIO()
    writer = csv.DictWriter(out, found[0].keys())
    writer.writeheader()
    writer.writerows([row | rows.get(row["item"], {}) for row in found])
    target = path.parent / "filled.csv"
    target.write_text(out.getvalue())
    return target


ROWS = {
    "01": {
        "vesicles": "7",
        "form": "vesicle cluster",
        "bud": "yes",
        "why": 'crowded, "dark"',
        "lengths": "1 2 3 > 1 2 78",
    },
    "02": {"vesicles": "0", "form": "generic ER"},
}


def test_from_sample_to_show(folder_run, tmp_path, capsys):
    run = folder_run
    assert say("show", run.run_id) == 0
    assert "24 candidates, not reviewed" in capsys.readouterr().out
    drawn = sample(run)
    assert f"sample {drawn.sample}: 6 of 24 sites, in out" in capsys.readouterr().out
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["decisions.csv", "review.html", "sites.nml"]
    tables = {p: run.store.get(p) for p in run.store.list("stages")}
    assert say("import", run.run_id, filled(tmp_path / "out/decisions.csv", ROWS), "--reviewer", "Ada") == 0
    assert "2 decisions added, 4 sites left blank" in capsys.readouterr().out
    assert {p: run.store.get(p) for p in run.store.list("stages")} == tables
    assert say("show", run.run_id, "--json") == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["reviewers"] == ["Ada"]
    assert sum(c["reviewed"] for c in shown["classes"]) == 2
    assert shown["lengths"][0]["length_nm"] == 75.0
    assert say("list", run.run_id, "--json") == 0
    listed = json.loads(capsys.readouterr().out)
    assert listed["samples"][0]["seed"] == 1
    assert [d["why"] for d in listed["decisions"]] == ['crowded, "dark"', ""]
    assert all(re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ", d["when_utc"]) for d in listed["decisions"])
    assert say("list", run.run_id) == 0
    assert "2 decisions stand" in capsys.readouterr().out
    page = run.store.get(f"runs/{run.run_id}/report.html").decode()
    assert "2 of 24 candidates were reviewed by Ada" in page
    assert "Vesicles per site." in page


def test_removing_a_run_names_the_decisions_that_go_with_it(folder_run, tmp_path, capsys):
    run = folder_run
    assert main(["rm", run.run_id]) == 0
    assert "review decisions" not in capsys.readouterr().out
    sample(run)
    assert say("import", run.run_id, filled(tmp_path / "out/decisions.csv", ROWS), "--reviewer", "Ada") == 0
    assert main(["rm", run.run_id]) == 0
    assert "with it 2 review decisions, which no computer makes again" in capsys.readouterr().out


@pytest.mark.parametrize("form", ["csv", "nml"])
def test_an_export_makes_the_same_layer_elsewhere(folder_run, tmp_path, capsys, make, form):
    run = folder_run
    running = run.store.get_json(f"runs/{run.run_id}/run.json") | {"state": "RUNNING"}
    run.store.put_json(f"runs/{run.run_id}/run.json", running)  # no report yet, so none is made anew
    sample(run)
    sheet = filled(tmp_path / "out/decisions.csv", ROWS)
    for who in ("Ada", 'Bo "Ö", Lab 2'):
        assert say("import", run.run_id, sheet, "--reviewer", who) == 0
    changed = filled(tmp_path / "out/decisions.csv", {"02": {"vesicles": "1", "why": "one was hidden"}})
    assert say("import", run.run_id, changed, "--reviewer", "Ada") == 2
    assert "--revise" in capsys.readouterr().err
    assert say("import", run.run_id, changed, "--reviewer", "Ada", "--revise") == 0
    exported = tmp_path / f"all.{form}"
    assert say("export", run.run_id, "--format", form, "--out", exported) == 0
    capsys.readouterr()
    assert say("export", run.run_id, "--format", form) == 0
    assert capsys.readouterr().out == exported.read_text()
    other = make.put_run(open_store(f"file://{tmp_path}/other"))
    other.store.put_json(f"runs/{run.run_id}/run.json", running)
    other_url = f"file://{tmp_path}/other"
    assert (
        say("sample", run.run_id, "--class", "all", "--n", 6, "--seed", 1, "--out", "out2", "--store", other_url) == 0
    )
    assert say("import", run.run_id, exported, "--store", other_url) == 0
    mine, theirs = (read_review(s, run.run_id).decisions for s in (run.store, other.store))
    assert mine == theirs
    assert len(mine) == 5


def test_the_folder_says_nothing_of_the_result(folder_run, tmp_path):
    run = folder_run
    drawn = sample(run, reviewer="Ada", n=24)
    seen = "\n".join(p.read_text() for p in (tmp_path / "out").iterdir())
    seen = re.sub('base64,[^"]*', "", seen)
    page = (tmp_path / "out/review.html").read_text()
    for word in (*SITE_CLASSES, run.run_id, "brefeldin", "dish2", "fibsem", "golgi", "mixed", "isolated", "standalone"):
        assert not re.search(word, seen, re.I), word
    for name in ("cluster_size", "site_class", "site_id", "seed", "population", "kind", "linked"):
        assert name not in seen, name
    data = json.loads(re.search(r'id="data">(.*?)</script>', page, re.S)[1])
    assert set(data) == {"sample", "reviewer", "version", "region", "forms", "most", "columns", "channels", "items"}
    assert all(set(i) == {"item", "position", "stacks"} for i in data["items"])
    assert [i["item"] for i in data["items"]] == [i.item for i in drawn.items]
    # The order of the items carries nothing: neither ids nor classes are sorted.
    ids = [i.site_id for i in drawn.items]
    assert ids != sorted(ids)


def test_the_same_request_is_the_same_folder(folder_run, tmp_path):
    first, second = sample(folder_run, "a"), sample(folder_run, "b")
    assert first == second
    assert len(read_review(folder_run.store, folder_run.run_id).samples) == 1
    for name in ("decisions.csv", "sites.nml", "review.html"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_without_denoised_image_and_with_lost_blocks(folder_run, tmp_path, capsys):
    run = folder_run
    blocks = run.store.list("stages/denoise/k/denoised.ome.zarr/0/c")
    run.store.delete(blocks[0])
    sample(run, "holes", n=24)
    assert "stacks lack blocks that the run lost" in capsys.readouterr().err
    document = run.store.get_json(f"runs/{run.run_id}/run.json")
    del document["arrays"]["denoised"]
    run.store.put_json(f"runs/{run.run_id}/run.json", document)
    sample(run, "raw")
    assert "no denoised image" in capsys.readouterr().err
    page = (tmp_path / "raw/review.html").read_text()
    assert json.loads(re.search(r'id="data">(.*?)</script>', page, re.S)[1])["channels"] == ["raw"]
    assert 'id="channels"' not in page


def test_a_name_is_text_and_nothing_else(folder_run, tmp_path):
    name = "</script><img src=x onerror=alert(1)>"
    sample(folder_run, reviewer=name, dataset='"<b>&')
    page = (tmp_path / "out/review.html").read_text()
    assert "<img" not in page
    assert json.loads(re.search(r'id="data">(.*?)</script>', page, re.S)[1])["reviewer"] == name
    assert 'name="&quot;&lt;b&gt;&amp;"' in (tmp_path / "out/sites.nml").read_text()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("sample", "fibsem-none", "--class", "all", "--seed", 1), "no run fibsem-none"),
        (("sample", "RUN", "--class", "golgi", "--seed", 1), "--class 'golgi' is none of: vesicular_standalone"),
        (("sample", "RUN", "--class", "all", "--seed", 1, "--edge-nm", 0), "an edge of 0.0 nm is no size"),
        (("sample", "RUN", "--class", "all", "--seed", 1, "--out", "full"), "full is not an empty folder"),
        (("sample", "RUN", "--class", "all", "--seed", 1, "--reviewer", " x"), "reviewer ' x'"),
        (("import", "RUN", "none.csv"), "none.csv"),
        (("import", "RUN", "full/a.txt"), "neither in .csv nor in .nml"),
        (("import", "RUN", "full/a.csv", "--reviewer", "Ada"), "sample '' is not one of run"),
        (("import", "RUN", "full/a.csv", "--reviewer", "Ada", "--sample", "snone"), "its samples: none was drawn yet"),
        (("import", "RUN", "full/blank.csv", "--reviewer", "Ada"), "nothing is filled in at any of 1 sites"),
        (("export", "RUN", "--format", "csv"), "has no such decision to export"),
    ],
)
def test_refusals(untouched, tmp_path, capsys, monkeypatch, words, said):
    monkeypatch.setenv("CISTERNA_STORE", untouched.store.url)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "full").mkdir()
    (tmp_path / "full/a.txt").write_text("")
    (tmp_path / "full/a.csv").write_text("item,vesicles\n01,3\n")
    (tmp_path / "full/blank.csv").write_text("item,vesicles\n01,\n")
    assert say(*(untouched.run_id if w == "RUN" else w for w in words)) == 2
    error = capsys.readouterr().err
    assert said in error
    assert len(error.strip().splitlines()) == 1
    assert read_review(untouched.store, untouched.run_id).samples == ()
