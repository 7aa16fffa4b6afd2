"""The two terms of the ELBO, in nats per image. Knows tensors; no files, configs or runs."""

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
    """Distortion: -log p(x|z,c) by the model's likelihood; of a Bernoulli decoder the binary cross-entropy."""
    kl: Float[Tensor, " B"]
    """Rate: KL(q(z|x,c) || N(0, I))."""

    @property
    def neg_elbo(self) -> Float[Tensor, " B"]:
        """Upper bound on -log p(x|c): both terms at weight 1."""
        return self.bce + self.kl


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
        return ElboTerms(model.likelihood.nll(model.decode(mu, y), x), torch.zeros_like(mu[:, 0]))
    if generator is None:
        z = mu
    else:
        eps = torch.randn(mu.shape, generator=generator, device=mu.device)
        z = reparametrise(mu, logvar, eps)
    return ElboTerms(model.likelihood.nll(model.decode(z, y), x), gaussian_kl(mu, logvar))


def warmed_beta(beta: float, *, step: int, steps_per_epoch: int, warmup_epochs: float) -> float:
    """beta at a step counted from 0: a linear rise from 0 over the warm-up (Bowman et al. 2016), then constant."""
    warmup_steps = warmup_epochs * steps_per_epoch
    return beta if step >= warmup_steps else beta * step / warmup_steps
