"""How long the long forms go on, and what they have done: figures that docs/RELIABILITY.md quotes."""

import json
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")

SEED = int(os.environ.get("CVAE_PIPE_SOAK_SEED", "0"))
MINUTES = float(os.environ.get("CVAE_PIPE_SOAK_MINUTES", "60"))
"""Of each long test: it goes through its cases in an order of chance until they are up, or all are done."""
FIRST = int(os.environ.get("CVAE_PIPE_SOAK_FIRST", "0"))
"""Cases of that order which an earlier run has done: the same seed goes on there, so that short runs add up."""


def within_budget(cases: Sequence[T], *, first: int = FIRST) -> Iterator[T]:
    """The cases from the first that is not done, until the time is up; at least one, where one is left."""
    started = time.monotonic()
    for case in cases[first:]:
        yield case
        if time.monotonic() - started > MINUTES * 60:
            return


def note(**figures: Any) -> None:
    """Print figures, and add them to the file that CVAE_PIPE_SOAK_FIGURES names."""
    line = json.dumps(figures | {"seed": SEED, "first": FIRST})
    print(line, flush=True)
    if path := os.environ.get("CVAE_PIPE_SOAK_FIGURES"):
        with Path(path).open("a") as file:
            file.write(f"{line}\n")
