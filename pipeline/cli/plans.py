"""What --dry-run shows: a plan, for people or as JSON."""

import shlex
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING

from pipeline.cli.answers import print_json
from pipeline.cli.session import suggest

if TYPE_CHECKING:
    from pipeline.runs.planning import Plan


def show_plan(*plans: "Plan", json_: bool = False) -> None:
    """Plans on stdout; nothing was written to make them."""
    if json_:
        print_json({"kind": "plan", "plans": [{**asdict(plan), "seconds": plan.seconds} for plan in plans]})
        return
    for plan in plans:
        for line in plan.lines():
            print(line)
    if any(plan.to_do for plan in plans):
        suggest(shlex.join(["cvae-pipe", *(word for word in sys.argv[1:] if word != "--dry-run")]))
