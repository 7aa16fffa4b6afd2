"""A run as one JSON document: what it is, what it scored, what to beware of. Plain values; draws nothing."""

from pathlib import Path
from typing import Any

from pipeline.reporting.cautions import cautions
from pipeline.runs.names import differences
from pipeline.runs.outcome import Outcome
from pipeline.store.store import KEY_LENGTH


def run_document(outcome: Outcome, run_id: str, report: Path) -> dict[str, Any]:
    """What `--json` prints of a run."""
    config = outcome.config
    return {
        "kind": "run",
        "run_key": outcome.key[:KEY_LENGTH],
        "name": outcome.name,
        "tags": outcome.label.tags,
        "note": outcome.label.note,
        "run_id": run_id,
        "report": str(report),
        "split": outcome.split,
        "data": {"dataset": config.data.name, **{k: outcome.facts[k] for k in ("source_sha256", "images")}},
        "seed": config.train.seed,
        "differs": differences(config),
        "settings": config.flat(),
        "cautions": [str(sentence) for sentence in cautions(outcome)],
        "metrics": outcome.metrics,
    }
