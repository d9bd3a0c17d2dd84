"""The tests against scipy and statsmodels, and what they promise on data without any effect."""

import math

import numpy as np
import pandas as pd
import pytest
from cisterna.compare.effects import LEAST_EXPERIMENTS, effects_table
from cisterna.compare.hedges import correction, hedges, hedges_paired, noncentrality
from cisterna.compare.metrics import Metric
from cisterna.compare.mixed import NO_CONVERGENCE, mixed_model
from cisterna.compare.ratios import count_ratio
from cisterna.compare.tests import blocked, holm, one_way, paired, tukey, tukey_blocked, welch
from scipy import stats
from statsmodels.stats.anova import AnovaRM
from statsmodels.stats.multicomp import pairwise_tukeyhsd
from statsmodels.stats.multitest import multipletests

METRIC = [Metric("m", "m", "1", "a figure")]
STUDIES = 4000


@pytest.fixture
def rng():
    return np.random.default_rng(7)


def test_welch_and_paired_are_scipys(rng):
    a, b = rng.normal(0, 1, 5), rng.normal(1, 3, 7)
    ours, theirs = welch(a, b), stats.ttest_ind(b, a, equal_var=False)
    assert (ours.statistic, ours.p, ours.df) == pytest.approx((theirs.statistic, theirs.pvalue, theirs.df))
    assert (ours.low, ours.high) == pytest.approx(tuple(theirs.confidence_interval()))
    ours, theirs = paired(a, b[:5]), stats.ttest_rel(b[:5], a)
    assert (ours.statistic, ours.p, ours.df) == pytest.approx((theirs.statistic, theirs.pvalue, theirs.df))
    assert (ours.low, ours.high) == pytest.approx(tuple(theirs.confidence_interval()))
    assert ours.difference == pytest.approx(b[:5].mean() - a.mean())


def test_anova_is_scipys_and_the_block_design_statsmodels(rng):
    groups = [rng.normal(m, 1, n) for m, n in ((0, 4), (1, 3), (0.5, 6))]
    ours, theirs = one_way(groups), stats.f_oneway(*groups)
    assert (ours.statistic, ours.p) == pytest.approx((theirs.statistic, theirs.pvalue))
    table = rng.normal(size=(5, 3)) + rng.normal(size=(5, 1))
    long = pd.DataFrame(
        [(e, c, table[e, c]) for e in range(5) for c in range(3)], columns=["experiment", "condition", "value"]
    )
    theirs = AnovaRM(long, "value", "experiment", within=["condition"]).fit().anova_table.iloc[0]
    ours = blocked(table)
    assert (ours.statistic, ours.df_between, ours.df_within, ours.p) == pytest.approx(tuple(theirs))


def test_tukey_is_statsmodels_for_unequal_groups(rng):
    groups = [rng.normal(m, 1, n) for m, n in ((0, 4), (1.5, 3), (0.5, 6))]
    theirs = pairwise_tukeyhsd(np.concatenate(groups), np.repeat(["a", "b", "c"], [4, 3, 6]))
    for n, (pair, ours) in enumerate(tukey(groups).items()):
        assert pair == [(0, 1), (0, 2), (1, 2)][n]
        assert ours.difference == pytest.approx(theirs.meandiffs[n])
        assert (ours.low, ours.high) == pytest.approx(tuple(theirs.confint[n]), abs=2e-4)
        assert ours.p == pytest.approx(theirs.pvalues[n], abs=2e-4)


def test_two_conditions_in_blocks_are_the_paired_test(rng):
    table = rng.normal(size=(6, 2))
    t, f, q = paired(table[:, 0], table[:, 1]), blocked(table), tukey_blocked(table)[0, 1]
    assert f.statistic == pytest.approx(t.statistic**2)
    assert (f.p, q.p) == pytest.approx((t.p, t.p), abs=1e-6)
    assert (q.low, q.high) == pytest.approx((t.low, t.high), abs=1e-6)


def test_leading_axes_are_studies_of_their_own(rng):
    a, b = rng.normal(size=(50, 4)), rng.normal(size=(50, 6))
    many, one = welch(a, b), welch(a[17], b[17])
    assert many.p.shape == (50,)
    assert (many.p[17], many.low[17]) == pytest.approx((one.p, one.low))
    table = rng.normal(size=(20, 5, 3))
    assert tukey_blocked(table)[0, 2].p[17] == pytest.approx(tukey_blocked(table[17])[0, 2].p)


def test_holm_is_statsmodels_and_passes_over_nan(rng):
    p = rng.uniform(size=9) ** 3
    assert holm(p) == pytest.approx(multipletests(p, method="holm")[1])
    with_nan = np.insert(p, 4, np.nan)
    assert np.isnan(holm(with_nan)[4])
    assert np.delete(holm(with_nan), 4) == pytest.approx(holm(p))
    assert np.isnan(holm([math.nan])).all()


def test_means_without_spread_give_no_p():
    same = np.full(4, 0.1)
    for found in (welch(same, same), welch(same, same + 1), paired(same, same + 0.3)):
        assert np.isnan([found.statistic, found.p, found.low]).all()
    assert np.isnan(one_way([same, same, same]).p)
    assert np.isnan(tukey([same, same, same + 1])[0, 2].p)


def test_hedges_correction_and_a_known_value():
    assert correction(8) == pytest.approx(1 - 3 / (4 * 8 - 1), abs=2e-3)
    assert correction(1) == 0
    found = hedges([1.0, 2.0, 3.0], [3.0, 4.0, 5.0])  # d = 2, df = 4
    assert found.g == pytest.approx(2 * correction(4))
    low, high = noncentrality(2 * math.sqrt(1.5), 4)
    assert stats.nct.sf(2 * math.sqrt(1.5), 4, low) == pytest.approx(0.025, abs=1e-6)
    assert stats.nct.cdf(2 * math.sqrt(1.5), 4, high) == pytest.approx(0.025, abs=1e-6)
    assert (found.low, found.high) == pytest.approx((correction(4) * low / 1.5**0.5, correction(4) * high / 1.5**0.5))


def test_hedges_turns_its_sign_with_the_order(rng):
    a, b = rng.normal(size=4), rng.normal(1, 1, 4)
    for effect in (hedges, hedges_paired):
        there, back = effect(a, b), effect(b, a)
        assert (back.g, back.low, back.high) == pytest.approx((-there.g, -there.high, -there.low), rel=1e-5)


def test_the_interval_of_g_holds_the_truth(rng):
    """δ = 1 with 4 experiments a condition: 95 % of the intervals (of δ, before Hedges' factor) hold it."""
    hits, studies = 0, 300
    for _ in range(studies):
        found = hedges(rng.normal(0, 1, 4), rng.normal(1, 1, 4))
        hits += found.low <= correction(6) * 1.0 <= found.high
    assert stats.binomtest(hits, studies, 0.95).pvalue > 0.01


def test_effect_sizes_that_do_not_exist():
    assert math.isnan(hedges([1.0], [2.0]).g)
    assert math.isnan(hedges([1.0, 1.0], [2.0, 2.0]).g)
    assert math.isnan(hedges_paired([1.0, 2.0], [2.0, 4.0]).g)
    assert math.isnan(hedges_paired([1.0, 2.0, 3.0], [2.0, 3.0, 4.0]).g)


def dishes(rng, studies, experiments, cells, dish_sd, effect=0.0, experiment_sd=0.0):
    """Cells (studies, conditions = 2, experiments, cells) of unit spread around dishes; `experiment_sd` is shared."""
    shared = rng.normal(0, experiment_sd, (studies, 1, experiments, 1)) if experiment_sd else 0.0
    own = rng.normal(0, dish_sd, (studies, 2, experiments, 1))
    values = rng.normal(0, 1, (studies, 2, experiments, cells)) + own + shared
    values[:, 1] += effect
    return values


def positives(p):
    """Share of p below 0.05, and whether 5 % is a likely rate behind it (99 % binomial interval)."""
    found = int((p < 0.05).sum())
    low, high = stats.binomtest(found, p.size, 0.05).proportion_ci(0.99)
    return found / p.size, low <= 0.05 <= high


@pytest.mark.parametrize("cells", [5, 20])
def test_null_data_with_dish_effects_give_five_percent(rng, cells):
    """Dishes as variable as the cells in them, no effect: a test on cells errs far more often than 5 %, ours do not."""
    values = dishes(rng, STUDIES, 4, cells, dish_sd=1.0)
    flat = values.reshape(STUDIES, 2, -1)
    naive = stats.ttest_ind(flat[:, 0], flat[:, 1], axis=-1).pvalue
    assert positives(naive)[0] > 0.25
    means = values.mean(-1)
    # Student's t and so the F test are exact here; Welch's is conservative with four experiments.
    assert positives(welch(means[:, 0], means[:, 1]).p)[0] < 0.06
    assert positives(one_way([means[:, 0], means[:, 1]]).p)[1]
    assert positives(paired(means[:, 0], means[:, 1]).p)[1]


@pytest.mark.parametrize("experiments", [3, 5])
def test_null_data_of_a_paired_study_give_five_percent(rng, experiments):
    values = dishes(rng, STUDIES, experiments, 6, dish_sd=0.7, experiment_sd=2.0)
    means = values.mean(-1)
    assert positives(paired(means[:, 0], means[:, 1]).p)[1]
    # Experiments differ much: taken as independent, the same data show nothing.
    assert positives(welch(means[:, 0], means[:, 1]).p)[0] < 0.02


def test_null_data_of_three_conditions_give_five_percent(rng):
    means = rng.normal(0, 1, (STUDIES, 3, 4))
    assert positives(one_way([means[:, c] for c in range(3)]).p)[1]
    table = np.moveaxis(means + rng.normal(0, 3, (STUDIES, 1, 4)), 1, 2)
    assert positives(blocked(table).p)[1]


def test_a_real_effect_is_found(rng):
    """Two standard deviations of the dishes, six experiments of eight cells: found in most studies."""
    values = dishes(rng, STUDIES, 6, 8, dish_sd=0.5, effect=1.2)
    means = values.mean(-1)
    assert (welch(means[:, 0], means[:, 1]).p < 0.05).mean() > 0.8
    shared = dishes(rng, STUDIES, 6, 8, dish_sd=0.5, effect=1.2, experiment_sd=3.0).mean(-1)
    assert (paired(shared[:, 0], shared[:, 1]).p < 0.05).mean() > 0.7
    assert (welch(shared[:, 0], shared[:, 1]).p < 0.05).mean() < 0.2


def cells_table(values, crossed):
    """(conditions, experiments, cells) as rows; experiments are shared by conditions where `crossed`."""
    rows = []
    for c, e, k in np.ndindex(values.shape):
        rows.append(("AB"[c], f"e{e}" if crossed else f"{'AB'[c]}{e}", f"cell {k}", values[c, e, k]))
    return pd.DataFrame(rows, columns=["condition", "experiment", "cell", "value"])


def test_the_mixed_model_agrees_with_the_exact_tests_on_balanced_data(rng):
    """Nested: Student's t on experiment means. Crossed, with positive variances: the paired t."""
    values = dishes(rng, 1, 4, 6, dish_sd=2.0, effect=1.0)[0]
    found = mixed_model(cells_table(values, crossed=False), [("A", "B")])["A", "B"]
    means = values.mean(-1)
    exact = stats.ttest_ind(means[1], means[0])
    assert (found.p, found.df) == pytest.approx((exact.pvalue, 6), rel=1e-4)
    assert (found.low, found.high) == pytest.approx(tuple(exact.confidence_interval()), rel=1e-3)
    assert found.note == ""
    values = dishes(rng, 1, 5, 6, dish_sd=1.5, effect=1.0, experiment_sd=4.0)[0]
    found = mixed_model(cells_table(values, crossed=True), [("A", "B")])["A", "B"]
    exact = stats.ttest_rel(*values.mean(-1)[::-1])
    assert (found.p, found.df) == pytest.approx((exact.pvalue, 4), rel=1e-3)


def test_the_mixed_model_finds_the_variance_between_dishes_every_time(rng):
    """On balanced nested data REML is the ANOVA estimator, (MSB − MSW) / cells. (lbfgs missed it every second time.)"""
    for values in dishes(rng, 15, 4, 20, dish_sd=1.0):
        found = mixed_model(cells_table(values, crossed=False), [("A", "B")])["A", "B"]
        within, between = values.var(-1, ddof=1).mean(), values.mean(-1).var(-1, ddof=1).mean()
        between -= within / 20
        assert found.between_share == pytest.approx(between / (between + within), rel=0.02)
        assert found.p == pytest.approx(stats.ttest_ind(*values.mean(-1)).pvalue, rel=0.02)


def test_the_mixed_model_does_not_depend_on_the_unit(rng):
    values = dishes(rng, 1, 4, 5, dish_sd=1.0, effect=1.0)[0]
    one = mixed_model(cells_table(values, crossed=False), [("A", "B")])["A", "B"]
    other = mixed_model(cells_table(values * 1e-6 + 3e-6, crossed=False), [("A", "B")])["A", "B"]
    assert (other.p, other.difference * 1e6) == pytest.approx((one.p, one.difference), rel=1e-3)


def test_the_mixed_model_says_when_it_is_of_no_use(rng, monkeypatch):
    one_cell = dishes(rng, 1, 4, 1, dish_sd=1.0)[0]
    assert "one cell a dish" in mixed_model(cells_table(one_cell, False), [("A", "B")])["A", "B"].note
    flat = np.full((2, 4, 3), 0.25)
    assert "all cells agree" in mixed_model(cells_table(flat, False), [("A", "B")])["A", "B"].note
    alike = rng.normal(size=(2, 3, 1)) * 1e-6 + rng.normal(size=(2, 3, 40))
    alike -= alike.mean(-1, keepdims=True)
    assert "zero" in mixed_model(cells_table(alike, False), [("A", "B")])["A", "B"].note
    from statsmodels.regression.mixed_linear_model import MixedLM

    def refuse(*_, **__):
        raise np.linalg.LinAlgError("singular matrix")

    monkeypatch.setattr(MixedLM, "fit", refuse)
    values = dishes(rng, 1, 4, 3, dish_sd=1.0)[0]
    assert mixed_model(cells_table(values, False), [("A", "B")])["A", "B"].note == NO_CONVERGENCE


def effects_of(make, values, crossed, conditions=("A", "B")):
    rows = list(cells_table(values, crossed).itertuples(index=False))
    effects, _ = effects_table(make.aggregates(rows), conditions, METRIC, crossed)
    return effects.iloc[0]


def test_the_whole_table_gives_five_percent_on_null_data(rng, make):
    """The same promise by way of the command's own table, one cell a dish (nothing to model), 100 studies."""
    values = dishes(rng, 100, 3, 1, dish_sd=1.0, experiment_sd=1.0)
    p = np.array([effects_of(make, v, crossed=True)["p"] for v in values])
    assert stats.binomtest(int((p < 0.05).sum()), p.size, 0.05).pvalue > 0.01


def test_the_rule_of_pairs(rng, make):
    values = dishes(rng, 1, 4, 3, dish_sd=1.0, experiment_sd=2.0)[0]
    means = values.mean(-1)
    together, apart = effects_of(make, values, True), effects_of(make, values, False)
    assert (together["test"], together["p"]) == ("paired t", pytest.approx(paired(means[0], means[1]).p))
    assert (apart["test"], apart["p"]) == ("Welch t", pytest.approx(welch(means[0], means[1]).p))
    assert (together["experiments_a"], together["cells_a"]) == (4, 12)


def test_a_pair_without_its_other_half_is_dropped(rng, make):
    values = dishes(rng, 1, 5, 3, dish_sd=1.0)[0]
    values[0, 2] = np.nan
    means = np.delete(values.mean(-1), 2, axis=1)
    found = effects_of(make, values, True)
    assert (found["experiments_a"], found["experiments_b"], found["cells_a"], found["cells_b"]) == (4, 4, 12, 15)
    assert found["p"] == pytest.approx(paired(means[0], means[1]).p)
    assert found["difference"] == pytest.approx(means[1].mean() - means[0].mean())


@pytest.mark.parametrize("experiments", [1, 2])
@pytest.mark.parametrize("crossed", [True, False])
def test_few_experiments_give_effect_sizes_and_no_p(rng, make, experiments, crossed):
    values = dishes(rng, 1, experiments, 5, dish_sd=1.0)[0]
    found = effects_of(make, values, crossed)
    assert np.isnan([found["p"], found["p_holm"], found["mixed_p"], found["statistic"]]).all()
    assert found["test"] == "none"
    assert f"{LEAST_EXPERIMENTS} are needed" in found["note"]
    assert found["effect_of"] == ("cells" if experiments == 1 else "experiments")
    assert (found["experiments_b"], found["cells_b"]) == (experiments, 5 * experiments)
    assert np.isfinite(found["difference"])
    assert np.isfinite(found["difference_low"]) == (experiments == 2)
    assert np.isfinite(found["hedges_g"]) == (experiments == 1 or not crossed)


def test_one_cell_a_condition_gives_a_difference_and_nothing_else(make):
    found = effects_of(make, np.array([[[0.2]], [[0.5]]]), False)
    assert found["difference"] == pytest.approx(0.3)
    assert (found["effect_of"], found["test"]) == ("none", "none")
    assert np.isnan([found["p"], found["hedges_g"], found["difference_low"]]).all()


def test_a_metric_that_one_condition_lacks(rng, make):
    values = dishes(rng, 1, 3, 3, dish_sd=1.0)[0]
    values[1] = np.nan
    found = effects_of(make, values, False)
    assert np.isnan([found["mean_b"], found["difference"], found["p"]]).all()
    assert "no cell" in found["note"]


def three(rng, counts, crossed=False):
    rows = []
    for name, n in zip("ABC", counts, strict=True):
        for e in range(n):
            rows += [(name, f"e{e}" if crossed else f"{name}{e}", f"cell {k}", rng.normal()) for k in range(3)]
    return rows


def test_three_conditions_are_compared_by_tukey(rng, make):
    rows = three(rng, (3, 4, 5))
    data = make.aggregates(rows)
    effects, f_tests = effects_table(data, "ABC", METRIC, False)
    groups = [data.experiments.loc[data.experiments["condition"] == c, "value"].to_numpy() for c in "ABC"]
    assert list(zip(effects["condition_a"], effects["condition_b"], strict=True)) == [
        ("A", "B"),
        ("A", "C"),
        ("B", "C"),
    ]
    assert effects["p"].tolist() == pytest.approx([float(c.p) for c in tukey(groups).values()])
    assert set(effects["test"]) == {"Tukey–Kramer"}
    assert f_tests.iloc[0]["p"] == pytest.approx(float(one_way(groups).p))
    effects, f_tests = effects_table(make.aggregates(three(rng, (4, 4, 4), True)), "ABC", METRIC, True)
    assert set(effects["test"]) == {"Tukey (blocks)"}
    assert f_tests.iloc[0]["df_within"] == 6


def test_a_condition_with_too_few_experiments_stays_out_of_the_tests(rng, make):
    effects, f_tests = effects_table(make.aggregates(three(rng, (3, 4, 1))), "ABC", METRIC, False)
    by = {(r["condition_a"], r["condition_b"]): r for r in effects.to_dict("records")}
    assert by["A", "B"]["test"] == "Welch t"
    assert np.isfinite(by["A", "B"]["p"])
    assert np.isnan(by["A", "C"]["p"])
    assert "1 experiment has" in by["A", "C"]["note"]
    assert not len(f_tests)


def test_holm_runs_across_metrics_within_a_pair(rng, make):
    one, two = make.aggregates(three(rng, (3, 3, 3)), "m"), make.aggregates(three(rng, (3, 3, 3)), "n")
    both = type(one)(one.runs, pd.concat([one.cells, two.cells]), pd.concat([one.experiments, two.experiments]))
    effects, _ = effects_table(both, "ABC", [*METRIC, Metric("n", "n", "1", "")], False)
    for _, own in effects.groupby(["condition_a", "condition_b"]):
        assert own["p_holm"].tolist() == pytest.approx(multipletests(own["p"], method="holm")[1].tolist())


def test_a_ratio_of_counts_has_the_exact_conditional_interval():
    found = count_ratio(20, 10.0, 45, 15.0)
    assert found.ratio == pytest.approx(1.5)
    share = stats.binomtest(45, 65).proportion_ci(0.95, "exact")
    assert (found.low, found.high) == pytest.approx(tuple(10 / 15 * p / (1 - p) for p in share))
    none, only = count_ratio(8, 1.0, 0, 1.0), count_ratio(0, 1.0, 8, 1.0)
    assert (none.ratio, none.low) == (0, 0)
    assert only.ratio == only.high == math.inf
    assert only.low == pytest.approx(1 / none.high)
    assert math.isnan(count_ratio(0, 1.0, 0, 1.0).ratio)
    assert math.isnan(count_ratio(3, math.nan, 2, 1.0).ratio)


def test_the_interval_of_a_ratio_holds_the_truth(rng):
    """Rates 2 apart, few counts: the exact interval holds the true ratio in at least 95 % of draws."""
    pairs = np.stack([rng.poisson(6, 600), rng.poisson(12, 600)], 1)
    found = [count_ratio(a, 1.0, b, 1.0) for a, b in pairs]
    assert np.mean([r.low <= 2 <= r.high for r in found]) > 0.94
