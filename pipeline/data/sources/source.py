"""What a source of images is to the rest: a name, and the official images that it reads, or says what is missing."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from jaxtyping import Int64
from torch import Tensor

from pipeline.data.splits import Split


@dataclass(frozen=True, eq=False)
class Official:
    """A data set as it is published."""

    train: Split
    test: Split | None
    """None where there is no official test set: one is drawn."""
    class_names: tuple[str, ...]
    """One name per class index."""
    val: Split | None = None
    """None where none is given: it is drawn from the training images."""
    same: Int64[Tensor, " N"] | None = None
    """Of the training images, a number that those share which are alike to the pixel: they are kept in one split. None
    where a published data set is taken as it is."""
    notes: tuple[str, ...] = ()
    """What was left out, and what somebody should know."""


class Source(Protocol):
    """One data set, wherever it comes from."""

    @property
    def origin(self) -> str:
        """Who has it, in a word: what a tracker shows beside its name."""
        ...

    def read(self, root: Path, *, download: bool) -> Official:
        """The official images from the raw files under `root`, fetched first if they are missing and may be.

        DataError if they are missing and cannot be had, or are corrupt.
        """
        ...
