"""Autoencoders as multilayer perceptrons: images and labels in, logits out. No losses, no training."""

from itertools import pairwise
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from pipeline.models.kinds import Kind
from pipeline.models.linear import Linear


def mlp(sizes: tuple[int, ...]) -> nn.Sequential:
    """Linear layers of these sizes with ReLU between them, none after the last."""
    layers: list[nn.Module] = []
    for n_in, n_out in pairwise(sizes):
        layers += [Linear(n_in, n_out), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


class Autoencoder(Kind):
    """A multilayer perceptron; the label is beside its inputs. The decoder's hidden widths are the encoder's, reversed.

    D pixels, K classes, Z latent dimensions; `options` are those of every `Kind`.
    """

    def __init__(
        self, kind: str, *, pixels: int, classes: int, latent_dim: int, hidden: tuple[int, ...], **options: Any
    ) -> None:
        super().__init__(kind, classes=classes, latent_dim=latent_dim, **options)
        self.pixels = pixels
        self.encoder = mlp((pixels + self.label_width_in, *hidden, self.code_width))
        self.decoder = mlp((latent_dim + self.label_width_out, *reversed(hidden), pixels))

    def codes(self, x: Float[Tensor, "B D"], label: Float[Tensor, "B K"] | None) -> Float[Tensor, "B codes"]:
        return self.encoder(beside(x, label))

    def logits(self, z: Float[Tensor, "N Z"], label: Float[Tensor, "N K"] | None) -> Float[Tensor, "N D"]:
        return self.decoder(beside(z, label))


def beside(x: Float[Tensor, "B D"], label: Float[Tensor, "B K"] | None) -> Float[Tensor, "B D+K"]:
    """x and its label side by side; x alone where there is none."""
    return x if label is None else torch.cat([x, label], dim=-1)


def reparametrise(mu: Float[Tensor, "B Z"], logvar: Float[Tensor, "B Z"], eps: Float[Tensor, "B Z"]) -> Tensor:
    """z = mu + sigma * eps, eps ~ N(0, I): a draw from q that gradients pass through (Kingma & Welling 2014, 2.4)."""
    return mu + (0.5 * logvar).exp() * eps
