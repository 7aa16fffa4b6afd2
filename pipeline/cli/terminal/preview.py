"""Small images as text: a character of two coloured halves is two pixels. Knows pixels; no terminal."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import UInt8
from PIL import Image
from rich.color import Color
from rich.console import Console
from rich.style import Style
from rich.text import Text

from pipeline.cli.terminal.console import console, redraws

PIXELS = 16
"""Largest side of an image: five digits fit beside each other into 80 columns."""


def first_of_each_class(grid: Path, height: int, width: int) -> list[UInt8[np.ndarray, "h w *C"]]:
    """The first column of a stored grid of images of that size, made no larger than a preview has pixels for."""
    with Image.open(grid) as sheet:
        tops = range(0, sheet.height, height + 1)  # a pixel of grey lies between the images
        cut = [sheet.crop((0, top, width, top + height)) for top in tops]
    for image in cut:
        image.thumbnail((PIXELS, PIXELS))
    return [np.asarray(image) for image in cut]


def half_blocks(images: Sequence[UInt8[np.ndarray, "h w *C"]], *, width: int, rows: int) -> Text:
    """Images of one size side by side in lines of equal length; lines beyond `rows` rows of text are left out."""
    h, w = images[0].shape[:2]
    images = [image if image.ndim == 3 else image[..., None].repeat(3, 2) for image in images]
    lines = -(-len(images) // max(1, min(len(images), width // (w + 1))))
    per_line = -(-len(images) // lines)
    line_rows = h // 2 + 1  # a pixel apart, or two
    text = Text(no_wrap=True)
    for i in range(min(lines, max(1, rows // line_rows))):
        strip = images[i * per_line : (i + 1) * per_line]
        pixels = np.hstack([np.pad(image, ((0, 2 * line_rows - h), (0, 1), (0, 0))) for image in strip])
        for upper, lower in zip(pixels[::2], pixels[1::2], strict=True):
            for a, b in zip(upper.tolist(), lower.tolist(), strict=True):
                text.append("▀", Style(color=Color.from_rgb(*a), bgcolor=Color.from_rgb(*b)))
            text.append("\n")
    return text


if TYPE_CHECKING:
    from pipeline.runs.outcome import Outcome


PREVIEW_ROWS = 20
"""Lines that generated images take at most."""


def show_preview(outcome: "Outcome", screen: Console | None = None) -> None:
    """One generated image per class in half-block characters, where a terminal can show them."""
    screen = screen or console()
    if outcome.picture is None or not shows_greys(screen):
        return
    images = first_of_each_class(outcome.picture, *outcome.facts["shape"][1:])
    screen.print("generated, one image per class:")
    screen.print(half_blocks(images, width=screen.width, rows=PREVIEW_ROWS))


def show_images(images: 'UInt8[np.ndarray, "N H W *C"]', title: str, screen: Console | None = None) -> None:
    """The first of these images in half-block characters, where a terminal can show them."""
    screen = screen or console()
    if not shows_greys(screen):
        return
    small = [Image.fromarray(image) for image in images[: screen.width]]
    for image in small:
        image.thumbnail((PIXELS, PIXELS))
    screen.print(title)
    screen.print(half_blocks([np.asarray(image) for image in small], width=screen.width, rows=PREVIEW_ROWS))


def shows_greys(screen: Console) -> bool:
    """Whether a terminal has the characters and the shades of grey that a picture takes."""
    greys = screen.color_system in ("256", "truecolor") and not screen.no_color
    return redraws(screen) and greys and screen.encoding.startswith("utf")
