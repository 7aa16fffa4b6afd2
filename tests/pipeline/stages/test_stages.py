"""Stages as a make: what is missing is built, what is there is used, and it is said which."""

import dataclasses
import gzip
import json
import math

import numpy as np
import pytest
import torch
from helpers import mnist_root, quick_config
from sklearn.datasets import load_digits

from pipeline.config.reading import build_config
from pipeline.data.splits import Split
from pipeline.errors import ConfigError, JudgeError
from pipeline.evaluation.bounds import label_only
from pipeline.grids import read_grid
from pipeline.models.likelihoods import likelihood_of, pixel_entropy
from pipeline.stages.context import Context
from pipeline.stages.evaluate import evaluate
from pipeline.stages.graph import EVALUATE, TRAIN
from pipeline.stages.judge import judge
from pipeline.stages.prepare import prepare, result_facts
from pipeline.stages.score import score
from pipeline.stages.train import CHECKPOINT, epoch_grid_path
from pipeline.stages.train import train as train_stage
from pipeline.store.files import read_json
from pipeline.store.home import Home


@pytest.fixture
def said():
    return []


@pytest.fixture
def context(warm_home, said):
    """A context in a home that has data and judges, with some settings changed."""

    def build(*, force=(), **settings):
        said.clear()
        return Context(quick_config(**settings), warm_home, say=said.append, force=set(force))

    return build


def stage_names(said):
    return [line.partition(":")[0].partition(" (")[0] for line in said]


# ---- what is built and what is said


def test_a_stage_builds_what_is_missing_before_it_and_says_so(home, said):
    config = quick_config(judge__epochs=1, judge__mlp_epochs=1, train__epochs=1)
    score(Context(config, home, say=said.append), "val")
    assert stage_names(said) == ["prepare", "train", "judge", "reference", "score"]
    assert all(": done in " in line for line in said)


def test_the_second_time_every_stage_says_once_that_it_is_up_to_date(context, said):
    score(context(), "test")
    score(context(), "test")
    assert said == [
        "prepare (digits): up to date",
        "train (cvae, 3 epochs): up to date",
        "judge: up to date",
        "reference (test): up to date",
        "score (test): up to date",
    ]


def test_a_changed_setting_redoes_only_the_stages_that_depend_on_it(context, said):
    evaluate(context(), "test")
    evaluate(context(evaluate__draws=3), "test")
    assert [line for line in said if "done" in line] == [line for line in said if line.startswith("evaluate")]
    evaluate(context(train__beta=2.0), "test")
    assert [line.split()[0] for line in said if "done" in line] == ["train", "evaluate"]


def test_force_redoes_one_stage_only_and_only_once(context, said, warm_home):
    evaluate(context(), "test")
    before = (warm_home.store.path("evaluate", EVALUATE.key(quick_config(), "test")) / "metrics.json").stat()
    ctx = context(force={"evaluate"})
    again = evaluate(ctx, "test")
    assert (again.folder / "metrics.json").stat().st_ino != before.st_ino
    assert [line for line in said if "done" in line] == [line for line in said if line.startswith("evaluate")]
    evaluate(ctx, "val")
    said.clear()
    evaluate(ctx, "val")
    assert said == []


def test_a_forced_training_ends_in_the_same_bits(context):
    first = train_stage(context()).model.state_dict()
    again = train_stage(context(force={"train"})).model.state_dict()
    assert all(torch.equal(a, b) for a, b in zip(first.values(), again.values(), strict=True))


def test_other_gates_do_not_retrain_a_judge_and_are_enforced_when_asked(context, said):
    judge(context())
    with pytest.raises(JudgeError) as error:
        judge(context(gates__enforce=True, gates__clean=1.0))
    assert not any("judge: done" in line for line in said)
    assert "\n" not in str(error.value)


def test_the_judge_stage_names_its_weights_by_their_hash(context):
    stage = judge(context())
    assert len(stage.weights_sha256) == 64
    assert stage.weights_sha256 == judge(context()).weights_sha256
    assert sorted(stage.gates) == ["a", "b"]


# ---- training as a stage


def test_every_epoch_is_heard_once_by_a_new_and_by_a_finished_training(context):
    for _ in range(2):
        heard = []
        train_stage(context(), lambda record, model, folder: heard.append(record.epoch))  # noqa: B023
        assert heard == [1, 2, 3]


def test_an_interrupted_training_goes_on_and_equals_an_uninterrupted_one(context, said, warm_home, tmp_path):
    def interrupt(record, model, folder):
        if record.epoch == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_stage(context(), interrupt)
    assert not warm_home.store.has("train", TRAIN.key(quick_config()))
    heard = []
    resumed = train_stage(context(), lambda record, model, folder: heard.append(record.epoch))
    assert "train: going on after epoch 2" in said
    assert heard == [1, 2, 3]

    whole = train_stage(Context(quick_config(), Home(tmp_path / "other", tmp_path)))
    for a, b in zip(resumed.model.state_dict().values(), whole.model.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    for one, other in zip(resumed.history, whole.history, strict=True):
        ignored = {"train/images_per_second": 0}
        assert one.metrics | ignored == other.metrics | ignored


def test_a_finished_training_keeps_its_grids_and_no_checkpoint(context):
    trained = train_stage(context(train__epochs=6, runtime__grid_every=2))
    assert sorted(p.name for p in (trained.folder / "grids").iterdir()) == [
        f"epoch-{epoch:04d}.png" for epoch in (1, 2, 4, 6)
    ]
    assert not (trained.folder / CHECKPOINT).exists()
    grid = read_grid(epoch_grid_path(trained.folder, 6))
    assert grid.shape == (10 * 9 - 1, 10 * 9 - 1)
    assert grid.dtype == np.uint8


def test_an_ae_has_no_generated_grids(context):
    trained = train_stage(context(model__kind="ae"))
    assert not (trained.folder / "grids").exists()


def test_the_loaded_model_is_the_trained_one(context):
    kept = {}
    train_stage(context(), lambda record, model, folder: kept.update(model.state_dict()))
    last = {name: value.clone() for name, value in kept.items()}
    loaded = train_stage(context()).model
    assert not loaded.training
    assert all(torch.equal(last[name], value) for name, value in loaded.state_dict().items())


# ---- evaluate


def test_evaluate_tells_sampled_and_mean_apart_and_adds_up(context):
    metrics = evaluate(context(), "test").metrics
    assert metrics["test/neg_elbo"] == pytest.approx(metrics["test/bce"] + metrics["test/kl"])
    assert metrics["test/excess_bce"] == pytest.approx(metrics["test/bce"] - metrics["test/entropy_floor"])
    assert metrics["test/bce_at_mean"] != metrics["test/bce"]
    assert metrics["test/excess_bce"] > 0


def test_the_entropy_floor_and_the_class_means_of_digits_agree_with_numpy(context, digits):
    metrics = evaluate(context(), "test").metrics
    x = digits.test.images.numpy().reshape(len(digits.test), -1) / 255
    terms = np.where(
        (x > 0) & (x < 1), x * np.log(np.clip(x, 1e-300, 1)) + (1 - x) * np.log1p(-np.clip(x, 0, 1 - 1e-16)), 0
    )
    assert metrics["test/entropy_floor"] == pytest.approx(-terms.sum(1).mean(), rel=1e-6)
    expected = numpy_label_only_bce(digits.train, digits.test, digits.classes)
    assert metrics["test/label_only_bce"] == pytest.approx(expected, rel=1e-5)


def test_the_digits_are_those_of_scikit_learn_none_twice(digits):
    images, _ = load_digits(return_X_y=True)
    parts = [digits.train, digits.val, digits.test]
    assert sum(len(part) for part in parts) == len(images)
    ours = np.concatenate([part.images.numpy().reshape(len(part), -1) for part in parts])
    theirs = np.round(images / 16 * 255).astype(np.uint8)
    assert sorted(map(bytes, ours)) == sorted(map(bytes, theirs))


def test_evaluation_is_repeatable_and_the_split_is_the_one_asked_for(context):
    test = evaluate(context(), "test").metrics
    val = evaluate(context(), "val").metrics
    assert {key.partition("/")[0] for key in test} == {"test"}
    assert {key.partition("/")[0] for key in val} == {"val"}
    assert evaluate(context(force={"evaluate"}), "test").metrics == test


def test_an_ae_is_evaluated_by_its_bce_alone(context):
    metrics = evaluate(context(model__kind="ae"), "test").metrics
    assert set(metrics) == {f"test/{q}" for q in ("bce", "excess_bce", "entropy_floor", "label_only_bce")}


def test_the_reconstruction_grid_has_a_real_row_above_its_reconstructions(context, digits):
    result = evaluate(context(), "test")
    grid = read_grid(result.folder / "reconstructed.png")
    assert grid.shape == (2 * 9 - 1, 10 * 9 - 1)
    first = grid[:8, :8]
    assert any(np.array_equal(first, image) for image in digits.test.images[digits.test.labels == 0].numpy())


# ---- score


@pytest.mark.parametrize("kind", ["ae", "vae"])
def test_a_model_without_labels_has_no_score_and_the_error_says_why(context, kind):
    with pytest.raises(ConfigError, match=rf"score needs --model cvae: {kind} takes no label.*evaluate works"):
        score(context(model__kind=kind), "test")


def test_a_score_keeps_its_table_its_confusion_and_its_judge(context):
    ctx = context()
    result = score(ctx, "test")
    facts = read_json(result.folder / "per_class.json")
    assert facts["judge_sha256"] == judge(ctx).weights_sha256
    confusion = np.array(facts["confusion"])
    assert confusion.shape == (10, 10)
    rates = [float(row[i] / row.sum()) for i, row in enumerate(confusion)]
    assert facts["table"]["conditional_accuracy"] == pytest.approx(rates)
    assert result.metrics["test/conditional_accuracy"] == pytest.approx(np.mean(rates))
    assert read_grid(result.folder / "generated.png").shape == (89, 89)


def test_scoring_is_repeatable(context):
    first = score(context(), "test").metrics
    assert score(context(force={"score"}), "test").metrics == first


def test_cuda_without_a_gpu_is_refused_with_what_to_do(context, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match="torch sees no CUDA device; use --device cpu"):
        prepare(context(runtime__device="cuda"))


@pytest.mark.parametrize("likelihood", ["bernoulli", "continuous_bernoulli", "gaussian"])
def test_no_class_images_and_no_sigma_have_less_distortion_on_training_images_than_the_class_means(digits, likelihood):
    """Class means maximise each likelihood among decoders that ignore z: on the images they are the means of."""
    least = label_only(digits, digits.train, likelihood_of(likelihood))
    x, y = digits.train.as_float().double(), digits.train.labels
    means = torch.stack([x[y == c].mean(0) for c in range(10)]).clamp(1e-6, 1 - 1e-6)
    for shift in (-0.02, 0.02):
        other, logits = likelihood_of(likelihood).of_means((means + shift).clamp(1e-6, 1 - 1e-6), 0.2)
        assert other.nll(logits[y], x).mean().item() > least
    if likelihood == "gaussian":
        deviation = float((x - means[y]).square().mean().sqrt())
        for sigma in (0.9 * deviation, 1.1 * deviation):
            other, logits = likelihood_of(likelihood).of_means(means, sigma)
            assert other.nll(logits[y], x).mean().item() > least


# ---- the real MNIST


def numpy_label_only_bce(train, part, classes):
    """BCE of the class means, by hand in float64."""
    x_train = train.images.numpy().reshape(len(train), -1) / 255
    means = np.stack([x_train[train.labels.numpy() == c].mean(0) for c in range(classes)]).clip(1e-6, 1 - 1e-6)
    x, p = part.images.numpy().reshape(len(part), -1) / 255, means[part.labels.numpy()]
    return -(x * np.log(p) + (1 - x) * np.log(1 - p)).sum(1).mean()


def read_idx(name):
    path = mnist_root() / "MNIST" / "raw" / name
    content = path.read_bytes() if path.exists() else gzip.decompress(path.with_name(f"{name}.gz").read_bytes())
    offset = 16 if "idx3" in name else 8
    return np.frombuffer(content, np.uint8, offset=offset)


@pytest.mark.mnist
def test_the_constants_of_the_real_mnist_test_set_are_the_known_ones(home):
    config = build_config(
        {
            "model": {"hidden": [8], "latent_dim": 2},
            "train": {"epochs": 1, "batch_size": 1000},
            "evaluate": {"draws": 1},
        }
    )
    ctx = Context(config, home)
    metrics = evaluate(ctx, "test").metrics
    assert metrics["test/entropy_floor"] == pytest.approx(45.5345, abs=5e-4)
    data = prepare(ctx)
    assert (len(data.train), len(data.val), len(data.test)) == (55_000, 5_000, 10_000)
    expected = numpy_label_only_bce(data.train, data.test, 10)
    assert metrics["test/label_only_bce"] == pytest.approx(expected, rel=1e-5)
    assert expected == pytest.approx(171.63, abs=0.1)

    # the published constant is that of all 60,000 training images
    images, labels = read_idx("train-images-idx3-ubyte"), read_idx("train-labels-idx1-ubyte")
    official = Split(torch.from_numpy(images.reshape(-1, 28, 28).copy()), torch.from_numpy(labels.astype(np.int64)))
    whole = dataclasses.replace(data, train=official)
    assert label_only(whole, data.test) == pytest.approx(171.626, abs=2e-3)
    floor = np.mean([float(pixel_entropy(x.double()).sum()) / len(x) for x in official.as_float().split(10_000)])
    assert math.isclose(floor, 45.757, abs_tol=5e-2)


def test_result_facts_describe_the_data(context, digits):
    facts = result_facts(context())
    assert facts["images"] == {"train": len(digits.train), "val": len(digits.val), "test": len(digits.test)}
    assert (facts["shape"], facts["classes"]) == ([1, 8, 8], 10)
    json.dumps(facts)
