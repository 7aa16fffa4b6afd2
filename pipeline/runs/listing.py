"""The runs of a home, newest first, and what the home holds besides. Reads the store; needs no torch."""

import os
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.runs.names import differences, label_of
from pipeline.runs.stored import Known, known_runs, seconds_of
from pipeline.stages.graph import PREPARE
from pipeline.store.files import read_json
from pipeline.store.home import Home
from pipeline.store.store import KEY_LENGTH

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
    seconds: float = 0.0
    """That its stages took, trainings of judges and what else it shares with others apart."""
    tags: dict[str, str] = field(default_factory=dict)
    note: str = ""


def opened_runs(home: Home, known: Sequence[Known] | None = None) -> list[ListedRun]:
    """Every whole run that was opened on test, newest first: runs, finals of sweeps, cells of ablations. `known`: the
    stored runs, where they have been read already."""
    found = [_listed(home, run) for run in (known_runs(home) if known is None else known) if run.split == "test"]
    return sorted(found, key=lambda run: run.finished, reverse=True)


def _listed(home: Home, run: Known) -> ListedRun:
    stored, label = read_json(home.store.path("run", run.key) / "run.json"), label_of(home, run.key)
    metrics = stored["metrics"]
    scored = {
        name: metrics[found_under]
        for name in OBJECTIVES
        if (found_under := next((k for k in (f"test/{name}_expost", f"test/{name}") if k in metrics), None))
    }
    return ListedRun(
        run.key[:KEY_LENGTH],
        run.name,
        run.config.data.name,
        differences(run.config),
        scored,
        run.finished,
        seconds_of(home, stored["stages"]),
        label.tags,
        label.note,
    )


@dataclass(frozen=True)
class UnfinishedRun:
    """A run of its own that was begun and has no result."""

    name: str
    status: str
    """FAILED, KILLED, or RUNNING for one that is at work or was cut off."""
    reason: str
    begun: str
    """UTC, ISO 8601."""


def unfinished_runs(home: Home) -> list[UnfinishedRun]:
    """Runs that MLflow's file has as begun and not as finished, the latest first; a server is not asked."""
    from pipeline.tracking.addresses import sqlite_file
    from pipeline.tracking.rows import recorded_runs  # here: a list of runs needs none of it

    database = sqlite_file(home)
    found = [run for run in recorded_runs(database) if not run.deleted] if database else []
    done = {run.key for run in found if run.status == "FINISHED"}
    left = {
        run.key: UnfinishedRun(
            run.name,
            run.status,
            run.tags.get("reason", ""),
            time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(run.started / 1000)),
        )
        for run in found
        if run.tags.get("kind") == "run" and not run.parent and run.key not in done
    }
    return sorted(left.values(), key=lambda run: run.begun, reverse=True)


def times_opened(home: Home, known: Sequence[Known] | None = None) -> dict[str, int]:
    """How many trained models were opened on test, by data set; a data set that was split in two ways counts twice.
    `known` as in `opened_runs`."""
    runs = known_runs(home) if known is None else known
    names = {PREPARE.key(run.config): run.config.data.name for run in runs}
    records = [read_json(home.store.path("opened", key) / "opened.json") for key in home.store.keys("opened")]
    counts = Counter(record["data"] for record in records)
    return {f"{names.get(data, 'unknown')} ({data[:8]})": n for data, n in sorted(counts.items())}


def set_aside(home: Home) -> list[str]:
    """Damaged results that were replaced by whole ones."""
    return sorted(path.name for path in (home.store.root / "damaged").glob("*"))


def disk_used(home: Home) -> dict[str, int]:
    """Bytes by place."""
    places = {"store": home.store.root, "mlruns": home.mlruns, "reports": home.reports}
    return {name: sum(_sizes(folder)) for name, folder in places.items()}


def _sizes(folder: Path) -> Iterator[int]:
    """Of every file below a folder that may be gone by now, as may be what is in it."""
    with suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            with suppress(FileNotFoundError):
                if entry.is_dir(follow_symlinks=False):
                    yield from _sizes(Path(entry.path))
                elif entry.is_file():
                    yield entry.stat().st_size
