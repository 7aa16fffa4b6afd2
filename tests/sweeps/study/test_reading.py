"""The ledger read and cleared without Optuna: what it says, as Optuna says it."""

import sqlite3
from contextlib import closing

import optuna
import pytest
from optuna.trial import TrialState

from pipeline.config.settings import RunConfig
from pipeline.errors import ConfigError, StudyError
from sweeps.finding import find
from sweeps.study.config import StudyConfig
from sweeps.study.erasing import erase_studies
from sweeps.study.ledger import Ledger, load_study, recorded_studies
from sweeps.study.objective import chosen
from sweeps.study.reading import SCHEMA, every_study_name, stored_studies
from sweeps.study.space import build_space

SPACE = build_space(entries=["hidden=400|600,400"])
ENDINGS = (
    ([float("inf"), 0.5, -1e-300], TrialState.COMPLETE),
    (None, TrialState.PRUNED),
    (None, TrialState.FAIL),
    (None, None),
)


@pytest.fixture
def two(home):
    """A home with two studies whose trials end in every way."""
    for name in ("one", "two"):
        ledger = Ledger(home, StudyConfig(name, RunConfig(), SPACE, chosen((), "cvae", "normal")))
        for n, (values, state) in enumerate(ENDINGS):
            params = {"beta": 0.1 + n / 3, "latent_dim": 2 + n, "learning_rate": 1e-3, "hidden": "600,400"}
            trial = ledger.begin(params)
            ledger.note(trial, metrics={"val/kl": 1 / 3}, reason="é")
            if state:
                ledger.tell(trial, values, state)
        ledger.close()
    return home


def test_every_trial_is_read_as_optuna_reads_it(two):
    found = stored_studies(two)
    assert list(found) == recorded_studies(two) == every_study_name(two) == ["one", "two"]
    theirs = load_study(two, "two")
    assert found["two"].user_attrs == theirs.user_attrs
    for own, trial in zip(found["two"].trials, theirs.get_trials(), strict=True):
        assert (own.number, own.state, own.params) == (trial.number, trial.state.name, trial.params)
        assert {name: type(value) for name, value in own.params.items()} == {
            name: type(value) for name, value in trial.params.items()
        }
        assert (own.values, own.user_attrs) == (tuple(trial.values or ()), trial.user_attrs)
        assert (own.started, own.ended) == (trial.datetime_start, trial.datetime_complete)
        assert own.finished == trial.state.is_finished()


def test_a_configuration_from_the_ledger_is_the_one_that_was_proposed(two):
    config = StudyConfig("one", RunConfig(), SPACE, chosen((), "cvae", "normal"))
    for trial in stored_studies(two)["one"].trials:
        proposed = config.trial_config(trial.number, optuna.trial.FixedTrial(dict(trial.params)))
        assert config.stored_trial_config(trial.number, trial.params) == proposed


def test_an_erased_study_leaves_no_row(two):
    erase_studies(two, ["one", "never there"])
    assert list(stored_studies(two)) == recorded_studies(two) == ["two"]
    assert len(load_study(two, "two").trials) == len(ENDINGS)
    erase_studies(two, ["two"])
    with closing(sqlite3.connect(two.mlruns / "optuna.db")) as opened:
        assert opened.execute("PRAGMA foreign_key_check").fetchall() == []
        tables = [name for (name,) in opened.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        full = {t for t in tables if opened.execute(f"SELECT count(*) FROM {t}").fetchone()[0]}
    assert full == {"version_info", "alembic_version"}


def test_a_name_that_is_nothing_is_answered_without_optuna(two, monkeypatch):
    monkeypatch.setattr("sweeps.study.ledger.storage", lambda home: pytest.fail("it takes a second"))
    with pytest.raises(ConfigError, match="'nope'"):
        find(two, "nope")


def test_tables_of_another_version_are_optunas_to_read(two):
    with closing(sqlite3.connect(two.mlruns / "optuna.db")) as opened:
        assert opened.execute("SELECT version_num FROM alembic_version").fetchall() == [(SCHEMA,)]
        opened.execute("UPDATE alembic_version SET version_num = 'v9'")
        opened.commit()
    for read in (stored_studies, lambda home: erase_studies(home, ["one"])):
        with pytest.raises(StudyError, match="cannot be read as Optuna's database"):
            read(two)
