"""Autoencoders with convolutions, for images of any height, width and channels. No losses, no training.

    encoder   x, c -> convolutions, each halving the sides -> hidden layers -> codes
    decoder   z, c -> hidden layers -> transposed convolutions, each doubling the sides -> logits

What was tried beside it, and what it gave, is in docs/DESIGN.md.
"""

import math
from itertools import pairwise
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from pipeline.models.autoencoder import beside
from pipeline.models.kinds import Kind
from pipeline.models.linear import Linear

FIRST_CHANNELS, MOST_CHANNELS = 32, 128
"""Of the first convolution where none are given; each later one has twice as many, up to the second number."""
COARSE_ENOUGH = 8
"""Pixels of the longer side at which no convolution is added any more."""
HALVED_FROM = 4
"""A side below this many pixels is left as it is."""

Size = tuple[int, int]


class ConvAutoencoder(Kind):
    """An autoencoder of flat images that are (channels, height, width) in this order.

    `conv_channels` are the output channels of the encoder's convolutions, image side first; of none, as many as the
    image asks for. The decoder mirrors them, and `hidden`. `options` are those of every `Kind`.
    """

    def __init__(
        self,
        kind: str,
        *,
        shape: tuple[int, int, int],
        classes: int,
        latent_dim: int,
        hidden: tuple[int, ...],
        conv_channels: tuple[int, ...] = (),
        **options: Any,
    ) -> None:
        super().__init__(kind, classes=classes, latent_dim=latent_dim, **options)
        image_channels, height, width = shape
        channels = (image_channels, *(conv_channels or default_channels((height, width))))
        sizes = [(height, width)]
        for _ in channels[1:]:
            sizes.append(halved(sizes[-1]))
        steps = list(zip(pairwise(channels), pairwise(sizes), strict=True))
        features = channels[-1] * math.prod(sizes[-1])
        self.shape, self.coarsest = shape, (channels[-1], *sizes[-1])

        down: list[nn.Module] = []
        for (n_in, n_out), (size, _) in steps:
            stride = strides(size)
            down += [nn.Conv2d(n_in, n_out, kernel(stride), stride, padding=1), nn.SiLU()]
        self.down = nn.Sequential(*down, nn.Flatten())
        self.to_codes = dense((features + self.label_width_in, *hidden, self.code_width))

        self.from_codes = dense((latent_dim + self.label_width_out, *reversed(hidden), features))
        up: list[nn.Module] = []
        for (n_out, n_in), (size, coarser) in reversed(steps):
            stride = strides(size)
            lost = size[0] - stride[0] * coarser[0], size[1] - stride[1] * coarser[1]  # of an odd side
            up += [nn.SiLU(), nn.ConvTranspose2d(n_in, n_out, kernel(stride), stride, padding=1, output_padding=lost)]
        self.up = nn.Sequential(*up, nn.Flatten())

    def codes(self, x: Float[Tensor, "B D"], label: Float[Tensor, "B K"] | None) -> Float[Tensor, "B codes"]:
        return self.to_codes(beside(self.down(x.view(-1, *self.shape)), label))

    def logits(self, z: Float[Tensor, "N Z"], label: Float[Tensor, "N K"] | None) -> Float[Tensor, "N D"]:
        return self.up(self.from_codes(beside(z, label)).view(-1, *self.coarsest))


def default_channels(size: Size) -> tuple[int, ...]:
    """Channels of as many convolutions as bring the longer side to COARSE_ENOUGH pixels; one at least."""
    channels = [FIRST_CHANNELS]
    while max(size := halved(size)) > COARSE_ENOUGH:
        channels.append(min(2 * channels[-1], MOST_CHANNELS))
    return tuple(channels)


def strides(size: Size) -> Size:
    """Of the convolution that takes an image of this size."""
    height, width = size
    return 2 if height >= HALVED_FROM else 1, 2 if width >= HALVED_FROM else 1


def kernel(stride: Size) -> Size:
    """4 pixels where a side is halved, so that every pixel is seen as often; 3 where it is not. Both with padding 1."""
    return stride[0] + 2, stride[1] + 2


def halved(size: Size) -> Size:
    """What such a convolution makes of it; an odd side is rounded down."""
    return size[0] // strides(size)[0], size[1] // strides(size)[1]


def dense(sizes: tuple[int, ...]) -> nn.Sequential:
    """Linear layers of these sizes with SiLU between them, none after the last."""
    layers: list[nn.Module] = []
    for n_in, n_out in pairwise(sizes):
        layers += [Linear(n_in, n_out), nn.SiLU()]
    return nn.Sequential(*layers[:-1])
