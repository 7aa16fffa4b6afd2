"""The section "All numbers": every metric of a run with its unit, direction and meaning."""

from pipeline.evaluation.catalog import METRICS
from pipeline.reporting.blocks import Section, Table
from pipeline.reporting.citation import cited
from pipeline.runs.outcome import Outcome


def numbers_section(outcome: Outcome) -> Section:
    """One table, in the order of the catalog."""
    rows = []
    for key in outcome.metrics:
        metric = METRICS[key.partition("/")[2]]
        rows.append((key, cited(outcome, key), metric.unit or "-", metric.better or "-", metric.meaning))
    return Section("All numbers", (Table(("key", "value", "unit", "better", "meaning"), tuple(rows)),))
