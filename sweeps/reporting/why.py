"""Why the trials of a study differ: what each setting does to each objective. A Summary -> blocks."""

import pandas as pd

from pipeline import plots
from pipeline.evaluation.catalog import of_likelihood
from pipeline.reporting.blocks import Block, Figure, Text
from pipeline.wording import listed
from sweeps.analysis.importances import MOST_TRIALS, ORDERS, importances
from sweeps.analysis.summary import Summary
from sweeps.reporting.cells import complete_trials, objective_axes, setting_axes, with_beta
from sweeps.study.config import likelihood_searched

CURVES_LIMIT = 60
"""Most trials in the figure of learning curves."""


def why(summary: Summary) -> tuple[Block, ...]:
    """What moved the objectives: importances, slices, contours, all settings at once, rate against distortion."""
    complete = with_beta(summary, complete_trials(summary))
    if len(complete) < 4:
        return (Text("Too few complete trials to say what matters."),)
    params, objectives, front = setting_axes(summary), objective_axes(summary), set(summary.front)
    blocks: list[Block] = []
    importance = importances(complete, summary.config)
    if importance:
        shares = {name: found.shares for name, found in importance.items()}
        noise = {name: found.noise for name, found in importance.items()}
        some = f", on {MOST_TRIALS} trials evenly over the study" if len(complete) > MOST_TRIALS else ""
        blocks.append(
            Figure(
                "importances",
                plots.importances(shares, noise),
                "Importance of each setting for each objective",
                f"share of each objective's variance explained by each setting (fANOVA{some}); the mark is the most "
                f"that any setting explains of the objective's values shuffled, {ORDERS} times: pale shares are no "
                "more than noise has",
            )
        )
    blocks.append(
        Figure(
            "slices",
            plots.parameter_slices(complete, params, objectives, front),
            "Each objective against each setting",
            "every complete trial; ↑ higher and ↓ lower is better",
        )
    )
    x, y, *_ = [*(p for p in params if pd.api.types.is_numeric_dtype(complete[p[0]])), None, None]
    if x and y:  # between two values that are no numbers there is nothing
        rest = [p[1] for p in params if p not in (x, y)]
        others = f" Points differ in {listed(rest)} as well." if rest else ""
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
    distortion = of_likelihood("bce", summary.config.base.model.likelihood)
    if {"kl", distortion, "beta"} <= set(complete.columns) and not likelihood_searched(summary.config):
        blocks.append(
            Figure(
                "rate-distortion",
                plots.rate_distortion(complete, front, summary.chosen),
                "Rate against distortion of every trial",
                f"kl (rate) against {distortion} on validation images; dashed: equal neg_elbo, "
                "their sum: the further to the lower left, the better",
            )
        )
    return tuple(blocks)


def curves(summary: Summary) -> tuple[Block, ...]:
    """Learning curves of the trials, the front highlighted."""
    histories = {f"trial {n}": o.history for n, o in list(summary.outcomes.items())[:CURVES_LIMIT]}
    if not histories or likelihood_searched(summary.config):  # their nats are not of one quantity
        return ()
    front = {f"trial {n}" for n in summary.front}
    caption = "neg_elbo on validation images by epoch, lower is better; the front stands out"
    return (Figure("curves", plots.loss_curves(histories, front), "Learning curves of the trials", caption),)
