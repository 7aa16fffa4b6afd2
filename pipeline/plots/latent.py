"""The latent space as pictures: labelled sheets of images, the map of the codes, the use of each dimension."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int, UInt8
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle
from matplotlib.patheffects import withStroke
from matplotlib.ticker import MaxNLocator

from pipeline.plots.axes import finish, label_of, settle, subplots
from pipeline.plots.theme import BLUE, DPI, FAINT, INK, SERIES, WIDTH, YELLOW, themed

COLOURS = (*SERIES, INK, YELLOW)
"""Seaborn's palette for the colour-blind, in which neighbours differ in lightness as well."""
SHAPES = "os^Dv"
"""Neighbouring classes differ in shape, too, where colours cannot be told. With the colours enough for 50."""
HALO = [withStroke(linewidth=2.5, foreground="white")]
NAMED_CLASSES = 100
"""Of more classes names say nothing: the map shows how codes lie."""
LEGEND_CLASSES = 20
"""Of more classes the names at the centres are the legend."""
SPIRAL = 6000
"""Places that are tried for a name: up to 330 pixels from its centre."""
NAMED_DIMS = 24
"""More bars than this are numbered by rank: indices would overlap."""


@themed
def labelled_sheet(
    sheet: UInt8[np.ndarray, "H W *C"],
    cell: tuple[int, int],
    *,
    rows: Sequence[str],
    columns: Sequence[str],
    xlabel: str,
    ylabel: str,
) -> Figure:
    """A sheet of images with a label per row and column ("" for none), each pixel a square of whole pixels.

    `cell` is the height and width of one image; images stand 1 pixel apart, as `tile` leaves them. Text grows with
    the picture, so that it is as legible as in the other figures when both are shown at one width.
    """
    height, width = sheet.shape[:2]
    scale = max(1, round(0.85 * WIDTH * DPI / width))
    names = [label_of(row, 14) if row else "" for row in rows]
    font = max(scale * width / (0.85 * WIDTH * DPI), 0.7) * 9  # points
    line = font / 72 * DPI  # pixels, as all that follows
    left, edge = line * (1.2 + 0.62 * max(map(len, names), default=0)), 0.5 * line
    bottom, top = 3.2 * line, 1.8 * line
    across, down = left + scale * width + edge, bottom + scale * height + top
    figure = Figure(figsize=(across / DPI, down / DPI), dpi=DPI)
    ax = figure.add_axes((left / across, bottom / down, scale * width / across, scale * height / down))
    ax.imshow(sheet, cmap="gray", vmin=0, vmax=255, interpolation="nearest", aspect="auto")
    ax.set_xticks((np.arange(len(columns)) + 0.5) * (cell[1] + 1) - 1, [label_of(c, 8) if c else "" for c in columns])
    ax.set_yticks((np.arange(len(rows)) + 0.5) * (cell[0] + 1) - 1, names)
    ax.tick_params(length=0, labelsize=font)
    ax.set_xlabel(xlabel, fontsize=font)
    figure.text(edge / across, 1 - 0.4 * line / down, label_of(ylabel, 40), fontsize=font, color=INK, va="top")
    ax.grid(False)
    ax.spines[:].set_visible(False)
    return figure


@themed
def captioned_images(images: Sequence[UInt8[np.ndarray, "h w *C"]], captions: Sequence[tuple[str, str]]) -> Figure:
    """Images four in a row, each above two short lines of text."""
    rows = max(1, -(-len(images) // 4))
    figure, axes = subplots(rows, 4, height=WIDTH / 4 + 0.35)
    for ax, image, (first, second) in zip(axes.flat, images, captions, strict=False):
        ax.imshow(image, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
        ax.set_xlabel(f"{label_of(first, 18)}\n{label_of(second, 18)}", fontsize=9, color=INK)
        ax.set(xticks=[], yticks=[])
        ax.grid(False)
        ax.spines[:].set_visible(False)
    for ax in list(axes.flat)[len(images) :]:
        ax.set_axis_off()
    return figure


@themed
def latent_map(
    points: Float[np.ndarray, "N 2"],
    labels: Int[np.ndarray, " N"],
    names: Sequence[str],
    *,
    axes: tuple[str, str],
    prior: bool,
) -> Figure:
    """A point per image, coloured and shaped by class, on axes of one scale; a class's name stands at its centre, the
    median of its points, or beside it with a line to it where centres lie close.

    `prior` adds the circles of one and two standard deviations of N(0, I).
    """
    figure, panels = subplots(1, 1, height=0.95 * WIDTH)
    ax = panels.flat[0]
    if prior:
        _prior_circles(ax)
    order = np.random.default_rng(0).permutation(len(points))  # no class lies on top of the others
    style: dict[str, Any] = {"s": 13, "lw": 0.25, "ec": "white", "alpha": 0.85, "zorder": 3}
    colours = np.array([_colour(label) for label in range(max(len(names), 1))])
    shapes = np.array([_shape(label) for label in range(max(len(names), 1))])
    for shape in dict.fromkeys(shapes):
        some = order[shapes[labels[order]] == shape]
        ax.scatter(points[some, 0], points[some, 1], c=colours[labels[some]], marker=shape, **style)
    named = names if 1 < len(names) <= LEGEND_CLASSES else ()
    for label, name in enumerate(named):
        ax.scatter([], [], s=30, color=_colour(label), marker=_shape(label), label=label_of(name, 10))
    ax.set_aspect("equal", adjustable="datalim")
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(MaxNLocator(6))
    finish(ax, *axes)
    columns = min(10, max(1, 60 // (5 + max((min(len(n), 10) for n in names), default=1))))
    if named:
        figure.legend(
            loc="outside upper center", ncols=columns, handletextpad=0.1, columnspacing=0.9, title="class",
        )  # fmt: skip
    settle(figure)
    if 1 < len(names) <= NAMED_CLASSES:
        _name_centres(ax, points, labels, names)
    return figure


def _colour(label: int) -> str:
    return COLOURS[label % 10]


def _shape(label: int) -> str:
    """Of 50 classes in a row no two have both colour and shape in common."""
    return SHAPES[(label + label // 10) % 5]


def _name_centres(
    ax: Axes, points: Float[np.ndarray, "N 2"], labels: Int[np.ndarray, " N"], names: Sequence[str]
) -> None:
    """Write each class's name at the median of its points, framed in its colour; a line where it had to give way."""
    few = len(names) <= LEGEND_CLASSES
    font, longest = (8.5, 10) if few else (6.5, 6)
    there = [label for label in range(len(names)) if (labels == label).any()]
    alike = _beginning(names) if max(map(len, names)) > longest else 0
    shown = [label_of(names[label][alike:] or names[label], longest) for label in there]
    centres = ax.transData.transform([np.median(points[labels == label], 0) for label in there])  # (K, 2), pixels
    unit = DPI / 72
    sizes = unit * np.array([[0.62 * font * len(name) + 6, font + 6] for name in shown])
    low, high = ax.bbox.min + sizes / 2, ax.bbox.max - sizes / 2
    for label, name, centre, place in zip(there, shown, centres, apart(centres, sizes, low, high), strict=True):
        away = np.hypot(*(place - centre)) > 4 * unit
        leader = {"arrowstyle": "-", "color": INK, "lw": 0.7 if few else 0.3, "shrinkA": 0, "shrinkB": 0}
        frame = {"boxstyle": "round,pad=0.18", "fc": "white", "ec": _colour(label), "lw": 1.5, "alpha": 0.92}
        ax.annotate(
            name, tuple(ax.transData.inverted().transform(centre)), tuple((place - centre) / unit),
            textcoords="offset points", ha="center", va="center", fontsize=font, color=INK, zorder=7,
            bbox=frame, arrowprops=leader if away else None,
        )  # fmt: skip


def _beginning(names: Sequence[str]) -> int:
    """How many characters all names begin with: of "class 1", "class 2" the number is enough."""
    return next((i for i, letters in enumerate(zip(*names, strict=False)) if len(set(letters)) > 1), 0)


def apart(
    centres: Float[np.ndarray, "K 2"],
    sizes: Float[np.ndarray, "K 2"],
    low: Float[np.ndarray, "K 2"],
    high: Float[np.ndarray, "K 2"],
) -> Float[np.ndarray, "K 2"]:
    """Middles of boxes of these sizes (width, height): each at its centre, or on a spiral around it at the first place
    that is free and within its bounds; the innermost first. Where there is no room left, at its centre."""
    steps = np.arange(SPIRAL)
    spiral = (
        4.25 * np.sqrt(steps)[:, None] * np.column_stack([np.cos(2.4 * steps), np.sin(2.4 * steps)])
    )  # golden angle
    places = centres.clip(low, high)
    taken: list[int] = []
    for label in np.argsort(np.hypot(*(centres - np.median(centres, 0)).T), kind="stable"):
        tried = places[label] + spiral  # (S, 2)
        free = ((tried >= low[label]) & (tried <= high[label])).all(-1)
        for other in taken:
            need = (sizes[other] + sizes[label]) / 2  # distances from which two boxes are apart
            free &= (np.abs(tried - places[other]) >= need).any(-1)
        if free.any():
            places[label] = tried[free.argmax()]
        taken.append(int(label))
    return places


def _prior_circles(ax: Axes) -> None:
    for radius in (1, 2):
        ax.add_patch(Circle((0, 0), radius, fill=False, ec=INK, lw=1.1, ls=(0, (4, 3)), zorder=4))
        ax.annotate(f"{radius} sd", (0, -radius), (0, -2), textcoords="offset points", ha="center", va="top",
                    fontsize=8, color=INK, zorder=5, path_effects=HALO)  # fmt: skip


@themed
def dimension_use(kl: Sequence[float], variance: Sequence[float], threshold: float) -> Figure:
    """KL per latent dimension, falling; below, the variance of its mean with the threshold of an active unit.

    Active dimensions are blue, the others grey; both panels have the same order.
    """
    order = np.argsort(-np.asarray(kl), kind="stable")
    x, rate, spread = np.arange(len(order)), np.asarray(kl)[order], np.asarray(variance)[order]
    active = spread > threshold
    floor = min(threshold, spread.min(where=spread > 0, initial=threshold)) / 3  # a log axis has no 0
    figure, axes = subplots(2, 1, height=1.9, sharex=True)
    above, below = axes.flat
    for keep, colour, name in ((active, BLUE, "active"), (~active, FAINT, "not active")):
        if not keep.any():
            continue
        above.bar(x[keep], rate[keep], color=colour, width=0.8, label=f"{name}: {keep.sum()}")
        below.bar(x[keep], np.maximum(spread[keep], floor) - floor, bottom=floor, color=colour, width=0.8)
    below.axhline(threshold, color=INK, lw=1, ls="--")
    below.set(yscale="log", ylim=(floor, 2 * max(threshold, spread.max())))
    below.yaxis.set_major_formatter("{x:g}")
    below.text(1, threshold, f"threshold {threshold:g}", transform=below.get_yaxis_transform(), ha="right", va="bottom",
               fontsize=8, color=INK, path_effects=HALO)  # fmt: skip
    finish(above, "", "KL, nats per image")
    few = len(order) <= NAMED_DIMS
    finish(below, "latent dimension" if few else "latent dimensions by falling KL", "variance of the mean")
    if few:
        below.set_xticks(x, [str(d) for d in order])
    else:
        below.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    for ax in (above, below):
        ax.grid(False, axis="x")
        ax.set_xlim(-0.6, max(len(order), 6) - 0.4)
    figure.legend(loc="outside upper left", ncols=2)
    return figure
