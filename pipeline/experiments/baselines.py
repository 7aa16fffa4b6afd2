"""The systems of the reference report side by side: AE, VAE, CVAE and the MLP classifier, under one configuration."""

from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from typing import Any

from pipeline.config.sections import MODELS
from pipeline.evaluation.catalog import show
from pipeline.experiments.run import prerequisites, run
from pipeline.reporting.blocks import Table
from pipeline.reporting.citation import cited
from pipeline.runs.outcome import Outcome
from pipeline.stages.context import Context
from pipeline.tracking import Tracker

COLUMNS = (
    "bce",
    "distortion",
    "kl",
    "neg_elbo",
    "conditional_accuracy",
    "coverage_relative",
    "neg_elbo_expost",
    "conditional_accuracy_expost",
    "coverage_relative_expost",
)


@dataclass(frozen=True)
class Baseline:
    """One system; None where a quantity is not defined for it."""

    system: str
    bce: float | None = None
    kl: float | None = None
    neg_elbo: float | None = None
    conditional_accuracy: float | None = None
    neg_elbo_expost: float | None = None
    conditional_accuracy_expost: float | None = None
    classifier_accuracy: float | None = None
    distortion: float | None = None
    coverage_relative: float | None = None
    coverage_relative_expost: float | None = None
    outcome: Outcome | None = field(default=None, repr=False, compare=False)
    """The run that the numbers are of, which a report cites."""

    def document(self) -> dict[str, Any]:
        """The row as `--json` has it."""
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name != "outcome"}


def baselines(ctx: Context, connect: Callable[[], Tracker]) -> list[Baseline]:
    """Every system trained under the context's settings and opened on test; what is there already is reused."""
    outcomes: dict[str, Outcome] = {}
    for kind in MODELS:
        config = ctx.config.with_settings({"model.kind": kind})
        own = replace(ctx, config=config)
        prerequisites(own, ("test",))
        outcomes[kind] = run(own, connect).outcome
    rows = [
        Baseline(kind, **{name: outcome.metrics.get(f"test/{name}") for name in COLUMNS}, outcome=outcome)
        for kind, outcome in outcomes.items()
    ]
    judged = outcomes["cvae"]
    accuracy = judged.metrics["test/judge_b_accuracy"]
    return [*rows, Baseline("MLP classifier", classifier_accuracy=accuracy, outcome=judged)]


def baseline_table(rows: list[Baseline]) -> Table:
    """A column per system, a row per quantity; a dash where one is not defined, no row where it is for none."""
    shown = [name for name in (*COLUMNS, "classifier_accuracy") if any(getattr(row, name) is not None for row in rows)]

    def cell(row: Baseline, name: str) -> str:
        value = getattr(row, name)
        if value is None or row.outcome is None:
            return "-" if value is None else show(value)
        return cited(row.outcome, f"test/{'judge_b_accuracy' if name == 'classifier_accuracy' else name}")

    return Table(
        ("on test images", *(row.system for row in rows)),
        tuple((name, *(cell(row, name) for row in rows)) for name in shown),
        caption=(
            "Nats per image with sampled z; an ae has no rate and no bound, and only a cvae takes a label, so that "
            "accuracy and coverage are its alone. _expost: "
            "with the prior fitted after training instead of N(0, I)."
        ),
    )
