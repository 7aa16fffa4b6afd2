"""USPS: two bzip2 files of LIBSVM text, read by torchvision."""

import string
from pathlib import Path

import numpy as np

from pipeline.data.download import Archive
from pipeline.data.files import as_split, check_labels, corrupt
from pipeline.data.sources.published import Published, torchvision_datasets
from pipeline.data.sources.source import Official
from pipeline.data.splits import Split


class Usps:
    """16 x 16 digits from envelopes."""

    origin = "torchvision"

    def read(self, root: Path, *, download: bool) -> Official:
        """The official training and test set."""
        published = self.published()
        (train,), (test,) = published.files(root, download=download)
        names = published.class_names
        return Official(_read(train, len(names)), _read(test, len(names)), names)

    def published(self) -> Published:
        """Names, addresses and checksums as torchvision has them."""
        archives = tuple(
            Archive(name, md5, (url,), (name,)) for url, name, md5 in torchvision_datasets().USPS.split_list.values()
        )
        md5 = {archive.name: archive.md5 for archive in archives}  # kept as they come: the archive is the raw file
        names, (train, test) = tuple(string.digits), (archive.files for archive in archives)
        return Published("usps", "", archives, train, test, names, "two bz2 files", md5)


def _read(file: Path, classes: int) -> Split:
    try:
        usps = torchvision_datasets().USPS(file.parent, train=file.name == "usps.bz2")
    except (OSError, EOFError, ValueError, IndexError) as error:
        raise corrupt(file, f"it is not bzip2 of LIBSVM text ({error})") from None
    return check_labels(as_split(usps.data, np.array(usps.targets)), classes, file)
