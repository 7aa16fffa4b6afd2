"""The answer of a study: the choice with its intervals, and one sentence on beta."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pipeline.evaluation.catalog import directed
from pipeline.evaluation.statistics import FEWEST_SEEDS, holm, rank_correlation
from pipeline.reporting.blocks import Block, Facts, Table, Text
from pipeline.reporting.cautions import cautions
from pipeline.reporting.citation import Phrase, cited, cited_interval, cited_share, cited_spread
from pipeline.reporting.prior import prior_lines
from pipeline.runs.outcome import Outcome
from pipeline.wording import listed
from sweeps.analysis.summary import Summary
from sweeps.reporting.cells import is_headline, metric_cell, param_cell, trial_link
from sweeps.reporting.choice import how_chosen

DECIDED = 0.05
"""Chance that any of the correlations that are called one is none."""

FEWEST = 4
"""Complete trials below which nothing is said of a tendency."""


def answer(summary: Summary) -> tuple[Block, ...]:
    config = summary.config
    if summary.chosen is None:
        return (Text(Phrase("No trial is complete yet (", states(summary) or "none was begun", ").")),)
    row = summary.row(summary.chosen)
    params = joined([Phrase(f"{d.name} ", param_cell(config, row, d)) for d in config.space])
    chosen = Phrase("Trial ", trial_link(summary.chosen), " is the choice: ", params, ".")
    blocks: list[Block] = [Text(Phrase(chosen, *_reaches(summary)), lead=True)]
    if summary.champion is not None:
        blocks += [Text(sentence, caution=True) for sentence in cautions(summary.champion)]
    blocks.append(_objectives(summary, row))
    tendency = beta_sentence(summary)
    if tendency:
        blocks.append(Text(tendency))
    if summary.finals:
        blocks.append(finals_table(summary))
    blocks += how_chosen(summary)
    if summary.champion is not None:
        blocks += prior_lines(summary.champion)
    return tuple(blocks)


def states(summary: Summary) -> str:
    """How many trials there are of each state."""
    counts = [(str(state), f"trials/{state}") for state in summary.frame["state"].unique()]
    return joined([Phrase(summary.cited(key, form="d"), f" {state}") for state, key in counts])


def _reaches(summary: Summary) -> tuple[str, ...]:
    """What the choice scores on images that no search has seen; nothing before it was opened, or without labels."""
    finals = summary.finals
    if not finals:
        return ()
    accuracy, coverage = (finals[0].scored(name) for name in ("conditional_accuracy", "coverage_relative"))
    if accuracy not in finals[0].metrics:
        return ()
    read = cited_share(finals, accuracy, "mean")
    real = cited_share(finals[0], "test/judge_accuracy")
    said = (" ", read, " of its images are read as the label that was asked for (real test images: ", real, ")")
    if coverage not in finals[0].metrics:
        return (*said, ".")
    return (*said, "; they reach ", cited(finals, coverage, "mean", form=".0%"), " of the coverage of real images.")


def _objectives(summary: Summary, row: Mapping[Any, Any]) -> Facts:
    """The objectives of the choice: on test, over seeds, once it is trained again; else the trial's own."""
    finals, objectives = summary.finals, summary.config.objectives
    better = [f"{'higher' if o.maximise else 'lower'} is better" for o in objectives]
    if not finals:
        pairs = tuple((directed(f"val/{o.name}"), metric_cell(row, o.name)) for o in objectives)
        return Facts(pairs, tuple(f"{way}; one training, on validation images" for way in better))
    pairs = tuple((directed(f"test/{o.name}"), cited_spread(finals, f"test/{o.name}")) for o in objectives)
    seeds = f"mean ± sd of {len(finals)} seeds" if len(finals) > 1 else "one training"
    intervals = [cited_interval(finals, f"test/{o.name}") for o in objectives]
    notes = (
        Phrase(f"{way}; {seeds}", *(("; 95 % ", interval) if interval != "-" else ()))
        for way, interval in zip(better, intervals, strict=True)
    )
    return Facts(pairs, tuple(notes))


def joined(parts: list[Phrase], between: str = ", ") -> Phrase:
    """Phrases with commas between, their numbers still cited."""
    return Phrase(*[piece for part in parts for piece in (between, part)][1:])


def beta_sentence(summary: Summary) -> str:
    """What beta goes with in this sweep: rank correlations over the complete trials, and over the lower and the upper
    half of their betas, since a hump rises and falls; "" where beta was not varied."""
    names = [d.name for d in summary.config.space]
    outcomes = sorted(summary.outcomes.values(), key=lambda outcome: outcome.config.train.beta)
    if "beta" not in names or len(outcomes) < FEWEST:
        return ""
    shown = list(dict.fromkeys([o.name for o in summary.config.objectives] + ["kl"]))
    parts = (outcomes, outcomes[: len(outcomes) // 2], outcomes[len(outcomes) // 2 :])
    tested = [_with_beta(part, name) for name in shown for part in parts]
    certain = [p < DECIDED for p in holm([p for _, p in tested])]
    signs = [int(np.sign(found)) * sure for (found, _), sure in zip(tested, certain, strict=True)]
    said: dict[str, list[Phrase]] = {word: [] for word in (*WAYS.values(), "")}
    for i, name in enumerate(shown):
        whole, low, high = signs[3 * i : 3 * i + 3]
        number = cited(outcomes, f"val/{name}", "rank correlation", over="train.beta", form="+.2f")
        way = WAYS.get((low, high) if low * high < 0 else (whole,), "")
        said[way].append(Phrase(f"{name} (", number, ")"))
    clauses = [
        Phrase(f"{way} ", joined(said[way], " and " if len(said[way]) == 2 else ", "))
        for way in WAYS.values()
        if said[way]
    ]
    goes = Phrase("goes with ", joined(clauses, " and with ")) if clauses else Phrase("goes with no clear change")
    unsure = Phrase("; undecided: ", joined(said[""])) if said[""] else ""
    others = listed([name for name in names if name != "beta"])
    count = cited(outcomes, "val/kl", "count", form="d")
    caution = f"; {others} varied too, so cvae-pipe ablate --param beta has the last word" if others else ""
    return Phrase(
        "Over ",
        count,
        " complete trials a larger beta ",
        goes,
        unsure,
        f" (rank correlations, decided together at p < {DECIDED:g}, Holm){caution}.",
    )


WAYS = {(1,): "higher", (-1,): "lower", (1, -1): "first higher, then lower", (-1, 1): "first lower, then higher"}
"""Certain signs, of the whole or of both halves of the betas -> what beta goes with."""


def _with_beta(outcomes: Sequence[Outcome], name: str) -> tuple[float, float]:
    """Rank correlation of a validation metric with beta, and its p-value."""
    return rank_correlation([o.config.train.beta for o in outcomes], [o.metrics[f"val/{name}"] for o in outcomes])


def finals_table(summary: Summary) -> Table:
    finals = summary.finals
    seeds = tuple(f"seed {o.config.train.seed}" for o in finals)
    scored = [o.name for o in summary.config.objectives]
    keys = sorted(filter(is_headline, finals[0].metrics), key=lambda key: _place(key.partition("/")[2], scored))
    rows = tuple(
        (directed(key), cited_spread(finals, key), cited_interval(finals, key), *(cited(o, key) for o in finals))
        for key in keys
    )
    judges = finals[0].config.panel.judges
    read_by = f" and {judges} judges" if judges > 1 else ""
    none = "" if len(finals) >= FEWEST_SEEDS else f"; fewer than {FEWEST_SEEDS} seeds have none"
    return Table(
        ("test metric", "mean ± sd", f"95 % over seeds{read_by}", *seeds),
        rows,
        caption=Phrase(
            f"The chosen configuration re-trained from {len(finals)} seeds; the interval is over seeds"
            + (f", and over {judges} judges where one is asked (a two-way layout)" if judges > 1 else "")
            + none
            + ". The search saw training and validation images only; of the test images it was known how many there "
            "are of a class, and how well the judges read them",
            *_opened(finals),
            ".",
        ),
    )


def _place(name: str, scored: Sequence[str]) -> tuple[int, bool]:
    """Where a metric stands: the objectives first, then what is under the prior that is scored."""
    fitted = any(objective.endswith("_expost") for objective in scored)
    first = scored.index(name) if name in scored else len(scored)
    return first, fitted and not name.endswith("_expost")


def _opened(finals: Sequence[Outcome]) -> tuple[str, ...]:
    """How many trained models of the home had seen the test images before these."""
    if not all("opened" in outcome.facts for outcome in finals):
        return ()  # of a time when nobody counted
    first = cited(finals, "facts/opened", "least", form="d")
    return "; the first of these was trained model number ", first, " that was opened on this test split in this home"
