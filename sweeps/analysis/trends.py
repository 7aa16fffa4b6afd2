"""What a setting does, over values and seeds: slopes, intervals, verdicts on claims."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from pipeline.evaluation.statistics import mean, slopes, t_interval
from pipeline.runs.outcome import Outcome
from sweeps.study.ablation import AblationConfig


@dataclass(frozen=True)
class Trend:
    """What a metric does as the setting grows."""

    metric: str
    slope: float
    """Mean over seeds of the least-squares slope, per unit of the setting (per e-fold where it is logarithmic)."""
    low: float
    high: float
    """95 % t-interval over seeds."""
    verdict: str
    """rises, falls or undecided."""


@dataclass(frozen=True)
class Ablation:
    """A finished grid."""

    config: AblationConfig
    frame: pd.DataFrame
    """A row per cell: the setting, seed, and every test metric without its split."""
    outcomes: Mapping[str, Outcome]
    trends: Mapping[str, Trend]

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
        verdicts = {name: trend.verdict for name, trend in self.trends.items()}
        right = [
            verdicts[name]
            for name in (f"conditional_accuracy{end}", f"conditional_accuracy_b{end}")
            if name in verdicts
        ]
        claims = {}
        if len(right) == 2:
            text = f"raising {self.config.key} makes more digits right (both judges{drawn})"
            claims[text] = _decide(set(right), "rises", "falls")
        if {f"coverage_relative{end}", f"vendi_ratio{end}"} <= verdicts.keys():
            variety = {verdicts[name] for name in (f"vendi_ratio{end}", f"pairwise_l2{end}") if name in verdicts}
            other = "falls" if "falls" in variety else "rises" if variety == {"rises"} else "undecided"
            text = f"raising {self.config.key} loses diversity (coverage, and Vendi score or pairwise distance{drawn})"
            claims[text] = _decide({verdicts[f"coverage_relative{end}"], other}, "falls", "rises")
        return claims

    def document(self) -> dict[str, Any]:
        """The `--json` document, less the paths; one seed has no interval, so its ends are None."""

        def plain(trend: Trend) -> dict[str, Any]:
            known = np.isfinite(trend.low)
            return asdict(trend) | {"low": trend.low if known else None, "high": trend.high if known else None}

        return {
            "name": self.config.name,
            "setting": self.config.setting,
            "values": list(self.config.values),
            "seeds": self.config.seeds,
            "trends": {name: plain(trend) for name, trend in self.trends.items()},
            "claims": self.claims,
        }


def _decide(verdicts: set[str], supporting: str, contrary: str) -> str:
    if verdicts == {supporting}:
        return "supported"
    return "contradicted" if verdicts == {contrary} else "undecided"


def trends(frame: pd.DataFrame, key: str, *, log: bool) -> dict[str, Trend]:
    """The trend of every metric column; undecided with one seed, which has no spread."""
    found = {}
    for metric in frame.columns.difference([key, "seed"], sort=False):
        by_seed = slopes(frame[key].tolist(), frame[metric].tolist(), frame["seed"].tolist(), log=log)
        low, high = t_interval(by_seed)
        verdict = "rises" if low > 0 else "falls" if high < 0 else "undecided"
        found[str(metric)] = Trend(str(metric), mean(by_seed), low, high, verdict)
    return found
