"""What takes long is said, once it has: what is over before that, or ends in an error at once, says nothing."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

SILENT = 2.0
"""Seconds without a line after which it is said what is being done."""


class Announcement:
    """A line that is said unless it is called off before `SILENT` seconds are over."""

    def __init__(self, say: Callable[[str], None], what: str) -> None:
        self._timer = threading.Timer(SILENT, say, [f"{what} ..."])
        self._timer.daemon = True
        self._timer.start()

    def call_off(self) -> None:
        self._timer.cancel()


@contextmanager
def slow(say: Callable[[str], None], what: str) -> Iterator[None]:
    """Says what is done inside, if it takes long."""
    announcement = Announcement(say, what)
    try:
        yield
    finally:
        announcement.call_off()
