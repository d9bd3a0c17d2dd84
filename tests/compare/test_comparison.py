"""End to end: runs in a store and in exported folders → figures, tests, files, page; networks and sites."""

import dataclasses
import json
import re

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from cisterna.cli.main import main
from cisterna.compare.aggregates import aggregate
from cisterna.compare.build import as_json, compare_study, tables, write_comparison
from cisterna.compare.networks import frame_counts, network_figures
from cisterna.compare.page import _floor
from cisterna.compare.runs import read_run_tables, read_runs
from cisterna.compare.sites import NEAR_ER, site_figures
from cisterna.compare.study import Row, read_study, study_of
from cisterna.tables.networks import FRAMES

FEW = ["largest_component_node_share", "degree_assortativity", "sheet_share"]


@pytest.fixture(scope="module")
def networks(movies):
    return compare_study(movies.study, movies.store)


@pytest.fixture(scope="module")
def few(movies):
    """The same study with the metrics that pictures are tested on: each costs its figures."""
    return compare_study(movies.study, movies.store, FEW)


@pytest.fixture(scope="module")
def sites(volumes):
    return compare_study(volumes.study, volumes.store)


def effect(comparison, metric):
    return comparison.effects.set_index("metric").loc[metric]


def test_a_cell_is_the_mean_of_its_frames_above_the_gate(movies):
    row = movies.study.rows[1]  # its first frame is flagged low
    run = read_run_tables(row, movies.store)
    frames = run.tables["frames"]
    assert (frames["snr_flag"] == "low").tolist() == [True, False]
    (found,) = network_figures(run)
    assert found.values["transitivity"] == pytest.approx(frames["transitivity"][1:].mean())
    assert found.values["junctions_per_um2"] == pytest.approx(frames["junctions_per_um2"][1:].mean())
    (kept,) = network_figures(run, keep_low_snr=True)
    assert kept.values["junctions_per_um2"] == pytest.approx(frames["junctions_per_um2"].mean())
    counted = frame_counts(run)
    assert (counted.frames, counted.low_snr, counted.used) == (2, 1, 1)
    assert frame_counts(run, keep_low_snr=True).used == 2
    assert counted.snr_median == pytest.approx(frames["snr_power"].median())


def with_frames(run, **columns):
    return dataclasses.replace(run, tables={**run.tables, "frames": run.tables["frames"].assign(**columns)})


def test_frames_that_say_nothing(movies):
    run = read_run_tables(movies.study.rows[0], movies.store)
    (all_low,) = network_figures(with_frames(run, snr_flag="low"))
    assert np.isnan(list(all_low.values.values())).all()
    unknown = with_frames(run, snr_flag="snr_not_applicable", snr_power=np.nan)
    assert network_figures(unknown)[0].values["nodes"] == network_figures(run)[0].values["nodes"]
    counted = frame_counts(unknown)
    assert (counted.unknown_snr, counted.used) == (2, 2)
    assert np.isnan(counted.snr_median)
    gap = with_frames(run, transitivity=[np.nan, 0.3])
    assert network_figures(gap)[0].values["transitivity"] == pytest.approx(0.3)
    nothing = dataclasses.replace(run, tables={"frames": FRAMES.frame()})
    assert np.isnan(list(network_figures(nothing)[0].values.values())).all()


def test_dynamics_are_left_out_of_movies_that_are_mostly_low(movies):
    run = read_run_tables(movies.study.rows[0], movies.store)
    rate = "junctions_ends_per_min"
    assert np.isfinite(network_figures(with_frames(run, snr_flag=["low", "ok"]))[0].values[rate])
    mostly = with_frames(run, snr_flag="low")
    assert np.isnan(network_figures(mostly)[0].values[rate])
    assert np.isfinite(network_figures(mostly, keep_low_snr=True)[0].values[rate])


def test_labelled_cells_are_cells_of_their_own(movies):
    run = read_run_tables(movies.study.rows[0], movies.store)
    frames = run.tables["frames"].drop(columns=["snr_power", "snr_mean_std"])
    cells = pd.concat([frames.assign(cell=n, nodes=frames["nodes"] * n) for n in (1, 2)])
    several = dataclasses.replace(run, tables={**run.tables, "cells": cells})
    one, two = network_figures(several)
    assert (one.cell, two.cell) == ("1", "2")
    assert two.values["nodes"] == pytest.approx(2 * one.values["nodes"])
    assert np.isnan(one.values["junctions_ends_per_min"])  # tracks know no cells
    data = aggregate([several])
    own = data.cells[data.cells["metric"] == "nodes"]
    assert own["cell"].tolist() == ["cell 0/1", "cell 0/2"]
    assert data.runs.iloc[0]["cells"] == 2
    nodes = data.experiments[data.experiments["metric"] == "nodes"].iloc[0]
    assert nodes["cells"] == 2
    assert nodes["value"] == pytest.approx(own["value"].mean())


def test_several_runs_of_a_cell_are_one_cell(movies):
    runs = read_runs(movies.study.rows[:2], movies.store)
    same = [dataclasses.replace(r, row=dataclasses.replace(r.row, cell="one")) for r in runs]
    data = aggregate(same)
    each = [network_figures(r)[0].values["nodes"] for r in same]
    own = data.cells[data.cells["metric"] == "nodes"]
    assert own["value"].tolist() == pytest.approx([np.mean(each)])


def test_networks_end_to_end(networks):
    assert networks.warnings == []
    assert networks.match.matched
    denser = effect(networks, "junctions_per_um2")
    assert (denser["condition_a"], denser["condition_b"]) == ("control", "knock-out")
    assert denser["test"] == "Welch t"
    assert denser["difference"] > 0
    assert denser["p_holm"] < 0.05
    assert (denser["experiments_a"], denser["cells_a"]) == (3, 6)
    assert effect(networks, "mean_length_um")["difference"] < 0
    flat = effect(networks, "sheet_share")  # these phantoms have none
    assert np.isnan(flat["p"])
    assert flat["note"] == "no p: experiments do not differ at all"
    assert networks.data.runs["frames_low_snr"].sum() == 6
    means = networks.data.experiments
    means = means[(means["metric"] == "junctions_per_um2") & (means["condition"] == "control")]
    assert denser["mean_a"] == pytest.approx(means["value"].mean())


def test_sites_end_to_end(sites, volumes):
    assert sites.match is None
    found = effect(sites, "vesicular_eres_per_um3")
    assert found["test"] == "paired t"
    assert found["difference"] < 0
    run = read_run_tables(volumes.study.rows[0], volumes.store)
    table = run.tables["sites"]
    near = table["site_class"].isin(["vesicular_standalone", "vesicular_mixed"]).sum()
    volume_um3 = 48 * 96 * 96 * 0.008**3
    (figures,) = site_figures(run)
    assert figures.values["vesicular_eres_per_um3"] == pytest.approx(near / volume_um3)
    golgi = (table["site_class"] == "golgi_associated").sum()
    assert figures.values["golgi_associated_share"] == pytest.approx(golgi / (table["kind"] == "vesicular").sum())


def test_densities_of_the_run_rule_over_counts_in_the_image(volumes):
    run = read_run_tables(volumes.study.rows[0], volumes.store)
    table = pd.DataFrame(
        {
            "what": ["vesicular_eres", "dispersed"],
            "count": [3, 0],
            "per_um3_cell": [0.5, 0.0],
            "per_um2_er": [0.02, 0.0],
        }
    )
    (found,) = site_figures(dataclasses.replace(run, tables={**run.tables, "densities": table}))
    assert found.values["vesicular_eres_per_um3"] == 0.5
    assert found.values["vesicular_eres_per_um2_er"] == pytest.approx(0.02)
    assert found.values["dispersed_per_um3"] == 0
    assert found.counts["dispersed_per_um3"] == (0, 6)
    (bare,) = site_figures(dataclasses.replace(run, manifest={}))
    assert np.isnan(bare.values["vesicular_eres_per_um3"])
    assert bare.values["vesicular_eres_count"] > 0


def test_a_volume_without_sites_is_an_ordinary_cell(volumes):
    run = read_run_tables(volumes.study.rows[0], volumes.store)
    empty = {**run.tables, "sites": run.tables["sites"].iloc[:0], "objects": run.tables["objects"].iloc[:0]}
    (found,) = site_figures(dataclasses.replace(run, tables=empty))
    assert found.values["vesicular_eres_per_um3"] == 0
    assert np.isnan([found.values["vesicular_mixed_share"], found.values["vesicle_diameter_mask_nm"]]).all()


def test_metrics_by_name(movies):
    one = compare_study(movies.study, movies.store, metrics=["components", "tips_km_median_s"])
    assert [m.name for m in one.metrics] == ["components", "tips_km_median_s"]
    assert [m.unit for m in one.metrics] == ["count", "s"]
    with pytest.raises(ValueError, match=r"no run has the metric 'assortativity': did you mean .*degree_assortativity"):
        compare_study(movies.study, movies.store, metrics=["assortativity"])


def test_the_reference_turns_the_sign(movies, networks):
    turned = compare_study(movies.study.with_reference("knock-out"), movies.store, ["junctions_per_um2"])
    there, back = effect(networks, "junctions_per_um2"), effect(turned, "junctions_per_um2")
    assert back["difference"] == pytest.approx(-there["difference"])
    assert back["hedges_g"] == pytest.approx(-there["hedges_g"])


def test_files_are_complete_typed_and_the_same_again(few, tmp_path):
    written = write_comparison(few, tmp_path / "a")
    names = {p.relative_to(tmp_path / "a").as_posix() for p in written}
    assert {"compare.html", "tables/effects.parquet", "tables/cells.csv", "figures/phenotypes.svg"} <= names
    for schema, frame in tables(few):
        stored = schema.from_parquet_bytes((tmp_path / f"a/tables/{schema.name}.parquet").read_bytes())
        assert len(stored) == len(frame)
        text = pd.read_csv(tmp_path / f"a/tables/{schema.name}.csv")
        assert text.columns.tolist() == schema.names
    fields = pq.read_schema(tmp_path / "a/tables/runs.parquet")
    assert fields.field("snr_median").metadata[b"unit"] == b"1"
    cells = pd.read_csv(tmp_path / "a/tables/cells.csv")
    assert len(cells) == len(FEW) * 12
    write_comparison(few, tmp_path / "b")
    for name in names:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name
    with pytest.raises(ValueError, match="nothing is overwritten"):
        write_comparison(few, tmp_path / "a")


def test_the_page_stands_alone_and_says_what_it_should(few, volumes, tmp_path):
    sites = compare_study(volumes.study, volumes.store, ["vesicular_eres_per_um3"])
    for comparison in (few, sites):
        write_comparison(comparison, tmp_path / comparison.room)
        html = (tmp_path / comparison.room / "compare.html").read_text(encoding="utf-8")
        assert "<script" not in html
        assert not re.search(r'(?:src|href)="(?!data:|#)', html)
        assert "nan" not in re.sub(r'value="nan"|src="[^"]*"', "", html).lower().split()
        assert html.count("<img") == len(comparison.metrics) + (3 if comparison.match else 1)
        for metric in comparison.metrics:
            assert metric.name in html
    assert "6 of 24 frames have an SNR below 5; they were left out" in (tmp_path / "er-movie/compare.html").read_text()
    assert "a paired t test" in (tmp_path / "fibsem/compare.html").read_text()


def test_one_experiment_a_condition_says_why_there_is_no_p(movies, tmp_path):
    table = movies.table[movies.table["experiment"].isin(["c0", "k0"])]
    found = compare_study(study_of(table, "small"), movies.store, FEW)
    assert found.effects["p"].isna().all()
    assert set(found.effects["effect_of"]) == {"cells"}
    write_comparison(found, tmp_path / "out")
    html = (tmp_path / "out/compare.html").read_text()
    assert "No p is given: it needs 3 experiments a condition" in html
    assert "no p: 1 experiment has" in html.lower()


def test_one_cell_a_condition_still_has_its_page(movies, tmp_path):
    table = movies.table[movies.table["run"].isin(["er-movie-000", "er-movie-100"])]
    found = compare_study(study_of(table, "two"), movies.store, ["junctions_per_um2"])
    assert set(found.effects["effect_of"]) == {"none"}
    assert np.isfinite(effect(found, "junctions_per_um2")["difference"])
    write_comparison(found, tmp_path / "out")


def test_one_volume_a_condition_has_ratios_of_counts(volumes, tmp_path):
    table = volumes.table[volumes.table["experiment"] == "day 0"]
    found = compare_study(study_of(table, "two"), volumes.store)
    one = effect(found, "vesicular_eres_per_um3")
    assert (one["effect_of"], one["test"]) == ("none", "none")
    counts = [
        read_run_tables(r, volumes.store).tables["sites"]["site_class"].isin(NEAR_ER).sum() for r in found.study.rows
    ]
    assert one["ratio"] == pytest.approx(counts[1] / counts[0])
    assert 0 < one["ratio_low"] < one["ratio"] < one["ratio_high"]
    shares = effect(found, "vesicular_mixed_share")  # a share has no exposure to count over
    assert np.isnan(shares["ratio_low"])
    write_comparison(found, tmp_path / "out")
    assert not (tmp_path / "out/figures/effects.png").exists()  # there is no g to draw
    assert "2 cells, 1 experiment." in (tmp_path / "out/compare.html").read_text()
    assert "No mixed model on cells: a condition has fewer than 3" in (tmp_path / "out/compare.html").read_text()
    assert "the error of counting alone" in (tmp_path / "out/compare.html").read_text()


def test_three_conditions_have_their_page(movies, tmp_path):
    table = movies.table.assign(condition=[c if n % 2 else f"{c} 2" for n, c in enumerate(movies.table["condition"])])
    table = table[table["condition"] != "control 2"]
    found = compare_study(study_of(table, "three"), movies.store, FEW)
    assert len(found.f_tests) == len(found.metrics)
    assert set(found.effects["test"]) == {"Tukey–Kramer"}
    write_comparison(found, tmp_path / "out")
    assert (tmp_path / "out/tables/f_tests.csv").is_file()


def test_an_exported_folder_gives_what_the_store_gives(volumes, sites, tmp_path):
    from cisterna.report.export import export_run

    table = volumes.table.copy()
    export_run(volumes.store, table.loc[0, "run"], tmp_path / "exported", only=("report", "tables"))
    table.loc[0, "run"] = "exported"
    table.to_csv(tmp_path / "v.csv", index=False)
    again = compare_study(read_study(tmp_path / "v.csv"), volumes.store)
    pd.testing.assert_frame_equal(again.effects, sites.effects)
    assert read_run_tables(Row(str(tmp_path / "exported"), "a", "1", "c"), None).document.recipe == "fibsem"


def test_the_command(movies, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("CISTERNA_HOME", str(tmp_path / "home"))
    study = tmp_path / "study.csv"
    movies.table.to_csv(study, index=False)
    base = ["compare", str(study), "--store", movies.store.url]
    assert main([*base, "--metric", "junctions_per_um2"]) == 0
    said = capsys.readouterr().out
    assert "junctions_per_um2" in said
    assert (tmp_path / "study-compare/compare.html").is_file()
    assert main(base) == 2
    assert "nothing is overwritten" in capsys.readouterr().err
    assert main([*base, "--json", "--reference", "knock-out"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["conditions"] == ["knock-out", "control"]
    assert document["files"] == []
    flat = [e for e in document["effects"] if e["metric"] == "sheet_share"]
    assert flat[0]["p"] is None
    study.write_text("run,condition,experiment\nnobody,a,1\n")
    assert main(base) == 2
    assert "comparison needs two" in capsys.readouterr().err


def test_the_json_document_is_json(sites):
    text = json.dumps(as_json(sites), allow_nan=False)
    assert json.loads(text)["snr"] is None


def test_demo_models_and_lost_blocks_come_first(movies):
    run = movies.store.get_json("runs/er-movie-000/run.json")
    changed = {**run, "state": "DEGRADED", "models": {"demo-ernet": {"demo": True, "digest": "x"}}}
    movies.store.put_json("runs/er-movie-000/run.json", changed)
    try:
        found = compare_study(movies.study, movies.store, ["nodes"])
    finally:
        movies.store.put_json("runs/er-movie-000/run.json", run)
    assert found.warnings[0].startswith("Models trained on phantoms only were used (demo-ernet)")
    assert any("er-movie-000 DEGRADED" in w for w in found.warnings)


def test_nobody_is_called_by_a_row_that_is_no_run(movies):
    with pytest.raises(ValueError, match=r"run er-movie-999 is not in file.*--store"):
        compare_study(
            dataclasses.replace(movies.study, rows=(*movies.study.rows, Row("er-movie-999", "control", "x", "y"))),
            movies.store,
        )


def test_dynamics_stand_beside_their_floor(movies):
    found = compare_study(movies.study, movies.store, ["junctions_ends_per_min"])
    assert _floor(found) == []  # these runs have no static scene
    runs = read_runs(movies.study.rows, movies.store)
    still = [
        dataclasses.replace(r, tables={**r.tables, "floor": r.tables["dynamics"].assign(ends_per_min=0.25)})
        for r in runs
    ]
    (section,) = _floor(dataclasses.replace(found, data=aggregate(still)))
    rows = section.grids[0].rows
    assert [r[:2] for r in rows] == [("junctions lost", "control"), ("junctions lost", "knock-out")]
    assert [r[3] for r in rows] == [0.25, 0.25]
