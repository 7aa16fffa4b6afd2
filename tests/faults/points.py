"""Kill points: every file operation and every SQL statement of a process is one, and it can be killed at any of them.

Nothing of the product is named. Python announces what a process does to files (audit hooks) and SQLite what it runs
(trace callbacks); the hook counts, and at the given point the process ends itself by SIGKILL: before what it was about
to do, and so after what it did before.
"""

import multiprocessing
import os
import re
import signal
import sqlite3
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FILES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.truncate", "shutil.rmtree"}
VARIABLE = re.compile(r"(?<=uploading\.)\w+|[0-9a-f]{6,}|\d+|tmp\w{8}")
"""What differs between two runs of a name: digests, process ids, numbers, names of chance."""
VERBS = re.compile(r"\s*(INSERT( OR \w+)? INTO|UPDATE|DELETE FROM|CREATE \w+|ALTER \w+|COMMIT)\s*\"?\w*", re.I)
"""Statements that change something."""


@dataclass(frozen=True)
class Point:
    """The `nth` time (from 1) that a process of that role comes to `label`; any label if it is empty."""

    role: str
    label: str = ""
    nth: int = 1


class Points:
    """The points that this process comes to: written down, or lethal."""

    def __init__(self, home: Path, trace: Path | None, lethal: Point | None, once: Path | None) -> None:
        self._home, self._trace, self._lethal, self._once = f"{home}/", trace, lethal, once
        self._seen: Counter[str] = Counter()
        self._inside = False

    def install(self) -> None:
        os.register_at_fork(after_in_child=self._seen.clear)
        sys.addaudithook(self._hook)
        sqlite3.dbapi2.connect = self._connect  # type: ignore[assignment]  # where SQLAlchemy finds it

    def _connect(self, *arguments: Any, **settings: Any) -> sqlite3.Connection:
        connection = sqlite3.connect(*arguments, **settings)
        connection.set_trace_callback(self._statement)
        return connection

    def _hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            path, _, flags = arguments
            if isinstance(path, str) and flags & (os.O_WRONLY | os.O_RDWR):
                self._reach("open", path)
        elif event in FILES:
            self._reach(event.rpartition(".")[2], str(arguments[0]))

    def _statement(self, statement: str) -> None:
        if verb := VERBS.match(statement):
            self._reach("sql", f"{self._home}{verb[0].strip()}")

    def _reach(self, what: str, path: str) -> None:
        if self._inside or not path.startswith(self._home):
            return
        self._inside = True
        label = f"{what} {VARIABLE.sub('*', path.removeprefix(self._home))}"
        role = "driver" if multiprocessing.parent_process() is None else multiprocessing.current_process().name
        if self._trace is not None:
            with open(self._trace, "a") as file:
                file.write(f"{role}\t{label}\n")
        if self._lethal is not None and self._lethal.role == role:
            for name in ("", label):
                self._seen[name] += 1
                if name == self._lethal.label and self._seen[name] == self._lethal.nth:
                    self._die(f"{role}\t{label}")
        self._inside = False

    def _die(self, where: str) -> None:
        if self._once is not None:
            try:
                descriptor = os.open(self._once, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
            except FileExistsError:  # another worker came first
                return
            os.write(descriptor, where.encode())
            os.close(descriptor)
        os.kill(os.getpid(), signal.SIGKILL)
