"""Commands that keep a home in order: rm, gc, doctor, pack, unpack."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli import completion
from pipeline.cli.answers import print_json
from pipeline.cli.help import examples
from pipeline.cli.options import Json
from pipeline.cli.session import found, refusals_in_one_line, say, short, suggest

if TYPE_CHECKING:
    from sweeps.keeping.removal import RemovalPlan

SHOWN = 20
"""Lines of a plan that are shown; of more it says how many."""
MEGA = 2**20
TOGETHER = {Path(".cache", "store"): 3, Path("mlruns", "artifacts"): 3}
"""Places whose folders are one line -> how much of a path names it."""

Yes = Annotated[bool, typer.Option("--yes", "-y", help="Remove it; without it, only say what would go.")]


@examples("cvae-pipe rm demo", "cvae-pipe rm demo --yes", "cvae-pipe rm digits-cvae-beta4-z20 --yes --json")
def rm(
    names: Annotated[
        list[str],
        typer.Argument(
            help="Studies, ablations, runs (or their keys), comparisons.", autocompletion=completion.removable
        ),
    ],
    yes: Yes = False,
    json_: Json = False,
) -> None:
    """Remove a study, an ablation, a run or a comparison: what others need stays. Says what would go, until --yes."""
    from pipeline import api

    with refusals_in_one_line():
        plan = api.remove(names, dry_run=not yes)
    _show(plan, done=yes, json_=json_, command=shlex.join(["rm", *names]))


@examples("cvae-pipe gc", "cvae-pipe gc --yes", "cvae-pipe gc --days 0 --json")
def gc(
    days: Annotated[float, typer.Option(help="Leave alone what was made within so many days.", min=0)] = 7,
    yes: Yes = False,
    json_: Json = False,
) -> None:
    """Remove what no study, run or report needs: old results, leftovers of kills, MLflow's trash. Dry until --yes."""
    from pipeline import api

    with refusals_in_one_line():
        plan = api.collect(days=days, dry_run=not yes)
    _show(plan, done=yes, json_=json_, command="gc" if days == 7 else f"gc --days {days:g}")


SIGNS = {"ok": "ok", "note": "note", "warning": "beware", "wrong": "WRONG"}


@examples("cvae-pipe doctor", "cvae-pipe doctor --thorough", "cvae-pipe doctor --json")
def doctor(
    thorough: Annotated[bool, typer.Option("--thorough", help="Hash every stored file.")] = False,
    json_: Json = False,
) -> None:
    """Say what is wrong with the installation and this home, and the command that mends it; exit code 1 if anything is.

    Looks at packages, permissions, stores, studies, data, reports, the tracker and proxies; changes nothing.
    """
    from pipeline import api

    diagnosis = api.doctor(thoroughly=thorough)
    code = 0 if diagnosis.well else 1
    if json_:
        print_json(diagnosis.document() | {"exit_code": code})
    else:
        for finding in diagnosis.findings:
            print(f"{SIGNS[finding.state]:<7} {finding.check}: {finding.said}")
            if finding.mend:
                print(f"{'':<7} -> {finding.mend}")
    raise typer.Exit(code)


@examples("cvae-pipe pack demo demo.zip", "cvae-pipe pack mnist mnist.zip --no-data --json")
def pack(
    study: Annotated[str, typer.Argument(help="A study.", autocompletion=completion.studies)],
    out: Annotated[Path, typer.Argument(help="The zip file to write.")],
    data: Annotated[bool, typer.Option("--data/--no-data", help="With the prepared images, or without them.")] = True,
    json_: Json = False,
) -> None:
    """Write a study into one zip file: results, ledger, report, MLflow's runs; a colleague unpacks it."""
    from pipeline import api

    with refusals_in_one_line():
        packed = api.pack(study, out, data=data)
    if json_:
        print_json(packed.document() | {"name": study, "paths": {"pack": str(packed.path)}})
        return
    found(
        f"packed: {packed.results} results, {packed.runs} runs of MLflow, {packed.bytes / MEGA:,.1f} MB: {packed.path}"
    )
    suggest(f"cvae-pipe unpack {shlex.quote(str(packed.path))}  (in another home)")


@examples("cvae-pipe unpack demo.zip", "cvae-pipe unpack demo.zip --json")
def unpack(
    path: Annotated[Path, typer.Argument(help="A zip file that `cvae-pipe pack` wrote.")],
    most_gb: Annotated[float, typer.Option(help="Refuse a pack that would take more than this.", min=0)] = 20,
    json_: Json = False,
) -> None:
    """Take a packed study into this home: it verifies, reports and goes on here. Nothing in the file is executed."""
    from pipeline import api

    with refusals_in_one_line():
        taken = api.unpack(path, most_gb=most_gb, say=say)
    if json_:
        paths = {"report": str(taken.report)} if taken.report else {}
        print_json(taken.document() | {"name": taken.study, "paths": paths})
        return
    if taken.was_here:
        found(f"study {taken.study} is here already; nothing was done")
    else:
        found(f"unpacked study {taken.study}: {taken.results} results, {taken.runs} runs of MLflow")
    if taken.runs:
        say("its choice is no registered model here yet; `sync` packages it, which takes torch and MLflow")
        suggest(f"cvae-pipe sync {shlex.quote(taken.study)} --all")
    if taken.report:
        found(f"report: {taken.report}")
        suggest(f"cvae-pipe verify {shlex.quote(short(Path(taken.report).parent))}")


def _show(plan: "RemovalPlan", *, done: bool, json_: bool, command: str) -> None:
    if json_:
        print_json(plan.document() | {"removed": done})
        return
    for name in plan.studies:
        print(f"ledger: study {name}")
    if plan.records:
        print(f"MLflow: {len(plan.records)} runs")
    for line in _lines(plan):
        print(line)
    for note in plan.notes:
        print(note)
    if plan.empty:
        found("nothing to remove")
    elif done:
        found(f"removed: {_many(plan)}, {plan.bytes / MEGA:,.1f} MB")
    else:
        found(f"would remove {_many(plan)}, {plan.bytes / MEGA:,.1f} MB; nothing is touched yet")
        suggest(f"cvae-pipe {command} --yes")


def _many(plan: "RemovalPlan") -> str:
    return "1 file or folder" if len(plan.items) == 1 else f"{len(plan.items)} files and folders"


def _lines(plan: "RemovalPlan") -> list[str]:
    """The items of a plan: results of the store by stage, MLflow's files together, everything else one by one."""
    grouped: dict[Path, list[int]] = {}
    for item in plan.items:
        place = Path(item.path)
        together = next((depth for root, depth in TOGETHER.items() if place.is_relative_to(root)), len(place.parts))
        grouped.setdefault(Path(*place.parts[:together]), []).append(item.bytes)
    rows = [
        f"{where}: {f'{len(sizes)} folders, ' if len(sizes) > 1 else ''}{sum(sizes) / MEGA:,.1f} MB"
        for where, sizes in grouped.items()
    ]
    return rows if len(rows) <= SHOWN else [*rows[:SHOWN], f"and {len(rows) - SHOWN} more; --json lists them"]
