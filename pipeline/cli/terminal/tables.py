"""Tables of metrics, of reports and of comparisons."""

import sys
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from pipeline.cli.terminal.console import console
from pipeline.evaluation.catalog import METRICS, show

if TYPE_CHECKING:
    from pipeline.reporting.blocks import Table as ReportTable
    from pipeline.runs.comparison import Comparison


def show_metrics(metrics: dict[str, float]) -> None:
    """One line per metric: value, unit, meaning."""
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    table.add_column()
    for key, value in metrics.items():
        metric = METRICS[key.partition("/")[2]]
        table.add_row(key, show(value), f"{metric.unit}  {metric.meaning}".strip())
    console().print(table)


def print_metrics(metrics: dict[str, float]) -> None:
    """The same on stdout, as plain lines that fit any width."""
    for key, value in metrics.items():
        metric = METRICS[key.partition("/")[2]]
        print(f"{key:<40} {show(value):>9}  {metric.unit}".rstrip())


def show_table(table: "ReportTable") -> None:
    """A table of a report, on the terminal."""
    shown = Table(box=None, pad_edge=False, caption=table.caption, caption_justify="left")
    for column, align in zip(table.columns, table.align, strict=True):
        shown.add_column(column, justify="right" if align == "right" else "left")
    for row in table.rows:
        shown.add_row(*row)
    console().print(shown)


def show_comparison(comparison: "Comparison") -> None:
    """Each metric of each run, and its difference from the first run with a verdict."""
    from pipeline.runs.comparison import cells

    out = Console(width=None if sys.stdout.isatty() else 140, highlight=False, markup=False)
    table = Table(box=None, pad_edge=False)
    table.add_column("metric", no_wrap=True)
    for name in comparison.names:
        table.add_column(name, justify="right")
    for row in comparison.rows:
        table.add_row(row.key, *cells(row))
    out.print(table)
    out.print(comparison.caveat)
