"""What a setting does, over values and seeds: the shape of every metric, verdicts on claims."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import isfinite
from typing import Any

import pandas as pd

from pipeline.config.sections import MOST_JUDGES
from pipeline.evaluation.catalog import METRICS, by_judge
from pipeline.evaluation.statistics import Shape, Step, all_steps, crossed_interval, deviation, mean, shape
from pipeline.runs.outcome import Outcome
from sweeps.study.ablation import AblationConfig

NAMED = (
    "conditional_accuracy",
    "conditional_accuracy_b",
    "coverage_relative",
    "vendi_ratio_read",
    "pairwise_l2",
    "neg_elbo",
    "bce",
    "distortion",
    "kl",
    "nll_iw",
)
"""Metrics that an ablation speaks of, where a model has them: all under the prior that is scored, then all under
N(0, I). Its verdicts are certain together, so that each metric more makes every verdict harder."""

FLAT_NATS, FLAT = 1.0, 0.02
"""The largest change that is none to a reader: in nats an image, and of shares, ratios and distances."""

UNDECIDED = "undecided"


@dataclass(frozen=True)
class Trend:
    """What a metric does as the setting grows."""

    metric: str
    values: tuple[float, ...]
    """Of the setting."""
    means: tuple[float, ...]
    """Over the seeds of each value."""
    steps: tuple[Step, ...]
    """Between neighbouring values, in order; then, for three values or more, from the first to the last."""
    shape: Shape
    judges: int = 1
    """That have read the models; what is certain is certain under each."""

    @property
    def verdict(self) -> str:
        """rises, falls, rises then falls, falls then rises, turns more than once, flat, undecided."""
        return self.shape.verdict

    @property
    def in_words(self) -> str:
        """The verdict with where it turns, or how flat it is."""
        if self.shape.turn is not None:
            low, high = (self.values[i] for i in self.shape.turn)
            what = "peak" if self.verdict.startswith("rises") else "trough"
            return (
                f"{self.verdict} ({what} at {low:g})" if low == high else f"{self.verdict} ({what} {low:g} to {high:g})"
            )
        return f"flat within {self.shape.within:.2g}" if self.verdict == "flat" else self.verdict

    def document(self) -> dict[str, Any]:
        def known(value: float) -> float | None:
            return value if isfinite(value) else None

        def of_step(step: Step) -> dict[str, Any]:
            ends = {"from": self.values[step.before], "to": self.values[step.after]}
            return {**ends, "mean": step.mean, "low": known(step.low), "high": known(step.high)}

        turn = self.shape.turn
        return {
            "metric": self.metric,
            "verdict": self.verdict,
            "turn": [self.values[i] for i in turn] if turn else None,
            "within": known(self.shape.within),
            "judges": self.judges,
            "means": list(self.means),
            "steps": [of_step(step) for step in self.steps],
        }


@dataclass(frozen=True)
class Mean:
    """A metric at one value of the setting, over seeds and judges."""

    value: float
    """Of the setting."""
    mean: float
    deviation: float
    """Over the seeds, as the first judge reads them; nan of one."""
    low: float
    high: float
    """95 % interval over seeds, and over judges where several have read all; without end below three seeds."""

    def document(self) -> dict[str, float | None]:
        """Plain values, None for what there is not."""
        parts = {"mean": self.mean, "sd": self.deviation, "low": self.low, "high": self.high}
        return {name: value if isfinite(value) else None for name, value in parts.items()}


@dataclass(frozen=True)
class Ablation:
    """A finished grid."""

    config: AblationConfig
    frame: pd.DataFrame
    """A row per cell: the setting, seed, and every test metric without its split."""
    outcomes: Mapping[str, Outcome]
    trends: Mapping[str, Trend]

    @property
    def means(self) -> dict[str, tuple[Mean, ...]]:
        """Each metric at each value of the setting, in order."""
        return {metric: _means(self.frame, self.config.key, metric) for metric in self.trends}

    @property
    def claims(self) -> dict[str, str]:
        """The two sentences people say of beta, each decided by two measures that must agree.

        Where a prior was fitted, of the models with that prior first, then of the same ones with N(0, I): a claim rests
        on the numbers of one of them.
        """
        if "neg_elbo_expost" not in self.trends:
            return self._claims("", "")
        return self._claims("_expost", ", z from the fitted prior") | self._claims("", ", z from N(0, I)")

    def _claims(self, end: str, drawn: str) -> dict[str, str]:
        there = self.trends
        claims = {}
        right = [f"conditional_accuracy{end}", f"conditional_accuracy_b{end}"]
        if all(name in there for name in right):
            text = f"raising {self.config.key} makes more images right (both judges{drawn})"
            claims[text] = self._decided(right, "rises", "falls")
        variety = [name for name in (f"vendi_ratio_read{end}", f"pairwise_l2{end}") if name in there]
        if variety and f"coverage_relative{end}" in there:
            text = f"raising {self.config.key} loses diversity (coverage, and Vendi score or pairwise distance{drawn})"
            falling = [name for name in variety if there[name].verdict == "falls"]
            claims[text] = self._decided([f"coverage_relative{end}", *(falling[:1] or variety)], "falls", "rises")
        return claims

    def _decided(self, names: Sequence[str], supporting: str, contrary: str) -> str:
        """What measures that must agree make of a claim. Two that are certain and opposite are no lack of data."""
        verdicts = {self.trends[name].verdict for name in names}
        if len(verdicts) == 1 and verdicts <= {supporting, contrary}:
            return "supported" if supporting in verdicts else "contradicted"
        if {supporting, contrary} <= verdicts:
            return "contradictory: the measures are certain and opposite"
        if UNDECIDED in verdicts:
            return UNDECIDED
        return "only in part: " + ", ".join(f"{name} {self.trends[name].in_words}" for name in names)

    def document(self) -> dict[str, Any]:
        """The `--json` document, less the paths; fewer than three seeds have no interval, so its ends are None."""
        return {
            "name": self.config.name,
            "setting": self.config.setting,
            "values": list(self.config.values),
            "seeds": self.config.seeds,
            "means": [
                {
                    self.config.key: value,
                    "metrics": {name: means[i].document() for name, means in self.means.items()},
                }
                for i, value in enumerate(sorted(self.config.values))
            ],
            "trends": {name: trend.document() for name, trend in self.trends.items()},
            "claims": self.claims,
        }


def named_metrics(columns: Sequence[str]) -> list[str]:
    """Those of NAMED that are there, under the prior that is scored, then under N(0, I)."""
    return [*(f"{m}_expost" for m in NAMED if f"{m}_expost" in columns), *(m for m in NAMED if m in columns)]


def trends(frame: pd.DataFrame, key: str, metrics: Sequence[str]) -> dict[str, Trend]:
    """What each metric does over the values of `key`, certain for all metrics at once; undecided below three seeds."""
    return {metric: _trend(frame, key, metric, questions=len(metrics)) for metric in metrics}


def _trend(frame: pd.DataFrame, key: str, metric: str, *, questions: int) -> Trend:
    columns = [c for n in range(1, MOST_JUDGES + 1) if (c := by_judge(metric, n)) in frame.columns]
    tables = [frame.pivot(index="seed", columns=key, values=column).sort_index(axis=1) for column in columns]
    values, means = tuple(map(float, tables[0].columns)), tuple(map(float, tables[0].mean()))
    by_each = [all_steps(table.to_numpy(dtype=float), questions=questions) for table in tables]
    steps = [_whoever_judges(readings) for readings in zip(*by_each, strict=True)]
    last = len(values) - 1
    shown = [s for s in steps if s.after == s.before + 1]
    shown += [s for s in steps if last > 1 and s.after - s.before == last]
    return Trend(metric, values, means, tuple(shown), shape(steps, means, flat=_flat(metric)), len(columns))


def _means(frame: pd.DataFrame, key: str, metric: str) -> tuple[Mean, ...]:
    share = metric in METRICS and METRICS[metric].is_share
    columns = [c for n in range(1, MOST_JUDGES + 1) if (c := by_judge(metric, n)) in frame.columns]
    found = []
    for value in sorted(set(frame[key].tolist())):
        rows = frame[frame[key] == value]
        table = rows.sort_values("seed")[columns].to_numpy(dtype=float)  # (S, J)
        low, high = crossed_interval(table, share=share)
        first = table[:, 0].tolist()
        found.append(Mean(float(value), mean(first), deviation(first), low, high))
    return tuple(found)


def _whoever_judges(readings: Sequence[Step]) -> Step:
    """A difference with an interval that holds under each judge."""
    return replace(readings[0], low=min(r.low for r in readings), high=max(r.high for r in readings))


def _flat(metric: str) -> float:
    return FLAT_NATS if metric in METRICS and METRICS[metric].unit.startswith("nats") else FLAT
