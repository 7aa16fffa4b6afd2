"""ELBO terms of every image of a split, under noise that depends on a seed and no model."""

import torch
from jaxtyping import Float
from torch import Tensor

from pipeline.data.splits import Split
from pipeline.models.architecture import Architecture
from pipeline.models.autoencoder import reparametrise
from pipeline.models.losses import ElboTerms, decoded_terms
from pipeline.models.priors import Prior, prior_kl

EVALUATION_BATCH = 1000


@torch.inference_mode()
def elbo_per_image(
    model: Architecture,
    split: Split,
    *,
    seed: int,
    draws: int = 1,
    at_mean: bool = False,
    batch: int = EVALUATION_BATCH,
) -> ElboTerms:
    """Both ELBO terms of every image of a split, in nats, averaged over `draws` samples of z from q(z|x,c).

    The noise depends on the seed alone, never on the model: two models of one latent size see the same draws.
    `at_mean` puts z at the mean instead, which is no bound (see `decoded_terms`).
    """
    model.eval()
    device = split.images.device
    generator = None if at_mean else torch.Generator(device).manual_seed(seed)
    bce: list[Tensor] = []
    kl: list[Tensor] = []
    for x, y in split.batches(batch):
        codes = model.encode(x, y)
        terms = [decoded_terms(model, x, y, *codes, generator) for _ in range(draws)]
        bce.append(torch.stack([t.bce for t in terms]).mean(0))
        kl.append(terms[0].kl)
    return ElboTerms(torch.cat(bce), torch.cat(kl))


@torch.inference_mode()
def prior_kl_per_image(
    model: Architecture, split: Split, prior: Prior, *, seed: int, draws: int = 1, batch: int = EVALUATION_BATCH
) -> Float[Tensor, " N"]:
    """E_q[log q(z|x,c) - log p(z|c)] of every image of a split, nats, over the z that `elbo_per_image` draws for it.

    So it adds up to a bound with that function's bce: both are of the same draws, decoded once.
    """
    model.eval()
    generator = torch.Generator(split.images.device).manual_seed(seed)
    found: list[Tensor] = []
    for x, y in split.batches(batch):
        mu, logvar = model.encode(x, y)
        assert logvar is not None, "a deterministic autoencoder has no posterior"
        noise = [torch.randn(mu.shape, generator=generator, device=mu.device) for _ in range(draws)]
        kl = [prior_kl(mu, logvar, reparametrise(mu, logvar, eps), y, prior) for eps in noise]
        found.append(torch.stack(kl).mean(0))
    return torch.cat(found)
