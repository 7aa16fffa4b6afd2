"""What a sweep costs outside training and scoring, per trial, as it grows: ledger, proposals, MLflow, store, report.

Trials are no-ops on simulated workers: what is measured is the driver, which is one process however large the cluster.
"""

import hashlib
import json
import math
import resource
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
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
from sweeps.driver import _Sweep, first_view, parent_spec
from sweeps.execution.jobs import EpochDone, Event, Job, JobDone, JobStopped
from sweeps.judges import JudgesBeside
from sweeps.progress import SweepView
from sweeps.rebuilding import rebuild_report
from sweeps.study.config import MEMORY, StudyConfig
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
        self.memory: list[float] = []
        """The most that this process had had by then, in MB."""
        self._making = Seconds(0.0, 0.0)

    @property
    def free(self) -> int:
        return self.workers - len(self._waiting)

    def submit(self, job: Job) -> None:
        self._waiting.append(job)
        self.clock.append(Seconds.now() - self._making)
        self.memory.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)

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
        """Numbers that depend on the settings as those of MNIST do, roughly: no setting is best in everything, and two
        trainings differ. So the front is as large as it is, and the sampler has as much to do."""
        beta = math.log10(config.train.beta)  # -1 .. 1
        size = math.log2(config.model.latent_dim / 8) / 3  # -2/3 .. 1
        rate = abs(math.log10(config.train.learning_rate / 2e-3))
        noise = np.random.default_rng(config.train.seed).standard_normal(3)
        shifts = {
            "accuracy": 0.02 * (beta - size - rate) + 0.003 * noise[0],
            "coverage": 0.1 * (-abs(beta - 0.2) - abs(size) - rate) + 0.01 * noise[1],
            "elbo": 8 * ((beta + 0.3) ** 2 + (size - 0.2) ** 2 + rate) + 0.5 * noise[2],
        }
        stored = json.loads(self._run["run.json"])["metrics"]
        return {k: v + next((by for kind, by in shifts.items() if kind in k), 0.0) for k, v in stored.items()}

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

    def __post_init__(self) -> None:
        base = build_config(TINY)
        self._ctx = Context(base, self.home)
        execute(self._ctx, "val")
        objectives = chosen((), "cvae", base.sampling.prior)
        window = max(4, self.workers)
        self._config = StudyConfig(
            "growth", base, DEFAULT_SPACE, objectives, window=window, pruner=self.pruner, memory=MEMORY
        )
        self._executor = Simulated(self.home, base, self.workers)
        self._tracker = MlflowTracker.connect(self.home, "growth", on_warning=print)

    def to(self, sizes: Iterable[int], on_point: Callable[[Point], None] = lambda point: None) -> list[Point]:
        """Trials up to the largest of these sizes, and what each of the latest cost the driver at each size; each point
        is told of as soon as it is there."""
        largest, left, points = max(sizes), sorted(sizes), list[Point]()

        def look(view: SweepView) -> None:
            while left and len(self._executor.clock) >= left[0]:
                points.append(self._point(left.pop(0)))
                on_point(points[-1])

        ledger = Ledger(self.home, self._config)
        try:
            parent = self._tracker.open_run(parent_spec(self._ctx, self._config), reopen=True)
            jobs = TrackedJobs(self._ctx, self._tracker, self._executor, parent, "growth", float("inf"))
            view = first_view(ledger, largest, self.workers)
            _Sweep(ledger, jobs, JudgesBeside(self._ctx), view, look).search()
        finally:
            ledger.close()
        return points

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

    def _point(self, size: int) -> Point:
        """Trials are submitted one after the other: between two submissions lies everything that one of them costs."""
        latest, clock = max(LATEST, size // 20), self._executor.clock
        spent = clock[size - 1] - clock[size - 1 - latest]
        return Point(self.workers, size, spent.wall / latest, spent.cpu / latest, self._executor.memory[size - 1])


def _say(point: Point) -> None:
    ms, cpu = 1000 * point.seconds_per_trial, 1000 * point.cpu_seconds_per_trial
    print(
        f"{point.workers} workers, {point.trials} trials: {ms:.0f} ms of driver per trial, {cpu:.0f} of them CPU; "
        f"{point.megabytes:.0f} MB",
        flush=True,
    )


def measure(sizes: tuple[int, ...], report_sizes: tuple[int, ...], workers: tuple[int, ...] = (8,)) -> dict[str, Any]:
    """Seconds per trial around each size, in one growing study for each number of workers; the report at some sizes."""
    set_up_process(1)
    rows: list[dict[str, Any]] = []
    reports: list[dict[str, Any]] = []
    for count in workers:
        with tempfile.TemporaryDirectory() as folder:
            growth = Growth(Home(Path(folder), Path(folder) / "data"), count)
            rows += map(vars, growth.to(sizes, _say))
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
