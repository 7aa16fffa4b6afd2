"""The three kinds of autoencoder, ae, vae and cvae, whatever their layers: who draws z, who sees the label. No losses.

    kind   z                    decoder sees   encoder sees
    ae     mu                   z              x
    vae    mu + sigma * eps     z              x
    cvae   mu + sigma * eps     z, c           x, c  (or x alone)

An architecture is a subclass with two networks: `codes` and `logits`.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from pipeline.models.likelihoods import BERNOULLI, Likelihood


class Kind(nn.Module):
    """An autoencoder of flat images in [0, 1]; D values, K classes, Z latent dimensions."""

    likelihood: Likelihood

    def __init__(
        self,
        kind: str,
        *,
        classes: int,
        latent_dim: int,
        condition_encoder: bool = True,
        likelihood: Likelihood = BERNOULLI,
        learned_prior: bool = False,
    ) -> None:
        super().__init__()
        self.kind, self.classes, self.latent_dim = kind, classes, latent_dim
        self.label_width_in = classes if self.conditional and condition_encoder else 0
        self.label_width_out = classes if self.conditional else 0
        self.code_width = 2 * latent_dim if self.stochastic else latent_dim
        self.likelihood = likelihood
        self.prior = ClassPrior(classes, latent_dim) if learned_prior and self.conditional else None

    def codes(self, x: Float[Tensor, "B D"], label: Float[Tensor, "B K"] | None) -> Float[Tensor, "B codes"]:
        """mu, and beside it logvar of a model that draws z; the label is None where the encoder sees none."""
        raise NotImplementedError

    def logits(self, z: Float[Tensor, "N Z"], label: Float[Tensor, "N K"] | None) -> Float[Tensor, "N D"]:
        """What the likelihood takes; the label is None where the decoder sees none."""
        raise NotImplementedError

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
        codes = self.codes(x, _one_hot(y, self.label_width_in, x.dtype))
        if not self.stochastic:
            return codes, None
        mu, logvar = codes.chunk(2, dim=-1)
        if self.prior is not None:
            return self.prior.standardised(mu, logvar, y)
        return mu, logvar

    def decode(self, z: Float[Tensor, "N Z"], y: Int[Tensor, " N"]) -> Float[Tensor, "N D"]:
        """Logits of p(x|z,c), from which the likelihood has its mean image."""
        label = _one_hot(y, self.label_width_out, z.dtype)
        return self.logits(z, None) if label is None else self.decode_mixture(z, label)

    def decode_mixture(self, z: Float[Tensor, "N Z"], weights: Float[Tensor, "N K"]) -> Float[Tensor, "N D"]:
        """The same of a cvae for a label between classes: a weight per class, 1 in sum; one-hot is a class."""
        return self.logits(z if self.prior is None else self.prior.placed(z, weights), weights)


class ClassPrior(nn.Module):
    """p(z|c) = N(m_c, diag s_c^2) with m and s learned (Sohn et al. 2015, section 4: the conditional prior of a cvae).

    Everybody else sees it in the coordinates in which it is N(0, I), u = (z - m_c) / s_c: no kl and no bound changes
    under such a map, and noise, fitted priors and samples need not know of it.
    """

    def __init__(self, classes: int, latent_dim: int) -> None:
        super().__init__()
        self.mean = nn.Parameter(torch.zeros(classes, latent_dim))
        self.log_scale = nn.Parameter(torch.zeros(classes, latent_dim))

    def standardised(
        self, mu: Float[Tensor, "B Z"], logvar: Float[Tensor, "B Z"], y: Int[Tensor, " B"]
    ) -> tuple[Float[Tensor, "B Z"], Float[Tensor, "B Z"]]:
        """q(z|x,c) as q(u|x,c)."""
        log_scale = self.log_scale[y]
        return (mu - self.mean[y]) * (-log_scale).exp(), logvar - 2 * log_scale

    def placed(self, u: Float[Tensor, "N Z"], weights: Float[Tensor, "N K"]) -> Float[Tensor, "N Z"]:
        """z of u; between classes by the mixed mean and log scale."""
        return weights @ self.mean + (weights @ self.log_scale).exp() * u


def _one_hot(y: Int[Tensor, " B"], width: int, dtype: torch.dtype) -> Float[Tensor, "B K"] | None:
    return F.one_hot(y, width).to(dtype) if width else None
