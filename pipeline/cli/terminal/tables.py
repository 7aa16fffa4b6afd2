"""Tables of metrics, of reports and of comparisons, on stdout, as plain lines that fit any width."""

import os
import shutil
import sys
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pipeline.evaluation.catalog import METRICS, show

if TYPE_CHECKING:
    from pipeline.reporting.blocks import Table as ReportTable
    from pipeline.runs.comparison import Comparison

NARROW = 40
"""Columns that every terminal has."""


def width() -> int:
    """Columns of stdout; 80 where it is no terminal."""
    return max(NARROW, shutil.get_terminal_size((80, 24)).columns)


def wide() -> int:
    """The same, but without end where stdout is no terminal and nobody has said how wide it is."""
    return width() if sys.stdout.isatty() or os.environ.get("COLUMNS") else 10_000


def wrapped(text: str) -> list[str]:
    """A paragraph in lines, all as far to the right as it begins."""
    if len(text) <= wide():
        return [text]
    indent = " " * (len(text) - len(text.lstrip()))
    within = textwrap.TextWrapper(
        wide(), initial_indent=indent, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )
    return within.wrap(text.strip())


def print_text(text: str) -> None:
    """A paragraph, or a line with what it is indented by."""
    for line in wrapped(text):
        print(line)


def print_metrics(metrics: dict[str, float], *, meanings: bool = False) -> None:
    """A line for each metric: value and unit; with what it means in the next."""
    keys = max(map(len, metrics), default=0)
    for key, value in metrics.items():
        metric = METRICS[key.partition("/")[2]]
        gap = f"{key:<{keys}}" if keys + 22 <= width() else key
        print(f"{gap}  {show(value)} {metric.unit}".rstrip())
        if meanings:
            for line in textwrap.wrap(metric.meaning, width() - 4):
                print(f"    {line}")


def print_table(table: "ReportTable") -> None:
    """A table of a report: in columns where they fit, else row by row."""
    rows = [tuple(map(str, row)) for row in table.rows]
    columns = in_columns([table.columns, *rows], right=[align == "right" for align in table.align])
    if max(map(len, columns), default=0) <= width():
        for line in columns:
            print(line)
    else:
        for row in rows:
            print(f"{table.columns[0]} {row[0]}".strip())
            for name, cell in zip(table.columns[1:], row[1:], strict=True):
                for line in textwrap.wrap(f"{name}: {cell}", width() - 2, subsequent_indent="  "):
                    print(f"  {line}")
    if table.caption:
        print_text(table.caption)
    print()


def in_columns(rows: Sequence[Sequence[str]], right: Sequence[bool] = ()) -> list[str]:
    """Lines of columns as wide as they need to be, two apart; those of numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    sides = [">" if to_the_right else "<" for to_the_right in right] or ["<"] * len(widths)
    return [
        "  ".join(f"{cell:{side}{w}}" for cell, side, w in zip(row, sides, widths, strict=True)).rstrip()
        for row in rows
    ]


def show_comparison(comparison: "Comparison", *, settings: bool = True) -> None:
    """Runs held against the first of them: what differs, the objectives, the rest."""
    from pipeline.reporting.side_by_side import lines

    for line in lines(comparison, width(), settings=settings):
        print(line)
