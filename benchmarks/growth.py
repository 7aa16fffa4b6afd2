"""What a sweep costs outside training and scoring, per trial, as it grows: ledger, proposals, MLflow, store, report.

Trials are no-ops on simulated workers: what is measured is the driver, which is one process however large the cluster.
"""

import hashlib
import json
import resource
import tempfile
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from optuna.trial import FixedTrial

from pipeline.config.reading import build_config
from pipeline.config.settings import RunConfig
from pipeline.runs.execute import execute, set_up_process
from pipeline.stages.context import Context
from pipeline.stages.graph import STAGES, TRAIN, run_key
from pipeline.store.home import Home
from pipeline.store.store import MANIFEST
from pipeline.store.transfer import packed
from pipeline.tracking import MlflowTracker
from sweeps.driver import _Sweep, first_view, parent_spec, rebuild_report
from sweeps.execution.jobs import EpochDone, Event, Job, JobDone, JobStopped
from sweeps.judges import JudgesBeside
from sweeps.study.config import StudyConfig
from sweeps.study.ledger import Ledger
from sweeps.study.objective import chosen, values
from sweeps.study.samplers import sobol_point
from sweeps.study.space import DEFAULT_SPACE
from sweeps.tracked import TrackedJobs

TINY = {
    "data": {"dataset": "digits"},
    "model": {"hidden": [16]},
    "train": {"epochs": 2},
    "judge": {"epochs": 1, "mlp_epochs": 1, "batch_size": 64},
    "evaluate": {"draws": 1},
    "score": {"per_class": 20},
}


LATEST = 20
"""Trials, or a twentieth of all where that is more, that a figure is the mean over."""


@dataclass(frozen=True)
class Seconds:
    """On the clock, and of this process on a processor: the latter is the same beside other work, or nearly."""

    wall: float
    cpu: float

    @staticmethod
    def now() -> "Seconds":
        return Seconds(time.perf_counter(), time.process_time())

    def __add__(self, other: "Seconds") -> "Seconds":
        return Seconds(self.wall + other.wall, self.cpu + other.cpu)

    def __sub__(self, other: "Seconds") -> "Seconds":
        return Seconds(self.wall - other.wall, self.cpu - other.cpu)


@dataclass
class Simulated:
    """An executor of so many workers whose jobs are done as soon as they are asked for. Each job sends what it would
    send from another machine: a copy of one real outcome, with numbers of its own."""

    home: Home
    pattern: RunConfig
    workers: int = 1
    split: str = "val"

    def __post_init__(self) -> None:
        self._waiting: deque[Job] = deque()
        self._at_rung: dict[str, bool] = {}
        key = run_key(self.pattern, self.split)
        store = self.home.store
        self._run = packed(store.path("run", key))
        parts = json.loads(self._run["run.json"])["stages"]
        self._stages = [stage for stage in STAGES if stage.name in parts]
        self._parts = {stage.name: packed(store.path(stage.name, parts[stage.name])) for stage in self._stages}
        self.clock: list[Seconds] = []
        """As each job was submitted, less what making up outcomes has taken so far."""
        self._making = Seconds(0.0, 0.0)

    @property
    def free(self) -> int:
        return self.workers - len(self._waiting)

    def submit(self, job: Job) -> None:
        self._waiting.append(job)
        self.clock.append(Seconds.now() - self._making)

    def events(self, timeout: float) -> list[Event]:
        """What the job says that was submitted first: at a rung what it is worth there, and then that it is over."""
        job = self._waiting[0]
        began = Seconds.now()
        metrics = self._metrics(job.config)
        self._making += Seconds.now() - began
        if job.rungs and job.id not in self._at_rung:
            return [
                EpochDone(job.id, job.rungs[0], {}, {name: metrics[f"{self.split}/{name}"] for name in job.objectives})
            ]
        self._waiting.popleft()
        if not self._at_rung.pop(job.id, True):
            return [JobStopped(job.id, self.home.store.partial(TRAIN.name, TRAIN.key(job.config)))]
        return [JobDone(job.id, self._sent(job.config, metrics))]

    def answer(self, job: str, go_on: bool) -> None:
        self._at_rung[job] = go_on

    def close(self) -> None: ...

    def _metrics(self, config: RunConfig) -> dict[str, float]:
        """Numbers that depend on the settings, so that the sampler and the front have something to do."""
        shift = config.train.beta / 100 + config.model.latent_dim / 1000
        stored = json.loads(self._run["run.json"])["metrics"]
        return {k: v + shift * (1 if "elbo" in k else -0.1) for k, v in stored.items()}

    def _sent(self, config: RunConfig, metrics: dict[str, float]) -> str:
        """The pattern's results under the keys of `config`, taken over by the store as those of another machine."""
        began = Seconds.now()
        stages = {stage.name: stage.key(config, self.split) for stage in self._stages}
        key = run_key(config, self.split)
        run = json.loads(self._run["run.json"]) | {"stages": stages, "metrics": metrics}
        files = {"run.json": json.dumps(run).encode(), "config.json": json.dumps(config.flat()).encode()}
        described = json.loads(self._run[MANIFEST]) | {"key": key, "files": {n: _fact(c) for n, c in files.items()}}
        files[MANIFEST] = json.dumps(described).encode()
        self._making += Seconds.now() - began
        for stage in self._stages:
            self.home.store.receive(stage.name, stages[stage.name], self._parts[stage.name])
        self.home.store.receive("run", key, files)
        return key


def _fact(content: bytes) -> dict[str, Any]:
    return {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


@dataclass(frozen=True)
class Point:
    """The driver around one size of a study."""

    workers: int
    trials: int
    seconds_per_trial: float
    cpu_seconds_per_trial: float
    megabytes: float
    """The most memory that the process has had so far."""


@dataclass
class Growth:
    """A study of no-op trials that can be made larger."""

    home: Home
    workers: int
    pruner: str = "pareto"
    points: list[Point] = field(default_factory=list)

    def __post_init__(self) -> None:
        base = build_config(TINY)
        self._ctx = Context(base, self.home)
        execute(self._ctx, "val")
        objectives = chosen((), "cvae", base.sampling.prior)
        window = max(4, self.workers)
        self._config = StudyConfig("growth", base, DEFAULT_SPACE, objectives, window=window, pruner=self.pruner)
        self._executor = Simulated(self.home, base, self.workers)
        self._tracker = MlflowTracker.connect(self.home, "growth", on_warning=print)

    def to(self, sizes: Iterable[int]) -> list[Point]:
        """Trials up to the largest of these sizes, and what each of the latest cost the driver at each size."""
        largest = max(sizes)
        ledger = Ledger(self.home, self._config)
        try:
            parent = self._tracker.open_run(parent_spec(self._ctx, self._config), reopen=True)
            jobs = TrackedJobs(self._ctx, self._tracker, self._executor, parent, "growth", float("inf"))
            view = first_view(ledger, largest, self.workers)
            _Sweep(ledger, jobs, JudgesBeside(self._ctx), view, lambda view: None).search()
        finally:
            ledger.close()
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        return [Point(self.workers, size, *self._seconds(size), memory) for size in sizes]

    def fill(self, trials: int) -> None:
        """So many finished trials, points of a Sobol sequence, in ledger and store alone: what a report is made of."""
        ledger = Ledger(self.home, self._config)
        try:
            for n in range(len(ledger), trials):
                trial = ledger.begin(sobol_point(self._config.space, n, seed=0))
                config = self._config.trial_config(n, FixedTrial(trial.params))
                metrics = self._executor._metrics(config)
                facts: dict[str, Any] = {"run_key": self._executor._sent(config, metrics), "metrics": metrics}
                ledger.tell(trial, values(self._config.objectives, metrics), **facts)
        finally:
            ledger.close()

    def _seconds(self, size: int) -> tuple[float, float]:
        """Trials are submitted one after the other: between two submissions lies everything that one of them costs."""
        latest, clock = max(LATEST, size // 20), self._executor.clock
        spent = clock[size - 1] - clock[size - 1 - latest]
        return spent.wall / latest, spent.cpu / latest


def measure(sizes: tuple[int, ...], report_sizes: tuple[int, ...], workers: tuple[int, ...] = (8,)) -> dict[str, Any]:
    """Seconds per trial around each size, in one growing study for each number of workers; the report at some sizes."""
    set_up_process(1)
    rows, reports = [], []
    for count in workers:
        with tempfile.TemporaryDirectory() as folder:
            growth = Growth(Home(Path(folder), Path(folder) / "data"), count)
            for point in growth.to(sizes):
                rows.append(vars(point))
                ms, cpu = 1000 * point.seconds_per_trial, 1000 * point.cpu_seconds_per_trial
                print(f"{count} workers, {point.trials} trials: {ms:.0f} ms of driver per trial, {cpu:.0f} of them CPU")
    for size in report_sizes:
        with tempfile.TemporaryDirectory() as folder:
            growth = Growth(Home(Path(folder), Path(folder) / "data"), 1, "none")
            growth.fill(size)
            began = Seconds.now()
            report = rebuild_report(growth.home, "growth").report
            spent = Seconds.now() - began
            beside = sum(path.stat().st_size for path in report.parent.rglob("*") if path.is_file())
            size_ = report.stat().st_size
            row = {"trials": size, "seconds": spent.wall, "cpu_seconds": spent.cpu}
            reports.append(row | {"bytes": size_, "bytes_beside": beside - size_})
            print(
                f"{size} trials: report in {spent.wall:.1f} s, {spent.cpu:.1f} of them CPU, {size_:,} bytes", flush=True
            )
    return {"driver": rows, "report": reports}
