"""The runs of a home, newest first, and what the home holds besides. Reads the store; needs no torch."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.runs.stored import differences, run_name, stored_config
from pipeline.stages.graph import PREPARE
from pipeline.store.files import read_json
from pipeline.store.home import Home
from pipeline.store.store import KEY_LENGTH, MANIFEST

OBJECTIVES = ("conditional_accuracy", "coverage_relative", "neg_elbo")
"""What a run is known by in a list, under the prior that is scored."""


@dataclass(frozen=True)
class ListedRun:
    """A finished run, as a line in a list."""

    key: str
    name: str
    dataset: str
    differs: dict[str, Any]
    """Settings that are not the defaults of its data set."""
    metrics: dict[str, float]
    finished: str
    """UTC, ISO 8601."""


def opened_runs(home: Home) -> list[ListedRun]:
    """Every whole run that was opened on test, newest first: runs, finals of sweeps, cells of ablations."""
    found = []
    for key in home.store.keys("run"):
        folder = home.store.path("run", key)
        stored = read_json(folder / "run.json")
        if stored["split"] != "test":
            continue
        config, metrics = stored_config(folder), stored["metrics"]
        scored = {
            name: metrics[found_under]
            for name in OBJECTIVES
            if (found_under := next((k for k in (f"test/{name}_expost", f"test/{name}") if k in metrics), None))
        }
        finished = read_json(folder / MANIFEST)["finished_at"]
        name = run_name(config, key)
        found.append(ListedRun(key[:KEY_LENGTH], name, config.data.name, differences(config), scored, finished))
    return sorted(found, key=lambda run: run.finished, reverse=True)


def times_opened(home: Home) -> dict[str, int]:
    """How many trained models were opened on test, by data set; a data set that was split in two ways counts twice."""
    names = {}
    for key in home.store.keys("run"):
        config = stored_config(home.store.path("run", key))
        names[PREPARE.key(config)] = config.data.name
    records = [read_json(home.store.path("opened", key) / "opened.json") for key in home.store.keys("opened")]
    counts = Counter(record["data"] for record in records)
    return {f"{names.get(data, 'unknown')} ({data[:8]})": n for data, n in sorted(counts.items())}


def set_aside(home: Home) -> list[str]:
    """Damaged results that were replaced by whole ones."""
    return sorted(path.name for path in (home.store.root / "damaged").glob("*"))


def disk_used(home: Home) -> dict[str, int]:
    """Bytes by place."""
    places = {"store": home.store.root, "mlruns": home.mlruns, "reports": home.reports}
    return {name: sum(path.stat().st_size for path in _files(folder)) for name, folder in places.items()}


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.is_file())
