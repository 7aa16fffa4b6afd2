"""A population is its members one by one: same losses, weights and generators, for mixed latent sizes."""

import dataclasses
import math

import pytest
import torch
from helpers import mnist_root, quick_config

from pipeline.config.sections import DataConfig, ModelConfig, TrainConfig
from pipeline.data.preparing import prepare
from pipeline.data.splits import PreparedData, Split
from pipeline.errors import DataError, DivergedError
from pipeline.training.fit import fit, start
from pipeline.training.population import Population, capacity, member_bytes, stack_shape
from pipeline.training.state import EpochRecord, load_training, save_training

CPU = torch.device("cpu")
EPOCHS = 3
SPEED = "train/images_per_second"


@pytest.fixture(scope="module")
def small(digits) -> PreparedData:
    """300 training digits in ten batches, the last of them short."""
    return dataclasses.replace(digits, train=Split(digits.train.images[:300], digits.train.labels[:300]))


def members(kind: str = "cvae", hidden: tuple[int, ...] = (32,), **options) -> list[tuple[ModelConfig, TrainConfig]]:
    """Four members that differ in everything a population lets them differ in."""
    return [
        (
            ModelConfig(kind=kind, hidden=hidden, latent_dim=latent, **options),
            TrainConfig(
                epochs=epochs,
                batch_size=32,
                beta=beta,
                learning_rate=rate,
                schedule=schedule,
                seed=seed,
                warmup_epochs=warm_up,
            ),
        )
        for seed, (latent, beta, rate, schedule, warm_up, epochs) in enumerate(
            [
                (2, 0.5, 1e-3, "constant", 0.0, 3),
                (7, 4.0, 3e-3, "cosine", 1.5, 3),
                (3, 1.0, 1e-2, "cosine", 0.0, 2),
                (12, 0.0, 5e-4, "constant", 0.25, 3),
            ]
        )
    ]


def started(chosen, data):
    return [start(model, config, data, CPU) for model, config in chosen], [config for _, config in chosen]


def alone(chosen, data):
    """Every member trained by `fit`."""
    trainings, configs = started(chosen, data)
    for training, config in zip(trainings, configs, strict=True):
        list(fit(training, data, config))
    return trainings


def together(chosen, data):
    trainings, configs = started(chosen, data)
    population = Population(trainings, configs, data)
    while population.active:
        population.epoch()
    return trainings


def assert_the_same(one, other, keys: frozenset[str] = frozenset()):
    """All numbers of all epochs to 1e-4, or those of `keys`."""
    for a, b in zip(one, other, strict=True):
        assert [r.epoch for r in a.history] == [r.epoch for r in b.history]
        for own, reference in zip(a.history, b.history, strict=True):
            assert own.metrics.keys() == reference.metrics.keys()
            for key in keys or own.metrics.keys() - {SPEED}:
                assert own.metrics[key] == pytest.approx(reference.metrics[key], rel=1e-4, abs=1e-6), key
        assert torch.equal(a.generator.get_state(), b.generator.get_state())
        assert a.optimizer.steps == b.optimizer.steps


@pytest.mark.parametrize(
    ("kind", "options"),
    [("cvae", {}), ("cvae", {"condition_encoder": False}), ("vae", {}), ("ae", {}), ("cvae", {"hidden": (24, 16)})],
)
def test_each_members_losses_are_its_own_trainings_to_1e_4(small, kind, options):
    chosen = members(kind, **options)
    assert_the_same(together(chosen, small), alone(chosen, small))


def test_free_bits_are_shared_and_change_what_is_trained(small):
    """Latent dimensions that a stack is padded with have no kl and stay as they are, below their free bits."""
    with_bits = [(model, dataclasses.replace(config, free_bits=0.3)) for model, config in members()]
    stacked = together(with_bits, small)
    assert_the_same(stacked, alone(with_bits, small))
    assert {stack_shape(*member) for member in with_bits} != {stack_shape(*member) for member in members()}
    pressed = 1  # the member with beta 4, whose dimensions are switched off without them
    without = together(members()[pressed : pressed + 1], small)[0]
    kl = [training.history[-1].metrics["val/kl"] for training in (stacked[pressed], without)]
    assert kl[0] > kl[1] + 0.3


@pytest.mark.mnist
@pytest.mark.slow
def test_on_mnist_too():
    root = mnist_root()
    assert root is not None
    data = prepare(DataConfig(train_limit=6000), root)
    chosen = [
        (ModelConfig(latent_dim=z), TrainConfig(epochs=EPOCHS, beta=beta, learning_rate=rate, seed=z))
        for z, beta, rate in ((2, 4.0, 1e-3), (20, 1.0, 1e-3), (64, 0.1, 1e-3))
    ]
    # A unit that wakes up takes Adam steps of full size however small its gradient, so that a last bit can become 1e-3
    # of the kl; what is minimised does not notice.
    assert_the_same(together(chosen, data), alone(chosen, data), frozenset({"train/loss", "val/loss"}))


@pytest.mark.gpu
def test_on_a_gpu_a_population_is_its_members_one_by_one(small):
    data = small.to("cuda")
    chosen = members()

    def begun():
        return [start(m, c, data, torch.device("cuda")) for m, c in chosen]

    stacked, single = begun(), begun()
    population = Population(stacked, [c for _, c in chosen], data)
    while population.active:
        population.epoch()
    for training, (_, config) in zip(single, chosen, strict=True):
        list(fit(training, data, config))
    assert_the_same(stacked, single)


def test_padding_stays_zero(small):
    trainings, configs = started(members(), small)
    population = Population(trainings, configs, small)
    population.epoch()
    stack = population._stack
    assert stack is not None
    codes, into = stack.parameters[2], stack.parameters[4]  # (K, 2 Z, H), (K, H, Z + C)
    for k, (model, _) in enumerate(members()):
        pads = slice(model.latent_dim, stack.latent)
        assert not codes[k, pads].any()
        assert not codes[k, stack.latent :][pads].any()
        assert not into[k][:, pads].any()
    assert codes.any()
    assert into.any()


def test_a_diverged_member_is_reported_and_leaves_the_others_their_bits(small):
    chosen = members()
    bad = (chosen[1][0], dataclasses.replace(chosen[1][1], learning_rate=1e30))
    trainings, configs = started([chosen[0], bad, *chosen[2:]], small)
    population = Population(trainings, configs, small)
    found = population.epoch()
    error = found[1]
    assert isinstance(error, DivergedError)
    assert "epoch 1 (learning_rate=1e+30" in str(error)
    assert 1 not in population.active
    while population.active:
        population.epoch()
    others = [t for i, t in enumerate(trainings) if i != 1]
    assert_the_same(others, alone([chosen[0], *chosen[2:]], small))
    assert all(math.isfinite(r.metrics["val/bce"]) for t in others for r in t.history)


def test_a_member_that_leaves_stays_where_it_was_and_the_others_go_on(small):
    chosen = members()
    trainings, configs = started(chosen, small)
    population = Population(trainings, configs, small)
    population.epoch()
    population.leave(0)
    while population.active:
        population.epoch()
    assert trainings[0].epoch == 1
    assert_the_same(trainings[1:], alone(chosen[1:], small))


def test_members_resume_from_their_own_checkpoints_at_different_epochs(small, tmp_path):
    chosen = members()
    trainings, configs = started(chosen, small)
    for i, training in enumerate(trainings[:2]):
        epochs = fit(training, small, configs[i])
        for _ in range(i + 1):
            next(epochs)
        save_training(training, tmp_path / f"{i}.pt")
    resumed, _ = started(chosen, small)
    for i in range(2):
        load_training(resumed[i], tmp_path / f"{i}.pt")
    population = Population(resumed, configs, small)
    assert all(isinstance(r, EpochRecord) for r in population.epoch().values())
    while population.active:
        population.epoch()
    assert_the_same(resumed, alone(chosen, small))


def test_a_member_saved_from_a_population_goes_on_alone(small, tmp_path):
    chosen = members()
    trainings, configs = started(chosen, small)
    Population(trainings, configs, small).epoch()
    save_training(trainings[1], tmp_path / "checkpoint.pt")
    single = start(*chosen[1], small, CPU)
    load_training(single, tmp_path / "checkpoint.pt")
    list(fit(single, small, chosen[1][1]))
    assert_the_same([single], alone(chosen[1:2], small))


def test_the_same_population_twice_has_the_same_bits(small):
    for a, b in zip(together(members(), small), together(members(), small), strict=True):
        assert all(torch.equal(p, q) for p, q in zip(a.model.parameters(), b.model.parameters(), strict=True))


def test_a_batch_larger_than_the_data_is_refused(small):
    model, config = members()[0]
    training = start(model, config, small, CPU)
    with pytest.raises(DataError, match="batch_size is 1000"):
        Population([training], [dataclasses.replace(config, batch_size=1000)], small)


def test_what_a_stack_shares_is_its_architecture_and_batch_size():
    base = quick_config()
    shape = stack_shape(base.model, base.train)
    free = base.with_settings({"train.beta": 9.0, "train.learning_rate": 0.1, "model.latent_dim": 9, "train.epochs": 9})
    assert stack_shape(free.model, free.train) == shape
    for setting, value in (("model.hidden", [9]), ("train.batch_size", 9), ("model.kind", "vae")):
        other = base.with_settings({setting: value})
        assert stack_shape(other.model, other.train) != shape


def test_capacity_follows_the_free_memory(small, monkeypatch):
    chosen = members()
    largest = max(member_bytes(m, c, small) for m, c in chosen)
    for fits, expected in ((0, 1), (5, 5), (1000, 16)):
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device, fits=fits: (int(fits * largest / 0.6) + 1, 0))
        assert capacity(chosen, small, torch.device("cuda"), 16) == expected
    assert capacity(chosen, small, CPU, 16) == 16
