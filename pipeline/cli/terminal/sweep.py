"""The live table of a sweep, and what is left of it at the end."""

import time
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from pipeline.cli.terminal.console import console, duration, heading, redraws
from pipeline.cli.terminal.preview import show_preview
from pipeline.cli.terminal.volume import quiet
from pipeline.evaluation.catalog import METRICS, headlines, show, show_spread

if TYPE_CHECKING:
    from sweeps.analysis.summary import Summary
    from sweeps.progress import SweepView, TrialView
    from sweeps.study.config import StudyConfig


ROWS = 12
"""Trials in the live table: the best, the latest finished, the running; a terminal of 24 lines holds them."""


WIDE = 100
"""Columns from which the table has room to say at which rung a trial was stopped."""


class SweepDisplay:
    """A live table of the sweep on a terminal; a line per finished trial elsewhere."""

    def __init__(self, config: "StudyConfig") -> None:
        self._config = config
        self._console = console()
        self._live: Live | None = None
        self._reported: set[str] = set()
        self._fresh = True
        self._spoke = time.monotonic()

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
        if quiet():
            return
        if redraws(self._console):
            if self._live is None:
                self._live = Live(console=self._console, refresh_per_second=4, transient=True)
                self._live.start()
            self._live.update(self._render(view))
        else:
            self._print_news(view)

    def _print_news(self, view: "SweepView") -> None:
        if self._fresh and view.finished_before:
            self._console.print(f"{view.finished_before} trials are finished already", markup=False)
            self._reported |= {f"{t.number}" for t in view.trials.values() if t.state != "running"}
        self._fresh = False
        if view.doing and view.doing not in self._reported:
            self._reported.add(view.doing)
            self._console.print(f"{view.doing} ...", markup=False)
        if view.judges and time.monotonic() - self._spoke > 10:
            self._spoke = time.monotonic()
            self._console.print(", ".join(f"{name}: {how}" for name, how in view.judges.items()), markup=False)
        for trial in view.trials.values():
            if trial.state != "running" and f"{trial.number}" not in self._reported:
                self._reported.add(f"{trial.number}")
                self._console.print(f"{self._cells_text(trial)}   {self._status(view)}", markup=False, soft_wrap=True)
        for name, state in view.finals.items():
            if state == "complete" and name not in self._reported:
                self._reported.add(name)
                self._console.print(f"{name}: complete", markup=False)

    def _cells_text(self, trial: "TrialView") -> str:
        params = " ".join(f"{d.name}={d.show(trial.params[d.name])}" for d in self._config.space)
        values = " ".join(
            f"{o.name}={show(value)}" for o, value in zip(self._config.objectives, trial.values or [], strict=False)
        )
        note = trial.note if trial.state != "pruned" else ""
        return f"trial {trial.number:02d} {_state(trial)}: {params} {values} {note}".rstrip()

    def _status(self, view: "SweepView") -> str:
        eta = view.eta_seconds
        left = f", about {duration(eta)} left" if eta else ""
        return f"[{view.finished}/{max(view.target, view.finished)} finished{left}]"

    def _render(self, view: "SweepView") -> Group:
        table = Table(box=None, pad_edge=False)
        table.add_column("trial", justify="right")
        table.add_column("state", no_wrap=True)
        for dimension in self._config.space:
            table.add_column(heading(dimension.name), justify="right")
        for objective in self._config.objectives:
            table.add_column(heading(objective.name), justify="right")
        best = self._best(view)
        for trial in self._shown(view, {number for _, number in best}):
            state = _state(trial, short=self._console.width < WIDE)
            params = [d.show(trial.params[d.name]) for d in self._config.space]
            values = [f"{show(v)}{'*' if (i, trial.number) in best else ' '}" for i, v in enumerate(trial.values or [])]
            values += ["- "] * (len(self._config.objectives) - len(values))
            table.add_row(str(trial.number), state, *params, *values)
        finals = ", ".join(f"{name}: {state}" for name, state in view.finals.items())
        epochs = self._config.base.train.epochs
        title = f"sweep {self._config.name} {self._status(view)} {view.workers} workers, {epochs} epochs; * best so far"
        failed = [f"trial {t.number} failed: {t.note}" for t in view.trials.values() if t.state == "failed"]
        waiting = [f"scores wait for {', '.join(f'{name} {how}' for name, how in view.judges.items())}"]
        under_way = f"{view.doing} ..." if view.doing else finals or "Ctrl-C stops it; the same command goes on."
        footer = [*failed[-1:], *waiting[: len(view.judges)], under_way]
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
        """The Pareto front, the choice, its test numbers, and what it generates: what a sweep is for, on stdout."""
        from pipeline.cli.terminal.tables import in_columns, print_text, wide
        from pipeline.reporting.cautions import cautions
        from sweeps.reporting.cells import cells
        from sweeps.reporting.choice import in_words

        self.stop()
        config = self._config
        several = len(config.objectives) > 1
        print_text(f"{'Pareto front' if several else 'Best trial'} of {config.name}, on validation images")
        names = ("trial", *(d.name for d in config.space), *(o.name for o in config.objectives))
        rows = [
            (f"{'* ' if number == summary.chosen else ''}{number}", *map(str, cells(config, summary.row(number))))
            for number in summary.front
        ]
        lines = in_columns([*_headings(names), *rows], right=[True] * len(names))
        if max(map(len, lines)) <= wide():
            print("\n".join(lines))
        else:
            for row in rows:
                print(f"trial {row[0]}")
                print_text("  " + ", ".join(f"{name} {cell}" for name, cell in zip(names[1:], row[1:], strict=True)))
        if summary.chosen is not None and several:
            print(f"* the {summary.kind_of_choice} trial: {summary.chosen}")
            for sentence in in_words(summary):
                print_text(str(sentence))
        if summary.finals:
            n = len(summary.finals)
            print(f"\nThe choice on test, {f'over {n} seeds (mean ± sd)' if n > 1 else 'one seed'}")
            for line in in_columns(_test_rows(summary.final_spread()), right=[False, True, True]):
                print(line)
        if summary.champion is not None:
            show_preview(summary.champion, self._console)
            for sentence in cautions(summary.champion):
                print_text(f"beware: {sentence}")


def _headings(names: Sequence[str]) -> list[list[str]]:
    """Names as rows of a head, a word below the other, so that a column is no wider than its numbers need."""
    words = [heading(name).split("\n") for name in names]
    deep = max(map(len, words))
    return [list(row) for row in zip(*([""] * (deep - len(own)) + own for own in words), strict=True)]


def _state(trial: "TrialView", *, short: bool = False) -> str:
    """What is to be seen of a trial's state: how far it is, or how far it came."""
    if trial.state == "running":
        return f"epoch {trial.epoch}"
    if trial.state == "pruned":
        return f"stopped at {trial.epoch}" if short else trial.note
    return trial.state


def _test_rows(spread: dict[str, tuple[float, float | None]]) -> list[tuple[str, ...]]:
    """Test scores under the prior that is scored, and under N(0, I) where that is another one."""

    def value(name: str) -> str:
        return show_spread(*spread[f"test/{name}"])

    rows = headlines([key.partition("/")[2] for key in spread])
    both = any(standard for _, standard in rows)
    head = [("", "fitted", "N(0, I)")] if both else []
    named = [(f"{n} {METRICS[n].arrow}".strip(), value(n), value(other) if other else "") for n, other in rows]
    return [*head, *named]
