"""What an objective is worth in nats, against prices worked out by hand."""

import numpy as np
import pytest

from sweeps.analysis.choice import Front
from sweeps.analysis.exchange import exchanges
from sweeps.study.objective import chosen

OBJECTIVES = chosen((), "cvae", "standard")
RANGES = ((0.1, 0.995), (0.0, 1.0), (170.0, 50.0))


def prices(values, trial=0, objectives=OBJECTIVES, ranges=RANGES):
    front = Front(tuple(range(len(values))), np.array(values), objectives, ranges)
    return {e.objective.name: e for e in exchanges(front, trial)}


def test_on_the_ranges_a_tenth_of_coverage_is_a_tenth_of_all_nats():
    found = prices([[0.9, 0.9, 100.0]])
    assert found["coverage_relative"].by_range == pytest.approx(12.0)
    assert found["conditional_accuracy"].by_range == pytest.approx(0.01 / 0.895 * 120)
    assert found["coverage_relative"].more is None
    assert found["coverage_relative"].less is None


def test_the_cheapest_seller_and_the_best_payer_make_the_price():
    #      the choice         +.05 for 2 nats     +.08 for 8          -.2 saves 4         -.1 saves 1
    values = [[0.9, 0.9, 100.0], [0.9, 0.95, 102.0], [0.9, 0.98, 108.0], [0.9, 0.7, 96.0], [0.9, 0.8, 99.0]]
    coverage = prices(values)["coverage_relative"]
    assert (coverage.more.trial, coverage.more.nats) == (1, pytest.approx(4.0))
    assert (coverage.less.trial, coverage.less.nats) == (3, pytest.approx(2.0))
    assert coverage.prices == {"range": pytest.approx(12), "more": pytest.approx(4), "less": pytest.approx(2)}


def test_what_lies_beyond_real_images_cannot_be_bought():
    assert prices([[0.9, 1.0, 100.0], [0.9, 1.2, 105.0]])["coverage_relative"].more is None


def test_without_an_objective_in_nats_nothing_has_a_price_in_nats():
    two = chosen(("conditional_accuracy", "coverage_relative"), "cvae", "standard")
    assert prices([[0.9, 0.9], [0.8, 1.0]], objectives=two, ranges=RANGES[:2]) == {}
