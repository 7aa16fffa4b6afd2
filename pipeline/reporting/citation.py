"""Numbers that know where they came from: a text, and the stored runs, the key and the aggregate it is made of.

`cited` makes a number for a report, `derive` computes it from stored outcomes; `cvae-pipe verify` calls `derive` again.
A number is a plain `str` to whoever does not ask; in a page it is a <data> element that carries its source. Reads
outcomes; no files, no studies.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from markupsafe import Markup, escape

from pipeline.config.sections import MOST_JUDGES
from pipeline.errors import ReportError
from pipeline.evaluation.catalog import by_judge, is_share, share_form, show
from pipeline.evaluation.statistics import (
    FEWEST_SEEDS,
    crossed_interval,
    deviation,
    mean,
    rank_correlation,
    t_interval,
)
from pipeline.runs.outcome import Outcome
from pipeline.store.files import read_json
from pipeline.store.store import KEY_LENGTH

FORM = re.compile(r"[+]?,?\.\d[feg%]")
"""The format specifications that a number may be written in, besides "show" and "d"."""


@dataclass(frozen=True)
class Source:
    """Where a number came from: a quantity of stored runs, or of a study."""

    key: str
    """With its split, e.g. val/neg_elbo; or a path: per_class/coverage/3, history/5/train/loss, facts/gates/a/0/1,
    config/train.beta, inside/most_wrong/misread, denoise/30/psnr/noisy, anomalies/3/scores/neg_elbo/auroc,
    confusion/2/7 (the share of images asked for class 2 that are read as 7). At the end of a path to a list: sum, max,
    or >0.01 for how many are above that. Of a study: one of its own quantities, e.g. trials/complete."""
    runs: tuple[str, ...] = ()
    """Run keys, 16 hex digits each; none where the study itself is the source."""
    study: str = ""
    aggregate: str = "value"
    """One of AGGREGATES, of OVER_JUDGES, or of `compare`'s PAIRED."""
    over: str = ""
    """The setting on the x axis of a rank correlation."""
    form: str = "show"
    """How it is written: `show` of the catalog, or a format specification, e.g. ".1%"."""

    def attributes(self) -> dict[str, str]:
        """As the data- attributes of a page, those at their default left out."""
        named = {
            "data-run": " ".join(self.runs),
            "data-study": self.study,
            "data-key": self.key,
            "data-aggregate": "" if self.aggregate == "value" else self.aggregate,
            "data-over": self.over,
            "data-form": "" if self.form == "show" else self.form,
        }
        return {name: value for name, value in named.items() if value}

    @staticmethod
    def from_attributes(attributes: dict[str, str]) -> "Source":
        """The inverse of `attributes`."""
        return Source(
            key=attributes.get("data-key", ""),
            runs=tuple(attributes.get("data-run", "").split()),
            study=attributes.get("data-study", ""),
            aggregate=attributes.get("data-aggregate", "value"),
            over=attributes.get("data-over", ""),
            form=attributes.get("data-form", "show"),
        )

    def __str__(self) -> str:
        """In words, for people."""
        what = self.key if self.aggregate == "value" else f"{self.aggregate} of {self.key}"
        if self.over:
            what += f" over {self.over}"
        if self.study:
            return f"{what} of study {self.study}"
        runs = f"run {self.runs[0]}" if len(self.runs) == 1 else f"{len(self.runs)} runs"
        return f"{what}, {runs}"


class Number(str):
    """A number as it is shown; `value` and `source` are behind it."""

    value: float
    source: Source

    def __new__(cls, value: float, source: Source) -> "Number":
        made = super().__new__(cls, written(value, source.form))
        made.value, made.source = value, source
        return made

    def __html__(self) -> Markup:
        named = {"value": repr(self.value), **self.source.attributes(), "title": str(self.source)}
        attributes = Markup("").join(Markup(' {}="{}"').format(name, value) for name, value in named.items())
        return Markup("<data{}>{}</data>").format(attributes, str(self))


class Phrase(str):
    """A text with numbers in it that keep their sources."""

    parts: tuple[str, ...]

    def __new__(cls, *parts: str) -> "Phrase":
        made = super().__new__(cls, "".join(parts))
        made.parts = parts
        return made

    def __html__(self) -> Markup:
        return Markup("").join(escape(part) for part in self.parts)


def written(value: float, form: str) -> str:
    """A value in one of the forms of a report."""
    if form == "show":
        return show(value)
    if form == "d":
        return str(round(value))
    if not FORM.fullmatch(form):
        raise ReportError(f"{form!r} is no form of a number; it is show, d or one such as .3f")
    return format(value, form)


def cited(
    of: Outcome | Sequence[Outcome], key: str, aggregate: str = "value", *, form: str = "show", over: str = ""
) -> Number:
    """A stored quantity of one run, or an aggregate of it over several, as a number for a report."""
    outcomes = tuple(of) if isinstance(of, Sequence) else (of,)
    source = Source(key, tuple(o.key[:KEY_LENGTH] for o in outcomes), aggregate=aggregate, over=over, form=form)
    return Number(derive(source, outcomes), source)


def cited_share(of: Outcome | Sequence[Outcome], key: str, aggregate: str = "value") -> Number:
    """A share in per cent, never rounded to a 0 or 100 that it is not."""
    found = cited(of, key, aggregate, form=".1%")
    return cited(of, key, aggregate, form=share_form(found.value))


def cited_spread(of: Sequence[Outcome], key: str) -> str:
    """mean ± standard deviation over runs, with the same number of decimals; of one run the number alone."""
    if len(of) == 1:
        return cited(of[0], key)
    middle = cited(of, key, "mean")
    decimals = len(middle.partition(".")[2])
    return Phrase(middle, " ± ", cited(of, key, "sd", form=f".{decimals}f"))


def cited_over_judges(of: Sequence[Outcome], key: str) -> str:
    """The same of the means over every judge that has read all of the runs."""
    if readings(of, key).shape[1] == 1:
        return cited_spread(of, key)
    middle = cited(of, key, MEAN_OVER_JUDGES[0])
    if len(of) == 1:
        return middle
    decimals = len(middle.partition(".")[2])
    return Phrase(middle, " ± ", cited(of, key, MEAN_OVER_JUDGES[1], form=f".{decimals}f"))


def cited_interval(of: Sequence[Outcome], key: str, *, form: str = "show") -> str:
    """[low, high] over training seeds, and over judges where several have read the runs; a dash for fewer than three
    runs, which have none."""
    if len(of) < FEWEST_SEEDS:
        return "-"
    several = readings(of, key).shape[1] > 1
    ends = [cited(of, key, name, form=form) for name in (OVER_JUDGES if several else ("t low", "t high"))]
    return Phrase("[", ends[0], ", ", ends[1], "]")


def derive(source: Source, outcomes: Sequence[Outcome]) -> float:
    """The number that a source names, from the stored outcomes of its runs."""
    if source.aggregate in OVER_JUDGES:
        low_high = crossed_interval(readings(outcomes, source.key), share=is_share(source.key))
        return low_high[OVER_JUDGES.index(source.aggregate)]
    if source.aggregate in MEAN_OVER_JUDGES:
        means = readings(outcomes, source.key).mean(1)
        return float(means.mean() if source.aggregate == MEAN_OVER_JUDGES[0] else means.std(ddof=1))
    values = [quantity(outcome, source.key) for outcome in outcomes]
    if source.aggregate == "value" and len(values) == 1:
        return values[0]
    if source.aggregate not in AGGREGATES:
        raise ReportError(f"there is no aggregate {source.aggregate!r} of {len(values)} runs")
    x = [quantity(outcome, f"config/{source.over}") for outcome in outcomes] if source.over else []
    return AGGREGATES[source.aggregate](values, x, is_share(source.key))


def readings(outcomes: Sequence[Outcome], key: str) -> Float[np.ndarray, "S J"]:
    """A metric of each run as every judge reads it that has read all of them; the first judge alone where no other
    has."""
    numbers = [n for n in range(1, MOST_JUDGES + 1) if n == 1 or all(by_judge(key, n) in o.metrics for o in outcomes)]
    return np.array([[quantity(outcome, by_judge(key, n)) for n in numbers] for outcome in outcomes])


MEAN_OVER_JUDGES = ("mean over judges", "sd over judges")
"""Of runs that several judges have read: the mean of their means over judges, and its deviation over training seeds."""

OVER_JUDGES = ("low over judges", "high over judges")
"""Aggregates that look at what every judge of a panel has read."""

AGGREGATES = {
    "mean": lambda y, x, share: mean(y),
    "sd": lambda y, x, share: deviation(y),
    "t low": lambda y, x, share: t_interval(y, share=share)[0],
    "t high": lambda y, x, share: t_interval(y, share=share)[1],
    "95 % half-width": lambda y, x, share: 1.96 * y[0],
    "least": lambda y, x, share: min(y),
    "count": lambda y, x, share: float(len(y)),
    "rank correlation": lambda y, x, share: rank_correlation(x, y)[0],
    "second half minus first": lambda y, x, share: mean(y[len(y) // 2 :]) - mean(y[: len(y) // 2]),
}
"""(values, settings on the x axis, whether it is a share within 0 .. 1) -> number."""


def quantity(outcome: Outcome, key: str) -> float:
    """A stored number of a run: a metric by its key, or one of the paths that `Source.key` lists."""
    if key in outcome.metrics:
        return outcome.metrics[key]
    place, _, rest = key.partition("/")
    try:
        if place == "config":
            found: Any = outcome.config.flat()[rest]
        elif place == "history":
            epoch, _, name = rest.partition("/")
            found = outcome.history[int(epoch) - 1][name]
        else:
            found = _place(outcome, place)
            for step in rest.split("/"):
                found = _inside(found, step)
        return float(found)
    except (KeyError, IndexError, TypeError, ValueError):
        raise ReportError(f"run {outcome.key[:KEY_LENGTH]} has no {key}") from None


def _place(outcome: Outcome, place: str) -> Any:
    """What a path begins in; KeyError or TypeError where the run has no such thing."""
    if place == "facts":
        return outcome.facts
    if place == "inside":
        return read_json(outcome.inside / "inside.json") if outcome.inside else {}
    if place == "denoise":
        found = [read_json(folder / "denoise.json") for folder in outcome.denoised]
        return {str(facts["level"]): facts for facts in found}
    if place == "anomalies":  # by the index of the class that was held out
        found = [read_json(folder / "anomalies.json") for folder in outcome.anomalies]
        return {str(facts["held_out"]): facts for facts in found}
    per_class = outcome.per_class or {}
    if place == "confusion":
        return [[count / max(sum(row), 1) for count in row] for row in per_class["confusion"]]
    return {"per_class": per_class.get("table")}[place]


def _inside(found: Any, step: str) -> Any:
    """One step along a path."""
    if not isinstance(found, list):
        return found[step]
    if step in ("sum", "max"):
        return sum(found) if step == "sum" else max(found)
    if step.startswith(">"):
        return sum(value > float(step[1:]) for value in found)
    return found[int(step)]
