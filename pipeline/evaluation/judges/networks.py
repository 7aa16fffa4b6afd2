"""The two judges as networks, and what is read from them: logits and features. Knows tensors."""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from pipeline.grids import Shape

Kind = Literal["a", "b"]

BATCH = 250
"""Images per forward pass when judging: on one core a larger batch falls out of the cache and is 1.6 times slower."""


class ConvJudge(nn.Module):
    """Judge A: two blocks of two 3x3 convolutions and a max-pool, then one hidden layer; flat images in [0, 1].

    A side of one pixel is pooled no further. A block pools before it normalises (as airbench does): a quarter of the
    batch-norm work.
    """

    def __init__(self, *, shape: Shape, classes: int) -> None:
        super().__init__()
        self.shape = shape
        channels, height, width = shape
        once, twice = pooled((height, width)), pooled(pooled((height, width)))
        self.convolutions = nn.Sequential(
            *_convolution(channels, 16),
            *_convolution(16, 16, pool=pooling((height, width))),
            *_convolution(16, 32),
            *_convolution(32, 32, pool=pooling(once)),
        )
        self.head = nn.Sequential(*_hidden(32 * math.prod(twice), 128), nn.Linear(128, classes))

    def features(self, x: Float[Tensor, "B D"]) -> Float[Tensor, "B F"]:
        """The last convolution's activations after the last pool, flat: F = 32 * (H // 4) * (W // 4)."""
        x = x.view(-1, *self.shape)
        # Channels last is 1.5 times faster on a CPU; only the activations are, so that the weights save as they are.
        return self.convolutions(x.to(memory_format=torch.channels_last)).flatten(1)

    def forward(self, x: Float[Tensor, "B D"]) -> Float[Tensor, "B K"]:
        """Class logits."""
        return self.head(self.features(x))


class MLPJudge(nn.Module):
    """Judge B: two hidden layers of 512 and 256 with dropout; flat images in [0, 1]."""

    def __init__(self, *, shape: Shape, classes: int) -> None:
        super().__init__()
        self.body = nn.Sequential(*_hidden(math.prod(shape), 512), nn.Dropout(0.2), *_hidden(512, 256))
        self.head = nn.Sequential(nn.Dropout(0.2), nn.Linear(256, classes))

    def features(self, x: Float[Tensor, "B D"]) -> Float[Tensor, "B F"]:
        """The last hidden layer's activations: F = 256."""
        return self.body(x)

    def forward(self, x: Float[Tensor, "B D"]) -> Float[Tensor, "B K"]:
        """Class logits."""
        return self.head(self.features(x))


Judge = ConvJudge | MLPJudge


def pooling(size: tuple[int, int]) -> tuple[int, int]:
    """The window of a 2 x 2 pool for images of that height and width: a side of one pixel is left as it is."""
    height, width = size
    return min(2, height), min(2, width)


def pooled(size: tuple[int, int]) -> tuple[int, int]:
    """Height and width after that pool."""
    (height, width), (down, across) = size, pooling(size)
    return height // down, width // across


def _convolution(n_in: int, n_out: int, *, pool: tuple[int, int] | None = None) -> list[nn.Module]:
    return [
        nn.Conv2d(n_in, n_out, 3, padding=1, bias=False),
        *([nn.MaxPool2d(pool)] if pool else []),
        nn.BatchNorm2d(n_out),
        nn.ReLU(inplace=True),
    ]


def _hidden(n_in: int, n_out: int) -> list[nn.Module]:
    return [nn.Linear(n_in, n_out, bias=False), nn.BatchNorm1d(n_out), nn.ReLU(inplace=True)]


def build_judge(kind: Kind, *, shape: Shape, classes: int) -> Judge:
    """An untrained judge for images of (channels, height, width) and K classes."""
    architecture = ConvJudge if kind == "a" else MLPJudge
    return architecture(shape=shape, classes=classes)


def judge_outputs(
    judge: Judge, x: Float[Tensor, "N D"], *, batch: int = BATCH
) -> tuple[Float[Tensor, "N K"], Float[Tensor, "N F"]]:
    """Logits and features of flat images in [0, 1], from one pass; `batch` images at a time."""
    with torch.inference_mode():
        features = extract_features(judge, x, batch=batch)
        return judge.head(features), features


def predict_logits(judge: Judge, x: Float[Tensor, "N D"], *, batch: int = BATCH) -> Float[Tensor, "N K"]:
    """Logits of flat images in [0, 1]; `batch` images at a time."""
    with torch.inference_mode():
        return torch.cat([judge(part) for part in x.split(batch)])


def extract_features(judge: Judge, x: Float[Tensor, "N D"], *, batch: int = BATCH) -> Float[Tensor, "N F"]:
    """Features of flat images in [0, 1], the space coverage is measured in; `batch` images at a time."""
    with torch.inference_mode():
        return torch.cat([judge.features(part) for part in x.split(batch)])


@dataclass(frozen=True)
class Judges:
    """Judge A drives every score; judge B is held out for reports."""

    a: Judge
    b: Judge
