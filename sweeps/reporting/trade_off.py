"""What a sweep's report says of its trials: the trade-off, why, per class. A Summary -> blocks; nothing is measured."""

import pandas as pd

from pipeline import plots
from pipeline.reporting.blocks import Block, Figure, Section, Table, Text
from pipeline.reporting.citation import Phrase
from pipeline.reporting.sections.classes import class_heat_figure, per_class_section
from sweeps.analysis.hypervolume import hypervolume_history
from sweeps.analysis.importances import importances
from sweeps.analysis.summary import Summary
from sweeps.reporting.cells import cells, metric_cell, trial_link

CURVES_LIMIT = 60

CLASS_COLUMNS = 12
"""Most trials of the front in the heat map of classes."""


def trade_off(summary: Summary) -> tuple[Block, ...]:
    """The front as a table and a figure, and how the hypervolume grew; nothing before a trial is complete."""
    if summary.chosen is None:
        return ()
    blocks: list[Block] = [_front_table(summary)]
    if len(summary.config.objectives) > 1:
        caption = (
            "every complete trial; those of the front carry their number, the star is the choice. "
            "Thin lines: 95 % intervals over images, where there are any"
        )
        figure = plots.pareto(summary.frame, _objectives(summary), set(summary.front), summary.chosen)
        blocks += [Figure("pareto", figure, "Pareto front of the objectives", caption), *_hypervolume(summary)]
    return tuple(blocks)


def _front_table(summary: Summary) -> Table:
    config = summary.config
    columns = ("trial", *(d.name for d in config.space), *(o.name for o in config.objectives), "kl", "bce")
    rows = []
    for number in summary.front:
        row = summary.row(number)
        rows.append((trial_link(number), *cells(config, row), metric_cell(row, "kl"), metric_cell(row, "bce")))
    highlight = frozenset(i for i, n in enumerate(summary.front) if n == summary.chosen)
    caption = "The Pareto front on validation images; the chosen trial stands out."
    return Table(columns, tuple(rows), caption=caption, highlight=highlight)


def _objectives(summary: Summary) -> list[plots.Objective]:
    return [(o.name, o.label, o.direction) for o in summary.config.objectives]


def _params(summary: Summary) -> list[plots.Param]:
    return [(d.name, d.name.replace("_", " "), d.log) for d in summary.config.space]


def _complete(summary: Summary) -> pd.DataFrame:
    return summary.frame[summary.frame["state"] == "complete"]


def _hypervolume(summary: Summary) -> list[Block]:
    complete = _complete(summary)
    if len(complete) < 2 or not summary.outcomes:
        return []
    volumes = hypervolume_history(summary.gains(complete))
    if not volumes[-1]:
        return []  # no trial is better than the worst value in every objective
    numbers = [int(n) for n in complete["number"]]
    rise = next(n for n, v in zip(numbers, volumes, strict=True) if v == volumes[-1])
    return [
        Figure(
            "hypervolume",
            plots.hypervolume_history(numbers, volumes, set(summary.front)),
            "Hypervolume of the front after each trial",
            Phrase(
                "volume that the front dominates, as a share of the box from the worst to the ideal value of every "
                "objective on its physical range: ",
                summary.cited("front/hypervolume", form=".4f"),
                " in the end; trial ",
                trial_link(rise),
                " was the last to add to it",
            ),
        )
    ]


def why(summary: Summary) -> tuple[Block, ...]:
    """What moved the objectives: importances, slices, contours, all settings at once, rate against distortion."""
    complete = _complete(summary)
    if len(complete) < 4:
        return (Text("Too few complete trials to say what matters."),)
    params, objectives, front = _params(summary), _objectives(summary), set(summary.front)
    blocks: list[Block] = []
    importance = importances(complete, summary.config)
    if importance:
        blocks.append(
            Figure(
                "importances",
                plots.importances(importance),
                "Importance of each setting for each objective",
                "share of each objective's variance explained by each setting (fANOVA)",
            )
        )
    blocks.append(
        Figure(
            "slices",
            plots.parameter_slices(complete, params, objectives, front),
            "Each objective against each setting",
            "every complete trial",
        )
    )
    if len(params) > 1:
        x, y = params[:2]
        others = "".join(f" Points differ in {label} as well." for _, label, _ in params[2:])
        blocks.append(
            Figure(
                "contours",
                plots.contours(complete, x, y, objectives, front, summary.chosen),
                f"Each objective over {x[1]} and {y[1]}",
                f"linear interpolation between the {len(complete)} trials (dots), none outside of them; bright is "
                f"better, the front is ringed, the star is the choice.{others} Where dots are few, the colour between "
                "them is a guess",
            )
        )
    blocks.append(
        Figure(
            "parallel",
            plots.parallel_coordinates(complete, params, objectives, front, summary.chosen),
            "Every trial as a line through its settings and objectives",
            "a line per complete trial, from its settings (above) to its objectives (below)",
        )
    )
    if {"kl", "bce", "beta"} <= set(complete.columns):
        blocks.append(
            Figure(
                "rate-distortion",
                plots.rate_distortion(complete, front, summary.chosen),
                "Rate against distortion of every trial",
                "kl (rate) against bce (distortion) on validation images; dashed: equal neg_elbo",
            )
        )
    return tuple(blocks)


def curves(summary: Summary) -> tuple[Block, ...]:
    """Learning curves of the trials, the front highlighted."""
    histories = {f"trial {n}": o.history for n, o in list(summary.outcomes.items())[:CURVES_LIMIT]}
    if not histories:
        return ()
    front = {f"trial {n}" for n in summary.front}
    caption = "neg_elbo on validation images by epoch; the front stands out"
    return (Figure("curves", plots.loss_curves(histories, front), "Learning curves of the trials", caption),)


def per_class(summary: Summary) -> Section:
    """Per class: the first final on test, or the chosen trial, beside the other seeds and the trials of the front."""
    choice = [o for number, o in summary.outcomes.items() if number == summary.chosen]
    shown = [*summary.finals, *choice][:1]
    if not shown:
        return Section("Per class", ())
    section = per_class_section(shown[0])
    front = {f"{n}{' *' * (n == summary.chosen)}": summary.outcomes[n] for n in summary.front if n in summary.outcomes}
    seeds = {str(o.config.train.seed): o for o in summary.finals}
    heat = [
        *class_heat_figure("front", dict(list(front.items())[:CLASS_COLUMNS]), "trial of the front (* the choice)"),
        *class_heat_figure("seeds", dict(list(seeds.items())[:CLASS_COLUMNS]), "training seed of the choice"),
    ]
    return Section(section.title, (*section.blocks, *heat) if section.blocks else ())
