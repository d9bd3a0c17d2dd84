"""A linear mixed model on cells, beside the test on experiment means."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from cisterna.compare.tests import LEVEL

NO_CONVERGENCE = "the mixed model did not converge: read the test on experiment means"
AT_ZERO = (
    "variance between experiments estimated at zero, so cells count as independent: read the test on experiment means"
)


@dataclass(frozen=True)
class Mixed:
    """b − a as the mixed model estimates it; `between_share` is the share of variance that lies between dishes."""

    difference: float
    low: float
    high: float
    p: float
    df: float
    between_share: float
    note: str


def nothing(note: str) -> Mixed:
    return Mixed(math.nan, math.nan, math.nan, math.nan, math.nan, math.nan, note)


def mixed_model(
    cells: pd.DataFrame, pairs: Sequence[tuple[str, str]], level: float = LEVEL
) -> dict[tuple[str, str], Mixed]:
    """value ~ condition with a random intercept by experiment, by REML; `cells` has condition, experiment, value.

    Where experiments hold several conditions, each (experiment, condition), the dish, is a second random intercept
    within the experiment: cells of one dish stay correlated. statsmodels offers neither Satterthwaite's nor
    Kenward–Roger's degrees of freedom; intervals and p take t with the between–within count instead: experiments −
    conditions where each experiment holds one condition, else dishes − experiments − conditions + 1. On balanced data
    these are the exact ones.
    """
    conditions = list(dict.fromkeys(cells["condition"]))
    dish = cells["experiment"] + "\x00" + cells["condition"]
    experiments, dishes = cells["experiment"].nunique(), dish.nunique()
    crossed = dishes > experiments
    df = dishes - experiments - len(conditions) + 1 if crossed else experiments - len(conditions)
    if df < 1:
        return dict.fromkeys(pairs, nothing("too few experiments for a mixed model"))
    if len(cells) <= dishes:
        return dict.fromkeys(pairs, nothing("one cell a dish: a mixed model has nothing to add"))
    scale = float(cells["value"].std())
    if not scale > 1e-12 * max(float(cells["value"].abs().max()), 1e-300):
        return dict.fromkeys(pairs, nothing("all cells agree: there is no variance to model"))
    data = pd.DataFrame(
        {
            "value": (cells["value"] - cells["value"].mean()) / scale,
            "experiment": cells["experiment"].to_numpy(),
            "dish": dish.to_numpy(),
        }
    )
    design = np.column_stack([np.ones(len(data)), *((cells["condition"] == c) for c in conditions[1:])]).astype(float)
    fitted, note = _fit(data, design, crossed)
    if fitted is None:
        return dict.fromkeys(pairs, nothing(note))
    estimate = np.asarray(fitted.fe_params, float)
    covariance = np.asarray(fitted.cov_params(), float)[: len(estimate), : len(estimate)]
    between = float(np.sum(fitted.cov_re)) + float(np.sum(fitted.vcomp))
    share = between / (between + float(fitted.scale))
    if share < 1e-4:
        note = AT_ZERO
    found = {}
    for a, b in pairs:
        if a not in conditions or b not in conditions:
            found[a, b] = nothing("no cell has this metric")
            continue
        weights = np.zeros(len(estimate))
        for name, sign in ((a, -1.0), (b, 1.0)):
            if conditions.index(name):
                weights[conditions.index(name)] += sign
        difference, error = float(weights @ estimate), math.sqrt(max(float(weights @ covariance @ weights), 0.0))
        if not error > 0 or not math.isfinite(error):
            found[a, b] = nothing(NO_CONVERGENCE)
            continue
        half = float(stats.t.ppf(0.5 + level / 2, df)) * error
        p = 2 * float(stats.t.sf(abs(difference) / error, df))
        ends = ((difference - half) * scale, (difference + half) * scale)
        found[a, b] = Mixed(difference * scale, *ends, p, float(df), share, note)
    return found


def _fit(data: pd.DataFrame, design: np.ndarray, crossed: bool):  # type: ignore[no-untyped-def]
    from statsmodels.regression.mixed_linear_model import MixedLM, VCSpec

    components = None
    if crossed:
        names, matrices = [], []
        for _, own in data.groupby("experiment", sort=True):
            levels = sorted(own["dish"].unique())
            matrices.append((own["dish"].to_numpy()[:, None] == np.array(levels)[None]).astype(float))
            names.append(levels)
        components = VCSpec(["dish"], [names], [matrices])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what they say is read off the result below
        for method in (["powell"], ["nm"], ["bfgs"]):
            try:
                intercept = np.ones((len(data), 1))  # once a dish is given, statsmodels leaves it out by itself
                groups = data["experiment"].to_numpy()
                model = MixedLM(data["value"].to_numpy(), design, groups, exog_re=intercept, exog_vc=components)
                fitted = model.fit(reml=True, method=method)
            except (np.linalg.LinAlgError, ValueError):
                continue
            # lbfgs, statsmodels' default, claims success at a singular point in every second fit: its likelihood tells.
            if fitted.converged and np.isfinite([fitted.llf, *fitted.fe_params, *fitted.bse_fe]).all():
                return fitted, ""
    return None, NO_CONVERGENCE
