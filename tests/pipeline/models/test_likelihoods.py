"""Likelihoods against torch.distributions, numerical integration and numerical minimisation."""

import math

import numpy as np
import pytest
import torch
from torch.distributions import ContinuousBernoulli as TorchsContinuousBernoulli
from torch.distributions import Normal

from pipeline.models.likelihoods import (
    BERNOULLI,
    GREY_LEVEL,
    ContinuousBernoulli,
    Gaussian,
    bernoulli_bce,
    likelihood_of,
    log_normaliser,
)

DENSITIES = ("continuous_bernoulli", "gaussian")
NAMES = ("bernoulli", *DENSITIES)
# On both sides of every place where a formula gives way to another.
LOGITS = [-300.0, -30.0, -3.0, -0.1001, -0.0999, -1e-3, 0.0, 1e-6, 0.0999, 0.1001, 0.5, 4.0, 60.0, 255.0]


def test_a_continuous_bernoulli_is_torchs(generator):
    logits = 4 * torch.randn(6, 9, generator=generator, dtype=torch.float64)
    x = torch.rand(6, 9, generator=generator, dtype=torch.float64)
    own = ContinuousBernoulli()
    theirs = TorchsContinuousBernoulli(logits=logits)
    torch.testing.assert_close(own.nll(logits, x), -theirs.log_prob(x).sum(-1), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(own.mean(logits), theirs.mean, rtol=1e-5, atol=1e-5)


def test_a_gaussian_is_torchs(generator):
    logits, x = torch.randn(6, 9, generator=generator), torch.rand(6, 9, generator=generator)
    own = Gaussian(0.2)
    torch.testing.assert_close(own.nll(logits, x), -Normal(logits.sigmoid(), 0.2).log_prob(x).sum(-1))
    assert torch.equal(own.mean(logits), logits.sigmoid())


@pytest.mark.parametrize("logit", LOGITS)
def test_a_continuous_bernoulli_integrates_to_one_and_has_its_mean(logit):
    own = ContinuousBernoulli()
    # Gauss-Legendre on pieces that become narrow towards the ends, where the density of a large logit is.
    edges = torch.cat([torch.zeros(1), torch.logspace(-6, math.log10(0.5), 40)]).double()
    edges = torch.cat([edges, 1 - edges.flip(0)[1:]])
    nodes, weights = map(torch.from_numpy, np.polynomial.legendre.leggauss(12))
    half = edges.diff()[:, None] / 2
    x = (edges[:-1, None] + half * (1 + nodes)).flatten()
    density = (-own.nll(torch.full((len(x), 1), logit).double(), x[:, None])).exp()
    mass = density * (half * weights).flatten()
    assert float(mass.sum()) == pytest.approx(1, abs=1e-6)
    assert float((mass * x).sum()) == pytest.approx(float(own.mean(torch.tensor([logit]).double())), abs=1e-6)


def test_the_normaliser_is_smooth_where_its_series_takes_over():
    around = torch.tensor([0.0999999, 0.1000001], dtype=torch.float64)
    for side in (around, -around):
        assert float(log_normaliser(side).diff().abs()) < 1e-7
    assert float(log_normaliser(torch.zeros(()))) == pytest.approx(math.log(2))
    logits = torch.tensor(LOGITS, requires_grad=True)
    (gradient,) = torch.autograd.grad(log_normaliser(logits).sum(), logits)
    assert gradient.isfinite().all()


@pytest.mark.parametrize("name", NAMES)
def test_gradients_are_those_of_differences(name, generator):
    own = likelihood_of(name)
    if isinstance(own, Gaussian):
        own = own.double()
    logits = 2 * torch.randn(3, 7, generator=generator, dtype=torch.float64)
    logits[0, :3] = torch.tensor([0.0, 0.05, -0.05])
    x = torch.rand(3, 7, generator=generator, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda given: own.nll(given, x), logits.requires_grad_())


@pytest.mark.parametrize("name", NAMES)
def test_no_logits_and_no_sigma_go_below_the_floor_and_some_reach_it(name, generator):
    x = torch.tensor([[0.0, 1 / 255, 0.3, 0.5, 0.99, 1.0]], dtype=torch.float64)
    own = likelihood_of(name)
    floor = float(own.floor(x))
    candidates = torch.linspace(-400, 400, 160_001, dtype=torch.float64)[:, None]
    if isinstance(own, Gaussian):
        for sigma in (1e-9, GREY_LEVEL, 0.1, 1.0):
            assert Gaussian(sigma).double().nll(x.clamp(1e-9, 1 - 1e-9).logit(), x).item() >= floor - 1e-6
        least = Gaussian(GREY_LEVEL).double().nll(x.clamp(1e-9, 1 - 1e-9).logit(), x).item()
    else:
        least = float(torch.stack([own.nll(candidates, value.expand_as(candidates)) for value in x[0]]).amin(1).sum())
        assert least >= floor - 1e-9
    assert least == pytest.approx(floor, abs=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_means_are_those_asked_for_as_far_as_a_grey_level_allows(name):
    means = torch.tensor([1e-6, 0.01, 0.2, 0.5, 0.7, 1 - 1e-6], dtype=torch.float64)
    own, logits = likelihood_of(name).of_means(means, 0.3)
    torch.testing.assert_close(own.mean(logits), means, rtol=0, atol=1.01 * GREY_LEVEL)
    torch.testing.assert_close(own.mean(logits)[1:-1], means[1:-1])


def test_a_bernoulli_decoder_is_what_it_was(generator):
    logits, x = torch.randn(4, 9, generator=generator), torch.rand(4, 9, generator=generator)
    assert torch.equal(BERNOULLI.nll(logits, x), bernoulli_bce(logits, x))


@pytest.mark.parametrize("name", DENSITIES)
def test_means_and_terms_are_finite_at_logits_that_a_diverging_decoder_has(name):
    own, logits = likelihood_of(name), torch.tensor([[-1e30, -1e3, 1e3, 1e30]])
    x = torch.tensor([[0.0, 1.0, 0.0, 1.0]])
    assert own.nll(logits, x).isfinite().all()
    assert ((own.mean(logits) >= 0) & (own.mean(logits) <= 1)).all()
