"""Trials as points that trade one objective for another: the Pareto front, rate against distortion."""

import itertools
import math
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import PathCollection
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from matplotlib.ticker import MaxNLocator

from pipeline.plots.axes import (
    Objective,
    better,
    finish,
    label_of,
    log_ticks,
    nothing,
    numbers_of,
    settle,
    subplots,
    whole_numbers,
)
from pipeline.plots.theme import BETAS, BLUE, DPI, FAINT, GREY, INK, ORANGE, SERIES, SOFT, themed

NUMBERED = 16
"""Most trials of a front that carry their number in a figure: more cannot be read."""


@themed
def pareto(
    frame: pd.DataFrame, axes: Sequence[Objective], front: AbstractSet[int] = frozenset(), chosen: int | None = None
) -> Figure:
    """Every pair of two or three objectives, a point per trial, coloured by beta on a log scale.

    Trials of the front are ringed and carry their number, of a large front some; with two objectives they are joined by
    the stairs that bound what was reached. The chosen one is a star. Where the frame has <column>_low and _high, or
    <column>_sem, those with a number have 95 % intervals.
    """
    side = len(axes) - 1
    figure, panels = subplots(side, side, height=2.5 if side > 1 else 3.4)
    numbers = numbers_of(frame, ["number", "beta", *(column for column, _, _ in axes)])
    norm = _beta_norm(numbers["beta"])
    named = {}
    for row, y in enumerate(axes[1:]):
        for column, x in enumerate(axes[: row + 1]):
            ax = panels[row, column]
            rows = numbers.dropna(subset=[x[0], y[0]])
            named[ax] = _trials(ax, rows, x[0], y[0], front, chosen, norm), x[0], y[0]
            _intervals(ax, frame.reset_index(drop=True).loc[named[ax][0].index], x[0], y[0])
            if side == 1:
                _stairs(ax, rows[rows["number"].isin(front)], x, y)
            ax.xaxis.set_major_locator(MaxNLocator(5))
            finish(ax, better(x), better(y))
    for ax in panels[np.triu_indices(side, 1)]:
        ax.set_axis_off()
    marks = _marks(bool(front), chosen is not None)
    if side > 1:  # the free corner holds the legend
        panels[0, -1].legend(handles=marks, loc="upper left", labelspacing=0.9)
        _beta_bar(figure, norm, most=4, cax=panels[0, -1].inset_axes((0.04, 0.42, 0.8, 0.06)), orientation="horizontal")
    else:
        figure.legend(handles=marks, loc="outside upper left", ncols=3)
        _beta_bar(figure, norm, ax=panels)
    settle(figure)
    for ax, (rows, x_column, y_column) in named.items():
        _number_points(ax, rows, x_column, y_column)
    return figure


@themed
def rate_distortion(frame: pd.DataFrame, front: AbstractSet[int] = frozenset(), chosen: int | None = None) -> Figure:
    """Distortion against rate `kl`, nats per image, a point per trial (Alemi et al. 2018, figure 1).

    Distortion is `bce`, or `distortion` of a density. Dashed lines join points of equal neg_elbo, their sum.
    """
    figure, panels = subplots(1, 1, height=3.9)
    ax = panels.flat[0]
    distortion = "bce" if "bce" in frame else "distortion"
    numbers = numbers_of(frame, ["number", "beta", "kl", distortion])
    norm = _beta_norm(numbers["beta"])
    rows = numbers.dropna(subset=["kl", distortion])
    named = _trials(ax, rows, "kl", distortion, front, chosen, norm)
    if len(rows):
        _iso_elbo(ax)
    finish(ax, "rate: kl, nats per image ↓", f"distortion{': bce' if distortion == 'bce' else ''}, nats per image ↓")
    _beta_bar(figure, norm, ax=panels)
    equal = Line2D([], [], color=SOFT, lw=0.8, ls=(0, (4, 3)), label="equal neg_elbo")
    figure.legend(
        handles=[*_marks(bool(front), chosen is not None), equal], loc="outside upper left", ncols=4, columnspacing=1.2
    )
    settle(figure)
    _number_points(ax, named, "kl", distortion)
    return figure


@themed
def fronts_together(
    studies: Sequence[tuple[str, pd.DataFrame, AbstractSet[int], int | None]], axes: Sequence[Objective]
) -> Figure:
    """Every pair of objectives, a colour a study (its name, trials, front, choice): trials faint, its front filled and
    joined where there are two objectives, its choice a star."""
    side = len(axes) - 1
    figure, panels = subplots(side, side, height=2.5 if side > 1 else 3.4)
    for row, y in enumerate(axes[1:]):
        for column, x in enumerate(axes[: row + 1]):
            ax = panels[row, column]
            for (_, frame, front, chosen), colour in zip(studies, itertools.cycle(SERIES), strict=False):
                rows = numbers_of(frame, ["number", x[0], y[0]]).dropna()
                on = rows[rows["number"].isin(front)]
                ax.plot(rows[x[0]], rows[y[0]], "o", ms=3.5, mfc="none", mec=colour, mew=0.8, alpha=0.6, zorder=2)
                ax.plot(on[x[0]], on[y[0]], "o", ms=5.5, color=colour, mec="white", mew=0.5, zorder=3)
                star = rows[rows["number"] == chosen]
                ax.plot(star[x[0]], star[y[0]], "*", ms=14, color=colour, mec=INK, mew=0.9, zorder=4)
                if side == 1:
                    _stairs(ax, on, x, y, colour)
            ax.xaxis.set_major_locator(MaxNLocator(5))
            finish(ax, better(x), better(y))
    for ax in panels[np.triu_indices(side, 1)]:
        ax.set_axis_off()
    named = [
        Line2D([], [], ls="", marker="o", ms=6, color=colour, label=label_of(name, 30))
        for (name, *_), colour in zip(studies, itertools.cycle(SERIES), strict=False)
    ]
    marks = [*named, Line2D([], [], ls="", marker="*", ms=12, mfc=GREY, mec=INK, mew=0.9, label="its choice")]
    if side > 1:
        panels[0, -1].legend(handles=marks, loc="upper left", labelspacing=0.9)
    else:
        figure.legend(handles=marks, loc="outside upper left", ncols=3)
    return figure


@themed
def hypervolumes_together(studies: Sequence[tuple[str, Sequence[int], Sequence[float]]]) -> Figure:
    """Hypervolume reached after each trial, a line a study (its name, trial numbers, volumes)."""
    figure, panels = subplots(1, 1, height=2.6)
    ax = panels.flat[0]
    for (name, numbers, volumes), colour in zip(studies, itertools.cycle(SERIES), strict=False):
        ax.step(numbers, volumes, where="post", color=colour, label=label_of(name, 30))
        ax.plot(numbers[-1:], volumes[-1:], "o", color=colour, ms=5, mec="white")
    finish(ax, "trial", "hypervolume, share ↑")
    whole_numbers(ax)
    ax.legend(loc="lower right")
    return figure


@themed
def hypervolume_history(numbers: Sequence[int], volumes: Sequence[float], front: AbstractSet[int]) -> Figure:
    """Hypervolume reached after each trial, a share of the box from worst to ideal; trials of today's front marked."""
    figure, panels = subplots(1, 1, height=2.6)
    ax = panels.flat[0]
    ax.step(numbers, volumes, where="post", color=BLUE)
    on = [(n, v) for n, v in zip(numbers, volumes, strict=True) if n in front]
    ax.plot(*zip(*on, strict=True), "o", color=ORANGE, mec="white", ms=6, label="trial of the front")
    finish(ax, "trial", "hypervolume, share ↑")
    whole_numbers(ax)
    if on:
        ax.legend(loc="lower right")
    return figure


def _trials(
    ax: Axes, rows: pd.DataFrame, x: str, y: str, front: AbstractSet[int], chosen: int | None, norm: LogNorm
) -> pd.DataFrame:
    """A point per trial; the front ringed and larger, the chosen one a star. The rows that carry their number: the
    chosen one, the front, of a front of more than NUMBERED so many evenly along x."""
    on_front, is_chosen = rows["number"].isin(front), rows["number"] == chosen
    for keep, marker, size, edge, width in (
        (~on_front & ~is_chosen, "o", 26, "white", 0.5),
        (on_front & ~is_chosen, "o", 46, INK, 1.4),
        (is_chosen, "*", 190, INK, 1.2),
    ):
        group = rows[keep]
        betas = group["beta"].clip(lower=norm.vmin).fillna(norm.vmin)
        ax.scatter(
            group[x], group[y], s=size, c=betas, cmap=BETAS, norm=norm, marker=marker, ec=edge, lw=width, zorder=3
        )  # fmt: skip
    if rows.empty:
        nothing(ax, "no finished trials")
    named = rows[on_front & ~is_chosen].sort_values([x, y])
    if len(named) > NUMBERED:
        named = named.iloc[np.linspace(0, len(named) - 1, NUMBERED).round().astype(int)]
    return pd.concat([rows[is_chosen], named]).sort_index()


def _intervals(ax: Axes, rows: pd.DataFrame, x: str, y: str) -> None:
    """95 % intervals of these trials as thin lines."""
    for column, way in ((x, "xerr"), (y, "yerr")):
        if {f"{column}_low", f"{column}_high"} <= set(rows.columns):
            ends = [rows[column] - rows[f"{column}_low"], rows[f"{column}_high"] - rows[column]]
        elif f"{column}_sem" in rows:
            ends = [1.96 * rows[f"{column}_sem"]] * 2
        else:
            continue
        length = np.nan_to_num(np.array(ends, dtype=float)).clip(min=0)
        style: dict[str, Any] = {"fmt": "none", "ecolor": INK, "elinewidth": 0.9, "zorder": 2, way: length}
        ax.errorbar(rows[x].astype(float), rows[y].astype(float), **style)


def _stairs(ax: Axes, rows: pd.DataFrame, x: Objective, y: Objective, colour: str = SOFT) -> None:
    """The border of what was reached: for every x, the best y of the trials of the front that are as good in x."""
    rows = rows.sort_values(x[0])
    ax.step(
        rows[x[0]], rows[y[0]], where="pre" if x[2] == "maximize" else "post", color=colour, lw=1.1, ls="--", zorder=2
    )


def _iso_elbo(ax: Axes) -> None:
    """Dashed diagonals of equal bce + kl, each with its value where it enters the panel."""
    (left, right), (bottom, top) = ax.get_xlim(), ax.get_ylim()
    for level in MaxNLocator(8, steps=[1, 2, 5, 10]).tick_values(left + bottom, right + top):
        xs = np.array([max(left, level - top), min(right, level - bottom)])
        if xs[0] < xs[1]:
            ax.plot(xs, level - xs, color=FAINT, lw=0.8, ls=(0, (4, 3)), zorder=1)
            ax.annotate(
                f"{level:g}", (xs[0], level - xs[0]), (3, -2), textcoords="offset points",
                va="top", color=SOFT, fontsize=7.5, zorder=1,
            )  # fmt: skip
    ax.set(xlim=(left, right), ylim=(bottom, top))


def _number_points(ax: Axes, rows: pd.DataFrame, x: str, y: str) -> None:
    """Write trial numbers beside their points, each where it meets the fewest points and earlier numbers.

    The layout has to be settled, so that data units can be told in pixels.
    """
    unit = DPI / 72  # pixels of a typographic point
    points = np.concatenate([ax.transData.transform(marks.get_offsets()) for marks in _scatters(ax)])  # (N, 2)
    angles = np.pi / 4 * np.array([1, 3, 7, 5, 2, 0, 6, 4])  # diagonals first
    offsets = [unit * r * np.array([math.cos(a), math.sin(a)]) for r in (11, 16, 22, 30, 40) for a in angles]
    taken = np.empty((0, 2))
    for number, px, py in zip(rows["number"], rows[x], rows[y], strict=True):
        text, here = f"{number:.0f}", ax.transData.transform((px, py))
        size = unit * np.array([5.6 * len(text), 8.5])
        crowding = [
            (np.abs(points - here - offset) < size / 2 + 4 * unit).all(1).sum()
            + 4 * (np.abs(taken - here - offset) < size + 2 * unit).all(1).sum()
            + 3 * (not ax.bbox.padded(-size[0] / 2).contains(*(here + offset)))
            for offset in offsets
        ]
        best = offsets[int(np.argmin(crowding))]
        taken = np.vstack([taken, here + best])
        leader = {"arrowstyle": "-", "color": SOFT, "lw": 0.6, "shrinkA": 0, "shrinkB": 3}
        ax.annotate(
            text, (px, py), tuple(best / unit), textcoords="offset points",
            ha="center", va="center", fontsize=8, zorder=6,
            path_effects=[withStroke(linewidth=2, foreground="white")],
            arrowprops=leader if np.hypot(*best) > 12 * unit else None,
        )  # fmt: skip


def _scatters(ax: Axes) -> list[PathCollection]:
    return [marks for marks in ax.collections if isinstance(marks, PathCollection)]


def _marks(front: bool, chosen: bool) -> list[Line2D]:
    """What the marks of a plot of trials mean, for its legend."""

    def mark(shape: str, size: float, edge: str, width: float, label: str) -> Line2D:
        return Line2D([], [], ls="", marker=shape, ms=size, mfc=GREY, mec=edge, mew=width, label=label)

    marks = [mark("o", 5, "white", 0.5, "trial")]
    marks += [mark("o", 7, INK, 1.4, "Pareto front")] * front
    marks += [mark("*", 13, INK, 1.1, "chosen")] * chosen
    return marks


def _beta_norm(betas: pd.Series) -> LogNorm:
    """A log scale over the positive betas, never of zero width; beta 0 takes the colour of the smallest."""
    positive = betas[betas > 0]
    low, high = (positive.min(), positive.max()) if len(positive) else (1.0, 1.0)
    return LogNorm(low / 1.5, high * 1.5) if high < 1.1 * low else LogNorm(low, high)


def _beta_bar(figure: Figure, norm: LogNorm, *, most: int = 6, **where: Any) -> None:
    """The colour scale of beta, beside the axes `ax` or inside `cax`."""
    bar = figure.colorbar(ScalarMappable(norm, BETAS), label="beta", **({"aspect": 30, "pad": 0.02} | where))
    bar.outline.set_visible(False)
    log_ticks(bar.long_axis, float(norm.vmin or 1), float(norm.vmax or 1), most=most)
