"""The area under the ROC curve against scikit-learn, and its interval against what it promises."""

import pytest
import torch
from sklearn.metrics import roc_auc_score

from pipeline.evaluation.metrics.auroc import auroc, auroc_interval


def test_the_area_is_scikit_learns_ties_included(generator):
    for _ in range(20):
        negative = torch.randint(8, (50,), generator=generator).float()
        positive = torch.randint(10, (30,), generator=generator).float()
        truth = [0] * 50 + [1] * 30
        assert auroc(negative, positive) == pytest.approx(roc_auc_score(truth, torch.cat([negative, positive]).numpy()))


def test_apart_alike_and_reversed():
    low, high = torch.arange(5.0), torch.arange(10.0, 14.0)
    assert (auroc(low, high), auroc(high, low), auroc(low, low)) == (1.0, 0.0, 0.5)


@pytest.mark.parametrize("area", [0.0, 0.2, 0.5, 0.97, 1.0])
def test_the_interval_holds_the_area_stays_in_the_unit_and_is_symmetric_in_what_is_which(area):
    low, high = auroc_interval(area, 100, 40)
    assert 0 <= low <= area <= high <= 1
    assert low < high
    mirrored = auroc_interval(1 - area, 100, 40)
    assert mirrored == pytest.approx((1 - high, 1 - low))


def test_more_images_make_it_narrower():
    widths = [high - low for low, high in (auroc_interval(0.8, n, n) for n in (20, 200, 2000))]
    assert widths == sorted(widths, reverse=True)
    assert widths[0] / widths[2] == pytest.approx(10, rel=0.15)


@pytest.mark.parametrize("apart", [0.0, 1.0, 2.5])
def test_95_of_100_intervals_hold_the_true_area(apart, generator):
    """Two normals a distance apart: the true area is Phi(d / sqrt 2)."""
    truth = float(torch.special.ndtr(torch.tensor(apart / 2**0.5)))
    held, draws = 0, 600
    for _ in range(draws):
        negative = torch.randn(60, generator=generator)
        positive = torch.randn(40, generator=generator) + apart
        low, high = auroc_interval(auroc(negative, positive), 60, 40)
        held += low <= truth <= high
    assert 0.92 <= held / draws <= 0.99
