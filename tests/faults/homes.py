"""What a home holds, less what two runs of it must differ in: times, durations, ids. For comparing homes.

Every table of both databases, every file of the reports, of MLflow's artifacts and of the store: found by asking and
walking, so that a new table or a new kind of file is compared without being named.
"""

import csv
import io
import json
import re
import sqlite3
from pathlib import Path
from typing import Any

import torch

from pipeline.stages.train import CHECKPOINT
from pipeline.store.store import MANIFEST
from pipeline.training.state import DIGEST_LENGTH

ID = re.compile(r"[0-9a-f]{32}|[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
"""Run ids and other random ones; keys of the store are of 16 or 64 digits and do not count."""
TIMES = re.compile(
    r"time|date|duration|seconds|minutes|last_updated|created|creation|images_per_second|git_dirty|git.commit", re.I
)
"""Columns, keys and metrics that say when, for how long, or by which state of the code."""
INSTEAD = (
    (re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d)?(\.\d+)?Z?"), "<instant>"),
    (re.compile(r"timestamp\+\d+"), "timestamp+<instant>"),
    (re.compile(r"startTime=\d+|%22startTime%22.*?%2C"), "<instant>"),
    (re.compile(r"<dt>finished</dt><dd>.*?</dd>|\*\*finished\*\*.*"), "<duration>"),
    (re.compile(r'<data value="[^"]*"[^>]*data-key="[^"]*/seconds"[^>]*>[^<]*</data>'), "<duration>"),
    (re.compile(r"data:text/plain[^\"']*"), "<trials.csv, compared beside>"),
    (re.compile(r"commit [0-9a-f]{12}( with changes)?"), "<code>"),
    (re.compile(r"\.cache/tmp/\w+/\w+"), "<temporary>"),
)
"""What texts have in place of instants, durations, and the state of a working tree that changes meanwhile."""


def contents(home: Path) -> dict[str, Any]:
    """Name -> content of everything a home holds, normalised; values are comparable and small enough to print."""
    names = _names_of_ids(home)

    def plain(text: str) -> str:
        text = text.replace(str(home), "<home>")
        for pattern, instead in INSTEAD:
            text = pattern.sub(instead, text)
        return ID.sub(lambda found: names.get(found[0], "<id>"), text)

    found: dict[str, Any] = {}
    for name in ("optuna.db", "mlflow.db"):
        found |= {f"{name}/{table}": rows for table, rows in _tables(home / "mlruns" / name, plain).items()}
    for folder in ("reports", "mlruns/artifacts", ".cache/store"):
        for path in sorted((home / folder).rglob("*")):
            where = str(path.relative_to(home))
            if path.is_file() and not where.startswith((".cache/store/locks", ".cache/store/damaged")):
                found[plain(where)] = _file(path, plain)
    return found


def differences(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    """Where two homes differ, a line each."""
    said = [f"only in the first: {name}" for name in sorted(one.keys() - other.keys())]
    said += [f"only in the second: {name}" for name in sorted(other.keys() - one.keys())]
    for name in sorted(one.keys() & other.keys()):
        if one[name] != other[name]:
            said.append(f"{name}: {_first_difference(one[name], other[name])}")
    return said


def left_over(home: Path) -> list[str]:
    """Temporary files, and results under construction of which a training is not stopped at a rung."""
    return [str(p.relative_to(home)) for p in home.rglob("*") if p.name.endswith((".tmp", ".new", ".old", "-journal"))]


def _names_of_ids(home: Path) -> dict[str, str]:
    """MLflow's run ids by what the runs are; ids of logged models by their run."""
    database = home / "mlruns" / "mlflow.db"
    if not database.exists():
        return {}
    with sqlite3.connect(database) as connection:
        tags = "SELECT run_uuid, group_concat(key || '=' || value, ' ') FROM (SELECT * FROM tags WHERE key IN "
        tags += "('run_key', 'trial', 'final', 'retrained', 'kind') ORDER BY key) GROUP BY run_uuid"
        return {run: f"<run {what}>" for run, what in connection.execute(tags)}


def _tables(database: Path, plain: Any) -> dict[str, list[str]]:
    """Every table's rows, sorted, less the columns that say when and those that only number rows."""
    if not database.exists():
        return {}
    found = {}
    with sqlite3.connect(database) as connection:
        names = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for table in names:
            columns = [row[1] for row in connection.execute(f"PRAGMA table_info('{table}')")]
            kept = [c for c in columns if not TIMES.search(c) and not _counts(c, table)]
            rows = []
            for row in connection.execute(f"SELECT * FROM '{table}'"):
                values = dict(zip(columns, row, strict=True))
                if not any(TIMES.search(str(values.get(c, ""))) for c in ("key", "name")):
                    rows.append(" | ".join(plain(_timeless(str(values[c]))) for c in kept))
            found[table] = sorted(rows)
    return found


def _counts(column: str, table: str) -> bool:
    """Whether a column numbers rows in the order in which they happened to come."""
    return column.endswith("_id") and column not in ("trial_id", "study_id") and table.startswith("trial_")


def _timeless(text: str) -> str:
    """A JSON document without what says when or for how long; any other text as it is."""
    if not text.startswith(("{", "[")):
        return text
    try:
        return json.dumps(_without_times(json.loads(text)), sort_keys=True)
    except ValueError:
        return text


def _without_times(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _without_times(v) for k, v in value.items() if not TIMES.search(k)}
    if isinstance(value, list):
        return [_without_times(v) for v in value]
    return value


def _csv(text: str) -> str:
    """A table in CSV without the columns that say when or for how long."""
    rows = list(csv.reader(text.splitlines()))
    kept = [i for i, title in enumerate(rows[0]) if not TIMES.search(title)]
    return "\n".join(",".join(row[i] for i in kept) for row in rows)


def _markdown(text: str) -> str:
    """The same of tables in markdown; everything else as it is."""
    lines, dropped = [], None
    for line in text.splitlines():
        cells = line.split(" | ")
        if not line.startswith("| "):
            dropped = None
        elif dropped is None:
            dropped = {i for i, title in enumerate(cells) if TIMES.search(title)}
        lines.append(" | ".join(cell for i, cell in enumerate(cells) if i not in (dropped or ())))
    return "\n".join(lines)


def _checkpoint(content: bytes) -> Any:
    """What a checkpoint holds, less how fast it came to it."""
    held = torch.load(io.BytesIO(content[DIGEST_LENGTH:]), weights_only=True)
    held["history"] = _without_times(held["history"])
    return re.sub(r"\s+", " ", str(held))


def _manifest(text: str) -> str:
    """A manifest without the files that hold durations; what it vouches for is compared itself. A damaged one that
    nobody has asked for as it is."""
    try:
        document = json.loads(text)
        kept = {name: fact for name, fact in document["files"].items() if name not in ("history.json", "run.json")}
        return json.dumps({**document, "files": kept})
    except (ValueError, KeyError, TypeError, AttributeError):
        return text


def _file(path: Path, plain: Any) -> Any:
    content = path.read_bytes()
    if path.name == CHECKPOINT:
        return _checkpoint(content)
    try:
        text = content.decode()
    except UnicodeDecodeError:
        return hash(content)
    if path.name == MANIFEST:
        text = _manifest(text)
    if path.suffix == ".json":
        return plain(_timeless(text))
    if path.suffix == ".md":
        return plain(_markdown(text))
    if path.suffix == ".csv":
        return plain(_csv(text))
    return plain(text)


def _first_difference(one: Any, other: Any) -> str:
    if isinstance(one, list):
        more, fewer = [r for r in one if r not in other][:2], [r for r in other if r not in one][:2]
        return f"{len(one)} rows and {len(other)}; {[r[:300] for r in more]} against {[r[:300] for r in fewer]}"
    if isinstance(one, str) and isinstance(other, str):
        at = next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
        return f"at {at}: {one[max(0, at - 60) : at + 60]!r} against {other[max(0, at - 60) : at + 60]!r}"
    return "other bytes"
