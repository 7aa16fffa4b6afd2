"""Why the chosen trial is the chosen one: rule, bounds, candidates, other rules, prices. A Summary -> blocks."""

from pipeline.evaluation.catalog import directed
from pipeline.reporting.blocks import Block, Table, Text
from pipeline.reporting.citation import Phrase, cited_over_judges
from sweeps.analysis.choice import MOST, WITHIN, Choice, Front
from sweeps.analysis.exchange import Exchange
from sweeps.analysis.front import RULES
from sweeps.analysis.summary import Summary
from sweeps.reporting.cells import trial_link

RANGES = (
    "each axis on its physical range: accuracy from chance to the judge's own, relative coverage from 0 to that of "
    "real images, neg_elbo from a decoder that ignores z down to {floor}"
)


def how_chosen(summary: Summary) -> tuple[Block, ...]:
    """Everything a report says of the choice itself; nothing where there is one objective."""
    front, choice = summary.pareto, summary.choice
    if front is None or choice is None or len(front.objectives) == 1:
        return ()
    return (
        Text(rule_sentence(summary, front)),
        *candidates(summary, choice),
        Text(other_rules(front)),
        *prices(summary),
    )


def rule_sentence(summary: Summary, front: Front) -> str:
    """What the choice is least, or largest, in."""
    bounds = " and ".join(map(str, summary.closing.preferences))
    if front.preferred:
        best = "the likeliest" if front.likelihood is not None else "the nearest to the front's own best"
        return f"The choice is {best} trial of the Pareto front that keeps {bounds}, as --prefer asked."
    bernoulli = summary.config.base.model.likelihood == "bernoulli"
    floor = "the entropy of the pixels" if bernoulli else "the floor of its likelihood"
    said = (
        "The choice is the trial of the Pareto front nearest to the front's own best on every objective, "
        f"{RANGES.format(floor=floor)}. What goes beyond the value of real images counts for nothing."
    )
    return f"No trial of the front keeps {bounds}, so that the default rule chooses. {said}" if bounds else said


def candidates(summary: Summary, choice: Choice) -> tuple[Block, ...]:
    """The candidates' means over seeds and the noise they were called by."""
    if not choice.scores:
        missing = "needs two final seeds and two trials on the front" if not choice.candidates else "is not finished"
        return (Text(f"How far noise over training seeds moves the choice is not known: its measurement {missing}."),)
    noise = summary.cited("choice/noise", form=".4f")
    called = Phrase(
        "Trial ",
        trial_link(choice.first),
        " is named by the trials' own values, of one training each. Re-trained from ",
        f"{summary.closing.final_seeds} seeds its score has a standard deviation of ",
        noise,
        f"; trials no more than {WITHIN:g} deviations of a difference of two trainings behind it, at most {MOST} in "
        "all, are candidates, and the choice is made among their means on validation images.",
    )
    if len(choice.candidates) == 1:
        called = Phrase(called, " No other trial of the front is that near.")
    config = summary.config
    rows = tuple(
        (
            trial_link(number),
            *(cited_over_judges(summary.retrained[number], o.key) for o in config.objectives),
            summary.cited(f"choice/{number}/score", form=".4f"),
        )
        for number in choice.candidates
    )
    front = summary.pareto
    of_score = (
        "shortfall in likelihood" if front is not None and front.preferred else "distance to the front's own best"
    )
    table = Table(
        ("candidate", *(directed(o.key) for o in config.objectives), "score ↓"),
        rows,
        caption=f"Mean{_of_judges(choice)} ± sd over {summary.closing.final_seeds} seeds; score: {of_score} of the "
        "means, where these trials count by their means; less is better.",
        highlight=frozenset(i for i, n in enumerate(choice.candidates) if n == summary.chosen),
    )
    return (Text(called), table, *([Text(judges_alone(choice))] if len(choice.by_judge) > 1 else []))


def _of_judges(choice: Choice) -> str:
    return f" of {len(choice.by_judge)} judges" if len(choice.by_judge) > 1 else ""


def judges_alone(choice: Choice) -> Phrase:
    """Whether the choice hangs on the judge: what each alone would choose among the candidates."""
    judges = len(choice.by_judge)
    others = [n for n in choice.candidates if n in choice.by_judge and n != choice.trial]
    if not others:
        return Phrase(f"Each of the {judges} judges alone would choose trial ", trial_link(choice.trial), ".")
    votes = [
        piece
        for n in (choice.trial, *others)
        for piece in (", trial ", trial_link(n), f" {choice.by_judge.count(n)} of {judges}")
    ]
    return Phrase(
        "The judges do not agree: alone",
        *votes,
        ". Between these the choice is undecided; the mean of the judges decides.",
    )


def other_rules(front: Front) -> Phrase:
    """What the rules that do not choose would name, on the trials' own values."""
    default, *others = RULES
    named = front.named()
    if len(set(named.values())) == 1:
        every = trial_link(named[default])
        return Phrase("On the trials' own values all rules name trial ", every, f": {', '.join(RULES)}.")
    clauses = [piece for rule in others for piece in ("; ", f"{rule}: trial ", trial_link(named[rule]))][1:]
    return Phrase(f"On the trials' own values, {default}: trial ", trial_link(named[default]), "; ", *clauses, ".")


def prices(summary: Summary) -> tuple[Block, ...]:
    """What the other objectives are worth in nats."""
    found = summary.exchanges
    if not found:
        return ()

    def offer(name: str, exchange: Exchange, way: str, word: str) -> str:
        seller = exchange.more if way == "more" else exchange.less
        if seller is None:
            return "-"
        price = summary.cited(f"exchange/{name}/{way}", form=".2f")
        return Phrase(f"{word} ", price, " (trial ", trial_link(seller.trial), ")")

    rows = tuple(
        (
            f"{exchange.step:g} of {name}",
            summary.cited(f"exchange/{name}/range", form=".2f"),
            offer(name, exchange, "more", "costs"),
            offer(name, exchange, "less", "saves"),
        )
        for name, exchange in found.items()
    )
    caption = (
        "In nats. By the physical ranges: the shares of their axes that are equally far. On this front: at the price "
        "of the trial that sells more of it for the fewest nats, or saves the most nats for less of it, against the "
        "choice."
    )
    return (
        Table(("amount", "is worth, by the ranges", "to have more, here", "to have less, here"), rows, caption=caption),
    )


def in_words(summary: Summary) -> list[str]:
    """What a terminal says of the choice: bounds that nothing keeps, and what it cannot be told from."""
    front, choice = summary.pareto, summary.choice
    lines = []
    if front is not None and front.preferences and not front.preferred:
        bounds = " and ".join(map(str, front.preferences))
        lines.append(f"no trial of the front keeps {bounds}; the default rule chose")
    others = [str(n) for n in choice.candidates if n != choice.trial] if choice is not None and choice.scores else []
    if others:
        lines.append(f"noise over seeds does not tell it from {' and '.join(others)}; it is the best on their means")
    if choice is not None and len(set(choice.by_judge)) > 1:
        alone = choice.by_judge.count(choice.trial)
        lines.append(f"{alone} of {len(choice.by_judge)} judges alone would choose it: undecided, their mean decides")
    return lines
