"""Adam's state and step, for one model or one member of a population. Knows tensors; no models, losses or schedules."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8
"""Kingma & Ba 2015, algorithm 1: the defaults of the paper and of torch.optim.Adam."""


@dataclass
class Adam:
    """Adam (Kingma & Ba 2015) by torch's fused kernel: the arithmetic of torch.optim.Adam(fused=True), without what it
    does around it, which costs a third of the kernel on a CPU (it counts steps once per tensor)."""

    means: list[Tensor]
    """Running mean of each parameter's gradient."""
    squares: list[Tensor]
    """Running mean of its square."""
    steps: Tensor
    """Steps taken, a float32 scalar on the parameters' device."""

    @staticmethod
    def start(parameters: Sequence[Tensor]) -> "Adam":
        """The state before the first step."""
        zeros = [torch.zeros_like(p) for p in parameters]
        return Adam(zeros, [z.clone() for z in zeros], torch.zeros((), device=parameters[0].device))

    def step(
        self, parameters: Sequence[Tensor], gradients: Sequence[Tensor], learning_rate: float | Float[Tensor, ""]
    ) -> None:
        """Change the parameters in place. A rate in a tensor (float32, on the parameters' device) is read when the
        kernel runs, so that a captured graph takes what is in it at each replay."""
        self.steps += 1
        torch._fused_adam_(
            list(parameters),
            list(gradients),
            self.means,
            self.squares,
            [],
            [self.steps] * len(parameters),
            lr=learning_rate,
            beta1=BETA1,
            beta2=BETA2,
            weight_decay=0.0,
            eps=EPSILON,
            amsgrad=False,
            maximize=False,
        )

    def state(self) -> dict[str, list[Tensor] | Tensor]:
        """What a checkpoint keeps."""
        return {"means": self.means, "squares": self.squares, "steps": self.steps}

    def restore(self, state: dict[str, list[Tensor] | Tensor]) -> None:
        """Go on from what `state` gave."""
        for own, saved in zip((*self.means, *self.squares, self.steps), _flat(state), strict=True):
            own.copy_(saved)


def _flat(state: dict[str, list[Tensor] | Tensor]) -> list[Tensor]:
    return [*state["means"], *state["squares"], torch.as_tensor(state["steps"])]
