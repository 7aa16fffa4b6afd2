"""The report of studies side by side: what they reached, their fronts in one plot, their choices as pairs."""

import shlex
import time
from pathlib import Path

from pipeline import plots
from pipeline.evaluation.catalog import directed
from pipeline.reporting.about import data_words, day, ran_on
from pipeline.reporting.blocks import Block, Figure, Report, Section, Table, Text
from pipeline.reporting.citation import Phrase
from pipeline.reporting.comparison import images, pairs
from pipeline.reporting.index import Card
from pipeline.reporting.sections.reproduce import reproduce_section
from pipeline.reporting.writing import NUMBERS, write_report
from pipeline.store.files import write_json
from pipeline.store.home import Home
from sweeps.analysis.comparison import Reach, StudyComparison
from sweeps.reporting.answer import joined
from sweeps.reporting.cells import metric_cell


def write_study_comparison(home: Home, comparison: StudyComparison) -> Path:
    """reports/compare-<study>-<study>/report.md and report.html; the path of the html."""
    folder = home.reports / "-".join(["compare", *comparison.names])[:200]
    first = comparison.choices[0]
    date = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    card = Card("comparison", first.config.data.name, date, first.picture)
    _, html = write_report(study_comparison_report(comparison), folder, card)
    write_json(folder / NUMBERS, comparison.document())
    return html


def study_comparison_report(comparison: StudyComparison) -> Report:
    """The whole report."""
    first = comparison.choices[0]
    command = f"cvae-pipe compare {' '.join(map(shlex.quote, comparison.names))} --html"
    return Report(
        title=f"Studies {' and '.join(comparison.names)}",
        subtitle=f"fronts on validation images, choices on {first.split} images",
        about=(
            ("for", ", ".join(directed(o.name) for o in comparison.objectives)),
            ("data", data_words(first)),
            ("finished", "; ".join(f"{one.name} {_last(one)}" for one in comparison.reached)),
            *ran_on([run for one in comparison.reached for run in one.summary.outcomes.values()]),
        ),
        sections=(
            Section("What they reached", (Text(answer(comparison), lead=True), reached(comparison))),
            Section("What differs", (differences(comparison),)),
            Section("Fronts", _fronts(comparison)),
            Section("Images of the choices", images(comparison.choices, comparison.pairs, comparison.names)),
            Section("Choices in pairs", (pairs(comparison.pairs, comparison.choices), Text(comparison.pairs.caveat))),
            reproduce_section(command, first),
        ),
    )


def _last(one: Reach) -> str:
    """When the last trial of a study was finished."""
    return day(max((run.finished for run in one.summary.outcomes.values()), default=""))


def answer(comparison: StudyComparison) -> str:
    """Who reached more, in a sentence; a claim about how to search needs several seeds of each."""
    ordered = sorted(comparison.reached, key=lambda one: one.volume, reverse=True)
    best, *others = ordered
    than = joined([Phrase(_volume(one), f" ({one.name}, {one.summary.finished} trials)") for one in others])
    if not best.volume:
        return "No trial of any of them is better than the worst value that means something in every objective."
    if best.volume == others[0].volume:
        return Phrase("The fronts dominate the same share of the box of objectives: ", _volume(best), ".")
    return Phrase(
        f"{best.name} reached the larger front: hypervolume ", _volume(best),
        f" after {best.summary.finished} trials, against ", than, "; one search each, so chance has its part in it.",
    )  # fmt: skip


def _volume(one: Reach) -> str:
    """The hypervolume, with its source where the shared objectives are the study's own."""
    own = one.summary
    if one.volumes and one.front == own.front and one.volume == own.quantity("front/hypervolume"):
        return own.cited("front/hypervolume", form=".4f")
    return f"{one.volume:.4f}"


def reached(comparison: StudyComparison) -> Table:
    """A row a study: how far it came, and its choice."""
    rows = []
    for one in comparison.reached:
        assert one.summary.chosen is not None
        row = one.summary.row(one.summary.chosen)
        scores = (metric_cell(row, o.name) for o in comparison.objectives)
        counts = str(one.summary.finished), str(len(one.front))
        rows.append((one.name, *counts, _volume(one), f"trial {row['number']}", *scores))
    names = (directed(o.name) for o in comparison.objectives)
    return Table(
        ("study", "trials", "on the front", "hypervolume ↑", "choice", *names),
        tuple(rows),
        caption=(
            "Hypervolume: what the front dominates of the box from the worst to the best value that mean something, "
            "over the objectives that all have. The choice with its scores on validation images."
        ),
    )


def differences(comparison: StudyComparison) -> Table:
    """What makes them other studies."""
    rows = tuple((name, *values) for name, values in comparison.differs)
    return Table(("setting", *comparison.names), rows, caption="Settings and spaces that are not the same in all.")


def _fronts(comparison: StudyComparison) -> tuple[Block, ...]:
    axes = [(o.name, o.label, o.direction) for o in comparison.objectives]
    found = [(one.name, one.summary.frame, set(one.front), one.summary.chosen) for one in comparison.reached]
    blocks: list[Block] = []
    if len(axes) > 1:
        figure = plots.fronts_together(found, axes)
        caption = "every complete trial, a colour a study; those on its front are filled, the star is its choice"
        blocks.append(Figure("fronts", figure, "Fronts of the studies in one plot", caption))
    volumes = [(one.name, list(one.numbers), list(one.volumes)) for one in comparison.reached if one.numbers]
    blocks.append(
        Figure(
            "hypervolumes",
            plots.hypervolumes_together(volumes),
            "Hypervolume of each study after each trial",
            "what the trials so far dominate; trials that were stopped early add nothing",
        )
    )
    return tuple(blocks)
