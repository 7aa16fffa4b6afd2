"""What a tracker shows of a run: name, params, curves, grids, tables, status. A record replayed adds nothing twice."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pipeline.config.settings import RunConfig, setting_type
from pipeline.data.sources.table import SOURCES
from pipeline.environment import environment_text
from pipeline.errors import CvaePipeError
from pipeline.evaluation.catalog import METRICS, headlines, show
from pipeline.grids import shown_grid
from pipeline.runs.names import name_for
from pipeline.runs.outcome import Outcome
from pipeline.runs.requests import class_names
from pipeline.stages.context import Context
from pipeline.stages.graph import PRIOR, TRAIN, run_key
from pipeline.stages.prepare import result_facts
from pipeline.stages.prior import DENSITY
from pipeline.store.home import Home
from pipeline.store.store import KEY_LENGTH
from pipeline.tracking import DatasetInfo, RunSpec, ServedModel, TrackedRun, note_table, uninterrupted
from pipeline.training.state import EpochRecord

INTERRUPTED = "interrupted; repeat the command to go on"
"""Why a run is KILLED that Ctrl-C or a termination signal stopped."""


def data_info(config: RunConfig, facts: dict[str, Any]) -> DatasetInfo:
    """The data set as a tracker shows it."""
    return DatasetInfo(
        name=config.data.name,
        digest=facts["source_sha256"][:16],
        context="training",
        source=config.data.dataset if config.data.own else SOURCES[config.data.dataset].origin,
        shape=(facts["images"]["train"], *(n for i, n in enumerate(facts["shape"]) if i or n > 1)),
        classes=facts["classes"],
        splits=facts["images"],
    )


def run_spec(
    ctx: Context, split: str, *, name: str = "", parent_id: str | None = None, tags: dict[str, str] | None = None
) -> RunSpec:
    """How a tracker knows a run: its key, every setting as a param, tags to filter by."""
    config = ctx.config
    key = run_key(config, split)
    return RunSpec(
        name=name or name_for(ctx.home, config, split),
        key=key[:KEY_LENGTH],
        params=config.flat(),
        tags={
            "kind": "run",
            "dataset": config.data.name,
            "model": config.model.kind,
            "split": split,
            **(tags or {}),
        },
        parent_id=parent_id,
        dataset=data_info(config, result_facts(ctx)),
    )


def log_outcome(tracked: TrackedRun, outcome: Outcome) -> None:
    """Everything a finished run shows in MLflow; replaying it adds nothing twice."""
    with tracked.together():
        records = map(EpochRecord.from_row, outcome.history)
        tracked.log_epochs({record.epoch: record.metrics for record in records})
        log_epoch_grids(tracked, outcome.epoch_grids)
        tracked.log_metrics(outcome.metrics)
        tracked.set_description(describe(outcome))
        for kind, path in outcome.grids.items():
            tracked.log_image(f"final/{kind}", shown_grid(path), step=0)
        if outcome.per_class:
            tracked.log_table("per_class.json", outcome.per_class["table"])
            tracked.log_table("judge_gates.json", gate_columns(outcome))
            tracked.set_tags({"judge_sha256": outcome.facts["judge_sha256"][:16]})
        tracked.log_text(outcome.config.to_toml(), "config.toml")
        tracked.log_text(history_csv(outcome.history), "history.csv")
        tracked.log_text(environment_text(), "environment.txt")


def record_alone(tracked: TrackedRun, outcome: Outcome, home: Home, report: Path) -> None:
    """Everything that a run of its own shows: its numbers, its report, and its model, ready to be loaded."""
    log_outcome(tracked, outcome)
    tracked.log_file(report)
    if outcome.config.model.kind != "ae":  # which has no prior to draw from
        tracked.log_model(served_model(outcome, home))


def gate_columns(outcome: Outcome) -> dict[str, list[Any]]:
    """The judges' gates as columns."""
    rows = [gate for gates in outcome.facts["gates"].values() for gate in gates]
    return {name: [row[i] for row in rows] for i, name in enumerate(("gate", "value", "bound", "passed"))}


def log_epoch_grids(tracked: TrackedRun, grids: dict[int, Path]) -> None:
    with tracked.together():
        for epoch, path in grids.items():
            tracked.log_image("generated", shown_grid(path), step=epoch)


def history_csv(history: list[dict[str, float]]) -> str:
    """One line per epoch."""
    columns = list(history[0])
    lines = [",".join(columns), *(",".join(repr(row[c]) for c in columns) for row in history)]
    return "\n".join(lines) + "\n"


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


SHORT = {"train.beta": "β", "model.latent_dim": "z", "train.learning_rate": "lr"}
"""What the settings that matter most are called where a line has to hold several."""


def setting_label(setting: str, value: float | str) -> str:
    """A setting and its value in a few characters: β1.6, z9, lr0.0047."""
    name = SHORT.get(setting, f"{setting.partition('.')[2].replace('_', ' ')} ")
    if isinstance(value, str):
        return f"{name}{value}"
    return f"{name}{int(value) if setting_type(setting) is int else f'{value:.2g}'}"


def describe(outcome: Outcome) -> str:
    """A run in markdown: its settings on one line, then the scores that a reader wants first."""
    config, split = outcome.config, outcome.split
    values = config.flat()
    settings = [
        setting_label(name, values[name]) for name in SHORT if name != "train.beta" or config.model.kind != "ae"
    ]
    written = {key.partition("/")[2]: show(value) for key, value in outcome.metrics.items()}
    columns, rows = headline_rows(written, split, "value")
    head = f"**{config.model.title} {' '.join(settings)}**, {config.train.epochs} epochs, seed {config.train.seed}"
    note = ["", outcome.label.note] if outcome.label.note else []
    return "\n".join([head, *note, "", *note_table(columns, rows)])


def headline_rows(values: Mapping[str, str], split: str, what: str) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Columns and rows of the headlines among written `values` by name: N(0, I) beside the prior that is scored."""
    found = headlines(values)
    both = any(standard for _, standard in found)
    rows = [
        (
            f"{split}/{name} {METRICS[name].arrow}".strip(),
            values[name],
            *((values[standard] if standard else "",) if both else ()),
        )
        for name, standard in found
    ]
    return ("metric", what, *(("under N(0, I)",) if both else ())), rows


def served_model(outcome: Outcome, home: Home) -> ServedModel:
    """The generator of a stored run, with the prior that is scored, for the registry."""
    model = outcome.config.model
    return ServedModel(
        weights=home.store.path("train", TRAIN.key(outcome.config)) / "model.safetensors",
        architecture={"classes": outcome.facts["classes"]} | asdict(model),
        shape=tuple(outcome.facts["shape"]),
        class_names=class_names(home, outcome),
        prior=home.store.path("prior", PRIOR.key(outcome.config)) / DENSITY if outcome.fitted else None,
    )
