"""A study as plain JSON, and back: every trial, attribute and date, no pickle and no database file of somebody else."""

import json
import uuid
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import sqlalchemy
from optuna.distributions import (
    BaseDistribution,
    check_distribution_compatibility,
    distribution_to_json,
    json_to_distribution,
)
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from pipeline.errors import StudyError
from pipeline.store.home import Home
from sweeps.study.config import UNPACKING
from sweeps.study.ledger import load_study, recorded_studies
from sweeps.study.reading import StoredStudy, stored_trial
from sweeps.study.storage import quiet_optuna, readable, storage, writable

METRIC_NAMES = "study:metric_names"
"""Where Optuna keeps what the values of a study are called."""


def study_document(home: Home, name: str) -> dict[str, Any]:
    """Everything that the ledger holds of a study."""
    study = load_study(home, name)
    held = study._storage
    return {
        "directions": [direction.name for direction in study.directions],
        "user_attrs": study.user_attrs,
        "system_attrs": held.get_study_system_attrs(study._study_id),
        "trials": [_trial_document(trial) for trial in study.get_trials(deepcopy=False)],
    }


def _trial_document(trial: FrozenTrial) -> dict[str, Any]:
    return {
        "state": trial.state.name,
        "values": trial.values,
        "params": trial.params,
        "distributions": {name: distribution_to_json(d) for name, d in trial.distributions.items()},
        "user_attrs": trial.user_attrs,
        "system_attrs": trial.system_attrs,
        "intermediate_values": {str(step): value for step, value in trial.intermediate_values.items()},
        "start": trial.datetime_start.isoformat() if trial.datetime_start else None,
        "complete": trial.datetime_complete.isoformat() if trial.datetime_complete else None,
    }


def same_study(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two documents say the same, whatever MLflow's runs are called on either side."""

    def plain(document: Mapping[str, Any]) -> Any:
        text = json.loads(json.dumps(document))
        for trial in text["trials"]:
            trial["user_attrs"].pop("run_id", None)
        text["system_attrs"].pop(METRIC_NAMES, None)  # an older ledger has none; they are those of its objectives
        return text

    return bool(plain(one) == plain(other))


def restore_study(home: Home, name: str, document: Mapping[str, Any]) -> None:
    """Write a study into the ledger: it is there, whole, or not at all. StudyError for a document that is none, or if
    there is a study of that name."""
    if name in recorded_studies(home):
        raise StudyError(f"there is a study {name} here already")
    directions, trials, *attributes = _parsed(name, document)
    with home.store.lock("optuna-db"), quiet_optuna(), readable(home), writable(home):
        held_in = storage(home)
        begun = f"{UNPACKING}{uuid.uuid4().hex}"
        study_id = held_in.create_new_study(directions, begun)
        for key, value in attributes[0].items():
            held_in.set_study_user_attr(study_id, key, value)
        for key, value in attributes[1].items():
            held_in.set_study_system_attr(study_id, key, value)
        for trial in trials:
            held_in.create_new_trial(study_id, template_trial=trial)
        with held_in.engine.begin() as connection:  # Optuna gives no study another name; one statement makes it one
            connection.execute(
                sqlalchemy.text("UPDATE studies SET study_name = :name WHERE study_id = :id"),
                {"name": name, "id": study_id},
            )


def study_of(name: str, document: Mapping[str, Any]) -> StoredStudy:
    """The study that `restore_study` would write; StudyError as there."""
    _, trials, attributes, _ = _parsed(name, document)
    return StoredStudy(name, attributes, tuple(map(stored_trial, trials)))


def _parsed(
    name: str, document: Mapping[str, Any]
) -> tuple[list[StudyDirection], list[FrozenTrial], dict[str, Any], dict[str, Any]]:
    """Directions, trials, attributes of the user and of the system; StudyError for what Optuna would not take."""
    try:
        directions = [StudyDirection[direction] for direction in document["directions"]]
        trials = [_trial(number, trial) for number, trial in enumerate(document["trials"])]
        searched: dict[str, BaseDistribution] = {}
        for trial in trials:
            for param, distribution in trial.distributions.items():
                check_distribution_compatibility(searched.setdefault(param, distribution), distribution)
        return directions, trials, dict(document["user_attrs"]), dict(document["system_attrs"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise StudyError(f"the ledger of study {name} cannot be read ({type(error).__name__}: {error})") from None


def _trial(number: int, held: Mapping[str, Any]) -> FrozenTrial:
    values = held["values"]
    trial = FrozenTrial(
        number=number,
        state=TrialState[held["state"]],
        value=None,
        values=values,
        datetime_start=datetime.fromisoformat(held["start"]) if held["start"] else None,
        datetime_complete=datetime.fromisoformat(held["complete"]) if held["complete"] else None,
        params=dict(held["params"]),
        distributions={name: json_to_distribution(text) for name, text in held["distributions"].items()},
        user_attrs=dict(held["user_attrs"]),
        system_attrs=dict(held["system_attrs"]),
        intermediate_values={int(step): value for step, value in held["intermediate_values"].items()},
        trial_id=-1,
    )
    trial._validate()
    return trial
