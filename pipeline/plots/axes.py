"""Panels, ticks and labels that figures share. Knows axes and columns of numbers, not what they mean."""

import math
import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont, get_font
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullFormatter, NullLocator

from pipeline.plots.theme import DPI, FONT, SOFT, WIDTH
from pipeline.wording import shortened

Objective = tuple[str, str, str]
"""Column, label with its unit, and the direction that is better: "maximize" or "minimize" (Optuna's words)."""
Param = tuple[str, str, bool]
"""Column, label, and whether its axis is logarithmic."""


def subplots(rows: int, columns: int, *, height: float, width: float = WIDTH, **share: Any) -> tuple[Figure, Any]:
    """A figure with a grid of (rows, columns) axes, `height` inches each row."""
    figure = Figure(figsize=(width, height * rows), dpi=DPI, layout=ConstrainedLayoutEngine(w_pad=0.06, h_pad=0.06))
    return figure, figure.subplots(rows, columns, squeeze=False, **share)


def settle(figure: Figure) -> None:
    """Lay the figure out for good, so that data units can be told in pixels; what is added later takes no room."""
    figure.draw_without_rendering()
    figure.set_layout_engine("none")


def finish(ax: Axes, xlabel: str, ylabel: str) -> None:
    ax.set(xlabel=xlabel, ylabel=ylabel)


def better(objective: Objective, line: int = 40) -> str:
    """The label with an arrow to the better side, in lines of at most `line` characters."""
    _, label, direction = objective
    return "\n".join(textwrap.wrap(f"{label_of(label, 48)} {'↑' if direction == 'maximize' else '↓'}", line))


def nothing(ax: Axes, why: str) -> None:
    ax.text(0.5, 0.5, why, transform=ax.transAxes, ha="center", va="center", color=SOFT)
    ax.set(xticks=[], yticks=[])


def whole_numbers(ax: Axes, most: int = 6) -> None:
    ax.xaxis.set_major_locator(MaxNLocator(most, integer=True, min_n_ticks=1))


def log_axis(ax: Axes, values: pd.Series, most: int = 4) -> None:
    """A log x axis over the positive values with plain numbers at its ticks, about `most` of them."""
    positive = values[values > 0]
    if positive.empty:
        return
    low, high = positive.min() / 1.25, positive.max() * 1.25
    ax.set(xscale="log", xlim=(low, high))
    log_ticks(ax.xaxis, low, high, most=most)


def log_ticks(axis: Any, low: float, high: float, *, most: int) -> None:
    """About `most` ticks as plain numbers; matplotlib's own are mathtext, or none."""
    axis.set_major_locator(FixedLocator(log_tick_values(low, high, most=most)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))
    axis.set_minor_locator(NullLocator())
    axis.set_minor_formatter(NullFormatter())


def short(value: float) -> str:
    """A number for a tick: few digits, and 3e-4 rather than 0.0003."""
    if 0 < abs(value) < 0.01:
        digits, _, power = f"{value:.2e}".partition("e")
        return f"{float(digits):g}e{int(power)}"
    return f"{value:.4g}"


def log_tick_values(low: float, high: float, *, most: int) -> list[float]:
    """About `most` of 1, 2, 5, 10, .. or fewer between two positive numbers; these two where there is none."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for steps in ((1, 2, 5), (1, 3), (1,)):
        ticks = [float(f"{step}e{decade}") for decade in decades for step in steps]
        ticks = [tick for tick in ticks if low <= tick <= high] or [low, high]
        if len(ticks) <= most:
            break
    return ticks


def numbers_of(frame: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """These columns as floats, infinities and what is no number as nan."""
    floats = frame[list(dict.fromkeys(columns))].apply(pd.to_numeric, errors="coerce").astype(float)
    return floats.replace([np.inf, -np.inf], np.nan).reset_index(drop=True)


def finite(frame: pd.DataFrame, column: str) -> Any:
    return np.isfinite(frame[column]) if column in frame else np.zeros(len(frame), bool)


def label_of(text: str, longest: int) -> str:
    """`text` on one line, cut to `longest` characters, with a box for each character that the font does not have."""
    line = shortened(text, longest)
    line = "".join(c if get_font(findfont(FONT)).get_char_index(ord(c)) else "□" for c in line)
    line = line or "–"
    return f" {line}" if line.startswith("_") else line  # matplotlib hides labels that start with an underscore
