"""The studies of a home, read from the tables of Optuna's database as they are. Needs no Optuna, which takes a second
to load and to open its database; where the tables are not those known here, Optuna is asked."""

import json
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import StudyError
from pipeline.store.home import Home
from sweeps.study.config import UNPACKING, StudyConfig, stored_config

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial

SCHEMA = "v3.2.0.a"
"""Optuna's revision of the tables that are read here."""
RUNNING, WAITING = "RUNNING", "WAITING"
COMPLETE, PRUNED, FAIL = "COMPLETE", "PRUNED", "FAIL"
FINISHED = (COMPLETE, PRUNED)
"""What counts among `--trials`."""
WAIT_SECONDS = 60


@dataclass(frozen=True)
class StoredTrial:
    """A trial as the ledger has it."""

    number: int
    state: str
    """RUNNING, WAITING, COMPLETE, PRUNED or FAIL."""
    params: Mapping[str, Any]
    values: tuple[float, ...]
    """Of the objectives, in their order; () where it has none."""
    user_attrs: Mapping[str, Any]
    started: datetime | None
    """Local time."""
    ended: datetime | None

    @property
    def finished(self) -> bool:
        return self.state not in (RUNNING, WAITING)

    @property
    def seconds(self) -> float | None:
        """From its start to its end; None for one that has not ended."""
        return (self.ended - self.started).total_seconds() if self.started and self.ended else None


@dataclass(frozen=True)
class StoredStudy:
    """A study as the ledger has it."""

    study_name: str
    user_attrs: Mapping[str, Any]
    trials: tuple[StoredTrial, ...]
    """In order of number."""


def database(home: Home) -> Path:
    """Where Optuna's database of a home is, or would be."""
    return home.mlruns / "optuna.db"


def stored_studies(home: Home) -> dict[str, StoredStudy]:
    """Every study by its name; StudyError where not even Optuna can read the database."""
    path = database(home)
    if not path.exists():
        return {}
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=WAIT_SECONDS)) as opened:
            opened.execute("BEGIN")  # all of it as of one moment
            if opened.execute("SELECT version_num FROM alembic_version").fetchall() == [(SCHEMA,)]:
                return _read(opened)
    except (sqlite3.Error, ValueError, KeyError, TypeError, IndexError):
        pass  # damaged, or of another version: its own reader says what is wrong
    return _asked(home)


def stored_study(home: Home, name: str) -> StoredStudy:
    """One study; StudyError if there is none of that name."""
    studies = stored_studies(home)
    if name not in studies:
        raise StudyError(f"there is no study {name!r}; studies are {', '.join(studies) or 'none yet'}")
    return studies[name]


def held_config(home: Home, name: str) -> StudyConfig | None:
    """What a study was started with, since it cannot change; None if there is no such study with a trial."""
    study = stored_studies(home).get(name)
    return stored_config(study) if study and study.trials else None


def every_study_name(home: Home) -> list[str]:
    """The names in the ledger, those of studies that are half unpacked included; StudyError as above."""
    path = database(home)
    if not path.exists():
        return []
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=WAIT_SECONDS)) as opened:
            return [str(name) for (name,) in opened.execute("SELECT study_name FROM studies ORDER BY study_name")]
    except sqlite3.Error:
        from sweeps.study.ledger import recorded_studies

        return recorded_studies(home, all_=True)


def _read(opened: sqlite3.Connection) -> dict[str, StoredStudy]:
    attributes: dict[int, dict[str, Any]] = {}
    for study, key, text in opened.execute("SELECT study_id, key, value_json FROM study_user_attributes"):
        attributes.setdefault(study, {})[key] = json.loads(text)
    params, values, facts = _params(opened), _values(opened), _facts(opened)
    trials: dict[int, list[StoredTrial]] = {}
    for trial, number, study, state, began, ended in opened.execute(
        "SELECT trial_id, number, study_id, state, datetime_start, datetime_complete FROM trials ORDER BY number"
    ):
        own = params.get(trial, {}), values.get(trial, ()), facts.get(trial, {})
        trials.setdefault(study, []).append(StoredTrial(number, state, *own, _instant(began), _instant(ended)))
    return {
        name: StoredStudy(name, attributes.get(study, {}), tuple(trials.get(study, ())))
        for study, name in opened.execute("SELECT study_id, study_name FROM studies ORDER BY study_name").fetchall()
        if not name.startswith(UNPACKING)
    }


def _params(opened: sqlite3.Connection) -> dict[int, dict[str, Any]]:
    found: dict[int, dict[str, Any]] = {}
    rows = "SELECT trial_id, param_name, param_value, distribution_json FROM trial_params ORDER BY param_id"
    for trial, name, value, text in opened.execute(rows):
        found.setdefault(trial, {})[name] = _typed(value, json.loads(text))
    return found


def _typed(value: float, distribution: Mapping[str, Any]) -> Any:
    """A param as it was suggested: the column holds whole numbers as reals, and of a category its place."""
    match distribution["name"]:
        case "FloatDistribution":
            return float(value)
        case "IntDistribution":
            return int(value)
        case "CategoricalDistribution":
            return distribution["attributes"]["choices"][int(value)]
        case other:
            raise ValueError(f"a distribution of another version, {other}")


INFINITE = {"INF_POS": float("inf"), "INF_NEG": float("-inf")}


def _values(opened: sqlite3.Connection) -> dict[int, tuple[float, ...]]:
    found: dict[int, tuple[float, ...]] = {}
    for trial, value, kind in opened.execute(
        "SELECT trial_id, value, value_type FROM trial_values ORDER BY trial_id, objective"
    ):
        found[trial] = (*found.get(trial, ()), INFINITE.get(kind, value))
    return found


def _facts(opened: sqlite3.Connection) -> dict[int, dict[str, Any]]:
    found: dict[int, dict[str, Any]] = {}
    for trial, key, text in opened.execute("SELECT trial_id, key, value_json FROM trial_user_attributes"):
        found.setdefault(trial, {})[key] = json.loads(text)
    return found


def _instant(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def stored_trial(t: "FrozenTrial") -> StoredTrial:
    """A trial of Optuna's."""
    values = tuple(t.values or ())
    return StoredTrial(t.number, t.state.name, t.params, values, t.user_attrs, t.datetime_start, t.datetime_complete)


def as_stored(study: "StoredStudy | optuna.Study") -> StoredStudy:
    """A study as it was read, be it Optuna's own."""
    if isinstance(study, StoredStudy):
        return study
    return StoredStudy(study.study_name, study.user_attrs, tuple(map(stored_trial, study.get_trials(deepcopy=False))))


def _asked(home: Home) -> dict[str, StoredStudy]:
    """The same from Optuna."""
    from sweeps.study.ledger import every_study

    return {name: as_stored(study) for name, study in every_study(home).items()}
