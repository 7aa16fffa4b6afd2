"""Statistics over runs against scipy."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from pipeline.evaluation import statistics as spread

numbers = st.lists(st.floats(-1e6, 1e6, allow_subnormal=False), min_size=2, max_size=8)


@given(numbers)
def test_the_interval_is_that_of_a_t_test(values):
    expected = stats.ttest_1samp(values, 0).confidence_interval(0.95) if len(set(values)) > 1 else (values[0],) * 2
    assert spread.t_interval(values) == pytest.approx(tuple(expected), rel=1e-6, abs=1e-6)


def test_one_value_has_no_deviation_and_an_interval_without_end():
    assert spread.deviation([3.0]) == 0.0
    assert spread.t_interval([3.0]) == (-math.inf, math.inf)


def test_slopes_are_fitted_within_each_seed_in_any_order():
    rng = np.random.default_rng(0)
    x = [0.1, 1.0, 10.0] * 3
    seeds = [7] * 3 + [5] * 3 + [9] * 3
    y = rng.normal(size=9).tolist()
    expected = [stats.linregress(np.log(x[:3]), y[i : i + 3]).slope for i in (3, 0, 6)]
    order = rng.permutation(9)
    shuffled = ([values[i] for i in order] for values in (x, y, seeds))
    assert spread.slopes(*shuffled, log=True) == pytest.approx(expected)


def test_ranks_do_not_see_a_monotone_change_of_scale():
    x, y = [0.1, 0.5, 2.0, 9.0, 3.0], [1.0, 0.9, 0.4, 0.5, 0.2]
    assert spread.rank_correlation(x, y)[0] == pytest.approx(spread.rank_correlation(np.log(x).tolist(), y)[0])
    assert spread.rank_correlation(x, np.exp(x).tolist())[0] == pytest.approx(1)
    assert spread.rank_correlation(x, [1.0] * 5) == (0.0, 1.0)
