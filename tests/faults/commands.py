"""Commands on a home, run by a zygote, and the sweep that the fault-injection suite disturbs."""

import json
import os
import select
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from helpers import quick_toml

LIMIT = 300
"""Seconds after which a command counts as stuck, on a machine that does other things, too."""


@dataclass(frozen=True)
class Ended:
    """How a command ended: its exit status (below 0: by which signal) and everything it said."""

    status: int
    said: str

    @property
    def in_one_line(self) -> bool:
        """Success, or a mistake that is said in a line that begins with error, and no traceback."""
        errors = [line for line in self.said.splitlines() if line.startswith("error: ")]
        return "Traceback" not in self.said and (self.status in (0, 1, 3) or (self.status == 2 and len(errors) == 1))


class Commands:
    """A zygote: `call` runs `cvae-pipe` with these arguments on a home, in a process of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._count = 0
        self._zygote = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("zygote.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
            cwd=folder,
        )
        assert self._answer() == "ready"

    def _answer(self) -> str:
        assert self._zygote.stdout is not None
        assert select.select([self._zygote.stdout], [], [], LIMIT)[0], "the command is stuck"
        return self._zygote.stdout.readline().strip()

    def call(self, home: Path, *arguments: object, **order: Any) -> Ended:
        self._count += 1
        log = self.folder / f"{self._count}.log"
        document = {"arguments": [str(a) for a in arguments], "home": str(home), "log": str(log)} | order
        assert self._zygote.stdin is not None
        print(json.dumps(document), file=self._zygote.stdin, flush=True)
        status = int(self._answer())
        said = log.read_text(errors="replace")
        log.unlink()
        return Ended(status, said)

    def close(self) -> None:
        self._zygote.kill()
        self._zygote.communicate()


SWEEP = {"train__epochs": 6, "runtime__grid_every": 3, "score__per_class": 40}


def sweep_arguments(folder: Path) -> list[object]:
    """A sweep of five trials with a rung, a retrained candidate and a final, on digits."""
    settings = quick_toml(folder, **SWEEP)
    common = ["sweep", "--config", settings, "--name", "s", "--trials", 5, "--window", 2, "--workers", 2]
    return [*common, "--first-rung", 2, "--final-seeds", 1, "--judges", 1]


def brief_arguments(folder: Path) -> list[object]:
    """One of two trials, and nothing after them."""
    settings = quick_toml(folder, **SWEEP)
    return ["sweep", "--config", settings, "--name", "s", "--trials", 2, "--workers", 1, "--final-seeds", 0]


def copy(root: Path, target: Path) -> Path:
    shutil.copytree(root, target, ignore=shutil.ignore_patterns("ready"))
    return target


@dataclass
class Undisturbed:
    """A sweep that nobody touched, and the points that it came to."""

    home: Path
    contents: dict[str, Any]
    points: list[tuple[str, str]]
    """(role, label), in their order."""
    arguments: list[object]
    quiet: bool = False
    """Whether its report is without figures."""

    def again(self, commands: Commands, home: Path, **order: Any) -> Ended:
        """The same command on another home."""
        return commands.call(home, *self.arguments, quiet=self.quiet, **order)


def processes_of(home: Path) -> list[int]:
    """Processes that are alive and have this CVAE_PIPE_HOME in their order: commands of a zygote and their workers."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            of_this = str(home) in os.readlink(process / "cwd")
            dead = (process / "stat").read_text().rpartition(")")[2].split()[0] == "Z"
        except OSError:
            continue
        if of_this and not dead:
            found.append(int(process.name))
    return found
