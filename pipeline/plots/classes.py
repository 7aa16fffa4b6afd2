"""Scores per class, and which class is taken for which."""

import math
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from functools import partial
from typing import Any

import numpy as np
import seaborn as sns
from jaxtyping import Float
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure

from pipeline.plots.axes import finish, label_of, subplots
from pipeline.plots.theme import BLUE, INK, ORANGE, SOFT, WIDTH, themed

MOST_CLASSES, WORST = 40, 20
"""Classes of which each has a row; and how many have one, of more."""
MOST_NAMES = 40
"""Of classes along an axis of a confusion matrix: more would overlap."""
BLUES = sns.color_palette("blend:#ffffff,#8fbfe0,#0060a8,#002a4d", as_cmap=True)


def worst_of(accuracy: Sequence[float]) -> list[int]:
    """The classes that have a row each: all of them in order, or of many those with the least accuracy, worst first."""
    everything = list(range(len(accuracy)))
    return everything if len(accuracy) <= MOST_CLASSES else sorted(everything, key=lambda i: accuracy[i])[:WORST]


@themed
def per_class_bars(
    labels: Sequence[str],
    values: Sequence[float],
    intervals: Sequence[tuple[float, float]],
    ceiling: float | None = None,
    worst: AbstractSet[int] = frozenset(),
) -> Figure:
    """Accuracy per class, 0 to 1, with its interval as an error bar; the worst classes in orange.

    Dots rather than bars from zero, because the differences of interest are in the last per cents. `ceiling` is what
    the judge reads of real images.
    """
    figure, axes = subplots(1, 1, height=0.9 + 0.24 * max(len(labels), 2))
    ax = axes.flat[0]
    for row, (value, (low, high)) in enumerate(zip(values, intervals, strict=True)):
        colour = ORANGE if row in worst else BLUE
        ax.plot([low, high], [row, row], color=colour, lw=2.2, alpha=0.55, solid_capstyle="butt")
        ax.plot(value, row, "o", color=colour, ms=6)
    for row, value in enumerate(values):
        text = f"{value:.3f}" if math.isfinite(value) else "not known"
        ax.text(
            1.015,
            row,
            text,
            transform=ax.get_yaxis_transform(),
            va="center",
            fontsize=8,
            color=INK if row in worst else SOFT,
        )
    if ceiling is not None:
        ax.axvline(ceiling, color=INK, lw=1, ls="--", label=f"judge on real images: {ceiling:.3f}")
        figure.legend(loc="outside upper left")
    ax.set_yticks(range(len(labels)), [label_of(label, 28) for label in labels])
    ax.set_ylim(max(len(labels), 1) - 0.5, -0.5)
    finish(ax, "conditional accuracy → (share read as asked), 95 % interval", "class")
    return figure


@themed
def confusion_matrix(matrix: Any, labels: Sequence[str]) -> Figure:
    """Counts (K, K), row the class asked for, column the class read, as per cent of each row.

    The colour scale is compressed towards 0, where the confusions are; cells under 0.05 % are left blank.
    """
    counts = np.asarray(matrix, dtype=float)
    share = 100 * counts / np.maximum(counts.sum(1, keepdims=True), 1)
    annotate = len(labels) <= 12
    side = min(max(2.2, 0.36 * len(labels)), WIDTH - 1.5) if annotate else min(0.14 * len(labels), 6.0)
    figure, axes = subplots(1, 1, height=side + 0.65, width=side + 1.5)
    ax = axes.flat[0]
    text = np.vectorize(lambda v: "" if v < 0.05 else f"{v:.1f}" if v < 99.95 else "100")(share)
    sns.heatmap(
        share,
        ax=ax,
        norm=PowerNorm(0.35, 0, 100),
        cmap=BLUES,
        annot=text if annotate else None,
        fmt="",
        annot_kws={"fontsize": 7.5},
        square=True,
        linewidths=0.6 if annotate else 0,
        cbar_kws={"label": "share of the row, %", "ticks": [0, 1, 5, 20, 50, 100], "shrink": 0.8},
    )
    names = [label_of(label, 14) for label in labels]
    turned = 90 if max(map(len, names)) > 3 else 0
    size = 8.5 if annotate else 7
    shown = slice(None, None, -(-len(names) // MOST_NAMES))  # of many classes every second, third, .. is named
    places = np.arange(len(names))[shown] + 0.5
    ax.set_xticks(places, names[shown], rotation=turned, fontsize=size)
    ax.set_yticks(places, names[shown], rotation=0, fontsize=size)
    ax.tick_params(length=0)
    ax.set(xlabel="class the judge reads", ylabel="class asked for")
    return figure


@themed
def class_heat(
    classes: Sequence[str], columns: Sequence[str], scores: Mapping[str, Float[np.ndarray, "K C"]], what: str
) -> Figure:
    """One heat map per score (K classes, C columns), per cent, each with a colour scale of its own; dark is high.

    `what` names the columns. Cells carry their number where there is room.
    """
    names = [label_of(name, 14) for name in classes]
    rows = max(len(names), 2)
    figure, axes = subplots(len(scores), 1, height=0.55 + rows * (0.21 if rows <= 20 else 0.15), sharex=True)
    whole = len(columns) > 8  # room for whole per cents only
    for ax, (score, values) in zip(axes.flat, scores.items(), strict=True):
        cells = 100 * np.asarray(values, dtype=float)
        known = cells[np.isfinite(cells)]
        apart = known.size and known.min() < known.max()
        low, high = (known.min(), known.max()) if apart else (0.0, 100.0)
        sns.heatmap(
            cells,
            ax=ax,
            cmap=BLUES,
            vmin=low,
            vmax=high,
            annot=np.vectorize(partial(_per_cent, whole=whole))(cells) if len(columns) <= 12 and rows <= 20 else None,
            fmt="",
            annot_kws={"fontsize": 7.5},
            linewidths=0.6,
            cbar_kws={"label": "%", "aspect": 14, "pad": 0.02},
        )
        ax.set_yticks(np.arange(len(names)) + 0.5, names, rotation=0, fontsize=8.5 if rows <= 20 else 7)
        ax.tick_params(length=0)
        ax.set_title(label_of(score, 60), loc="left")
        finish(ax, "", "class")
    ax = list(axes.flat)[-1]
    ax.set_xticks(np.arange(len(columns)) + 0.5, [label_of(column, 12) for column in columns], rotation=0)
    finish(ax, what, "class")
    return figure


def _per_cent(value: float, *, whole: bool) -> str:
    """A share in a narrow cell; 100 only where it is."""
    if not math.isfinite(value):
        return "n/a"
    if value >= 99.95:
        return "100"
    return f"{min(value, 99):.0f}" if whole else f"{value:.1f}"
