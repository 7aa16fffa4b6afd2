"""Markdown as MLflow's descriptions of runs show it. Knows their renderer alone."""

from collections.abc import Sequence

APART = "&emsp;"
"""After each cell: the tables there have no space between columns, and the character itself would be trimmed."""


def note_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A table's lines. Narrow ones only: a wide one pushes what stands beside the description out of the page."""
    body = [columns, ["---"] * len(columns), *rows]
    return [f"| {' | '.join(cell if i == 1 else cell + APART for cell in row)} |" for i, row in enumerate(body)]
