"""The report of one run: its sections in order, and its files."""

from pathlib import Path

from pipeline.config.flags import flags
from pipeline.reporting.about import about_run
from pipeline.reporting.blocks import Code, Report
from pipeline.reporting.document import run_facts
from pipeline.reporting.index import Card
from pipeline.reporting.sections.anomalies import anomalies_section
from pipeline.reporting.sections.calibration import calibration_section
from pipeline.reporting.sections.classes import classes_section
from pipeline.reporting.sections.copying import copying_section
from pipeline.reporting.sections.denoise import denoise_section
from pipeline.reporting.sections.images import images_section
from pipeline.reporting.sections.inside import inside_section
from pipeline.reporting.sections.numbers import numbers_section
from pipeline.reporting.sections.reproduce import reproduce_section
from pipeline.reporting.sections.result import result_section
from pipeline.reporting.sections.training import training_section
from pipeline.reporting.writing import NUMBERS, write_report
from pipeline.runs.outcome import Outcome
from pipeline.runs.stored import finished_at
from pipeline.store.files import write_atomically, write_json
from pipeline.store.home import Home


def run_report(outcome: Outcome) -> Report:
    """The whole report of one run."""
    config = outcome.config
    return Report(
        title=outcome.name,
        subtitle=f"{config.model.title} on {config.data.name}; every number is of the {outcome.split} split",
        about=about_run(outcome),
        sections=(
            result_section(outcome),
            images_section(outcome),
            training_section(outcome),
            classes_section(outcome),
            copying_section(outcome),
            inside_section(outcome),
            denoise_section(outcome),
            anomalies_section(outcome),
            calibration_section(outcome),
            numbers_section(outcome),
            reproduce_section(f"cvae-pipe run {flags(config)}", outcome, Code(config.to_toml(), "toml")),
        ),
    )


def write_run_report(outcome: Outcome, home: Home) -> Path:
    """reports/<name>/: report.md, report.html, config.toml, metrics.json; the path of the html. From stored results."""
    folder = run_report_path(outcome, home).parent
    dataset, date = outcome.config.data.name, finished_at(home, [outcome.key])
    _, html = write_report(run_report(outcome), folder, Card("run", dataset, date, outcome.picture))
    write_atomically(folder / "config.toml", outcome.config.to_toml())
    write_json(folder / NUMBERS, run_facts(outcome))
    return html


def run_report_path(outcome: Outcome, home: Home) -> Path:
    """Where the report of a run is, or will be."""
    return home.reports / outcome.name / "report.html"
