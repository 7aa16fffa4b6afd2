"""Shifted, rotated, blurred, noisy images: what a judge must read through. Knows pixels."""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from pipeline.evaluation.blur import REFERENCE_HEIGHT, blurred

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


def augmented(
    images: Float[Tensor, "N *C H W"], generator: torch.Generator, background: float | Float[Tensor, " C"] = 0.0
) -> Float[Tensor, "N *C H W"]:
    """Each image shifted, turned, blurred, dimmed or brightened and made noisy by amounts of its own; in [0, 1].

    What comes in from outside of an image, and what contrast leaves alone, is the `background`, of each channel.

    The same distortions as torchvision.transforms.v2's affine, gaussian_blur, adjust_brightness and gaussian_noise,
    which take one set of parameters for a batch: all of it per image costs a fifth of the first two on groups of 16.
    """
    N, H, W = len(images), *images.shape[-2:]
    ground = torch.as_tensor(background, dtype=images.dtype, device=images.device).view(-1, 1, 1)
    ink = images.view(N, -1, H, W) - ground  # (N, C, H, W)

    def uniform(low: float, high: float) -> Float[Tensor, " N"]:
        return torch.rand(N, generator=generator, device=images.device) * (high - low) + low

    angle = uniform(-MAX_ROTATION, MAX_ROTATION)
    # affine_grid measures in half images: a shift of s pixels at 28 is 2 s / 28 at any size.
    dx, dy = (uniform(-MAX_SHIFT, MAX_SHIFT) * 2 / REFERENCE_HEIGHT for _ in range(2))
    cos, sin = angle.cos(), angle.sin()
    warp = torch.stack([cos, -sin * H / W, dx, sin * W / H, cos, dy], dim=-1).view(N, 2, 3)
    grid = F.affine_grid(warp, [N, 1, H, W], align_corners=False)
    ink = F.grid_sample(ink, grid, align_corners=False)
    ink = blurred(ink, uniform(0, MAX_BLUR)) * uniform(*CONTRAST)[:, None, None, None]
    noise = torch.randn(ink.shape, generator=generator, device=ink.device) * uniform(0, MAX_NOISE)[:, None, None, None]
    return (ink + ground + noise).clamp(0, 1).view(images.shape)
