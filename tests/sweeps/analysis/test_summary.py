"""What a study found: the front against its definition, and what is written."""

import csv
import shlex
from dataclasses import replace
from types import SimpleNamespace

import optuna
import pandas as pd
import pytest
from helpers import chosen_on_values
from hypothesis import given
from hypothesis import strategies as st
from optuna.trial import TrialState, create_trial

from pipeline.config.reading import build_config, read_toml
from sweeps.analysis.front import pareto_front
from sweeps.analysis.summary import Summary, summarise, write_best
from sweeps.analysis.trials import trial_frame
from sweeps.reporting.study import sweep_command
from sweeps.study.config import MEMORY, StudyConfig
from sweeps.study.objective import chosen
from sweeps.study.reading import as_stored
from sweeps.study.space import DEFAULT_SPACE, build_space
from sweeps.study.storage import quiet_optuna

BASE = build_config(flags={"data.dataset": "digits", "train.epochs": 5})
CONFIG = StudyConfig("s", BASE, DEFAULT_SPACE, chosen((), "cvae", "standard"))
FACTS_OF_THE_DATA = {"val/judge_accuracy": 0.99, "val/label_only_bce": 170.0, "val/entropy_floor": 45.0}


def frame_of(objectives, values, states=None) -> pd.DataFrame:
    rows = [
        {
            "number": n,
            "state": (states or {}).get(n, "complete"),
            **{o.name: v for o, v in zip(objectives, row, strict=True)},
        }
        for n, row in enumerate(values)
    ]
    return pd.DataFrame(rows, columns=["number", "state", *(o.name for o in objectives)])


def outcomes_of(numbers):
    return {
        n: SimpleNamespace(
            metrics=FACTS_OF_THE_DATA,
            scores={key.partition("/")[2]: value for key, value in FACTS_OF_THE_DATA.items()},
            split="val",
            scored=lambda name: f"val/{name}",
            facts={"classes": 10},
            history=[],
        )
        for n in numbers
    }


def dominates(a, b, objectives) -> bool:
    """The definition, axis by axis."""
    better = [x > y if o.maximise else x < y for x, y, o in zip(a, b, objectives, strict=True)]
    worse = [x < y if o.maximise else x > y for x, y, o in zip(a, b, objectives, strict=True)]
    return any(better) and not any(worse)


# Few values, so that ties and equal trials are common.
three_values = st.tuples(*[st.sampled_from([0.1, 0.2, 0.3, 0.4])] * 3)


@given(st.lists(three_values, max_size=12), st.sets(st.integers(0, 11), max_size=3))
def test_the_front_is_what_no_complete_trial_dominates(values, not_complete):
    frame = frame_of(CONFIG.objectives, values, dict.fromkeys(not_complete, "failed"))
    complete = [n for n in range(len(values)) if n not in not_complete]
    expected = tuple(
        n for n in complete if not any(dominates(values[other], values[n], CONFIG.objectives) for other in complete)
    )
    assert pareto_front(frame, CONFIG.objectives) == expected


@given(st.lists(st.floats(50, 500, allow_subnormal=False), min_size=1, max_size=10))
def test_with_one_objective_the_front_is_the_first_best_trial(values):
    [neg_elbo] = chosen(("neg_elbo",), "cvae", "standard")
    assert pareto_front(frame_of([neg_elbo], [[v] for v in values]), (neg_elbo,)) == (values.index(min(values)),)


def test_without_a_complete_trial_there_is_no_front():
    for objectives in (CONFIG.objectives, chosen(("neg_elbo",), "cvae", "standard")):
        frame = frame_of(objectives, [])
        assert pareto_front(frame, objectives) == ()


# ------------------------------------------------------------------------------------------- a study, and its files


def params(beta: float) -> dict:
    return {"beta": beta, "latent_dim": 7, "learning_rate": 0.1 + 0.2}  # 0.30000000000000004


@pytest.fixture
def summary() -> Summary:
    """Trials 0 and 1 complete, 2 failed, 3 pruned, 4 running."""
    with quiet_optuna():
        study = optuna.create_study(directions=CONFIG.directions)
    space = tuple(replace(d, high=1.0) if d.name == "learning_rate" else d for d in DEFAULT_SPACE)
    config = replace(CONFIG, space=space)
    kept = {"distributions": config.distributions}

    def metrics(accuracy, neg_elbo):
        return {
            "val/conditional_accuracy": accuracy,
            "val/coverage_relative": 0.5,
            "val/neg_elbo": neg_elbo,
            "val/kl": 9,
        }

    for n, (accuracy, neg_elbo) in enumerate([(0.9, 100.0), (0.95, 110.0)]):
        attributes = {"run_key": f"{n}" * 64, "metrics": metrics(accuracy, neg_elbo)}
        study.add_trial(
            create_trial(values=[accuracy, 0.5, neg_elbo], params=params(1.0 + n), user_attrs=attributes, **kept)
        )
    failed = {"reason": 'loss is nan at epoch 3 (learning_rate=0.3, beta=1); try "--lr 0.001"'}
    study.add_trial(create_trial(state=TrialState.FAIL, params=params(3.0), user_attrs=failed, **kept))
    study.add_trial(create_trial(state=TrialState.PRUNED, params=params(4.0), user_attrs={"reason": "stopped"}, **kept))
    study.add_trial(create_trial(state=TrialState.RUNNING, params=params(5.0), **kept))
    frame = trial_frame(as_stored(study), config)
    outcomes = outcomes_of([0, 1])
    front = pareto_front(frame, config.objectives)
    return chosen_on_values(Summary(config, frame, front, None, outcomes))


def test_the_table_has_every_trial_with_its_state_metrics_and_reason(summary, tmp_path):
    summary.frame.to_csv(tmp_path / "trials.csv", index=False)
    with open(tmp_path / "trials.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [r["state"] for r in rows] == ["complete", "complete", "failed", "pruned", "running"]
    assert rows[2]["reason"] == 'loss is nan at epoch 3 (learning_rate=0.3, beta=1); try "--lr 0.001"'
    assert [r["reason"] for r in rows if r["number"] != "2"] == ["", "", "stopped", ""]
    assert [r["neg_elbo"] for r in rows] == ["100.0", "110.0", "", "", ""]
    assert [r["kl"] for r in rows[:2]] == ["9.0", "9.0"]
    assert {r["latent_dim"] for r in rows} == {"7"}
    assert {float(r["learning_rate"]) for r in rows} == {0.1 + 0.2}
    assert "test" not in " ".join(rows[0])


def test_best_toml_reads_back_as_exactly_the_chosen_configuration(summary, tmp_path):
    path = write_best(summary, tmp_path)
    config = build_config(read_toml(path))
    assert config == summary.chosen_config
    assert config.train.learning_rate == 0.1 + 0.2
    assert config.train.beta == 1.0 + summary.chosen
    assert type(config.model.latent_dim) is int
    assert config.train.seed == summary.config.base.train.seed
    assert config.train.epochs == 5
    assert path.read_text().startswith(f"# Trial {summary.chosen} of study s.")


def test_without_a_choice_there_is_no_best_toml(summary, tmp_path):
    assert write_best(replace(summary, front=(), chosen=None), tmp_path) is None
    assert list(tmp_path.iterdir()) == []


def test_the_document_counts_and_names_what_there_is(summary):
    document = summary.document()
    assert (document["finished"], document["failed"], document["pruned"]) == (3, 1, 1)
    assert [point["trial"] for point in document["front"]] == [0, 1]
    assert document["front"][0]["values"] == {
        "conditional_accuracy": 0.9,
        "coverage_relative": 0.5,
        "neg_elbo": 100.0,
    }
    assert document["chosen"]["seeds"] == []
    assert summary.parent_metrics() == {
        "trials/complete": 2.0,
        "trials/failed": 1.0,
        "trials/pruned": 1.0,
        "trials/running": 1.0,
        "front/size": 2.0,
    }


def test_one_seed_has_no_deviation_and_two_have_the_sample_deviation(summary):
    finals = tuple(SimpleNamespace(metrics={"test/bce": value}) for value in (100.0, 104.0))
    assert replace(summary, finals=finals).final_spread() == {"test/bce": (102.0, pytest.approx(8**0.5))}
    one = replace(summary, finals=finals[:1])
    assert one.final_spread() == {"test/bce": (100.0, None)}
    assert "test/bce_mean" in one.parent_metrics()
    assert "test/bce_std" not in one.parent_metrics()


def test_a_study_without_trials_can_be_summed_up(home):
    empty = summarise(home, optuna.create_study(directions=CONFIG.directions), CONFIG)
    assert (empty.finished, empty.front, empty.chosen) == (0, (), None)
    assert empty.document()["chosen"] == {}


# -------------------------------------------------------------------------------------------- how to do it once more


@pytest.mark.parametrize(
    "config",
    [
        CONFIG,
        replace(CONFIG, seed=3, window=5, name="my study"),
        replace(CONFIG, objectives=chosen(("neg_elbo",), "cvae", "standard"), pruner="none"),
        replace(CONFIG, eta=4, first_rung=2),
        replace(CONFIG, space=build_space(entries=["beta=0.1234567:4:linear", "learning_rate=off"])),
        replace(CONFIG, space=build_space(entries=["warmup_epochs=0:3:linear", "latent_dim=2:8"])),
        replace(
            CONFIG,
            base=build_config(
                flags={"data.dataset": "digits", "model.hidden": "32,16", "train.seed": 7, "train.learning_rate": 3e-4},
                sets=["gates.enforce=true", "judge.epochs=2", "model.condition_encoder=false"],
            ),
            space=build_space(entries=["learning_rate=off"]),
        ),
        replace(
            CONFIG,
            base=build_config(flags={"data.dataset": "mnist", "model.kind": "vae"}),
            objectives=chosen((), "vae", "standard"),
        ),
    ],
    ids=[
        "defaults",
        "seed and window",
        "pruner",
        "rungs",
        "a dimension off",
        "another dimension",
        "settings",
        "vae on mnist",
    ],
)
def test_the_command_of_a_study_parses_back_to_the_same_study(config, summary, home, monkeypatch):
    from pipeline.cli import main as cli

    config = replace(config, memory=MEMORY)  # as every study has that is begun by now
    parsed = {}

    def instead(ctx, study, **options):
        parsed.update(study=study, **options)
        raise SystemExit(0)

    monkeypatch.setattr("sweeps.driver.sweep", instead)
    words = shlex.split(sweep_command(replace(summary, config=config)))
    assert words[:2] == ["cvae-pipe", "sweep"]
    with pytest.raises(SystemExit):
        cli.app(words[1:], standalone_mode=False)
    assert parsed["trials"] == summary.finished
    # The order of dimensions is how a study samples them: it must come back too.
    assert [d.setting for d in parsed["study"].space] == [d.setting for d in config.space]
    assert replace(parsed["study"], base=config.base) == config
    assert parsed["study"].spec() == config.spec()
    assert parsed["study"].base.train.seed == config.base.train.seed
