"""Raw files: idx arrays read to the byte, MD5s checked. Knows formats; no data set."""

import gzip
import hashlib
import math
import os
import zlib
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8

from pipeline.data.splits import Split
from pipeline.errors import DataError

IDX_IMAGES, IDX_LABELS, IDX_QMNIST_LABELS = 0x0803, 0x0801, 0x0C02
"""Magic numbers: type (8 is uint8, C is int32) and number of dimensions."""


def as_split(images: np.ndarray, labels: np.ndarray) -> Split:
    """Arrays as tensors: uint8 images (N, H, W), labels (N,)."""
    return Split(
        torch.from_numpy(np.ascontiguousarray(images, np.uint8)),
        torch.from_numpy(np.ascontiguousarray(labels, np.int64)),
    )


def unpacked(file: Path) -> UInt8[np.ndarray, " N"]:
    """The bytes of a file, or those that a .gz file holds."""
    if file.suffix != ".gz":
        return np.fromfile(file, np.uint8)
    with gzip.open(file) as packed:
        return np.frombuffer(bytearray(packed.read()), np.uint8)  # writable, as torch wants its arrays


def found(folder: Path, name: str) -> Path | None:
    """A raw file under its name, as 7-Zip calls it (t10k-images.idx3-ubyte), or still packed; None if there is none."""
    dotted = name.replace("-idx", ".idx")
    for other in (name, dotted, f"{name}.gz", f"{dotted}.gz", f"gzip/{name}.gz"):
        if os.path.isfile(folder / other):
            return folder / other
    return None


def read_idx(file: Path, magic: int) -> np.ndarray:
    """An idx file, packed or not: big-endian magic number, one 32-bit size per dimension, values, and not a byte more.

    Not torchvision's reader, which passes over missing and trailing bytes.
    """
    try:
        raw = unpacked(file)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise corrupt(file, f"it cannot be unpacked ({error})") from None
    head = 4 * (1 + magic % 256)
    found, *shape = (int(n) for n in raw[:head].view(">u4")) if len(raw) >= head else (None,)
    if found != magic:
        raise corrupt(file, f"it does not begin with the magic number {magic} and {magic % 256} sizes")
    dtype = np.dtype(np.uint8) if magic // 256 == 8 else np.dtype(">i4")
    expected = head + math.prod(shape) * dtype.itemsize
    if len(raw) != expected:
        raise corrupt(file, f"it has {len(raw):,} bytes where its header promises {expected:,}")
    return raw[head:].view(dtype).reshape(shape)


def check_md5(file: Path, md5: str | None) -> None:
    """DataError if the file cannot be read, or is not the one with this MD5 (None: any)."""
    try:
        with gzip.open(file) if file.suffix == ".gz" else open(file, "rb") as opened:
            if md5 and (digest := hashlib.file_digest(opened, "md5").hexdigest()) != md5:
                raise corrupt(file, f"its MD5 is {digest} and must be {md5}")
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise corrupt(file, f"it cannot be unpacked ({error})") from None
    except OSError as error:
        raise DataError(
            f"{file} cannot be read ({error.strerror}); make it readable, or set CVAE_PIPE_DATA_DIR"
        ) from None


def check_labels(split: Split, classes: int, file: Path) -> Split:
    """The same split; DataError naming the file that the labels are from, unless there are some, all of 0 .. K-1."""
    if not (len(split) and split.labels.min() >= 0 and split.labels.max() < classes):
        raise corrupt(file, f"it must hold labels 0 to {classes - 1}, and at least one")
    return split


def corrupt(file: Path, what: str) -> DataError:
    """What is wrong with a raw file, and what to do."""
    return DataError(f"{file} is corrupt: {what}; delete it and run again, or copy a good one there")
