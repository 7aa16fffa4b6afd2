"""Sheets of images: tiled, written as PNG, read back. Knows pixels and files; no models."""

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor


Shape = tuple[int, int, int]
"""(channels, height, width) of an image; a flat one has its values in this order."""


def as_pictures(images: Float[Tensor, "N D"], shape: Shape) -> Float[Tensor, "N H W *C"]:
    """Flat images as they are shown: (N, H, W) of grey, (N, H, W, 3) of colour."""
    pictures = images.unflatten(1, shape)
    return pictures[:, 0] if shape[0] == 1 else pictures.movedim(1, -1)


def tile(
    images: Float[Tensor, "N D"], *, columns: int, shape: Shape, gap: int = 1
) -> UInt8[Tensor, "rows_px columns_px *C"]:
    """A sheet of images in [0, 1], row-major, as uint8 with `gap` pixels of mid-grey between them; grey (H, W), or
    colour (H, W, 3)."""
    rows, (channels, height, width) = -(-len(images) // columns), shape
    size = rows * (height + gap) - gap, columns * (width + gap) - gap
    sheet = torch.full(size if channels == 1 else (*size, channels), 128, dtype=torch.uint8)
    pixels = (as_pictures(images, shape).clamp(0, 1) * 255).round().to(torch.uint8).cpu()
    for i, image in enumerate(pixels):
        top, left = i // columns * (height + gap), i % columns * (width + gap)
        sheet[top : top + height, left : left + width] = image
    return sheet


def paired_rows(first: Float[Tensor, "N D"], second: Float[Tensor, "N D"], columns: int) -> Float[Tensor, "M D"]:
    """Rows of `first` and `second` in turn, for a tile of `columns`: real above reconstructed."""
    rows = [part for pair in zip(first.split(columns), second.split(columns), strict=True) for part in pair]
    return torch.cat(rows)


GRID_COLUMNS = 10


def save_grid(images: torch.Tensor, path: Path, columns: int, shape: Shape) -> None:
    """A tiled sheet of `columns` images a row, each of `shape`, as PNG."""
    path.parent.mkdir(exist_ok=True)
    sheet = tile(images, columns=columns, shape=shape)
    Image.fromarray(sheet.numpy()).save(path, optimize=True)


def read_grid(path: Path) -> UInt8[np.ndarray, "H W *C"]:
    """The pixels of a sheet: grey (H, W), or colour (H, W, 3)."""
    with Image.open(path) as image:
        return np.asarray(image)
