"""One run: stages in order, its records to a tracker, its result to the store. The only place that sets up a process.

A run is a configuration opened on a split. Equal configurations opened on the same split are the same run: one store
entry, one MLflow run. `execute` is pure in that sense (configuration in, stored outcome out) and is what a sweep's
workers call; `run` adds the ledger.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from pipeline import stages
from pipeline.config import RunConfig
from pipeline.errors import CvaePipeError
from pipeline.model import Autoencoder
from pipeline.outcome import Outcome, describe, load_outcome, run_name
from pipeline.stages import Context
from pipeline.store import KEY_LENGTH, Home, read_json, write_atomically, write_json
from pipeline.tracking import DatasetInfo, RunSpec, TrackedRun, Tracker, code_version, environment_text, uninterrupted
from pipeline.training import EpochRecord, check_batch_size

OnEpoch = Callable[[EpochRecord, Autoencoder, Path], None]
INTERRUPTED = "interrupted; repeat the command to go on"
"""Why a run is KILLED that Ctrl-C or a termination signal stopped."""


def set_up_process(threads: int) -> None:
    """Threads and denormals, once per process: the same arithmetic wherever a run happens."""
    torch.set_num_threads(threads)
    # Dying ReLU units leave denormal Adam moments behind, which CPUs compute with up to a hundred times slower.
    torch.set_flush_denormal(True)


def execute(ctx: Context, split: str, on_epoch: OnEpoch = lambda record, model, folder: None) -> Outcome:
    """Train, evaluate and score on a split, reusing every stage that is there; the outcome is stored and returned."""
    config = ctx.config
    key = stages.run_key(config, split)
    force = bool(ctx.force)  # each stage takes itself out of it
    trained = stages.train(ctx, on_epoch)
    evaluated = stages.evaluate(ctx, split, trained)
    folders = {
        "train": stages.train_key(config),
        "evaluate": stages.evaluate_key(config, split),
    }
    metrics, facts = dict(evaluated.metrics), stages.result_facts(ctx) | {"code": code_version()}
    if config.model.kind == "cvae":
        metrics |= stages.score(ctx, split, trained).metrics
        folders["score"] = stages.score_key(config, split)
        if stages.rescored(config):
            metrics |= stages.expost(ctx, split, trained).metrics
            folders["expost"] = stages.expost_key(config, split)
        if stages.audited(config, split):
            audited = stages.audit(ctx, split, trained)
            metrics |= audited.metrics
            folders["audit"] = stages.audit_key(config, split)
            facts["kl_per_dim"] = read_json(audited.folder / "kl_per_dim.json")
        facts["calibration"] = stages.calibration(ctx, split)
        judge = stages.judge(ctx)
        facts["judge_sha256"] = judge.weights_sha256
        facts["gates"] = {
            kind: [[g.name, g.value, g.bound, g.passed] for g in gates] for kind, gates in judge.gates.items()
        }
    if split == "test":  # a sweep's trials are many, and nobody looks inside of each
        stages.inside(ctx, split, trained)

    def make(work: Path) -> None:
        write_json(work / "run.json", {"split": split, "metrics": metrics, "facts": facts, "stages": folders})
        write_json(work / "config.json", config.flat())

    ctx.home.store.build("run", key, make, inputs=folders, force=force)
    return load_outcome(ctx.home, key)


def data_info(config: RunConfig, facts: dict[str, Any]) -> DatasetInfo:
    """The data set as a tracker shows it."""
    return DatasetInfo(
        name=config.data.dataset,
        digest=facts["source_sha256"][:16],
        context="training",
        source="scikit-learn" if config.data.dataset == "digits" else "torchvision",
        shape=(facts["images"]["train"], *facts["shape"]),
        classes=facts["classes"],
    )


def run_spec(
    ctx: Context, split: str, *, name: str = "", parent_id: str | None = None, tags: dict[str, str] | None = None
) -> RunSpec:
    """How a tracker knows a run: its key, every setting as a param, tags to filter by."""
    config = ctx.config
    key = stages.run_key(config, split)
    return RunSpec(
        name=name or run_name(config, key),
        key=key[:KEY_LENGTH],
        params=config.flat(),
        tags={
            "kind": "run",
            "dataset": config.data.dataset,
            "model": config.model.kind,
            "split": split,
            **(tags or {}),
        },
        parent_id=parent_id,
        dataset=data_info(config, stages.result_facts(ctx)),
    )


def log_outcome(tracked: TrackedRun, outcome: Outcome) -> None:
    """Everything a finished run shows in MLflow; replaying it adds nothing twice."""
    for row in outcome.history:
        record = EpochRecord.from_row(row)
        tracked.log_epoch(record.epoch, record.metrics)
    log_epoch_grids(tracked, outcome.epoch_grids)
    tracked.log_metrics(outcome.metrics)
    tracked.set_description(describe(outcome))
    for kind, path in outcome.grids.items():
        tracked.log_image(f"final/{kind}", stages.read_grid(path), step=0)
    if outcome.per_class:
        tracked.log_table("per_class.json", outcome.per_class["table"])
        tracked.log_table("judge_gates.json", gate_columns(outcome))
        tracked.set_tags({"judge_sha256": outcome.facts["judge_sha256"][:16]})
    tracked.log_text(outcome.config.to_toml(), "config.toml")
    tracked.log_text(history_csv(outcome.history), "history.csv")
    tracked.log_text(environment_text(), "environment.txt")


def gate_columns(outcome: Outcome) -> dict[str, list[Any]]:
    """The judges' gates as columns."""
    rows = [gate for gates in outcome.facts["gates"].values() for gate in gates]
    return {name: [row[i] for row in rows] for i, name in enumerate(("gate", "value", "bound", "passed"))}


def log_epoch_grids(tracked: TrackedRun, grids: dict[int, Path]) -> None:
    for epoch, path in grids.items():
        tracked.log_image("generated", stages.read_grid(path), step=epoch)


def history_csv(history: list[dict[str, float]]) -> str:
    """One line per epoch."""
    columns = list(history[0])
    lines = [",".join(columns), *(",".join(repr(row[c]) for c in columns) for row in history)]
    return "\n".join(lines) + "\n"


@dataclass(frozen=True)
class RunResult:
    """What `run` hands back."""

    outcome: Outcome
    run_id: str
    report: Path

    def summary(self) -> dict[str, Any]:
        """The `--json` document."""
        return {
            "run_key": self.outcome.key[:KEY_LENGTH],
            "name": self.outcome.name,
            "run_id": self.run_id,
            "report": str(self.report),
            "metrics": self.outcome.metrics,
        }


def prerequisites(ctx: Context, splits: tuple[str, ...]) -> None:
    """Data, judges, reference statistics, before anything is recorded: a user's mistake here leaves no run behind."""
    data = stages.prepare(ctx)
    check_batch_size(ctx.config.train, data)
    if ctx.config.model.kind == "cvae":
        for split in splits:
            stages.reference(ctx, split)


def run(ctx: Context, connect: Callable[[], Tracker]) -> RunResult:
    """All stages for one configuration, opened on test, recorded in MLflow, with a report.

    An interrupted run is closed as KILLED and goes on when the command is repeated; a finished one is not run again.
    """
    set_up_process(ctx.config.runtime.threads)
    tracker = connect()  # before the judges are trained, which takes minutes: a server that is away is known at once
    prerequisites(ctx, ("test",))
    spec = run_spec(ctx, "test")
    try:
        with uninterrupted():
            tracked = tracker.open_run(spec)
    except KeyboardInterrupt:
        tracker.mark_interrupted(keys=[spec.key], reason=INTERRUPTED)
        raise

    def on_epoch(record: EpochRecord, model: Autoencoder, folder: Path) -> None:
        if not tracked.finished:
            with uninterrupted():
                tracked.log_epoch(record.epoch, record.metrics)
                grid = stages.epoch_grid_path(folder, record.epoch)
                if grid.exists():
                    tracked.log_image("generated", stages.read_grid(grid), step=record.epoch)

    with closing(tracked):
        outcome = execute(ctx, "test", on_epoch)
        report = report_path(outcome, ctx.home)
        if not (tracked.finished and report.exists()):
            report = write_run_report(outcome, ctx.home)
        if not tracked.finished:
            with uninterrupted():
                log_outcome(tracked, outcome)
                tracked.log_file(report)
    return RunResult(outcome, tracked.id, report)


class closing:
    """Closes a tracked run with its true status, whatever happens inside."""

    def __init__(self, tracked: TrackedRun) -> None:
        self.tracked = tracked
        self.unfinished = ""
        """Why the run is not finished although nothing went wrong, e.g. a time limit; set inside."""

    def __enter__(self) -> "closing":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: object) -> None:
        if self.tracked.finished:
            return
        with uninterrupted():
            if error is None and self.unfinished:
                self.tracked.close("KILLED", self.unfinished)
            elif error is None:
                self.tracked.close("FINISHED")
            elif isinstance(error, CvaePipeError):
                self.tracked.close("FAILED", str(error))
            elif isinstance(error, Exception):
                self.tracked.close("FAILED", f"{type(error).__name__}: {error}")
            else:  # Ctrl-C or a termination signal
                self.tracked.close("KILLED", INTERRUPTED)


def write_run_report(outcome: Outcome, home: Home) -> Path:
    """reports/<name>/report.md and report.html of one run, from stored results only; the path of the html."""
    from pipeline.report import write_report  # here, because drawing libraries take seconds that workers need not spend
    from pipeline.run_report import run_report

    folder = report_path(outcome, home).parent
    _, html = write_report(run_report(outcome), folder)
    write_atomically(folder / "config.toml", outcome.config.to_toml())
    return html


def report_path(outcome: Outcome, home: Home) -> Path:
    """Where the report of a run is, or will be."""
    return home.reports / outcome.name / "report.html"
