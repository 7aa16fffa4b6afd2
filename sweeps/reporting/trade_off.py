"""The trade-off that a study found: its front, and how that grew. A Summary -> blocks; nothing is measured."""

from pipeline import plots
from pipeline.evaluation.catalog import directed
from pipeline.reporting.blocks import Block, Figure, Table
from pipeline.reporting.citation import Phrase
from sweeps.analysis.summary import Summary
from sweeps.reporting.cells import cells, complete_trials, metric_cell, objective_axes, trial_link, with_beta
from sweeps.reporting.large import shown_trials
from sweeps.study.hypervolume import hypervolume_history


def trade_off(summary: Summary) -> tuple[Block, ...]:
    """The front as a table and a figure, and how the hypervolume grew; nothing before a trial is complete."""
    if summary.chosen is None:
        return ()
    blocks: list[Block] = [_front_table(summary)]
    if len(summary.config.objectives) > 1:
        caption = (
            f"every complete trial, better towards the arrows; {_numbered(summary)} carry their number, the star is "
            "the choice. Thin lines: 95 % intervals over images, where there are any"
        )
        figure = plots.pareto(
            with_beta(summary, summary.frame), objective_axes(summary), set(summary.front), summary.chosen
        )
        blocks += [Figure("pareto", figure, "Pareto front of the objectives", caption), *_hypervolume(summary)]
    return tuple(blocks)


def _numbered(summary: Summary) -> str:
    most = plots.NUMBERED
    return "those of the front" if len(summary.front) <= most else f"{most} of the {len(summary.front)} of the front"


def _front_table(summary: Summary) -> Table:
    config = summary.config
    distortions = [name for name in ("bce", "distortion") if name in summary.frame]
    measured = [directed(name) for name in (*(o.name for o in config.objectives), "kl", *distortions)]
    columns = ("trial", *(d.name for d in config.space), *measured)
    rows = []
    on_wall = set(shown_trials(summary))
    shown = [n for n in summary.front if n in on_wall]
    for number in shown:
        row = summary.row(number)
        rows.append((trial_link(number), *cells(config, row), *(metric_cell(row, n) for n in ("kl", *distortions))))
    highlight = frozenset(i for i, n in enumerate(shown) if n == summary.chosen)
    caption = "The Pareto front on validation images; the chosen trial stands out."
    if len(shown) < len(summary.front):
        caption += f" {len(shown)} of its {len(summary.front)} trials, those of the wall."
    return Table(columns, tuple(rows), caption=caption, highlight=highlight)


def _hypervolume(summary: Summary) -> list[Block]:
    complete = complete_trials(summary)
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
                trial_link(rise) if rise in shown_trials(summary) else str(rise),
                " was the last to add to it",
            ),
        )
    ]
