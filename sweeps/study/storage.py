"""Optuna's database: where it is, how it is opened, and how Optuna is kept quiet."""

import contextlib
import json
import logging
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna
import sqlalchemy
from alembic.util.exc import CommandError
from sqlalchemy.exc import SQLAlchemyError

from pipeline.errors import StudyError, cause
from pipeline.store.home import Home
from sweeps.study.config import StudyConfig


def open_study(home: Home, config: StudyConfig) -> optuna.Study:
    with home.store.lock("optuna-db"), quiet_optuna(), readable(home):
        held_in = storage(home)
        held = [s for s in optuna.study.get_all_study_summaries(held_in) if s.study_name == config.name]
        if held and held[0].n_trials == 0:
            # A command that got no further, say because its data set was missing, does not bind the corrected one.
            optuna.delete_study(study_name=config.name, storage=held_in)
        return optuna.create_study(
            study_name=config.name,
            storage=held_in,
            directions=config.directions,
            load_if_exists=True,
        )


def storage(home: Home) -> optuna.storages.RDBStorage:
    """The home's database, which is created if it is not there; it is never there by half: Optuna writes its tables
    one by one, and who reads meanwhile, or is killed meanwhile, would leave them unusable."""
    path = home.mlruns / "optuna.db"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with home.store.lock("optuna-new"):
            if not path.exists():
                aside = path.with_name(f"{path.name}.new")
                aside.unlink(missing_ok=True)
                _database(aside).engine.dispose()
                os.replace(aside, path)
    return _database(path)


def _database(path: Path) -> optuna.storages.RDBStorage:
    return optuna.storages.RDBStorage(f"sqlite:///{path}", engine_kwargs={"connect_args": {"timeout": 60}})


REOPEN = (
    "UPDATE trials SET state = 'RUNNING', datetime_complete = NULL WHERE trial_id = :trial",
    "DELETE FROM trial_values WHERE trial_id = :trial",
    "DELETE FROM trial_user_attributes WHERE trial_id = :trial AND key != :kept",
    "INSERT INTO trial_user_attributes (trial_id, key, value_json) VALUES (:trial, :mark, 'true')",
)


def set_running(home: Home, trial_ids: Sequence[int], *, kept: str, mark: str) -> None:
    """Make finished trials running ones, all at once, as if nothing but their attribute `kept` had been told of them,
    and mark them; Optuna itself has no way back."""
    with home.store.lock("optuna-db"), writable(home), storage(home).engine.begin() as connection:
        for trial in trial_ids:
            for statement in map(sqlalchemy.text, REOPEN):
                values = {"trial": trial, "kept": kept, "mark": mark}
                connection.execute(statement, {name: values[name] for name in statement.compile().params})


FACT = sqlalchemy.text(
    "INSERT INTO trial_user_attributes (trial_id, key, value_json) "
    "SELECT :trial, :key, :value FROM trials WHERE trial_id = :trial AND state = 'RUNNING' "
    "ON CONFLICT (trial_id, key) DO UPDATE SET value_json = excluded.value_json"
)


def write_facts(engine: sqlalchemy.Engine, trial_id: int, facts: Mapping[str, Any]) -> None:
    """Facts beside a running trial, all or none, in one transaction; Optuna would take one for each."""
    rows = [{"trial": trial_id, "key": key, "value": json.dumps(value)} for key, value in facts.items()]
    with engine.begin() as connection:
        connection.execute(FACT, rows)


@contextlib.contextmanager
def readable(home: Home) -> Iterator[None]:
    """StudyError, in one line, where the database is damaged, of another version, or none."""
    try:
        yield
    except (SQLAlchemyError, CommandError, RuntimeError, optuna.exceptions.StorageInternalError) as error:
        path = home.mlruns / "optuna.db"
        raise StudyError(
            f"{path} cannot be read as Optuna's database ({cause(error)}; Optuna here is {optuna.__version__}); bring "
            "back a copy of it, or move it away: what was trained is in the store, and a sweep with the same settings "
            "finds it there"
        ) from None


@contextlib.contextmanager
def writable(home: Home) -> Iterator[None]:
    """StudyError, in one line, where the database cannot be written in mid-sweep: a full disk, say."""
    try:
        yield
    except (SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
        raise StudyError(
            f"{home.mlruns / 'optuna.db'} cannot be written ({cause(error)}); what is finished is kept, and when it is "
            "mended the same command goes on"
        ) from None


@contextlib.contextmanager
def quiet_optuna() -> Iterator[None]:
    """No log lines and no experimental-feature warnings from Optuna inside; the caller's settings come back after."""
    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(level)
