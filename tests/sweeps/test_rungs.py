"""Who goes on at a rung, through the ledger: values written down first, and the window alone looked at."""

import dataclasses
from types import SimpleNamespace

import pytest
from helpers import quick_config

from pipeline.stages.context import Context
from pipeline.stages.evaluate import evaluate
from pipeline.stages.score import score
from sweeps.rungs import Rungs, data_ranges
from sweeps.study.config import StudyConfig
from sweeps.study.ledger import Ledger
from sweeps.study.objective import chosen, physical_range
from sweeps.study.space import DEFAULT_SPACE
from sweeps.study.stopping import Fronts

BASE = quick_config(train__epochs=9)
CONFIG = StudyConfig(
    "s", BASE, DEFAULT_SPACE, chosen(("conditional_accuracy", "neg_elbo"), "cvae", "standard"), window=2
)
PARAMS = {"beta": 1.0, "latent_dim": 4, "learning_rate": 1e-3}


@pytest.fixture
def ledger(home, monkeypatch):
    """A ledger whose accuracy runs from 0 to 1 and neg_elbo from 100 to 0."""
    monkeypatch.setattr("sweeps.rungs.data_ranges", lambda ctx, config: [(0.0, 1.0), (100.0, 0.0)])
    ledger = Ledger(home, CONFIG)
    yield ledger
    ledger.close()


def worth(accuracy: float, neg_elbo: float) -> dict[str, float]:
    return {"conditional_accuracy": accuracy, "neg_elbo": neg_elbo}


def test_only_trials_a_window_before_are_compared_with(ledger):
    rungs = Rungs(SimpleNamespace(), ledger)
    trials = [ledger.begin(PARAMS) for _ in range(6)]
    for n, accuracy in enumerate([0.1, 0.2, 0.3, 0.4]):
        rungs.goes_on(trials[n], 1, worth(accuracy, 50.0))
    # Trial 5 sees trials 0 .. 3; trial 4 sees trials 0 .. 2, and not the better one after them.
    assert rungs.goes_on(trials[4], 1, worth(0.35, 50.0))
    assert not rungs.goes_on(trials[5], 1, worth(0.25, 50.0))
    # A value that is known early changes nothing for whoever is not a window behind it.
    early = Rungs(SimpleNamespace(), ledger)
    early._values[3]["1"] = early._values[5]["1"] = [1.0, 0.0]
    assert early.goes_on(trials[4], 1, worth(0.35, 50.0))


def test_a_rung_costs_what_is_new_however_wide_the_window(home, monkeypatch):
    monkeypatch.setattr("sweeps.rungs.data_ranges", lambda ctx, config: [(0.0, 1.0), (100.0, 0.0)])
    added = []
    add = Fronts.add
    monkeypatch.setattr(Fronts, "add", lambda self, *point: (added.append(1), add(self, *point)))
    wide = Ledger(home, dataclasses.replace(CONFIG, window=8))
    try:
        rungs = Rungs(SimpleNamespace(), wide)
        for n in range(30):
            rungs.goes_on(wide.begin(PARAMS), 1, worth(n % 7 / 7, 50.0))
    finally:
        wide.close()
    assert len(added) == 22  # trials 0 .. 21, that trial 29 is compared with, once each


def test_values_are_in_the_ledger_before_the_answer_and_stay_what_they_were(ledger):
    rungs = Rungs(SimpleNamespace(), ledger)
    trial = ledger.begin(PARAMS)
    assert rungs.goes_on(trial, 1, worth(0.5, 60.0))
    assert ledger.trial(0).user_attrs["rungs"] == {"1": [0.5, 60.0]}
    assert rungs.goes_on(trial, 3, worth(0.7, 40.0))
    # After a restart the worker announces its rungs once more.
    again = Rungs(SimpleNamespace(), ledger)
    assert again.goes_on(trial, 1, worth(0.4, 70.0))
    assert ledger.trial(0).user_attrs["rungs"] == {"1": [0.5, 60.0], "3": [0.7, 40.0]}


def test_a_trial_that_never_came_to_a_rung_is_not_compared_with_there(ledger):
    rungs = Rungs(SimpleNamespace(), ledger)
    trials = [ledger.begin(PARAMS) for _ in range(5)]
    for n in range(4):
        rungs.goes_on(trials[n], 1, worth(0.9, 10.0))
    assert rungs.goes_on(trials[4], 3, worth(0.1, 90.0))
    assert not rungs.goes_on(trials[4], 1, worth(0.1, 90.0))


def test_a_value_that_is_not_finite_is_the_worst(ledger):
    rungs = Rungs(SimpleNamespace(), ledger)
    trials = [ledger.begin(PARAMS) for _ in range(5)]
    for n in range(3):
        rungs.goes_on(trials[n], 1, worth(0.2, 90.0))
    assert not rungs.goes_on(trials[4], 1, worth(float("nan"), 95.0))
    assert Rungs(SimpleNamespace(), ledger)._values[4]["1"][1] == 95.0  # it can be read back


def test_the_ranges_are_those_of_any_finished_trial_and_need_none(warm_home):
    ctx = Context(BASE, warm_home)
    ranges = data_ranges(ctx, CONFIG)
    metrics = evaluate(ctx, "val").metrics | score(ctx, "val").metrics
    assert ranges == [physical_range(o, metrics, classes=10) for o in CONFIG.objectives]
    without_labels = dataclasses.replace(
        CONFIG, base=BASE.with_settings({"model.kind": "vae"}), objectives=chosen((), "vae", "standard")
    )
    assert data_ranges(Context(without_labels.base, warm_home), without_labels) == ranges[1:]
