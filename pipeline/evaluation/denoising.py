"""Noise taken out of images: by the model, by a Gaussian filter, by nothing. Tensors in, numbers out; no files.

The model has never seen noise. An image is projected onto what the decoder can draw: from the code that the encoder
gives it, z goes down || x - E[x|z,c] ||^2 / (2 sigma^2) - log N(z; 0, I), the posterior of z given the noisy image and
its label under Gaussian pixels (Bora et al. 2017, eq. 3). The filter's width is the best one for validation images.
"""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pipeline.config.digests import derive_seed
from pipeline.data.splits import Split
from pipeline.evaluation.blur import blurred
from pipeline.evaluation.reference import stratified_indices
from pipeline.evaluation.thresholds import METHODS
from pipeline.models.architecture import Architecture

WIDTHS = tuple(round(0.25 * 1.18**i, 3) for i in range(16))
"""Of the filter that are tried, in pixels at 28 x 28: 0.25 to 3."""
STEPS, RATE = 100, 0.1
"""Of Adam's descent of z. Twice as many steps gain less than .05 dB."""
MOST_IMAGES = 2000
"""Of a split that are made noisy."""
SHOWN = 10
"""Images on the sheet."""

Shape = tuple[int, int, int]


@dataclass(frozen=True)
class Denoised:
    """What each method made of a split's images at one level of noise."""

    facts: dict[str, Any]
    """JSON: sigma, the filter's width, psnr by method, gains of the projection with their half-widths, `images`."""
    images: Float[Tensor, "N D"]
    """Rows of SHOWN images: the clean ones, then those of METHODS."""


def psnr(images: Float[Tensor, "N D"], clean: Float[Tensor, "N D"]) -> Float[Tensor, " N"]:
    """Peak signal-to-noise ratio in dB per image, of images in [0, 1]: -10 log10 of the mean squared error."""
    return -10 * (images - clean).square().mean(1).clamp(min=1e-12).log10()


def noisy(clean: Float[Tensor, "N D"], sigma: float, *, seed: int) -> Float[Tensor, "N D"]:
    """With Gaussian noise of that standard deviation, cut to [0, 1] as a picture is."""
    generator = torch.Generator().manual_seed(derive_seed("noise", seed, sigma))
    return (clean + sigma * torch.randn(clean.shape, generator=generator).to(clean.device)).clamp(0, 1)


def filtered(images: Float[Tensor, "N D"], shape: Shape, width: float) -> Float[Tensor, "N D"]:
    """Each channel blurred by a Gaussian."""
    return blurred(images.unflatten(1, shape), width).flatten(1).clamp(0, 1)


def best_width(clean: Float[Tensor, "N D"], seen: Float[Tensor, "N D"], shape: Shape) -> float:
    """The width of the filter with the highest mean PSNR."""
    return max(WIDTHS, key=lambda width: float(psnr(filtered(seen, shape, width), clean).mean()))


@torch.no_grad()
def encoded(model: Architecture, seen: Float[Tensor, "N D"], y: Int[Tensor, " N"]) -> Float[Tensor, "N Z"]:
    """The means of q(z|x,c)."""
    return model.encode(seen, y)[0]


def projected(
    model: Architecture, seen: Float[Tensor, "N D"], y: Int[Tensor, " N"], sigma: float
) -> Float[Tensor, "N Z"]:
    """The code of each image by the descent above, from its mean of q(z|x,c); of an ae by the first term alone."""
    z = encoded(model, seen, y).clone().requires_grad_()
    weight = 1.0 if model.stochastic else 0.0
    optimizer = torch.optim.Adam([z], lr=RATE)
    with torch.enable_grad():
        for _ in range(STEPS):
            x = model.likelihood.mean(model.decode(z, y))
            loss = (x - seen).square().sum() / (2 * sigma**2) + weight * 0.5 * z.square().sum()
            (z.grad,) = torch.autograd.grad(loss, [z])
            optimizer.step()
    return z.detach()


def denoise(
    model: Architecture, val: Split, part: Split, shape: Shape, classes: int, sigma: float, *, seed: int = 0
) -> Denoised:
    """Every method on at most MOST_IMAGES images of a split; labels are known to the model."""
    model.eval()
    chosen, clean_val = _some(part), val.as_float(_some(val))
    x, y = part.as_float(chosen), part.labels[chosen]
    width = best_width(clean_val, noisy(clean_val, sigma, seed=seed + 1), shape)
    seen = noisy(x, sigma, seed=seed)
    codes = {"encoded": encoded(model, seen, y), "projected": projected(model, seen, y, sigma)}
    made = {"noisy": seen, "filtered": filtered(seen, shape, width)}
    with torch.no_grad():
        made |= {name: model.likelihood.mean(model.decode(z, y)) for name, z in codes.items()}
    ratios = {name: psnr(images, x).double() for name, images in made.items()}
    gains = {over: ratios["projected"] - ratios[over] for over in ("noisy", "filtered")}
    first = stratified_indices(y.cpu(), -(-SHOWN // classes), classes, seed=0).flatten()[:SHOWN].to(y.device)
    facts = {
        "sigma": sigma,
        "width": width,
        "images": len(x),
        "psnr": {name: float(values.mean()) for name, values in ratios.items()},
        "gain": {over: float(values.mean()) for over, values in gains.items()},
        "half": {over: 1.959964 * float(values.std()) / len(values) ** 0.5 for over, values in gains.items()},
    }
    return Denoised(facts, torch.cat([x[first], *(made[name][first] for name in METHODS)]).cpu())


def _some(split: Split) -> Int[Tensor, " N"]:
    """At most MOST_IMAGES images, evenly spread over the split: the same for every model."""
    step = max(1, -(-len(split) // MOST_IMAGES))
    return torch.arange(0, len(split), step, device=split.labels.device)
