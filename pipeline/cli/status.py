"""The command that says what is in a home: studies, ablations, runs, and what is unfinished."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.cli.answers import print_json
from pipeline.cli.help import examples
from pipeline.cli.options import Json
from pipeline.cli.session import refusals_in_one_line, say
from pipeline.runs.listing import OBJECTIVES
from pipeline.store.home import Home

if TYPE_CHECKING:
    from pipeline.runs.listing import ListedRun
    from sweeps.listing import ListedAblation, ListedStudy

LISTS = ("studies", "ablations", "runs", "unfinished_runs")
SHOWN = 10
"""Runs that are listed unless all are asked for."""


@examples("cvae-pipe status", "cvae-pipe status --all", "cvae-pipe status --json")
def status(
    all_: Annotated[bool, typer.Option("--all", help=f"List every run, not the {SHOWN} newest.")] = False,
    json_: Json = False,
) -> None:
    """Say what is here: studies, ablations and runs, newest first; what is unfinished, failed or damaged."""
    from pipeline.api import home_status

    with refusals_in_one_line():
        found = home_status(Home.from_environment())
    if json_:
        print_json(found | {kind: [asdict(row) for row in found[kind]] for kind in LISTS})
        return
    runs = found["runs"] if all_ else found["runs"][:SHOWN]
    parts = (_studies(found["studies"]), _ablations(found["ablations"]), _runs(runs))
    for lines in parts:
        for line in lines:
            print(line)
        if lines:
            print()
    if len(runs) < len(found["runs"]):
        print(f"and {len(found['runs']) - len(runs)} more runs; --all lists them")
    for line in _notes(found):
        print(line)
    if not any(parts):
        say("nothing is here yet; `cvae-pipe run --dataset digits` makes a first run")


def _studies(studies: "list[ListedStudy]") -> list[str]:
    """A line each: what it is called, on which data, how far it is, when it last moved."""
    return columns(
        ("study", "data", "trials", "last trial"),
        [
            (s.name, s.dataset, ", ".join(f"{n} {state}" for state, n in s.states.items()), when(s.last))
            for s in studies
        ],
    )


def _ablations(ablations: "list[ListedAblation]") -> list[str]:
    rows = [(a.name, a.dataset, a.setting, f"{a.done} of {a.cells}") for a in ablations]
    return columns(("ablation", "data", "setting", "cells"), rows)


def _runs(runs: "list[ListedRun]") -> list[str]:
    """Two lines each: its name, its objectives on test and when; what it has that is no default."""
    from pipeline.evaluation.catalog import show
    from pipeline.runs.names import setting_words

    titles = ("run, on test", "accuracy", "coverage", "neg_elbo", "UTC")
    rows = [
        (run.name, *(show(run.metrics[o]) if o in run.metrics else "-" for o in OBJECTIVES), when(run.finished))
        for run in runs
    ]
    return columns(titles, rows, [setting_words(run.differs, most=6) or "defaults" for run in runs])


def columns(titles: tuple[str, ...], rows: Sequence[tuple[str, ...]], notes: Sequence[str] = ()) -> list[str]:
    """Lines of columns as wide as they need to be, a note below each row; none without rows. Where a terminal is too
    narrow for them the first column has a line of its own, and the others follow by name."""
    from pipeline.cli.terminal.tables import in_columns, wide, wrapped

    if not rows:
        return []
    head, *lines = in_columns([titles, *rows])
    if max(map(len, (head, *lines))) > wide():
        head = titles[0]
        beside = ("; ".join(f"{t} {cell}" for t, cell in zip(titles[1:], row[1:], strict=True)) for row in rows)
        lines = ["\n".join([row[0], *wrapped(f"    {text}")]) for row, text in zip(rows, beside, strict=True)]
    below = (["\n".join(wrapped(f"    {note}"))] for note in notes) if notes else ([] for _ in rows)
    return [head, *(part for line, note in zip(lines, below, strict=True) for part in (line, *note))]


def when(iso: str) -> str:
    """A time to the minute."""
    return iso.replace("T", " ")[:16]


def _notes(found: dict[str, Any]) -> list[str]:
    """What else is to be known, a line each."""
    lines = [f"at work: {user}" for user in found["at_work"]]
    lines += [f"failed: {s.name}: {s.failed}" for s in found["studies"] if s.failed]
    lines += [
        f"{run.status.lower()}: run {run.name}{f': {run.reason}' if run.reason else ''}; its command goes on"
        for run in found["unfinished_runs"][:SHOWN]
    ]
    lines += [f"next: {row.command}  would {row.next}" for row in (*found["studies"], *found["ablations"]) if row.next]
    lines += [f"damaged: {s}; `cvae-pipe verify` checks what a report rests on" for s in found["unreadable"]]
    if found["set_aside"]:
        lines.append(f"set aside: {len(found['set_aside'])} damaged results, built anew: {found['damaged_at']}")
    opened = ", ".join(f"{data} {n} time{'s' * (n != 1)}" for data, n in found["opened"].items())
    if opened:
        lines.append(f"test opened: {opened}")
    used = ", ".join(f"{place} {size / 2**20:,.0f} MB" for place, size in found["bytes"].items() if size)
    return [*lines, f"disk: {used}"] if used else lines
