"""A Gaussian blur that loses no grey. Knows pixels."""

import torch
from jaxtyping import Float
from torch import Tensor

REFERENCE_HEIGHT = 28
"""Image height at which shifts and blurs are given in pixels."""


def blurred(images: Float[Tensor, "N *C H W"], sigma: float | Float[Tensor, " N"]) -> Float[Tensor, "N *C H W"]:
    """Images convolved with a Gaussian of standard deviation sigma, in pixels at 28 x 28; one sigma, or one per image.

    Borders mirror the image (scipy's mode "reflect"), so that no grey is lost: a blurred image sums to what it did.
    """
    if images.dim() == 4:  # the channels of an image are blurred alike
        each = sigma.repeat_interleave(images.shape[1]) if isinstance(sigma, Tensor) and sigma.dim() else sigma
        return blurred(images.flatten(0, 1), each).unflatten(0, images.shape[:2])
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
