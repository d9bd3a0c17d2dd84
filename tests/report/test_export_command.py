"""`cisterna export` as a person meets it."""

import pytest
from cisterna.cli.export import PARTS
from cisterna.cli.main import main
from cisterna.report.export_parts import PARTS as WRITTEN
from cisterna.store import open_store


@pytest.fixture
def run(make, tmp_path, monkeypatch):
    monkeypatch.setenv("CISTERNA_HOME", str(tmp_path / "home"))
    url = (tmp_path / "store").as_uri()
    run_id = make.put_volume_run(open_store(url), make.volume(shape=(40, 44, 48), bodies=4))
    return run_id, url


def export(run, *words):
    return main(["export", run[0], "--store", run[1], *map(str, words)])


def test_some_parts_into_a_folder(run, tmp_path, capsys):
    assert export(run, "--out", tmp_path / "out", "--only", "tables,viewer", "--at-site", 1) == 0
    said = capsys.readouterr()
    assert f"open {tmp_path / 'out' / 'index.html'}" in said.out
    assert "tables …" in said.err
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "annotations", "arrays", "index.html", "manifest.json", "neuroglancer.json", "sites.html", "tables",
    ]  # fmt: skip
    assert main(["export", run[0], str(tmp_path / "plain"), "--store", run[1], "--only", "tables"]) == 0
    assert (tmp_path / "plain" / "manifest.json").exists()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([], "name one folder to export into"),
        (["--only", "film", "--out", "x"], "film: an export of a fibsem run can hold report, tables"),
        (["--at-site", "77", "--out", "x"], "site 77 is not a site of run"),
        (["--sites-per-class", "0", "--out", "x"], "at least one site per class, got 0"),
    ],
)
def test_mistakes_are_one_sentence_and_leave_nothing(run, tmp_path, monkeypatch, capsys, words, sentence):
    monkeypatch.chdir(tmp_path)
    assert export(run, *words) == 2
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


def test_a_folder_with_something_in_it_and_an_unknown_run(run, tmp_path, capsys):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("keep")
    assert export(run, "--out", tmp_path / "full") == 2
    assert "not an empty folder" in capsys.readouterr().err
    assert main(["export", "fibsem-none", "--out", str(tmp_path / "x"), "--store", run[1]]) == 2
    assert "`cisterna runs` lists them" in capsys.readouterr().err


def test_the_help_names_every_part():
    assert set(PARTS) == set(WRITTEN)
