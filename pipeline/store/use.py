"""Who is at work in a home: many side by side, or one that removes, alone. Knows lock files; not what the work is."""

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from pipeline.errors import HomeError
from pipeline.store.home import Home

LOCK = "in-use.lock"
"""Held shared by whoever makes results, exclusively by whoever removes them; the system lets go when a holder dies."""


@contextmanager
def at_work(home: Home, what: str) -> Iterator[None]:
    """Nothing of the home is removed inside, e.g. by `gc` in another terminal; `what` is what its user is told.

    Waits for a removal that is under way, which takes seconds.
    """
    folder = _folder(home)
    with open(folder / LOCK, "a+b") as gate:
        fcntl.flock(gate, fcntl.LOCK_SH)
        with open(folder / f"in-use-{os.getpid()}-{time.monotonic_ns()}.json", "w+b") as note:
            fcntl.flock(note, fcntl.LOCK_EX)
            note.write(json.dumps({"what": what, "pid": os.getpid(), "since": time.strftime("%H:%M")}).encode())
            note.flush()
            try:
                yield
            finally:
                with suppress(OSError):
                    Path(note.name).unlink()


@contextmanager
def alone(home: Home) -> Iterator[None]:
    """Nobody makes results inside, and nobody else removes any; HomeError that names who is at work."""
    with open(_folder(home) / LOCK, "a+b") as gate:
        try:
            fcntl.flock(gate, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            who = ", ".join(users(home)) or "another cvae-pipe that removes results"
            raise HomeError(f"{home.root} is in use by {who}; nothing was removed; try again when it is done") from None
        yield


def users(home: Home) -> list[str]:
    """Who is at work, e.g. "sweep demo (process 123, since 14:02)"."""
    found = []
    for path in _notes(home):
        with suppress(OSError, ValueError, KeyError), open(path, "r+b") as note:
            if not _is_free(note):
                said = json.loads(note.read())
                found.append(f"{said['what']} (process {said['pid']}, since {said['since']})")
    return found


def notes_of_the_dead(home: Home) -> list[Path]:
    """What processes that were killed have left to say that they were at work."""
    found = []
    for path in _notes(home):
        with suppress(OSError), open(path, "r+b") as note:
            if _is_free(note):
                found.append(path)
    return found


def _notes(home: Home) -> list[Path]:
    return sorted((home.store.root / "locks").glob("in-use-*.json"))


def _is_free(note: IO[bytes]) -> bool:
    try:
        fcntl.flock(note, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _folder(home: Home) -> Path:
    folder = home.store.root / "locks"
    folder.mkdir(parents=True, exist_ok=True)
    return folder
