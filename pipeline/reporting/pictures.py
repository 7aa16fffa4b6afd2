"""Stored grids as figures and tiles: enlarged, named, beside real ones. Knows PNG files; no section, no layout."""

from pathlib import Path

import numpy as np
from PIL import Image

from pipeline import plots
from pipeline.reporting.blocks import Figure, Tile
from pipeline.runs.outcome import Outcome

TILE_WIDTH = 300
"""Pixels that a grid on a wall is enlarged to, at most: MNIST's own width."""

WALL_CAPTION = "Rows are classes; a column is one z, the same on every tile."


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
    """A stored PNG with its pixels enlarged to at most `width`; as it is where there is no room for that."""
    with Image.open(path) as image:
        scale = width // image.width
        return plots.image_png(np.asarray(image), scale=scale) if scale > 1 else path.read_bytes()
