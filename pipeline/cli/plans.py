"""What --dry-run shows: a plan, for people or as JSON."""

from dataclasses import asdict
from typing import TYPE_CHECKING

from pipeline.cli.session import print_json

if TYPE_CHECKING:
    from pipeline.runs.planning import Plan


def show_plan(plan: "Plan", *, json_: bool = False) -> None:
    """The plan on stdout; nothing was written to make it."""
    if json_:
        print_json({"kind": "plan", **asdict(plan)})
        return
    for line in plan.lines():
        print(line)
