"""Trials as tables and figures take them: cells that carry their source, axes with their labels."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pandas as pd

from pipeline.evaluation.catalog import AT_A_GLANCE
from pipeline.reporting.blocks import Link
from pipeline.reporting.citation import Number, Source
from sweeps.analysis.summary import Summary
from sweeps.study.config import StudyConfig
from sweeps.study.space import Dimension, Searched

if TYPE_CHECKING:
    from pipeline import plots


def is_headline(key: str) -> bool:
    """Whether a test metric is one of those that the choice is judged by."""
    return key.partition("/")[2].removesuffix("_expost") in AT_A_GLANCE


def cells(config: StudyConfig, row: Mapping[Any, Any]) -> list[str]:
    """Params and objective values of a trial as people read them; a dash for what it does not have."""
    params = [param_cell(config, row, d) for d in config.space]
    return params + [metric_cell(row, o.name) for o in config.objectives]


def trial_link(number: int) -> Link:
    """A trial's number, leading to its tile on the wall of the report."""
    return Link(str(number), f"#trial-{number}")


def param_cell(config: StudyConfig, row: Mapping[Any, Any], dimension: Searched) -> str:
    """A setting of a trial."""
    if not isinstance(dimension, Dimension):
        return dimension.show(row[dimension.name])
    source = Source(
        f"trials/{row['number']}/{dimension.name}", study=config.name, form="d" if dimension.integer else ".3g"
    )
    return Number(float(row[dimension.name]), source)


def metric_cell(row: Mapping[Any, Any], name: str) -> str:
    """A validation metric of a trial; a dash where it has none."""
    if pd.isna(row.get(name, float("nan"))):
        return "-"
    return Number(float(row[name]), Source(f"val/{name}", runs=(row["run_key"],)))


def with_beta(summary: Summary, trials: pd.DataFrame) -> pd.DataFrame:
    """The trials with the beta that colours their points, where it was not searched."""
    return trials if "beta" in trials else trials.assign(beta=summary.config.base.train.beta)


def complete_trials(summary: Summary) -> pd.DataFrame:
    """The rows of the trials that have a result."""
    return summary.frame[summary.frame["state"] == "complete"]


def objective_axes(summary: Summary) -> "list[plots.Objective]":
    """The objectives as figures take them."""
    return [(o.name, o.label, o.direction) for o in summary.config.objectives]


def setting_axes(summary: Summary) -> "list[plots.Param]":
    """What was searched, as figures take it."""
    return [(d.name, d.name.replace("_", " "), isinstance(d, Dimension) and d.log) for d in summary.config.space]
