"""Images that are asked of a trained model: of a class, between classes or codes, in an image's style. Tensors alone.

Image i of a class sees one noise, however many are asked for and of whichever other classes: the first ten are the
class's row of the grid in a run's report (`sampling.generation_grid`), those after them a page of ten at a time.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pipeline.config.digests import derive_seed
from pipeline.models.architecture import Architecture
from pipeline.models.losses import decoded_terms
from pipeline.models.priors import Prior
from pipeline.models.sampling import component_noise, decode_means, fixed_noise, mixture_means

PAGE = 10
"""Images of a class that share a seed: the columns of a report's grid."""
READINGS = 16
"""Draws of z by which a model reads the label of an image."""


def class_noise(
    label: int, n: int, *, classes: int, latent_dim: int, seed: int
) -> tuple[Float[Tensor, "n Z"], Float[Tensor, " n"]]:
    """Standard normal eps and uniform u of the first `n` images of a class; a longer draw begins with a shorter one."""
    eps, u = [], []
    for page in range(-(-n // PAGE)):
        own = derive_seed("page", seed, page) if page else seed
        eps.append(fixed_noise(PAGE, latent_dim, seed=own))
        u.append(component_noise(classes * PAGE, seed=own)[label * PAGE : (label + 1) * PAGE])
    return torch.cat(eps)[:n], torch.cat(u)[:n]


def class_codes(
    model: Architecture, prior: Prior, label: int, n: int, *, seed: int, temperature: float = 1.0
) -> Float[Tensor, "n Z"]:
    """z ~ p(z|c) of the first `n` images of a class, its normal noise times `temperature`.

    Below 1 the images are more typical and less varied; at 0 each is the centre of a component of the prior.
    """
    eps, u = class_noise(label, n, classes=model.classes, latent_dim=model.latent_dim, seed=seed)
    return prior.draw(temperature * eps, u, torch.full((n,), label))


def class_images(
    model: Architecture, prior: Prior, labels: list[int], n: int, *, seed: int, temperature: float = 1.0
) -> tuple[Float[Tensor, "N D"], Int[Tensor, " N"]]:
    """`n` images of each class, class by class, and their labels; Bernoulli means in [0, 1]."""
    z = torch.cat([class_codes(model, prior, c, n, seed=seed, temperature=temperature) for c in labels])
    y = torch.tensor(labels).repeat_interleave(n)
    return decode_means(model, z, y), y


def label_turns(
    model: Architecture, z: Float[Tensor, "M Z"], first: int, second: int, *, steps: int
) -> Float[Tensor, "N D"]:
    """A row per z: decoded while one label turns into another, N = M * steps, both ends included."""
    weights = _turning(model, first, second, steps).repeat(len(z), 1)
    return mixture_means(model, z.repeat_interleave(steps, dim=0), weights)


@torch.inference_mode()
def image_turn(
    model: Architecture, x: Float[Tensor, "2 D"], y: Int[Tensor, " 2"], *, steps: int
) -> Float[Tensor, "steps D"]:
    """Decoded on the straight line from the mean of q(z|x,c) of one image to that of another, both ends included.

    A cvae's label turns with it where the two differ.
    """
    device = device_of(model)
    (start, end), _ = model.encode(x.to(device), y.to(device))
    t = torch.linspace(0, 1, steps, device=device)[:, None]
    z = start * (1 - t) + end * t
    first, second = y.tolist()
    if first == second or not model.conditional:
        return decode_means(model, z, torch.full((steps,), first))
    return mixture_means(model, z, _turning(model, first, second, steps))


@torch.inference_mode()
def restyled(model: Architecture, x: Float[Tensor, "1 D"], y: int, labels: list[int]) -> Float[Tensor, "L D"]:
    """An image's style under other labels: the mean of q(z|x,c), decoded with each of them."""
    device = device_of(model)
    mu, _ = model.encode(x.to(device), torch.tensor([y], device=device))
    return decode_means(model, mu.expand(len(labels), -1), torch.tensor(labels))


@torch.inference_mode()
def read_labels(model: Architecture, x: Float[Tensor, "B D"]) -> Int[Tensor, " B"]:
    """The label under which the model finds each image likeliest, by its neg_elbo over a few draws of z: its own
    reading, without a judge."""
    x = x.to(device_of(model))
    bounds = []
    for label in range(model.classes):
        y = torch.full((len(x),), label, device=x.device)
        generator = torch.Generator(x.device).manual_seed(derive_seed("reading"))
        codes = model.encode(x, y)
        terms = [decoded_terms(model, x, y, *codes, generator).neg_elbo for _ in range(READINGS)]
        bounds.append(torch.stack(terms).mean(0))
    return torch.stack(bounds).argmin(0).cpu()


def device_of(model: Architecture) -> torch.device:
    """Where a model's weights are."""
    return next(model.parameters()).device


def _turning(model: Architecture, first: int, second: int, steps: int) -> Float[Tensor, "steps K"]:
    """Weights of the classes on the way from one to another."""
    t = torch.linspace(0, 1, steps, device=device_of(model))[:, None]
    ends = torch.eye(model.classes, device=t.device)
    return ends[first] * (1 - t) + ends[second] * t
