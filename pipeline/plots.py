"""Figures of a report: data in, PNG bytes out. The only matplotlib and seaborn import; no paths, no stores, no runs.

Every figure is drawn object by object (no pyplot state), under one theme and one lock: matplotlib's settings belong to
the whole process, so they are put in place for the drawing and back afterwards. Columns of a trials frame: `number`
(the trial's), `beta`, and those that the caller names; a failed trial has nan there and is left out.
"""

import functools
import io
import math
import textwrap
import threading
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, ParamSpec

import matplotlib
import numpy as np
import pandas as pd
import seaborn as sns
from jaxtyping import Float, UInt8
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm, PowerNorm
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont, get_font
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullFormatter, NullLocator
from PIL import Image

Objective = tuple[str, str, str]
"""Column, label with its unit, and the direction that is better: "maximize" or "minimize" (Optuna's words)."""
Param = tuple[str, str, bool]
"""Column, label, and whether its axis is logarithmic."""
History = pd.DataFrame | Sequence[Mapping[str, float]]
"""Rows with `epoch` and <split>/<quantity> in nats per image, for split in train, val."""

WIDTH = 7.5
"""Inches of the widest figure: 720 CSS pixels, so that 9-point text stays readable on a phone once it is enlarged."""
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


def _themed(draw: Callable[_P, Figure]) -> Callable[_P, bytes]:
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


def image_png(image: UInt8[np.ndarray, "H W"], *, scale: int = 1) -> bytes:
    """A grey image, 0 black to 255 white, as a PNG of exactly its pixels, each a square of side `scale`."""
    return _encode(Image.fromarray(np.kron(image, np.ones((scale, scale), np.uint8))))


def _encode(image: Image.Image, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True, **options)
    return buffer.getvalue()


# --- training -----------------------------------------------------------------------------------------------------


@_themed
def loss_curves(histories: Mapping[str, History], highlight: AbstractSet[str] = frozenset()) -> Figure:
    """Losses in nats per image against epochs.

    One run: train and val of neg_elbo, with its two halves beside it. Several: val/neg_elbo of all, the highlighted
    ones in colour. A curve that never comes near the others leaves the top, and the figure says so.
    """
    frames = {name: pd.DataFrame(history).astype(float) for name, history in histories.items()}
    if len(frames) == 1:
        return _one_run(*frames.values())
    return _many_runs(frames, highlight)


def _one_run(history: pd.DataFrame) -> Figure:
    quantities = {"neg_elbo": "neg_elbo", "bce": "bce (distortion)", "kl": "kl (rate)"}
    there = [q for q in quantities if any(_finite(history, f"{split}/{q}").any() for split in ("train", "val"))]
    figure, axes = _panels(1, len(there) or 1, height=2.7)
    for ax, quantity in zip(axes.flat, there or ["neg_elbo"], strict=True):
        for split, colour, style in (("train", BLUE, "-"), ("val", ORANGE, "--")):
            keep = _finite(history, f"{split}/{quantity}")
            if keep.any():
                rows = history[keep]
                marker = "o" if len(rows) <= 20 else ""
                ax.plot(
                    rows["epoch"], rows[f"{split}/{quantity}"], style, color=colour, marker=marker, ms=3, label=split
                )
        _finish(ax, "epoch", f"{quantities[quantity]}, nats per image")
        _whole_numbers(ax)
    if axes.flat[0].lines:
        axes.flat[0].legend(loc="upper right")
    else:
        _nothing(axes.flat[0], "no epochs yet")
    return figure


def _many_runs(frames: Mapping[str, pd.DataFrame], highlight: AbstractSet[str]) -> Figure:
    figure, axes = _panels(1, 1, height=3.6)
    ax = axes.flat[0]
    curves = {}
    for name, frame in frames.items():
        keep = _finite(frame, "val/neg_elbo")
        if keep.any():
            curves[name] = frame[keep]
    for name in curves.keys() - highlight:
        rows = curves[name]
        ax.plot(rows["epoch"], rows["val/neg_elbo"], color=FAINT, lw=0.8, marker="o" if len(rows) == 1 else "", ms=3)
    # The legend from top to bottom as the curves end.
    chosen = sorted(curves.keys() & highlight, key=lambda name: -curves[name]["val/neg_elbo"].iloc[-1])
    for number, name in enumerate(chosen):
        rows = curves[name]
        ax.plot(
            rows["epoch"],
            rows["val/neg_elbo"],
            color=SERIES[number % len(SERIES)],
            ls=("-", "--", ":")[number // len(SERIES) % 3],
            lw=1.8,
            marker="o" if len(rows) == 1 else "",
            ms=3,
            label=_label(name, 28),
        )
    _finish(ax, "epoch", "val/neg_elbo, nats per image")
    if not curves:
        _nothing(ax, "no epochs yet")
        return figure
    _whole_numbers(ax)
    _cut_top(ax, [rows["val/neg_elbo"].to_numpy() for rows in curves.values()])
    if chosen:
        figure.legend(loc="outside right upper")
    return figure


def _cut_top(ax: Axes, curves: Sequence[Float[np.ndarray, " E"]]) -> None:
    """Leave out of view what lies far above the bulk of all values (Tukey's outer fence); say how many curves do."""
    values = np.concatenate(curves)
    low, high = np.quantile(values, [0.25, 0.75])
    fence = high + 3 * max(high - low, 1e-6)
    above = sum(bool(curve.min() > fence) for curve in curves)
    if values.max() > fence:
        inside = values[values <= fence]
        pad = 0.05 * (inside.max() - inside.min() or 1.0)
        ax.set_ylim(inside.min() - pad, inside.max() + pad)
    if above:
        text = f"{above} curve{'s lie' if above > 1 else ' lies'} above this range"
        ax.text(0.99, 0.98, text, transform=ax.transAxes, ha="right", va="top", color=SOFT, fontsize=8)


@_themed
def reference_curve(ours: Sequence[float], reference: Mapping[int, float], label: str) -> Figure:
    """Our training loss, one value per epoch from 1, beside published points {epoch: value}; nats per image."""
    figure, axes = _panels(1, 1, height=3.2, width=5.6)
    ax = axes.flat[0]
    ax.plot(range(1, len(ours) + 1), ours, "-o", color=BLUE, ms=3, label="ours")
    points = sorted(reference.items())
    ax.plot(
        [e for e, _ in points],
        [v for _, v in points],
        "D",
        mfc="white",
        mec=ORANGE,
        mew=1.6,
        ms=6,
        label=_label(label, 60),
    )
    _finish(ax, "epoch", "training loss, nats per image")
    _whole_numbers(ax)
    ax.legend(loc="upper right")
    return figure


# --- trials -------------------------------------------------------------------------------------------------------


@_themed
def pareto(
    frame: pd.DataFrame, axes: Sequence[Objective], front: AbstractSet[int] = frozenset(), chosen: int | None = None
) -> Figure:
    """Every pair of two or three objectives, a point per trial, coloured by beta on a log scale.

    Trials of the front are ringed and carry their number; with two objectives they are joined by the stairs that
    bound what was reached. The chosen one is a star.
    """
    side = len(axes) - 1
    figure, panels = _panels(side, side, height=3.2 if side > 1 else 3.6, width=WIDTH if side > 1 else 5.8)
    numbers = _numbers(frame, ["number", "beta", *(column for column, _, _ in axes)])
    norm = _beta_norm(numbers["beta"])
    named = {}
    for row, y in enumerate(axes[1:]):
        for column, x in enumerate(axes[: row + 1]):
            ax = panels[row, column]
            rows = numbers.dropna(subset=[x[0], y[0]])
            named[ax] = _trials(ax, rows, x[0], y[0], front, chosen, norm), x[0], y[0]
            if side == 1:
                _stairs(ax, rows[rows["number"].isin(front)], x, y)
            ax.xaxis.set_major_locator(MaxNLocator(5))
            _finish(ax, _better(x), _better(y))
    for ax in panels[np.triu_indices(side, 1)]:
        ax.set_axis_off()
    marks = _marks(bool(front), chosen is not None)
    if side > 1:  # the free corner holds the legend
        panels[0, -1].legend(handles=marks, loc="upper left", labelspacing=0.9)
        _beta_bar(figure, norm, cax=panels[0, -1].inset_axes((0.04, 0.42, 0.8, 0.06)), orientation="horizontal")
    else:
        figure.legend(handles=marks, loc="outside upper left", ncols=3)
        _beta_bar(figure, norm, ax=panels)
    _settle(figure)
    for ax, (rows, x_column, y_column) in named.items():
        _number_points(ax, rows, x_column, y_column)
    return figure


@_themed
def rate_distortion(frame: pd.DataFrame, front: AbstractSet[int] = frozenset(), chosen: int | None = None) -> Figure:
    """Distortion `bce` against rate `kl`, nats per image, a point per trial (Alemi et al. 2018, figure 1).

    Dashed lines join points of equal neg_elbo = bce + kl.
    """
    figure, panels = _panels(1, 1, height=4.0, width=5.8)
    ax = panels.flat[0]
    numbers = _numbers(frame, ["number", "beta", "kl", "bce"])
    norm = _beta_norm(numbers["beta"])
    rows = numbers.dropna(subset=["kl", "bce"])
    named = _trials(ax, rows, "kl", "bce", front, chosen, norm)
    if len(rows):
        _iso_elbo(ax)
    _finish(ax, "rate: kl, nats per image", "distortion: bce, nats per image")
    _beta_bar(figure, norm, ax=panels)
    equal = Line2D([], [], color=SOFT, lw=0.8, ls=(0, (4, 3)), label="equal neg_elbo")
    figure.legend(handles=[*_marks(bool(front), chosen is not None), equal], loc="outside upper left", ncols=4)
    _settle(figure)
    _number_points(ax, named, "kl", "bce")
    return figure


@_themed
def parameter_slices(
    frame: pd.DataFrame, params: Sequence[Param], objectives: Sequence[Objective], front: AbstractSet[int] = frozenset()
) -> Figure:
    """Every objective (rows) against every parameter (columns), a point per trial; those of the front in orange."""
    figure, panels = _panels(len(objectives), len(params), height=1.9, sharex="col", sharey="row")
    objective_columns = [column for column, _, _ in objectives]
    numbers = _numbers(frame, ["number", *objective_columns])
    settings = frame.reset_index(drop=True)
    for row, (objective, label, direction) in enumerate(objectives):
        for column, (param, param_label, log) in enumerate(params):
            ax = panels[row, column]
            keep = numbers[objective].notna() & settings[param].notna()
            for group, colour in (
                (keep & ~numbers["number"].isin(front), BLUE),
                (keep & numbers["number"].isin(front), ORANGE),
            ):
                x = settings[param][group]
                ax.scatter(
                    x.astype(float) if pd.api.types.is_numeric_dtype(x) else x.astype(str).to_numpy(dtype=object),
                    numbers[objective][group], s=22, color=colour, alpha=0.85, lw=0.4, ec="white",
                )  # fmt: skip
            if log and keep.any():
                _log_axis(ax, settings[param][keep].astype(float))
            last, first = row == len(objectives) - 1, column == 0
            _finish(
                ax, _label(param_label, 24) if last else "", _better((objective, label, direction), 26) if first else ""
            )
            if not keep.any():
                _nothing(ax, "no finished trials")
    if front:
        named = [("trial", BLUE), ("Pareto front", ORANGE)]
        marks = [Line2D([], [], ls="", marker="o", ms=5, color=colour, label=name) for name, colour in named]
        figure.legend(handles=marks, loc="outside upper left", ncols=2)
    return figure


@_themed
def importances(values: Mapping[str, Mapping[str, float]]) -> Figure:
    """Importance of each parameter for each objective: its share of the explained variance, 0 to 1; groups of bars."""
    table = pd.DataFrame({objective: dict(shares) for objective, shares in values.items()}).astype(float)
    table = table.loc[table.mean(axis=1).sort_values(ascending=False, kind="stable").index]
    groups, bars = table.shape
    figure, axes = _panels(1, 1, height=1.1 + 0.2 * max(groups, 1) * max(bars, 1) + 0.16 * groups, width=6.2)
    ax = axes.flat[0]
    thickness = 0.8 / max(bars, 1)
    for index, objective in enumerate(table.columns):
        centres = np.arange(groups) - 0.4 + (index + 0.5) * thickness
        shares = table[objective].fillna(0.0)
        ax.barh(centres, shares, height=0.9 * thickness, color=SERIES[index % len(SERIES)], label=_label(objective, 32))
        for centre, share in zip(centres, table[objective], strict=True):
            text = f"{share:.2f}" if math.isfinite(share) else "not known"
            ax.text((share if math.isfinite(share) else 0) + 0.01, centre, text, va="center", color=SOFT, fontsize=7.5)
    ax.set_yticks(range(groups), [_label(param, 32) for param in table.index])
    ax.set_ylim(max(groups, 1) - 0.5, -0.5)
    ax.set_xlim(0, max(0.1, 1.15 * float(np.nanmax(table.to_numpy(), initial=0.0))))
    _finish(ax, "importance, share of explained variance", "")
    ax.grid(False, axis="y")
    if not groups:
        _nothing(ax, "too few finished trials")
    elif bars > 1:
        figure.legend(loc="outside upper left", ncols=2 if bars > 3 else bars)
    return figure


@_themed
def ablation(frame: pd.DataFrame, param: Param, metrics: Sequence[tuple[str, str]]) -> Figure:
    """Each metric (column, label) against one setting: a dot per seed, the line through the means, a band of one
    standard deviation over seeds. `frame` has a row per value and seed."""
    column, label, log = param
    rows = -(-len(metrics) // 3)
    figure, axes = _panels(rows, min(3, len(metrics)), height=2.3, sharex=True)
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
        _finish(ax, label, "\n".join(textwrap.wrap(name, 26)))
    for ax in list(axes.flat)[len(metrics) :]:
        ax.set_axis_off()
    return figure


def _trials(
    ax: Axes, rows: pd.DataFrame, x: str, y: str, front: AbstractSet[int], chosen: int | None, norm: LogNorm
) -> pd.DataFrame:
    """A point per trial; the front ringed and larger, the chosen one a star. The rows that deserve their number."""
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
        _nothing(ax, "no finished trials")
    return rows[on_front | is_chosen]


def _stairs(ax: Axes, rows: pd.DataFrame, x: Objective, y: Objective) -> None:
    """The border of what was reached: for every x, the best y of the trials of the front that are as good in x."""
    rows = rows.sort_values(x[0])
    ax.step(
        rows[x[0]], rows[y[0]], where="pre" if x[2] == "maximize" else "post", color=SOFT, lw=1.1, ls="--", zorder=2
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
    points = np.concatenate([ax.transData.transform(marks.get_offsets()) for marks in ax.collections])  # (N, 2)
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


def _beta_bar(figure: Figure, norm: LogNorm, **where: Any) -> None:
    """The colour scale of beta, beside the axes `ax` or inside `cax`."""
    bar = figure.colorbar(ScalarMappable(norm, BETAS), label="beta", **({"aspect": 30, "pad": 0.02} | where))
    bar.outline.set_visible(False)
    _log_ticks(bar.long_axis, float(norm.vmin or 1), float(norm.vmax or 1), most=6)


# --- classes ------------------------------------------------------------------------------------------------------


@_themed
def per_class_bars(
    labels: Sequence[str],
    values: Sequence[float],
    intervals: Sequence[tuple[float, float]],
    ceiling: float | None = None,
) -> Figure:
    """Accuracy per class, 0 to 1, with its interval as an error bar; the worst class in orange.

    Dots rather than bars from zero, because the differences of interest are in the last per cents. `ceiling` is what
    the judge reads of real images.
    """
    figure, axes = _panels(1, 1, height=0.9 + 0.24 * max(len(labels), 2), width=5.8)
    ax = axes.flat[0]
    worst = int(np.nanargmin(values)) if np.isfinite(values).any() else -1
    for row, (value, (low, high)) in enumerate(zip(values, intervals, strict=True)):
        colour = ORANGE if row == worst and len(labels) > 1 else BLUE
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
            color=INK if row == worst else SOFT,
        )
    if ceiling is not None:
        ax.axvline(ceiling, color=INK, lw=1, ls="--", label=f"judge on real images: {ceiling:.3f}")
        figure.legend(loc="outside upper left")
    ax.set_yticks(range(len(labels)), [_label(label, 28) for label in labels])
    ax.set_ylim(max(len(labels), 1) - 0.5, -0.5)
    _finish(ax, "conditional accuracy (share read as asked), 95 % interval", "class")
    return figure


@_themed
def confusion_matrix(matrix: Any, labels: Sequence[str]) -> Figure:
    """Counts (K, K), row the class asked for, column the class read, as per cent of each row.

    The colour scale is compressed towards 0, where the confusions are; cells under 0.05 % are left blank.
    """
    counts = np.asarray(matrix, dtype=float)
    share = 100 * counts / np.maximum(counts.sum(1, keepdims=True), 1)
    annotate = len(labels) <= 12
    cell = 0.5 if annotate else 0.14
    side = max(3.0, cell * len(labels))
    figure, axes = _panels(1, 1, height=min(side, 5.8) + 0.6, width=min(side + 1.9, WIDTH))
    ax = axes.flat[0]
    text = np.vectorize(lambda v: "" if v < 0.05 else f"{v:.1f}" if v < 99.95 else "100")(share)
    blues = sns.color_palette("blend:#ffffff,#8fbfe0,#0060a8,#002a4d", as_cmap=True)
    sns.heatmap(
        share,
        ax=ax,
        norm=PowerNorm(0.35, 0, 100),
        cmap=blues,
        annot=text if annotate else None,
        fmt="",
        annot_kws={"fontsize": 8},
        square=True,
        linewidths=0.6 if annotate else 0,
        cbar_kws={"label": "share of the row, %", "ticks": [0, 1, 5, 20, 50, 100], "shrink": 0.8},
    )
    names = [_label(label, 14) for label in labels]
    turned = 90 if max(map(len, names)) > 3 else 0
    size = 8.5 if annotate else 7
    ax.set_xticks(np.arange(len(names)) + 0.5, names, rotation=turned, fontsize=size)
    ax.set_yticks(np.arange(len(names)) + 0.5, names, rotation=0, fontsize=size)
    ax.tick_params(length=0)
    ax.set(xlabel="class the judge reads", ylabel="class asked for")
    return figure


# --- parts of figures ---------------------------------------------------------------------------------------------


def _panels(rows: int, columns: int, *, height: float, width: float = WIDTH, **share: Any) -> tuple[Figure, Any]:
    """A figure with a grid of (rows, columns) axes, `height` inches each row."""
    figure = Figure(figsize=(width, height * rows), dpi=DPI, layout=ConstrainedLayoutEngine(w_pad=0.06, h_pad=0.06))
    return figure, figure.subplots(rows, columns, squeeze=False, **share)


def _settle(figure: Figure) -> None:
    """Lay the figure out for good, so that data units can be told in pixels; what is added later takes no room."""
    figure.draw_without_rendering()
    figure.set_layout_engine("none")


def _finish(ax: Axes, xlabel: str, ylabel: str) -> None:
    ax.set(xlabel=xlabel, ylabel=ylabel)


def _better(objective: Objective, line: int = 40) -> str:
    """The label with an arrow to the better side, in lines of at most `line` characters."""
    _, label, direction = objective
    return "\n".join(textwrap.wrap(f"{_label(label, 48)} {'↑' if direction == 'maximize' else '↓'}", line))


def _nothing(ax: Axes, why: str) -> None:
    ax.text(0.5, 0.5, why, transform=ax.transAxes, ha="center", va="center", color=SOFT)
    ax.set(xticks=[], yticks=[])


def _whole_numbers(ax: Axes) -> None:
    ax.xaxis.set_major_locator(MaxNLocator(6, integer=True, min_n_ticks=1))


def _log_axis(ax: Axes, values: pd.Series) -> None:
    """A log x axis over the positive values with plain numbers at its ticks."""
    positive = values[values > 0]
    if positive.empty:
        return
    low, high = positive.min() / 1.25, positive.max() * 1.25
    ax.set(xscale="log", xlim=(low, high))
    _log_ticks(ax.xaxis, low, high, most=4)


def _log_ticks(axis: Any, low: float, high: float, *, most: int) -> None:
    """About `most` ticks at 1, 2, 5, 10, .. or fewer, as plain numbers; matplotlib's own are mathtext, or none."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for steps in ((1, 2, 5), (1, 3), (1,)):
        ticks = [float(f"{step}e{decade}") for decade in decades for step in steps]
        ticks = [tick for tick in ticks if low <= tick <= high] or [low, high]
        if len(ticks) <= most:
            break
    axis.set_major_locator(FixedLocator(ticks))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.3g}"))
    axis.set_minor_locator(NullLocator())
    axis.set_minor_formatter(NullFormatter())


def _numbers(frame: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """These columns as floats, infinities and what is no number as nan."""
    floats = frame[list(dict.fromkeys(columns))].apply(pd.to_numeric, errors="coerce").astype(float)
    return floats.replace([np.inf, -np.inf], np.nan).reset_index(drop=True)


def _finite(frame: pd.DataFrame, column: str) -> Any:
    return np.isfinite(frame[column]) if column in frame else np.zeros(len(frame), bool)


def _label(text: str, longest: int) -> str:
    """`text` on one line, cut to `longest` characters, with a box for each character that the font does not have."""
    line = " ".join(str(text).split())
    line = line if len(line) <= longest else line[: longest - 1] + "…"
    line = "".join(c if get_font(findfont(FONT)).get_char_index(ord(c)) else "□" for c in line)
    line = line or "–"
    return f" {line}" if line.startswith("_") else line  # matplotlib hides labels that start with an underscore
