"""fit(): the same bits from the same seed, through any interruption; losses as the formula says; divergence."""

import dataclasses
import io
import math

import numpy as np
import pytest
import torch
from helpers import quick_config

from pipeline.config.digests import derive_seed
from pipeline.config.sections import ModelConfig, TrainConfig
from pipeline.data.splits import PreparedData, Split
from pipeline.errors import DamageError, DataError, DivergedError
from pipeline.models.losses import warmed_beta
from pipeline.stages.context import Context
from pipeline.stages.graph import TRAIN
from pipeline.stages.train import train
from pipeline.training.fit import build_model, fit, start
from pipeline.training.state import DIGEST_LENGTH, EpochRecord, load_training, save_training
from pipeline.training.validation import elbo_per_image

CPU = torch.device("cpu")
CVAE = ModelConfig(hidden=(32,), latent_dim=3)
CONFIG = TrainConfig(epochs=4, batch_size=32, beta=2.0, warmup_epochs=2.5, seed=1)
LEARNED = {"loss", "bce", "kl", "neg_elbo"}


@pytest.fixture(scope="module")
def small(digits) -> PreparedData:
    """300 training digits in ten batches, the last of them short."""
    part = Split(digits.train.images[:300], digits.train.labels[:300])
    return dataclasses.replace(digits, train=part)


def trained(data, config=CONFIG, model=CVAE):
    training = start(model, config, data, CPU)
    list(fit(training, data, config))
    return training


def facts(training):
    """Everything a training ends with, but for its speed."""
    rows = [{k: v for k, v in r.row().items() if k != "train/images_per_second"} for r in training.history]
    adam = training.optimizer
    weights = [*training.model.state_dict().values(), *adam.means, *adam.squares, adam.steps]
    return weights, rows, training.generator.get_state()


def assert_same_bits(one, other):
    (weights, rows, noise), (weights_2, rows_2, noise_2) = facts(one), facts(other)
    assert rows == rows_2
    assert len(weights) == len(weights_2)
    assert all(torch.equal(a, b) for a, b in zip(weights, weights_2, strict=True))
    assert torch.equal(noise, noise_2)


# ---- one seed, one result


def test_the_same_seed_gives_the_same_bits(small):
    assert_same_bits(trained(small), trained(small))


def test_the_global_random_state_is_neither_read_nor_moved(small):
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = trained(small)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert_same_bits(first, trained(small))


def test_another_seed_gives_other_weights_another_order_and_other_noise(small):
    first, other = trained(small), trained(small, dataclasses.replace(CONFIG, seed=2))
    assert not torch.equal(facts(first)[0][0], facts(other)[0][0])
    assert not torch.equal(first.generator.get_state(), other.generator.get_state())


@pytest.mark.parametrize("stop", range(CONFIG.epochs + 1))
def test_a_training_interrupted_after_any_epoch_and_resumed_ends_in_the_same_bits(small, tmp_path, stop):
    interrupted = start(CVAE, CONFIG, small, CPU)
    epochs = fit(interrupted, small, CONFIG)
    for _ in range(stop):
        next(epochs)
    save_training(interrupted, tmp_path / "checkpoint.pt")

    resumed = start(CVAE, CONFIG, small, CPU)
    load_training(resumed, tmp_path / "checkpoint.pt")
    assert resumed.epoch == stop
    assert [r.epoch for r in fit(resumed, small, CONFIG)] == list(range(stop + 1, CONFIG.epochs + 1))
    assert_same_bits(resumed, trained(small))


@pytest.mark.parametrize("kind", ["ae", "vae"])
def test_the_other_models_resume_in_the_same_bits_too(small, tmp_path, kind):
    model = dataclasses.replace(CVAE, kind=kind)
    interrupted = start(model, CONFIG, small, CPU)
    next(fit(interrupted, small, CONFIG))
    save_training(interrupted, tmp_path / "checkpoint.pt")
    resumed = start(model, CONFIG, small, CPU)
    load_training(resumed, tmp_path / "checkpoint.pt")
    list(fit(resumed, small, CONFIG))
    assert_same_bits(resumed, trained(small, model=model))


def test_a_resumed_training_does_not_replay_the_first_epochs_batch_order(small, tmp_path):
    training = start(CVAE, CONFIG, small, CPU)
    first_order = training.generator.get_state()
    next(fit(training, small, CONFIG))
    save_training(training, tmp_path / "checkpoint.pt")
    resumed = start(CVAE, CONFIG, small, CPU)
    load_training(resumed, tmp_path / "checkpoint.pt")
    assert not torch.equal(resumed.generator.get_state(), first_order)


def test_a_checkpoint_holds_tensors_and_numbers_alone(small, tmp_path):
    save_training(trained(small), tmp_path / "checkpoint.pt")
    content = (tmp_path / "checkpoint.pt").read_bytes()[DIGEST_LENGTH:]
    saved = torch.load(io.BytesIO(content), weights_only=True)
    assert sorted(saved) == ["epoch", "generator", "history", "model", "optimizer"]


@pytest.mark.parametrize("harm", ["truncated", "empty", "flipped", "old"])
def test_a_damaged_checkpoint_is_not_gone_on_from(small, tmp_path, harm):
    path = tmp_path / "checkpoint.pt"
    save_training(trained(small), path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    harmed = {"truncated": path.read_bytes()[:-7], "empty": b"", "flipped": content, "old": path.read_bytes()[32:]}
    path.write_bytes(harmed[harm])
    fresh, untouched = (start(CVAE, CONFIG, small, CPU) for _ in range(2))
    with pytest.raises(DamageError, match="is not what was saved"):
        load_training(fresh, path)
    assert_same_bits(fresh, untouched)


def test_the_initial_weights_depend_on_the_seed_alone(small):
    one, again, other = (build_model(CVAE, small, seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(a, b) for a, b in zip(one.values(), again.values(), strict=True))
    assert not torch.equal(one["encoder.0.weight"], other["encoder.0.weight"])


def test_the_settings_widths_survive_the_building_of_many_models(small):
    config = ModelConfig(hidden=(32, 16, 8), latent_dim=3)
    shapes = [[tuple(p.shape) for p in build_model(config, small, seed).parameters()] for seed in range(3)]
    assert config.hidden == (32, 16, 8)
    assert shapes[0] == shapes[1] == shapes[2]


# ---- the loss


def test_the_loss_of_a_step_is_bce_plus_beta_kl_by_hand(small):
    config = TrainConfig(epochs=1, batch_size=len(small.train), beta=3.0, seed=5)
    training = start(CVAE, config, small, CPU)
    noise = torch.Generator().manual_seed(derive_seed("steps", config.seed))
    order = torch.randperm(len(small.train), generator=noise)
    eps = torch.randn(len(small.train), CVAE.latent_dim, generator=noise).double().numpy()

    def layers(part):
        return [(p.weight.detach().double().numpy(), p.bias.detach().double().numpy()) for p in (part[0], part[2])]

    def forward(part, inputs):
        (w1, b1), (w2, b2) = layers(part)
        return np.maximum(inputs @ w1.T + b1, 0) @ w2.T + b2

    x = small.train.images[order].flatten(1).double().numpy() / 255
    c = np.eye(small.classes)[small.train.labels[order].numpy()]
    mu, logvar = np.split(forward(training.model.encoder, np.hstack([x, c])), 2, axis=1)
    z = mu + np.exp(logvar / 2) * eps
    p = 1 / (1 + np.exp(-forward(training.model.decoder, np.hstack([z, c]))))
    bce = -(x * np.log(p) + (1 - x) * np.log(1 - p)).sum(1).mean()
    kl = (0.5 * (mu**2 + np.exp(logvar) - 1 - logvar)).sum(1).mean()

    (record,) = fit(training, small, config)
    assert record.metrics["train/bce"] == pytest.approx(bce, rel=1e-5)
    assert record.metrics["train/kl"] == pytest.approx(kl, rel=1e-4)
    assert record.metrics["train/loss"] == pytest.approx(bce + 3 * kl, rel=1e-5)
    assert record.metrics["train/neg_elbo"] == pytest.approx(bce + kl, rel=1e-5)


def test_a_short_last_batch_counts_by_its_images(small):
    # With a step size too small to move a weight, the means of an epoch are those of the untrained model.
    config = TrainConfig(epochs=1, batch_size=299, learning_rate=1e-30, beta=0.0)
    ae = dataclasses.replace(CVAE, kind="ae")
    training = start(ae, config, small, CPU)
    expected = elbo_per_image(training.model, small.train, seed=0, at_mean=True).bce.mean()
    (record,) = fit(training, small, config)
    assert record.metrics["train/bce"] == pytest.approx(float(expected), rel=1e-5)


def test_beta_zero_ignores_the_kl(small):
    for record in trained(small, dataclasses.replace(CONFIG, beta=0.0)).history:
        for split in ("train", "val"):
            assert record.metrics[f"{split}/loss"] == record.metrics[f"{split}/bce"]
            assert record.metrics[f"{split}/kl"] > 0


def test_more_beta_leaves_less_kl(small):
    kls = [trained(small, TrainConfig(epochs=6, beta=beta)).history[-1].metrics["val/kl"] for beta in (0, 0.3, 10)]
    assert kls[0] > kls[1] > kls[2]


def test_beta_warms_up_step_by_step_and_then_stays(small):
    steps = math.ceil(300 / CONFIG.batch_size)
    betas = [record.metrics["train/beta"] for record in trained(small).history]
    # the record holds the beta of the epoch's last step
    last_steps = [epoch * steps - 1 for epoch in range(1, CONFIG.epochs + 1)]
    assert betas == [min(CONFIG.beta, CONFIG.beta * step / (2.5 * steps)) for step in last_steps]
    assert betas[0] < betas[1] < betas[2] == betas[3] == CONFIG.beta


def test_warm_up_begins_at_zero_and_none_means_none():
    assert warmed_beta(2.0, step=0, steps_per_epoch=10, warmup_epochs=3) == 0
    assert warmed_beta(2.0, step=0, steps_per_epoch=10, warmup_epochs=0) == 2.0


def test_training_goes_down_on_digits(digits):
    history = trained(digits, TrainConfig(epochs=8), ModelConfig(hidden=(128,))).history
    losses = [r.metrics["train/loss"] for r in history]
    assert losses == sorted(losses, reverse=True)
    assert history[-1].metrics["val/neg_elbo"] < history[0].metrics["val/neg_elbo"] - 2


# ---- records


@pytest.mark.parametrize("kind", ["vae", "cvae"])
def test_a_record_has_every_loss_of_train_and_val(small, kind):
    training = trained(small, model=dataclasses.replace(CVAE, kind=kind))
    assert [r.epoch for r in training.history] == [1, 2, 3, 4]
    keys = {f"{split}/{q}" for split in ("train", "val") for q in LEARNED}
    keys |= {"train/beta", "train/learning_rate", "train/images_per_second"}
    for record in training.history:
        assert set(record.metrics) == keys
        assert all(math.isfinite(v) for v in record.metrics.values())
        assert record.metrics["train/images_per_second"] > 0
        val = {q: record.metrics[f"val/{q}"] for q in LEARNED}
        assert val["neg_elbo"] == pytest.approx(val["bce"] + val["kl"])
        # val is weighted with the full beta, so that its curve has one meaning through the warm-up
        assert val["loss"] == pytest.approx(val["bce"] + CONFIG.beta * val["kl"])


def test_an_ae_has_no_kl_and_no_elbo(small):
    for record in trained(small, model=dataclasses.replace(CVAE, kind="ae")).history:
        assert {k.partition("/")[2] for k in record.metrics} == {
            "loss",
            "bce",
            "beta",
            "learning_rate",
            "images_per_second",
        }
        assert record.metrics["train/loss"] == record.metrics["train/bce"]


def test_a_record_survives_its_row():
    record = EpochRecord(3, {"train/loss": 1.5, "val/bce": 2.0})
    assert record.row() == {"epoch": 3, "train/loss": 1.5, "val/bce": 2.0}
    assert EpochRecord.from_row(record.row()) == record


# ---- evaluation noise


def test_the_evaluation_noise_depends_on_the_seed_alone(small):
    model = build_model(CVAE, small, seed=0)
    torch.manual_seed(5)
    first = elbo_per_image(model, small.val, seed=1)
    torch.manual_seed(6)
    assert torch.equal(elbo_per_image(model, small.val, seed=1).bce, first.bce)
    assert not torch.equal(elbo_per_image(model, small.val, seed=2).bce, first.bce)
    assert torch.equal(elbo_per_image(model, small.val, seed=2).kl, first.kl)


def test_evaluation_puts_every_image_in_its_place_whatever_the_batch(small):
    model = build_model(CVAE, small, seed=0)
    whole = elbo_per_image(model, small.val, seed=0, at_mean=True)
    parts = elbo_per_image(model, small.val, seed=0, at_mean=True, batch=7)
    assert whole.bce.shape == (len(small.val),)
    torch.testing.assert_close(whole.bce, parts.bce)
    torch.testing.assert_close(whole.kl, parts.kl)


def test_more_draws_estimate_the_same_bce_with_less_noise(small):
    model = build_model(CVAE, small, seed=0)

    def spread(draws):
        means = [float(elbo_per_image(model, small.val, seed=s, draws=draws).bce.mean()) for s in range(12)]
        return np.mean(means), np.std(means)

    (one, noise_of_one), (sixteen, noise_of_sixteen) = spread(1), spread(16)
    assert abs(one - sixteen) < 4 * noise_of_one / 12**0.5
    assert noise_of_sixteen < noise_of_one / 2  # a quarter is expected


# ---- what cannot be trained


def test_a_diverging_training_says_so_and_leaves_nothing_in_the_store(warm_home):
    config = quick_config(train__learning_rate=1e30)
    with pytest.raises(
        DivergedError, match=r"loss is (nan|inf) at epoch 1 \(learning_rate=1e\+30, beta=1\); try --lr 0.001"
    ):
        train(Context(config, warm_home))
    assert not warm_home.store.has("train", TRAIN.key(config))
    assert list(warm_home.store.keys("train")) == []


def test_a_batch_larger_than_the_data_is_refused_with_the_number_of_images(small):
    with pytest.raises(
        DataError, match="batch_size is 301, but digits has 300 training images; choose --batch-size 300"
    ):
        start(CVAE, dataclasses.replace(CONFIG, batch_size=301), small, CPU)
    start(CVAE, dataclasses.replace(CONFIG, batch_size=300), small, CPU)
