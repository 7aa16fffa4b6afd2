"""Losses against epochs: of one run, of many, and beside published ones."""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet

import numpy as np
import pandas as pd
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pipeline.plots.axes import finish, finite, label_of, nothing, subplots, whole_numbers
from pipeline.plots.theme import BLUE, FAINT, ORANGE, SERIES, SOFT, themed

History = pd.DataFrame | Sequence[Mapping[str, float]]
"""Rows with `epoch` and <split>/<quantity> in nats per image, for split in train, val."""


@themed
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
    quantities = {"neg_elbo": "neg_elbo", "bce": "bce (distortion)", "distortion": "distortion", "kl": "kl (rate)"}
    there = [q for q in quantities if any(finite(history, f"{split}/{q}").any() for split in ("train", "val"))]
    figure, axes = subplots(1, len(there) or 1, height=2.7)
    for ax, quantity in zip(axes.flat, there or ["neg_elbo"], strict=True):
        for split, colour, style in (("train", BLUE, "-"), ("val", ORANGE, "--")):
            keep = finite(history, f"{split}/{quantity}")
            if keep.any():
                rows = history[keep]
                marker = "o" if len(rows) <= 20 else ""
                ax.plot(
                    rows["epoch"], rows[f"{split}/{quantity}"], style, color=colour, marker=marker, ms=3, label=split
                )
        lower = "" if quantity == "kl" else " ↓"
        finish(ax, "epoch", f"{quantities[quantity]}, nats per image{lower}")
        whole_numbers(ax, most=4)
    if axes.flat[0].lines:
        axes.flat[0].legend(loc="upper right")
    else:
        nothing(axes.flat[0], "no epochs yet")
    return figure


def _many_runs(frames: Mapping[str, pd.DataFrame], highlight: AbstractSet[str]) -> Figure:
    figure, axes = subplots(1, 1, height=3.2 + 0.2 * -(-len(highlight) // 4))
    ax = axes.flat[0]
    curves = {}
    for name, frame in frames.items():
        keep = finite(frame, "val/neg_elbo")
        if keep.any():
            curves[name] = frame[keep]
    for name in [name for name in curves if name not in highlight]:
        rows = curves[name]
        ax.plot(rows["epoch"], rows["val/neg_elbo"], color=FAINT, lw=0.8, marker="o" if len(rows) == 1 else "", ms=3)
    # The legend from top to bottom as the curves end.
    chosen = [name for name in curves if name in highlight]
    chosen.sort(key=lambda name: -curves[name]["val/neg_elbo"].iloc[-1])
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
            label=label_of(name, 28),
        )
    finish(ax, "epoch", "val/neg_elbo, nats per image ↓")
    if not curves:
        nothing(ax, "no epochs yet")
        return figure
    whole_numbers(ax)
    _cut_top(ax, [rows["val/neg_elbo"].to_numpy() for rows in curves.values()])
    if chosen:
        figure.legend(loc="outside upper left", ncols=4, columnspacing=1.2)
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


@themed
def reference_curve(ours: Sequence[float], reference: Mapping[int, float], label: str) -> Figure:
    """Our training loss, one value per epoch from 1, beside published points {epoch: value}; nats per image."""
    figure, axes = subplots(1, 1, height=3.0)
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
        label=label_of(label, 60),
    )
    finish(ax, "epoch", "training loss, nats per image ↓")
    whole_numbers(ax)
    ax.legend(loc="upper right")
    return figure
