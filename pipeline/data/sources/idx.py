"""The data sets that come as four idx files: MNIST and those made in its image."""

import string
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar

from pipeline.data.download import Archive
from pipeline.data.files import (
    IDX_IMAGES,
    IDX_LABELS,
    IDX_QMNIST_LABELS,
    as_split,
    check_labels,
    corrupt,
    read_idx,
)
from pipeline.data.sources.published import Published, torchvision_datasets
from pipeline.data.sources.source import Official
from pipeline.data.splits import Split

MNIST_MD5 = {
    "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
    "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
    "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
    "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
}
"""MD5 of the uncompressed files of MNIST. Of the other idx sets only the archives' checksums are published."""
IDX_FILES = "four idx files"


@dataclass(frozen=True)
class IdxFiles:
    """mnist, fashion-mnist, kmnist, emnist-balanced or qmnist."""

    origin: ClassVar[str] = "torchvision"
    name: str

    def read(self, root: Path, *, download: bool) -> Official:
        """The official training and test set."""
        published = self.published()
        parts = published.files(root, download=download)
        train, test = (self._part(images, labels, len(published.class_names)) for images, labels in parts)
        return Official(train, test, published.class_names)

    def _part(self, images_file: Path, labels_file: Path, classes: int) -> Split:
        images = read_idx(images_file, IDX_IMAGES)
        labels = read_idx(labels_file, IDX_QMNIST_LABELS if self.name == "qmnist" else IDX_LABELS)
        if len(images) != len(labels):
            what = f"it has {len(labels)} labels for the {len(images)} images of {images_file.name}"
            raise corrupt(labels_file, what)
        if self.name == "qmnist":
            labels = labels[:, 0]  # the class; the others tell who wrote it
        if self.name == "emnist-balanced":
            images = images.swapaxes(1, 2)  # stored column by column
        return check_labels(as_split(images, labels), classes, labels_file)

    def published(self) -> Published:
        """Names, addresses and checksums as torchvision has them."""
        if self.name == "mnist" and find_spec("torchvision") is None:  # a bare machine that was given the raw files
            files, names = tuple(MNIST_MD5), tuple(string.digits)
            return Published(self.name, "MNIST/raw", (), files[:2], files[2:], names, IDX_FILES, MNIST_MD5)
        tv = torchvision_datasets()
        if self.name == "emnist-balanced":
            train, test = (
                tuple(f"emnist-balanced-{part}-{what}-ubyte" for what in ("images-idx3", "labels-idx1"))
                for part in ("train", "test")
            )
            names = tuple(tv.EMNIST.classes_split_dict["balanced"])
            archive = Archive("gzip.zip", tv.EMNIST.md5, (tv.EMNIST.url,), train + test)
            return Published(self.name, "EMNIST/raw", (archive,), train, test, names, IDX_FILES)
        if self.name == "qmnist":
            kind = tv.QMNIST
            resources = [((url,), md5) for part in ("train", "test") for url, md5 in kind.resources[part]]
        else:
            kind = {"mnist": tv.MNIST, "fashion-mnist": tv.FashionMNIST, "kmnist": tv.KMNIST}[self.name]
            resources = [(tuple(mirror + name for mirror in kind.mirrors), md5) for name, md5 in kind.resources]
        archives = tuple(_gz(urls, md5) for urls, md5 in resources)
        files = tuple(archive.files[0] for archive in archives)
        names = tuple(name.partition(" - ")[0] for name in kind.classes)  # torchvision says "3 - three"
        md5s = MNIST_MD5 if self.name == "mnist" else {}
        folder = f"{kind.__name__}/raw"
        return Published(self.name, folder, archives, files[:2], files[2:], names, IDX_FILES, md5s)


def _gz(urls: tuple[str, ...], md5: str) -> Archive:
    """One compressed raw file."""
    name = urls[0].rpartition("/")[2]
    return Archive(name, md5, urls, (name.removesuffix(".gz"),))
