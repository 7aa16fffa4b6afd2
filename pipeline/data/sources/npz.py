"""An .npz file of images: x and y, perhaps split and class_names; or x_train, y_train, x_test, y_test. Never unpickled.

Arrays are read in parts, and only after what their headers promise was compared with what is there.
"""

import hashlib
import math
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO

import numpy as np
from PIL import Image

from pipeline.data.sources.gallery import SPLITS, Catalogue, checked, class_order
from pipeline.data.sources.pixels import Picture, Pixels, as_seen
from pipeline.errors import DataError

READING = "arrays of one's own, 1"
"""Part of the content's hash: raised when arrays come to be read otherwise."""

ROWS = 256
"""Images read at once."""

HASHED = 2**20
"""Bytes hashed at once."""

PARTS = (("train", "_train"), ("val", "_val"), ("test", "_test"))
"""Splits in arrays of their own: x_train, y_train, .."""

MOST_LABELS = 2**30
"""Bytes that an array of labels, splits or names may have: they are held in memory."""


@dataclass(frozen=True)
class _Header:
    """What an array's header says."""

    shape: tuple[int, ...]
    dtype: np.dtype
    by_columns: bool


@dataclass(frozen=True)
class Npz:
    """Arrays of images and labels in a file."""

    path: Path

    def catalogue(self) -> Catalogue:
        found = [(split, end, self._labels(end)) for split, end in self._parts]
        values = np.concatenate([labels for _, _, labels in found])
        names, labels = self._classes(values)
        splits = [split for split, _, own in found for _ in range(len(own))]
        if not splits or not splits[0]:
            splits = self._splits(len(values))
        hashed = hashlib.sha256(READING.encode())
        for member in sorted(self._members):
            hashed.update(member.encode())
            with self._opened(member) as stream:
                while part := stream.read(HASHED):
                    hashed.update(part)
        return checked(Catalogue(names, labels, tuple(splits), hashed.hexdigest()), str(self.path))

    def pictures(self) -> Iterator[Picture | str]:
        for _, end in self._parts:
            x = f"x{end}"
            layout = self._layout(x)
            for first, rows in self._rows(x):
                for pixels in self._eight_bits(rows, x, first):
                    yield Picture(_picture(pixels, layout))

    def name(self, index: int) -> str:
        for _, end in self._parts:
            n = self._header(f"x{end}").shape[0]
            if index < n:
                return f"x{end}[{index}]"
            index -= n
        raise IndexError(index)

    @cached_property
    def _members(self) -> frozenset[str]:
        """Arrays that belong to the data set."""
        known = {f"{name}{end}" for name in "xy" for end in ("", *(end for _, end in PARTS))} | {"split", "class_names"}
        try:
            with zipfile.ZipFile(self.path) as archive:
                return frozenset({n.removesuffix(".npy") for n in archive.namelist() if n.endswith(".npy")} & known)
        except (OSError, zipfile.BadZipFile) as error:
            why = error.strerror if isinstance(error, OSError) else "it is no zip archive"
            raise DataError(f"{self.path} cannot be read as .npz ({why}); np.savez writes such files") from None

    @cached_property
    def _parts(self) -> list[tuple[str, str]]:
        """(split, ending of the arrays' names) of what there is."""
        parts = [("", "")] if "x" in self._members else [p for p in PARTS if f"x{p[1]}" in self._members]
        wanted = [f"{name}{end}" for _, end in parts or [("", "")] for name in "xy"]
        missing = [name for name in wanted if name not in self._members]
        if missing:
            raise DataError(
                f"{self.path} has no array {missing[0]!r}; it needs x (images) and y (labels), and may have split and "
                "class_names; or x_train, y_train, x_test, y_test"
            )
        return parts

    @contextmanager
    def _opened(self, member: str) -> Iterator[IO[bytes]]:
        try:
            with zipfile.ZipFile(self.path) as archive, archive.open(f"{member}.npy") as stream:
                yield stream
        except (OSError, EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError) as error:
            raise DataError(f"{self.path} is damaged: {member} cannot be read ({error})") from None

    def _header(self, member: str) -> _Header:
        """DataError unless it is a plain array of the size that it says."""
        with zipfile.ZipFile(self.path) as archive:
            size = archive.getinfo(f"{member}.npy").file_size
        with self._opened(member) as stream:
            try:
                version = np.lib.format.read_magic(stream)
                read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}[
                    version
                ]
                shape, by_columns, dtype = read(stream)
            except (ValueError, KeyError):
                raise DataError(f"{self.path}: {member} is no array of numpy's") from None
            if dtype.hasobject:
                raise DataError(
                    f"{self.path}: {member} is an array of Python objects, which are never unpickled; save numbers or "
                    "text, e.g. np.asarray(y, dtype=str)"
                )
            promised = math.prod(shape) * dtype.itemsize
            if promised != size - stream.tell():
                raise DataError(
                    f"{self.path}: {member} promises {promised:,} bytes in its header and has {size - stream.tell():,}"
                )
        return _Header(shape, dtype, by_columns)

    def _small(self, member: str) -> np.ndarray:
        """A whole array of labels, splits or names."""
        header = self._header(member)
        if math.prod(header.shape) * header.dtype.itemsize > MOST_LABELS:
            raise DataError(f"{self.path}: {member} has shape {header.shape}, too large to be one label per image")
        with self._opened(member) as stream:
            return np.lib.format.read_array(stream, allow_pickle=False)

    def _labels(self, end: str) -> np.ndarray:
        y, images = self._small(f"y{end}"), self._header(f"x{end}").shape
        if y.ndim == 2 and y.shape[1] == 1:
            y = y[:, 0]
        if y.ndim != 1 or not images or len(y) != images[0]:
            raise DataError(
                f"{self.path}: y{end} has shape {y.shape} and x{end} {images}; there must be one label for each image"
            )
        if y.dtype.kind == "f":
            if not (np.isfinite(y).all() and (y == y.round()).all()):
                raise DataError(f"{self.path}: y{end} has labels that are no whole numbers")
            y = y.astype(np.int64)
        if y.dtype.kind == "S":
            y = np.char.decode(y, "utf-8", "replace")
        if y.dtype.kind not in "iubU":
            raise DataError(f"{self.path}: y{end} is of type {y.dtype}; labels are whole numbers or text")
        return y

    def _classes(self, values: np.ndarray) -> tuple[tuple[str, ...], np.ndarray]:
        """Names, and labels 0 .. K-1, whatever y holds; class_names names 0 .. K-1, or the values of y in order."""
        if not len(values):
            raise DataError(f"{self.path} holds no images")
        there = sorted(set(values.tolist()), key=(lambda v: class_order(v)) if values.dtype.kind == "U" else None)
        names = [str(value) for value in there]
        if "class_names" in self._members:
            given = [
                n.decode("utf-8", "replace") if isinstance(n, bytes) else str(n)
                for n in self._small("class_names").ravel().tolist()
            ]
            if values.dtype.kind != "U" and there[0] >= 0 and there[-1] < len(given) and len(given) > len(there):
                missing = next(i for i in range(len(given)) if i not in set(there))
                raise DataError(
                    f"{self.path}: class_names has {len(given)} names, and no image is of class {missing}, "
                    f"{given[missing]!r}; take the name out and number the labels anew"
                )
            if len(given) != len(there):
                raise DataError(
                    f"{self.path}: class_names has {len(given)} names, and y has {len(there)} different labels"
                )
            if len(set(given)) < len(given):
                twice = next(name for name in given if given.count(name) > 1)
                raise DataError(f"{self.path}: class_names has {twice!r} twice")
            if values.dtype.kind != "U" or set(given) != set(names):
                names = given
            else:  # y is text: the names say in which order
                there, names = given, given
        index = {value: i for i, value in enumerate(there)}
        return tuple(names), np.array([index[value] for value in values.tolist()], np.int64)

    def _splits(self, n: int) -> list[str]:
        if "split" not in self._members:
            return [""] * n
        split = self._small("split").ravel()
        if split.dtype.kind == "S":
            split = np.char.decode(split, "utf-8", "replace")
        words = [str(value).lower() for value in split.tolist()]
        if unknown := next((w for w in words if w not in SPLITS), None):
            raise DataError(f"{self.path}: split has {unknown!r}; it must be train, val or test")
        if len(words) != n:
            raise DataError(f"{self.path}: split has {len(words):,} entries for {n:,} images")
        return [SPLITS[word] for word in words]

    def _layout(self, x: str) -> str:
        """grey, last or first: where an image has its channels."""
        shape = self._header(x).shape
        if len(shape) == 3:
            return "grey"
        if len(shape) == 4 and shape[-1] in (1, 3, 4):
            return "last"
        if len(shape) == 4 and shape[1] in (1, 3, 4):
            return "first"
        flat = f"; flat images are told their size by x.reshape(-1, {math.isqrt(shape[1])}, {math.isqrt(shape[1])})"
        raise DataError(
            f"{self.path}: {x} has shape {shape}; it must be (N, H, W), (N, H, W, C) or (N, C, H, W) with 1 channel of "
            f"grey, 3 of colour, or 4 with transparency{flat if len(shape) == 2 else ''}"
        )

    def _rows(self, x: str) -> Iterator[tuple[int, np.ndarray]]:
        """(number of the first, images), a few at a time."""
        header = self._header(x)
        shape, bytes_each = header.shape[1:], math.prod(header.shape[1:]) * header.dtype.itemsize
        if not bytes_each:
            raise DataError(f"{self.path}: {x} has shape {header.shape}: images without pixels")
        with self._opened(x) as stream:
            if header.by_columns:  # an array that was transposed before it was saved: no row lies together
                yield 0, np.lib.format.read_array(stream, allow_pickle=False)
                return
            np.lib.format.read_magic(stream)
            stream.seek(0)
            version = np.lib.format.read_magic(stream)
            {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}[version](stream)
            for first in range(0, header.shape[0], ROWS):
                n = min(ROWS, header.shape[0] - first)
                raw = stream.read(n * bytes_each)
                if len(raw) < n * bytes_each:
                    raise DataError(f"{self.path} is damaged: {x} ends within image {first + len(raw) // bytes_each:,}")
                yield first, np.frombuffer(raw, header.dtype).reshape(n, *shape)

    def _eight_bits(self, rows: np.ndarray, x: str, first: int) -> np.ndarray:
        """0 .. 255, from whole numbers in that range or floats in [0, 1]."""
        kind = rows.dtype.kind
        if rows.dtype == np.uint8:
            return rows
        if kind == "b":
            return rows.astype(np.uint8) * 255
        if kind not in "iuf":
            raise DataError(f"{self.path}: {x} is of type {rows.dtype}; images are numbers")
        most, what = (1, "floats in [0, 1]") if kind == "f" else (255, "whole numbers from 0 to 255")
        good = (rows >= 0) & (rows <= most)  # not so: nan
        if not good.all():
            at = np.argwhere(~good)[0]
            raise DataError(
                f"{self.path}: {x}[{', '.join(str(int(i)) for i in (first + at[0], *at[1:]))}] is "
                f"{rows[tuple(at)]}; images are {what}"
            )
        return (rows * 255).round().astype(np.uint8) if kind == "f" else rows.astype(np.uint8)


def _picture(pixels: np.ndarray, layout: str) -> Pixels:
    if layout == "grey":
        return pixels
    if layout == "first":
        pixels = pixels.transpose(1, 2, 0)
    channels = pixels.shape[-1]
    if channels == 1:
        return pixels[..., 0]
    return pixels if channels == 3 else as_seen(Image.fromarray(np.ascontiguousarray(pixels), "RGBA"))
