"""Commands of reports: written anew, and checked against the store."""

import shlex
from typing import Annotated, Any

import typer

from pipeline.cli import completion
from pipeline.cli.answers import print_json
from pipeline.cli.help import examples
from pipeline.cli.options import Json
from pipeline.cli.session import found, refusals_in_one_line, say, short, suggest
from pipeline.cli.terminal.waiting import slow
from pipeline.store.home import Home


@examples("cvae-pipe report demo", "cvae-pipe report @last", "cvae-pipe report reports/demo/report.html")
def report(
    name: Annotated[
        str,
        typer.Argument(
            help="A study, an ablation or a run: its name, the beginning of it, a run's key, a report's folder, @last "
            "or @best (of all runs by test scores).",
            autocompletion=completion.things,
        ),
    ],
    json_: Json = False,
) -> None:
    """Write the report of a finished study, ablation or run anew, from stored results."""
    from pipeline import api

    with refusals_in_one_line():
        with slow(say, "drawing and writing the report"):
            path = api.rebuild_report(name)
        if json_:
            print_json(_named(name) | {"report": str(path), "paths": {"report": str(path)}})
            return
        found(f"report: {short(path)}")
        suggest(f"cvae-pipe verify {shlex.quote(short(path))}")


def _named(name: str) -> dict[str, Any]:
    """What a report is of, and the key of that."""
    from sweeps.finding import find
    from sweeps.study.ablation import ablation_key, stored_ablations
    from sweeps.study.config import study_key

    home = Home.from_environment()
    thing = find(home, name)
    key = thing.key[:16]
    if thing.kind == "study":
        key = study_key(thing.name)
    elif thing.kind == "ablation":
        key = ablation_key(stored_ablations(home)[thing.name])
    return {"of": thing.kind, "name": thing.name, "key": key}


@examples("cvae-pipe verify reports/demo", "cvae-pipe verify demo --json", "cvae-pipe verify @last")
def verify(
    report: Annotated[
        str,
        typer.Argument(
            help="A report.html, the folder it is in, or the name of what it is of; @last is the newest report.",
            autocompletion=completion.things,
        ),
    ],
    json_: Json = False,
) -> None:
    """Derive every number of a report from the store; exit code 1 if it drifted or was changed, 3 if made elsewhere."""
    from sweeps.finding import find_page

    home = Home.from_environment()
    page = find_page(home, report)  # known at once; what follows loads for seconds
    from sweeps.reporting.verify import verify as verify_report

    with refusals_in_one_line():
        checked = verify_report(home, page)
    code = 0 if checked.sound else 1
    if json_:
        print_json(checked.document() | {"name": page.parent.name, "paths": {"report": str(page)}, "exit_code": code})
    else:
        for drift in checked.drifted:
            print(f"{drift.where}: shown {drift.shown}, stored {drift.stored}")
        for sentence in checked.damaged:
            print(sentence)
        print(f"{checked.numbers} numbers re-derived, {len(checked.drifted)} drifted")
    raise typer.Exit(code)
