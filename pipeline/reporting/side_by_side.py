"""Runs compared, as lines of text and as markdown: settings that differ, objectives, the rest. Knows no terminal.

Runs are called A, B, .. in the tables, so that names of any length leave room for numbers; what is the same in all is
one line, and ends of intervals, whose intervals stand there, are left out. `--json` has every number.
"""

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.evaluation.catalog import METRICS, Metric, difference_form, show
from pipeline.runs.comparison import Comparison, Difference, Row

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
NARROW = 40
"""Characters that every terminal has."""
OF_INTERVALS = ("_sem", "_low", "_high")
"""What such names end in: parts of intervals that are shown whole."""
MEANS_OF_OTHERS = ("vendi", "vendi_real")
"""Means over classes whose ratio is not `vendi_ratio`, which is the mean of the ratios."""
COUNTED = ("images", "dimensions", "0 or 1")
"""Units of whole numbers."""
LEFT_OUT = (
    "Left out, and in --json: standard errors, ends of intervals, and vendi beside its ratio, which is the mean of the "
    "classes' ratios and not the ratio of the means."
)


@dataclass(frozen=True)
class SideBySide:
    """A comparison in the order of reading."""

    comparison: Comparison
    letters: tuple[str, ...]
    settings: tuple[tuple[str, tuple[str, ...]], ...]
    objectives: tuple[Row, ...]
    rest: tuple[Row, ...]
    same: tuple[Row, ...]
    """Of one value in all runs: constants of the data set, ceilings of the judges, and what happens to be equal."""
    partly: tuple[Row, ...] = ()
    """Measured of some runs alone, e.g. by the audit of one: there is nothing to hold them against."""


def side_by_side(comparison: Comparison) -> SideBySide:
    """What of a comparison is shown, and where."""
    shown = reading_order(comparison)
    others = [row for row in shown if row.key not in comparison.objectives]
    constant = [row for row in others if _is_constant(row)]
    partly = [row for row in others if sum(value is not None for value in row.values) < 2]
    return SideBySide(
        comparison,
        tuple(_letter(i) for i in range(len(comparison.names))),
        tuple((name, tuple(map(_setting, values))) for name, values in comparison.differs),
        tuple(row for row in shown if row.key in comparison.objectives),
        tuple(row for row in others if row not in (*constant, *partly)),
        tuple(constant),
        tuple(partly),
    )


def reading_order(comparison: Comparison) -> list[Row]:
    """The rows that people are shown: the objectives first, then as the catalog has them."""
    rows = [row for row in comparison.rows if not _is_part(row.key.partition("/")[2])]
    places = {key: i for i, key in enumerate(comparison.objectives)}
    return sorted(rows, key=lambda row: places.get(row.key, len(places)))


def _is_part(name: str) -> bool:
    plain = name.removesuffix("_expost")
    return plain in MEANS_OF_OTHERS or plain.endswith(OF_INTERVALS)


def _is_constant(row: Row) -> bool:
    """Whether a metric is one number in all runs."""
    return len(set(row.values)) == 1 and not any(d and d.mean for d in row.differences)


def _letter(place: int) -> str:
    return LETTERS[place] if place < len(LETTERS) else f"R{place + 1}"


def _setting(value: Any) -> str:
    if isinstance(value, list):
        return ",".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value).lower() if isinstance(value, bool) else str(value)


# ---- in a terminal -------------------------------------------------------------------------------------------------


def lines(comparison: Comparison, width: int, *, settings: bool = True) -> Iterator[str]:
    """The comparison in lines of at most `width` characters, as far as names allow."""
    shown, width = side_by_side(comparison), max(width, NARROW)
    for letter, name in zip(shown.letters, comparison.names, strict=True):
        yield f"{letter}  {name}"
    for name in comparison.itself:
        yield from textwrap.wrap(f"{name} is held against itself: every difference is 0.", width)
    if settings:
        yield ""
        if shown.settings:
            yield from _settings(shown, width)
        else:
            yield "no setting differs"
    split = f"on {comparison.split} images: " if comparison.split else ""
    others = " and ".join(shown.letters[1:]) if len(shown.letters) < 4 else "others"
    if shown.objectives:
        yield ""
        yield from textwrap.wrap(f"{split}objectives, {others} against A in pairs, 95 % intervals", width)
        yield from _metrics(shown.objectives, shown.letters, width)
    if shown.rest:
        yield ""
        yield "everything else"
        yield from _briefly(shown.rest, shown.letters, width)
    yield ""
    if shown.same:
        yield from textwrap.wrap(f"The same in all: {_constants(shown.same)}.", width)
    for sentence in _measured_of_one(shown):
        yield from textwrap.wrap(sentence, width)
    for paragraph in (LEFT_OUT, comparison.caveat):
        yield from textwrap.wrap(paragraph, width)


def _settings(shown: SideBySide, width: int) -> Iterator[str]:
    table = [("what differs", *shown.letters), *((name, *values) for name, values in shown.settings)]
    columns = _columns(table)
    if max(map(len, columns)) <= width:
        yield from columns
        return
    yield "what differs"
    for name, values in shown.settings:
        yield name
        for letter, value in zip(shown.letters, values, strict=True):
            yield from textwrap.wrap(f"  {letter}  {value}", width, subsequent_indent="     ")


def _metrics(rows: Sequence[Row], letters: Sequence[str], width: int) -> Iterator[str]:
    """A line for each metric where there are two runs and room for them, else one for each run below its name."""
    table = [("", *letters, f"{letters[1]} - A", "", ""), *(_wide(row) for row in rows)] if len(letters) == 2 else []
    columns = _columns(table)
    if table and max(map(len, columns)) <= width:
        yield from columns
        return
    for row in rows:
        metric = _metric(row)
        yield f"{_name(row)}{f', {metric.better} is better' if metric.better else ''}"
        cells = [(letter, _value(v), *_told(d)) for letter, v, d in zip(letters, row.values, _all(row), strict=True)]
        apart = 2 if max(map(len, _columns(cells))) + 2 <= width else 1
        yield from (f"  {line}" for line in _columns(cells, apart))


def _briefly(rows: Sequence[Row], letters: Sequence[str], width: int) -> Iterator[str]:
    """The same less the intervals: values, and verdicts where there are some."""
    table = [
        ("", *letters, *[""] * (len(letters) - 1)),
        *((_named(row), *map(_value, row.values), *_verdicts(row)) for row in rows),
    ]
    columns = _columns(table)
    if max(map(len, columns)) <= width:
        yield from columns
        return
    for row in rows:
        yield _named(row)
        values = zip(letters, row.values, ("", *_verdicts(row)), strict=True)
        said = (f"{letter} {_value(value)} {verdict}".rstrip() for letter, value, verdict in values)
        yield from textwrap.wrap("   ".join(said), width, initial_indent="  ", subsequent_indent="  ")


def _verdicts(row: Row) -> tuple[str, ...]:
    return tuple("" if d is None else d.verdict for d in row.differences)


def _named(row: Row) -> str:
    """Its name, and which way is better."""
    return f"{_name(row)} {_metric(row).arrow}".rstrip()


def _wide(row: Row) -> tuple[str, ...]:
    return (_named(row), *map(_value, row.values), *_told(row.differences[0]))


def _told(difference: Difference | None) -> tuple[str, str, str]:
    """By how much, within what, and what that means."""
    if difference is None:
        return "", "", ""
    mean, low, high = (
        format(value, difference_form(value)) for value in (difference.mean, difference.low, difference.high)
    )
    return mean, f"[{low}, {high}]", difference.verdict


def _all(row: Row) -> tuple[Difference | None, ...]:
    return (None, *row.differences)


def _name(row: Row) -> str:
    return row.key.partition("/")[2]


def _metric(row: Row) -> Metric:
    return METRICS[_name(row)]


def _value(value: float | None) -> str:
    return "-" if value is None else show(value)


def _constants(rows: Sequence[Row]) -> str:
    return ", ".join(f"{_name(row)} {_whole(row)}" for row in rows)


def _measured_of_one(shown: SideBySide) -> list[str]:
    """A sentence for each run that has numbers of its own."""
    of_one = {
        letter: ", ".join(
            f"{_name(row)} {_value(row.values[place])}" for row in shown.partly if row.values[place] is not None
        )
        for place, letter in enumerate(shown.letters)
    }
    return [f"Measured of {letter} alone: {said}." for letter, said in of_one.items() if said]


def _whole(row: Row) -> str:
    """The one value of a constant; of a number of things without decimals."""
    value = row.values[0]
    return f"{value:.0f}" if value is not None and _metric(row).unit in COUNTED else _value(value)


def _columns(table: Sequence[Sequence[str]], apart: int = 2) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return [(" " * apart).join(f"{cell:<{w}}" for cell, w in zip(row, widths, strict=True)).rstrip() for row in table]


# ---- as markdown ---------------------------------------------------------------------------------------------------


def markdown(comparison: Comparison) -> str:
    """The comparison as markdown tables, for an issue or a pull request."""
    shown = side_by_side(comparison)
    parts = [f"- **{letter}**: {name}" for letter, name in zip(shown.letters, comparison.names, strict=True)]
    if comparison.itself:
        parts += ["", f"{' and '.join(comparison.itself)} held against itself: every difference is 0."]
    if shown.settings:
        parts += ["", *_markdown_table(("setting", *shown.letters), shown.settings)]
    else:
        parts += ["", "No setting differs."]
    for title, rows in (("objective", shown.objectives), ("metric", shown.rest)):
        if rows:
            cells = [(_named(row), _markdown_cells(row)) for row in rows]
            parts += ["", *_markdown_table((title, *shown.letters), cells)]
    parts.append("")
    if shown.same:
        parts.append(f"The same in all: {_constants(shown.same)}.")
    parts += _measured_of_one(shown)
    return "\n".join([*parts, LEFT_OUT, comparison.caveat])


def _markdown_table(titles: Sequence[str], rows: Sequence[tuple[str, Sequence[str]]]) -> list[str]:
    head = ["| " + " | ".join(titles) + " |", "|---|" + "---:|" * (len(titles) - 1)]
    return head + [
        "| " + " | ".join([name, *(text.replace("|", "\\|") for text in cells)]) + " |" for name, cells in rows
    ]


def _markdown_cells(row: Row) -> list[str]:
    """The value of every run, the others with their difference to the first."""
    cells = []
    for value, difference in zip(row.values, _all(row), strict=True):
        mean, between, verdict = _told(difference)
        cells.append(_value(value) + (f" ({mean} {between} {verdict})" if mean else ""))
    return cells
