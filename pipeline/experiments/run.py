"""One run with a ledger: executed on test, recorded in MLflow, reported."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pipeline.experiments.record import INTERRUPTED, closing, describe, record_alone, run_spec
from pipeline.grids import shown_grid
from pipeline.models.architecture import Architecture
from pipeline.reporting.run import run_report_path, write_run_report
from pipeline.runs.execute import execute, set_up_process
from pipeline.runs.names import Label, name_for, put_label
from pipeline.runs.outcome import Outcome
from pipeline.stages.context import Context
from pipeline.stages.graph import run_key
from pipeline.stages.prepare import prepare
from pipeline.stages.reference import reference
from pipeline.stages.train import epoch_grid_path
from pipeline.tracking import Tracker, uninterrupted
from pipeline.training.fit import check_batch_size
from pipeline.training.state import EpochRecord

WRITING = "drawing and writing the report"
RECORDING = "recording it in MLflow"
"""Said for the seconds that each takes."""


@dataclass(frozen=True)
class RunResult:
    """What `run` hands back."""

    outcome: Outcome
    run_id: str
    report: Path


def prerequisites(ctx: Context, splits: tuple[str, ...]) -> None:
    """Data, judges, reference statistics, before anything is recorded: a user's mistake here leaves no run behind."""
    data = prepare(ctx)
    check_batch_size(ctx.config.train, data)
    if ctx.config.model.kind == "cvae":
        for split in splits:
            reference(ctx, split)


def _call(ctx: Context, label: Label) -> Label:
    """Give the run its name, tags and note; a report that it has goes along with a new name."""
    before = ctx.home.reports / name_for(ctx.home, ctx.config, "test")
    called = put_label(ctx.home, run_key(ctx.config, "test"), label)
    now = ctx.home.reports / name_for(ctx.home, ctx.config, "test")
    if label.name and before.exists() and not now.exists():
        before.rename(now)
    return called


def run(
    ctx: Context, connect: Callable[[], Tracker], label: Label | None = None, *, parent_id: str | None = None
) -> RunResult:
    """All stages for one configuration, opened on test, recorded in MLflow, with a report; called what `label` says,
    and a child of the tracked run `parent_id`.

    An interrupted run is closed as KILLED and goes on when the command is repeated; a finished one is not run again.
    """
    set_up_process(ctx.config.runtime.threads)
    tracker = connect()  # before the judges are trained, which takes minutes: a server that is away is known at once
    prerequisites(ctx, ("test",))
    called = _call(ctx, label or Label())
    spec = run_spec(ctx, "test", parent_id=parent_id, tags=called.tags)
    try:
        with uninterrupted():
            tracked = tracker.open_run(spec)
    except KeyboardInterrupt:
        tracker.mark_interrupted(keys=[spec.key], reason=INTERRUPTED)
        raise

    def on_epoch(record: EpochRecord, model: Architecture | None, folder: Path) -> None:
        if not tracked.finished:
            with uninterrupted():
                tracked.log_epoch(record.epoch, record.metrics)
                grid = epoch_grid_path(folder, record.epoch)
                if grid.exists():
                    tracked.log_image("generated", shown_grid(grid), step=record.epoch)

    with closing(tracked):
        with tracked.watched():
            outcome = execute(ctx, "test", on_epoch)
        report = run_report_path(outcome, ctx.home)
        if not (tracked.finished and report.exists()) or label:
            ctx.progress(WRITING, 0, 1, "")
            report = write_run_report(outcome, ctx.home)
            ctx.progress(WRITING, 1, 1, "")
        if not tracked.finished:
            ctx.progress(RECORDING, 0, 1, "")
            with uninterrupted():
                record_alone(tracked, outcome, ctx.home, report)
            ctx.progress(RECORDING, 1, 1, "")
        elif label:
            with uninterrupted():
                tracked.set_tags({"mlflow.runName": outcome.name, **called.tags})
                tracked.set_description(describe(outcome))
                tracked.log_file(report)
    return RunResult(outcome, tracked.id, report)
