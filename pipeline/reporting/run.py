"""The report of one run: its sections in order."""

from pipeline.config.flags import flags
from pipeline.reporting.blocks import Facts, Report, Section
from pipeline.reporting.sections.calibration import calibration_section, metric_table
from pipeline.reporting.sections.classes import per_class_section
from pipeline.reporting.sections.images import images_section
from pipeline.reporting.sections.inside import inside_section
from pipeline.reporting.sections.reproduce import reproduce_section
from pipeline.reporting.sections.result import headline_facts, verdict
from pipeline.reporting.sections.training import training_section
from pipeline.runs.outcome import Outcome


def run_report(outcome: Outcome) -> Report:
    """The whole report of one run."""
    config, split = outcome.config, outcome.split
    images = outcome.facts["images"]
    return Report(
        title=outcome.name,
        subtitle=(
            f"{config.model.kind} on {config.data.dataset}: {images['train']:,} training, {images['val']:,} validation "
            f"and {images['test']:,} test images; every number is of the {split} split"
        ),
        sections=(
            Section("Result", (Facts(headline_facts(outcome)), *verdict(outcome))),
            Section("Images", images_section(outcome)),
            Section("Training", training_section(outcome)),
            per_class_section(outcome),
            inside_section(outcome),
            calibration_section(outcome),
            Section("All numbers", (metric_table(outcome),)),
            reproduce_section(f"cvae-pipe run {flags(config)}", outcome),
        ),
    )
