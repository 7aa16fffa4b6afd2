"""Commands of reports: written anew, and checked against the store."""

import shlex
from typing import Annotated

import typer

from pipeline.cli import completion
from pipeline.cli.options import Json, examples
from pipeline.cli.session import print_json, refusals_in_one_line, say, short, suggest
from pipeline.store.home import Home


@examples("cvae-pipe report demo", "cvae-pipe report @last", "cvae-pipe report reports/demo/report.html")
def report(
    name: Annotated[
        str,
        typer.Argument(
            help="A study, an ablation or a run: its name, the beginning of it, a run's key, a report's folder, @last "
            "or @best.",
            autocompletion=completion.things,
        ),
    ],
) -> None:
    """Write the report of a finished study, ablation or run anew, from stored results."""
    from pipeline import api

    with refusals_in_one_line():
        path = api.rebuild_report(name)
        say(f"report: {path}")
        suggest(f"cvae-pipe verify {shlex.quote(short(path))}")


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
        found = verify_report(home, page)
    if json_:
        print_json(found.document())
    else:
        for drift in found.drifted:
            print(f"{drift.where}: shown {drift.shown}, stored {drift.stored}")
        for sentence in found.damaged:
            print(sentence)
        print(f"{found.numbers} numbers re-derived, {len(found.drifted)} drifted")
    raise typer.Exit(0 if found.sound else 1)
