"""Statistics over runs against scipy, against all orders there are, and by simulation of what they promise."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from pipeline.evaluation import statistics as spread

numbers = st.lists(st.floats(-1e6, 1e6, allow_subnormal=False), min_size=3, max_size=8)


@given(numbers)
def test_the_interval_is_that_of_a_t_test(values):
    expected = stats.ttest_1samp(values, 0).confidence_interval(0.95) if len(set(values)) > 1 else (values[0],) * 2
    assert spread.t_interval(values) == pytest.approx(tuple(expected), rel=1e-6, abs=1e-6)


def test_one_value_has_no_deviation_and_fewer_than_three_have_no_interval():
    assert math.isnan(spread.deviation([3.0]))
    for values in ([3.0], [3.0, 4.0]):
        assert spread.t_interval(values) == (-math.inf, math.inf)
        assert spread.t_interval(values, share=True) == (-math.inf, math.inf)


@given(st.lists(st.floats(0, 1), min_size=3, max_size=6))
def test_the_interval_of_a_share_stays_within_0_and_1(values):
    low, high = spread.t_interval(values, share=True)
    assert 0 <= low <= high <= 1
    mirrored = spread.t_interval([1 - v for v in values], share=True)
    assert mirrored == pytest.approx((1 - high, 1 - low), abs=1e-6)


@pytest.mark.parametrize(("truth", "sd", "images"), [(0.995, 0.003, 2000), (0.998, 0.001, 2000), (0.9, 0.01, 10_000)])
def test_the_interval_of_a_share_near_1_covers_what_it_says(truth, sd, images):
    rng = np.random.default_rng(0)
    size = truth * (1 - truth) / sd**2 - 1  # of a beta distribution with this mean and deviation
    rates = rng.binomial(images, rng.beta(truth * size, (1 - truth) * size, (2000, 3))) / images
    ends = [spread.t_interval(row, share=True) for row in rates.tolist()]
    assert np.mean([low <= truth <= high for low, high in ends]) == pytest.approx(0.95, abs=0.02)


# ---- over seeds and judges


def test_one_judge_is_the_interval_over_seeds_and_equal_judges_hardly_change_it():
    seeds = np.array([[0.7], [0.8], [0.95]])
    alone = spread.t_interval(seeds[:, 0].tolist())
    assert spread.crossed_interval(seeds) == alone
    assert spread.crossed_interval(np.tile(seeds, 3)) == pytest.approx(alone)
    assert spread.crossed_interval(np.tile(seeds, 3).T) == pytest.approx(alone), (
        "judges that differ, models that do not"
    )
    assert spread.crossed_interval(np.full((3, 3), 0.5)) == pytest.approx((0.5, 0.5))
    assert spread.crossed_interval(np.tile(seeds[:2], 3)) == (-math.inf, math.inf)


@pytest.mark.parametrize(("by_seed", "by_judge", "rest"), [(1.0, 1.0, 0.3), (0.1, 1.0, 0.1), (1.0, 0.1, 0.1)])
def test_an_interval_over_seeds_and_judges_covers_the_truth_of_both(by_seed, by_judge, rest):
    rng = np.random.default_rng(1)
    covered, seeds_alone = [], []
    for _ in range(1500):
        table = 5 + rng.normal(0, by_seed, (3, 1)) + rng.normal(0, by_judge, (1, 3)) + rng.normal(0, rest, (3, 3))
        low, high = spread.crossed_interval(table)
        covered.append(low <= 5 <= high)
        low, high = spread.t_interval(table[:, 0].tolist())
        seeds_alone.append(low <= 5 <= high)
    assert np.mean(covered) > 0.935
    if by_judge > by_seed:
        assert np.mean(seeds_alone) < 0.5, "the interval over seeds knows nothing of the judge"


# ---- ranks, and several questions at once


def test_ranks_do_not_see_a_monotone_change_of_scale():
    x, y = [0.1, 0.5, 2.0, 9.0, 3.0], [1.0, 0.9, 0.4, 0.5, 0.2]
    assert spread.rank_correlation(x, y)[0] == pytest.approx(spread.rank_correlation(np.log(x).tolist(), y)[0])
    assert spread.rank_correlation(x, np.exp(x).tolist())[0] == pytest.approx(1)
    assert spread.rank_correlation(x, [1.0] * 5) == (0.0, 1.0)


def test_four_trials_in_perfect_order_are_two_orders_of_twenty_four():
    assert spread.rank_correlation([1, 2, 3, 4], [10, 20, 30, 40]) == (pytest.approx(1), pytest.approx(2 / 24))
    assert spread.rank_correlation([1, 2, 3, 4], [4, 3, 2, 1])[1] == pytest.approx(2 / 24)


@settings(max_examples=40)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=3, max_size=5))
def test_below_ten_pairs_the_p_value_counts_the_orders(pairs):
    x, y = (list(map(float, values)) for values in zip(*pairs, strict=True))
    found, p = spread.rank_correlation(x, y)
    if len(set(x)) < 2 or len(set(y)) < 2:
        assert (found, p) == (0, 1)
        return
    orders = [stats.spearmanr(x, order).statistic for order in itertools.permutations(y)]
    assert p == pytest.approx(np.mean(np.abs(orders) >= abs(found) - 1e-9))


def test_adjusted_p_values_are_holms():
    assert spread.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])  # Holm 1979
    assert spread.holm([0.5, 0.9]) == [1, 1]
    assert spread.holm([]) == []


def test_noise_gives_a_false_verdict_on_any_of_four_correlations_in_5_percent():
    rng = np.random.default_rng(2)
    wrong = []
    for n in (4, 7, 12, 30):
        for _ in range(250):
            x = rng.normal(size=n).tolist()
            p = [spread.rank_correlation(x, rng.normal(size=n).tolist())[1] for _ in range(4)]
            wrong.append(min(spread.holm(p)) < 0.05)
    assert np.mean(wrong) <= 0.06


# ---- shapes


def shape_of(table, *, flat=0.02, questions=1):
    table = np.asarray(table, dtype=float)
    return spread.shape(spread.all_steps(table, questions=questions), table.mean(0).tolist(), flat=flat)


def noisy(means, *, seeds=5, sd=0.01, seed=0):
    return np.asarray(means) + np.random.default_rng(seed).normal(0, sd, (seeds, len(means)))


@pytest.mark.parametrize(
    ("means", "verdict"),
    [
        ([0.1, 0.3, 0.5, 0.7], "rises"),
        ([0.7, 0.5, 0.5, 0.1], "falls"),
        ([0.4, 0.9, 0.95, 0.74], "rises then falls"),  # a line through it rises
        ([0.9, 0.5, 0.4, 0.8], "falls then rises"),
        ([0.1, 0.9, 0.1, 0.9], "turns more than once"),
        ([0.5, 0.5, 0.5, 0.5], "undecided"),
    ],
)
def test_a_verdict_is_about_a_shape(means, verdict):
    assert shape_of(noisy(means)).verdict == verdict


def test_a_peak_is_between_the_values_that_are_not_certainly_below_it():
    assert shape_of(noisy([0.1, 0.5, 0.9, 0.5, 0.1])).turn == (2, 2)
    assert shape_of(noisy([0.1, 0.895, 0.9, 0.893, 0.1])).turn == (1, 3)
    assert shape_of(noisy([0.9, 0.1, 0.9])).turn == (1, 1)


def test_flat_is_said_only_of_what_is_known_to_be_flat():
    found = shape_of(noisy([0.5] * 4, sd=0.0005))
    assert found.verdict == "flat"
    assert 0.0001 < found.within < 0.02
    assert shape_of(noisy([0.5] * 4, sd=0.1)).verdict == "undecided"
    constant = shape_of(np.full((4, 3), 97.123456))
    assert (constant.verdict, constant.within) == ("flat", pytest.approx(0, abs=1e-9))


def test_two_seeds_decide_nothing():
    assert shape_of([[0.0, 1.0, 2.0], [0.0, 1.0, 2.0]]).verdict == "undecided"
    assert shape_of([[0.0, 1.0, 2.0]]).verdict == "undecided"


@pytest.mark.parametrize("noise", [(1, 1, 1, 1, 1, 1), (5, 2, 1, 1, 1, 0.2)])
def test_noise_gives_a_false_shape_to_any_of_eleven_metrics_in_5_percent(noise):
    rng = np.random.default_rng(3)
    wrong = []
    for _ in range(200):
        tables = [rng.normal(size=(4, 6)) * noise + rng.normal(size=(4, 1)) for _ in range(11)]
        wrong.append(any(s.direction for t in tables for s in spread.all_steps(t, questions=11)))
    assert np.mean(wrong) <= 0.06


def test_a_step_is_welchs_interval_at_the_shared_level():
    table = noisy([0.2, 0.7], sd=0.1)
    [step] = spread.all_steps(table)
    expected = stats.ttest_ind(table[:, 1], table[:, 0], equal_var=False).confidence_interval(0.95)
    assert (step.low, step.high) == pytest.approx(tuple(expected))
    [wider] = spread.all_steps(table, questions=5)
    expected = stats.ttest_ind(table[:, 1], table[:, 0], equal_var=False).confidence_interval(0.99)
    assert (wider.low, wider.high) == pytest.approx(tuple(expected))
