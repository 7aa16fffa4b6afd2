"""Linear layers and matrix products by the fastest library at hand. Knows tensors; no models and no gradients.

torch sends float32 products on a CPU to MKL, which uses half the vector width of processors that are not Intel's:
0.40 ms for 64 x 784 x 400 on one core of a recent AMD, against 0.20 ms by oneDNN, which is in the same wheel.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

HAS_ONEDNN = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")


def product(a: Float[Tensor, "*K n m"], b: Float[Tensor, "*K m p"]) -> Float[Tensor, "*K n p"]:
    """a @ b, batched for a stack; not differentiable. Each is dense, or the transpose of something dense.

    A view of a part of a matrix gives the right numbers too, by a path of oneDNN's that is 4,000 times slower.
    """
    if a.dim() == 3:
        return torch.bmm(a, b)
    if _by_onednn(a):
        return torch.ops.mkldnn._linear_pointwise(a, b.mT, None, "none", [], "")
    return torch.mm(a, b)


def affine(
    x: Float[Tensor, "*K B in"], weight: Float[Tensor, "*K out in"], bias: Float[Tensor, "*K out"], *, relu: bool
) -> Float[Tensor, "*K B out"]:
    """x W^T + b, and then ReLU if asked for; batched for a stack; not differentiable."""
    if _by_onednn(x):
        return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "relu" if relu else "none", [], "")
    y = torch.baddbmm(bias.unsqueeze(-2), x, weight.mT) if x.dim() == 3 else torch.addmm(bias, x, weight.mT)
    return y.relu_() if relu else y


def _by_onednn(x: Tensor) -> bool:
    return HAS_ONEDNN and x.dim() == 2 and x.device.type == "cpu" and x.dtype == torch.float32


class Linear(nn.Linear):
    """nn.Linear, by `affine` where nobody asks for gradients."""

    def forward(self, input: Tensor) -> Tensor:
        if torch.is_grad_enabled() and (input.requires_grad or self.weight.requires_grad):
            return super().forward(input)
        return affine(input.contiguous(), self.weight, self.bias, relu=False)
