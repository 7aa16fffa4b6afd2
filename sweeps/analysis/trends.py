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
        """The two sentences people say of beta, each decided by two measures that must agree."""
        verdicts = {name: trend.verdict for name, trend in self.trends.items()}
        claims = {}
        if {"conditional_accuracy", "conditional_accuracy_b"} <= verdicts.keys():
            pair = {verdicts["conditional_accuracy"], verdicts["conditional_accuracy_b"]}
            claims[f"raising {self.config.key} makes more digits right (both judges)"] = _decide(pair, "rises", "falls")
        if {"coverage_relative", "vendi_ratio"} <= verdicts.keys():
            variety = {verdicts[name] for name in ("vendi_ratio", "pairwise_l2") if name in verdicts}
            other = "falls" if "falls" in variety else "rises" if variety == {"rises"} else "undecided"
            text = f"raising {self.config.key} loses diversity (coverage, and Vendi score or pairwise distance)"
            claims[text] = _decide({verdicts["coverage_relative"], other}, "falls", "rises")
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
