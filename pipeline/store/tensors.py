"""Tensors by name in a safetensors file. What the system refuses is an OSError, as it is of any other file."""

from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import save
from torch import Tensor


def save_tensors(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Write contiguous tensors; not through safetensors' own writer, whose error for a full disk is one of its own."""
    path.write_bytes(save(dict(tensors)))
