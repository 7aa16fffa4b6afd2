"""A study: what was asked and told, kept in SQLite, and what to propose next. Knows Optuna; no runs, no MLflow.

Two parts. The *ledger* is the persistent Optuna study: every trial with its state, params, values. The *proposals* are
a pure function of (study seed, trial number n, the results of trials 0 .. n - W): they come from a second study in
memory, which has been told exactly those results, in order, and whose sampler is seeded for n. So a sweep proposes the
same trials with any number of workers, after any interruption, and when it is made longer later. W is the window: up
to W trials can be under way at once.
"""

import contextlib
import dataclasses
import logging
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState

from pipeline.config import RunConfig, derive_seed
from pipeline.errors import StudyError
from pipeline.store import Home, try_lock
from sweeps.objective import OBJECTIVES, Direction, Objective
from sweeps.space import Dimension, suggest

PRUNERS = ("none", "median", "halving")
FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)
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
        base=RunConfig().with_settings(held["base"]),
        space=tuple(Dimension(**d) for d in held["space"]),
        objectives=tuple(OBJECTIVES[name] for name in held["objectives"]),
        seed=held["seed"],
        window=held["window"],
        pruner=held["pruner"],
    )


class Proposals:
    """What to try next, as a pure function of the results so far."""

    def __init__(self, config: StudyConfig) -> None:
        self._config = config
        with quiet_optuna():
            self._study = optuna.create_study(directions=config.directions)
        self._told = 0

    def propose(self, n: int, results: Mapping[int, FrozenTrial]) -> dict[str, Any] | None:
        """The params of trial n, or None while one of trials 0 .. n - W has no result. For n = 0, 1, 2, .. in turn."""
        if not self._advance(n, results):
            return None
        with quiet_optuna():
            self._study.sampler = optuna.samplers.TPESampler(seed=derive_seed("proposal", self._config.seed, n))
            return self._study.ask(self._config.distributions).params

    def replay(self, n: int, params: Mapping[str, Any], results: Mapping[int, FrozenTrial]) -> None:
        """Take trial n as proposed with these params: how an earlier invocation's proposals are brought back."""
        self._advance(n, results)
        with quiet_optuna():
            self._study.enqueue_trial(dict(params))
            self._study.ask(self._config.distributions)

    def _advance(self, n: int, results: Mapping[int, FrozenTrial]) -> bool:
        """Tell the results of exactly trials 0 .. n - W; False if one of them is missing."""
        while self._told <= n - self._config.window:
            result = results.get(self._told)
            if result is None:
                return False
            self._tell(self._told, result)
            self._told += 1
        return True

    def _tell(self, number: int, result: FrozenTrial) -> None:
        with quiet_optuna():
            if result.state == TrialState.COMPLETE:
                self._study.tell(number, result.values)
            elif result.state == TrialState.PRUNED and result.intermediate_values:
                trial = optuna.trial.Trial(self._study, self._study.get_trials(deepcopy=False)[number]._trial_id)
                for step, value in result.intermediate_values.items():
                    trial.report(value, step)
                self._study.tell(number, state=TrialState.PRUNED)
            else:
                self._study.tell(number, state=TrialState.FAIL)


class Ledger:
    """The persistent study. One driver at a time: it holds the study's lock."""

    def __init__(self, home: Home, config: StudyConfig) -> None:
        self.config = config
        self._lock = try_lock(
            home.mlruns / f".study-{config.name}.lock",
            f"study {config.name} is being driven by another process; wait for it, or choose another --name",
        )
        try:
            self.study = _open(home, config)
            self._check_spec()
            self._count = len(self.trials)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        self._lock.release()

    def _check_spec(self) -> None:
        spec, held = self.config.spec(), self.study.user_attrs.get(SPEC)
        if held is None:
            self.study.set_user_attr(DEFINITION, self.config.definition())
            self.study.set_user_attr(SPEC, spec)
            return
        changed = sorted(k for k in spec.keys() | held.keys() if spec.get(k) != held.get(k))
        if changed:
            shown = "; ".join(f"{k} was {held.get(k, 'absent')}, now {spec.get(k, 'absent')}" for k in changed[:4])
            more = f" (and {len(changed) - 4} more)" if len(changed) > 4 else ""
            raise StudyError(
                f"study {self.config.name} was started with other settings: {shown}{more}; "
                "repeat the old ones to resume it, or choose another --name"
            )

    @property
    def trials(self) -> list[FrozenTrial]:
        """Every trial, in order of number."""
        return self.study.get_trials(deepcopy=False)

    def __len__(self) -> int:
        """How many trials there are: the number of the next."""
        return self._count

    def trial(self, number: int) -> FrozenTrial:
        """One trial as it is now. A list of all of them costs more with each, and would be asked for at every event."""
        storage = self.study._storage
        return storage.get_trial(storage.get_trial_id_from_study_id_trial_number(self.study._study_id, number))

    def begin(self, params: Mapping[str, Any]) -> FrozenTrial:
        """Write down a new running trial, params and all, in one go: a crash leaves it whole or absent."""
        self.study.add_trial(
            optuna.trial.create_trial(
                state=TrialState.RUNNING, params=dict(params), distributions=self.config.distributions
            )
        )
        self._count += 1
        return self.trial(self._count - 1)

    def live(self, trial: FrozenTrial) -> optuna.trial.Trial:
        """A running trial as something that can be reported to."""
        return optuna.trial.Trial(self.study, trial._trial_id)

    def note(self, trial: FrozenTrial, **attributes: Any) -> None:
        """Keep facts beside a trial that is still running."""
        live = self.live(trial)
        for name, value in attributes.items():
            live.set_user_attr(name, value)

    def should_stop(self, trial: FrozenTrial, epoch: int, value: float) -> bool:
        """Report an intermediate value; whether the pruner stops the trial. Epochs heard before are passed over."""
        live = self.live(trial)
        if epoch in self.trial(trial.number).intermediate_values:
            return False
        live.report(value, epoch)
        return live.should_prune()

    def tell(self, trial: FrozenTrial, values: list[float] | None = None, state: TrialState | None = None) -> None:
        with quiet_optuna():
            self.study.tell(trial.number, values, state=state)


def study_names(home: Home) -> list[str]:
    """The studies in this home's database."""
    if not (home.mlruns / "optuna.db").exists():
        return []
    with quiet_optuna():
        return sorted(optuna.study.get_all_study_names(_storage(home)))


def load_study(home: Home, name: str) -> optuna.Study:
    """A study for reading; StudyError if there is none of that name."""
    names = study_names(home)
    if name not in names:
        raise StudyError(f"there is no study {name!r}; studies are {', '.join(names) or 'none yet'}")
    with quiet_optuna():
        return optuna.load_study(study_name=name, storage=_storage(home))


def held_window(home: Home, name: str) -> int | None:
    """The proposal window that a study was started with, since it cannot change; None if there is no such study."""
    if name not in study_names(home):
        return None
    study = load_study(home, name)
    return stored_config(study).window if study.get_trials(deepcopy=False) else None


def _open(home: Home, config: StudyConfig) -> optuna.Study:
    # Optuna's first write creates the tables; two processes doing so at once would race.
    with home.store.lock("optuna-db"), quiet_optuna():
        storage = _storage(home)
        held = [s for s in optuna.study.get_all_study_summaries(storage) if s.study_name == config.name]
        if held and held[0].n_trials == 0:
            # A command that got no further, say because its data set was missing, does not bind the corrected one.
            optuna.delete_study(study_name=config.name, storage=storage)
        return optuna.create_study(
            study_name=config.name,
            storage=storage,
            directions=config.directions,
            pruner=_pruner(config.pruner),
            load_if_exists=True,
        )


def _storage(home: Home) -> optuna.storages.RDBStorage:
    home.mlruns.mkdir(parents=True, exist_ok=True)
    return optuna.storages.RDBStorage(
        f"sqlite:///{home.mlruns / 'optuna.db'}", engine_kwargs={"connect_args": {"timeout": 60}}
    )


def _pruner(name: str) -> optuna.pruners.BasePruner:
    if name == "median":
        return optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=2)
    if name == "halving":
        return optuna.pruners.SuccessiveHalvingPruner(min_resource=2)
    return optuna.pruners.NopPruner()


@contextlib.contextmanager
def quiet_optuna() -> Iterator[None]:
    """No log lines and no experimental-feature warnings from Optuna inside; the caller's settings come back after."""
    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(level)
