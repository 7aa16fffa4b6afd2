"""Sheets of images: tiled, written as PNG, read back. Knows pixels and files; no models."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image
from PIL.PngImagePlugin import PngInfo

if TYPE_CHECKING:
    import torch
    from torch import Tensor

Shape = tuple[int, int, int]
"""(channels, height, width) of an image; a flat one has its values in this order."""


def as_pictures(images: 'Float[Tensor, "N D"]', shape: Shape) -> 'Float[Tensor, "N H W *C"]':
    """Flat images as they are shown: (N, H, W) of grey, (N, H, W, 3) of colour."""
    pictures = images.unflatten(1, shape)
    return pictures[:, 0] if shape[0] == 1 else pictures.movedim(1, -1)


def tile(
    images: 'Float[Tensor, "N D"]', *, columns: int, shape: Shape, gap: int = 1
) -> 'UInt8[Tensor, "rows_px columns_px *C"]':
    """A sheet of images in [0, 1], row-major, as uint8 with `gap` pixels of mid-grey between them; grey (H, W), or
    colour (H, W, 3)."""
    import torch  # here: who reads a sheet needs none

    rows, (channels, height, width) = -(-len(images) // columns), shape
    size = rows * (height + gap) - gap, columns * (width + gap) - gap
    sheet = torch.full(size if channels == 1 else (*size, channels), 128, dtype=torch.uint8)
    pixels = (as_pictures(images, shape).clamp(0, 1) * 255).round().to(torch.uint8).cpu()
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
CELL = "cell"
"""The text in a sheet's PNG that says HEIGHTxWIDTH of one image."""


def save_grid(images: "torch.Tensor", path: Path, columns: int, shape: Shape) -> None:
    """A tiled sheet of `columns` images a row, each of `shape`, as PNG."""
    path.parent.mkdir(exist_ok=True)
    sheet = tile(images, columns=columns, shape=shape)
    facts = PngInfo()
    facts.add_text(CELL, f"{shape[1]}x{shape[2]}")
    Image.fromarray(sheet.numpy()).save(path, optimize=True, pnginfo=facts)


def read_grid(path: Path) -> UInt8[np.ndarray, "H W *C"]:
    """The pixels of a sheet: grey (H, W), or colour (H, W, 3)."""
    with Image.open(path) as image:
        return np.asarray(image)


MOST_ROWS = 20
"""Of a sheet that is looked at: with a row for each of a hundred classes nothing could be seen."""
BETWEEN_BLOCKS = 4
"""Pixels."""


def rows_of_block(rows: int, columns: int = GRID_COLUMNS) -> int:
    """How many of them stand below each other where a sheet is cut into blocks, of a column or more each."""
    return -(-rows // min(-(-rows // MOST_ROWS), columns))


def shown_grid(path: Path) -> UInt8[np.ndarray, "H W *C"]:
    """The pixels of a sheet as it is looked at: one with more rows than MOST_ROWS is cut into blocks of them, which
    stand side by side, each with the first few of its columns, so that the width stays about what it was. One with
    fewer columns than others (classes of few real images) is cut as they are, with grey where it has none."""
    with Image.open(path) as image:
        sheet, cell = np.asarray(image), image.info.get(CELL)
    if cell is None:  # older than the note of its cells
        return sheet
    height, width = (int(side) for side in cell.split("x"))
    rows, columns = (sheet.shape[0] + 1) // (height + 1), (sheet.shape[1] + 1) // (width + 1)
    if rows <= MOST_ROWS:
        return sheet
    columns = max(columns, GRID_COLUMNS)
    down = rows_of_block(rows, columns)
    blocks = -(-rows // down)
    across = columns // blocks
    sides = down * blocks * (height + 1) - 1, columns * (width + 1) - 1
    padded = np.full((*sides, *sheet.shape[2:]), 128, np.uint8)
    padded[: sheet.shape[0], : sheet.shape[1]] = sheet
    gap = np.full((down * (height + 1) - 1, BETWEEN_BLOCKS, *sheet.shape[2:]), 128, np.uint8)
    parts: list[np.ndarray] = []
    for block in range(blocks):
        top = block * down * (height + 1)
        parts += [gap, padded[top : top + down * (height + 1) - 1, : across * (width + 1) - 1]]
    return np.concatenate(parts[1:], axis=1)
