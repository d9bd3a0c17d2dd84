"""What a study table may hold, and what is said when it or its runs cannot be used."""

import dataclasses

import pandas as pd
import pytest
from cisterna.compare.matching import comparability, match_snr
from cisterna.compare.runs import RunTables, read_runs
from cisterna.compare.study import Row, read_study, study_of
from cisterna.report.document import RunDocument
from cisterna.store.objects import connect, json_bytes

ROWS = [("a", "control", "1"), ("b", "control", "2"), ("c", "treated", "1"), ("d", "treated", "2")]


def frame(rows=ROWS, columns=("run", "condition", "experiment")):
    return pd.DataFrame(rows, columns=list(columns))


@pytest.mark.parametrize(("suffix", "separator"), [(".csv", ","), (".tsv", "\t"), (".parquet", "")])
def test_tables_of_every_kind_are_the_same_study(tmp_path, suffix, separator):
    table = frame([(*r, f"cell {n}", "may") for n, r in enumerate(ROWS)], (*frame().columns, "cell", "batch"))
    path = tmp_path / f"study{suffix}"
    if separator:
        path.write_text("\ufeff" + table.to_csv(index=False, sep=separator), encoding="utf-8")
    else:
        table.to_parquet(path)
    study = read_study(path)
    assert study.name == "study"
    assert study.conditions == ["control", "treated"]
    assert study.rows[2] == Row("c", "treated", "1", "cell 2", "may")
    assert study.paired


def test_names_and_defaults(tmp_path):
    table = frame([(*r, "seen by Ada") for r in ROWS], ("path", "condition", "experiment", "note_by"))
    study = study_of(table, "s")
    assert [r.cell for r in study.rows] == ["a", "b", "c", "d"]
    numbers = study_of(frame([("a", "x", 1.0), ("b", "y", 2.0)]), "s")
    assert [r.experiment for r in numbers.rows] == ["1", "2"]
    assert not numbers.paired
    (tmp_path / "run a").mkdir()
    (tmp_path / "s.csv").write_text("run,condition,experiment\nrun a,x,1\nrun b,y,1\n\n")
    assert [r.run for r in read_study(tmp_path / "s.csv").rows] == [str(tmp_path / "run a"), "run b"]


def test_the_reference_comes_first():
    study = study_of(frame(), "s")
    assert study.with_reference("treated").conditions == ["treated", "control"]
    with pytest.raises(ValueError, match="'treted' is no condition of s: control, treated"):
        study.with_reference("treted")


@pytest.mark.parametrize(
    ("rows", "columns", "said"),
    [
        (ROWS, ("run", "conditon", "experiment"), "unknown column 'conditon': did you mean condition"),
        (ROWS, ("run", "condition", "day"), "unknown column 'day'"),
        ([r[:2] for r in ROWS], ("run", "condition"), "no column experiment"),
        ([(*r, r[0]) for r in ROWS], ("run", "condition", "experiment", "path"), "column run twice"),
        ([*ROWS, ("a", "treated", "3")], None, "run a stands in row 1 and again in row 5"),
        ([*ROWS, ("e", "", "3")], None, "row 5: condition is empty"),
        ([*ROWS, ("e", "treated", None)], None, "row 5: experiment is empty"),
        (ROWS[:2], None, "holds 1 condition"),
        ([], None, "holds 0 condition"),
    ],
)
def test_a_study_that_cannot_be_used(rows, columns, said):
    with pytest.raises(ValueError, match=said):
        study_of(frame(rows, columns or frame().columns), "s")


@pytest.mark.parametrize(("name", "text"), [("s.xlsx", "x"), ("s.csv", ""), ("s.parquet", "no parquet"), (None, "")])
def test_files_that_hold_no_table(tmp_path, name, text):
    path = tmp_path / (name or "absent.csv")
    if name:
        path.write_text(text)
    with pytest.raises(ValueError, match=r"study .*(ends in|cannot be read|does not exist)"):
        read_study(path)


def put(store, run_id, recipe="er-movie", acquisition="", **changes):
    document = dataclasses.asdict(RunDocument(run_id, recipe, "SUCCEEDED", acquisition=acquisition or run_id)) | changes
    store.put(f"runs/{run_id}/run.json", json_bytes(document))


def rows(*names):
    return tuple(Row(n, "ab"[i % 2], str(i), n) for i, n in enumerate(names))


def test_runs_that_are_missing_or_unfinished_are_all_named(tmp_path):
    store = connect("memory://")
    put(store, "there", state="FAILED")
    with pytest.raises(
        ValueError, match=r"run gone is not in memory.*; run there \(FAILED\) has no table frames.*retry"
    ):
        read_runs(rows("gone", "there"), store)
    with pytest.raises(ValueError, match=r"holds no run\.json"):
        read_runs(rows(str(tmp_path)), store)
    with pytest.raises(ValueError, match="no folder"):
        read_runs(rows("anything"), None)
    put(store, "other", recipe="unheard-of")
    with pytest.raises(ValueError, match="recipe unheard-of"):
        read_runs(rows("other"), store)


def test_a_table_that_does_not_decode_is_named():
    store = connect("memory://")
    store.put("t/frames.parquet", b"nothing of the kind")
    put(store, "r", tables={"frames": "t/frames.parquet"})
    with pytest.raises(ValueError, match=r"table frames of run r does not decode.*cisterna verify r"):
        read_runs(rows("r"), store)


def test_one_recording_counts_once(movies):
    first, second = movies.study.rows[:2]
    again = dataclasses.replace(first, run="er-movie-again")
    document = movies.store.get_json(f"runs/{first.run}/run.json")
    movies.store.put("runs/er-movie-again/run.json", json_bytes({**document, "run_id": "er-movie-again"}))
    with pytest.raises(ValueError, match="stand on the same recording"):
        read_runs((first, second, again), movies.store)


def test_one_study_compares_one_recipe(movies, volumes):
    store = movies.store
    volume = volumes.store.get_json("runs/fibsem-00/run.json")
    for name in volume["tables"].values():
        store.put(name, volumes.store.get(name))
    store.put("runs/fibsem-00/run.json", json_bytes(volume))
    with pytest.raises(ValueError, match="compares runs of one recipe"):
        read_runs((movies.study.rows[0], Row("fibsem-00", "b", "1", "c")), store)


def bookkeeping(snr, degraded=()):
    return pd.DataFrame(
        [
            {
                "condition": c, "experiment": f"{c}{n}", "cell": "1", "run": f"run {c}{n}", "snr_median": v,
                "degraded_to_snr": 9.0 if (c, n) in degraded else float("nan"),
            }
            for c, values in snr.items()
            for n, v in enumerate(values)
        ]
    )  # fmt: skip


def test_conditions_of_one_brightness_match():
    found = match_snr(bookkeeping({"a": [10, 11, 12], "b": [12, 13, 12.5]}), ["a", "b"])
    assert found.matched
    assert found.commands == ()
    assert found.snr == {"a": 11, "b": 12.5}


def test_the_brighter_condition_is_to_be_dimmed():
    found = match_snr(bookkeeping({"a": [8, 9.126, 10], "b": [9, 18, 20]}), ["a", "b"], "file:///my store")
    assert not found.matched
    assert found.target == 9.12  # rounded down: never above the dimmer condition
    # The run of b that is as dim as a stays as it is.
    assert found.commands == tuple(
        f"cisterna submit er-movie 'run b{n}' --degrade-to-snr 9.12 --store 'file:///my store'" for n in (1, 2)
    )
    matched = match_snr(bookkeeping({"a": [8, 9.126, 10], "b": [9, 9.1, 9.1]}, {("b", 1), ("b", 2)}), ["a", "b"])
    assert matched.matched
    assert "2 of 6 runs stand on recordings with added noise" in matched.sentence


def test_what_cannot_be_matched_is_said():
    low = match_snr(bookkeeping({"a": [3, 4], "b": [20, 20]}), ["a", "b"])
    assert (low.matched, low.commands) == (False, ())
    assert "a lies below 5" in low.sentence
    nan = float("nan")
    assert "cannot be matched" in match_snr(bookkeeping({"a": [nan], "b": [20]}), ["a", "b"]).sentence
    assert "not known for any run" in match_snr(bookkeeping({"a": [nan], "b": [nan]}), ["a", "b"]).sentence


def run_of(condition, batch="", manifest=None, **document):
    about = RunDocument(f"r{condition}", "er-movie", "SUCCEEDED", **document)
    return RunTables(Row("r", condition, "1", "c", batch), about, manifest or {}, {})


def test_what_else_differs_between_conditions_is_told():
    sizes = [{"arrays": {"raw": {"pixel_size_um": [p, p]}}} for p in (0.1, 0.2)]
    found = comparability([run_of("a", manifest=sizes[0]), run_of("b", manifest=sizes[1])])
    assert found == [
        "Runs differ in pixel or voxel size (0.1 × 0.1 µm, 0.2 × 0.2 µm), and no value is shared by all conditions: "
        "what differs may be this."
    ]
    mixed = [run_of(c, manifest=m) for c in "ab" for m in sizes]
    assert comparability(mixed) == ["Runs differ in pixel or voxel size (0.1 × 0.1 µm, 0.2 × 0.2 µm)."]
    other = [run_of(c, models={"ernet": {"digest": d}}) for c, d in (("a", "x"), ("b", "y"))]
    assert comparability(other)[0].startswith("Runs differ in model ernet")
    other = [run_of(c, parameters={"graph": {"tracing": {"spur_widths": w}}}) for c, w in (("a", 1.5), ("b", 2.0))]
    assert "parameter graph.tracing.spur_widths (1.5, 2.0)" in comparability(other)[0]
    assert comparability([run_of("a", "may"), run_of("b", "june")])[-1].startswith("Every batch holds one condition")
    assert comparability([run_of("a", "may"), run_of("b", "may"), run_of("b", "june")]) == []
