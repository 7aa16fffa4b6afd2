"""Settings: where they come from, what is refused, and which of them make another result."""

import dataclasses
import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.config.digests import derive_seed, digest
from pipeline.config.flags import flags
from pipeline.config.reading import build_config, read_toml
from pipeline.config.sections import (
    ARCHITECTURES,
    CHANNELS,
    DATASETS,
    DEVICES,
    FITS,
    LIKELIHOODS,
    MODELS,
    MOST_JUDGES,
    PRIORS,
    SCHEDULES,
)
from pipeline.config.settings import SECTIONS, RunConfig, keyed
from pipeline.config.values import added
from pipeline.errors import ConfigError
from pipeline.stages.graph import (
    ANOMALIES,
    AUDIT,
    DENOISE,
    EVALUATE,
    EXPOST,
    JUDGE,
    PANEL,
    PREPARE,
    REFERENCE,
    SCORE,
    TRAIN,
    run_key,
)

KEYS = {
    "prepare": PREPARE.key,
    "judge": JUDGE.key,
    "train": TRAIN.key,
    "reference": lambda config: REFERENCE.key(config, "test"),
    "evaluate": lambda config: EVALUATE.key(config, "test"),
    "score": lambda config: SCORE.key(config, "test"),
    "expost": lambda config: EXPOST.key(config, "test"),
    "panel": lambda config: PANEL.key(config, "test"),
    "audit": lambda config: AUDIT.key(config, "test"),
    "denoise": lambda config: DENOISE.key(config, "test"),
    "anomalies": lambda config: ANOMALIES.key(config, "test"),
    "run": lambda config: run_key(config, "test"),
}

COUNTS = st.integers(1, 10_000)
SEEDS = st.integers(0, 2**63 - 2)
RATES = st.floats(0, 1)
POSITIVE = st.floats(1e-12, 1e6)
VALUES = {
    "data.dataset": st.sampled_from(DATASETS),
    "data.val_fraction": st.floats(0, 0.5, exclude_min=True),
    "data.train_limit": st.integers(0, 10**6),
    "data.test_limit": st.integers(0, 10**6),
    "data.split_seed": SEEDS,
    "model.kind": st.sampled_from(MODELS),
    "model.latent_dim": COUNTS,
    "model.hidden": st.lists(COUNTS, min_size=1, max_size=4),
    "model.condition_encoder": st.booleans(),
    "model.arch": st.sampled_from(ARCHITECTURES),
    "model.conv_channels": st.lists(COUNTS, max_size=4),
    "model.likelihood": st.sampled_from(LIKELIHOODS),
    "model.learned_prior": st.booleans(),
    "train.beta": st.floats(0, 1e6),
    "train.free_bits": st.floats(0, 1e6),
    "train.warmup_epochs": st.floats(0, 1e6),
    "train.learning_rate": POSITIVE,
    "train.schedule": st.sampled_from(SCHEDULES),
    "train.batch_size": COUNTS,
    "train.epochs": COUNTS,
    "train.seed": SEEDS,
    "judge.epochs": COUNTS,
    "judge.mlp_epochs": COUNTS,
    "judge.batch_size": st.integers(2, 10_000),
    "judge.learning_rate": POSITIVE,
    "judge.mlp_learning_rate": POSITIVE,
    "judge.seed": SEEDS,
    **{f"gates.{f.name}": RATES for f in dataclasses.fields(SECTIONS["gates"])},
    "gates.enforce": st.booleans(),
    "gates.relative": st.booleans(),
    "evaluate.draws": COUNTS,
    "evaluate.seed": SEEDS,
    "score.per_class": st.integers(2, 10_000),
    "score.neighbours": COUNTS,
    "score.seed": SEEDS,
    "sampling.prior": st.sampled_from(PRIORS),
    "sampling.components": COUNTS,
    "sampling.seed": st.integers(0, 2**32 - 1),
    "panel.judges": st.integers(1, MOST_JUDGES),
    "audit.enabled": st.booleans(),
    **{f"audit.{name}": COUNTS for name in ("iwae_draws", "iwae_images", "cas_images", "cas_steps")},
    "denoise.level": st.integers(1, 100),
    "denoise.seed": SEEDS,
    "anomalies.held_out": st.integers(0, 1000),
    "runtime.device": st.sampled_from(DEVICES),
    "runtime.threads": COUNTS,
    "runtime.grid_every": COUNTS,
}
"""Everything that is allowed, per setting."""
OWN_VALUES = {
    "data.size": st.sampled_from(["auto", "32", "48x20"]),
    "data.fit": st.sampled_from(FITS),
    "data.channels": st.sampled_from(CHANNELS),
    "data.skip_broken": st.booleans(),
    "data.images": st.integers(0, 10**6),
}
OWN = {"data.dataset": st.just("/somebody/s letters"), "data.content": st.just("0" * 64)}
"""What is allowed of images of one's own alone."""
CONFIGS = st.one_of(
    st.fixed_dictionaries({}, optional=VALUES),
    st.fixed_dictionaries(OWN, optional={n: v for n, v in (VALUES | OWN_VALUES).items() if n not in OWN}),
).map(lambda values: RunConfig().with_settings(values))


def write(path, text):
    path.write_text(text)
    return path


# ---- where a value comes from


def test_the_strategies_above_know_every_setting():
    assert set(VALUES) | set(OWN_VALUES) | set(OWN) == set(RunConfig().flat())


def test_a_preset_beats_a_default_a_file_a_preset_and_a_flag_or_set_a_file(tmp_path):
    file = write(tmp_path / "c.toml", '[data]\ndataset = "digits"\n[train]\nepochs = 7\nseed = 3\n')
    assert build_config().train.epochs == 20
    assert build_config(flags={"data.dataset": "digits"}).train.epochs == 60
    assert build_config(read_toml(file)).train.epochs == 7
    assert build_config(read_toml(file), flags={"train.epochs": 8}).train.epochs == 8
    both = build_config(read_toml(file), flags={"train.epochs": 8}, sets=["train.seed=9"])
    assert (both.train.epochs, both.train.seed, both.data.dataset) == (8, 9, "digits")


def test_the_preset_follows_the_data_set_wherever_that_was_named():
    by_flag = build_config(flags={"data.dataset": "digits"})
    assert by_flag == build_config(sets=["data.dataset=digits"]) == build_config({"data": {"dataset": "digits"}})
    assert build_config({"data": {"dataset": "digits"}}, flags={"data.dataset": "mnist"}) == build_config()


def test_a_flag_that_was_not_given_changes_nothing():
    assert build_config({"train": {"beta": 4}}, flags={"train.beta": None}).train.beta == 4


def test_two_values_for_one_setting_are_refused_wherever_they_are_typed():
    with pytest.raises(ConfigError, match=r"twice: --set train\.beta=2 and --set train\.beta=3"):
        build_config(sets=["train.beta=2", "train.beta=3"])
    with pytest.raises(ConfigError, match=r"given twice: train.beta 2 and --set train.beta=3"):
        build_config(flags={"train.beta": 2}, sets=["train.beta=3"])
    assert build_config(flags={"train.beta": 2}, sets=["train.beta=2.0"]).train.beta == 2


def test_a_search_space_in_the_file_belongs_to_somebody_else():
    assert build_config({"space": {"beta": "off"}, "train": {"beta": 2}}).train.beta == 2


@pytest.mark.parametrize(
    ("entry", "name", "value"),
    [
        ("train.beta=4", "train.beta", 4.0),
        ("train.beta=.5", "train.beta", 0.5),
        ("train.beta = 5.", "train.beta", 5.0),
        ("train.learning_rate=1e-3", "train.learning_rate", 1e-3),
        ("train.epochs=007", "train.epochs", 7),
        ("model.hidden=512,256", "model.hidden", [512, 256]),
        ("model.hidden=[512, 256]", "model.hidden", [512, 256]),
        ("model.hidden=400", "model.hidden", [400]),
        ("model.condition_encoder=false", "model.condition_encoder", False),
        ("model.kind=vae", "model.kind", "vae"),
    ],
)
def test_set_reads_values_as_people_write_them(entry, name, value):
    assert build_config(sets=[entry]).flat()[name] == value


# ---- what is refused

BAD = [
    *[("train.beta", v) for v in (-1, -0.001, math.nan, math.inf, -math.inf)],
    *[("train.warmup_epochs", v) for v in (-1, math.nan, math.inf)],
    *[("train.learning_rate", v) for v in (0, -1e-3, math.nan, math.inf)],
    *[("train.batch_size", v) for v in (0, -64)],
    *[("train.epochs", v) for v in (0, -1)],
    *[(f"{s}", v) for s in ("train.seed", "judge.seed", "evaluate.seed", "score.seed") for v in (-1, 2**63, 10**30)],
    *[("data.split_seed", v) for v in (-1, 2**64)],
    *[("data.val_fraction", v) for v in (0, -0.1, 0.51, 1, math.nan)],
    *[("data.train_limit", -1), ("data.test_limit", -1)],
    *[("data.dataset", "mnits"), ("model.kind", "gan"), ("runtime.device", "tpu"), ("train.schedule", "linear")],
    *[("model.latent_dim", v) for v in (0, -2)],
    *[("model.hidden", v) for v in ([], [0], [400, -1])],
    *[("model.arch", "resnet"), ("model.likelihood", "laplace"), ("model.conv_channels", [32, 0])],
    *[("train.free_bits", v) for v in (-0.1, math.nan, math.inf)],
    *[(f"judge.{n}", 0) for n in ("epochs", "mlp_epochs", "batch_size", "learning_rate", "mlp_learning_rate")],
    *[("judge.learning_rate", math.nan), ("judge.mlp_learning_rate", math.inf)],
    *[("gates.clean", v) for v in (-0.1, 1.1, math.nan)],
    *[("judge.batch_size", 1), ("sampling.prior", "normal"), ("sampling.components", 0)],
    *[("sampling.seed", -1), ("sampling.seed", 2**32)],
    *[(f"audit.{n}", 0) for n in ("iwae_draws", "iwae_images", "cas_images", "cas_steps")],
    *[("evaluate.draws", 0), ("score.per_class", 1), ("score.neighbours", 0)],
    *[("runtime.threads", 0), ("runtime.grid_every", 0)],
]


@pytest.mark.parametrize(("name", "value"), BAD)
def test_a_value_out_of_range_is_refused_with_the_setting_the_value_and_what_is_allowed(name, value):
    with pytest.raises(ConfigError) as error:
        RunConfig().with_settings({name: value})
    message = str(error.value)
    shown = (
        repr(float(value))
        if isinstance(getattr(SECTIONS[name.split(".")[0]](), name.split(".")[1]), float)
        else repr(value)
    )
    assert message.startswith(f"{name} is {shown}; it must be ")
    assert "\n" not in message


@pytest.mark.parametrize("text", ["nan", "inf", "-inf", "1e400", "-1"])
def test_numbers_that_are_none_are_refused_as_text_too(text):
    with pytest.raises(ConfigError, match=r"train\.beta is .*; it must be a finite number, 0 or more"):
        build_config(sets=[f"train.beta={text}"])


WRONG_TYPES = [
    ("train.beta", "much", "a number"),
    ("train.beta", True, "a number"),
    ("train.beta", [1], "a number"),
    ("train.epochs", 1.5, "a whole number"),
    ("train.epochs", "1.5", "a whole number"),
    ("train.epochs", "1e2", "a whole number"),
    ("train.epochs", True, "a whole number"),
    ("model.hidden", "big", "a list of whole numbers"),
    ("model.hidden", [1.5], "a list of whole numbers"),
    ("model.hidden", [True], "a list of whole numbers"),
    ("model.condition_encoder", "True", "true or false"),
    ("model.condition_encoder", 1, "true or false"),
    ("data.dataset", 3, "text"),
]


@pytest.mark.parametrize(("name", "value", "kind"), WRONG_TYPES)
def test_a_value_of_the_wrong_type_is_refused_with_the_right_type(name, value, kind):
    with pytest.raises(ConfigError) as error:
        RunConfig().with_settings({name: value})
    assert f"{name} is {value!r}; it must be {kind}" in str(error.value)


def test_an_unknown_key_lists_the_keys_of_its_section():
    with pytest.raises(ConfigError) as error:
        build_config(sets=["train.betta=1"])
    keys = [f.name for f in dataclasses.fields(SECTIONS["train"])]
    assert str(error.value) == f"unknown setting train.betta; train has {', '.join(keys)}; did you mean train.beta?"


@pytest.mark.parametrize("name", ["tarin.beta", "beta", "train", "train.", ".beta", ""])
def test_an_unknown_section_lists_the_sections(name):
    with pytest.raises(ConfigError) as error:
        build_config(sets=[f"{name}=1"])
    assert ", ".join(SECTIONS) in str(error.value)


def test_set_without_a_value_says_how_to_write_it():
    with pytest.raises(ConfigError, match=r"--set train\.beta has no value; write --set section\.key=value"):
        build_config(sets=["train.beta"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[tarin]\nbeta = 1\n", r"unknown table \[tarin\]; tables are data, model, .*space"),
        ("beta = 1\n", r"unknown table \[beta\]; tables are data"),
        ("train = 3\n", r"train is 3; it must be a table: \[train\]"),
        ("[train]\nbetta = 1\n", r"unknown setting train\.betta; train has beta"),
        ('[train]\nbeta = "much"\n', r"train\.beta is 'much'; it must be a number"),
        ("[train\nbeta = 1\n", r"c\.toml is not valid TOML: "),
        ("[train]\nbeta = 1\nbeta = 2\n", r"c\.toml is not valid TOML: "),
    ],
)
def test_a_mistake_in_a_file_is_named(tmp_path, text, message):
    with pytest.raises(ConfigError, match=message):
        build_config(read_toml(write(tmp_path / "c.toml", text)))


def test_a_file_that_is_missing_or_unreadable_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"there is no configuration file .*nope\.toml"):
        read_toml(tmp_path / "nope.toml")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_toml(tmp_path)
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_toml(tmp_path / "binary.toml")


# ---- round trips and digests


@settings(max_examples=60)
@given(CONFIGS)
def test_toml_reads_back_to_an_equal_configuration_with_equal_keys(tmp_path_factory, config):
    path = write(tmp_path_factory.getbasetemp() / "round-trip.toml", config.to_toml())
    again = build_config(read_toml(path))
    assert again == config
    assert [key(again) for key in KEYS.values()] == [key(config) for key in KEYS.values()]


@settings(max_examples=30)
@given(CONFIGS)
def test_flat_settings_build_the_same_configuration(config):
    assert RunConfig().with_settings(config.flat()) == config
    json.dumps(config.flat(), allow_nan=False)


# Literal keys. If one of these changes, every result that anybody has stored under it is silently lost: their next run
# trains from scratch and MLflow shows a second run. If that is meant (a new setting, a changed default, a raised
# VERSION), paste the new value from the failure and say so in CHANGELOG.md.
GOLDEN = {
    "prepare": "6e558c6c4712cfeb431363acf10b7307e873291c3e1aa5eb3f19578a1e1a799c",
    "judge": "6c382e6859ace82e1a3f1dd1fcd795e436d2c4561d329d24f9ed6aa5571df2a3",
    "train": "d016826cc2cfde2e355d5fc3f2591dc1a37e11a29ad6c028b4e3521d2687fbfb",
    "run": "a90e08c179fc3f5db83486341a77e0e77e8584b1635695787db4cd8e75a26320",
}
BEFORE_SCHEDULES = {
    "prepare": GOLDEN["prepare"],
    "judge": GOLDEN["judge"],
    "train": "805a5ff0e5360e99f1572e03de12f2842fb8feca586e195032a4bd5ec0acdecf",
    "run": "fd8df051c4c79d95fdd5bcb2713e2638a1ddf5b1f6c0528a8548b9f64437db71",
}
"""Those of the defaults from before there was a schedule: one rate of 1e-3."""


@pytest.mark.parametrize("stage", GOLDEN)
def test_the_keys_of_the_default_configuration_are_what_they_were(stage):
    assert KEYS[stage](RunConfig()) == GOLDEN[stage]


@pytest.mark.parametrize("stage", BEFORE_SCHEDULES)
def test_what_was_trained_before_there_were_schedules_is_found_under_its_key(stage):
    config = RunConfig().with_settings(
        {"train.schedule": "constant", "train.learning_rate": 1e-3, "sampling.prior": "standard"}
    )
    assert KEYS[stage](config) == BEFORE_SCHEDULES[stage]


def test_stored_settings_from_before_a_setting_was_added_mean_what_was_done_then():
    then = {name: value for name, value in RunConfig().flat().items() if name != "train.schedule"}
    assert RunConfig.from_stored(then).train.schedule == "constant"
    assert RunConfig.from_stored(RunConfig().flat()) == RunConfig()
    assert RunConfig().train.schedule == "cosine", "the default is another"


def test_a_digest_leaves_out_an_added_field_at_its_value_of_before_and_no_other():
    @dataclasses.dataclass
    class Then:
        a: int = 1

    @dataclasses.dataclass
    class Now:
        a: int = 1
        b: str = added("new", before="old")

    @dataclasses.dataclass
    class Always:
        a: int = 1
        b: str = "new"

    assert digest(Now(b="old")) == digest(Then())
    assert digest([Now(b="old")]) == digest([Then()]), "wherever it stands"
    assert digest(Now()) == digest(Always()) == digest({"a": 1, "b": "new"})


def test_the_key_of_a_configuration_with_every_kind_of_value_is_what_it_was():
    config = build_config(
        {"data": {"dataset": "digits"}, "model": {"hidden": [512, 256], "condition_encoder": False}},
        sets=["train.learning_rate=3e-4", "train.schedule=constant", "train.beta=4"],
    )
    assert TRAIN.key(config) == "9b2b8ce2c948c4055f21044bce6427634e7b089054a0c9b69db2a0c77b0d0087"


OWN_SECTIONS = {
    "prepare": {"data"},
    "judge": {"data", "judge"},
    "train": {"data", "model", "train"},
    "reference": {"data", "judge", "score"},
    "evaluate": {"data", "model", "train", "evaluate"},
    "score": {"data", "model", "train", "judge", "score"},
    "expost": {"data", "model", "train", "judge", "evaluate", "score", "sampling"},
    "audit": {"data", "model", "train", "judge", "score", "sampling", "audit"},
    "panel": {"data", "model", "train", "judge", "score", "sampling", "panel"},
    "denoise": {"data", "model", "train", "denoise"},
    "anomalies": {"data", "model", "train", "anomalies"},
    "run": {"data", "model", "train", "judge", "evaluate", "score", "sampling", "panel", "audit"},
}
FULL = RunConfig().with_settings({"sampling.prior": "gaussian", "audit.enabled": True, "panel.judges": 2})
"""A run with every stage there is."""
CHANGED = {
    "data.dataset": "usps",
    "model.kind": "vae",
    "model.hidden": [401],
    "model.condition_encoder": False,
    "model.arch": "conv",
    "model.conv_channels": [32],
    "model.likelihood": "gaussian",
    "model.learned_prior": True,
    "train.schedule": "constant",
    "sampling.prior": "mixture",
    "data.size": "32",
    "data.fit": "pad",
    "data.channels": "3",
    "data.skip_broken": True,
    "data.content": "1" * 64,
    "gates.enforce": False,
    "gates.relative": True,
    "panel.judges": 3,
    "runtime.device": "cpu",
}


def changed(name):
    """Another allowed value than the default."""
    default = RunConfig().flat()[name]
    if name in CHANGED:
        return CHANGED[name]
    return default / 2 if isinstance(default, float) and default else default + 1


@pytest.mark.parametrize("name", sorted(set(RunConfig().flat()) - {"audit.enabled"}))
def test_a_setting_changes_the_keys_of_exactly_the_stages_that_depend_on_its_section(name):
    own = {"data.dataset": "/somebody/s letters", "data.content": "0" * 64}
    base = FULL.with_settings(own) if name in {*OWN_VALUES, *own} - {"data.dataset"} else FULL
    other = base.with_settings({name: changed(name)})
    moved = {stage for stage, key in KEYS.items() if key(other) != key(base)}
    assert moved == {stage for stage, sections in OWN_SECTIONS.items() if name.split(".")[0] in sections}


def test_images_of_ones_own_have_the_key_of_their_content_wherever_they_lie():
    here, there = (
        RunConfig().with_settings({"data.dataset": path, "data.content": "0" * 64}) for path in ("/a/x", "/b/y.npz")
    )
    assert [key(here) for key in KEYS.values()] == [key(there) for key in KEYS.values()]
    assert (here.data.name, there.data.name) == ("x", "y")


@pytest.mark.parametrize(
    ("images", "epochs", "val_fraction"), [(100, 100, 0.25), (3000, 60, 0.25), (60_000, 20, 1 / 12)]
)
def test_fewer_images_of_ones_own_are_trained_on_for_longer_and_validated_on_more(images, epochs, val_fraction):
    config = build_config(flags={"data.dataset": "./letters"}, look=lambda path: (path, "0" * 64, images))
    assert (config.train.epochs, config.data.val_fraction) == (epochs, val_fraction)
    assert (config.gates.relative, config.gates.enforce) == (True, False)
    assert flags(config) == "--dataset ./letters"
    asked = build_config({"train": {"epochs": 7}}, flags={"data.dataset": "./x"}, look=lambda path: (path, "0", images))
    assert flags(asked) == "--dataset ./x --epochs 7"


def test_stages_that_a_run_leaves_out_are_not_in_its_key():
    standard = RunConfig().with_settings({"sampling.prior": "standard"})
    plain = run_key(standard, "test")
    assert run_key(standard.with_settings({"audit.cas_steps": 7, "sampling.components": 3}), "test") == plain
    assert run_key(standard.with_settings({"audit.enabled": True}), "test") != plain
    assert run_key(standard.with_settings({"sampling.prior": "gaussian"}), "test") != plain
    # the audit belongs to test, and is the same stage whether `run` or `audit` asked for it
    assert run_key(FULL, "val") == run_key(FULL.with_settings({"audit.enabled": False}), "val")
    assert AUDIT.key(FULL, "test") == AUDIT.key(FULL.with_settings({"audit.enabled": False}), "test")


def test_the_split_is_part_of_every_key_that_opens_one():
    config = RunConfig()
    for key in (REFERENCE.key, EVALUATE.key, SCORE.key, EXPOST.key, AUDIT.key, run_key):
        assert key(config, "val") != key(config, "test")


def test_equal_configurations_have_equal_keys_however_they_were_written():
    one = build_config({"train": {"beta": 4, "epochs": 3}})
    other = build_config(sets=["train.epochs=3"], flags={"train.beta": 4.0})
    assert one == other
    assert [key(one) for key in KEYS.values()] == [key(other) for key in KEYS.values()]


def test_a_digest_tells_parts_types_and_order_apart():
    assert digest("a", "b") != digest("ab")
    assert digest(1, 2) != digest(2, 1)
    assert digest("1") != digest(1)
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
    with pytest.raises(ValueError, match="not JSON compliant"):
        digest(math.nan)


def test_a_derived_seed_fits_every_generator_and_depends_on_every_part():
    seeds = {derive_seed("z", seed, d) for seed in range(20) for d in range(20)}
    assert len(seeds) == 400
    assert all(0 <= s < 2**31 for s in seeds)
    assert derive_seed("z", 0, 1) == derive_seed("z", 0, 1)


def test_keys_of_plain_settings_leave_out_what_was_added_and_is_as_before():
    now = RunConfig().flat()
    added_later = {"model.arch", "model.conv_channels", "model.likelihood", "model.learned_prior", "train.free_bits"}
    added_later |= {f"data.{name}" for name in ("size", "fit", "channels", "skip_broken", "content", "images")}
    assert set(now) - set(keyed(now)) == added_later
    changed_ = RunConfig().with_settings({"model.arch": "conv", "model.conv_channels": [8], "train.free_bits": 0.1})
    kept = {name for name in added_later - set(keyed(changed_.flat())) if name.startswith("model.")}
    assert kept == {"model.likelihood", "model.learned_prior"}
    before = RunConfig().with_settings({"train.schedule": "constant"})
    assert keyed(before.flat())["train.schedule"] == "constant", "which was in such keys from the first"


def test_a_setting_that_there_is_is_not_looked_for_among_its_neighbours(monkeypatch):
    """That took most of the time in which a stored configuration is read."""
    monkeypatch.setattr("pipeline.config.settings.suggestion", lambda name: pytest.fail(name))
    base = build_config()
    assert RunConfig.from_stored(base.flat()) == base
