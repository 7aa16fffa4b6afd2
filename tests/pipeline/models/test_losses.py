"""The ELBO terms against torch.distributions, closed forms and the known floors of real MNIST."""

import math
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.distributions import Bernoulli, Normal, kl_divergence

from pipeline.models.likelihoods import bernoulli_bce, pixel_entropy, sum_of_logs
from pipeline.models.losses import ElboTerms, gaussian_kl, gaussian_kl_per_dim, warmed_beta


@pytest.fixture(scope="module")
def mnist():
    """Real MNIST as {split: (pixels (N, 784) in [0, 1], labels (N,))}."""
    raw = Path(os.environ["CVAE_PIPE_DATA_DIR"]) / "MNIST" / "raw"

    def split(name):
        pixels = np.fromfile(raw / f"{name}-images-idx3-ubyte", np.uint8)[16:].reshape(-1, 784)
        labels = np.fromfile(raw / f"{name}-labels-idx1-ubyte", np.uint8)[8:]
        return torch.from_numpy(pixels) / 255, torch.from_numpy(labels).long()

    return {"train": split("train"), "test": split("t10k")}


def logit_of(p):
    return torch.logit(p.double().clamp(1e-6, 1 - 1e-6))


def test_kl_agrees_with_torch_distributions(generator):
    mu, logvar = torch.randn(2, 7, 3, generator=generator)
    expected = kl_divergence(Normal(mu, (0.5 * logvar).exp()), Normal(0.0, 1.0))
    torch.testing.assert_close(gaussian_kl_per_dim(mu, logvar), expected)
    torch.testing.assert_close(gaussian_kl(mu, logvar), expected.sum(-1))


@pytest.mark.parametrize(("mu", "variance", "nats"), [(0.0, 1.0, 0.0), (1.0, 1.0, 0.5), (0.0, 4.0, 0.80685)])
def test_kl_of_a_known_gaussian(mu, variance, nats):
    kl = gaussian_kl(torch.tensor([[mu]]), torch.tensor([[variance]]).log())
    assert kl.item() == pytest.approx(nats, abs=1e-5)


def test_bce_is_minus_the_log_probability_of_binary_pixels(generator):
    logits = torch.randn(5, 9, generator=generator)
    x = torch.randint(2, (5, 9), generator=generator).float()
    torch.testing.assert_close(bernoulli_bce(logits, x), -Bernoulli(logits=logits).log_prob(x).sum(-1))


def test_bce_sums_over_pixels_only(generator):
    logits, x = torch.randn(4, 5, 9, generator=generator), torch.rand(4, 5, 9, generator=generator)
    assert bernoulli_bce(logits, x).shape == (4, 5)


def test_bce_stays_finite_at_extreme_logits():
    assert bernoulli_bce(torch.tensor([[200.0, -200.0]]), torch.tensor([[0.0, 1.0]])).item() == 400


def test_pixel_entropy_is_the_bce_of_an_image_with_itself_and_zero_for_black_and_white(generator):
    x = torch.rand(5, 9, generator=generator, dtype=torch.float64)
    torch.testing.assert_close(pixel_entropy(x), bernoulli_bce(torch.logit(x), x))
    assert pixel_entropy(torch.tensor([[0.0, 1.0]])).item() == 0


def test_no_prediction_goes_below_the_pixel_entropy(generator):
    x, logits = torch.rand(200, 9, generator=generator), 3 * torch.randn(200, 9, generator=generator)
    assert (bernoulli_bce(logits, x) >= pixel_entropy(x)).all()


def test_neg_elbo_is_distortion_plus_rate():
    assert ElboTerms(torch.tensor([3.0]), torch.tensor([0.5])).neg_elbo.item() == 3.5


def test_beta_without_warmup_is_constant():
    assert [warmed_beta(4.0, step=s, steps_per_epoch=10, warmup_epochs=0) for s in (0, 1, 99)] == [4.0, 4.0, 4.0]


@given(st.floats(0, 100), st.integers(1, 500), st.floats(0.5, 20))
def test_warmup_starts_at_zero_never_falls_and_ends_at_beta(beta, steps_per_epoch, warmup_epochs):
    steps = range(0, math.ceil(warmup_epochs * steps_per_epoch) + 2, max(1, steps_per_epoch // 3))
    betas = [warmed_beta(beta, step=s, steps_per_epoch=steps_per_epoch, warmup_epochs=warmup_epochs) for s in steps]
    after = math.ceil(warmup_epochs * steps_per_epoch)
    assert betas[0] == 0
    assert betas == sorted(betas)
    assert warmed_beta(beta, step=after, steps_per_epoch=steps_per_epoch, warmup_epochs=warmup_epochs) == beta


def test_half_way_through_warmup_beta_is_half():
    assert warmed_beta(4.0, step=10, steps_per_epoch=10, warmup_epochs=2) == 2.0


@pytest.mark.mnist
@pytest.mark.parametrize(("split", "nats"), [("test", 45.5345), ("train", 45.757)])
def test_pixel_entropy_of_mnist(mnist, split, nats):
    assert pixel_entropy(mnist[split][0]).double().mean().item() == pytest.approx(nats, abs=6e-4)


@pytest.mark.mnist
def test_bce_of_constant_predictions_of_the_mnist_test_images(mnist):
    (train, train_labels), (test, test_labels) = mnist["train"], mnist["test"]
    class_means = torch.stack([train[train_labels == c].double().mean(0) for c in range(10)])
    grey, one_mean, mean_of_class = (
        bernoulli_bce(logits.expand_as(test), test.double()).mean().item()
        for logits in (
            torch.zeros(1, 784, dtype=torch.float64),
            logit_of(train.double().mean(0)),
            logit_of(class_means)[test_labels],
        )
    )
    assert grey == pytest.approx(784 * math.log(2), abs=1e-3)
    assert grey == pytest.approx(543.427, abs=1e-3)
    assert one_mean == pytest.approx(205.805, abs=1e-3)
    assert mean_of_class == pytest.approx(171.626, abs=1e-3)


@pytest.mark.parametrize("width", [1, 7, 64, 98, 784, 1024])
def test_the_sum_of_logs_is_that_of_float64(width, generator):
    values = 0.5 + 0.5 * torch.rand(5, width, generator=generator)
    values[0] = 0.5
    values[1] = 1.0
    torch.testing.assert_close(sum_of_logs(values), values.double().log().sum(-1).float(), rtol=1e-6, atol=1e-6 * width)


@pytest.mark.parametrize("scale", [0.01, 1.0, 30.0, 200.0])
def test_bce_is_torchs_own_in_float64(scale, generator):
    logits = scale * torch.randn(20, 784, generator=generator)
    x = torch.rand(20, 784, generator=generator)
    expected = torch.nn.functional.binary_cross_entropy_with_logits(logits.double(), x.double(), reduction="none").sum(
        -1
    )
    torch.testing.assert_close(bernoulli_bce(logits, x), expected.float(), rtol=2e-6, atol=1e-3)
    torch.testing.assert_close(bernoulli_bce(logits.double(), x.double()), expected)


def test_bce_has_torchs_gradient_at_logit_zero_too():
    logits = torch.tensor([[0.0, 2.0, -3.0]], requires_grad=True)
    x = torch.tensor([[0.2, 1.0, 0.0]])
    [own] = torch.autograd.grad(bernoulli_bce(logits, x).sum(), logits)
    torch.testing.assert_close(own, logits.detach().sigmoid() - x)
