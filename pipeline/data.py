"""Data sets as uint8 tensors in memory, split into train, val and test. Knows DataConfig, torchvision and scikit-learn.

Does not know models, nor the store that keeps what `save_prepared` writes.

    source   raw files under the data directory, in torchvision's layout; downloaded when absent
    prepare  source -> PreparedData: three disjoint stratified splits
    batches  Split -> float batches in [0, 1], the inner loop of every training
"""

import dataclasses
import gzip
import hashlib
import http.client
import json
import math
import os
import shutil
import socket
import string
import tempfile
import urllib.error
import urllib.parse
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Int64, UInt8
from safetensors.torch import load_file, save_file
from torch import Tensor

from pipeline.config import DataConfig
from pipeline.errors import DataError

# torchvision and scikit-learn are imported where they are used: a training worker only loads what was prepared, and
# would pay three seconds for them.

DIGITS_TEST_FRACTION = 0.2
"""Share of scikit-learn's digits kept as test set: they come without an official one."""
LEAST_PER_CLASS = {"train": 2, "val": 2, "test": 1}
"""Images of each class that a split must have. Pairwise and nearest-neighbour scores need two."""
STALL_SECONDS = 5.0
"""How long a server may be silent. Short, because urllib waits so long for each address of a host, and S3 has eight."""

MNIST_MD5 = {
    "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
    "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
    "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
    "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
}
"""MD5 of the uncompressed files of MNIST. Of the other idx sets only the archives' checksums are published."""


# ---- what training sees


@dataclass(frozen=True, eq=False)
class Split:
    """Images and their labels, on one device."""

    images: UInt8[Tensor, "N H W"]
    """Grey values 0 .. 255, background 0."""
    labels: Int64[Tensor, " N"]
    """Class indices 0 .. K-1."""

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def pixels(self) -> int:
        """D = H * W."""
        return self.images[0].numel()

    def to(self, device: torch.device | str) -> "Split":
        return Split(self.images.to(device), self.labels.to(device))

    def as_float(self, index: Int[Tensor, " B"] | slice = slice(None)) -> Float[Tensor, "B D"]:
        """The images at `index`, flat, in [0, 1] (255 is exactly 1)."""
        if isinstance(index, slice):
            return _unit_range(self.images[index].flatten(1))
        # ten times faster than images[index] on a CPU
        return _unit_range(self.images.flatten(1).index_select(0, index))

    def batches(
        self, batch_size: int, generator: torch.Generator | None
    ) -> Iterator[tuple[Float[Tensor, "B D"], Int64[Tensor, " B"]]]:
        """One epoch: every image once, flat and in [0, 1], with its label; the last batch may be smaller.

        The order comes from `generator`, or is the stored one without. A generator on the CPU gives the same order
        for a split on any device.
        """
        images, labels = self.images.flatten(1), self.labels
        if generator is not None:
            # One gather for the whole epoch, of bytes, a quarter of the floats; images[order] would take twice as long.
            order = torch.randperm(len(self), generator=generator, device=generator.device).to(labels.device)
            images, labels = images.index_select(0, order), labels.index_select(0, order)
        for x, y in zip(images.split(batch_size), labels.split(batch_size), strict=True):
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

    @property
    def height(self) -> int:
        return self.train.images.shape[1]

    @property
    def width(self) -> int:
        return self.train.images.shape[2]

    @property
    def pixels(self) -> int:
        """D = height * width."""
        return self.train.pixels

    @property
    def classes(self) -> int:
        """K."""
        return len(self.class_names)

    def to(self, device: torch.device | str) -> "PreparedData":
        return dataclasses.replace(
            self, train=self.train.to(device), val=self.val.to(device), test=self.test.to(device)
        )


# ---- preparing


def prepare(config: DataConfig, root: Path, *, download: bool = True) -> PreparedData:
    """The data set of `config`, split, from the raw files under `root` (torchvision's layout).

    Validation comes out of the official training images and test is the official test set; scikit-learn's digits have
    none, so a fifth is drawn. Every draw is stratified and seeded by `split_seed`.

    Missing files are downloaded from torchvision's mirrors unless `download` is off. The environment variable
    CVAE_PIPE_DATA_MIRROR names a base URL to try first, at <base>/<archive name>; a "{dataset}" in it is replaced by
    the data set's name, because mnist, fashion-mnist and kmnist name their archives alike. MD5s are checked either way.

    Raises DataError if files are missing and cannot be had, are corrupt, or leave a split with too few of a class.
    """
    generator = torch.Generator().manual_seed(config.split_seed)
    if config.dataset == "digits":
        everything = _read_digits()
        is_test = stratified_mask(everything.labels, round(DIGITS_TEST_FRACTION * len(everything)), generator)
        train, test = _where(everything, ~is_test), _where(everything, is_test)
        raw, names = [everything], tuple(string.digits)
    else:
        source = _source(config.dataset)
        train, test = _read(source, root, download=download)
        raw, names = [train, test], source.class_names
    train = _limited(train, config.train_limit, generator)
    is_val = stratified_mask(train.labels, round(config.val_fraction * len(train)), generator)
    data = PreparedData(
        train=_where(train, ~is_val),
        val=_where(train, is_val),
        test=_limited(test, config.test_limit, generator),  # drawn last: it must not move the other two
        class_names=names,
        name=config.dataset,
        source_sha256=_sha256(raw),
    )
    _require_every_class(data, config)
    return data


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


def _where(split: Split, mask: Bool[Tensor, " N"]) -> Split:
    return Split(split.images[mask], split.labels[mask])


def _limited(split: Split, limit: int, generator: torch.Generator) -> Split:
    """A stratified subset of `limit` images; all of them if the limit is 0 or larger than the data."""
    return _where(split, stratified_mask(split.labels, limit, generator)) if 0 < limit < len(split) else split


def _require_every_class(data: PreparedData, config: DataConfig) -> None:
    """DataError unless every split has LEAST_PER_CLASS images of each class."""
    val_fraction, train_limit = f"data.val_fraction (now {config.val_fraction:.3g})", config.train_limit
    advice = {
        "train": f"raise data.train_limit (now {train_limit})" if train_limit else f"lower {val_fraction}",
        "val": f"raise data.train_limit (now {train_limit}) or {val_fraction}"
        if train_limit
        else f"raise {val_fraction}",
        "test": f"raise data.test_limit (now {config.test_limit})",
    }
    for name, least in LEAST_PER_CLASS.items():
        counts = getattr(data, name).labels.bincount(minlength=data.classes)
        if counts.min() < least:
            rarest = int(counts.argmin())
            raise DataError(
                f"the {name} split of {data.name} would have {int(counts[rarest])} of class "
                f"{data.class_names[rarest]!r} and needs {least} or more of every class; {advice[name]}"
            )


def _sha256(splits: list[Split]) -> str:
    hashed = hashlib.sha256()
    for split in splits:
        hashed.update(split.images.numpy().data)
        hashed.update(split.labels.numpy().data)
    return hashed.hexdigest()


# ---- keeping

TENSORS, FACTS = "tensors.safetensors", "data.json"


def save_prepared(data: PreparedData, folder: Path) -> None:
    """Write tensors.safetensors and data.json (names, sizes, hash) into an existing folder."""
    tensors: dict[str, Tensor] = {}
    for name in LEAST_PER_CLASS:
        split: Split = getattr(data, name)
        tensors |= {f"{name}.images": split.images, f"{name}.labels": split.labels}
    save_file(tensors, folder / TENSORS)
    facts: dict[str, Any] = {
        "name": data.name,
        "class_names": data.class_names,
        "source_sha256": data.source_sha256,
        "height": data.height,
        "width": data.width,
        "sizes": {name: len(getattr(data, name)) for name in LEAST_PER_CLASS},
    }
    (folder / FACTS).write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")


def load_prepared(folder: Path) -> PreparedData:
    """What `save_prepared` wrote. The tensors are memory-mapped, so processes on one machine share their pages."""
    tensors = load_file(folder / TENSORS)
    facts = json.loads((folder / FACTS).read_text(encoding="utf-8"))
    train, val, test = (Split(tensors[f"{name}.images"], tensors[f"{name}.labels"]) for name in LEAST_PER_CLASS)
    return PreparedData(train, val, test, tuple(facts["class_names"]), facts["name"], facts["source_sha256"])


# ---- sources: where raw files are, and what is published about them


@dataclass(frozen=True)
class _Archive:
    """One download."""

    name: str
    md5: str
    urls: tuple[str, ...]
    """Where it can be had, best first."""
    files: tuple[str, ...]
    """The raw files it holds; its own name if it is kept as it is."""


@dataclass(frozen=True)
class _Source:
    """A data set of torchvision's."""

    dataset: str
    folder: str
    """Where its raw files are, under the data directory."""
    archives: tuple[_Archive, ...]
    train: tuple[str, ...]
    """Raw files of the official training set: images and labels, or one file of both."""
    test: tuple[str, ...]
    class_names: tuple[str, ...]
    md5: Mapping[str, str] = field(default_factory=dict)
    """Of raw files, where it is published."""


def _torchvision_datasets() -> Any:
    """torchvision.datasets, without the warnings that its import gives where image codecs are missing."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from torchvision import datasets
    return datasets


def _source(dataset: str) -> _Source:
    """Names, addresses and checksums as torchvision has them."""
    if dataset == "mnist" and find_spec("torchvision") is None:  # a bare machine that was given the raw files
        files = tuple(MNIST_MD5)
        return _Source(dataset, "MNIST/raw", (), files[:2], files[2:], tuple(string.digits), MNIST_MD5)
    tv = _torchvision_datasets()
    if dataset == "usps":
        usps = tuple(_Archive(name, md5, (url,), (name,)) for url, name, md5 in tv.USPS.split_list.values())
        md5s = {archive.name: archive.md5 for archive in usps}  # kept as they come: the archive is the raw file
        return _Source(dataset, "", usps, usps[0].files, usps[1].files, tuple(string.digits), md5s)
    if dataset == "emnist-balanced":
        train, test = (
            tuple(f"emnist-balanced-{part}-{what}-ubyte" for what in ("images-idx3", "labels-idx1"))
            for part in ("train", "test")
        )
        names = tuple(tv.EMNIST.classes_split_dict["balanced"])
        archive = _Archive("gzip.zip", tv.EMNIST.md5, (tv.EMNIST.url,), train + test)
        return _Source(dataset, "EMNIST/raw", (archive,), train, test, names)
    if dataset == "qmnist":
        kind = tv.QMNIST
        resources = [((url,), md5) for part in ("train", "test") for url, md5 in kind.resources[part]]
    else:
        kind = {"mnist": tv.MNIST, "fashion-mnist": tv.FashionMNIST, "kmnist": tv.KMNIST}[dataset]
        resources = [(tuple(mirror + name for mirror in kind.mirrors), md5) for name, md5 in kind.resources]
    archives = tuple(_gz(urls, md5) for urls, md5 in resources)
    files = tuple(archive.files[0] for archive in archives)
    names = tuple(name.partition(" - ")[0] for name in kind.classes)  # torchvision says "3 - three"
    md5s = MNIST_MD5 if dataset == "mnist" else {}
    return _Source(dataset, f"{kind.__name__}/raw", archives, files[:2], files[2:], names, md5s)


def _gz(urls: tuple[str, ...], md5: str) -> _Archive:
    """One compressed raw file."""
    name = urls[0].rpartition("/")[2]
    return _Archive(name, md5, urls, (name.removesuffix(".gz"),))


# ---- reading raw files

IDX_IMAGES, IDX_LABELS, IDX_QMNIST_LABELS = 0x0803, 0x0801, 0x0C02
"""Magic numbers: type (8 is uint8, C is int32) and number of dimensions."""


def _read(source: _Source, root: Path, *, download: bool) -> tuple[Split, Split]:
    """The official training and test set."""
    folder = root / source.folder
    missing = [name for name in source.train + source.test if not os.path.isfile(folder / name)]
    if missing and not (download and source.archives):
        raise _absent(source, folder, "may not be downloaded")
    if missing:
        _download(source, folder, missing)
    train, test = (_read_part(source, [folder / name for name in part]) for part in (source.train, source.test))
    return train, test


def _read_part(source: _Source, files: list[Path]) -> Split:
    for file in files:
        _check_md5(file, source.md5.get(file.name))
    if source.dataset == "usps":
        split = _read_usps(files[0])
    else:
        images = _read_idx(files[0], IDX_IMAGES)
        labels = _read_idx(files[1], IDX_QMNIST_LABELS if source.dataset == "qmnist" else IDX_LABELS)
        if len(images) != len(labels):
            raise _corrupt(files[1], f"it has {len(labels)} labels for the {len(images)} images of {files[0].name}")
        if source.dataset == "qmnist":
            labels = labels[:, 0]  # the class; the others tell who wrote it
        if source.dataset == "emnist-balanced":
            images = images.swapaxes(1, 2)  # stored column by column
        split = _split(images, labels)
    if not (len(split) and split.labels.min() >= 0 and split.labels.max() < len(source.class_names)):
        raise _corrupt(files[-1], f"it must hold labels 0 to {len(source.class_names) - 1}, and at least one")
    return split


def _split(images: np.ndarray, labels: np.ndarray) -> Split:
    return Split(
        torch.from_numpy(np.ascontiguousarray(images, np.uint8)),
        torch.from_numpy(np.ascontiguousarray(labels, np.int64)),
    )


def _read_idx(file: Path, magic: int) -> np.ndarray:
    """An idx file: big-endian magic number, one 32-bit size per dimension, values, and not a byte more.

    Not torchvision's reader, which passes over missing and trailing bytes.
    """
    raw = np.fromfile(file, np.uint8)
    head = 4 * (1 + magic % 256)
    found, *shape = (int(n) for n in raw[:head].view(">u4")) if len(raw) >= head else (None,)
    if found != magic:
        raise _corrupt(file, f"it does not begin with the magic number {magic} and {magic % 256} sizes")
    dtype = np.dtype(np.uint8) if magic // 256 == 8 else np.dtype(">i4")
    expected = head + math.prod(shape) * dtype.itemsize
    if len(raw) != expected:
        raise _corrupt(file, f"it has {len(raw):,} bytes where its header promises {expected:,}")
    return raw[head:].view(dtype).reshape(shape)


def _read_usps(file: Path) -> Split:
    try:
        usps = _torchvision_datasets().USPS(file.parent, train=file.name == "usps.bz2")
    except (OSError, EOFError, ValueError, IndexError) as error:
        raise _corrupt(file, f"it is not bzip2 of LIBSVM text ({error})") from None
    return _split(usps.data, np.array(usps.targets))


def _read_digits() -> Split:
    """scikit-learn's 1,797 digits of 8 x 8; grey values 0 .. 16 become 0 .. 255."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    return _split((digits.images * (255 / 16)).round(), digits.target)


def _check_md5(file: Path, md5: str | None) -> None:
    """DataError if the file cannot be read, or is not the one with this MD5 (None: any)."""
    try:
        with open(file, "rb") as opened:
            if md5 and (found := hashlib.file_digest(opened, "md5").hexdigest()) != md5:
                raise _corrupt(file, f"its MD5 is {found} and must be {md5}")
    except OSError as error:
        raise DataError(
            f"{file} cannot be read ({error.strerror}); make it readable, or set CVAE_PIPE_DATA_DIR"
        ) from None


def _corrupt(file: Path, what: str) -> DataError:
    return DataError(f"{file} is corrupt: {what}; delete it and run again, or copy a good one there")


def _absent(source: _Source, folder: Path, why: str) -> DataError:
    files = source.train + source.test
    kind = "two bz2 files" if source.dataset == "usps" else "four idx files"
    return DataError(
        f"{source.dataset} is not at {folder} and {why}; put the {kind} there ({files[0]} ...), "
        "set CVAE_PIPE_DATA_DIR, or use --dataset digits, which needs no download"
    )


# ---- downloading


class _Unreachable(Exception):
    """No mirror gave the archive; says why, per host."""


def _download(source: _Source, folder: Path, missing: list[str]) -> None:
    """Fetch the missing raw files into `folder`; each appears there whole or not at all."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".download-", dir=folder) as work:
            for archive in source.archives:
                for name in [name for name in archive.files if name in missing]:
                    os.replace(_extract(_retrieve(archive, source.dataset, Path(work)), name), folder / name)
    except _Unreachable as error:
        raise _absent(source, folder, f"could not be downloaded ({error})") from None
    except OSError as error:
        raise DataError(
            f"{source.dataset} must be downloaded, but {folder} cannot be written ({error.strerror}); "
            "set CVAE_PIPE_DATA_DIR to a directory of yours, or use --dataset digits, which needs no download"
        ) from None


def _retrieve(archive: _Archive, dataset: str, work: Path) -> Path:
    """The archive, from the first mirror that gives it with the right MD5; at once if it is in `work` already."""
    from torchvision.datasets.utils import download_url

    urls, mirror = archive.urls, os.environ.get("CVAE_PIPE_DATA_MIRROR")
    if mirror:
        urls = (f"{mirror.replace('{dataset}', dataset).rstrip('/')}/{archive.name}", *urls)
    failures = []
    timeout = socket.getdefaulttimeout()
    socket.setdefaulttimeout(STALL_SECONDS)  # torchvision sets none, and would wait for ever
    try:
        for url in urls:
            try:
                download_url(url, work, archive.name, archive.md5)
                return work / archive.name
            except (OSError, RuntimeError, ValueError, http.client.HTTPException) as error:
                failures.append(f"{urllib.parse.urlsplit(url).netloc or url}: {_reason(error)}")
    finally:
        socket.setdefaulttimeout(timeout)
    raise _Unreachable(", ".join(failures))


def _reason(error: Exception) -> str:
    """Why a download failed, in a few words on one line."""
    if isinstance(error, urllib.error.HTTPError):
        error.close()
        return f"HTTP {error.code}"
    if isinstance(error, RuntimeError):
        return "cut short or another file, its MD5 is wrong"
    cause = getattr(error, "reason", error)  # URLError wraps the operating system's
    if isinstance(cause, socket.gaierror):
        return "no network, or no such host"
    text = getattr(cause, "strerror", None) or str(cause) or type(cause).__name__
    return " ".join(text.split())


def _extract(archive: Path, name: str) -> Path:
    """The raw file `name` out of a downloaded archive, beside it."""
    target = archive.with_name(name)
    if archive.suffix == ".gz":
        with gzip.open(archive) as packed, open(target, "wb") as raw:
            shutil.copyfileobj(packed, raw)
    elif archive.suffix == ".zip":  # EMNIST: a zip of gz files, of which we want four
        with (
            zipfile.ZipFile(archive) as files,
            gzip.open(files.open(f"gzip/{name}.gz")) as packed,
            open(target, "wb") as raw,
        ):
            shutil.copyfileobj(packed, raw)
    return target
