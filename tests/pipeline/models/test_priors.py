"""What z is drawn from: moments, shares and densities as torch.distributions has them; pairs over one noise."""

from dataclasses import replace

import pytest
import torch
from torch.distributions import Categorical, MixtureSameFamily, MultivariateNormal, kl_divergence

from pipeline.models.autoencoder import Autoencoder
from pipeline.models.priors import STANDARD, ClassMixtures, prior_kl
from pipeline.models.sampling import balanced_labels, conditional_samples, draw_z, fixed_noise, generation_grid

ALMOST_ONE = 1 - 2**-24
"""The largest number that torch.rand gives."""
ROOT = [[2.0, 0.0], [1.0, 0.5]]


def covariances(prior):
    return prior.roots @ prior.roots.mT


def two_components(offset=0.0):
    means = torch.tensor([[[0.0, 0.0], [5.0, 1.0]], [[1.0, 1.0], [9.0, 9.0]]]) + offset
    root = torch.tensor(ROOT)
    roots = torch.stack([root, root.T.tril()]).expand(2, 2, 2, 2)
    return ClassMixtures(torch.tensor([[0.2, 0.8], [1.0, 0.0]]), means, roots)


def test_draws_have_the_components_shares_and_moments():
    prior, n = two_components(), 40_000
    eps, u = fixed_noise(n, 2, seed=0), torch.rand(n, generator=torch.Generator().manual_seed(1))
    y = torch.zeros(n, dtype=torch.long)
    component = (prior.draw(torch.zeros(n, 2), u, y)[:, 0] > 2.5).long()
    z = prior.draw(eps, u, y)
    assert component.double().mean().item() == pytest.approx(0.8, abs=0.01)  # 5 standard errors
    for i in range(2):
        own = z[component == i]
        torch.testing.assert_close(own.mean(0), prior.means[0, i], atol=0.12, rtol=0)
        torch.testing.assert_close(own.T.cov(), covariances(prior)[0, i], atol=0.25, rtol=0)


def test_each_label_draws_from_its_own_class():
    prior = two_components()
    z = prior.draw(torch.zeros(4, 2), torch.tensor([0.1, 0.9, 0.1, 0.9]), torch.tensor([0, 0, 1, 1]))
    assert z.tolist() == [[0, 0], [5, 1], [1, 1], [1, 1]]


def test_a_component_of_weight_zero_is_never_drawn_even_where_rounding_leaves_the_sum_below_one():
    used = torch.rand(7, generator=torch.Generator().manual_seed(0)).softmax(0) * (1 - 3e-7)
    weights = torch.cat([used, torch.zeros(3)])
    assert weights.cumsum(0)[-1] < ALMOST_ONE  # the trap is there
    means = torch.cat([torch.zeros(7, 1), torch.full((3, 1), 100.0)])
    prior = ClassMixtures(weights[None], means[None], torch.eye(1).expand(1, 10, 1, 1))
    assert prior.draw(torch.zeros(1, 1), torch.tensor([ALMOST_ONE]), torch.tensor([0])).item() == 0


def test_the_standard_prior_leaves_z_as_it_is():
    eps = fixed_noise(6, 3, seed=0)
    assert draw_z(balanced_labels(3, 2), eps, STANDARD, seed=0) is eps


def test_one_noise_gives_pairs_under_two_priors():
    y, eps = balanced_labels(50, 2), fixed_noise(100, 2, seed=3)
    first, second = (draw_z(y, eps, two_components(offset), seed=3) for offset in (0.0, 2.5))
    torch.testing.assert_close(second - first, torch.full_like(first, 2.5))
    assert not torch.equal(draw_z(y, eps, two_components(), seed=4), first)


def test_a_prior_that_is_n_0_1_gives_the_images_of_the_standard_one():
    torch.manual_seed(0)
    model = Autoencoder("cvae", pixels=12, classes=3, latent_dim=2, hidden=(8,))
    unit = ClassMixtures(torch.ones(3, 1), torch.zeros(3, 1, 2), torch.eye(2).expand(3, 1, 2, 2))
    for sample in (lambda prior: conditional_samples(model, per_class=5, seed=1, prior=prior)[0],
                   lambda prior: generation_grid(model, columns=4, prior=prior)):  # fmt: skip
        assert torch.equal(sample(unit), sample(STANDARD))


def test_the_density_is_that_of_torch_distributions(generator):
    both = torch.tensor([[0.2, 0.8], [0.6, 0.4]])  # torch calls a weight of 0 one of 1e-7
    prior = replace(two_components(), weights=both)
    z, y = 4 * torch.randn(60, 2, generator=generator), torch.arange(60) % 2
    for label in range(2):
        mixture = MixtureSameFamily(
            Categorical(prior.weights[label]), MultivariateNormal(prior.means[label], scale_tril=prior.roots[label])
        )
        own = y == label
        torch.testing.assert_close(prior.log_prob(z, y)[own], mixture.log_prob(z[own]), atol=1e-4, rtol=1e-4)
    normal = MultivariateNormal(torch.zeros(2), torch.eye(2))
    torch.testing.assert_close(STANDARD.log_prob(z, y), normal.log_prob(z))


def test_the_sampled_kl_against_one_gaussian_is_that_of_the_closed_form(generator):
    mean, root = torch.tensor([0.5, -1.0]), torch.tensor(ROOT)
    prior = ClassMixtures(torch.ones(1, 1), mean[None, None], root[None, None])
    n = 40_000
    mu, logvar = torch.tensor([1.0, 0.2]).expand(n, 2), torch.tensor([-1.0, 0.3]).expand(n, 2)
    z = mu + (0.5 * logvar).exp() * torch.randn(n, 2, generator=generator)
    sampled = prior_kl(mu, logvar, z, torch.zeros(n, dtype=torch.long), prior).double()
    q = MultivariateNormal(mu[0], logvar[0].exp().diag())
    exact = kl_divergence(q, MultivariateNormal(mean, scale_tril=root))
    assert abs(sampled.mean() - exact) < 4 * sampled.std() / n**0.5


def test_the_kl_against_n_0_1_has_no_noise(generator):
    mu, logvar, z = torch.randn(3, 8, 2, generator=generator)
    kl = prior_kl(mu, logvar, z, torch.zeros(8, dtype=torch.long), STANDARD)
    torch.testing.assert_close(kl, 0.5 * (mu**2 + logvar.exp() - 1 - logvar).sum(1))
