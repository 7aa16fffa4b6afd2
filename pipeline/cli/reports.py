"""Commands of reports: written anew, and checked against the store."""

from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.options import Json, examples
from pipeline.cli.session import print_json, refusals_in_one_line, say, short, suggest
from pipeline.errors import ReportError
from pipeline.store.home import Home


@examples("cvae-pipe report demo", "cvae-pipe report mnist-cvae-beta1-z20-1f2e3d4c")
def report(
    name: Annotated[str, typer.Argument(help="A study, an ablation, or a run's name or key (or the beginning).")],
) -> None:
    """Write the report of a finished study, ablation or run anew, from stored results."""
    from pipeline import api

    with refusals_in_one_line():
        path = api.rebuild_report(name)
        say(f"report: {path}")
        suggest(f"cvae-pipe verify {short(path)}")


@examples("cvae-pipe verify reports/demo/report.html", "cvae-pipe verify reports/demo --json")
def verify(
    report: Annotated[Path, typer.Argument(help="A report.html, or the folder it is in.")],
    json_: Json = False,
) -> None:
    """Derive every number of a report from the store; exit code 1 if it drifted or was changed, 3 if made elsewhere."""
    if not report.exists():  # known at once; what follows loads for seconds
        raise ReportError(f"{report} is not there; name a report.html, or the folder it is in")
    from sweeps.reporting.verify import verify as verify_report

    with refusals_in_one_line():
        found = verify_report(Home.from_environment(), report)
    if json_:
        print_json(found.document())
    else:
        for drift in found.drifted:
            print(f"{drift.where}: shown {drift.shown}, stored {drift.stored}")
        for sentence in found.damaged:
            print(sentence)
        print(f"{found.numbers} numbers re-derived, {len(found.drifted)} drifted")
    raise typer.Exit(0 if found.sound else 1)
