"""Conditional samples, reconstructions and grids as tensors. No drawing, no files.

Every noise here depends on a seed and a dimension's index alone, so that models of any latent size see the same z in
their shared dimensions: two grids are compared cell by cell.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pipeline.config.digests import derive_seed
from pipeline.models.architecture import Architecture
from pipeline.models.priors import STANDARD, Prior

DECODE_BATCH = 1000
"""Images decoded at once. Of twice as many the activations of a small convolutional model are larger than what is kept
in memory from one batch to the next, and they take a third more time; no image depends on it."""


def fixed_noise(n: int, latent_dim: int, *, seed: int) -> Float[Tensor, "n Z"]:
    """z ~ N(0, I), not truncated; column d is the same for every latent size above d."""
    columns = [
        torch.randn(n, generator=torch.Generator().manual_seed(derive_seed("z", seed, d))) for d in range(latent_dim)
    ]
    return torch.stack(columns, dim=1)


def balanced_labels(per_class: int, classes: int) -> Int[Tensor, " N"]:
    """0 0 .. 1 1 .. : each class `per_class` times."""
    return torch.arange(classes).repeat_interleave(per_class)


@torch.inference_mode()
def decode_means(
    model: Architecture, z: Float[Tensor, "N Z"], y: Int[Tensor, " N"], *, batch: int = DECODE_BATCH
) -> Float[Tensor, "N D"]:
    """Mean images E[x|z,c] in [0, 1], on the model's device."""
    model.eval()
    device = next(model.parameters()).device
    return torch.cat(
        [
            model.likelihood.mean(model.decode(z_part.to(device), y_part.to(device)))
            for z_part, y_part in zip(z.split(batch), y.split(batch), strict=True)
        ]
    )


@torch.inference_mode()
def mixture_means(
    model: Architecture, z: Float[Tensor, "N Z"], weights: Float[Tensor, "N K"], *, batch: int = DECODE_BATCH
) -> Float[Tensor, "N D"]:
    """The same of a cvae for labels between classes: a weight per class, 1 in sum."""
    device = next(model.parameters()).device
    parts = zip(z.to(device).split(batch), weights.to(device).split(batch), strict=True)
    return torch.cat([model.likelihood.mean(model.decode_mixture(z_part, w_part)) for z_part, w_part in parts])


def component_noise(n: int, *, seed: int) -> Float[Tensor, " n"]:
    """u uniform in [0, 1), which picks the component of a mixture."""
    return torch.rand(n, generator=torch.Generator().manual_seed(derive_seed("component", seed)))


def draw_z(y: Int[Tensor, " N"], eps: Float[Tensor, "N Z"], prior: Prior, *, seed: int) -> Float[Tensor, "N Z"]:
    """z of these labels under a prior. The noise is the same for every prior."""
    return prior.draw(eps, component_noise(len(y), seed=seed), y)


def conditional_samples(
    model: Architecture, *, per_class: int, seed: int, prior: Prior = STANDARD
) -> tuple[Float[Tensor, "N D"], Int[Tensor, " N"]]:
    """`per_class` samples of every class: c given, z from the prior. N = K * per_class, by class."""
    y = balanced_labels(per_class, model.classes)
    eps = fixed_noise(len(y), model.latent_dim, seed=seed)
    return decode_means(model, draw_z(y, eps, prior, seed=seed), y), y


def generation_grid(
    model: Architecture, *, columns: int = 10, seed: int = 0, prior: Prior = STANDARD
) -> Float[Tensor, "N D"]:
    """One row per class, one column per noise, the same in every run and every class. Row-major, N = K * columns."""
    y = balanced_labels(columns, model.classes)
    eps = fixed_noise(columns, model.latent_dim, seed=seed).repeat(model.classes, 1)
    return decode_means(model, draw_z(y, eps, prior, seed=seed), y)


@torch.inference_mode()
def reconstructions(model: Architecture, x: Float[Tensor, "B D"], y: Int[Tensor, " B"]) -> Float[Tensor, "B D"]:
    """Mean images decoded from the mean of q(z|x,c)."""
    model.eval()
    mu, _ = model.encode(x, y)
    return model.likelihood.mean(model.decode(mu, y))
