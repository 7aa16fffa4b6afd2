"""Stored grids as figures and tiles: enlarged, named, beside real ones. Knows PNG files; no section, no layout."""

from pathlib import Path

import numpy as np
from PIL import Image

from pipeline import plots
from pipeline.grids import MOST_ROWS, rows_of_block, shown_grid
from pipeline.reporting.blocks import Figure, Tile
from pipeline.runs.outcome import Outcome

TILE_WIDTH = 300
"""Pixels that a grid on a wall is enlarged to, at most: MNIST's own width."""

WALL_CAPTION = "Rows are classes; a column is one z, the same on every tile."
"""Beside it `blocks_of` where there are many classes."""


def blocks_of(outcome: Outcome) -> str:
    """How the rows of many classes are laid out, in half a sentence; "" of few."""
    classes = outcome.facts["classes"]
    return f", in blocks of {rows_of_block(classes)} side by side" if classes > MOST_ROWS else ""


def grid_figure(outcome: Outcome, kind: str, caption: str, alt: str) -> Figure:
    """A stored grid of a run across the page."""
    return Figure(kind, enlarged(outcome.grids[kind], 600), alt, caption)


def tile_figure(name: str, path: Path, alt: str) -> Figure:
    """A stored grid as it hangs on a wall."""
    return Figure(name, enlarged(path, TILE_WIDTH), alt)


def real_tile(outcome: Outcome) -> Tile | None:
    """Real images in the layout of the generated ones, for a wall; None where the store has none."""
    if outcome.real is None:
        return None
    picture = tile_figure("real", outcome.real, f"Real {outcome.split} images, one row per class")
    return Tile("real", "real images", (), picture, note=f"of the {outcome.split} split")


def enlarged(path: Path, width: int) -> bytes:
    """A stored sheet as it is looked at: its pixels enlarged to at most `width`, or to twice their size where that is
    a little more; averaged down to about that width where it is less than half as wide."""
    sheet = shown_grid(path)
    wide = sheet.shape[1]
    scale = width // wide
    if scale == 1 and width > 1.5 * wide:
        scale = 2
    if scale == 0 and wide >= 2 * width:
        return plots.image_png(np.asarray(Image.fromarray(sheet).reduce(wide // width)))
    return plots.image_png(sheet, scale=max(1, scale))
