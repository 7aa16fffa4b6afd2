"""What images of one's own are before they are decoded: how many, of which class and split. Knows no files."""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from jaxtyping import Int64

from pipeline.data.sources.pixels import Picture
from pipeline.errors import DataError

SPLITS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}
"""Names that people give to the three splits."""


@dataclass(frozen=True, eq=False)
class Catalogue:
    """Every image by its class and split."""

    class_names: tuple[str, ...]
    labels: Int64[np.ndarray, " N"]
    """Class indices 0 .. K-1."""
    splits: tuple[str, ...]
    """train, val or test of every image; all empty where they are to be drawn."""
    content: str
    """SHA-256 of images, labels, splits and class names: of what is there, whatever it is called and wherever."""
    notes: tuple[str, ...] = ()
    """What was left out."""

    @property
    def given(self) -> bool:
        """Whether it came in splits."""
        return any(self.splits)

    @property
    def to_train_on(self) -> int:
        """Images to train and validate on, if they are all decoded; where splits are to be drawn, all."""
        return sum(split != "test" for split in self.splits)


class Gallery(Protocol):
    """A folder, or an array file."""

    def catalogue(self) -> Catalogue:
        """What is there; DataError if it is no data set."""
        ...

    def pictures(self) -> Iterator[Picture | str]:
        """Every image in the order of the catalogue; a text says why one cannot be decoded."""
        ...

    def name(self, index: int) -> str:
        """What a person calls the image at that place of the catalogue."""
        ...


def class_order(name: str) -> tuple[list[tuple[int, int, str]], str]:
    """Sorts names as people do: 2 before 10, whatever their case."""
    parts = re.findall(r"\d+|\D+", name)
    natural = [(0, int(p), "") if p.isascii() and p.isdigit() else (1, 0, p.casefold()) for p in parts]
    return natural, name


def readable(name: str) -> str:
    """A name from a file system as text: composed (macOS takes accents apart), undecodable bytes as a question mark."""
    text = name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return unicodedata.normalize("NFC", text)


def checked(catalogue: Catalogue, where: str) -> Catalogue:
    """The same; DataError unless there are two classes or more, and a training split that has them all."""
    names = catalogue.class_names
    if len(names) < 2:
        raise DataError(
            f"{where} has images of one class, {names[0]!r}; a data set needs two or more: a sub-folder per class, or "
            "several values in y"
        )
    if catalogue.given:
        splits = np.array(catalogue.splits)
        for split in ("train", "test"):
            counts = np.bincount(catalogue.labels[splits == split], minlength=len(names))
            if not counts.any():
                raise DataError(f"{where} has no images in {split}; it needs train and test, and val if you like")
            if not counts.all():
                raise DataError(
                    f"{where} has no image of class {names[int(counts.argmin())]!r} in {split}; every split needs "
                    "images of every class"
                )
    return catalogue


def counted(counts: Sequence[tuple[int, str, str]]) -> str:
    """(3, "file", "files"), .. as "3 files, 1 link": what is nought is left out."""
    return ", ".join(f"{n:,} {one if n == 1 else many}" for n, one, many in counts if n)
