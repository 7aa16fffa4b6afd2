"""Removal that a kill cannot leave half done: written down, moved away by renames, then deleted. Knows paths; not what
they hold.

<root>/trash/<number>/plan.json    what is to go; from here on the removal is finished by whoever comes next
<root>/trash/<number>/<n>          what has gone, until it is deleted
"""

import errno
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import HomeError
from pipeline.store.files import read_json, sync, write_json
from pipeline.store.home import Home

PLAN = "plan.json"


@dataclass(frozen=True)
class Removal:
    """A removal that is decided: every path below the home, and what else the caller wrote down."""

    folder: Path
    home: Home

    @property
    def facts(self) -> dict[str, Any]:
        """What the caller wrote down beside the paths."""
        facts: dict[str, Any] = read_json(self.folder / PLAN)["facts"]
        return facts

    def finish(self) -> None:
        """Move what is left of the paths away, then delete all of it. May be repeated; a path that is gone is gone."""
        for number, relative in enumerate(read_json(self.folder / PLAN)["paths"]):
            _move(self.home.root / relative, self.folder / str(number))
        for moved in self.folder.iterdir():
            if moved.name != PLAN:
                _delete(moved)
        (self.folder / PLAN).unlink()
        self.folder.rmdir()


def decide(home: Home, paths: Iterable[Path], facts: dict[str, Any]) -> Removal:
    """Write a removal down; nothing is touched yet. HomeError for a path outside of the home."""
    relative = []
    for path in paths:
        if not path.is_relative_to(home.root) or path == home.root or ".." in path.parts:
            raise HomeError(f"{path} is not below {home.root}; it is not removed")
        relative.append(str(path.relative_to(home.root)))
    trash = _trash(home)
    trash.mkdir(parents=True, exist_ok=True)
    number = 1
    while True:
        try:
            (folder := trash / str(number)).mkdir()
            break
        except FileExistsError:
            number += 1
    write_json(folder / PLAN, {"paths": relative, "facts": facts})
    sync(folder)
    return Removal(folder, home)


def pending(home: Home) -> Iterator[Removal]:
    """Removals that were decided and not finished."""
    return (Removal(plan.parent, home) for plan in sorted(_trash(home).glob(f"*/{PLAN}")))


def clear(home: Home) -> None:
    """Take away what a kill has left of removals before they were decided, or after they were done. To be called by
    who is alone in the home."""
    for folder in _trash(home).glob("*"):
        if not (folder / PLAN).exists():
            _delete(folder)


def _trash(home: Home) -> Path:
    return home.store.root / "trash"


def _move(path: Path, to: Path) -> None:
    """Move a path away in one rename: beside itself where the trash is on another file system."""
    aside = path.with_name(f".{path.name}.removed")
    with suppress(FileNotFoundError):
        try:
            os.rename(path, to)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            os.rename(path, aside)
    _delete(aside)


def _delete(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
