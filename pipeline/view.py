"""What the terminal shows: progress, the live table of a sweep, final tables. Readable piped and without colour."""

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from pipeline.catalog import HEADLINES, METRICS, show, show_spread

if TYPE_CHECKING:
    from pipeline.compare import Comparison
    from pipeline.outcome import Outcome
    from pipeline.report import Table as ReportTable
    from sweeps.driver import SweepView, TrialView
    from sweeps.study import StudyConfig
    from sweeps.summary import Summary

ROWS = 12
"""Trials in the live table: the best, the latest finished, the running; a terminal of 24 lines holds them."""
PREVIEW_ROWS = 20
"""Lines that generated images take at most."""


def console() -> Console:
    """stderr at its own width; 100 columns where it is not a terminal, so that tables do not wrap."""
    return Console(stderr=True, width=None if sys.stderr.isatty() else 100, highlight=False)


def redraws(screen: Console) -> bool:
    """Whether lines can be drawn over: not in a pipe, even if colours are forced there, nor where TERM is dumb."""
    return screen.is_terminal and not screen.is_dumb_terminal and screen.file.isatty()


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
        self._started = False

    def __enter__(self) -> "StageProgress":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._started:
            self._bar.stop()

    def say(self, message: str) -> None:
        self._console.print(message, markup=False, soft_wrap=True)

    def update(self, what: str, done: int, total: int, note: str) -> None:
        if not redraws(self._console):
            if done == total or time.monotonic() - self._spoke > 10:
                self._spoke = time.monotonic()
                self.say(f"{what}: {done}/{total} {note}")
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


class JobsDisplay:
    """How a list of jobs is getting on: a line per finished one, and on a terminal a line of what is running."""

    def __init__(self) -> None:
        self._console = console()
        self._status = self._console.status("starting ...")
        self._states: dict[str, str] = {}

    def __enter__(self) -> "JobsDisplay":
        if redraws(self._console):
            self._status.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._status.stop()

    def update(self, name: str, state: str) -> None:
        self._states[name] = state
        done = sum(s == "complete" for s in self._states.values())
        if state == "complete":
            self._console.print(f"{name}: complete   [{done}/{len(self._states)}]", markup=False, soft_wrap=True)
        under_way = [f"{n} {s}" for n, s in self._states.items() if s not in ("complete", "waiting")]
        self._status.update(f"{done}/{len(self._states)}: " + "; ".join(under_way))


class SweepDisplay:
    """A live table of the sweep on a terminal; a line per finished trial elsewhere."""

    def __init__(self, config: "StudyConfig") -> None:
        self._config = config
        self._console = console()
        self._live: Live | None = None
        self._reported: set[str] = set()

    def __enter__(self) -> "SweepDisplay":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def update(self, view: "SweepView") -> None:
        if redraws(self._console):
            if self._live is None:
                self._live = Live(console=self._console, refresh_per_second=4, transient=True)
                self._live.start()
            self._live.update(self._render(view))
        else:
            self._print_news(view)

    def _print_news(self, view: "SweepView") -> None:
        for trial in view.trials.values():
            if trial.state != "running" and f"{trial.number}" not in self._reported:
                self._reported.add(f"{trial.number}")
                self._console.print(f"{self._cells_text(trial)}   {self._status(view)}", markup=False, soft_wrap=True)
        for name, state in view.finals.items():
            if state == "complete" and name not in self._reported:
                self._reported.add(name)
                self._console.print(f"{name}: complete", markup=False)

    def _cells_text(self, trial: "TrialView") -> str:
        params = " ".join(f"{name}={value:.3g}" for name, value in trial.params.items())
        values = " ".join(
            f"{o.name}={show(value)}" for o, value in zip(self._config.objectives, trial.values or [], strict=False)
        )
        return f"trial {trial.number:02d} {trial.state}: {params} {values} {trial.note}".rstrip()

    def _status(self, view: "SweepView") -> str:
        eta = view.eta_seconds
        left = f", about {duration(eta)} left" if eta else ""
        return f"[{view.finished}/{view.target} finished{left}]"

    def _render(self, view: "SweepView") -> Group:
        table = Table(box=None, pad_edge=False)
        table.add_column("trial", justify="right")
        table.add_column("state", no_wrap=True)
        for dimension in self._config.space:
            table.add_column(_heading(dimension.name), justify="right")
        for objective in self._config.objectives:
            table.add_column(_heading(objective.name), justify="right")
        best = self._best(view)
        for trial in self._shown(view, {number for _, number in best}):
            state = f"epoch {trial.epoch}" if trial.state == "running" else trial.state
            params = [d.show(trial.params[d.name]) for d in self._config.space]
            values = [f"{show(v)}{'*' if (i, trial.number) in best else ' '}" for i, v in enumerate(trial.values or [])]
            values += ["- "] * (len(self._config.objectives) - len(values))
            table.add_row(str(trial.number), state, *params, *values)
        finals = ", ".join(f"{name}: {state}" for name, state in view.finals.items())
        epochs = self._config.base.train.epochs
        title = f"sweep {self._config.name} {self._status(view)} {view.workers} workers, {epochs} epochs; * best so far"
        failed = [f"trial {t.number} failed: {t.note}" for t in view.trials.values() if t.state == "failed"]
        footer = [*failed[-1:], finals or "Ctrl-C stops it; the same command goes on."]
        # Text, not markup: names and reasons may hold brackets.
        return Group(Text(title), table, *(Text(line, overflow="ellipsis", no_wrap=True) for line in footer))

    def _shown(self, view: "SweepView", best: set[int]) -> list["TrialView"]:
        """The trials there is room for: the best so far, the latest of the others, and what is running."""
        running = [t for t in view.trials.values() if t.state == "running"]
        leading = [t for t in view.trials.values() if t.number in best]
        others = [t for t in view.trials.values() if t.state != "running" and t.number not in best]
        room = max(0, ROWS - len(leading) - len(running))
        return [*leading, *others[len(others) - min(room, len(others)) :], *running][:ROWS]

    def _best(self, view: "SweepView") -> set[tuple[int, int]]:
        """(objective, trial) of the best value of each objective so far."""
        done = [t for t in view.trials.values() if t.values]
        found = set()
        for i, objective in enumerate(self._config.objectives):
            pick = max if objective.maximise else min
            if done:
                found.add((i, pick(done, key=lambda t: t.values[i] if t.values else 0.0).number))
        return found

    def summary(self, summary: "Summary") -> None:
        """The Pareto front, the choice, its test numbers, and what it generates."""
        from sweeps.summary import cells

        self.stop()
        config = self._config
        several = len(config.objectives) > 1
        table = Table(box=None, pad_edge=False)
        table.add_column("trial", justify="right")
        for name in (*(d.name for d in config.space), *(o.name for o in config.objectives)):
            table.add_column(_heading(name), justify="right")
        for number in summary.front:
            mark = "* " if number == summary.chosen else ""
            table.add_row(f"{mark}{number}", *cells(config, summary.row(number)))
        title = f"Pareto front of {config.name}" if several else f"Best trial of {config.name}"
        self._console.print(f"{title}, on validation images", markup=False, soft_wrap=True)
        self._console.print(table)
        if summary.chosen is not None and several:
            self._console.print(f"* the balanced trial: {summary.chosen}", markup=False)
        if summary.finals:
            n = len(summary.finals)
            over = f"over {n} seeds (mean ± sd)" if n > 1 else "one seed"
            self._console.print(f"\nThe choice on test, {over}")
            self._console.print(_test_table(summary.final_spread(), seeds=n))
        if summary.champion is not None:
            show_preview(summary.champion, self._console)


def _test_table(spread: dict[str, tuple[float, float]], *, seeds: int) -> Table:
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    for name in HEADLINES:
        if f"test/{name}" in spread:
            mean, deviation = spread[f"test/{name}"]
            value = show_spread(mean, deviation) if seeds > 1 else show(mean)
            table.add_row(f"test/{name} {METRICS[name].arrow}".strip(), value)
    return table


def show_preview(outcome: "Outcome", screen: Console | None = None) -> None:
    """One generated image per class in half-block characters, where a terminal can show them."""
    screen = screen or console()
    if "generated" not in outcome.grids or not shows_greys(screen):
        return
    from pipeline.preview import first_of_each_class, half_blocks

    images = first_of_each_class(outcome.grids["generated"], *outcome.facts["shape"])
    screen.print("generated, one image per class:")
    screen.print(half_blocks(images, width=screen.width, rows=PREVIEW_ROWS))


def shows_greys(screen: Console) -> bool:
    """Whether a terminal has the characters and the shades of grey that a picture takes."""
    greys = screen.color_system in ("256", "truecolor") and not screen.no_color
    return redraws(screen) and greys and screen.encoding.startswith("utf")


def show_metrics(metrics: dict[str, float]) -> None:
    """One line per metric: value, unit, meaning."""
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    table.add_column()
    for key, value in metrics.items():
        metric = METRICS[key.partition("/")[2]]
        table.add_row(key, show(value), f"{metric.unit}  {metric.meaning}".strip())
    console().print(table)


def show_table(table: "ReportTable") -> None:
    """A table of a report, on the terminal."""
    shown = Table(box=None, pad_edge=False, caption=table.caption, caption_justify="left")
    for column, align in zip(table.columns, table.align, strict=True):
        shown.add_column(column, justify="right" if align == "right" else "left")
    for row in table.rows:
        shown.add_row(*row)
    console().print(shown)


def show_comparison(comparison: "Comparison") -> None:
    """Each metric of each run, and its difference from the first run with a verdict."""
    from pipeline.compare import cells

    out = Console(width=None if sys.stdout.isatty() else 140, highlight=False)
    table = Table(box=None, pad_edge=False)
    table.add_column("metric", no_wrap=True)
    for name in comparison.names:
        table.add_column(name, justify="right")
    for row in comparison.rows:
        table.add_row(row.key, *cells(row))
    out.print(table)
    out.print(comparison.caveat, markup=False)


def duration(seconds: float) -> str:
    """A length of time as people say it."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _heading(name: str) -> str:
    """A name with a word a line: a column is as wide as its longest word, and eight columns fit into 80."""
    return name.replace("_", "\n")
