"""Rates and intervals against published values and scipy."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pipeline.evaluation.metrics.rates import conditional_accuracy, expected_calibration_error, wilson_interval


@pytest.mark.parametrize(
    ("hits", "n", "low", "high"),
    [(9700, 10000, 0.9665, 0.9732), (970, 1000, 0.9575, 0.9789), (1000, 1000, 0.9962, 1.0)],
)
def test_wilson_interval_of_known_counts(hits, n, low, high):
    assert wilson_interval(hits, n) == pytest.approx((low, high), abs=5e-5)


@given(st.integers(1, 5000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_interval_agrees_with_scipy_and_holds_the_rate(counts):
    from scipy.stats import binomtest

    hits, n = counts
    low, high = wilson_interval(hits, n)
    assert (low, high) == pytest.approx(tuple(binomtest(hits, n).proportion_ci(method="wilson")), abs=1e-6)
    assert 0 <= low <= hits / n <= high <= 1


def test_wilson_interval_at_no_hits_and_all_hits_ends_exactly():
    assert wilson_interval(0, 7)[0] == 0
    assert wilson_interval(7, 7)[1] == 1


def test_conditional_accuracy_of_a_small_example():
    labels = torch.tensor([0, 0, 1, 1, 1, 1, 2, 2])
    predicted = torch.tensor([0, 1, 1, 1, 1, 0, 2, 2])
    scores = conditional_accuracy(predicted, labels, classes=3)
    assert scores.per_class == [0.5, 0.75, 1.0]
    assert scores.macro == 0.75
    assert (scores.worst_class, scores.worst_label) == (0.5, 0)
    assert scores.confusion == [[1, 1, 0], [1, 3, 0], [0, 0, 2]]
    assert scores.interval == wilson_interval(6, 8)
    assert scores.intervals_per_class == [wilson_interval(1, 2), wilson_interval(3, 4), wilson_interval(2, 2)]


def test_macro_accuracy_weighs_classes_not_images():
    labels = torch.tensor([0] * 99 + [1])
    scores = conditional_accuracy(torch.zeros(100, dtype=torch.long), labels, classes=2)
    assert scores.macro == 0.5


def test_confusion_agrees_with_scikit_learn(generator):
    from sklearn.metrics import confusion_matrix

    labels, predicted = torch.arange(500) % 10, torch.randint(10, (500,), generator=generator)
    scores = conditional_accuracy(predicted, labels, classes=10)
    assert scores.confusion == confusion_matrix(labels.numpy(), predicted.numpy()).tolist()


def test_guessing_scores_chance(generator):
    labels = torch.arange(10).repeat_interleave(1000)
    low, high = conditional_accuracy(torch.randint(10, (10_000,), generator=generator), labels, classes=10).interval
    assert low < 0.1 < high


def test_cyclic_label_shift_scores_zero():
    labels = torch.arange(10).repeat_interleave(5)
    assert conditional_accuracy(labels, (labels + 1) % 10, classes=10).macro == 0


def test_calibration_error_of_known_confidences():
    # Confidence 0.9 four times, right three times; confidence 0.6 twice, right twice.
    p = torch.tensor([0.9, 0.9, 0.9, 0.9, 0.6, 0.6])
    logits = torch.stack([p, 1 - p], dim=1).log()
    labels = torch.tensor([0, 0, 0, 1, 0, 0])
    assert expected_calibration_error(logits, labels) == pytest.approx((4 * 0.15 + 2 * 0.4) / 6, abs=1e-6)


def test_calibration_gaps_of_different_bins_do_not_cancel():
    p = torch.tensor([[0.4, 0.3, 0.3], [0.6, 0.2, 0.2]])  # the first right, the second wrong
    assert expected_calibration_error(p.log(), torch.tensor([0, 1]), bins=2) == pytest.approx(0.6)


def test_calibration_error_agrees_with_torchmetrics(generator):
    from torchmetrics.functional.classification import multiclass_calibration_error

    logits, labels = 2 * torch.randn(2000, 10, generator=generator), torch.randint(10, (2000,), generator=generator)
    expected = multiclass_calibration_error(logits, labels, num_classes=10, n_bins=15, norm="l1")
    assert expected_calibration_error(logits, labels) == pytest.approx(expected.item(), abs=1e-5)


def test_calibration_error_of_labels_drawn_from_the_predictions_is_small(generator):
    logits = 2 * torch.randn(50_000, 10, generator=generator)
    labels = torch.multinomial(logits.softmax(-1), 1, generator=generator)[:, 0]
    assert expected_calibration_error(logits, labels) < 0.01
