"""ELBO terms of a Bernoulli decoder, in nats per image. Knows tensors; no files, configs or runs."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pipeline.models.architecture import Architecture
from pipeline.models.autoencoder import reparametrise


@dataclass(frozen=True)
class ElboTerms:
    """The two halves of the negative ELBO, one value per image."""

    bce: Float[Tensor, " B"]
    """Distortion: -log p(x|z,c) of a Bernoulli decoder."""
    kl: Float[Tensor, " B"]
    """Rate: KL(q(z|x,c) || N(0, I))."""

    @property
    def neg_elbo(self) -> Float[Tensor, " B"]:
        """Upper bound on -log p(x|c): both terms at weight 1."""
        return self.bce + self.kl


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


def gaussian_kl(mu: Float[Tensor, "B Z"], logvar: Float[Tensor, "B Z"]) -> Float[Tensor, " B"]:
    """KL(q(z|x,c) || N(0, I)) in nats per image (Kingma & Welling 2014, appendix B)."""
    return gaussian_kl_per_dim(mu, logvar).sum(-1)


def gaussian_kl_per_dim(mu: Float[Tensor, "B Z"], logvar: Float[Tensor, "B Z"]) -> Float[Tensor, "B Z"]:
    """The same, before the sum over latent dimensions."""
    return 0.5 * (mu.square() + logvar.exp() - 1 - logvar)


def decoded_terms(
    model: Architecture,
    x: Float[Tensor, "B D"],
    y: Int[Tensor, " B"],
    mu: Float[Tensor, "B Z"],
    logvar: Float[Tensor, "B Z"] | None,
    generator: torch.Generator | None,
) -> ElboTerms:
    """One-sample estimate of both terms from codes q(z|x,c), with z drawn by `generator`; None puts z at the mean.

    At the mean the sum is no bound on anything; it is what some reports call their test loss. A deterministic
    autoencoder has no rate: its kl is 0.
    """
    if logvar is None:
        return ElboTerms(bernoulli_bce(model.decode(mu, y), x), torch.zeros_like(mu[:, 0]))
    if generator is None:
        z = mu
    else:
        eps = torch.randn(mu.shape, generator=generator, device=mu.device)
        z = reparametrise(mu, logvar, eps)
    return ElboTerms(bernoulli_bce(model.decode(z, y), x), gaussian_kl(mu, logvar))


def pixel_entropy(x: Float[Tensor, "B D"]) -> Float[Tensor, " B"]:
    """BCE(x, x) in nats per image: the floor that no decoder of these grey pixels can go below; x in [0, 1]."""
    return -(x.xlogy(x) + (1 - x).xlogy(1 - x)).sum(-1)


def warmed_beta(beta: float, *, step: int, steps_per_epoch: int, warmup_epochs: float) -> float:
    """beta at a step counted from 0: a linear rise from 0 over the warm-up (Bowman et al. 2016), then constant."""
    warmup_steps = warmup_epochs * steps_per_epoch
    return beta if step >= warmup_steps else beta * step / warmup_steps
