"""What makes a study the study it is; held in its ledger."""

import dataclasses
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.distributions import BaseDistribution

from pipeline.config.digests import derive_seed
from pipeline.config.settings import RunConfig
from pipeline.errors import StudyError
from sweeps.study.objective import OBJECTIVES, Direction, Objective
from sweeps.study.space import Dimension, suggest

PRUNERS = ("none", "median", "halving")

SPEC, DEFINITION = "spec", "definition"


@dataclass(frozen=True)
class StudyConfig:
    """What makes a study the study it is: it cannot change between two invocations. Held in the ledger."""

    name: str
    base: RunConfig
    space: tuple[Dimension, ...]
    objectives: tuple[Objective, ...]
    seed: int = 0
    """Seed of the proposals; a trial's training seed derives from it and the trial's number."""
    window: int = 8
    """Proposal window W: trial n is proposed from the results of trials 0 .. n - W."""
    pruner: str = "none"

    def __post_init__(self) -> None:
        if self.window < 1:
            raise StudyError(f"--window is {self.window}; it must be 1 or more")
        if self.pruner not in PRUNERS:
            raise StudyError(f"unknown pruner {self.pruner}; pruners are {', '.join(PRUNERS)}")
        if self.pruner != "none" and len(self.objectives) > 1:
            raise StudyError(
                f"--pruner {self.pruner} needs one objective, but there are {len(self.objectives)}: a trial that lags "
                "in one may lead in another; name one with --objective, or leave the pruner out"
            )
        if self.pruner != "none" and not self.objectives[0].between_epochs:
            name = self.objectives[0].name
            raise StudyError(f"objective {name} is too costly to judge between epochs; leave the pruner out")

    def spec(self) -> dict[str, Any]:
        """The study as plain values, for comparison with what the ledger holds."""
        swept = {d.setting for d in self.space} | {"train.seed"}
        settings = {
            name: value
            for name, value in self.base.flat().items()
            if name not in swept and not name.startswith(("runtime.", "gates."))
        }
        return {
            **settings,
            **{f"space.{d.name}": d.describe() for d in self.space},
            "objectives": ", ".join(o.name for o in self.objectives),
            "seed": self.seed,
            "window": self.window,
            "pruner": self.pruner,
        }

    def trial_config(self, n: int, trial: optuna.trial.BaseTrial) -> RunConfig:
        """The configuration of trial n."""
        return suggest(trial, self.space, self.base).with_settings({"train.seed": derive_seed("trial", self.seed, n)})

    def definition(self) -> dict[str, Any]:
        """What `stored_config` rebuilds it from."""
        return {
            "base": self.base.flat(),
            "space": [dataclasses.asdict(d) for d in self.space],
            "objectives": [o.name for o in self.objectives],
            "seed": self.seed,
            "window": self.window,
            "pruner": self.pruner,
        }

    @property
    def distributions(self) -> dict[str, BaseDistribution]:
        return {d.name: d.distribution for d in self.space}

    @property
    def directions(self) -> list[Direction]:
        return [o.direction for o in self.objectives]


def stored_config(study: optuna.Study) -> StudyConfig:
    """The study's own configuration, read back from the ledger."""
    held = study.user_attrs[DEFINITION]
    return StudyConfig(
        name=study.study_name,
        base=RunConfig.stored(held["base"]),
        space=tuple(Dimension(**d) for d in held["space"]),
        objectives=tuple(OBJECTIVES[name] for name in held["objectives"]),
        seed=held["seed"],
        window=held["window"],
        pruner=held["pruner"],
    )
