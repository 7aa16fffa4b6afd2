"""How much a command says: results and errors alone, what people are usually told, or everything there is to tell."""

import logging
import sys
import warnings
from enum import IntEnum

OURS = "cvae-pipe"
"""The logger of this package."""


class Volume(IntEnum):
    """Quiet: results on stdout, errors on stderr. Verbose: keys and places of stored results, times since the start,
    what libraries log and warn of."""

    QUIET = 0
    USUAL = 1
    VERBOSE = 2


class _Control:
    """The one volume of a process, and what it has changed of Python's own."""

    def __init__(self) -> None:
        self.volume = Volume.USUAL
        self.handler: logging.Handler | None = None
        self.caught: warnings.catch_warnings[None] | None = None


_control = _Control()


def set_volume(volume: Volume) -> None:
    """From now on, here; `Volume.USUAL` undoes what another has changed of logging and warnings."""
    ours, root = logging.getLogger(OURS), logging.getLogger()
    if _control.handler is not None:
        root.removeHandler(_control.handler)
        _control.handler = None
        logging.captureWarnings(False)
    if _control.caught is not None:
        _control.caught.__exit__(None, None, None)
        _control.caught = None
    ours.setLevel({Volume.QUIET: logging.ERROR, Volume.USUAL: logging.NOTSET, Volume.VERBOSE: logging.DEBUG}[volume])
    root.setLevel(logging.INFO if volume is Volume.VERBOSE else logging.WARNING)
    _control.volume = volume
    if volume is Volume.USUAL:
        return
    _control.caught = warnings.catch_warnings()
    _control.caught.__enter__()
    warnings.simplefilter("ignore" if volume is Volume.QUIET else "default")
    if volume is Volume.VERBOSE:
        _control.handler = logging.StreamHandler(sys.stderr)
        _control.handler.setFormatter(_SinceTheStart())
        root.addHandler(_control.handler)
        logging.captureWarnings(True)


class _SinceTheStart(logging.Formatter):
    """`[ 12.3 s] cvae-pipe: what happened`, on one line."""

    def format(self, record: logging.LogRecord) -> str:
        message = " ".join(record.getMessage().split())
        return f"[{record.relativeCreated / 1000:6.1f} s] {record.name.partition('.')[0]}: {message}"


def quiet() -> bool:
    """Whether only results and errors are wanted."""
    return _control.volume is Volume.QUIET


def verbose() -> bool:
    """Whether everything is wanted."""
    return _control.volume is Volume.VERBOSE
