"""What a home knows and its tracker lacks, recorded there: studies, ablations, single runs. Trains nothing.

The store and the ledgers hold everything that is recorded of a run, so a tracker that was away, emptied or replaced
can be told all of it: what it has is left alone, what it lacks is what would be there had it listened at the time.
"""

import calendar
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from optuna import Study
from optuna.trial import TrialState

from pipeline.config.settings import RunConfig
from pipeline.errors import ConfigError, CvaePipeError, TrackingError
from pipeline.experiments.record import INTERRUPTED, record_alone, run_spec
from pipeline.reporting.run import run_report_path, write_run_report
from pipeline.runs.outcome import Outcome, load_outcome
from pipeline.runs.stored import find_run_key, is_whole
from pipeline.stages.context import Context
from pipeline.stages.graph import PREPARE, TRAIN, run_key
from pipeline.store.files import read_json
from pipeline.store.home import Home
from pipeline.store.store import KEY_LENGTH, MANIFEST
from pipeline.tracking import TrackedRun, Tracker, uninterrupted
from sweeps.ablation import open_parent, record_ablation, stored_cells, summarise_ablation
from sweeps.analysis.summary import Summary, summarise
from sweeps.driver import parent_spec, record_study
from sweeps.record import FINAL, RETRAINED, final_title, lacking_of, retraining_title
from sweeps.replay import record_trial
from sweeps.reporting.ablation import write_ablation
from sweeps.study.ablation import AblationConfig, stored_ablations
from sweeps.study.config import stored_config
from sweeps.study.ledger import Ledger, load_study, recorded_studies
from sweeps.tracked import TrackedJobs

UNFINISHED = "recorded afterwards, before it was finished; repeat the sweep to go on"


@dataclass
class Synced:
    """What a synchronisation did."""

    recorded: list[str] = field(default_factory=list)
    """Runs that the tracker lacked, by name; of a study's its name before them."""
    present: int = 0
    """Runs that it had."""
    skipped: dict[str, str] = field(default_factory=dict)
    """Name -> why it could not be recorded."""

    def document(self) -> dict[str, Any]:
        return {"recorded": self.recorded, "present": self.present, "skipped": self.skipped}


def sync(
    home: Home,
    tracker: Tracker,
    *,
    names: Collection[str] = (),
    again: bool = False,
    say: Callable[[str], None] = lambda text: None,
    progress: Callable[[str, int, int, str], None] = lambda what, done, total, note: None,
) -> Synced:
    """Record what the tracker lacks, of everything or of these studies, ablations and runs.

    `again` goes over what it has as finished, too: what is missing of that is added, nothing twice. ConfigError for a
    name there is none of; TrackingError if the tracker stops answering, and a repeated call goes on.
    """
    studies, ablations = recorded_studies(home), stored_ablations(home)
    grouped = [name for name in (*studies, *ablations) if not names or name in names]
    single = _single_runs(home, studies, ablations) if not names else _named_runs(home, names, (*studies, *ablations))
    done = Synced()
    recorder = _Recorder(home, tracker, again, done, say)
    work: list[tuple[str, Callable[[], None]]] = []
    for name in grouped:
        whole = partial(recorder.study, name) if name in studies else partial(recorder.ablation, ablations[name])
        work.append((name, whole))
    work += [(key[:KEY_LENGTH], partial(recorder.run, key)) for key in single]
    for i, (name, record) in enumerate(work):
        progress("sync", i, len(work), name)
        try:
            record()
        except TrackingError:  # it stopped answering: the rest would fail, too
            raise
        except CvaePipeError as error:
            recorder.skip(name, str(error))
    progress("sync", len(work), len(work), "done")
    return done


class _Recorder:
    """Records one thing after the other, and counts."""

    def __init__(self, home: Home, tracker: Tracker, again: bool, done: Synced, say: Callable[[str], None]) -> None:
        self.home, self.tracker, self.again, self.done, self.say = home, tracker, again, done, say

    # ---- a study ---------------------------------------------------------------------------------------------------

    def study(self, name: str) -> None:
        config = stored_config(load_study(self.home, name))
        ledger = Ledger(self.home, config)  # nobody may drive it meanwhile
        try:
            if len(ledger):
                self._study(ledger)
        finally:
            ledger.close()

    def _study(self, ledger: Ledger) -> None:
        config, trials = ledger.config, ledger.trials
        ctx = self._context(config.base)
        began = min((t.datetime_start.timestamp() for t in trials if t.datetime_start), default=None)
        spec = replace(parent_spec(ctx, config), started=began, ended=("KILLED", UNFINISHED))
        parent = self.tracker.open_run(spec, reopen=self.again)
        jobs = self._jobs(ctx, parent, config.name)
        with self._closing(jobs):
            before, last = len(self.done.recorded), self._parts(jobs, ledger)
            if parent.finished and len(self.done.recorded) == before:
                self.done.present += 1
                return
            if parent.finished:
                jobs.parent = self.tracker.open_run(spec, reopen=True)
            with uninterrupted():
                whole = self._conclude_study(jobs, summarise(self.home, ledger.study, config))
                jobs.parent.close("FINISHED" if whole else "KILLED", "" if whole else UNFINISHED, ended=last)
        self._count(config.name, jobs.parent)

    def _parts(self, jobs: TrackedJobs, ledger: Ledger) -> float | None:
        """Trials, re-trainings and finals of a study; when the last of them ended, in Unix seconds."""
        config, ends = ledger.config, []
        for trial in ledger.trials:
            name = f"{config.name}: trial {trial.number:02d}"
            with uninterrupted():
                self._count(name, record_trial(jobs, config, trial))
            if trial.datetime_complete:
                ends.append(trial.datetime_complete.timestamp())
            if trial.state == TrialState.COMPLETE and not is_whole(self.home, trial.user_attrs["run_key"]):
                self.skip(name, "its result is not in the store; repeat the sweep, which trains it anew")
        for title, split, tag, outcome in _closing_runs(self.home, summarise(self.home, ledger.study, config)):
            ends.append(_finished_at(self.home, outcome.key))
            run = jobs.open_run(outcome.config, split, title, {tag: "true"}, started=_began_at(self.home, outcome))
            with uninterrupted():
                jobs.record(run, outcome, ended=ends[-1])
            self._count(f"{config.name}: {title}", run)
        return max(ends, default=None)

    def _conclude_study(self, jobs: TrackedJobs, summary: Summary) -> bool:
        """The study's own page; whether the study is at its end, as far as the store knows."""
        complete = summary.frame.loc[summary.frame["state"] == "complete", "number"]
        report = self.home.reports / summary.config.name / "report.html"
        if summary.chosen is None or any(number not in summary.outcomes for number in complete):
            return False  # what would be said of it is not what is known
        if not report.exists():
            from sweeps.rebuilding import rebuild_report

            rebuild_report(self.home, summary.config.name)
        record_study(jobs, summary)
        if summary.champion is not None and (lacking := lacking_of(summary.champion, self.home)):
            reason = f"{lacking} is not in the store; repeat the sweep, which makes it and registers the choice"
            self.skip(f"{summary.config.name}: the registered model", reason)
        unfinished = summary.frame["state"].isin(["running", "waiting"]).any()
        return not unfinished and len(summary.finals) == summary.closing.final_seeds

    # ---- an ablation -----------------------------------------------------------------------------------------------

    def ablation(self, config: AblationConfig) -> None:
        ctx = self._context(config.base)
        stored = {
            name: load_outcome(self.home, key)
            for name, cell in config.cells().items()
            if is_whole(self.home, key := run_key(cell, "test"))
        }
        if not stored:
            return
        began = min(_began_at(self.home, outcome) for outcome in stored.values())
        last = max(_finished_at(self.home, outcome.key) for outcome in stored.values())
        parent = open_parent(ctx, config, self.tracker, reopen=self.again, started=began)
        jobs, before = self._jobs(ctx, parent, config.name), len(self.done.recorded)
        with self._closing(jobs):
            for name, outcome in stored.items():
                tags = {"ablation": config.key}
                run = jobs.open_run(outcome.config, "test", name, tags, started=_began_at(self.home, outcome))
                with uninterrupted():
                    jobs.record(run, outcome, ended=_finished_at(self.home, outcome.key))
                self._count(f"{config.name}: {name}", run)
            if parent.finished and len(self.done.recorded) == before:
                self.done.present += 1
                return
            if parent.finished:
                jobs.parent = open_parent(ctx, config, self.tracker, started=began)
            whole = len(stored) == len(config.cells())
            with uninterrupted():
                if whole:
                    result = summarise_ablation(config, stored_cells(self.home, config))
                    html = self.home.reports / config.name / "report.html"
                    record_ablation(jobs.parent, result, html if html.exists() else write_ablation(result, self.home))
                jobs.parent.close("FINISHED" if whole else "KILLED", "" if whole else INTERRUPTED, ended=last)
        self._count(config.name, jobs.parent)

    # ---- a single run ----------------------------------------------------------------------------------------------

    def run(self, key: str) -> None:
        outcome = load_outcome(self.home, key)
        spec = run_spec(self._context(outcome.config), outcome.split)
        run = self.tracker.open_run(replace(spec, started=_began_at(self.home, outcome)), reopen=self.again)
        if not run.finished:
            report = run_report_path(outcome, self.home)
            if not report.exists():
                report = write_run_report(outcome, self.home)
            with uninterrupted():
                record_alone(run, outcome, self.home, report)
                run.close("FINISHED", ended=_finished_at(self.home, key))
        self._count(outcome.name, run)

    # ---- what they share -------------------------------------------------------------------------------------------

    @contextmanager
    def _closing(self, jobs: TrackedJobs) -> Iterator[None]:
        """Leaves no parent RUNNING, whatever happens inside."""
        try:
            yield
        except BaseException:
            with uninterrupted():
                jobs.parent.close("KILLED", INTERRUPTED)
            raise

    def skip(self, name: str, reason: str) -> None:
        self.done.skipped[name] = reason
        self.say(f"not recorded: {name}: {reason}")

    def _context(self, config: RunConfig) -> Context:
        """What a run's description is made with; ConfigError where that would prepare a data set anew."""
        if not self.home.store.has(PREPARE.name, PREPARE.key(config)):
            raise ConfigError(
                f"its data set {config.data.dataset} is not prepared in this home; `cvae-pipe prepare --dataset "
                f"{config.data.dataset}` makes up for that"
            )
        return Context(config, self.home)

    def _jobs(self, ctx: Context, parent: TrackedRun, study: str) -> TrackedJobs:
        return TrackedJobs(ctx, self.tracker, None, parent, study, float("inf"), again=self.again)

    def _count(self, name: str, run: TrackedRun | None) -> None:
        if run is None:
            return
        if run.finished:
            self.done.present += 1
        elif run.incomplete:
            raise TrackingError(f"the tracking store did not take {name}; the same command goes on from there")
        else:
            self.done.recorded.append(name)


def _closing_runs(home: Home, summary: Summary) -> list[tuple[str, str, str, Outcome]]:
    """(title, split, tag, outcome) of every re-training that is in the store: of the choice, and of earlier ones."""
    found = []
    for number in summary.outcomes:
        for on_val, on_test in zip(
            summary.final_configs(number, "val"), summary.final_configs(number, "test"), strict=True
        ):
            seed = on_test.train.seed
            for config, split, title, tag in (
                (on_val, "val", retraining_title(number, seed), RETRAINED),
                (on_test, "test", final_title(seed), FINAL),
            ):
                key = run_key(config, split)
                if is_whole(home, key):
                    found.append((title, split, tag, load_outcome(home, key)))
    return found


def _single_runs(home: Home, studies: Collection[str], ablations: dict[str, AblationConfig]) -> list[str]:
    """Keys of the runs that were made on their own, oldest first: they have a report, or are a part of nothing."""
    parts = {run_key(cell, "test") for config in ablations.values() for cell in config.cells().values()}
    for name in studies:
        parts |= _test_keys(home, load_study(home, name))
    found = []
    for key in home.store.keys("run"):
        folder = home.store.path("run", key)
        if read_json(folder / "run.json")["split"] != "test" or not is_whole(home, key):
            continue
        if key not in parts or run_report_path(load_outcome(home, key), home).exists():
            found.append(key)
    return sorted(found, key=lambda key: _finished_at(home, key))


def _test_keys(home: Home, study: Study) -> set[str]:
    """What the re-trainings of a study's trials are called on test, whether they are there or not."""
    if not study.get_trials(deepcopy=False):
        return set()
    summary = summarise(home, study, stored_config(study))
    return {run_key(config, "test") for number in summary.outcomes for config in summary.final_configs(number, "test")}


def _named_runs(home: Home, names: Collection[str], grouped: Collection[str]) -> list[str]:
    """Keys of the runs among these names; ConfigError for what is neither a run nor a study."""
    keys = []
    for name in names:
        if name not in grouped:
            key = find_run_key(home, name)
            if read_json(home.store.path("run", key) / "run.json")["split"] != "test":
                raise ConfigError(f"{name} is a trial of a study; name the study")
            keys.append(key)
    return keys


def _finished_at(home: Home, key: str) -> float:
    """When a run was stored, in Unix seconds."""
    return _stored_at(home.store.path("run", key))[0]


def _began_at(home: Home, outcome: Outcome) -> float:
    """When the training of a run began, in Unix seconds; when the run was stored, where that is not known."""
    with suppress(OSError, ValueError, KeyError):
        finished, seconds = _stored_at(home.store.path(TRAIN.name, TRAIN.key(outcome.config)))
        return finished - seconds
    return _finished_at(home, outcome.key)


def _stored_at(folder: Path) -> tuple[float, float]:
    """When a result was finished, in Unix seconds, and how many it took."""
    manifest = read_json(folder / MANIFEST)
    when = calendar.timegm(time.strptime(manifest["finished_at"], "%Y-%m-%dT%H:%M:%SZ"))
    return float(when), float(manifest["seconds"])
