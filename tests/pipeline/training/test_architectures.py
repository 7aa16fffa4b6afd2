"""Whatever the layers, the likelihood and the prior: it trains, is resumed to the last bit, and draws every class."""

import pytest
import torch

from pipeline.config.sections import ModelConfig, TrainConfig
from pipeline.models.gradients import gradients_of, written_out
from pipeline.models.sampling import conditional_samples
from pipeline.training.fit import fit, start
from pipeline.training.state import load_training, save_training

CPU = torch.device("cpu")
CONV = {"arch": "conv", "conv_channels": (8, 8), "hidden": (16,)}
MODELS = {
    "conv": ModelConfig(latent_dim=3, **CONV),
    "conv vae, gaussian": ModelConfig(kind="vae", latent_dim=3, likelihood="gaussian", **CONV),
    "conv, learned prior": ModelConfig(latent_dim=3, learned_prior=True, **CONV),
    "conv ae": ModelConfig(kind="ae", latent_dim=3, **CONV),
    "mlp, continuous Bernoulli": ModelConfig(latent_dim=3, hidden=(16,), likelihood="continuous_bernoulli"),
}


def config(epochs: int = 3, **options) -> TrainConfig:
    return TrainConfig(epochs=epochs, batch_size=128, seed=1, learning_rate=1e-2, **options)


@pytest.mark.parametrize("name", MODELS)
def test_it_trains_and_an_interrupted_training_ends_in_the_same_bits(name, digits, tmp_path):
    model, settings = MODELS[name], config(free_bits=0.1)
    whole = start(model, settings, digits, CPU)
    records = list(fit(whole, digits, settings))
    assert records[-1].metrics["val/loss"] < records[0].metrics["val/loss"]
    distortion = "bce" if model.likelihood == "bernoulli" else "distortion"
    assert f"val/{distortion}" in records[-1].metrics

    halted = start(model, settings, digits, CPU)
    next(iter(fit(halted, digits, settings)))
    save_training(halted, tmp_path / "checkpoint")
    resumed = start(model, settings, digits, CPU)
    load_training(resumed, tmp_path / "checkpoint")
    list(fit(resumed, digits, settings))
    own, theirs = whole.model.state_dict(), resumed.model.state_dict()
    assert own.keys() == theirs.keys()
    assert all(torch.equal(own[key], theirs[key]) for key in own)


@pytest.mark.parametrize("name", MODELS)
def test_no_parameter_is_left_alone(name, digits):
    model = start(MODELS[name], config(), digits, CPU).model
    x, y = digits.train.as_float(slice(0, 64)), digits.train.labels[:64]
    gradients, _, _ = gradients_of(model)(
        x, torch.nn.functional.one_hot(y, 10).float(), torch.randn(64, model.latent_dim), 1.0
    )
    for (parameter, _), gradient in zip(model.named_parameters(), gradients, strict=True):
        assert gradient.abs().sum() > 0, parameter
        assert gradient.is_contiguous()


def test_only_plain_perceptrons_have_their_gradient_written_out(digits):
    found = {name: written_out(start(model, config(), digits, CPU).model) for name, model in MODELS.items()}
    assert not any(found.values())
    assert written_out(start(ModelConfig(latent_dim=3), config(), digits, CPU).model)


def test_it_draws_images_of_every_class(digits):
    model = start(MODELS["conv, learned prior"], config(), digits, CPU).model
    images, labels = conditional_samples(model, per_class=2, seed=0)
    assert images.shape == (20, 64)
    assert labels.tolist() == sorted([*range(10)] * 2)
