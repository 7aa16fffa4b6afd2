"""torchvision's data sets: where their raw files are, what is published about them, how they are read."""

import os
import string
import tempfile
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.data.download import Archive, UnreachableError, extract, retrieve
from pipeline.data.files import IDX_IMAGES, IDX_LABELS, IDX_QMNIST_LABELS, as_split, check_md5, corrupt, read_idx
from pipeline.data.splits import Split
from pipeline.errors import DataError

MNIST_MD5 = {
    "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
    "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
    "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
    "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
}
"""MD5 of the uncompressed files of MNIST. Of the other idx sets only the archives' checksums are published."""


@dataclass(frozen=True)
class _Source:
    """A data set of torchvision's."""

    dataset: str
    folder: str
    """Where its raw files are, under the data directory."""
    archives: tuple[Archive, ...]
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


def torchvision_source(dataset: str) -> _Source:
    """Names, addresses and checksums as torchvision has them."""
    if dataset == "mnist" and find_spec("torchvision") is None:  # a bare machine that was given the raw files
        files = tuple(MNIST_MD5)
        return _Source(dataset, "MNIST/raw", (), files[:2], files[2:], tuple(string.digits), MNIST_MD5)
    tv = _torchvision_datasets()
    if dataset == "usps":
        usps = tuple(Archive(name, md5, (url,), (name,)) for url, name, md5 in tv.USPS.split_list.values())
        md5s = {archive.name: archive.md5 for archive in usps}  # kept as they come: the archive is the raw file
        return _Source(dataset, "", usps, usps[0].files, usps[1].files, tuple(string.digits), md5s)
    if dataset == "emnist-balanced":
        train, test = (
            tuple(f"emnist-balanced-{part}-{what}-ubyte" for what in ("images-idx3", "labels-idx1"))
            for part in ("train", "test")
        )
        names = tuple(tv.EMNIST.classes_split_dict["balanced"])
        archive = Archive("gzip.zip", tv.EMNIST.md5, (tv.EMNIST.url,), train + test)
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


def _gz(urls: tuple[str, ...], md5: str) -> Archive:
    """One compressed raw file."""
    name = urls[0].rpartition("/")[2]
    return Archive(name, md5, urls, (name.removesuffix(".gz"),))


def read_source(source: _Source, root: Path, *, download: bool) -> tuple[Split, Split]:
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
        check_md5(file, source.md5.get(file.name))
    if source.dataset == "usps":
        split = _read_usps(files[0])
    else:
        images = read_idx(files[0], IDX_IMAGES)
        labels = read_idx(files[1], IDX_QMNIST_LABELS if source.dataset == "qmnist" else IDX_LABELS)
        if len(images) != len(labels):
            raise corrupt(files[1], f"it has {len(labels)} labels for the {len(images)} images of {files[0].name}")
        if source.dataset == "qmnist":
            labels = labels[:, 0]  # the class; the others tell who wrote it
        if source.dataset == "emnist-balanced":
            images = images.swapaxes(1, 2)  # stored column by column
        split = as_split(images, labels)
    if not (len(split) and split.labels.min() >= 0 and split.labels.max() < len(source.class_names)):
        raise corrupt(files[-1], f"it must hold labels 0 to {len(source.class_names) - 1}, and at least one")
    return split


def _read_usps(file: Path) -> Split:
    try:
        usps = _torchvision_datasets().USPS(file.parent, train=file.name == "usps.bz2")
    except (OSError, EOFError, ValueError, IndexError) as error:
        raise corrupt(file, f"it is not bzip2 of LIBSVM text ({error})") from None
    return as_split(usps.data, np.array(usps.targets))


def _absent(source: _Source, folder: Path, why: str) -> DataError:
    files = source.train + source.test
    kind = "two bz2 files" if source.dataset == "usps" else "four idx files"
    return DataError(
        f"{source.dataset} is not at {folder} and {why}; put the {kind} there ({files[0]} ...), "
        "set CVAE_PIPE_DATA_DIR, or use --dataset digits, which needs no download"
    )


def _download(source: _Source, folder: Path, missing: list[str]) -> None:
    """Fetch the missing raw files into `folder`; each appears there whole or not at all."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".download-", dir=folder) as work:
            for archive in source.archives:
                for name in [name for name in archive.files if name in missing]:
                    os.replace(extract(retrieve(archive, source.dataset, Path(work)), name), folder / name)
    except UnreachableError as error:
        raise _absent(source, folder, f"could not be downloaded ({error})") from None
    except OSError as error:
        raise DataError(
            f"{source.dataset} must be downloaded, but {folder} cannot be written ({error.strerror}); "
            "set CVAE_PIPE_DATA_DIR to a directory of yours, or use --dataset digits, which needs no download"
        ) from None
