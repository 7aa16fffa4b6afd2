"""The search space: what a user may write, what it means, what is refused and how."""

import json
import math

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config.reading import build_config
from pipeline.config.settings import RunConfig
from pipeline.errors import ConfigError
from sweeps.study.samplers import sobol_point
from sweeps.study.space import DEFAULT_SPACE, Dimension, build_space, stored_dimension, suggest

NAMES = ("train.beta", "model.latent_dim", "train.learning_rate")


def by_name(space: tuple[Dimension, ...]) -> dict[str, Dimension]:
    return {d.name: d for d in space}


def test_without_requests_the_space_is_the_three_defaults_on_log_scales():
    space = build_space()
    assert space == DEFAULT_SPACE
    assert [(d.setting, d.low, d.high, d.log) for d in space] == [
        ("train.beta", 0.1, 10.0, True),
        ("model.latent_dim", 2, 64, True),
        ("train.learning_rate", 1e-3, 1e-2, True),
    ]


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ("beta=0.5:4", Dimension("train.beta", 0.5, 4.0, True)),
        ("train.beta=0.5:4", Dimension("train.beta", 0.5, 4.0, True)),
        (" beta = 0.5:4 ", Dimension("train.beta", 0.5, 4.0, True)),
        ("beta=0:4:linear", Dimension("train.beta", 0.0, 4.0, False)),
        ("beta=.5:4:log", Dimension("train.beta", 0.5, 4.0, True)),
        ("learning_rate=1e-5:1e-3", Dimension("train.learning_rate", 1e-5, 1e-3, True)),
        ("latent_dim=2:8", Dimension("model.latent_dim", 2.0, 8.0, True)),
        ("batch_size=16:256", Dimension("train.batch_size", 16.0, 256.0, True)),
        ("warmup_epochs=0:5:linear", Dimension("train.warmup_epochs", 0.0, 5.0, False)),
    ],
)
def test_an_entry_replaces_or_adds_one_dimension(entry, expected):
    space = build_space(entries=[entry])
    assert by_name(space)[expected.name] == expected
    others = {d for d in DEFAULT_SPACE if d.setting != expected.setting}
    assert others <= set(space)


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ([0.5, 4], Dimension("train.beta", 0.5, 4.0)),
        ({"low": 0, "high": 1, "log": False}, Dimension("train.beta", 0.0, 1.0, False)),
        ({"low": 0.5, "high": 4}, Dimension("train.beta", 0.5, 4.0)),
        ("0.5:4:linear", Dimension("train.beta", 0.5, 4.0, False)),
    ],
)
def test_a_toml_table_says_the_same(spec, expected):
    assert by_name(build_space({"beta": spec}))["beta"] == expected


@pytest.mark.parametrize("off", ["off", False])
def test_off_takes_a_dimension_out_and_leaves_the_setting_at_its_configured_value(off):
    space = build_space({"learning_rate": off})
    assert [d.name for d in space] == ["beta", "latent_dim"]
    base = build_config(flags={"train.learning_rate": 0.007})
    config = suggest(optuna.trial.FixedTrial({"beta": 1.0, "latent_dim": 3}), space, base)
    assert config.train.learning_rate == 0.007


def test_flags_come_after_the_file():
    space = build_space({"beta": [0.5, 4], "latent_dim": "off"}, ["beta=1:2", "latent_dim=4:8"])
    assert {d.name: (d.low, d.high) for d in space if d.name != "learning_rate"} == {
        "beta": (1, 2),
        "latent_dim": (4, 8),
    }


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("beta", "--space beta has no range; write e.g. --space beta=0.5:4"),
        ("beta=", "write low:high"),
        ("beta=1", "write low:high"),
        ("beta=1:2:3", "write low:high"),
        ("beta=1:2:linear:4", "write low:high"),
        ("beta=a:b", "write low:high"),
        ("beta=on", "write low:high"),
        ("beta=4:0.5", "runs from 4 to 0.5; the first must be below the second"),
        ("beta=1:1", "runs from 1 to 1; the first must be below the second"),
        ("beta=nan:1", "the first must be below the second"),
        ("beta=1:inf", "the first must be below the second"),
        ("beta=0:4", "which a log scale cannot; add :linear"),
        ("beta=-1:4:linear", "train.beta is -1.0; it must be a finite number, 0 or more"),
        ("latent_dim=0:8:linear", "model.latent_dim is 0; it must be 1 or more"),
        ("latent_dim=2.5:8", "it must be whole numbers"),
        (
            "betta=1:2",
            "--space betta names no setting; numbers that can be varied: model.latent_dim, sampling.components, "
            "train.batch_size, train.beta, train.epochs, train.free_bits, train.learning_rate, train.warmup_epochs; "
            "by values, one.another: model.arch, model.condition_encoder, model.conv_channels, model.hidden, "
            "model.kind, model.learned_prior, model.likelihood, sampling.prior, train.schedule; "
            r"did you mean train\.beta\?$",
        ),
        ("train.betta=1:2", r"names no setting; numbers that can be varied: .*; did you mean train\.beta\?$"),
        ("lr=1e-3:1e-2", r"did you mean train\.learning_rate\?$"),
        ("kind=1:2", "model.kind is not a number"),
        ("hidden=1:2", "model.hidden is not a number"),
        ("condition_encoder=0:1:linear", "model.condition_encoder is not a number"),
        ("seed=0:9:linear", "a seed is not searched; every trial has its own"),
        # The measuring stick is the same for every trial.
        ("judge.learning_rate=1e-3:1e-2", "names no setting; numbers that can be varied"),
        ("score.per_class=10:100", "names no setting; numbers that can be varied"),
        ("runtime.threads=1:4", "names no setting; numbers that can be varied"),
        ("data.train_limit=100:1000", "names no setting; numbers that can be varied"),
        ("val_fraction=0.1:0.2", "names no setting; numbers that can be varied"),
    ],
)
def test_what_is_wrong_with_an_entry_is_one_clear_line(entry, message):
    with pytest.raises(ConfigError, match=message) as error:
        build_space(entries=[entry])
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "spec",
    [
        0,  # equal to False, and yet no "off"
        1,
        True,
        [1],
        [1, 2, 3],
        [None, 1],
        [True, 4],
        {"low": 1},
        {"low": 1, "high": 2, "step": 1},
        {"low": 1, "high": 2, "log": "no"},
    ],
)
def test_a_toml_range_of_a_wrong_form_is_refused_with_the_right_ones(spec):
    with pytest.raises(ConfigError, match=r"space train.beta is .*; write low:high"):
        build_space({"beta": spec})


def test_an_empty_space_is_refused():
    with pytest.raises(ConfigError, match="the search space is empty"):
        build_space(entries=["beta=off", "latent_dim=off", "learning_rate=off"])


def test_whole_numbers_stay_whole_in_proposals_configurations_and_print():
    dimension = by_name(build_space(entries=["latent_dim=2:8:linear"]))["latent_dim"]
    assert isinstance(dimension.distribution, optuna.distributions.IntDistribution)
    assert (dimension.distribution.low, dimension.distribution.high) == (2, 8)
    assert dimension.show(7.0) == "7"
    config = suggest(optuna.trial.FixedTrial({"latent_dim": 7}), (dimension,), RunConfig())
    assert config.model.latent_dim == 7
    assert type(config.model.latent_dim) is int


@given(st.integers(0, 2**32 - 1))
def test_proposals_lie_in_their_ranges_and_touch_nothing_else(seed):
    space = build_space(entries=["warmup_epochs=0:3:linear"])
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    config = suggest(study.ask(), space, RunConfig())
    for d in space:
        assert d.low <= config.flat()[d.setting] <= d.high
    untouched = config.with_settings({d.setting: RunConfig().flat()[d.setting] for d in space})
    assert untouched == RunConfig()


def test_a_log_scale_spreads_proposals_evenly_over_decades():
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    logs = [math.log10(study.ask({d.name: d.distribution for d in DEFAULT_SPACE}).params["beta"]) for _ in range(400)]
    below_one = sum(v < 0 for v in logs) / len(logs)
    assert abs(below_one - 0.5) < 0.1  # of 0.1 .. 10; evenly without the log it would be 0.09


def test_two_different_ranges_never_read_alike():
    # The ledger compares these texts to tell whether a study was resumed with another space.
    a = Dimension("train.beta", 0.1234567, 1.0)
    b = Dimension("train.beta", 0.1234568, 1.0)
    assert a.describe() != b.describe()
    assert a.entry() == "train.beta=0.1234567:1"
    assert build_space(entries=[a.entry()])[0] == a
    assert DEFAULT_SPACE[0].describe() == "0.1 .. 10 log"
    assert DEFAULT_SPACE[1].describe() == "2 .. 64 log"


# ---- values instead of a range


@pytest.mark.parametrize(
    ("entry", "setting", "shown"),
    [
        ("hidden=400|600,400", "model.hidden", ("400", "600,400")),
        ("hidden=[400]|[600, 400]|64", "model.hidden", ("400", "600,400", "64")),
        ("model.condition_encoder=true|false", "model.condition_encoder", ("true", "false")),
        ("schedule=constant|cosine", "train.schedule", ("constant", "cosine")),
        ("batch_size=64|128|256", "train.batch_size", ("64", "128", "256")),
        ("beta=.5|1|2e0", "train.beta", ("0.5", "1", "2")),
        ("arch=mlp|conv", "model.arch", ("mlp", "conv")),
        ("learned_prior=false|true", "model.learned_prior", ("false", "true")),
        ("prior=gaussian|mixture", "sampling.prior", ("gaussian", "mixture")),
        ("components=1|10", "sampling.components", ("1", "10")),
        ("likelihood=gaussian|bernoulli", "model.likelihood", ("gaussian", "bernoulli")),
        ("conv_channels=auto|16,32", "model.conv_channels", ("auto", "16,32")),
    ],
)
def test_values_are_searched_as_they_are_whatever_their_kind(entry, setting, shown):
    [dimension] = [d for d in build_space(entries=[entry]) if d.setting == setting]
    assert dimension.distribution == optuna.distributions.CategoricalDistribution(shown)
    assert build_space(entries=[dimension.entry()]) == build_space(entries=[entry])
    for text in shown:
        config = suggest(optuna.trial.FixedTrial({dimension.name: text}), (dimension,), RunConfig())
        assert config == RunConfig().with_settings({setting: "" if text == "auto" else text})
        assert dimension.typed(text) == text
    assert build_space(entries=[f"{setting}={dimension.describe().replace(' ', '')}"]) == build_space(entries=[entry])


def test_in_toml_values_are_a_list_of_their_own():
    table = {"hidden": {"values": ["400", "600,400"]}, "condition_encoder": {"values": [True, False]}}
    assert build_space(table) == build_space(entries=["hidden=400|600,400", "condition_encoder=true|false"])
    assert build_space({"hidden": {"values": [[400], [600, 400]]}}) == build_space(entries=["hidden=400|600,400"])


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("hidden=400|400", "it must be two different values or more"),
        ("hidden=400|four", "model.hidden is 'four'; it must be a list of whole numbers"),
        ("beta=1|-1", "train.beta is -1"),
        ("seed=1|2", "a seed is not searched"),
        ("width=1|2", "names no setting"),
        ("hidden=100:400", "is not a number, so it has no range; numbers that can be varied: model.latent_dim, "),
        ("arch=mlp|convv", "model.arch is 'convv'; it must be one of mlp, conv"),
        ("hidden=auto|400", "model.hidden is []"),
        # What is fitted after training is one thing, what is trained with the weights another.
        ("prior=standard|mixture", "every trial has its scores under N(0, I), standard, too"),
        ("prior=standard|learned", "The prior that a model is trained with is learned_prior=false|true"),
        ("prior=gaussian|mixtures", "gaussian and mixture can be searched"),
    ],
)
def test_values_that_cannot_be_searched_are_one_clear_line(entry, said):
    with pytest.raises(ConfigError) as error:
        build_space(entries=[entry])
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_a_study_of_values_is_the_same_study_when_it_is_read_back():
    for dimension in build_space(entries=["hidden=400|600,400", "warmup_epochs=0:3:linear"]):
        assert stored_dimension(json.loads(json.dumps(vars(dimension)))) == dimension


def test_sobol_points_give_every_value_its_share():
    space = build_space(entries=["hidden=400|600,400", "latent_dim=2:5"])
    points = [sobol_point(space, n, seed=1) for n in range(64)]
    assert {p["hidden"] for p in points} == {"400", "600,400"}
    assert sum(p["hidden"] == "400" for p in points) == 32
    assert {p["latent_dim"] for p in points} == {2, 3, 4, 5}
    assert all(0.1 <= p["beta"] <= 10 and 1e-3 <= p["learning_rate"] <= 1e-2 for p in points)
    assert sobol_point(space, 5, seed=1) == points[5]
    assert sobol_point(space, 5, seed=2) != points[5]
