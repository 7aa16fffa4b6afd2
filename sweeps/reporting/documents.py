"""Studies and ablations as one JSON document: what they are, what came of them, what to beware of. Draws nothing."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline.reporting.cautions import cautions
from pipeline.reporting.document import about
from pipeline.runs.outcome import Outcome
from sweeps.analysis.comparison import StudyComparison
from sweeps.analysis.summary import SweepResult
from sweeps.analysis.trends import Ablation
from sweeps.study.ablation import ablation_key
from sweeps.study.config import study_key


def study_document(result: SweepResult) -> dict[str, Any]:
    """What `--json` prints of a study."""
    summary, config, found = result.summary, result.summary.config, result.document()
    data: dict[str, Any] = {"dataset": config.base.data.name}
    if summary.outcomes:
        facts = next(iter(summary.outcomes.values())).facts
        data |= {name: facts[name] for name in ("source_sha256", "images")}
    paths = {"report": str(result.report)} | ({"best": str(result.best)} if result.best else {})
    return {
        "kind": "study",
        "name": config.name,
        "key": study_key(config.name),
        "settings": config.base.flat(),
        "space": {dimension.name: dimension.describe() for dimension in config.space},
        "seed": config.seed,
        "data": data,
        "seconds": round(summary.busy_minutes * 60, 1),
        "paths": paths,
        "cautions": found["chosen"].get("cautions", []),
        **found,
    }


def ablation_document(ablation: Ablation, report: Path) -> dict[str, Any]:
    """What `--json` prints of an ablation."""
    outcomes = list(ablation.outcomes.values())
    return {
        "kind": "ablation",
        "key": ablation_key(ablation.config),
        **about(outcomes),
        "settings": ablation.config.base.flat(),
        "seed": ablation.config.base.train.seed,
        "paths": {"report": str(report), "cells": str(report.with_name("cells.csv"))},
        "cautions": [f"{name}: {said}" for name, one in ablation.outcomes.items() for said in cautions(one)],
        **ablation.document(),
        "report": str(report),
    }


def study_comparison_document(comparison: StudyComparison, report: Path | None) -> dict[str, Any]:
    """What `--json` prints of studies compared; settings and seed are those of the first choice."""
    choices: Sequence[Outcome] = comparison.choices
    return {
        "kind": "comparison",
        "name": " and ".join(comparison.names),
        "key": study_key(comparison.names[0]),
        "keys": [study_key(name) for name in comparison.names],
        **about(choices),
        "seconds": round(sum(one.summary.busy_minutes * 60 for one in comparison.reached), 1),
        "paths": {"report": str(report)} if report else {},
        "cautions": [
            f"{n}: {said}" for n, one in zip(comparison.names, choices, strict=True) for said in cautions(one)
        ],
        **comparison.document(),
        **({"report": str(report)} if report else {}),
    }
