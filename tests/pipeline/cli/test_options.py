"""Options that commands share: every daily flag reaches its setting, and a report's command parses back."""

import shlex

import pytest
import typer
from typer.testing import CliRunner

from pipeline.cli.options import Audit, configured
from pipeline.config.flags import DAILY, flags
from pipeline.config.reading import build_config
from pipeline.errors import ConfigError

VALUES = {
    "data.dataset": "digits",
    "model.kind": "vae",
    "train.beta": 2.5,
    "model.latent_dim": 7,
    "model.hidden": [32, 16],
    "train.learning_rate": 0.005,
    "train.schedule": "constant",
    "train.epochs": 9,
    "train.batch_size": 48,
    "train.seed": 3,
    "sampling.prior": "gaussian",
    "runtime.device": "cpu",
}


def parse(*words: str, **decoration):
    """The configuration that a configured command is handed."""
    heard = {}

    @configured(**decoration)
    def command(config, *, audit: Audit = None) -> None:
        heard["config"] = config

    app = typer.Typer()
    app.command()(command)
    result = CliRunner().invoke(app, list(words), standalone_mode=False)
    if result.exception:
        raise result.exception
    return heard["config"]


def test_every_daily_flag_reaches_its_setting():
    assert VALUES.keys() == {f.setting for f in DAILY}
    for flag in DAILY:
        value = VALUES[flag.setting]
        word = ",".join(map(str, value)) if isinstance(value, list) else str(value)
        assert parse(flag.option, word).flat()[flag.setting] == value


def test_flags_and_set_beat_the_file(tmp_path):
    file = tmp_path / "settings.toml"
    file.write_text("[train]\nbeta = 2.0\nepochs = 7\nseed = 5\n")
    config = parse("--config", str(file), "--beta", "3", "--set", "train.seed=7")
    assert (config.train.beta, config.train.epochs, config.train.seed) == (3.0, 7, 7)


def test_a_marked_option_of_the_command_is_a_setting_too():
    assert parse("--audit").audit.enabled
    assert not parse().audit.enabled


def test_a_flag_that_is_left_out_is_not_offered():
    with pytest.raises(typer.TyperException):
        parse("--beta", "3", leave_out=("train.beta",))


@pytest.mark.parametrize("settings", [VALUES, {"judge.epochs": 2, "gates.enforce": False}, {}])
def test_the_command_of_a_report_parses_back(settings):
    config = build_config(flags=settings)
    assert parse(*shlex.split(flags(config))) == config


def test_a_mistake_is_an_exception_of_the_tree():
    with pytest.raises(ConfigError):
        parse("--set", "train.betta=1")
