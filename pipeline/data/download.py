"""Archives from mirrors, checked and unpacked; each raw file appears whole or not at all. Knows no data set."""

import gzip
import http.client
import os
import shutil
import socket
import urllib.error
import urllib.parse
import zipfile
from dataclasses import dataclass
from pathlib import Path

STALL_SECONDS = 5.0
"""How long a server may be silent. Short, because urllib waits so long for each address of a host, and S3 has eight."""


@dataclass(frozen=True)
class Archive:
    """One download."""

    name: str
    md5: str
    urls: tuple[str, ...]
    """Where it can be had, best first."""
    files: tuple[str, ...]
    """The raw files it holds; its own name if it is kept as it is."""


class UnreachableError(Exception):
    """No mirror gave the archive; says why, per host."""


def retrieve(archive: Archive, dataset: str, work: Path) -> Path:
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
    raise UnreachableError(", ".join(failures))


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


def extract(archive: Path, name: str) -> Path:
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
