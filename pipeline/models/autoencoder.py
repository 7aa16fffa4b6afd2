"""AE, VAE and CVAE as multilayer perceptrons: images and labels in, logits out. No losses, no training.

One class under one interface. The three kinds differ in two facts only: whether z is drawn or is the mean, and whether
the label is seen:

    kind   z                    decoder sees   encoder sees
    ae     mu                   z              x
    vae    mu + sigma * eps     z              x
    cvae   mu + sigma * eps     z, c           x, c  (or x alone)
"""

from itertools import pairwise

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from pipeline.models.linear import Linear


def mlp(sizes: tuple[int, ...]) -> nn.Sequential:
    """Linear layers of these sizes with ReLU between them, none after the last."""
    layers: list[nn.Module] = []
    for n_in, n_out in pairwise(sizes):
        layers += [Linear(n_in, n_out), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


class Autoencoder(nn.Module):
    """An autoencoder of flat images in [0, 1]; D pixels, K classes, Z latent dimensions.

    The decoder's hidden widths are the encoder's, reversed.
    """

    def __init__(
        self,
        kind: str,
        *,
        pixels: int,
        classes: int,
        latent_dim: int,
        hidden: tuple[int, ...],
        condition_encoder: bool = True,
    ) -> None:
        super().__init__()
        self.kind, self.pixels, self.classes, self.latent_dim = kind, pixels, classes, latent_dim
        self.label_width_in = classes if self.conditional and condition_encoder else 0
        self.label_width_out = classes if self.conditional else 0
        outputs = 2 * latent_dim if self.stochastic else latent_dim
        self.encoder = mlp((pixels + self.label_width_in, *hidden, outputs))
        self.decoder = mlp((latent_dim + self.label_width_out, *reversed(hidden), pixels))

    @property
    def stochastic(self) -> bool:
        """Whether z is drawn from q(z|x): true of vae and cvae."""
        return self.kind != "ae"

    @property
    def conditional(self) -> bool:
        """Whether the decoder sees the label: true of cvae."""
        return self.kind == "cvae"

    def encode(
        self, x: Float[Tensor, "B D"], y: Int[Tensor, " B"]
    ) -> tuple[Float[Tensor, "B Z"], Float[Tensor, "B Z"] | None]:
        """Mean and log-variance of q(z|x,c); the log-variance is None for a deterministic autoencoder."""
        codes = self.encoder(_with_label(x, y, self.label_width_in))
        if not self.stochastic:
            return codes, None
        mu, logvar = codes.chunk(2, dim=-1)
        return mu, logvar

    def decode(self, z: Float[Tensor, "N Z"], y: Int[Tensor, " N"]) -> Float[Tensor, "N D"]:
        """Pixel logits of p(x|z,c); their sigmoid is the Bernoulli mean."""
        return self.decoder(_with_label(z, y, self.label_width_out))

    def decode_mixture(self, z: Float[Tensor, "N Z"], weights: Float[Tensor, "N K"]) -> Float[Tensor, "N D"]:
        """The same of a cvae for a label between classes: a weight per class, 1 in sum; one-hot is a class."""
        return self.decoder(torch.cat([z, weights], dim=-1))


def _with_label(x: Float[Tensor, "B D"], y: Int[Tensor, " B"], width: int) -> Float[Tensor, "B D+width"]:
    return torch.cat([x, F.one_hot(y, width).to(x.dtype)], dim=-1) if width else x


def reparametrise(mu: Float[Tensor, "B Z"], logvar: Float[Tensor, "B Z"], eps: Float[Tensor, "B Z"]) -> Tensor:
    """z = mu + sigma * eps, eps ~ N(0, I): a draw from q that gradients pass through (Kingma & Welling 2014, 2.4)."""
    return mu + (0.5 * logvar).exp() * eps
