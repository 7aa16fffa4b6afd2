"""Runs as one JSON document: what they are, what they scored, what to beware of. Plain values; draws nothing."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline.reporting.cautions import cautions
from pipeline.runs.comparison import Comparison
from pipeline.runs.names import differences
from pipeline.runs.outcome import Outcome
from pipeline.runs.stored import run_parts
from pipeline.store.home import Home
from pipeline.store.store import KEY_LENGTH


def about(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """What runs of one data set are of and took: data, seconds; the settings and seed of the first."""
    first = outcomes[0]
    return {
        "settings": first.config.flat(),
        "seed": first.config.train.seed,
        "data": {"dataset": first.config.data.name, **{k: first.facts[k] for k in ("source_sha256", "images")}},
        "seconds": round(sum(outcome.seconds for outcome in outcomes), 1),
    }


def run_facts(outcome: Outcome) -> dict[str, Any]:
    """What a run is and scored, wherever it is looked at."""
    return {
        "kind": "run",
        "key": outcome.key[:KEY_LENGTH],
        "run_key": outcome.key[:KEY_LENGTH],
        "name": outcome.name,
        "tags": outcome.label.tags,
        "note": outcome.label.note,
        "split": outcome.split,
        **about([outcome]),
        "differs": differences(outcome.config),
        "cautions": [str(sentence) for sentence in cautions(outcome)],
        "metrics": outcome.metrics,
    }


def run_document(home: Home, outcome: Outcome, run_id: str, report: Path) -> dict[str, Any]:
    """What `--json` prints of a run: its facts, and where things are here."""
    train = run_parts(home, outcome.key)["train"]
    paths = {"report": str(report), "model": str(home.store.path("train", train) / "model.safetensors")}
    paths |= {name: str(path) for name, path in outcome.grids.items()}
    return {**run_facts(outcome), "run_id": run_id, "report": str(report), "paths": paths}


def comparison_document(outcomes: Sequence[Outcome], comparison: Comparison, report: Path | None) -> dict[str, Any]:
    """What `--json` prints of runs compared; settings and seed are those of the first."""
    return {
        "kind": "comparison",
        "name": " and ".join(comparison.names),
        "key": outcomes[0].key[:KEY_LENGTH],
        "keys": [outcome.key[:KEY_LENGTH] for outcome in outcomes],
        **about(outcomes),
        "paths": {"report": str(report)} if report else {},
        "cautions": list(dict.fromkeys(f"{one.name}: {sentence}" for one in outcomes for sentence in cautions(one))),
        **comparison.document(),
        **({"report": str(report)} if report else {}),
    }
