"""Bounds as they are written, and one clear line for what bounds nothing."""

import optuna
import pytest

from pipeline.errors import StudyError
from sweeps.study.closing import Closing, preferences, recorded_closing
from sweeps.study.objective import chosen

BOTH = chosen((), "cvae", "mixture")
STANDARD = chosen((), "cvae", "standard")


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("accuracy>=.99", "conditional_accuracy>=0.99"),
        (" coverage_relative >= .95 ", "coverage_relative>=0.95"),
        ("neg_elbo<=96", "neg_elbo<=96.0"),
        ("conditional_accuracy>=1e-2", "conditional_accuracy>=0.01"),
    ],
)
def test_an_objective_may_be_named_by_a_part_that_no_other_has(text, written):
    [preference] = preferences([text], STANDARD)
    assert str(preference) == written
    assert preferences([str(preference)], STANDARD) == (preference,)


def test_under_a_fitted_prior_the_same_words_name_its_objectives():
    texts = ["accuracy>=.99", "coverage_relative>=.95", "neg_elbo<=96"]
    assert [p.objective for p in preferences(texts, BOTH)] == [
        "conditional_accuracy_expost",
        "coverage_relative_expost",
        "neg_elbo_expost",
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("accuracy>.99", "--prefer is 'accuracy>.99'; write an objective, >= or <=, and a number: 'accuracy>=.99'"),
        ("accuracy>=high", "--prefer is 'accuracy>=high'; write an objective"),
        ("accuracy>=nan", "--prefer is 'accuracy>=nan'; write an objective"),
        ("", "--prefer is ''; write an objective"),
        ("fid<=3", "--prefer fid is no objective of this study; its objectives are conditional_accuracy, "),
        ("c>=.9", "--prefer c fits conditional_accuracy and coverage_relative; write more of one"),
    ],
)
def test_what_bounds_no_objective_is_one_clear_line(text, said):
    with pytest.raises(StudyError) as error:
        preferences([text], STANDARD)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_a_bound_is_kept_at_its_value():
    at_least, at_most = preferences(["accuracy>=.5", "neg_elbo<=100"], STANDARD)
    assert [at_least.met(v) for v in (0.4, 0.5, 0.6)] == [False, True, True]
    assert [at_most.met(v) for v in (99.0, 100.0, 101.0)] == [True, True, False]


def test_the_ledger_holds_what_was_asked_for_last():
    study = optuna.create_study(directions=["maximize", "maximize", "minimize"])
    assert recorded_closing(study, STANDARD) == Closing()
    for closing in (Closing(3), Closing(2, preferences(["accuracy>=.9"], STANDARD))):
        closing.record(study)
        assert recorded_closing(study, STANDARD) == closing


def test_a_study_of_before_was_chosen_by_one_judge_and_stays_so_until_it_is_ended_again():
    study = optuna.create_study(directions=["maximize", "maximize", "minimize"])
    study.set_user_attr("closing", {"final_seeds": 3, "prefer": [], "judges": 3})
    before = recorded_closing(study, STANDARD)
    assert [before.judges_on(split) for split in ("val", "test")] == [1, 3]
    Closing(3, judges=3).record(study)
    assert [recorded_closing(study, STANDARD).judges_on(split) for split in ("val", "test")] == [3, 3]


def test_fewer_than_no_seeds_are_refused():
    with pytest.raises(StudyError, match="--final-seeds is -1; it must be 0 or more"):
        Closing(-1)
