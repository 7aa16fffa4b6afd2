"""Shifted, rotated, blurred, noisy images: what a judge must read through. Knows pixels."""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

REFERENCE_HEIGHT = 28
"""Image height at which shifts and blurs are given in pixels."""

MAX_SHIFT = 2.0
"""Training images move by U(-2, 2) pixels each way."""

MAX_ROTATION = math.radians(10)
"""They turn by U(-10, 10) degrees."""

MAX_BLUR = 2.0
"""They are blurred with a Gaussian of sigma ~ U(0, 2) pixels."""

CONTRAST = (0.6, 1.4)
"""Their grey values are multiplied by a factor drawn uniformly from here, then clamped to 1."""

MAX_NOISE = 0.05
"""They get Gaussian noise of standard deviation ~ U(0, 0.05)."""


def blurred(images: Float[Tensor, "N H W"], sigma: float | Float[Tensor, " N"]) -> Float[Tensor, "N H W"]:
    """Images convolved with a Gaussian of standard deviation sigma, in pixels at 28 x 28; one sigma, or one per image.

    Borders mirror the image (scipy's mode "reflect"), so that no grey is lost: a blurred image sums to what it did.
    """
    _, H, W = images.shape
    sigma = torch.as_tensor(sigma, dtype=images.dtype, device=images.device) * H / REFERENCE_HEIGHT
    rows, columns = _cosines(H, images), _cosines(W, images)  # (H, H), (W, W)
    response = _gaussian_response(H, sigma)[..., :, None] * _gaussian_response(W, sigma)[..., None, :]
    return rows.T @ (rows @ images @ columns.T * response) @ columns


def _cosines(length: int, like: Tensor) -> Float[Tensor, "L L"]:
    """The orthonormal cosine transform DCT-II, a frequency per row: it diagonalises every symmetric mirrored blur."""
    k = torch.arange(length, dtype=like.dtype, device=like.device)
    waves = (torch.pi * k[:, None] * (k + 0.5) / length).cos() * (2 / length) ** 0.5
    waves[0] /= 2**0.5
    return waves


def _gaussian_response(length: int, sigma: Float[Tensor, "*N"]) -> Float[Tensor, "*N L"]:
    """What a sampled Gaussian kernel, normalised to sum 1, multiplies each of the L cosine waves by."""
    d = torch.arange(length, dtype=sigma.dtype, device=sigma.device)
    # The floors make sigma 0 the identity instead of 0 / 0, and keep denormals, which are slow, out of the product.
    kernel = (-0.5 * (d / sigma[..., None].clamp(min=1e-3)).square()).clamp(min=-50).exp()
    kernel = kernel * torch.where(d == 0, 1, 2)  # both sides
    return kernel @ (torch.pi * d[:, None] * d / length).cos() / kernel.sum(-1, keepdim=True)


def augmented(images: Float[Tensor, "N H W"], generator: torch.Generator) -> Float[Tensor, "N H W"]:
    """Each image shifted, turned, blurred, dimmed or brightened and made noisy by amounts of its own; in [0, 1].

    The same distortions as torchvision.transforms.v2's affine, gaussian_blur, adjust_brightness and gaussian_noise,
    which take one set of parameters for a batch: all of it per image costs a fifth of the first two on groups of 16.
    """
    N, H, W = images.shape

    def uniform(low: float, high: float) -> Float[Tensor, " N"]:
        return torch.rand(N, generator=generator, device=images.device) * (high - low) + low

    angle = uniform(-MAX_ROTATION, MAX_ROTATION)
    # affine_grid measures in half images: a shift of s pixels at 28 is 2 s / 28 at any size.
    dx, dy = (uniform(-MAX_SHIFT, MAX_SHIFT) * 2 / REFERENCE_HEIGHT for _ in range(2))
    cos, sin = angle.cos(), angle.sin()
    warp = torch.stack([cos, -sin * H / W, dx, sin * W / H, cos, dy], dim=-1).view(N, 2, 3)
    grid = F.affine_grid(warp, [N, 1, H, W], align_corners=False)
    images = F.grid_sample(images[:, None], grid, align_corners=False)[:, 0]
    images = blurred(images, uniform(0, MAX_BLUR)) * uniform(*CONTRAST)[:, None, None]
    noise = torch.randn(N, H, W, generator=generator, device=images.device) * uniform(0, MAX_NOISE)[:, None, None]
    return (images + noise).clamp(0, 1)
