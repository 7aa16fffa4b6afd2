"""All trials of a search at once: objectives over two settings, parallel coordinates."""

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator
from matplotlib.tri import TriAnalyzer, Triangulation

from pipeline.plots.axes import (
    Objective,
    Param,
    better,
    finish,
    label_of,
    log_tick_values,
    nothing,
    numbers_of,
    short,
    subplots,
)
from pipeline.plots.theme import FAINT, INK, ORANGE, SOFT, themed

GOOD = sns.color_palette("cividis", as_cmap=True)
"""Bright is better. Not the colours of beta."""
FLATTEST = 0.02
"""Triangles with a smaller ratio of inscribed to circumscribed circle are left out: slivers along the border join
trials that are far apart."""


@themed
def contours(
    frame: pd.DataFrame,
    x: Param,
    y: Param,
    objectives: Sequence[Objective],
    front: AbstractSet[int] = frozenset(),
    chosen: int | None = None,
) -> Figure:
    """Every objective over two settings: linear between neighbouring trials, nothing outside of them; trials on top.

    Colours run from the 5th to the 95th per cent of the values, so that a hopeless trial does not take all of them.
    """
    figure, panels = subplots(len(objectives), 1, height=2.6, sharex=True)
    numbers = numbers_of(frame, ["number", x[0], y[0], *(column for column, _, _ in objectives)])
    for row, (ax, objective) in enumerate(zip(panels.flat, objectives, strict=True)):
        rows = numbers.dropna(subset=[x[0], y[0], objective[0]])
        rows = rows[(rows[x[0]] > 0) | (not x[2])]
        rows = rows[(rows[y[0]] > 0) | (not y[2])]
        last = row == len(objectives) - 1
        finish(ax, label_of(x[1], 32) if last else "", label_of(y[1], 24))
        ax.grid(False)
        if rows.empty:
            nothing(ax, "no finished trials")
            continue
        points = np.column_stack([_position(rows[p[0]], p[2]) for p in (x, y)])  # (N, 2)
        values = rows[objective[0]].to_numpy()
        low, high = np.quantile(values, [0.05, 0.95])
        norm = Normalize(low, high) if high > low else Normalize(low - 1, high + 1)
        colours = GOOD if objective[2] == "maximize" else GOOD.reversed()
        mesh = triangles(points)
        if mesh is not None and high > low:
            levels = MaxNLocator(9).tick_values(low, high)
            ax.tricontourf(mesh, _at_corners(points, values), levels=levels, cmap=colours, norm=norm,
                           extend="both")  # fmt: skip
        for keep, size, edge, width in (
            (~rows["number"].isin(front), 24, "white", 0.7),
            (rows["number"].isin(front), 44, INK, 1.4),
        ):
            mask = keep.to_numpy()
            ax.scatter(*points[mask].T, s=size, c=values[mask], cmap=colours, norm=norm, ec=edge, lw=width, zorder=3)
        star = (rows["number"] == chosen).to_numpy()
        ax.scatter(
            *points[star].T, s=190, c=values[star], cmap=colours, norm=norm, marker="*", ec=INK, lw=1.2, zorder=4
        )
        _ticks(ax.xaxis, points[:, 0], x[2])
        _ticks(ax.yaxis, points[:, 1], y[2])
        for limits, column in ((ax.set_xlim, 0), (ax.set_ylim, 1)):
            pad = 0.06 * float(np.ptp(points[:, column])) or 0.5
            limits(points[:, column].min() - pad, points[:, column].max() + pad)
        bar = figure.colorbar(ScalarMappable(norm, colours), ax=ax, aspect=14, pad=0.02, extend="both")
        bar.set_label(better(objective, 22))
        bar.outline.set_visible(False)
        bar.ax.yaxis.set_major_locator(MaxNLocator(4))
    return figure


def _position(values: pd.Series, log: bool) -> Float[np.ndarray, " N"]:
    return np.log10(values.to_numpy()) if log else values.to_numpy()


def triangles(points: Float[np.ndarray, "N 2"]) -> Triangulation | None:
    """Delaunay triangles of the different points, both axes on one scale; None where all lie on a line.

    They fill the convex hull and nothing else, less the slivers along its border.
    """
    different = np.unique(points, axis=0)
    if len(different) < 3 or (different.min(0) == different.max(0)).any():
        return None
    extent = np.ptp(different, axis=0)
    scaled = (different - different.min(0)) / extent
    if np.linalg.matrix_rank(scaled - scaled.mean(0), tol=1e-6) < 2:
        return None
    mesh = Triangulation(*scaled.T)
    flat = TriAnalyzer(mesh).get_flat_tri_mask(FLATTEST, rescale=False)
    if flat.all():
        return None
    return Triangulation(*different.T, triangles=mesh.triangles, mask=flat)


def _at_corners(points: Float[np.ndarray, "N 2"], values: Float[np.ndarray, " N"]) -> Float[np.ndarray, " n"]:
    """The value at each of the different points, in the order of `triangles`; the mean where trials share one."""
    _, where = np.unique(points, axis=0, return_inverse=True)
    return np.bincount(where.ravel(), weights=values) / np.bincount(where.ravel())


def _ticks(axis: Any, positions: Float[np.ndarray, " N"], log: bool) -> None:
    """Plain numbers at the ticks of an axis whose positions are decimal logarithms, or the numbers themselves."""
    if log:
        low, high = 10 ** positions.min(), 10 ** positions.max()
        ticks = log_tick_values(low, high, most=6)
        axis.set_major_locator(FixedLocator([float(np.log10(tick)) for tick in ticks]))
        axis.set_major_formatter(FuncFormatter(lambda value, _: short(10**value)))
        axis.set_minor_locator(NullLocator())
    else:
        axis.set_major_locator(MaxNLocator(5))


@themed
def parallel_coordinates(
    frame: pd.DataFrame,
    params: Sequence[Param],
    objectives: Sequence[Objective],
    front: AbstractSet[int] = frozenset(),
    chosen: int | None = None,
) -> Figure:
    """A line per trial from setting to setting to objective, top to bottom; on the axes of objectives right is better.

    Lying axes rather than standing ones: they keep their width on a narrow screen. Only trials with all values.
    """
    columns = [column for column, *_ in (*params, *objectives)]
    kinds = {c: sorted(frame[c].dropna().unique()) for c, *_ in params if not pd.api.types.is_numeric_dtype(frame[c])}
    places_of = {c: frame[c].map({value: i for i, value in enumerate(values)}) for c, values in kinds.items()}
    rows = numbers_of(frame.assign(**places_of), ["number", *columns])
    figure, panels = subplots(1, 1, height=0.5 + 0.68 * len(columns))
    ax = panels.flat[0]
    for column, _, log in params:
        rows = rows[(rows[column] > 0) | (not log)]
    rows = rows.dropna()
    ax.set(xlim=(-0.04, 1.04), ylim=(len(columns) - 0.45, -0.6), xticks=[], yticks=[])
    ax.spines[:].set_visible(False)
    if rows.empty:
        nothing(ax, "no finished trials")
        return figure
    places = []
    for level, (column, label, log) in enumerate(params):
        name = f"{label_of(label, 40)}{' (log scale)' if log else ''}"
        places.append(_lying_axis(ax, level, rows[column], name, log=log, words=kinds.get(column)))
    for level, (column, label, direction) in enumerate(objectives, start=len(params)):
        flip = direction == "minimize"
        places.append(_lying_axis(ax, level, rows[column], f"{label_of(label, 40)}, better →", flip=flip))
    paths = np.column_stack(places)  # (N, axes)
    levels = np.arange(len(columns))
    on_front = rows["number"].isin(front).to_numpy()
    star = (rows["number"] == chosen).to_numpy()
    faint = max(0.03, 0.45 * min(1.0, 100 / len(rows)))  # of thousands, so that where many run stands out
    for keep, style in (
        (~on_front & ~star, {"color": SOFT, "lw": 0.7, "alpha": faint, "zorder": 2}),
        (on_front & ~star, {"color": ORANGE, "lw": 1.4, "alpha": 0.9, "zorder": 3}),
        (star, {"color": INK, "lw": 2.6, "zorder": 4}),
    ):
        lines = [np.column_stack([path, levels]) for path in paths[keep]]
        ax.add_collection(LineCollection(lines, joinstyle="round", **style), autolim=False)
    legend = [Line2D([], [], color=SOFT, lw=0.9, label="trial")]
    legend += [Line2D([], [], color=ORANGE, lw=1.6, label="Pareto front")] * bool((on_front & ~star).any())
    legend += [Line2D([], [], color=INK, lw=2.6, label="chosen")] * bool(star.any())
    figure.legend(handles=legend, loc="outside upper left", ncols=3)
    return figure


def _lying_axis(
    ax: Axes,
    level: int,
    values: pd.Series,
    name: str,
    *,
    log: bool = False,
    flip: bool = False,
    words: Sequence[Any] | None = None,
) -> Float[np.ndarray, " N"]:
    """Draw an axis over the range of the values at this level; where on it each value is, 0 .. 1. `words` stand at the
    ticks 0, 1, 2, .. of values that are no numbers."""
    low, high = float(values.min()), float(values.max())
    if words is not None:
        ticks = [float(i) for i in range(len(words))]
    elif low == high:
        ticks = [low]
    else:
        ticks = log_tick_values(low, high, most=5) if log else list(MaxNLocator(5).tick_values(low, high))
    scale = np.log10 if log else np.asarray

    def place(numbers: Any) -> Float[np.ndarray, " n"]:
        share = (scale(numbers) - scale(low)) / (scale(high) - scale(low)) if high > low else 0.5 + 0 * scale(numbers)
        return 1 - share if flip else share

    ax.plot([0, 1], [level, level], color=FAINT, lw=1, zorder=1)
    for tick in ticks:
        if low <= tick <= high:
            x = float(place(tick))
            ax.plot([x, x], [level, level + 0.06], color=SOFT, lw=0.8, zorder=1)
            shown = short(tick) if words is None else label_of(words[int(tick)], 16)
            ax.text(x, level + 0.1, shown, ha="center", va="top", fontsize=8, color=SOFT, zorder=5,
                    bbox=_HALO)  # fmt: skip
    ax.text(0, level - 0.1, name, ha="left", va="bottom", fontsize=8.5, color=INK, zorder=5, bbox=_HALO)
    return place(values.to_numpy())


_HALO = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 0.8}
