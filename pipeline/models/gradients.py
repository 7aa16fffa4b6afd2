"""The ELBO's gradients: written out for multilayer perceptrons with a Bernoulli decoder, one or a stack of K.

Any other model's come by autograd.

A multilayer perceptron's gradient is short enough to write down, and then nothing is recorded or dispatched twice, and
each product can go to the fastest library (`linear`).

The same lines serve one model and a stack: a stack has a leading axis K on every tensor, and its products are batched.
Members of a stack never meet, so one that diverges leaves the others alone. Knows tensors; no optimizer or data.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from pipeline.models.architecture import Architecture
from pipeline.models.autoencoder import Autoencoder, reparametrise
from pipeline.models.likelihoods import Bernoulli, bernoulli_bce
from pipeline.models.linear import affine, product
from pipeline.models.losses import gaussian_kl_per_dim

Layer = tuple[Float[Tensor, "*K out in"], Float[Tensor, "*K out"]]
"""Weight and bias of a linear layer."""


@dataclass(frozen=True)
class Layers:
    """The parameters of one model, or of K stacked ones, and which of the three kinds they are."""

    encoder: tuple[Layer, ...]
    decoder: tuple[Layer, ...]
    stochastic: bool
    labelled_in: bool
    """Whether the encoder sees the label."""
    labelled_out: bool
    """Whether the decoder does."""

    @staticmethod
    def of(model: Autoencoder) -> "Layers":
        """The model's own tensors: a change of them changes the model."""
        return Layers.like(model, [p.detach() for p in model.parameters()])

    @staticmethod
    def like(model: Autoencoder, parameters: Sequence[Tensor]) -> "Layers":
        """`parameters`, in the order of `model.parameters()`, as the layers of a model of that kind."""
        pairs = list(zip(parameters[::2], parameters[1::2], strict=True))
        n = len(pairs) // 2  # the decoder's widths are the encoder's, reversed
        labelled = model.label_width_in > 0, model.label_width_out > 0
        return Layers(tuple(pairs[:n]), tuple(pairs[n:]), model.stochastic, *labelled)


def activations(x: Float[Tensor, "*K B in"], layers: tuple[Layer, ...]) -> list[Float[Tensor, "*K B width"]]:
    """What goes into each layer of a ReLU network, and last what comes out of it."""
    passed = [x]
    for i, (weight, bias) in enumerate(layers, start=1):
        passed.append(affine(passed[-1], weight, bias, relu=i < len(layers)))
    return passed


def back(
    grad: Float[Tensor, "*K B out"], passed: Sequence[Float[Tensor, "*K B width"]], layers: tuple[Layer, ...]
) -> tuple[list[Tensor], Float[Tensor, "*K B first"]]:
    """Gradients of weights and biases, in the order of the layers, and of the first layer's output before its ReLU.

    `grad` is that of the network's output; `passed` what went into each layer.
    """
    grads: list[Tensor] = []
    for i in reversed(range(len(layers))):
        grads = [product(grad.mT, passed[i]), grad.sum(-2), *grads]
        if i:  # through the layer's weights, then through the ReLU before it
            grad = torch.ops.aten.threshold_backward(product(grad, layers[i][0]), passed[i], 0)
    return grads, grad


def elbo_gradients(
    layers: Layers,
    x: Float[Tensor, "*K B D"],
    c: Float[Tensor, "*K B C"],
    eps: Float[Tensor, "*K B Z"],
    beta: float | Float[Tensor, " *K"],
    *,
    free_bits: float = 0.0,
) -> tuple[list[Tensor], Float[Tensor, "*K B"], Float[Tensor, "*K B"]]:
    """Gradients of the batch mean of bce + beta * kl, in the order of the parameters; bce and kl in nats per image.

    x in [0, 1], its label c one-hot, z = mu + sigma * eps (as in `losses.decoded_terms`). With `free_bits` a latent
    dimension adds what is above that many nats of its mean over the batch (`freed`). A deterministic autoencoder takes
    no eps and has no kl. Latent dimensions that a stack is padded with have weights, bias and eps 0: their mu, logvar
    and z are 0, so are their kl and every gradient, and Adam leaves them 0.
    """
    B = x.shape[-2]
    coded = activations(torch.cat([x, c], -1) if layers.labelled_in else x, layers.encoder)
    if layers.stochastic:
        mu, logvar = coded[-1].chunk(2, dim=-1)
        z = reparametrise(mu, logvar, eps)
        kl_per_dim = gaussian_kl_per_dim(mu, logvar)
        kl = kl_per_dim.sum(-1)
    else:
        z, kl = coded[-1], torch.zeros_like(x[..., 0])
    decoded = activations(torch.cat([z, c], -1) if layers.labelled_out else z, layers.decoder)
    bce = bernoulli_bce(decoded[-1], x)

    grad_logits = decoded[-1].sigmoid().sub_(x).div_(B)
    decoder_grads, grad = back(grad_logits, decoded, layers.decoder)
    dz = product(grad, layers.decoder[0][0])[..., : z.shape[-1]]
    grad_codes = dz
    if layers.stochastic:
        weight = (beta[:, None, None] if isinstance(beta, Tensor) else beta) / B
        if free_bits:
            weight = weight * (kl_per_dim.mean(-2, keepdim=True) > free_bits)
        dmu = dz + weight * mu
        dlogvar = 0.5 * (dz * (z - mu) + weight * (logvar.exp() - 1))  # dz/dlogvar = sigma * eps / 2
        grad_codes = torch.cat([dmu, dlogvar], dim=-1)
    encoder_grads, _ = back(grad_codes.contiguous(), coded, layers.encoder)
    return encoder_grads + decoder_grads, bce, kl


Gradients = Callable[
    [Float[Tensor, "B D"], Float[Tensor, "B C"], Float[Tensor, "B Z"], float],
    tuple[list[Tensor], Float[Tensor, " B"], Float[Tensor, " B"]],
]
"""(x, c, eps, beta) -> gradients in the order of the parameters, bce, kl: see `elbo_gradients`."""


def written_out(model: Architecture) -> bool:
    """Whether the gradient of this model stands above."""
    return isinstance(model, Autoencoder) and isinstance(model.likelihood, Bernoulli) and model.prior is None


def gradients_of(model: Architecture, *, free_bits: float = 0.0) -> Gradients:
    """The gradients of a model as it is now and as it will be: they follow its parameters."""
    if written_out(model):
        assert isinstance(model, Autoencoder)
        return partial(elbo_gradients, Layers.of(model), free_bits=free_bits)
    return partial(autograd_gradients, model, free_bits=free_bits)


def autograd_gradients(
    model: Architecture,
    x: Float[Tensor, "B D"],
    c: Float[Tensor, "B C"],
    eps: Float[Tensor, "B Z"],
    beta: float,
    *,
    free_bits: float = 0.0,
) -> tuple[list[Tensor], Float[Tensor, " B"], Float[Tensor, " B"]]:
    """The same as `elbo_gradients` for any model, from its forward pass; bce is the distortion of its likelihood."""
    y = c.argmax(-1)
    with torch.enable_grad():
        mu, logvar = model.encode(x, y)
        if logvar is None:
            z, kl = mu, torch.zeros_like(x[:, 0])
            rate = kl.mean()
        else:
            z, kl_per_dim = reparametrise(mu, logvar, eps), gaussian_kl_per_dim(mu, logvar)
            kl, rate = kl_per_dim.sum(-1), freed(kl_per_dim, free_bits)
        bce = model.likelihood.nll(model.decode(z, y), x)
        parameters = list(model.parameters())
        gradients = torch.autograd.grad(bce.mean() + beta * rate, parameters)
    # The optimizer's kernel walks a gradient as it lies in memory, which must be as its parameter does.
    return [g.contiguous() for g in gradients], bce.detach(), kl.detach()


def freed(kl_per_dim: Float[Tensor, "B Z"], free_bits: float) -> Float[Tensor, ""]:
    """The rate that is trained: sum_d max(free_bits, mean over the batch of kl_d) (Kingma et al. 2016, eq. 15), so that
    a dimension is not pushed below that many nats; without free bits the batch mean of the kl."""
    mean = kl_per_dim.mean(0)
    return (mean.clamp(min=free_bits) if free_bits else mean).sum()
