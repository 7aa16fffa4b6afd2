"""The command that lists what is in a home: runs, studies, ablations, each with what differs and what it scored."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.cli.answers import print_json
from pipeline.cli.help import examples
from pipeline.cli.options import Json
from pipeline.cli.session import refusals_in_one_line, say
from pipeline.cli.status import columns, when
from pipeline.errors import ConfigError
from pipeline.runs.listing import OBJECTIVES
from pipeline.store.home import Home

if TYPE_CHECKING:
    from pipeline.runs.listing import ListedRun
    from sweeps.listing import ListedAblation, ListedStudy

KINDS = ("runs", "studies", "ablations")
SHOWN = 20
"""Of each kind, unless all are asked for."""


def _kinds(incomplete: str) -> list[str]:
    return [kind for kind in KINDS if kind.startswith(incomplete)]


@examples("cvae-pipe ls", "cvae-pipe ls runs --tag paper=yes", "cvae-pipe ls studies --json")
def ls(
    kind: Annotated[
        str | None, typer.Argument(help="runs, studies or ablations; by default all three.", autocompletion=_kinds)
    ] = None,
    tag: Annotated[
        list[str] | None, typer.Option(metavar="KEY[=VALUE]", help="Only runs with this tag; repeatable.")
    ] = None,
    all_: Annotated[bool, typer.Option("--all", help=f"List everything, not the {SHOWN} newest of a kind.")] = False,
    json_: Json = False,
) -> None:
    """List runs, studies and ablations, newest first: what differs, what they score, when, how long."""
    if kind is not None and kind not in KINDS:
        raise ConfigError(f"{kind!r} is nothing that can be listed; it must be one of {', '.join(KINDS)}")
    if tag and kind not in (None, "runs"):
        raise ConfigError(f"--tag is of runs; {kind} have none")
    asked = ("runs",) if tag else (kind,) if kind else KINDS
    home = Home.from_environment()
    with refusals_in_one_line():
        found = {name: _listed(home, name) for name in asked}
    if tag:
        found["runs"] = [run for run in found["runs"] if all(_has(run.tags, entry) for entry in tag)]
    if json_:
        print_json({k: [asdict(row) for row in rows] for k, rows in found.items()})
        return
    for name, rows in found.items():
        shown = rows if all_ else rows[:SHOWN]
        for line in LINES[name](shown):
            print(line)
        if len(shown) < len(rows):
            print(f"and {len(rows) - len(shown)} more {name}; --all lists them")
        if shown and name != asked[-1] and any(found[later] for later in asked[asked.index(name) + 1 :]):
            print()
    if not any(found.values()):
        what = f"no {kind or 'runs'} with such a tag" if tag else f"no {kind}" if kind else "nothing"
        say(f"{what} here yet; `cvae-pipe run --dataset digits` makes a first run")


def _listed(home: Home, kind: str) -> list[Any]:
    """What there is of a kind, newest first."""
    if kind == "runs":
        from pipeline.runs.listing import opened_runs

        return opened_runs(home)
    from sweeps import listing

    return listing.studies(home) if kind == "studies" else listing.ablations(home)


def _has(tags: dict[str, str], entry: str) -> bool:
    name, equals, value = entry.partition("=")
    return name in tags and (not equals or tags[name] == value)


def run_lines(runs: "list[ListedRun]") -> list[str]:
    """Two lines each: its name, its objectives on test, how long it took and when; what it has that is no default."""
    from pipeline.evaluation.catalog import METRICS, show
    from pipeline.runs.names import setting_words

    titles = ("run, on test", *(f"{short} {METRICS[o].arrow}" for short, o in SHORT.items()), "seconds", "UTC")
    rows = [
        (
            run.name,
            *(show(run.metrics[o]) if o in run.metrics else "-" for o in OBJECTIVES),
            f"{run.seconds:.0f}",
            when(run.finished),
        )
        for run in runs
    ]
    notes = []
    for run in runs:
        tags = [f"{name}={value}" for name, value in run.tags.items()]
        said = [setting_words(run.differs, most=6) or "defaults", *tags, *([f'"{run.note}"'] if run.note else ())]
        notes.append(f"{run.key[:8]}  {'; '.join(said)}")
    return columns(titles, rows, notes)


SHORT = dict(zip(("accuracy", "coverage", "neg_elbo"), OBJECTIVES, strict=True))


def study_lines(studies: "list[ListedStudy]") -> list[str]:
    """Two lines each: how far it is and when it last moved; what it searches, and the best of each objective so far."""
    from pipeline.evaluation.catalog import show

    titles = ("study", "data", "trials", "last trial")
    rows = [
        (s.name, s.dataset, ", ".join(f"{n} {state}" for state, n in s.states.items()), when(s.last)) for s in studies
    ]
    notes = []
    for study in studies:
        best = ", ".join(f"{name} {show(value)}" for name, value in study.best.items())
        notes.append(f"searches {', '.join(study.space)}{f'; best so far: {best}' if best else ''}")
    return columns(titles, rows, notes)


def ablation_lines(ablations: "list[ListedAblation]") -> list[str]:
    """A line each."""
    rows = [
        (a.name, a.dataset, a.setting, ", ".join(f"{v:g}" for v in a.values), f"{a.done} of {a.cells}", when(a.begun))
        for a in ablations
    ]
    return columns(("ablation", "data", "setting", "values", "cells", "begun"), rows)


LINES: dict[str, Any] = {"runs": run_lines, "studies": study_lines, "ablations": ablation_lines}
