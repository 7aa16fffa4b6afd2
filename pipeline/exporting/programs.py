"""What is exported of a model, as torch programs for any number of images: generate, decode, encode. No files.

    generator   label, noise, uniform -> images        z from the prior that the model is scored under
    decoder     z, label -> images                     z of one's own
    encoder     images, label -> mean, logvar          of q(z|x,c)

label (N,) int64; noise, z, mean, logvar (N, Z), noise standard normal; uniform (N,) in [0, 1); images (N, C, H, W) in
[0, 1]. A model without labels passes over the label it is given.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from pipeline.models.architecture import Architecture
from pipeline.models.priors import ClassMixtures, Prior

Shape = tuple[int, int, int]
EXAMPLES = 3
"""Images that a program is traced with; its number of images stays open."""


class _Program(nn.Module):
    """A model as a torch module that can be traced, with the shape of its images."""

    def __init__(self, model: Architecture, shape: Shape) -> None:
        super().__init__()
        self.model, self.shape = model, shape

    def images(self, z: Float[Tensor, "N Z"], label: Int[Tensor, " N"]) -> Float[Tensor, "N C H W"]:
        return self.model.likelihood.mean(self.model.decode(z, label)).unflatten(1, self.shape)


class Decoder(_Program):
    def forward(self, z: Float[Tensor, "N Z"], label: Int[Tensor, " N"]) -> Float[Tensor, "N C H W"]:
        return self.images(z, label)


class Generator(_Program):
    """The decoder behind its prior."""

    prior_weights: Tensor
    prior_means: Tensor
    prior_roots: Tensor

    def __init__(self, model: Architecture, shape: Shape, prior: Prior) -> None:
        super().__init__(model, shape)
        self.mixtures = isinstance(prior, ClassMixtures)
        if isinstance(prior, ClassMixtures):
            for name in ("weights", "means", "roots"):
                self.register_buffer(f"prior_{name}", getattr(prior, name))

    def forward(
        self, label: Int[Tensor, " N"], noise: Float[Tensor, "N Z"], uniform: Float[Tensor, " N"]
    ) -> Float[Tensor, "N C H W"]:
        z = noise
        if self.mixtures:
            prior = ClassMixtures(self.prior_weights, self.prior_means, self.prior_roots)
            z = prior.draw(noise, uniform, label)
        return self.images(z, label)


class Encoder(_Program):
    def forward(
        self, images: Float[Tensor, "N C H W"], label: Int[Tensor, " N"]
    ) -> tuple[Float[Tensor, "N Z"], Float[Tensor, "N Z"]]:
        mean, logvar = self.model.encode(images.flatten(1), label)
        return mean, torch.zeros_like(mean) if logvar is None else logvar


OUTPUTS = {"generator": ("images",), "decoder": ("images",), "encoder": ("mean", "logvar")}


def programs(model: Architecture, prior: Prior, shape: Shape) -> dict[str, nn.Module]:
    """The programs of a model, on the CPU; an ae, which has no prior, generates nothing."""
    model = model.eval().to(torch.device("cpu"))
    made: dict[str, nn.Module] = {"generator": Generator(model, shape, prior)} if model.stochastic else {}
    return {
        name: p.eval()
        for name, p in (made | {"decoder": Decoder(model, shape), "encoder": Encoder(model, shape)}).items()
    }


def inputs_of(name: str, model: Architecture, shape: Shape, n: int, *, seed: int = 0) -> dict[str, Tensor]:
    """Inputs of a program by name, drawn at random."""
    generator = torch.Generator().manual_seed(seed)
    label = torch.randint(model.classes, (n,), generator=generator)
    normal = torch.randn(n, model.latent_dim, generator=generator)
    if name == "generator":
        return {"label": label, "noise": normal, "uniform": torch.rand(n, generator=generator)}
    if name == "decoder":
        return {"z": normal, "label": label}
    return {"images": torch.rand(n, *shape, generator=generator), "label": label}


def traced(program: nn.Module, inputs: dict[str, Tensor]) -> torch.export.ExportedProgram:
    """What a program does, as a graph of torch's operators, for any number of images."""
    number = torch.export.Dim("n", min=1, max=2**20)
    # With gradients, linear layers are torch's own; without, they are oneDNN's, which nothing else knows.
    with torch.enable_grad():
        return torch.export.export(program, (), inputs, dynamic_shapes={name: {0: number} for name in inputs})
