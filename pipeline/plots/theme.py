"""The look of every figure: colours, fonts, one lock, and the PNG encoder. Knows no data."""

import functools
import io
import threading
from collections.abc import Callable
from typing import Any, ParamSpec

import matplotlib
import numpy as np
import seaborn as sns
from jaxtyping import UInt8
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

WIDTH = 5.0
"""Inches of a figure: 480 CSS pixels, so that 9-point text is still 8 pixels high on a phone 360 wide."""
DPI = 144
FONT = "DejaVu Sans"
"""Ships with matplotlib, so that a figure looks the same on every machine."""
BLUE, ORANGE, GREEN, RED, PURPLE, BROWN, PINK, GREY, YELLOW, SKY = sns.color_palette("colorblind").as_hex()
SERIES = (BLUE, ORANGE, GREEN, PURPLE, RED, BROWN, PINK, SKY)
INK, SOFT, FAINT = "#1d2230", "#565e6e", "#c3c7d0"
BETAS = sns.color_palette("viridis", as_cmap=True)
THEME: dict[str, Any] = {
    **sns.axes_style("ticks"),
    **sns.plotting_context("paper"),
    "font.family": FONT,
    "font.size": 9,
    "axes.labelsize": 9,
    "axes.titlesize": 9,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "legend.fontsize": 8.5,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": SOFT,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "xtick.major.size": 3,
    "ytick.major.size": 3,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e6e8ed",
    "grid.linewidth": 0.7,
    "lines.linewidth": 1.6,
    "legend.frameon": False,
    "text.parse_math": False,  # a dollar in a study's name is a dollar
    "axes.formatter.use_mathtext": False,
    "figure.dpi": DPI,
    "savefig.dpi": DPI,
}

_P = ParamSpec("_P")
_LOCK = threading.RLock()


def themed(draw: Callable[_P, Figure]) -> Callable[_P, bytes]:
    """`draw` under the theme, as PNG bytes; one figure at a time."""

    @functools.wraps(draw)
    def drawn(*args: _P.args, **kwargs: _P.kwargs) -> bytes:
        with _LOCK, matplotlib.rc_context(THEME):
            return png(draw(*args, **kwargs))

    return drawn


def png(figure: Figure) -> bytes:
    """The figure as a PNG of at most 256 colours (a third of the bytes); the same bytes for the same data."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    pixels = Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3])
    return _encode(pixels.quantize(256, dither=Image.Dither.NONE), dpi=(figure.dpi, figure.dpi))


def image_png(image: UInt8[np.ndarray, "H W *C"], *, scale: int = 1) -> bytes:
    """A grey image, 0 black to 255 white, or one of colour, as a PNG of exactly its pixels, each a square of side
    `scale`."""
    return _encode(Image.fromarray(image.repeat(scale, 0).repeat(scale, 1)))


def _encode(image: Image.Image, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True, **options)
    return buffer.getvalue()
