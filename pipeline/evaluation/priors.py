"""Priors fitted after training: a density per class on a trained model's own codes. Knows models, splits, settings.

The codes of a class do not fill N(0, I), so z ~ N(0, I) lands where the decoder was never trained. A density fitted on
the codes, with no retraining, samples where it was (Ghosh et al. 2020, "From variational to deterministic
autoencoders", section 4) and is nearer to every posterior, so the bound on the likelihood is tighter (Tomczak & Welling
2018). A model without labels has one density for all its codes.
"""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pipeline.config.digests import derive_seed
from pipeline.config.sections import SamplingConfig
from pipeline.data.splits import PreparedData, Split
from pipeline.evaluation.mixtures import fit_mixtures, side_by_side
from pipeline.evaluation.thresholds import IMAGES_PER_DIMENSION
from pipeline.models.architecture import Architecture
from pipeline.models.autoencoder import reparametrise
from pipeline.models.priors import STANDARD, ClassMixtures, Prior, prior_kl

LADDER = (1, 2, 5)
"""Numbers of components that are tried, and these times 10, 100, .., up to `sampling.components`."""
ENOUGH_CODES = 20_000
"""Of fewer training images several codes are drawn of each, so that the draw adds little noise to the density."""
COARSE = 1e-2
"""Nats a code that a step of EM gains in the end while numbers of components are compared, which differ by ten times
that; the chosen one is fitted on."""
ENCODE_BATCH = 1000
QUICK_IMAGES, QUICK_COMPONENTS = 10_000, 5
"""What `quick_prior` is fitted on, and how many Gaussians a class it has, at most."""


@dataclass(frozen=True)
class SampledCodes:
    """Posteriors of some images and z drawn from them, `draws` of each image."""

    mu: Float[Tensor, "N Z"]
    logvar: Float[Tensor, "N Z"]
    z: Float[Tensor, "N Z"]
    y: Int[Tensor, " N"]

    def kl(self, prior: Prior) -> float:
        """E_q[log q(z|x,c) - log p(z|c)], nats per image."""
        return float(prior_kl(self.mu, self.logvar, self.z, self.y, prior).double().mean())


@dataclass(frozen=True)
class FittedPrior:
    """A density, and what is to be known of its fit."""

    density: ClassMixtures
    facts: dict[str, Any]
    """kind, images, draws; asked: components that were asked for; most: what the largest and the smallest class have
    images for; components: how many were chosen, 0 for N(0, I); validation_kl: of each number that was tried, by its
    text, 0 for N(0, I); kl: of the density itself."""


@torch.inference_mode()
def sampled_codes(model: Architecture, split: Split, *, seed: int, draws: int = 1) -> SampledCodes:
    """z ~ q(z|x,c) of every image of a split; N = draws times its images, draw by draw."""
    model.eval()
    posteriors = [model.encode(x, y) for x, y in split.batches(ENCODE_BATCH)]
    assert posteriors[0][1] is not None, "a deterministic autoencoder has no posterior"
    mu = torch.cat([mu for mu, _ in posteriors]).repeat(draws, 1)
    logvar = torch.cat([logvar for _, logvar in posteriors if logvar is not None]).repeat(draws, 1)
    eps = torch.randn(mu.shape, generator=torch.Generator().manual_seed(seed)).to(mu.device)
    return SampledCodes(mu, logvar, reparametrise(mu, logvar, eps), split.labels.repeat(draws))


def ladder(most: int) -> list[int]:
    """1, 2, 5, 10, 20, 50, .. up to `most`, which ends it."""
    steps = (step * 10**power for power in range(len(str(most))) for step in LADDER)
    return [*(step for step in steps if step < most), most]


def components_that_fit(labels: Int[Tensor, " N"], *, classes: int, latent_dim: int) -> list[int]:
    """How many components each class has images for; at least one."""
    counts = labels.bincount(minlength=classes).tolist()
    return [max(1, count // (IMAGES_PER_DIMENSION * latent_dim)) for count in counts]


def fit_prior(model: Architecture, data: PreparedData, config: SamplingConfig) -> FittedPrior:
    """The density of sampled codes of all training images, per class; of a model without labels, of all of them.

    `config.prior` is gaussian, which is one component, or mixture: as many as give validation codes the least kl, of
    1, 2, 5, 10, .. up to `config.components`; more are not tried once they stop helping. N(0, I) itself is chosen where
    no mixture is nearer to the validation codes.
    """
    classes = data.classes if model.conditional else 1
    draws = -(-ENOUGH_CODES // len(data.train))
    codes = sampled_codes(model, data.train, seed=derive_seed("prior codes", config.seed), draws=draws)
    validation = sampled_codes(model, data.val, seed=derive_seed("prior validation", config.seed), draws=draws)
    y = codes.y if model.conditional else torch.zeros_like(codes.y)
    most = components_that_fit(y[: len(data.train)], classes=classes, latent_dim=model.latent_dim)
    beside = side_by_side(codes.z, y, classes=classes, draws=draws, seed=config.seed)

    def fitted(components: int, tolerance: float, start: ClassMixtures | None = None) -> ClassMixtures:
        numbers = [min(components, of_class) for of_class in most]
        return fit_mixtures(beside, numbers, seed=config.seed, tolerance=tolerance, start=start)

    asked = 1 if config.prior == "gaussian" else config.components
    density = standard_mixture(model.latent_dim)
    found = {0: validation.kl(STANDARD)}
    best = 0
    for components in ladder(min(asked, max(most))):
        candidate = fitted(components, COARSE)
        found[components] = validation.kl(candidate)
        if found[components] < found[best] or config.prior == "gaussian":
            best, density = components, candidate
        elif components > 1:
            break
    if best > 1:
        density = fitted(best, COARSE / 10, density)
    facts = {
        "kind": config.prior,
        "images": len(data.train),
        "draws": draws,
        "asked": asked,
        "most": [max(most), min(most)],
        "components": best,
        "validation_kl": {str(components): kl for components, kl in found.items()},
        "kl": validation.kl(density),
    }
    return FittedPrior(density, facts)


def standard_mixture(latent_dim: int) -> ClassMixtures:
    """N(0, I) as a mixture of one."""
    return ClassMixtures(torch.ones(1, 1), torch.zeros(1, 1, latent_dim), torch.eye(latent_dim)[None, None])


def quick_prior(model: Architecture, data: PreparedData, config: SamplingConfig) -> ClassMixtures:
    """A small density of some of the training images' codes, in a fraction of the time: for scores between epochs."""
    some = spread(data.train, QUICK_IMAGES)
    classes = data.classes if model.conditional else 1
    codes = sampled_codes(model, some, seed=derive_seed("quick prior", config.seed))
    y = codes.y if model.conditional else torch.zeros_like(codes.y)
    asked = 1 if config.prior == "gaussian" else min(config.components, QUICK_COMPONENTS)
    fit = components_that_fit(y, classes=classes, latent_dim=model.latent_dim)
    beside = side_by_side(codes.z, y, classes=classes, seed=config.seed)
    return fit_mixtures(beside, [min(asked, most) for most in fit], seed=config.seed, tolerance=COARSE)


def spread(split: Split, limit: int) -> Split:
    """At most `limit` images, evenly spread over a split: in the shares of its classes even where it is sorted."""
    step = -(-len(split) // limit)
    return Split(split.images[::step], split.labels[::step])
