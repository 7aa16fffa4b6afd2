"""What settings do to objectives: slices, importances, one setting over values."""

import math
import textwrap
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from pipeline.plots.axes import Objective, Param, better, finish, label_of, log_axis, nothing, numbers_of, subplots
from pipeline.plots.theme import BLUE, ORANGE, SERIES, SOFT, themed

MOST_SLICES = 4
"""Settings side by side; more stand below them, since what is written on an axis needs its width."""
MOST_ON_AN_AXIS = 14
"""Characters of the words of an axis, together, that have room side by side below one of four panels."""


@themed
def parameter_slices(
    frame: pd.DataFrame, params: Sequence[Param], objectives: Sequence[Objective], front: AbstractSet[int] = frozenset()
) -> Figure:
    """Every objective (rows) against every parameter (columns), a point per trial; those of the front in orange. Of
    more than four parameters the others follow below, with all objectives again."""
    groups = -(-len(params) // MOST_SLICES)
    across = -(-len(params) // groups)
    figure, panels = subplots(groups * len(objectives), across, height=1.9, sharey="row")
    numbers = numbers_of(frame, ["number", *(column for column, _, _ in objectives)])
    settings = frame.reset_index(drop=True)
    for at in range(groups * across):
        group, column = divmod(at, across)
        for row, objective in enumerate(objectives):
            ax = panels[group * len(objectives) + row, column]
            if at >= len(params):
                ax.set_axis_off()
                continue
            _slice(ax, settings, numbers, params[at], objective[0], front, few=across <= 3)
            last = row == len(objectives) - 1
            finish(ax, label_of(params[at][1], 24) if last else "", better(objective, 26) if column == 0 else "")
            ax.tick_params(labelbottom=last)
    if front:
        named = [("trial", BLUE), ("Pareto front", ORANGE)]
        marks = [Line2D([], [], ls="", marker="o", ms=5, color=colour, label=name) for name, colour in named]
        figure.legend(handles=marks, loc="outside upper left", ncols=2)
    return figure


def _slice(
    ax: Axes,
    settings: pd.DataFrame,
    numbers: pd.DataFrame,
    param: Param,
    objective: str,
    front: AbstractSet[int],
    *,
    few: bool,
) -> None:
    """One objective against one setting, which is a number, or a word with a place of its own."""
    name, _, log = param
    keep = numbers[objective].notna() & settings[name].notna()
    if not keep.any():
        nothing(ax, "no finished trials")
        return
    words: list[str] = []
    if pd.api.types.is_numeric_dtype(settings[name]):
        x = settings[name].astype(float)
    else:
        words = sorted(settings[name].dropna().astype(str).unique())
        x = settings[name].astype(str).map({word: place for place, word in enumerate(words)})
    for group, colour in (
        (keep & ~numbers["number"].isin(front), BLUE),
        (keep & numbers["number"].isin(front), ORANGE),
    ):
        ax.scatter(x[group], numbers[objective][group], s=22, color=colour, alpha=0.85, lw=0.4, ec="white")
    if words:
        tight = sum(map(len, words)) > MOST_ON_AN_AXIS
        ax.set_xticks(range(len(words)), [label_of(word, 24) for word in words], rotation=30 if tight else 0,
                      ha="right" if tight else "center")  # fmt: skip
        ax.set_xlim(-0.5, len(words) - 0.5)
    elif log:
        log_axis(ax, x[keep], most=4 if few else 2)


@themed
def importances(values: Mapping[str, Mapping[str, float]], noise: Mapping[str, float] | None = None) -> Figure:
    """Importance of each parameter for each objective: its share of the explained variance, 0 to 1; groups of bars.

    `noise`: objective -> the share that noise would give; a bar that is no longer is pale, a mark stands at it.
    """
    table = pd.DataFrame({objective: dict(shares) for objective, shares in values.items()}).astype(float)
    table = table.loc[table.mean(axis=1).sort_values(ascending=False, kind="stable").index]
    groups, bars = table.shape
    longest = max((len(label_of(o, 32)) for o in table.columns), default=0)
    columns = max(1, min(bars, 64 // (longest + 6)))  # what a legend of this width has room for
    height = 0.9 + 0.2 * max(groups, 1) * max(bars, 1) + 0.16 * groups + 0.2 * -(-bars // columns)
    figure, axes = subplots(1, 1, height=height)
    ax = axes.flat[0]
    thickness = 0.8 / max(bars, 1)
    for index, objective in enumerate(table.columns):
        centres = np.arange(groups) - 0.4 + (index + 0.5) * thickness
        shares, floor = table[objective].fillna(0.0), (noise or {}).get(objective, 0.0)
        bars_ = ax.barh(
            centres, shares, height=0.9 * thickness, color=SERIES[index % len(SERIES)], label=label_of(objective, 32)
        )
        for bar, share in zip(bars_, shares, strict=True):
            bar.set_alpha(0.3 if share <= floor else 1)
        if floor:
            ax.vlines([floor] * groups, centres - 0.45 * thickness, centres + 0.45 * thickness, color=SOFT, lw=1.5)
        for centre, share in zip(centres, table[objective], strict=True):
            text = f"{share:.2f}" if math.isfinite(share) else "not known"
            end = share if math.isfinite(share) else 0
            beside = floor if end < floor < end + 0.1 else end  # not across the mark
            ax.text(beside + 0.01, centre, text, va="center", color=SOFT, fontsize=7.5)
    ax.set_yticks(range(groups), [label_of(param, 32) for param in table.index])
    ax.set_ylim(max(groups, 1) - 0.5, -0.5)
    ax.set_xlim(0, max(0.1, 1.15 * float(np.nanmax(table.to_numpy(), initial=0.0))))
    finish(ax, "importance, share of explained variance", "")
    ax.grid(False, axis="y")
    if not groups:
        nothing(ax, "too few finished trials")
    elif bars > 1:
        figure.legend(loc="outside upper left", ncols=columns)
    return figure


@themed
def ablation(frame: pd.DataFrame, param: Param, metrics: Sequence[tuple[str, str]]) -> Figure:
    """Each metric (column, label) against one setting: a dot per seed, the line through the means, a band of one
    standard deviation over seeds. `frame` has a row per value and seed."""
    column, label, log = param
    rows = -(-len(metrics) // 2)
    figure, axes = subplots(rows, min(2, len(metrics)), height=2.0)
    for ax, (metric, name) in zip(axes.flat, metrics, strict=False):
        table = frame[[column, metric]].astype(float).dropna()
        groups = table.groupby(column)[metric]
        mean, deviation = groups.mean(), groups.std().fillna(0)
        ax.fill_between(mean.index, mean - deviation, mean + deviation, color=BLUE, alpha=0.18, linewidth=0)
        ax.plot(mean.index, mean, "-", color=BLUE)
        ax.plot(table[column], table[metric], "o", color=BLUE, ms=2.5, alpha=0.6)
        if log:
            ax.set_xscale("log")
            ticks = sorted(mean.index)
            ax.xaxis.set_major_locator(FixedLocator(ticks))
            ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            ax.xaxis.set_minor_locator(NullLocator())
        finish(ax, label, "\n".join(textwrap.wrap(name, 26)))
    for ax in list(axes.flat)[len(metrics) :]:
        ax.set_axis_off()
    return figure
