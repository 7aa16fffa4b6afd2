"""The persistent study: every trial with its state, params, values, in SQLite. One driver at a time."""

import math
from collections.abc import Mapping, Sequence
from copy import copy
from datetime import datetime
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from pipeline.config.settings import BEFORE_ADDED, RETIRED
from pipeline.errors import StudyError
from pipeline.store.home import Home
from sweeps.study.config import DEFINITION, SAMPLER_BEFORE, SPEC, UNPACKING, StudyConfig
from sweeps.study.continuing import refusal
from sweeps.study.locking import study_lock
from sweeps.study.storage import open_study, quiet_optuna, readable, set_running, storage, writable, write_facts

RUNGS = "rungs"
"""What a trial is worth at each rung that it has passed: {epoch: values of the objectives, in their order}."""
AGAIN = "again"
"""Whether a failed trial may go through another time: what failed was its worker, or a bug of ours."""
REOPENED = "reopened"
"""That a trial had failed, and was set running again."""
DETAILS = "traceback"
"""Why a trial failed, in full, where that is a bug of ours."""
FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)


class Ledger:
    """The persistent study. One driver at a time: it holds the study's lock."""

    def __init__(self, home: Home, config: StudyConfig, *, retry_failed: bool = False) -> None:
        self.config = config
        self.reopened: set[int]
        """Failed trials that were set running again, and are not over."""
        self._lock = study_lock(home, config.name)
        try:
            self.study = open_study(home, config)
            with writable(home):
                self._check_spec()
                self._name_objectives()
            if retry_failed:
                self._reopen(home)
            # Also of a driver that was killed: whoever drives the study next takes them up.
            under_way = [t for t in self.trials if t.state == TrialState.RUNNING]
            self.reopened = {t.number for t in under_way if t.user_attrs.get(REOPENED)}
            self._count = len(self.trials)
            self._engine = storage(home).engine
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
        before = BEFORE_ADDED | {"sampler": SAMPLER_BEFORE}
        # A list as JSON has it: what was done before is a value of the setting's own type.
        held = {k: list(v) if isinstance(v, tuple) else v for k, v in before.items() if k in spec} | held
        changed = sorted(k for k in (spec.keys() | held.keys()) - RETIRED if spec.get(k) != held.get(k))
        if changed:
            raise StudyError(refusal(self.config.name, held, spec, changed, ""))

    def _name_objectives(self) -> None:
        """For whoever opens the study with Optuna: its plots and its dashboard say what each value is."""
        names = [objective.name for objective in self.config.objectives]
        if self.study.metric_names != names:
            with quiet_optuna():
                self.study.set_metric_names(names)

    def _reopen(self, home: Home) -> None:
        """Set failed trials running again, under their numbers: a driver takes up what it finds running."""
        failed = [t for t in self.trials if may_go_through(t)]
        if failed:
            set_running(home, [t._trial_id for t in failed], kept=RUNGS, mark=REOPENED)
            self.study = open_study(home, self.config)  # anew: Optuna keeps finished trials in memory

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
        trial = optuna.trial.create_trial(
            state=TrialState.RUNNING, params=dict(params), distributions=self.config.distributions
        )
        trial._trial_id = self.study._storage.create_new_trial(self.study._study_id, template_trial=trial)
        trial.number = self._count
        self._count += 1
        return trial

    def note(self, trial: FrozenTrial, **facts: Any) -> None:
        """Keep facts beside a trial that is still running."""
        if facts:
            write_facts(self._engine, trial._trial_id, facts)

    def tell(
        self, trial: FrozenTrial, values: Sequence[float] | None = None, state: TrialState | None = None, **facts: Any
    ) -> FrozenTrial:
        """Keep facts beside a trial, then end it, with its values or in a state; the trial with what it was told. One
        of which a value is not a number has failed."""
        if state is None:
            usable = values is not None and not any(math.isnan(value) for value in values)
            state = TrialState.COMPLETE if usable else TrialState.FAIL
        self.note(trial, **facts)
        ended = [*map(float, values or ())] if state == TrialState.COMPLETE else None
        if not self.study._storage.set_trial_state_values(trial._trial_id, state, ended):
            raise StudyError(f"trial {trial.number} of study {self.config.name} could not be ended in the ledger")
        now = copy(trial)
        now.state, now.values, now.user_attrs = state, ended, {**trial.user_attrs, **facts}
        now.datetime_complete = datetime.now()
        return now


def may_go_through(trial: FrozenTrial) -> bool:
    """Whether a trial has failed and may not do so another time; older ledgers do not say."""
    return trial.state == TrialState.FAIL and bool(trial.user_attrs.get(AGAIN, True))


def recorded_studies(home: Home, *, all_: bool = False) -> list[str]:
    """The studies in this home's database, as Optuna reads them, with trials or without; `all_`: those that are half
    unpacked, too. `sweeps.finding.study_names` is for what people type: with trials, newest first, without Optuna."""
    if not (home.mlruns / "optuna.db").exists():
        return []
    with quiet_optuna(), readable(home):
        names = sorted(optuna.study.get_all_study_names(storage(home)))
    return [name for name in names if all_ or not name.startswith(UNPACKING)]


def every_study(home: Home) -> dict[str, optuna.Study]:
    """All studies for reading, by name; the database is opened once, which takes longer than to read it."""
    if not (home.mlruns / "optuna.db").exists():
        return {}
    with quiet_optuna(), readable(home):
        held_in = storage(home)
        names = sorted(name for name in optuna.study.get_all_study_names(held_in) if not name.startswith(UNPACKING))
        return {name: optuna.load_study(study_name=name, storage=held_in) for name in names}


def load_study(home: Home, name: str) -> optuna.Study:
    """A study for reading; StudyError if there is none of that name."""
    names = recorded_studies(home)
    if name not in names:
        raise StudyError(f"there is no study {name!r}; studies are {', '.join(names) or 'none yet'}")
    with quiet_optuna(), readable(home):
        return optuna.load_study(study_name=name, storage=storage(home))
