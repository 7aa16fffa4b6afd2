"""The console, what it can show, and how durations read."""

import sys

from rich.console import Console


def console() -> Console:
    """stderr at its own width; 100 columns where it is not a terminal, so that tables do not wrap. [..] is text."""
    return Console(stderr=True, width=None if sys.stderr.isatty() else 100, highlight=False, markup=False)


def redraws(screen: Console) -> bool:
    """Whether lines can be drawn over: not in a pipe, even if colours are forced there, nor where TERM is dumb."""
    return screen.is_terminal and not screen.is_dumb_terminal and screen.file.isatty()


def duration(seconds: float) -> str:
    """A length of time as people say it."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def heading(name: str) -> str:
    """A name with a word a line: a column is as wide as its longest word, and eight columns fit into 80."""
    return name.replace("_", "\n")
