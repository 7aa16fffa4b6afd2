"""The reference report put to the test, as one report: its training curve, its test loss, its systems, its two claims.

The reference: a student's report on conditional VAEs on MNIST. MLP encoder and decoder, beta-weighted KL, Adam 1e-3,
batch 64, 20 epochs. It gives the training loss of some epochs, "test 90.36", and says that raising beta makes more
digits right while diversity is lost. Run with `make reference`.
"""

import argparse
import json
import sys
import time
from dataclasses import replace
from pathlib import Path

from pipeline.config.reading import build_config
from pipeline.config.sections import JUDGES
from pipeline.experiments.baselines import baseline_table, baselines
from pipeline.experiments.run import run
from pipeline.reporting.about import about_run
from pipeline.reporting.blocks import Code, Report, Section
from pipeline.reporting.sections.calibration import calibration_section
from pipeline.reporting.writing import write_report
from pipeline.runs.outcome import load_outcome
from pipeline.stages.context import Context
from pipeline.stages.graph import run_key
from pipeline.store.files import write_atomically
from pipeline.store.home import Home
from pipeline.tracking import MlflowTracker
from sweeps.ablation import ablate
from sweeps.execution.local import LocalExecutor
from sweeps.reporting.ablation import images_section, metrics_section, verdict_section
from sweeps.reporting.reference import (
    ALL_THREE,
    all_three,
    claims,
    reported_loss,
    student,
    training_curve,
)
from sweeps.study.ablation import AblationConfig

VALUES = (0.1, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
SEEDS = 5
AS_REPORTED = ("train.schedule=constant", "train.learning_rate=1e-3", "train.batch_size=64", "train.epochs=20")
"""The training of the reference, said in full: our defaults are free to be better."""
NAME = "reference"


def main(
    values: tuple[float, ...] = VALUES,
    seeds: int = SEEDS,
    workers: int = 2,
    overrides: tuple[str, ...] = (),
    larger_overrides: tuple[tuple[str, int], ...] = (),
    ablation_epochs: int | None = None,
) -> Path:
    """Everything the report rests on, then the report; repeating it does what is left. The html's path."""
    home = Home.from_environment()
    home.check_writable()
    base = build_config(sets={entry.partition("=")[0]: entry for entry in (*AS_REPORTED, *overrides)}.values())

    def say(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    def connect() -> MlflowTracker:
        return MlflowTracker.connect(home, "cvae-pipe", on_warning=say)

    ctx = Context(base, home, say=say)
    began = time.time()
    rows = baselines(ctx, connect)
    default = load_outcome(home, run_key(base, "test"))
    larger = run(replace(ctx, config=base.with_settings({**ALL_THREE, **dict(larger_overrides)})), connect).outcome
    varied = base.with_settings({"train.epochs": ablation_epochs or base.train.epochs, "panel.judges": JUDGES})
    grid, _ = ablate(
        replace(ctx, config=varied),
        AblationConfig("reference-beta", varied, "train.beta", values, seeds),
        connect=connect,
        make_executor=lambda home: LocalExecutor(home, workers),
        on_state=lambda name, state: say(f"{name}: {state}") if state == "complete" else None,
    )
    report = Report(
        title="The reference report, put to the test",
        subtitle=(
            f"{base.data.name}, {base.train.epochs} epochs, hidden {base.model.hidden[0]}, latent "
            f"{base.model.latent_dim}, Adam {base.train.learning_rate:g}, batch {base.train.batch_size}; test split"
        ),
        about=about_run(default),
        sections=(
            Section("The claim, answered", student(grid)),
            Section("The training curve", training_curve(default)),
            Section('What "test loss" was', reported_loss(default)),
            Section("The systems", (baseline_table(rows),)),
            Section(f"Verdict on beta ({varied.train.epochs} epochs, {seeds} seeds)", verdict_section(grid).blocks),
            Section("Right, varied and likely at once", (*claims(grid), *all_three(larger))),
            metrics_section(grid),
            images_section(grid),
            calibration_section(default),
            Section("Reproduce", (Code("make reference", "sh"), Code(base.to_toml(), "toml"))),
        ),
    )
    folder = home.reports / NAME
    _, html = write_report(report, folder)
    write_atomically(folder / "ablation.json", json.dumps(grid.document(), indent=1) + "\n")
    say(f"done in {(time.time() - began) / 60:.1f} minutes; report: {html}")
    return html


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ablation-epochs", type=int, help="epochs of the beta ablation; by default those of the rest")
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    main(ablation_epochs=arguments.ablation_epochs, workers=arguments.workers)
