"""Images and labels in memory, and stratified splits of them. Knows tensors; no files, no sources."""

import dataclasses
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Bool, Float, Int, Int64, UInt8
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Split:
    """Images and their labels, on one device."""

    images: UInt8[Tensor, "N *C H W"]
    """0 .. 255: grey (N, H, W), or colour (N, 3, H, W), red first."""
    labels: Int64[Tensor, " N"]
    """Class indices 0 .. K-1."""

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of an image; flat images are in this order."""
        *channels, height, width = self.images.shape[1:]
        return (channels[0] if channels else 1), height, width

    @property
    def pixels(self) -> int:
        """D = C * H * W."""
        return math.prod(self.shape)

    def to(self, device: torch.device | str) -> "Split":
        return Split(self.images.to(device), self.labels.to(device))

    def as_float(self, index: Int[Tensor, " B"] | slice = slice(None)) -> Float[Tensor, "B D"]:
        """The images at `index`, flat, in [0, 1] (255 is exactly 1)."""
        if isinstance(index, slice):
            return _unit_range(self.images[index].flatten(1))
        # ten times faster than images[index] on a CPU
        return _unit_range(self.images.flatten(1).index_select(0, index))

    def batches(self, batch_size: int) -> Iterator[tuple[Float[Tensor, "B D"], Int64[Tensor, " B"]]]:
        """Every image once, in order, flat and in [0, 1], with its label; the last batch may be smaller."""
        for x, y in zip(self.images.flatten(1).split(batch_size), self.labels.split(batch_size), strict=True):
            yield _unit_range(x), y


def _unit_range(pixels: UInt8[Tensor, "B D"]) -> Float[Tensor, "B D"]:
    return pixels / 255


@dataclass(frozen=True, eq=False)
class PreparedData:
    """A data set, split and ready to train on."""

    train: Split
    val: Split
    test: Split
    class_names: tuple[str, ...]
    """One name per class index."""
    name: str
    """The data set, as in `data.dataset`."""
    source_sha256: str
    """Hash of all images and labels as read, whatever the split: names the data in keys and reports."""
    notes: tuple[str, ...] = ()
    """What somebody should know of how they were read: files left out, images that are there twice."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of an image: 1 channel of grey, or 3 of colour. A flat image of D values is in this
        order, so that `x.view(-1, *shape)` is what a convolution takes."""
        return self.train.shape

    @property
    def channels(self) -> int:
        """1 of grey images, 3 of colour."""
        return self.shape[0]

    @property
    def height(self) -> int:
        return self.shape[1]

    @property
    def width(self) -> int:
        return self.shape[2]

    @property
    def pixels(self) -> int:
        """D = channels * height * width."""
        return self.train.pixels

    @cached_property
    def ground(self) -> Float[Tensor, " C"]:
        """What training images have around what they show: see `ground_of`."""
        return ground_of(self.train.images)

    @property
    def classes(self) -> int:
        """K."""
        return len(self.class_names)

    def split(self, name: str) -> Split:
        """train, val or test."""
        return {"train": self.train, "val": self.val, "test": self.test}[name]

    def to(self, device: torch.device | str) -> "PreparedData":
        return dataclasses.replace(
            self, train=self.train.to(device), val=self.val.to(device), test=self.test.to(device)
        )


def ground_of(images: UInt8[Tensor, "N *C H W"]) -> Float[Tensor, " C"]:
    """What images have around what they show, in [0, 1]: the median of their border pixels, of each channel; 0 of
    MNIST. What is shifted or turned has this come in at its sides."""
    by_channel = images.view(len(images), -1, *images.shape[-2:])  # (N, C, H, W)
    sides = (by_channel[..., 0], by_channel[..., -1], by_channel[..., 0, 1:-1], by_channel[..., -1, 1:-1])
    border = torch.cat([side.movedim(1, 0).flatten(1) for side in sides], dim=1)  # (C, N * border)
    counts = torch.stack([channel.int().bincount(minlength=256) for channel in border])  # (C, 256)
    return (counts.cumsum(1) * 2 < border.shape[1]).sum(1) / 255


def stratified_mask(labels: Int64[Tensor, " N"], count: int, generator: torch.Generator) -> Bool[Tensor, " N"]:
    """True at `count` random items, each class within one item of its share of them (largest remainder method).

    What is left has its classes within one item of their share too.
    """
    n, sizes = len(labels), labels.bincount()
    take = sizes * count // n  # (K,) whole numbers throughout: no share is lost to rounding
    largest_remainders = (sizes * count % n).argsort(descending=True, stable=True)
    take[largest_remainders[: count - int(take.sum())]] += 1
    order = torch.randperm(n, generator=generator)
    order = order[labels[order].argsort(stable=True)]  # (N,) class by class, random within a class
    rank = torch.arange(n) - (sizes.cumsum(0) - sizes).repeat_interleave(sizes)  # (N,) 0 1 2 .. within each class
    mask = torch.zeros(n, dtype=torch.bool)
    mask[order[rank < take.repeat_interleave(sizes)]] = True
    return mask


def at(split: Split, rows: Int64[Tensor, " M"]) -> Split:
    """The images at these places."""
    return Split(split.images[rows], split.labels[rows])


def where(split: Split, mask: Bool[Tensor, " N"]) -> Split:
    return Split(split.images[mask], split.labels[mask])


def limited(split: Split, limit: int, generator: torch.Generator) -> Split:
    """A stratified subset of `limit` images; all of them if the limit is 0 or larger than the data."""
    return where(split, stratified_mask(split.labels, limit, generator)) if 0 < limit < len(split) else split
