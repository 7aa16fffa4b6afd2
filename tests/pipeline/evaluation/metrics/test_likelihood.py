"""Importance-weighted bounds against quadrature, closed forms and laws."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.distributions import Bernoulli, Normal

from pipeline.evaluation.metrics.likelihood import StreamingLogMeanExp, elbo_summary, iwae_nll, log_importance_weights
from pipeline.models.likelihoods import bernoulli_bce
from pipeline.models.losses import gaussian_kl


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_weights_agree_with_torch_distributions(generator):
    mu, logvar = torch.randn(2, 5, 3, generator=generator)
    z, logits = torch.randn(4, 5, 3, generator=generator), torch.randn(4, 5, 9, generator=generator)
    x = torch.randint(2, (5, 9), generator=generator).float()
    expected = (
        Bernoulli(logits=logits).log_prob(x).sum(-1)
        + Normal(0.0, 1.0).log_prob(z).sum(-1)
        - Normal(mu, (0.5 * logvar).exp()).log_prob(z).sum(-1)
    )
    torch.testing.assert_close(log_importance_weights(logits, x, z, mu, logvar), expected)


@pytest.mark.parametrize("draws", [1, 3, 500])
def test_a_decoder_that_ignores_z_with_the_prior_as_q_gives_neg_elbo_for_every_k(draws):
    x, logits = torch.rand(6, 20, generator=torch.Generator().manual_seed(0)).double(), normal(6, 20)
    mu = logvar = torch.zeros(6, 4, dtype=torch.float64)
    weights = log_importance_weights(logits.expand(draws, 6, 20), x, normal(draws, 6, 4, seed=1), mu, logvar)
    torch.testing.assert_close(iwae_nll(weights), bernoulli_bce(logits, x) + gaussian_kl(mu, logvar))


def linear_gaussian(weight=1.5, noise=0.7, draws=200):
    """z ~ N(0, 1), x|z ~ N(w z, s^2): log weights under a q of choice, and the exact -log p(x)."""
    x = normal(8, seed=3) * 2
    variance = 1 / (1 + weight**2 / noise**2)
    posterior = variance * weight / noise**2 * x, variance**0.5

    def log_weights(mu, sigma):
        z = mu + sigma * normal(draws, 8, seed=4)
        return Normal(weight * z, noise).log_prob(x) + Normal(0.0, 1.0).log_prob(z) - Normal(mu, sigma).log_prob(z)

    exact = -Normal(0.0, (weight**2 + noise**2) ** 0.5).log_prob(x)
    return log_weights, posterior, exact


@pytest.mark.parametrize("draws", [1, 50])
def test_with_the_exact_posterior_of_a_linear_gaussian_model_every_draw_gives_log_p(draws):
    log_weights, posterior, exact = linear_gaussian(draws=draws)
    torch.testing.assert_close(iwae_nll(log_weights(*posterior)), exact)


def test_with_a_wrong_q_the_bound_closes_in_on_log_p_as_k_grows():
    log_weights, (mu, sigma), exact = linear_gaussian(draws=100_000)
    weights = log_weights(mu + 0.5, 1.2 * sigma)
    torch.testing.assert_close(iwae_nll(weights), exact, atol=0.02, rtol=0)
    assert (-weights.mean(0) > exact + 0.1).all()  # the ELBO does not


def test_bernoulli_decoder_of_one_latent_dimension_agrees_with_quadrature(generator):
    slope, intercept = normal(12, seed=1), normal(12, seed=2)
    x = torch.randint(2, (5, 12), generator=generator).double()
    mu, logvar = 0.3 * normal(5, 1, seed=3), torch.full((5, 1), -0.5, dtype=torch.float64)

    nodes, weights = (torch.from_numpy(a) for a in np.polynomial.hermite_e.hermegauss(80))
    log_likelihood = -bernoulli_bce((nodes[:, None, None] * slope + intercept).expand(80, 5, 12), x.expand(80, 5, 12))
    exact = -(log_likelihood + (weights / math.sqrt(2 * math.pi)).log()[:, None]).logsumexp(0)

    z = mu + (0.5 * logvar).exp() * normal(50_000, 5, 1, seed=5)
    bound = iwae_nll(log_importance_weights(z * slope + intercept, x, z, mu, logvar))
    torch.testing.assert_close(bound, exact, atol=0.02, rtol=0)


def test_one_draw_averages_to_the_negative_elbo():
    mu, logvar = normal(5, 3, seed=1), 0.3 * normal(5, 3, seed=2)
    x, logits = torch.full((5, 4), 0.3, dtype=torch.float64), normal(5, 4)
    z = mu + (0.5 * logvar).exp() * normal(40_000, 5, 3)
    weights = log_importance_weights(logits.expand(40_000, 5, 4), x, z, mu, logvar)
    torch.testing.assert_close(-weights.mean(0), bernoulli_bce(logits, x) + gaussian_kl(mu, logvar), atol=0.04, rtol=0)


@given(st.integers(0, 2**31), st.integers(1, 20), st.floats(0, 300))
def test_the_bound_tightens_with_k(seed, half, spread):
    # Holds for any weights, not only on average: log mean exp is above the mean of the logs of its halves.
    weights = spread * normal(2 * half, 3, seed=seed)
    halves = (iwae_nll(weights[:half]) + iwae_nll(weights[half:])) / 2
    assert (iwae_nll(weights) <= halves + 1e-9).all()


@given(st.integers(0, 2**31), st.lists(st.integers(1, 30), min_size=1, max_size=6))
def test_streaming_over_chunks_of_any_size_gives_the_same_bound(seed, sizes):
    weights = 100 * normal(sum(sizes), 4, seed=seed) - 500
    stream = StreamingLogMeanExp()
    for chunk in weights.split(sizes):
        stream.update(chunk)
    assert stream.draws == sum(sizes)
    torch.testing.assert_close(-stream.value(), iwae_nll(weights))


def test_streaming_keeps_weights_that_would_underflow():
    stream = StreamingLogMeanExp()
    for _ in range(50):
        stream.update(torch.full((100, 2), -5000.0))
    torch.testing.assert_close(stream.value(), torch.full((2,), -5000.0, dtype=torch.float64))


def test_elbo_summary_of_a_small_example():
    bce = torch.tensor([[10.0, 20.0, 30.0], [12.0, 22.0, 32.0]])  # 2 draws of 3 images
    summary = elbo_summary(bce, torch.tensor([1.0, 2.0, 3.0]), torch.tensor([5.0, 5.0, 5.0]))
    assert (summary.bce, summary.kl, summary.neg_elbo, summary.excess_bce) == (21, 2, 23, 16)
    assert summary.neg_elbo_sem == pytest.approx(11 / 3**0.5)


def test_standard_error_counts_images_not_draws():
    bce = normal(1, 1000) * 10 + 100
    kl, floor = torch.zeros(1000), torch.zeros(1000)
    once, copied = elbo_summary(bce, kl, floor), elbo_summary(bce.expand(5, 1000), kl, floor)
    assert copied.neg_elbo_sem == pytest.approx(once.neg_elbo_sem)
    assert once.neg_elbo_sem == pytest.approx(10 / 1000**0.5, rel=0.1)
