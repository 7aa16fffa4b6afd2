"""p(x|z,c) of a decoder, pixel by pixel: minus its log in nats per image, its mean image, its floor. Tensors only.

    name                   x given logits l                    minus log p is
    bernoulli              1 with probability sigmoid(l)       a cross-entropy: no density of grey values
    continuous_bernoulli   density on [0, 1], about exp(x l)   that of a density on the unit cube
    gaussian               N(sigmoid(l), sigma^2)              that of a density on R^D, one sigma for all, learned

A density has no unit of its own: it is nats relative to Lebesgue measure on grey values in [0, 1], it may be below 0,
and no number of one likelihood says anything beside one of another. Densities are bounded by the grey level of 8-bit
images: nothing sharper than that can be known, and a floor exists.
"""

import math
from typing import Protocol

import torch
from jaxtyping import Float
from torch import Tensor, nn

GREY_LEVEL = 1 / 255
SIGMA_AT_FIRST = 0.25
"""About the deviation of a pixel from its class mean, where a decoder begins."""
NEAR_ZERO = 0.1
"""Logits below which quotients of small numbers give way to their series."""


class Likelihood(Protocol):
    """log p(x|z,c) of images with D values in [0, 1]."""

    name: str

    def nll(self, logits: Float[Tensor, "... D"], x: Float[Tensor, "... D"]) -> Float[Tensor, "..."]:
        """-log p(x|z,c) in nats per image: the distortion."""
        ...

    def mean(self, logits: Float[Tensor, "... D"]) -> Float[Tensor, "... D"]:
        """E[x|z,c], in [0, 1]: what is shown, and read by judges."""
        ...

    def floor(self, x: Float[Tensor, "B D"]) -> Float[Tensor, " B"]:
        """The least `nll` that any logits (and any sigma) give these images."""
        ...

    def of_means(self, means: Float[Tensor, "... D"], spread: float) -> tuple["Likelihood", Float[Tensor, "... D"]]:
        """This likelihood and the logits whose mean is `means` (within [1e-6, 1 - 1e-6]); a sigma is `spread`."""
        ...


def bernoulli_bce(logits: Float[Tensor, "... D"], x: Float[Tensor, "... D"]) -> Float[Tensor, "..."]:
    """-log p(x|z,c) in nats per image, summed over the D pixels; x in [0, 1], logits before the sigmoid.

    For grey x this is the cross-entropy of two Bernoulli means and does not reach 0: see `pixel_entropy`.
    """
    # softplus(l) - x l, with softplus(l) = (l + |l|) / 2 - log sigmoid(|l|): finite at every logit, as exact as
    # float32 sums are, and seven times faster on a CPU than torch's own, whose log1p is computed one by one.
    size = logits.abs()
    return (logits * (0.5 - x)).add_(size, alpha=0.5).sum(-1) - sum_of_logs(size.sigmoid())


def sum_of_logs(values: Float[Tensor, "... D"]) -> Float[Tensor, "..."]:
    """log values, summed over the last axis; values in [0.5, 1]. The log of products of up to 16 of them, none of which
    is below 2^-16: a product costs a tenth of a logarithm and is as exact."""
    for _ in range(4):
        half, odd = divmod(values.shape[-1], 2)
        if odd:
            break
        values = values[..., :half] * values[..., half:]
    return values.log().sum(-1)


def pixel_entropy(x: Float[Tensor, "B D"]) -> Float[Tensor, " B"]:
    """BCE(x, x) in nats per image: the floor that no decoder of these grey pixels can go below; x in [0, 1]."""
    return -(x.xlogy(x) + (1 - x).xlogy(1 - x)).sum(-1)


class Bernoulli:
    """Of binary pixels; of grey ones the cross-entropy of two Bernoulli means."""

    name = "bernoulli"

    def nll(self, logits: Float[Tensor, "... D"], x: Float[Tensor, "... D"]) -> Float[Tensor, "..."]:
        return bernoulli_bce(logits, x)

    def mean(self, logits: Float[Tensor, "... D"]) -> Float[Tensor, "... D"]:
        return logits.sigmoid()

    def floor(self, x: Float[Tensor, "B D"]) -> Float[Tensor, " B"]:
        return pixel_entropy(x)

    def of_means(self, means: Float[Tensor, "... D"], spread: float) -> tuple[Likelihood, Float[Tensor, "... D"]]:
        return self, means.logit()


BERNOULLI = Bernoulli()


class ContinuousBernoulli:
    """p(x) = C sigmoid(l)^x sigmoid(-l)^(1-x) on [0, 1], log C = log(l / tanh(l / 2)) (Loaiza-Ganem & Cunningham 2019).

    At x = 0 or 1 it grows without bound with |l|, so l is cut where the mean is a grey level from the end.
    """

    name = "continuous_bernoulli"
    most = 1 / GREY_LEVEL

    def nll(self, logits: Float[Tensor, "... D"], x: Float[Tensor, "... D"]) -> Float[Tensor, "..."]:
        cut = logits.clamp(-self.most, self.most)
        return bernoulli_bce(cut, x) - log_normaliser(cut).sum(-1)

    def mean(self, logits: Float[Tensor, "... D"]) -> Float[Tensor, "... D"]:
        """1 / (1 - exp(-l)) - 1 / l: nearer to 1/2 than sigmoid(l)."""
        cut = logits.clamp(-self.most, self.most)
        near = cut.abs() < NEAR_ZERO
        safe = torch.where(near, 1.0, cut)
        return torch.where(near, 0.5 + cut / 12 - cut**3 / 720, -1 / torch.expm1(-safe) - 1 / safe)

    def floor(self, x: Float[Tensor, "B D"]) -> Float[Tensor, " B"]:
        values, where = x.double().unique(return_inverse=True)
        least = self.nll(self.logits_of(values)[:, None], values[:, None])
        return least[where].sum(-1)

    def of_means(self, means: Float[Tensor, "... D"], spread: float) -> tuple[Likelihood, Float[Tensor, "... D"]]:
        return self, self.logits_of(means)

    def logits_of(self, means: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """The logits of these means, as far as they are allowed: the likeliest of x, too. By bisection, in float64."""
        low, high = torch.full_like(means.double(), -self.most), torch.full_like(means.double(), self.most)
        for _ in range(60):
            middle = (low + high) / 2
            above = self.mean(middle) > means
            low, high = torch.where(above, low, middle), torch.where(above, middle, high)
        return ((low + high) / 2).to(means.dtype)


CONTINUOUS_BERNOULLI = ContinuousBernoulli()


def log_normaliser(logits: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """log C of a continuous Bernoulli; log 2 at 0, where l / tanh(l / 2) is 0 / 0."""
    size = logits.abs()
    near = size < NEAR_ZERO
    safe = torch.where(near, 1.0, size)
    squared = logits.square()
    series = math.log(2) + squared / 12 - 7 * squared.square() / 1440
    return torch.where(near, series, (safe / torch.tanh(safe / 2)).log())


class Gaussian(nn.Module):
    """N(sigmoid(l), sigma^2) with one sigma for every pixel, learned with the weights (Rybkin et al. 2021)."""

    name = "gaussian"
    least = math.log(GREY_LEVEL)

    def __init__(self, sigma: float = SIGMA_AT_FIRST) -> None:
        super().__init__()
        self.log_sigma = nn.Parameter(torch.tensor(math.log(sigma)))

    def nll(self, logits: Float[Tensor, "... D"], x: Float[Tensor, "... D"]) -> Float[Tensor, "..."]:
        log_sigma = self.log_sigma.clamp(min=self.least)
        squares = (logits.sigmoid() - x).square().sum(-1)
        return 0.5 * squares * (-2 * log_sigma).exp() + x.shape[-1] * (log_sigma + 0.5 * math.log(2 * math.pi))

    def mean(self, logits: Float[Tensor, "... D"]) -> Float[Tensor, "... D"]:
        return logits.sigmoid()

    def floor(self, x: Float[Tensor, "B D"]) -> Float[Tensor, " B"]:
        return torch.full_like(x[:, 0], x.shape[-1] * (self.least + 0.5 * math.log(2 * math.pi)))

    def of_means(self, means: Float[Tensor, "... D"], spread: float) -> tuple[Likelihood, Float[Tensor, "... D"]]:
        return Gaussian(spread), means.logit()


def likelihood_of(name: str) -> Likelihood:
    """bernoulli, continuous_bernoulli or gaussian."""
    if name == "gaussian":
        return Gaussian()
    return {likelihood.name: likelihood for likelihood in (BERNOULLI, CONTINUOUS_BERNOULLI)}[name]
