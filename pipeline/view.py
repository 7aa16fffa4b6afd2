"""What the terminal shows: progress, the live table of a sweep, final tables. Readable piped and without colour."""

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table

from pipeline.catalog import METRICS, show, show_spread

if TYPE_CHECKING:
    from pipeline.compare import Comparison
    from pipeline.report import Table as ReportTable
    from sweeps.driver import SweepView, TrialView
    from sweeps.study import StudyConfig
    from sweeps.summary import Summary

ROWS = 12
"""Trials in the live table: the running ones and the latest finished; a terminal of 24 lines holds them."""


def console() -> Console:
    """stderr at its own width; 100 columns where it is not a terminal, so that logs do not wrap."""
    return Console(stderr=True, width=None if sys.stderr.isatty() else 100, highlight=False)


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
        self._console.print(message, markup=False)

    def update(self, what: str, done: int, total: int, note: str) -> None:
        if not self._console.is_terminal:
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


class JobsDisplay:
    """How a list of jobs is getting on: a line per finished one, and on a terminal a line of what is running."""

    def __init__(self) -> None:
        self._console = console()
        self._status = self._console.status("starting ...")
        self._states: dict[str, str] = {}

    def __enter__(self) -> "JobsDisplay":
        if self._console.is_terminal:
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
            self._console.print(f"{name}: complete   [{done}/{len(self._states)}]", markup=False)
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
        if self._console.is_terminal:
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
            f"{o.name}={value:.4g}" for o, value in zip(self._config.objectives, trial.values or [], strict=False)
        )
        return f"trial {trial.number:02d} {trial.state}: {params} {values} {trial.note}".rstrip()

    def _status(self, view: "SweepView") -> str:
        eta = view.eta_seconds
        left = f", about {duration(eta)} left" if eta else ""
        return f"[{view.finished}/{view.target} finished{left}]"

    def _render(self, view: "SweepView") -> Group:
        table = Table(box=None, pad_edge=False)
        table.add_column("trial", justify="right")
        table.add_column("state")
        for dimension in self._config.space:
            table.add_column(dimension.name, justify="right")
        for objective in self._config.objectives:
            table.add_column(objective.name.replace("_", " "), justify="right")
        best = self._best(view)
        running = [t for t in view.trials.values() if t.state == "running"]
        others = [t for t in view.trials.values() if t.state != "running"]
        for trial in [*others[-(ROWS - len(running)) :], *running]:
            state = f"epoch {trial.epoch}" if trial.state == "running" else trial.state
            params = [d.show(trial.params[d.name]) for d in self._config.space]
            values = [f"{v:.4g}{'*' if (i, trial.number) in best else ''}" for i, v in enumerate(trial.values or [])]
            values += ["-"] * (len(self._config.objectives) - len(values))
            table.add_row(str(trial.number), state, *params, *values)
        finals = ", ".join(f"{name}: {state}" for name, state in view.finals.items())
        title = f"sweep {self._config.name} {self._status(view)} {view.workers} workers; * best so far"
        return Group(title, table, finals or "Ctrl-C stops it; the same command goes on.")

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
        """The Pareto front, the choice, and its test numbers."""
        from sweeps.summary import cells

        self.stop()
        config = self._config
        table = Table(title=f"Pareto front of {config.name}" if len(config.objectives) > 1 else "Best trial", box=None)
        table.add_column("trial", justify="right")
        names = [*(d.name for d in config.space), *(o.name for o in config.objectives)]
        for name in names:
            table.add_column(name.replace("_", " "), justify="right")
        for number in summary.front:
            row = summary.row(number)
            mark = "* " if number == summary.chosen else ""
            table.add_row(f"{mark}{number}", *cells(config, row))
        self._console.print(table)
        if summary.chosen is not None:
            self._console.print(f"* the balanced trial: {summary.chosen}", markup=False)
        for key, (mean, std) in summary.final_spread().items():
            if METRICS[key.partition("/")[2]].better:
                self._console.print(f"{key}: {show_spread(mean, std)} over {len(summary.finals)} seeds", markup=False)


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
