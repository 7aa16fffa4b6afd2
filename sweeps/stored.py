"""A study, and the model of a run, as ledger and store have them. Loads nothing that trains, draws or records."""

from dataclasses import asdict

from pipeline.runs.outcome import Outcome
from pipeline.runs.requests import class_names
from pipeline.stages.graph import DENSITY, PRIOR, TRAIN
from pipeline.store.home import Home
from pipeline.tracking import ServedModel
from sweeps.analysis.summary import Summary, summarise
from sweeps.study.config import stored_config
from sweeps.study.ledger import load_study


def stored_summary(home: Home, name: str) -> Summary:
    """A study as the ledger and the store have it, finals included; StudyError if there is none of that name."""
    study = load_study(home, name)
    return summarise(home, study, stored_config(study))


def served_model(outcome: Outcome, home: Home) -> ServedModel:
    """The generator of a stored run, with the prior that is scored, for the registry."""
    model = outcome.config.model
    return ServedModel(
        weights=home.store.path("train", TRAIN.key(outcome.config)) / "model.safetensors",
        architecture={"classes": outcome.facts["classes"]} | asdict(model),
        shape=tuple(outcome.facts["shape"]),
        class_names=class_names(home, outcome),
        prior=home.store.path("prior", PRIOR.key(outcome.config)) / DENSITY if outcome.fitted else None,
    )
