"""The learning rate of a step: its closed form, torch's schedulers, and that a training takes exactly these rates."""

import dataclasses
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, SequentialLR

from pipeline.config.sections import ModelConfig, TrainConfig
from pipeline.data.splits import PreparedData, Split
from pipeline.training.adam import Adam
from pipeline.training.fit import fit, start
from pipeline.training.population import Population
from pipeline.training.schedule import learning_rate
from pipeline.training.state import load_training, save_training

CPU = torch.device("cpu")
CONSTANT = TrainConfig(schedule="constant", learning_rate=2e-3)
COSINE = TrainConfig(schedule="cosine", learning_rate=3e-3)


def rates(config: TrainConfig, steps: int) -> list[float]:
    return [learning_rate(config, step=step, steps=steps) for step in range(steps)]


def test_a_constant_rate_is_the_same_at_every_step():
    assert set(rates(CONSTANT, 1000)) == {2e-3}


def test_a_cosine_rises_over_a_fiftieth_of_the_steps_to_its_peak_and_falls_to_zero():
    found = rates(COSINE, 1000)
    assert found[:20] == pytest.approx([3e-3 * n / 21 for n in range(1, 21)])
    assert found[20] == max(found) == 3e-3
    assert found[20 + 490] == pytest.approx(1.5e-3), "half-way down, half the peak"
    assert found[20 + 316] == pytest.approx(3e-3 * math.cos(math.pi * 316 / 980 / 2) ** 2)
    assert found[-1] == pytest.approx(3e-3 * (math.pi / 980) ** 2 / 4, rel=1e-4), "one step before 0"


@given(st.integers(1, 500))
def test_every_step_has_a_rate_above_zero_and_none_is_above_the_peak(steps):
    found = rates(COSINE, steps)
    peak = found.index(3e-3)
    assert all(0 < rate <= 3e-3 for rate in found)
    assert found[: peak + 1] == sorted(found[: peak + 1])
    assert found[peak:] == sorted(found[peak:], reverse=True)


def test_a_training_of_a_few_steps_begins_at_its_peak():
    assert rates(COSINE, 1) == [3e-3]
    assert rates(COSINE, 49)[0] == 3e-3
    assert rates(COSINE, 50)[:2] == [1.5e-3, 3e-3]


@pytest.mark.parametrize("steps", [50, 237, 1000])
def test_the_rates_are_those_of_torchs_schedulers(steps):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=3e-3)
    rise = steps // 50
    parts = [LinearLR(optimizer, 1 / (rise + 1), total_iters=rise), CosineAnnealingLR(optimizer, steps - rise)]
    scheduler = SequentialLR(optimizer, parts, [rise])
    theirs = []
    for _ in range(steps):
        theirs.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    assert rates(COSINE, steps) == pytest.approx(theirs, rel=1e-9)


# ---- in a training

MODEL = ModelConfig(hidden=(16,), latent_dim=2)
CONFIG = TrainConfig(epochs=6, batch_size=32, learning_rate=5e-3, seed=1)
STEPS = 6 * 10


@pytest.fixture
def small(digits) -> PreparedData:
    """300 training digits in ten batches, the last of them short."""
    return dataclasses.replace(digits, train=Split(digits.train.images[:300], digits.train.labels[:300]))


@pytest.fixture
def taken(monkeypatch) -> list[float]:
    """The rate of every step that Adam takes."""
    found: list[float] = []
    step = Adam.step

    def watched(self, parameters, gradients, rate):
        found.append(float(rate))
        step(self, parameters, gradients, rate)

    monkeypatch.setattr(Adam, "step", watched)
    return found


@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_a_training_takes_the_rate_of_each_step_and_records_the_last_of_each_epoch(small, taken, schedule):
    config = dataclasses.replace(CONFIG, schedule=schedule)
    records = list(fit(start(MODEL, config, small, CPU), small, config))
    assert taken == rates(config, STEPS)
    assert [r.metrics["train/learning_rate"] for r in records] == taken[9::10]


def test_a_resumed_training_takes_the_rates_that_were_left(small, taken, tmp_path):
    interrupted = start(MODEL, CONFIG, small, CPU)
    epochs = fit(interrupted, small, CONFIG)
    next(epochs)
    save_training(interrupted, tmp_path / "checkpoint.pt")
    resumed = start(MODEL, CONFIG, small, CPU)
    load_training(resumed, tmp_path / "checkpoint.pt")
    list(fit(resumed, small, CONFIG))
    assert taken == rates(CONFIG, STEPS)


def test_each_member_of_a_population_takes_its_own_rates(small, taken):
    configs = [CONFIG, dataclasses.replace(CONFIG, schedule="constant"), dataclasses.replace(CONFIG, epochs=2)]
    population = Population([start(MODEL, c, small, CPU) for c in configs], configs, small)
    for _ in range(2):
        population.epoch()
    for k, config in enumerate(configs):
        expected = rates(config, config.epochs * 10)[:20]
        assert taken[k::3] == pytest.approx(expected, rel=1e-7)  # float32
