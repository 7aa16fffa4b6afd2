"""Scores per class of a study: of the choice, and of trials and seeds side by side. A Summary -> blocks."""

from collections.abc import Mapping

import numpy as np

from pipeline import plots
from pipeline.reporting.blocks import Block, Figure
from pipeline.reporting.sections.classes import classes_section
from pipeline.runs.outcome import Outcome
from pipeline.wording import shortened
from sweeps.analysis.summary import Summary

COLUMNS = 12
"""Most trials, or seeds, in one heat map."""


def per_class(summary: Summary) -> tuple[Block, ...]:
    """The first final on test, or the chosen trial, beside the other seeds and the trials of the front."""
    choice = [o for number, o in summary.outcomes.items() if number == summary.chosen]
    shown = [*summary.finals, *choice][:1]
    blocks = classes_section(shown[0]).blocks if shown else ()
    if not blocks:
        return ()
    front = {f"{n}{' *' * (n == summary.chosen)}": summary.outcomes[n] for n in summary.front if n in summary.outcomes}
    seeds = {str(o.config.train.seed): o for o in summary.finals}
    return (
        *blocks,
        *class_heat("front", dict(list(front.items())[:COLUMNS]), "trial of the front (* the choice)"),
        *class_heat("seeds", dict(list(seeds.items())[:COLUMNS]), "training seed of the choice"),
    )


def class_heat(name: str, outcomes: Mapping[str, Outcome], what: str) -> list[Block]:
    """Accuracy and coverage per class of several outcomes of one split side by side; nothing for fewer than two.

    The keys are the columns' labels, `what` says what they are.
    """
    tables = {label: o.per_class["table"] for label, o in outcomes.items() if o.per_class is not None}
    if len(tables) < 2:
        return []
    splits = {outcome.split for outcome in outcomes.values()}
    assert len(splits) == 1, f"numbers of {splits} are not compared"
    scores = {
        label: np.column_stack([table[column] for table in tables.values()])
        for column, label in (
            ("conditional_accuracy", "conditional accuracy (images read as asked), %"),
            ("coverage", "coverage (real images with a generated one nearby), %"),
        )
        if all(column in table for table in tables.values())
    }
    classes = [shortened(c) for c in next(iter(tables.values()))["class"]]
    rows = plots.worst_of(next(iter(scores.values())).mean(1).tolist())
    few = f"the {len(rows)} worst of {len(classes)} classes; " * (len(rows) < len(classes))
    return [
        Figure(
            f"classes-{name}",
            plots.class_heat(
                [classes[i] for i in rows],
                list(tables),
                {label: np.asarray(values, float)[rows] for label, values in scores.items()},
                what,
            ),
            f"Heat map of accuracy and coverage, class by {what}",
            f"{few}per cent on the {splits.pop()} split; dark is high, which is better; each map on a scale of its own",
        )
    ]
