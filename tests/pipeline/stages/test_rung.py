"""Scores at a rung: of the model of that epoch, whoever asks and whenever; and in the direction of the full ones."""

import contextlib

import pytest
import torch
from helpers import copy_of, quick_config

from pipeline.evaluation.rungs import rung_scores
from pipeline.runs.execute import set_up_process
from pipeline.stages.context import Context
from pipeline.stages.graph import TRAIN
from pipeline.stages.judge import judge
from pipeline.stages.prepare import prepare
from pipeline.stages.reference import reference
from pipeline.stages.rung import rung
from pipeline.stages.score import score
from pipeline.stages.train import CHECKPOINT, model_after, train
from pipeline.training.state import EpochRecord

NAMES = ("conditional_accuracy", "coverage_relative", "vendi_ratio_read", "neg_elbo")
CONFIG = quick_config(train__epochs=6, train__learning_rate=0.01, train__batch_size=16)


class Interrupted(Exception):
    pass


@pytest.fixture
def ctx(warm_home) -> Context:
    set_up_process(1)
    return Context(CONFIG, warm_home)


def rungs_of(ctx: Context, *, until: int = 99, names=NAMES) -> dict[int, dict[str, float]]:
    """Scores after every epoch of a training that is interrupted after `until`."""
    found = {}

    def on_epoch(record, model, folder):
        found[record.epoch] = rung(ctx, "val", names, record, model)
        if record.epoch == until:
            raise Interrupted

    with contextlib.suppress(Interrupted):
        train(ctx, on_epoch)
    return found


def test_a_rung_scores_the_model_of_its_epoch_whether_it_is_passed_resumed_or_long_gone(ctx, warm_root, tmp_path):
    passed = rungs_of(ctx)
    assert sorted(passed) == [1, 2, 3, 4, 5, 6]
    assert all(len({scores[name] for scores in passed.values()}) > 3 for name in NAMES[1:])
    resumed = Context(CONFIG, copy_of(warm_root, tmp_path / "resumed"))
    assert rungs_of(resumed, until=3) == {epoch: passed[epoch] for epoch in (1, 2, 3)}
    assert rungs_of(resumed) == passed
    finished = Context(CONFIG, copy_of(warm_root, tmp_path / "finished"))
    train(finished)  # nobody asked for a rung: only the last model is left
    assert rungs_of(finished) == passed


def test_a_resumed_training_hands_over_the_model_of_its_last_epoch_and_of_no_earlier_one(ctx):
    seen = {}

    def until_three(record, model, folder):
        seen[record.epoch] = model is not None
        if record.epoch == 3:
            raise Interrupted

    with pytest.raises(Interrupted):
        train(ctx, until_three)
    assert seen == {1: True, 2: True, 3: True}
    assert (ctx.home.store.partial("train", TRAIN.key(CONFIG)) / CHECKPOINT).exists()
    again = {}
    train(ctx, lambda record, model, folder: again.setdefault(record.epoch, model is not None))
    assert again == {1: False, 2: False, 3: True, 4: True, 5: True, 6: True}
    finished = {}
    train(ctx, lambda record, model, folder: finished.setdefault(record.epoch, model is not None))
    assert finished == {1: False, 2: False, 3: False, 4: False, 5: False, 6: True}


def test_a_model_trained_again_up_to_its_end_is_the_trained_one(ctx):
    trained = train(ctx).model.state_dict()
    again = model_after(ctx, CONFIG.train.epochs).state_dict()
    assert all(torch.equal(trained[name], again[name]) for name in trained)


def test_a_rung_is_another_one_for_other_objectives_and_another_reference(ctx):
    record = train(ctx).history[1]
    rung(ctx, "val", NAMES[:1], record, None)
    assert rung(ctx, "val", NAMES[:2], record, None).keys() == set(NAMES[:2])
    fewer = Context(CONFIG.with_settings({"score.per_class": 60}), ctx.home)
    rung(fewer, "val", NAMES[:1], record, None)
    assert len(list((ctx.home.store.root / "rung").iterdir())) == 3


def test_what_the_record_holds_needs_neither_model_nor_judges(home):
    record = EpochRecord(2, {"val/neg_elbo": 101.5})
    assert rung(Context(CONFIG, home), "val", ("neg_elbo",), record, None) == {"neg_elbo": 101.5}


def test_scores_under_a_fitted_prior_are_of_that_prior(ctx):
    config = CONFIG.with_settings({"sampling.prior": "gaussian", "train.beta": 0.05})
    fitted = Context(config, ctx.home)
    model = train(fitted).model
    judges, ref, data = judge(fitted).judges, reference(fitted, "val"), prepare(fitted)
    names = ("conditional_accuracy", "conditional_accuracy_expost", "coverage_relative_expost", "neg_elbo_expost")
    scores = rung_scores(names, model, data, (judges, ref), neg_elbo=40.0, score=config.score, sampling=config.sampling)
    assert tuple(scores) == names
    assert scores["conditional_accuracy_expost"] > scores["conditional_accuracy"]  # few codes lie where N(0, I) is
    assert scores["neg_elbo_expost"] < 40


def test_rung_scores_agree_with_the_full_ones_in_direction(ctx):
    """Sixty epochs against one, and a beta that forgets the images against one that keeps them."""
    good, untrained, blurred = (
        Context(quick_config(train__epochs=epochs, train__beta=beta), ctx.home)
        for epochs, beta in ((60, 1.0), (1, 1.0), (60, 30.0))
    )
    quick, full = {}, {}
    for name, context in (("good", good), ("untrained", untrained), ("blurred", blurred)):
        trained = train(context)
        quick[name] = rung(context, "val", NAMES, trained.history[-1], trained.model)
        full[name] = score(context, "val", trained).metrics
    assert quick["good"]["conditional_accuracy"] > quick["untrained"]["conditional_accuracy"] + 0.1
    for key in ("coverage_relative", "vendi_ratio_read"):
        assert full["good"][f"val/{key}"] > full["blurred"][f"val/{key}"]
        assert quick["good"][key] > quick["blurred"][key]
