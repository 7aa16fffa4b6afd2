"""Sheets of images: tiled, written as PNG, read back. Knows pixels and files; no models."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

if TYPE_CHECKING:
    import torch
    from torch import Tensor


def tile(
    images: 'Float[Tensor, "N D"]', *, columns: int, height: int, width: int, gap: int = 1
) -> 'UInt8[Tensor, "rows_px columns_px"]':
    """A sheet of images in [0, 1], row-major, as uint8 grey with `gap` pixels of mid-grey between them."""
    import torch  # here: who reads a sheet needs none

    rows = -(-len(images) // columns)
    sheet = torch.full((rows * (height + gap) - gap, columns * (width + gap) - gap), 128, dtype=torch.uint8)
    pixels = (images.clamp(0, 1) * 255).round().to(torch.uint8).cpu().view(-1, height, width)
    for i, image in enumerate(pixels):
        top, left = i // columns * (height + gap), i % columns * (width + gap)
        sheet[top : top + height, left : left + width] = image
    return sheet


def paired_rows(first: 'Float[Tensor, "N D"]', second: 'Float[Tensor, "N D"]', columns: int) -> 'Float[Tensor, "M D"]':
    """Rows of `first` and `second` in turn, for a tile of `columns`: real above reconstructed."""
    import torch

    rows = [part for pair in zip(first.split(columns), second.split(columns), strict=True) for part in pair]
    return torch.cat(rows)


GRID_COLUMNS = 10


def save_grid(images: "torch.Tensor", path: Path, columns: int, shape: tuple[int, int]) -> None:
    """A tiled sheet of `columns` images a row, each of `shape` (height, width), as PNG."""
    path.parent.mkdir(exist_ok=True)
    sheet = tile(images, columns=columns, height=shape[0], width=shape[1])
    Image.fromarray(sheet.numpy()).save(path, optimize=True)


def read_grid(path: Path) -> UInt8[np.ndarray, "H W"]:
    """The pixels of a sheet."""
    with Image.open(path) as image:
        return np.asarray(image)
