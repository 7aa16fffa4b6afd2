"""Gradients written out are autograd's; a stack of models is its members one by one."""

from functools import partial

import pytest
import torch
from torch.distributions import Normal, kl_divergence
from torch.nn.functional import one_hot

from pipeline.models.autoencoder import Autoencoder, reparametrise
from pipeline.models.gradients import Layers, autograd_gradients, elbo_gradients, gradients_of
from pipeline.models.likelihoods import bernoulli_bce
from pipeline.models.losses import gaussian_kl

B, D, K = 6, 9, 3


def model_of(kind: str, latent_dim: int, hidden: tuple[int, ...], **options) -> Autoencoder:
    torch.manual_seed(latent_dim)
    return Autoencoder(kind, pixels=D, classes=K, latent_dim=latent_dim, hidden=hidden, **options)


def batch(generator, latent_dim: int, stack: tuple[int, ...] = ()):
    x = torch.rand(*stack, B, D, generator=generator)
    y = torch.randint(K, (*stack, B), generator=generator)
    return x, y, torch.randn(*stack, B, latent_dim, generator=generator)


def autograd(model: Autoencoder, x, y, eps, beta: float):
    """The same numbers by the model's own forward pass and torch's autograd."""
    mu, logvar = model.encode(x, y)
    if logvar is None:
        bce, kl = bernoulli_bce(model.decode(mu, y), x), torch.zeros(len(x))
    else:
        bce, kl = bernoulli_bce(model.decode(reparametrise(mu, logvar, eps), y), x), gaussian_kl(mu, logvar)
    return torch.autograd.grad((bce + beta * kl).mean(), list(model.parameters())), bce, kl


@pytest.mark.parametrize("hidden", [(7,), (8, 5)])
@pytest.mark.parametrize(
    ("kind", "options"), [("ae", {}), ("vae", {}), ("cvae", {}), ("cvae", {"condition_encoder": False})]
)
def test_gradients_are_those_of_autograd(kind, options, hidden, generator):
    model = model_of(kind, 4, hidden, **options)
    x, y, eps = batch(generator, 4)
    expected, bce, kl = autograd(model, x, y, eps, 2.5)
    with torch.no_grad():
        gradients, own_bce, own_kl = elbo_gradients(Layers.of(model), x, one_hot(y, K).float(), eps, 2.5)
    torch.testing.assert_close(own_bce, bce.detach())
    torch.testing.assert_close(own_kl, kl.detach())
    for own, reference in zip(gradients, expected, strict=True):
        torch.testing.assert_close(own, reference, atol=1e-6, rtol=1e-4)


def test_gradients_agree_in_float64_to_twelve_digits(generator):
    model = model_of("cvae", 4, (8, 5)).double()
    x, y, eps = batch(generator, 4)
    x, eps = x.double(), eps.double()
    expected, *_ = autograd(model, x, y, eps, 0.3)
    with torch.no_grad():
        gradients, *_ = elbo_gradients(Layers.of(model), x, one_hot(y, K).double(), eps, 0.3)
    for own, reference in zip(gradients, expected, strict=True):
        torch.testing.assert_close(own, reference, atol=1e-12, rtol=1e-12)


def test_a_stack_gives_each_member_what_it_gets_alone(generator):
    models = []
    for seed in range(3):
        torch.manual_seed(seed)
        models.append(Autoencoder("cvae", pixels=D, classes=K, latent_dim=4, hidden=(7,)))
    x, y, eps = batch(generator, 4, stack=(3,))
    c = one_hot(y, K).float()
    betas = [0.1, 1.0, 8.0]
    with torch.no_grad():
        stacked = [torch.stack(parts) for parts in zip(*(m.parameters() for m in models), strict=True)]
        gradients, bce, kl = elbo_gradients(Layers.like(models[0], stacked), x, c, eps, torch.tensor(betas))
        for k, (model, beta) in enumerate(zip(models, betas, strict=True)):
            alone, bce_alone, kl_alone = elbo_gradients(Layers.of(model), x[k], c[k], eps[k], beta)
            torch.testing.assert_close(bce[k], bce_alone)
            torch.testing.assert_close(kl[k], kl_alone)
            for own, reference in zip(gradients, alone, strict=True):
                torch.testing.assert_close(own[k], reference, atol=1e-6, rtol=1e-4)


def test_layers_of_a_model_are_its_own_tensors():
    model = model_of("cvae", 4, (7,))
    Layers.of(model).encoder[0][0].zero_()
    assert not next(model.parameters()).any()


@pytest.mark.parametrize("kind", ["ae", "vae", "cvae"])
def test_a_models_gradients_are_those_that_autograd_finds(kind, generator):
    model = model_of(kind, 4, (8, 5))
    x, y, eps = batch(generator, 4)
    c = one_hot(y, K).float()
    with torch.no_grad():
        own, bce, kl = gradients_of(model)(x, c, eps, 2.5)
        reference, *terms = autograd_gradients(model, x, c, eps, 2.5)
    torch.testing.assert_close([bce, kl], terms)
    torch.testing.assert_close(own, reference, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("free_bits", [0.05, 0.3, 100.0])
def test_free_bits_are_kingmas_sum_of_maxima(free_bits, generator):
    """sum_d max(lambda, E[kl_d]) (Kingma et al. 2016, eq. 15), by autograd from its formula; both paths."""
    model = model_of("cvae", 4, (8, 5))
    x, y, eps = batch(generator, 4)
    c = one_hot(y, K).float()
    mu, logvar = model.encode(x, y)
    rate = kl_divergence(Normal(mu, (0.5 * logvar).exp()), Normal(0.0, 1.0)).mean(0)
    bce = bernoulli_bce(model.decode(reparametrise(mu, logvar, eps), y), x)
    loss = bce.mean() + 2.5 * torch.where(rate > free_bits, rate, free_bits).sum()
    expected = torch.autograd.grad(loss, list(model.parameters()))
    by_autograd = partial(autograd_gradients, model, free_bits=free_bits)
    for gradients in (gradients_of(model, free_bits=free_bits), by_autograd):
        with torch.no_grad():
            own, _, kl = gradients(x, c, eps, 2.5)
        torch.testing.assert_close(own, list(expected), atol=1e-6, rtol=1e-4)
        assert float(kl.mean()) == pytest.approx(float(rate.sum().detach()), rel=1e-5)  # what is shown is the whole kl


def test_the_kl_against_a_learned_prior_is_that_of_torch_distributions(generator):
    """q and p(z|c) in the coordinates in which p is N(0, I): the same kl, and samples at m_c + s_c u."""
    model = model_of("cvae", 4, (8,), learned_prior=True)
    assert model.prior is not None
    with torch.no_grad():
        for parameter in model.prior.parameters():
            parameter.normal_(generator=generator)
    x, y, _ = batch(generator, 4)
    mu, logvar = model.encode(x, y)
    codes = model.codes(x, one_hot(y, K).float()).chunk(2, -1)
    q = Normal(codes[0], (0.5 * codes[1]).exp())
    p = Normal(model.prior.mean[y], model.prior.log_scale[y].exp())
    torch.testing.assert_close(gaussian_kl(mu, logvar), kl_divergence(q, p).sum(-1), rtol=1e-4, atol=1e-5)
    # Undone by the decoder: z of the mean of q is the encoder's own.
    torch.testing.assert_close(model.prior.placed(mu, one_hot(y, K).float()), codes[0])
    torch.testing.assert_close(model.decode(mu, y), model.logits(codes[0], one_hot(y, K).float()))


def test_a_learned_prior_begins_as_the_standard_one(generator):
    plain, learned = (model_of("cvae", 4, (8,), learned_prior=learn) for learn in (False, True))
    x, y, _ = batch(generator, 4)
    torch.testing.assert_close(plain.encode(x, y), learned.encode(x, y))
