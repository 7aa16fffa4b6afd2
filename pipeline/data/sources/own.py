"""Images of one's own, from a folder or an .npz file: looked at in a second, decoded once into uint8 of one size.

Knows where they are and what was asked of them; which of them are alike to the pixel, it finds.
"""

import difflib
import hashlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from pipeline.config.sections import DATASETS, LARGEST_SIDE, DataConfig, image_size, is_path
from pipeline.data.sources.folder import Folder
from pipeline.data.sources.gallery import Catalogue, Gallery, counted
from pipeline.data.sources.npz import Npz
from pipeline.data.sources.pixels import Picture, Pixels, fitted, in_channels, is_grey
from pipeline.data.sources.source import Official
from pipeline.data.splits import Split
from pipeline.errors import ConfigError, DataError

Progress = Callable[[str, int, int, str], None]
"""Called with (what, done, total, note)."""

TELL_EVERY = 200
"""Images between two words on how far it is."""

NAMED = 3
"""Broken or doubled images that are named; of more it is said how many."""


def look(path: str, *, cache: Path | None = None) -> tuple[str, str, int]:
    """The whole path of images of one's own, the SHA-256 of what is there, and how many there are to train and
    validate on. Nothing is decoded. ConfigError for what is neither a known name nor a path, DataError for no data set.
    """
    whole = Path(path).expanduser()
    try:
        there = whole.exists()
    except OSError as error:
        raise DataError(f"{path[:80]} .. cannot be read ({error.strerror})") from None
    if not there:
        near = difflib.get_close_matches(path, DATASETS, 1)
        if is_path(path):
            raise DataError(f"there is nothing at {path}; name a folder with a sub-folder per class, or an .npz file")
        raise ConfigError(
            f"data.dataset is {path!r}; it must be one of {', '.join(DATASETS)}, or the path to a folder of images or "
            f"an .npz file{f'; did you mean {near[0]}?' if near else ''}"
        )
    whole = whole.resolve()
    catalogue = gallery_at(whole, cache).catalogue()
    return str(whole), catalogue.content, catalogue.to_train_on


def gallery_at(path: Path, cache: Path | None = None) -> Gallery:
    """What is at a path; DataError for a file of another kind."""
    if path.is_dir():
        return Folder(path, cache)
    if path.suffix.lower() == ".npz":
        return Npz(path)
    raise DataError(f"{path} is neither a folder of images nor an .npz file")


@dataclass(frozen=True)
class OwnImages:
    """The source of a configuration whose data set is a path."""

    config: DataConfig
    work: Path | None = None
    """Where decoded images are kept while they are split; the system's place for temporary files by default."""
    progress: Progress = lambda what, done, total, note: None

    @property
    def origin(self) -> str:
        return self.config.dataset

    def read(self, root: Path, *, download: bool) -> Official:
        """Every image decoded; train, val and test as they were given, or all of them to be drawn from."""
        path = Path(self.config.dataset)
        if not path.exists():
            raise DataError(f"there is nothing at {path} any more; bring the images back, or name them where they are")
        gallery = gallery_at(path)
        catalogue = gallery.catalogue()
        if catalogue.content != self.config.content:
            raise DataError(f"the images at {path} have changed since the command began; repeat it")
        decoded = _Decoding(self.config, gallery, catalogue, self.progress)
        with TemporaryDirectory(prefix="decoded-", dir=self.work) as folder:
            images = decoded.images(Path(folder) / "images.raw")
        kept = decoded.kept
        labels, splits = torch.from_numpy(catalogue.labels[kept]), np.array(catalogue.splits)[kept]
        same = torch.from_numpy(decoded.same())
        notes = (*catalogue.notes, *decoded.notes())
        if not catalogue.given:
            return Official(Split(images, labels), None, catalogue.class_names, None, same, notes)
        decoded.refuse_shared(splits)

        def part(name: str) -> Split | None:
            rows = torch.from_numpy((splits == name).nonzero()[0])
            return Split(images[rows], labels[rows]) if len(rows) else None

        train = part("train")
        if train is None:
            raise DataError(f"no image of train at {path} can be decoded")
        rows = torch.from_numpy((splits == "train").nonzero()[0])
        return Official(train, part("test"), catalogue.class_names, part("val"), same[rows], notes)


class _Decoding:
    """One pass over the images, and what was found on the way."""

    def __init__(self, config: DataConfig, gallery: Gallery, catalogue: Catalogue, progress: Progress) -> None:
        self.config, self.gallery, self.catalogue, self.progress = config, gallery, catalogue, progress
        self.kept: list[int] = []
        """Places in the catalogue of those that were decoded."""
        self.broken: list[tuple[int, str]] = []
        self.animated = 0
        self.digests: list[bytes] = []
        """Of the pixels of each that is kept."""

    def images(self, scratch: Path) -> torch.Tensor:
        """(N, H, W) or (N, 3, H, W), uint8, backed by a file that goes when nobody looks at it any more."""
        total = len(self.catalogue.labels)
        size, store = image_size(self.config.size), None
        for index, picture in enumerate(self._pictures()):
            if index % TELL_EVERY == 0 or index + 1 == total:
                self.progress("decoding images", index + 1, total, "")
            if picture is None:
                continue
            pixels = self._in_size(picture.pixels, size, index)
            size = size or pixels.shape[:2]
            channels = self._channels(pixels, store.channels if store else 1)
            if store is None:
                store = _Store(scratch, total, channels, *size)
            elif channels > store.channels:  # the first that shows colour: those before it are grey in three channels
                store = store.in_colour(scratch.with_suffix(".colour"))
            pixels = in_channels(pixels, channels)
            self.digests.append(hashlib.sha256(in_channels(pixels, 3).tobytes()).digest()[:16])
            store.rows[len(self.kept)] = pixels.transpose(2, 0, 1) if channels == 3 else pixels
            self.kept.append(index)
            self.animated += picture.frames > 1
        if store is None:
            raise DataError(f"no image at {self.config.dataset} can be decoded: {self.broken[0][1]}")
        return torch.from_numpy(store.rows[: len(self.kept)])

    def _pictures(self) -> Iterator[Picture | None]:
        """None for one that is broken, where those are left out."""
        for index, picture in enumerate(self.gallery.pictures()):
            if isinstance(picture, Picture):
                yield picture
                continue
            if not self.config.skip_broken:
                raise DataError(
                    f"{self.gallery.name(index)} cannot be decoded ({picture}); mend it or take it out, or leave out "
                    "all such files: --set data.skip_broken=true"
                )
            self.broken.append((index, picture))
            yield None

    def _in_size(self, pixels: Pixels, size: tuple[int, ...] | None, index: int) -> Pixels:
        height, width = pixels.shape[:2]
        if image_size(self.config.size):
            assert size is not None
            return fitted(pixels, size[0], size[1], pad=self.config.fit == "pad")
        if max(height, width) > LARGEST_SIDE:
            raise DataError(
                f"{self.gallery.name(index)} is {height} x {width} pixels (height x width), more than {LARGEST_SIDE} a "
                "side; bring the images to a size: --set data.size=64"
            )
        if size and (height, width) != tuple(size):
            raise DataError(
                f"the images are not of one size: {self.gallery.name(self.kept[0])} is {size[0]} x {size[1]} "
                f"(height x width), {self.gallery.name(index)} {height} x {width}; bring them to one: --set "
                f"data.size={max(size[0], size[1], 8) if size[0] == size[1] else f'{size[0]}x{size[1]}'}"
            )
        return pixels

    def _channels(self, pixels: Pixels, so_far: int) -> int:
        if self.config.channels != "auto":
            return int(self.config.channels)
        return 3 if so_far == 3 or not is_grey(pixels) else 1

    def same(self) -> np.ndarray:
        """A number for every image that those have in common which are alike to the pixel."""
        numbers: dict[bytes, int] = {}
        return np.array([numbers.setdefault(digest, len(numbers)) for digest in self.digests], np.int64)

    def notes(self) -> tuple[str, ...]:
        named = ", ".join(self.gallery.name(i) for i, _ in self.broken[:NAMED])
        more = " .." if len(self.broken) > NAMED else ""
        same = self.same()
        labels = self.catalogue.labels[self.kept]
        copies = len(same) - len(set(same.tolist()))
        classes_of = Counter(number for number, _ in set(zip(same.tolist(), labels.tolist(), strict=True)))
        ambiguous = sum(n > 1 for n in classes_of.values())
        said: tuple[str, ...] = (
            (f"left out: {counted([(len(self.broken), 'file', 'files')])} that cannot be decoded ({named}{more})",)
            if self.broken
            else ()
        )
        animated = counted([(self.animated, "animated file has", "animated files have")])
        said += (f"{animated} more than one frame: the first was taken",) if animated else ()
        doubled = counted([(copies, "image is", "images are")])
        said += (f"{doubled} alike to another to the pixel",) if doubled else ()
        mixed = counted([(ambiguous, "image is", "images are")])
        return said + ((f"{mixed} in more than one class",) if mixed else ())

    def refuse_shared(self, splits: np.ndarray) -> None:
        """DataError if an image is in two of the splits that were given."""
        first: dict[bytes, int] = {}
        shared = []
        for at, digest in enumerate(self.digests):
            other = first.setdefault(digest, at)
            if splits[other] != splits[at]:
                shared.append((other, at))
        if shared:
            a, b = (self.gallery.name(self.kept[at]) for at in shared[0])
            raise DataError(
                f"{counted([(len(shared), 'image is', 'images are')])} in two of the splits of {self.config.dataset}, "
                f"e.g. {a} and {b}; a score on images that were trained on says nothing: take them out of one, or put "
                "all images into one folder per class, and the splits are drawn without such copies"
            )


class _Store:
    """Decoded images in a file: pages of it need not stay in memory."""

    def __init__(self, path: Path, n: int, channels: int, height: int, width: int) -> None:
        self.channels = channels
        shape = (n, channels, height, width) if channels > 1 else (n, height, width)
        self.rows = np.memmap(path, np.uint8, "w+", shape=shape)

    def in_colour(self, path: Path) -> "_Store":
        """The same with three equal channels."""
        n, height, width = self.rows.shape
        colour = _Store(path, n, 3, height, width)
        for first in range(0, n, TELL_EVERY):
            colour.rows[first : first + TELL_EVERY] = self.rows[first : first + TELL_EVERY, None]
        return colour
