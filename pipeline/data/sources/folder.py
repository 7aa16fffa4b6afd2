"""A folder of images: a sub-folder per class, or train, val and test of those. Knows directories and no pixels.

What decides is the content: the same files elsewhere, under other file names or with other times, are the same data.
"""

import hashlib
import json
import os
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from pipeline.data.sources.gallery import SPLITS, Catalogue, checked, class_order, counted, readable
from pipeline.data.sources.pixels import EXTENSIONS, BrokenImageError, Picture, read_picture
from pipeline.errors import DataError

READING = "images of one's own, 1"
"""Part of the content's hash: raised when files come to be read otherwise."""

LEFT_OUT = frozenset({"thumbs.db", "desktop.ini", "__macosx", ".ipynb_checkpoints", "icon\r"})
"""What systems and notebooks leave among files, in lower case; hidden files and folders are left out too."""

SETTLED_SECONDS = 2.0
"""After its last change a file's size and time are taken to tell whether it is the same."""


@dataclass(frozen=True)
class _File:
    split: str
    name: str
    """Of its class."""
    path: str
    sha256: str


@dataclass
class _Left:
    """What was passed over."""

    files: Counter[str] = field(default_factory=Counter)
    """By extension."""
    empty: list[str] = field(default_factory=list)
    """Classes without an image."""

    def notes(self) -> tuple[str, ...]:
        kinds = ", ".join(
            f"{n:,} {kind}" for kind, n in sorted(self.files.items(), key=lambda item: (-item[1], item[0]))
        )
        total = sum(self.files.values())
        what = counted([(total, "file", "files"), (len(self.empty), "empty class", "empty classes")])
        detail = "; ".join(
            [*([kinds] if kinds else []), *(f"empty: {', '.join(self.empty[:5])}" for _ in self.empty[:1])]
        )
        return (f"left out: {what} ({detail})",) if what else ()


@dataclass(frozen=True)
class Folder:
    """Images in folders."""

    root: Path
    cache: Path | None = None
    """A folder that remembers what files were: those of the same size and time are not read again."""

    def catalogue(self) -> Catalogue:
        files, notes = self._found
        names = tuple(sorted({file.name for file in files}, key=class_order))
        hashed = hashlib.sha256(READING.encode())
        for file in files:
            hashed.update(json.dumps([file.split, file.name, file.sha256]).encode())
        index = {name: i for i, name in enumerate(names)}
        labels = np.array([index[file.name] for file in files], np.int64)
        splits = tuple(file.split for file in files)
        return checked(Catalogue(names, labels, splits, hashed.hexdigest(), notes), str(self.root))

    def pictures(self) -> Iterator[Picture | str]:
        for file in self._found[0]:
            try:
                yield read_picture(Path(file.path))
            except BrokenImageError as error:
                yield str(error)

    def name(self, index: int) -> str:
        return readable(self._found[0][index].path)

    @cached_property
    def _found(self) -> tuple[list[_File], tuple[str, ...]]:
        """Every image file, in an order that depends on contents alone; and what was left out, in words."""
        left = _Left()
        paths = [(s, name, path) for s, folder in self._parts() for name, path in _of_classes(folder, s, left)]
        if not paths:
            raise DataError(
                f"{self.root} holds no images; it needs a sub-folder per class with image files in it "
                f"({', '.join(sorted(EXTENSIONS)[:4])} ..), or train, val and test of those"
            )
        digests = self._digests([path for _, _, path in paths])
        files = [_File(s, name, path, digest) for (s, name, path), digest in zip(paths, digests, strict=True)]
        files.sort(key=lambda file: (file.sha256, file.split, file.name, file.path))
        return files, left.notes()

    def _parts(self) -> list[tuple[str, str]]:
        """(split, folder): one of no split where the folder holds classes."""
        entries = _entries(str(self.root))
        folders = [e for e in entries if _is_dir(e) and not _is_hidden(e.name)]
        images = [e for e in entries if not _is_dir(e) and _extension(e.name) in EXTENSIONS]
        if not folders and images:
            raise DataError(
                f"{self.root} holds {len(images):,} images but no sub-folder; put the images of each class into a "
                "sub-folder with the name of the class"
            )
        names = {SPLITS.get(e.name.lower()) for e in folders}
        if folders and None not in names and ("train" in names or len(folders) > 1):
            if len(names) < len(folders):
                raise DataError(f"{self.root} has two folders for one split: {', '.join(e.name for e in folders)}")
            return [(SPLITS[e.name.lower()], e.path) for e in folders]
        if "train" in names and "test" in names:
            others = ", ".join(readable(e.name) for e in folders if e.name.lower() not in SPLITS)
            raise DataError(
                f"{self.root} has {others} beside train and test; a folder holds classes, or train, val and test alone"
            )
        return [("", str(self.root))]

    def _digests(self, paths: list[str]) -> list[str]:
        """SHA-256 of every file; of one that is known, and has the size and time that it had, without reading it."""
        known: dict[str, list[object]] = {}
        memory = self.cache / f"{hashlib.sha256(os.fsencode(self.root)).hexdigest()[:16]}.json" if self.cache else None
        if memory and memory.exists():
            try:
                known = json.loads(memory.read_text(encoding="utf-8"))
            except (OSError, ValueError):
                known = {}
        now, digests, kept = time.time(), [], {}
        for path in paths:
            try:
                stat = os.stat(path)
                facts = [stat.st_size, stat.st_mtime_ns]
                of_before = known.get(readable(path))
                if of_before and of_before[:2] == facts:
                    digest = str(of_before[2])
                else:
                    with open(path, "rb") as opened:
                        digest = hashlib.file_digest(opened, "sha256").hexdigest()
                if now - stat.st_mtime > SETTLED_SECONDS:
                    kept[readable(path)] = [*facts, digest]
            except OSError as error:
                digest = f"unreadable: {error.strerror}"  # known when it is decoded, which names it
            digests.append(digest)
        if memory and kept != known:
            try:
                memory.parent.mkdir(parents=True, exist_ok=True)
                temporary = memory.with_suffix(f".{os.getpid()}.tmp")
                temporary.write_text(json.dumps(kept), encoding="utf-8")
                os.replace(temporary, memory)
            except OSError:
                pass  # a home that cannot be written has other worries
        return digests


def _of_classes(folder: str, split: str, left: _Left) -> Iterator[tuple[str, str]]:
    """(class, path) of every image file in the sub-folders of a folder."""
    names: dict[str, str] = {}
    for entry in _entries(folder):
        if not _is_dir(entry):
            left.files[_kind(entry.name)] += 1
        elif _is_hidden(entry.name):
            for path, _ in _below(entry.path, ()):
                left.files[_kind(os.path.basename(path), hidden=True)] += 1
        else:
            name = readable(entry.name)
            if name in names:
                raise DataError(f"{folder} has two folders that are both called {name!r}; give one another name")
            names[name] = entry.path
            found = 0
            for path, hidden in _below(entry.path, ()):
                if hidden or _extension(path) not in EXTENSIONS:
                    left.files[_kind(os.path.basename(path), hidden=hidden)] += 1
                else:
                    found += 1
                    yield name, path
            if not found:
                left.empty.append(f"{split}/{name}" if split else name)


def _below(folder: str, above: tuple[tuple[int, int], ...], *, hidden: bool = False) -> Iterator[tuple[str, bool]]:
    """Every file below a folder, whatever its depth, and whether it is hidden; DataError for a link that leads back."""
    try:
        stat = os.stat(folder)
    except OSError as error:
        raise _unreadable(folder, error) from None
    here = stat.st_dev, stat.st_ino
    if here in above:
        raise DataError(f"{readable(folder)} leads back to a folder that it lies in; take out that link")
    for entry in _entries(folder):
        out = hidden or _is_hidden(entry.name)
        if _is_dir(entry):
            yield from _below(entry.path, (*above, here), hidden=out)
        else:
            yield entry.path, out


def _entries(folder: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        raise _unreadable(folder, error) from None


def _unreadable(folder: str, error: OSError) -> DataError:
    return DataError(f"{readable(folder)} cannot be read ({error.strerror}); make it readable, or name another folder")


def _is_dir(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself
        return False


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name.lower() in LEFT_OUT


def _extension(name: str) -> str:
    return os.path.splitext(name)[1].lower()


def _kind(name: str, *, hidden: bool = False) -> str:
    """What a file that is left out is, in a word."""
    return "hidden" if hidden or _is_hidden(name) else _extension(name) or "without an extension"
