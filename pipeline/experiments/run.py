"""One run with a ledger: executed on test, recorded in MLflow, reported."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.experiments.record import INTERRUPTED, closing, log_outcome, run_spec
from pipeline.grids import shown_grid
from pipeline.models.architecture import Architecture
from pipeline.reporting.cautions import cautions
from pipeline.reporting.run import run_report_path, write_run_report
from pipeline.runs.execute import execute, set_up_process
from pipeline.runs.outcome import Outcome
from pipeline.stages.context import Context
from pipeline.stages.prepare import prepare
from pipeline.stages.reference import reference
from pipeline.stages.train import epoch_grid_path
from pipeline.store.store import KEY_LENGTH
from pipeline.tracking import Tracker, uninterrupted
from pipeline.training.fit import check_batch_size
from pipeline.training.state import EpochRecord


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
            "cautions": [str(sentence) for sentence in cautions(self.outcome)],
            "metrics": self.outcome.metrics,
        }


def prerequisites(ctx: Context, splits: tuple[str, ...]) -> None:
    """Data, judges, reference statistics, before anything is recorded: a user's mistake here leaves no run behind."""
    data = prepare(ctx)
    check_batch_size(ctx.config.train, data)
    if ctx.config.model.kind == "cvae":
        for split in splits:
            reference(ctx, split)


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

    def on_epoch(record: EpochRecord, model: Architecture | None, folder: Path) -> None:
        if not tracked.finished:
            with uninterrupted():
                tracked.log_epoch(record.epoch, record.metrics)
                grid = epoch_grid_path(folder, record.epoch)
                if grid.exists():
                    tracked.log_image("generated", shown_grid(grid), step=record.epoch)

    with closing(tracked):
        outcome = execute(ctx, "test", on_epoch)
        report = run_report_path(outcome, ctx.home)
        if not (tracked.finished and report.exists()):
            report = write_run_report(outcome, ctx.home)
        if not tracked.finished:
            with uninterrupted():
                log_outcome(tracked, outcome)
                tracked.log_file(report)
    return RunResult(outcome, tracked.id, report)
