"""Ctrl-C, SIGTERM and SIGHUP: each ends a command in the same way, and none is lost. Knows signals."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

AGAIN_SECONDS = 0.05
"""After an interruption was swallowed, it comes once more."""

_asked = False


POLITE = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""The last is of a closed terminal; nohup ignores it, as asked."""


@contextmanager
def hearing_interruptions() -> Iterator[None]:
    """Inside, each of these signals is a KeyboardInterrupt in the main thread, wherever that is."""
    global _asked
    _asked = False
    before = {number: signal.getsignal(number) for number in (*POLITE, signal.SIGALRM)}
    hook = sys.unraisablehook
    for number in POLITE:
        if before[number] is not signal.SIG_IGN:
            signal.signal(number, _interrupt)
    signal.signal(signal.SIGALRM, _once_more)
    sys.unraisablehook = _not_swallowed
    try:
        yield
    finally:
        sys.unraisablehook = hook
        for number, handler in before.items():
            signal.signal(number, handler)


def ignore_interruptions() -> None:
    for number in POLITE:
        signal.signal(number, signal.SIG_IGN)


def _interrupt(signum: int, frame: FrameType | None) -> None:
    """A polite termination ends like Ctrl-C: runs are closed with their true status."""
    global _asked
    _asked = True
    raise KeyboardInterrupt


def _not_swallowed(unraisable: "sys.UnraisableHookArgs") -> None:
    """Python drops what is raised inside a destructor or a weak reference's callback; an interruption comes again."""
    if unraisable.exc_type is not None and issubclass(unraisable.exc_type, KeyboardInterrupt):
        signal.setitimer(signal.ITIMER_REAL, AGAIN_SECONDS)  # a signal of its own from in here would be dropped, too
    else:
        sys.__unraisablehook__(unraisable)


def _once_more(signum: int, frame: FrameType | None) -> None:
    signal.raise_signal(signal.SIGINT)  # to whoever hears it now: it may be held back


@contextmanager
def interruptions_first() -> Iterator[None]:
    """An error that comes of an interruption is one: an import cut in two, say, fails as an ImportError."""
    try:
        yield
    except Exception:
        if _asked:
            raise KeyboardInterrupt from None
        raise
