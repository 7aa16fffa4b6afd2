"""What a sweep may optimise: directions, who has it, and over which range it means something."""

import pytest

from pipeline.errors import ConfigError
from pipeline.evaluation.catalog import METRICS
from sweeps.study.objective import DEFAULT, OBJECTIVES, chosen, physical_range, values

METRICS_OF_A_TRIAL = {
    "val/conditional_accuracy": 0.9,
    "val/coverage_relative": 0.8,
    "val/neg_elbo": 105.0,
    "val/judge_accuracy": 0.995,
    "val/label_only_bce": 171.6,
    "val/entropy_floor": 45.5,
    "test/conditional_accuracy": 0.1,
    "test/coverage_relative": 0.1,
    "test/neg_elbo": 999.0,
}


def test_directions_are_those_of_the_metric_catalog():
    for objective in OBJECTIVES.values():
        better = METRICS[objective.name].better
        assert objective.maximise == (better == "higher") or (objective.name.startswith("vendi") and not better)
        assert objective.direction == ("maximize" if objective.maximise else "minimize")


def test_only_neg_elbo_exists_without_labels():
    assert [o.name for o in OBJECTIVES.values() if not o.needs_labels] == ["neg_elbo", "neg_elbo_expost"]


def test_a_beta_weighted_loss_and_raw_bce_are_not_on_offer():
    for name in ("loss", "bce", "kl", "train/loss", "val/loss", "val/neg_elbo"):
        assert name not in OBJECTIVES
        with pytest.raises(ConfigError, match=f"unknown objective {name}; objectives are .*neg_elbo"):
            chosen((name,), "cvae", "standard")


def test_every_objective_is_read_from_validation_never_from_test():
    assert all(o.key == f"val/{o.name}" for o in OBJECTIVES.values())
    objectives = chosen(DEFAULT, "cvae", "standard")
    assert values(objectives, METRICS_OF_A_TRIAL) == [0.9, 0.8, 105.0]
    with pytest.raises(KeyError):
        values(objectives, {k: v for k, v in METRICS_OF_A_TRIAL.items() if k.startswith("test/")})


def test_the_defaults_follow_the_model():
    assert [o.name for o in chosen((), "cvae", "standard")] == ["conditional_accuracy", "coverage_relative", "neg_elbo"]
    assert [o.name for o in chosen((), "vae", "standard")] == ["neg_elbo"]


@pytest.mark.parametrize("prior", ["gaussian", "mixture"])
def test_the_defaults_are_those_of_the_prior_that_is_scored(prior):
    three = ["conditional_accuracy_expost", "coverage_relative_expost", "neg_elbo_expost"]
    assert [o.name for o in chosen((), "cvae", prior)] == three
    assert [o.name for o in chosen((), "vae", prior)] == ["neg_elbo_expost"]


def test_the_order_asked_for_is_kept():
    assert [o.name for o in chosen(("neg_elbo", "vendi_ratio_read"), "cvae", "standard")] == [
        "neg_elbo",
        "vendi_ratio_read",
    ]


@pytest.mark.parametrize(
    ("names", "model", "message"),
    [
        (("accuracy",), "cvae", "unknown objective accuracy; objectives are conditional_accuracy, "),
        (("neg_elbo", "neg_elbo"), "cvae", "an objective is named twice: neg_elbo, neg_elbo"),
        (("conditional_accuracy",), "vae", "conditional_accuracy needs --model cvae; vae takes no label"),
        (("neg_elbo",), "ae", "a sweep needs --model vae or cvae"),
        ((), "ae", "a sweep needs --model vae or cvae"),
        (("coverage_relative_expost",), "cvae", "needs a fitted prior; make --prior standard mixture or gaussian"),
    ],
)
def test_what_cannot_be_optimised_is_one_clear_line(names, model, message):
    with pytest.raises(ConfigError, match=message) as error:
        chosen(names, model, "standard")
    assert "\n" not in str(error.value)


def test_physical_ranges_run_from_worst_to_best():
    ranges = {n: physical_range(o, METRICS_OF_A_TRIAL, classes=10) for n, o in OBJECTIVES.items()}
    assert ranges == {
        "conditional_accuracy": (0.1, 0.995),
        "conditional_accuracy_worst_class": (0.1, 0.995),
        "coverage_relative": (0.0, 1.0),
        "vendi_ratio_read": (0.0, 1.0),
        "neg_elbo": (171.6, 45.5),
        "conditional_accuracy_expost": (0.1, 0.995),
        "conditional_accuracy_worst_class_expost": (0.1, 0.995),
        "coverage_relative_expost": (0.0, 1.0),
        "vendi_ratio_read_expost": (0.0, 1.0),
        "neg_elbo_expost": (171.6, 45.5),
    }
    for name, (worst, best) in ranges.items():
        assert (best > worst) == OBJECTIVES[name].maximise
