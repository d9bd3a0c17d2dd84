"""How often tests call a difference where there is none, with dish effects: cells as units, experiments, mixed model.

python tests/bench/compare_null.py [--studies 4000] [--fits 400]
"""

from __future__ import annotations

import argparse

import numpy as np
import pandas as pd
from cisterna.compare.mixed import mixed_model
from cisterna.compare.tests import one_way, paired, welch
from scipy import stats

DESIGNS = (
    # experiments, cells a dish, spread of dishes, of experiments (in units of the spread of cells), paired
    ("3 v 3 dishes of 10 cells, dishes as variable as cells", 3, 10, 1.0, 0.0, False),
    ("4 v 4 dishes of 20 cells, dishes as variable as cells", 4, 20, 1.0, 0.0, False),
    ("4 v 4 dishes of 20 cells, dishes a third as variable", 4, 20, 1 / 3, 0.0, False),
    ("5 days with both conditions, 10 cells a dish", 5, 10, 0.5, 1.5, True),
    ("3 days with both conditions, 10 cells a dish", 3, 10, 0.5, 1.5, True),
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=4000)
    parser.add_argument("--fits", type=int, default=400, help="studies that the mixed model is fitted to")
    args = parser.parse_args()
    rng = np.random.default_rng(0)
    for effect in (0.0, 1.5):
        rows = [(name, *rates(rng, *design, effect, args)) for name, *design in DESIGNS]
        head = ["design", "t on cells", "Welch", "F test", "paired t", "exact, fitted", "mixed model", "no fit"]
        print(f"\nshare of p < 0.05, true difference {effect:g} (spread of cells = 1)")
        print(pd.DataFrame(rows, columns=head).to_string(index=False, float_format=lambda v: f"{100 * v:.1f} %"))
    return 0


def rates(rng, experiments, cells, dish_sd, day_sd, is_paired, effect, args):
    """Shares of studies with p < 0.05 by test, the exact test also on the studies that the mixed model was fitted to.

    The last one is the share of mixed models that gave no p.
    """
    day = rng.normal(0, day_sd, (args.studies, 1, experiments, 1)) if day_sd else 0.0
    dish = rng.normal(0, dish_sd, (args.studies, 2, experiments, 1))
    values = rng.normal(size=(args.studies, 2, experiments, cells)) + day + dish
    values[:, 1] += effect
    flat, (a, b) = values.reshape(args.studies, 2, -1), np.moveaxis(values.mean(-1), 1, 0)
    naive = stats.ttest_ind(flat[:, 0], flat[:, 1], axis=-1).pvalue
    together = paired(a, b).p if is_paired else np.full(1, np.nan)
    fitted = np.array([model_p(v, is_paired) for v in values[: args.fits]])
    same = one_way([a[: args.fits], b[: args.fits]]).p if not is_paired else together[: args.fits]
    tests = (naive, welch(a, b).p, one_way([a, b]).p, together, same, fitted[np.isfinite(fitted)])
    shares = [float(np.mean(p < 0.05)) if np.isfinite(p).any() else np.nan for p in tests]
    return (*shares, float(np.mean(~np.isfinite(fitted))))


def model_p(values, is_paired):
    rows = [("ab"[c], f"{'' if is_paired else c}{e}", values[c, e, k]) for c, e, k in np.ndindex(values.shape)]
    table = pd.DataFrame(rows, columns=["condition", "experiment", "value"])
    return mixed_model(table, [("a", "b")])["a", "b"].p


if __name__ == "__main__":
    raise SystemExit(main())
