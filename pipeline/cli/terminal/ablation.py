"""What an ablation found, as lines for any width: the claims, then each metric at each value of the setting."""

import textwrap
from collections.abc import Iterator
from math import isfinite
from typing import TYPE_CHECKING

from pipeline.evaluation.catalog import METRICS, show

if TYPE_CHECKING:
    from sweeps.analysis.trends import Ablation, Mean

SHOWN = ("conditional_accuracy", "coverage_relative", "vendi_ratio_read", "neg_elbo", "kl")
"""Metrics whose means are printed, under the prior that is scored, unless all are asked for."""


def ablation_lines(ablation: "Ablation", width: int, *, everything: bool = False) -> Iterator[str]:
    """Lines of at most `width` characters, as far as names allow."""
    config = ablation.config
    values = ", ".join(f"{v:g}" for v in config.values)
    yield from textwrap.wrap(f"{config.name}: {config.key} {values}; {config.seeds} seeds each, on test images", width)
    for claim, verdict in ablation.claims.items():
        yield from textwrap.wrap(f"{claim}: {verdict}", width, initial_indent="- ", subsequent_indent="  ")
    shown = list(ablation.means) if everything else _shown(ablation)
    for metric in shown:
        arrow = METRICS[metric].arrow if metric in METRICS else ""
        yield ""
        head = f"{metric} {arrow}".rstrip()
        yield from textwrap.wrap(f"{head}, as {config.key} grows: {ablation.trends[metric].in_words}", width)
        yield from _table(config.key, ablation.means[metric])
    if left := len(ablation.means) - len(shown):
        yield ""
        yield f"{left} more metrics: --all, --json, or the report"


def _shown(ablation: "Ablation") -> list[str]:
    """The metrics that come first."""
    scored = (f"{name}_expost" if f"{name}_expost" in ablation.means else name for name in SHOWN)
    return [name for name in scored if name in ablation.means]


def _table(key: str, means: "tuple[Mean, ...]") -> Iterator[str]:
    rows = [(f"{key} {one.value:g}", show(one.mean), _between(one)) for one in means]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for name, value, between in rows:
        yield f"  {name:<{widths[0]}}  {value:>{widths[1]}}  {between}".rstrip()


def _between(one: "Mean") -> str:
    if isfinite(one.low):
        return f"95 % [{show(one.low)}, {show(one.high)}]"
    return f"sd {show(one.deviation)}" if isfinite(one.deviation) else ""
