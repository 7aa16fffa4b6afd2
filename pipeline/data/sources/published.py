"""Raw files that torchvision publishes: where they lie, what is known of them, and how missing ones are fetched."""

import os
import tempfile
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.data.download import Archive, UnreachableError, extract, retrieve
from pipeline.data.files import check_md5, found
from pipeline.errors import DataError


def torchvision_datasets() -> Any:
    """torchvision.datasets, without the warnings that its import gives where image codecs are missing."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from torchvision import datasets
    return datasets


@dataclass(frozen=True)
class Published:
    """The raw files of one data set."""

    dataset: str
    folder: str
    """Where they are, under the data directory."""
    archives: tuple[Archive, ...]
    """What they come in; empty where they cannot be downloaded."""
    train: tuple[str, ...]
    """Of the official training set: images and labels, or one file of both."""
    test: tuple[str, ...]
    class_names: tuple[str, ...]
    kind: str
    """What people are asked to put there, e.g. four idx files."""
    md5: Mapping[str, str] = field(default_factory=dict)
    """Of raw files, where it is published."""

    def files(self, root: Path, *, download: bool) -> tuple[list[Path], list[Path]]:
        """Paths of the training and of the test files, there and checked; DataError otherwise."""
        folder = root / self.folder
        missing = [name for name in self.train + self.test if found(folder, name) is None]
        if missing and not (download and self.archives):
            raise self._absent(folder, "may not be downloaded")
        if missing:
            self._download(folder, missing)
        train, test = ([found(folder, name) or folder / name for name in part] for part in (self.train, self.test))
        for name, file in zip(self.train + self.test, train + test, strict=True):
            check_md5(file, self.md5.get(name))
        return train, test

    def _download(self, folder: Path, missing: list[str]) -> None:
        """Fetch the missing raw files into `folder`; each appears there whole or not at all."""
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=".download-", dir=folder) as work:
                for archive in self.archives:
                    for name in [name for name in archive.files if name in missing]:
                        os.replace(extract(retrieve(archive, self.dataset, Path(work)), name), folder / name)
        except UnreachableError as error:
            raise self._absent(folder, f"could not be downloaded ({error})") from None
        except OSError as error:
            raise DataError(
                f"{self.dataset} must be downloaded, but {folder} cannot be written ({error.strerror}); "
                "set CVAE_PIPE_DATA_DIR to a directory of yours, or use --dataset digits, which needs no download"
            ) from None

    def _absent(self, folder: Path, why: str) -> DataError:
        return DataError(
            f"{self.dataset} is not at {folder} and {why}; put the {self.kind} there ({self.train[0]} ...), "
            "set CVAE_PIPE_DATA_DIR, or use --dataset digits, which needs no download"
        )
