"""Progress of stages and of jobs."""

import time
from types import TracebackType

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from pipeline.cli.terminal.console import console, redraws
from pipeline.cli.terminal.volume import quiet
from pipeline.cli.terminal.waiting import SILENT, Announcement

OFTEN = 10.0
"""Seconds after which it is said how far something is, where stderr is no terminal."""


class StageProgress:
    """Says what stages did, and shows a bar for what takes long; where stderr is no terminal, a line now and then."""

    def __init__(self) -> None:
        self._console = console()
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}"),
            TimeRemainingColumn(),
            console=self._console,
            transient=True,
        )
        self._tasks: dict[str, TaskID] = {}
        self._spoke = time.monotonic()
        self._heard: set[str] = set()
        self._announced: dict[str, Announcement] = {}
        self._started = False

    def __enter__(self) -> "StageProgress":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for announcement in self._announced.values():
            announcement.call_off()
        if self._started:
            self._bar.stop()

    def say(self, message: str) -> None:
        if quiet():
            return
        self._spoke = time.monotonic()
        self._console.print(message, markup=False, soft_wrap=True)

    def update(self, what: str, done: int, total: int, note: str) -> None:
        if quiet():
            return
        if not redraws(self._console):
            self._say_where(what, done, total, note)
            return
        if not self._started:  # begun late: a bar on the screen would fight with a sweep's live table
            self._bar.start()
            self._started = True
        if what not in self._tasks:
            self._tasks[what] = self._bar.add_task(what, total=total, note=note)
        self._bar.update(self._tasks[what], completed=done, note=note, visible=done < total)
        if all(task.finished for task in self._bar.tasks):  # leave the screen to who comes next, e.g. a live table
            self._bar.stop()
            self._started = False

    def _say_where(self, what: str, done: int, total: int, note: str) -> None:
        """A line for what has begun where nothing was said for a while, for what is done, and now and then between."""
        waited, begun = time.monotonic() - self._spoke, what not in self._heard
        self._heard.add(what)
        if total == 1:  # nobody knows how long
            if done and (announcement := self._announced.pop(what, None)):
                announcement.call_off()
            elif not done and begun:
                self._announced[what] = Announcement(self.say, what)
        elif done == total or waited > OFTEN or (begun and waited > SILENT):
            self.say(f"{what}: {done}/{total} {note}".rstrip())


class JobsDisplay:
    """How a list of jobs is getting on: a line per finished one, and on a terminal a line of what is running."""

    def __init__(self) -> None:
        self._console = console()
        self._status = self._console.status("starting ...")
        self._states: dict[str, str] = {}

    def __enter__(self) -> "JobsDisplay":
        if redraws(self._console) and not quiet():
            self._status.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._status.stop()

    def update(self, name: str, state: str) -> None:
        if quiet():
            return
        self._states[name] = state
        done = sum(s == "complete" for s in self._states.values())
        if state == "complete":
            self._console.print(f"{name}: complete   [{done}/{len(self._states)}]", markup=False, soft_wrap=True)
        under_way = [f"{n} {s}" for n, s in self._states.items() if s not in ("complete", "waiting")]
        self._status.update(f"{done}/{len(self._states)}: " + "; ".join(under_way))
