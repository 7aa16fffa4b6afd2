"""What a sweep costs outside training and scoring, per trial, as it grows: ledger, proposals, MLflow, store, report."""

import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.config.reading import build_config
from pipeline.config.settings import RunConfig
from pipeline.runs.execute import execute, set_up_process
from pipeline.stages.context import Context
from pipeline.stages.graph import EVALUATE, SCORE, TRAIN, run_key
from pipeline.store.files import read_json, write_json
from pipeline.store.home import Home
from pipeline.store.store import MANIFEST
from pipeline.tracking import MlflowTracker
from sweeps.driver import _Sweep, first_view, parent_spec, rebuild_report
from sweeps.execution.jobs import Event, Job, JobDone
from sweeps.judges import JudgesBeside
from sweeps.study.config import StudyConfig
from sweeps.study.ledger import Ledger
from sweeps.study.objective import chosen
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
"""Trials that a figure is the mean over."""


@dataclass
class Instant:
    """An executor whose jobs are done at once: each gets a copy of one real outcome, with numbers of its own."""

    home: Home
    pattern: RunConfig
    split: str = "val"

    def __post_init__(self) -> None:
        self._submitted: list[Job] = []
        self._copying = 0.0
        self.clock: list[float] = []
        """Seconds on the clock as each job was submitted, less those that copying has taken so far."""

    @property
    def free(self) -> int:
        return 1 - len(self._submitted)

    def submit(self, job: Job) -> None:
        self._submitted.append(job)
        self.clock.append(time.perf_counter() - self._copying)

    def events(self, timeout: float) -> list[Event]:
        job = self._submitted.pop()
        began = time.perf_counter()
        key = self._copied(job.config)
        self._copying += time.perf_counter() - began
        return [JobDone(job.id, key)]

    def answer(self, job: str, go_on: bool) -> None: ...

    def close(self) -> None: ...

    def _copied(self, config: RunConfig) -> str:
        """The pattern's stored results under the keys of `config`."""
        split, store = self.split, self.home.store
        pairs = {
            "train": (TRAIN.key(self.pattern), TRAIN.key(config)),
            "evaluate": (EVALUATE.key(self.pattern, split), EVALUATE.key(config, split)),
            "score": (SCORE.key(self.pattern, split), SCORE.key(config, split)),
        }
        for stage, (old, new) in pairs.items():
            shutil.copytree(store.path(stage, old), store.path(stage, new))
        key = run_key(config, split)
        folder = store.path("run", key)
        shutil.copytree(store.path("run", run_key(self.pattern, split)), folder)
        stored = read_json(folder / "run.json")
        stored["stages"] = {stage: new for stage, (_, new) in pairs.items()}
        # numbers that depend on the setting, so that the sampler and the front have something to do
        shift = config.train.beta / 100 + config.model.latent_dim / 1000
        stored["metrics"] = {k: v + shift * (1 if "elbo" in k else -0.1) for k, v in stored["metrics"].items()}
        write_json(folder / "run.json", stored)
        write_json(folder / "config.json", config.flat())
        write_json(folder / MANIFEST, read_json(folder / MANIFEST) | {"key": key})
        return key


def measure(sizes: tuple[int, ...], report_sizes: tuple[int, ...]) -> dict[str, Any]:
    """Seconds per trial around each size, in one growing study; seconds of the report at some sizes."""
    set_up_process(1)
    with tempfile.TemporaryDirectory() as folder:
        home = Home(Path(folder), Path(folder) / "data")
        base = build_config(TINY)
        ctx = Context(base, home)
        execute(ctx, "val")
        config = StudyConfig("growth", base, DEFAULT_SPACE, chosen((), "cvae", base.sampling.prior))
        executor = Instant(home, base)
        tracker = MlflowTracker.connect(home, "growth", on_warning=print)
        ledger = Ledger(home, config)
        reports = []
        try:
            parent = tracker.open_run(parent_spec(ctx, config), reopen=True)
            for target in sorted({max(sizes), *report_sizes}):
                jobs = TrackedJobs(ctx, tracker, executor, parent, config.name, float("inf"))
                _Sweep(ledger, jobs, JudgesBeside(ctx), first_view(ledger, target, 1), lambda view: None).search()
                if target in report_sizes:
                    began = time.perf_counter()
                    report = rebuild_report(home, "growth").report
                    seconds = time.perf_counter() - began
                    reports.append({"trials": target, "seconds": seconds, "bytes": report.stat().st_size})
                    print(f"{target} trials: report in {seconds:.1f} s, {report.stat().st_size:,} bytes", flush=True)
        finally:
            ledger.close()
    # Trials are submitted one after the other: between two submissions lies everything that one of them costs.
    rows = []
    for size in sizes:
        seconds = (executor.clock[size - 1] - executor.clock[size - 1 - LATEST]) / LATEST
        rows.append({"trials": size, "seconds_per_trial": seconds})
        print(f"{size} trials: {1000 * seconds:.0f} ms per trial, over the last {LATEST}", flush=True)
    return {"driver": rows, "report": reports}
