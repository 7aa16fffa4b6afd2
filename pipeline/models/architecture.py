"""What a model is to training, scoring and sampling, whatever its layers. Knows tensors; no layers, no losses."""

from collections.abc import Iterator, Mapping
from typing import Any, Protocol, Self

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from pipeline.models.likelihoods import Likelihood


class Architecture(Protocol):
    """An autoencoder of flat images in [0, 1]; D pixels, K classes, Z latent dimensions. A torch module.

    How its gradient is computed is its own affair: `models.gradients.gradients_of` writes it out where it can, and
    leaves it to autograd otherwise.
    """

    classes: int
    latent_dim: int
    likelihood: Likelihood
    """What the decoder's logits mean."""

    @property
    def stochastic(self) -> bool:
        """Whether z is drawn from q(z|x)."""
        ...

    @property
    def conditional(self) -> bool:
        """Whether the decoder sees the label."""
        ...

    def encode(
        self, x: Float[Tensor, "B D"], y: Int[Tensor, " B"]
    ) -> tuple[Float[Tensor, "B Z"], Float[Tensor, "B Z"] | None]:
        """Mean and log-variance of q(z|x,c); the log-variance is None for a deterministic autoencoder."""
        ...

    def decode(self, z: Float[Tensor, "N Z"], y: Int[Tensor, " N"]) -> Float[Tensor, "N D"]:
        """Logits of p(x|z,c), from which the likelihood has its mean image and its distortion."""
        ...

    def decode_mixture(self, z: Float[Tensor, "N Z"], weights: Float[Tensor, "N K"]) -> Float[Tensor, "N D"]:
        """The same for a label between classes: a weight per class, 1 in sum; one-hot is a class."""
        ...

    # Of torch's module, what the rest of the program calls.
    def parameters(self) -> Iterator[nn.Parameter]: ...
    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state_dict: Mapping[str, Any]) -> Any: ...
    def eval(self) -> Self: ...
    def to(self, device: torch.device) -> Self: ...
