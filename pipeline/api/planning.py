"""What would be done, why and for how long. Does nothing."""

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pipeline.api.opening import worker_count
from pipeline.api.studies import checked_closing
from pipeline.config.settings import RunConfig
from pipeline.store.home import Home

if TYPE_CHECKING:
    from pipeline.runs.planning import Plan
    from sweeps.study.ablation import AblationConfig
    from sweeps.study.config import StudyConfig


def plan_run(config: RunConfig, *, home: Home | None = None, force: bool = False) -> "Plan":
    """What `run` would do: stages that are there, stages that would be built and why, seconds. Nothing is written."""
    from pipeline.runs.planning import plan_run as plan

    return plan(home or Home.from_environment(), config, force=force)


def plan_baselines(config: RunConfig, *, home: Home | None = None) -> "list[Plan]":
    """What `baselines` would do, a plan for each model."""
    from pipeline.config.sections import MODELS

    plans = [(kind, plan_run(config.with_settings({"model.kind": kind}), home=home)) for kind in MODELS]
    return [replace(plan, what=f"baseline {kind}") for kind, plan in plans]


def plan_sweep(
    study: "StudyConfig",
    *,
    trials: int = 40,
    final_seeds: int | None = None,
    prefer: Iterable[str] | None = None,
    judges: int | None = None,
    workers: int | None = None,
    home: Home | None = None,
) -> "Plan":
    """What `sweep` would do."""
    from sweeps.planning import plan_sweep as plan

    home = home or Home.from_environment()
    asked: dict[str, Any] = {"final_seeds": final_seeds, "prefer": prefer, "judges": judges}
    closing = checked_closing(study, trials=trials, workers=workers, home=home, **asked)
    return plan(home, study, trials=trials, closing=closing, workers=worker_count(workers))


def plan_ablation(grid: "AblationConfig", *, workers: int | None = None, home: Home | None = None) -> "Plan":
    """What `ablate` would do."""
    from sweeps.planning import plan_ablation as plan

    return plan(home or Home.from_environment(), grid, workers=worker_count(workers))
