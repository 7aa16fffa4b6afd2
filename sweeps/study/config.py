"""What makes a study the study it is; held in its ledger."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from pipeline.config.digests import derive_seed, digest
from pipeline.config.settings import RunConfig
from pipeline.errors import StudyError
from sweeps.study.objective import OBJECTIVES, Direction, Objective
from sweeps.study.samplers import SAMPLERS
from sweeps.study.space import Searched, stored_dimension, suggest, valued

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.trial import BaseTrial

DEFAULT_SAMPLER = "tpe"
"""See benchmarks/RESULTS.md for how it was chosen."""
SAMPLER_BEFORE = "tpe"
"""Of a study from before there was a choice."""
MEMORY = 200
"""Trials that the sampler of a new study knows at most. One of before knows what it began with: 400, or all."""
PRUNERS = ("pareto", "none")

RUNGS = 2
"""How many rungs there are where nobody says which is the first: at 1/eta^2 and 1/eta of the epochs."""

SPEC, DEFINITION = "spec", "definition"
UNPACKING = ".unpacking-"
"""Begins the name of a study that is being unpacked: it is none yet."""


@dataclass(frozen=True)
class StudyConfig:
    """What makes a study the study it is: it cannot change between two invocations. Held in the ledger."""

    name: str
    base: RunConfig
    space: tuple[Searched, ...]
    objectives: tuple[Objective, ...]
    seed: int = 0
    """Seed of the proposals; a trial's training seed derives from it and the trial's number."""
    window: int = 4
    """Proposal window W: trial n is proposed from trials 0 .. n - W, and at a rung compared with them."""
    pruner: str = "pareto"
    """pareto stops trials at rungs (see `stopping`); none trains every trial to its end."""
    sampler: str = DEFAULT_SAMPLER
    """What proposes trials, one of `samplers.SAMPLERS`."""
    eta: int = 3
    """At a rung the best 1/eta go on, and a rung has eta times the epochs of the one before."""
    first_rung: int | None = None
    """Epochs of the first rung; None: so that there are two, at 1/eta^2 and 1/eta of the epochs."""

    memory: int | None = None
    """Trials over that the sampler knows at most: at so many it goes on with half of them, of the front and the latest.
    None: all, and a proposal takes longer with each."""

    def __post_init__(self) -> None:
        if self.window < 1:
            raise StudyError(f"--window is {self.window}; it must be 1 or more")
        if self.pruner not in PRUNERS:
            raise StudyError(f"unknown pruner {self.pruner}; pruners are {', '.join(PRUNERS)}")
        if self.sampler not in SAMPLERS:
            raise StudyError(f"unknown sampler {self.sampler}; samplers are {', '.join(SAMPLERS)}")
        if likelihood_searched(self) and (nats := [o.name for o in self.objectives if o.unit == "nats"]):
            raise StudyError(
                f"--space likelihood cannot be searched for objective {nats[0]}: nats of two likelihoods are never "
                "compared; set one by --likelihood, or choose objectives without nats, e.g. --objective "
                "conditional_accuracy --objective coverage_relative"
            )
        if self.eta < 2:
            raise StudyError(f"--eta is {self.eta}; it must be 2 or more")
        if self.first_rung is not None and not 1 <= self.first_rung < self.epochs:
            raise StudyError(
                f"--first-rung is {self.first_rung}; it must be 1 or more and below the {self.epochs} epochs of a trial"
            )

    @property
    def epochs(self) -> int:
        """The most epochs that a trial can have."""
        searched = [d for d in self.space if d.setting == "train.epochs"]
        return int(max(map(float, searched[0].ends))) if searched else self.base.train.epochs

    @property
    def rungs(self) -> tuple[int, ...]:
        """Epochs after which a trial that has more of them may be stopped."""
        return () if self.pruner == "none" else rung_epochs(self.epochs, eta=self.eta, first=self.first_rung)

    def stopped_at(self, epoch: int) -> str:
        """Why a trial has no result, as people are told of it."""
        return f"stopped at epoch {epoch} (rung {self.rungs.index(epoch) + 1})"

    def spec(self) -> dict[str, Any]:
        """The study as plain values, for comparison with what the ledger holds."""
        swept = {d.setting for d in self.space} | {"train.seed"}
        settings = {
            name: value
            for name, value in self.base.flat().items()
            if name not in swept
            and not name.startswith(("runtime.", "gates."))
            and not (name == "data.dataset" and self.base.data.own)  # its content is what it is, wherever it lies
        }
        return {
            **settings,
            **{f"space.{d.name}": d.describe() for d in self.space},
            "objectives": ", ".join(o.name for o in self.objectives),
            "seed": self.seed,
            "window": self.window,
            "sampler": self.sampler,
            "pruner": self.pruner,
            **({} if self.memory is None else {"memory": self.memory}),
            **({} if self.pruner == "none" else {"eta": self.eta, "rungs": ", ".join(map(str, self.rungs))}),
        }

    def trial_config(self, n: int, trial: "BaseTrial") -> RunConfig:
        """The configuration of trial n. A search goes on with one judge: others read what it ends in."""
        return self._seeded(n, suggest(trial, self.space, self.base))

    def stored_trial_config(self, n: int, params: Mapping[str, Any]) -> RunConfig:
        """The same from the params that the ledger holds of it."""
        return self._seeded(n, valued(params, self.space, self.base))

    def _seeded(self, n: int, config: RunConfig) -> RunConfig:
        return config.with_settings({"train.seed": derive_seed("trial", self.seed, n), "panel.judges": 1})

    def definition(self) -> dict[str, Any]:
        """What `stored_config` rebuilds it from."""
        return {
            "base": self.base.flat(),
            "space": [vars(d) for d in self.space],
            "objectives": [o.name for o in self.objectives],
            "seed": self.seed,
            "window": self.window,
            "sampler": self.sampler,
            "pruner": self.pruner,
            "eta": self.eta,
            "first_rung": self.first_rung,
            "memory": self.memory,
        }

    @property
    def distributions(self) -> "dict[str, BaseDistribution]":
        return {d.name: d.distribution for d in self.space}

    @property
    def directions(self) -> list[Direction]:
        return [o.direction for o in self.objectives]


def rung_epochs(epochs: int, *, eta: int, first: int | None = None) -> tuple[int, ...]:
    """The epochs after which trials of `epochs` epochs are compared: `first`, then eta times as many each; none at the
    end, where they are over. A rung that would come before the first epoch is left out."""
    exact = epochs / eta**RUNGS if first is None else float(first)
    found: list[int] = []
    while round(exact) < epochs:
        if round(exact) > 0:
            found.append(round(exact))
        exact *= eta
    return tuple(dict.fromkeys(found))


def likelihood_searched(config: StudyConfig) -> bool:
    """Whether trials differ in what their nats are of."""
    return any(d.setting == "model.likelihood" for d in config.space)


class Held(Protocol):
    """A study in the ledger: Optuna's own, or one that was read without it."""

    @property
    def study_name(self) -> str: ...

    @property
    def user_attrs(self) -> Mapping[str, Any]: ...


def stored_config(study: Held) -> StudyConfig:
    """The study's own configuration, read back from the ledger."""
    held = study.user_attrs[DEFINITION]
    return StudyConfig(
        name=study.study_name,
        base=RunConfig.from_stored(held["base"]),
        space=tuple(stored_dimension(d) for d in held["space"]),
        objectives=tuple(OBJECTIVES[name] for name in held["objectives"]),
        seed=held["seed"],
        window=held["window"],
        sampler=held.get("sampler", SAMPLER_BEFORE),
        memory=held.get("memory"),
        # One that knows no eta is from before there were rungs: what it called a pruner depended on timing.
        **({name: held[name] for name in ("pruner", "eta", "first_rung")} if "eta" in held else {"pruner": "none"}),
    )


def check_amounts(config: StudyConfig, *, trials: int, workers: int | None, timeout: float | None) -> None:
    """StudyError for a number of trials, of workers, or of seconds that no sweep of this study can have."""
    if trials < 1:
        raise StudyError(f"--trials is {trials}; it must be 1 or more")
    if workers is not None and workers < 1:
        raise StudyError(f"--workers is {workers}; it must be 1 or more")
    if workers is not None and workers > config.window:
        raise StudyError(f"--workers {workers} is more than the proposal window {config.window}; raise --window too")
    if timeout is not None and not timeout > 0:
        raise StudyError(f"--timeout is {timeout / 60:g} minutes; it must be above 0")


def study_key(name: str) -> str:
    """What the study's own run in the tracker is found by."""
    return digest("study", name)[:16]


def checked_name(name: str) -> str:
    """The name of a study or an ablation, which names a folder; StudyError if it can't."""
    # File names hold 255 bytes, and an emoji is four.
    fits = 1 <= len(name) <= 100 and len(name.encode()) <= 200
    if not fits or name in (".", "..") or name.startswith("@") or any(c in name for c in "/\\\0\n"):
        raise StudyError(
            f"--name is {name!r}; it names a folder: 1 to 100 characters, no slash, no line break, no @ before it"
        )
    return name
