"""Help for every width: nothing is cut or eaten, examples can be pasted. How much is said, and in which characters."""

import logging
import os
import re
import shlex
import subprocess
import sys
import warnings

import pytest
from helpers import quick_toml

from pipeline.cli.help import continued
from pipeline.cli.main import COMMANDS, heard
from pipeline.cli.terminal.encoding import lookalike
from pipeline.cli.terminal.volume import Volume, set_volume
from pipeline.errors import ConfigError

NAMES = [command.__name__ for command in COMMANDS]


@pytest.mark.parametrize("columns", [50, 80])
@pytest.mark.parametrize("name", NAMES)
def test_every_option_is_whole_and_every_example_the_command_it_was(command, monkeypatch, name, columns):
    from typer.main import get_command

    from pipeline.cli.main import app

    monkeypatch.setenv("COLUMNS", str(columns))
    code, out, _ = command(name, "--help")
    assert code == 0
    assert "…" not in out
    found = get_command(app).commands[name]
    for param in found.params:
        if getattr(param, "hidden", False) or not param.opts[0].startswith("-"):
            continue
        assert re.search(rf"^  (-\w, )?{re.escape(max(param.opts, key=len))}\b", out, re.MULTILINE), param.opts
        words = " ".join((param.help or "").split())
        assert words in " ".join(out.split()), "nothing of it is eaten"
    text, _, pasted = out.partition("\nExamples\n")
    assert max(map(len, text.splitlines())) <= columns
    assert "list[" not in text
    assert "{" not in text.splitlines()[0]
    commands = [shlex.split(line) for line in pasted.replace("\\\n", "").splitlines() if line.strip()]
    assert commands == [shlex.split(line) for line in found.callback.examples]


def test_a_placeholder_in_angle_brackets_is_shown(command):
    assert "by default exported/<run>/." in " ".join(command("export", "--help")[1].split())


def test_an_option_stays_with_its_value():
    line = "cvae-pipe ablate --param latent_dim --values 2,10,50 --seeds 3 --dataset digits"
    assert continued(line, 66)[-1] == "    --dataset digits"


# ---- how much is said ------------------------------------------------------------------------------------------------


def test_quiet_leaves_results_and_errors_and_verbose_adds_keys(command, warm_home, tmp_path):
    words = ("evaluate", "--config", quick_toml(tmp_path, train__epochs=1))
    code, out, err = command(*words, "--quiet")
    assert (code, err) == (0, "")
    assert "test/neg_elbo" in out
    code, again, err = command("-v", *words)
    assert (code, again) == (0, out)
    assert re.search(r"\[ +\d+\.\d s\] cvae-pipe: evaluate \(test\): key [0-9a-f]{16}, ", err)
    assert command("-q", "evaluate", "--epochs", "0")[1:] == ("", "error: train.epochs is 0; it must be 1 or more\n")


def test_quiet_and_verbose_together_are_refused(command, home):
    code, _, err = command("ls", "-q", "-v")
    assert code == 2
    assert err == "error: --quiet and --verbose are opposites; give one of them\n"
    with pytest.raises(ConfigError):
        heard(["-q", "ls", "--verbose"])
    assert heard(["run", "--", "-q"]) == (Volume.USUAL, ["run", "--", "-q"])


def test_the_volume_leaves_logging_and_warnings_as_they_were():
    before = list(warnings.filters), list(logging.getLogger().handlers)
    for volume in (Volume.QUIET, Volume.VERBOSE):
        set_volume(volume)
        set_volume(Volume.USUAL)
        assert (list(warnings.filters), list(logging.getLogger().handlers)) == before


# ---- in which characters ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("encoding", "written"), [("ascii", b"v ^ +/- sigma e ? - ..."), ("latin-1", b"v ^ \xb1 sigma \xe9 ? - ...")]
)
def test_what_cannot_be_shown_is_a_plain_lookalike(encoding, written):
    program = (
        "import sys; from pipeline.cli.terminal.encoding import show_lookalikes\n"
        "show_lookalikes(sys.stdout, sys.stderr)\n"
        "text = '\\u2193 \\u2191 \\xb1 \\u03c3 \\xe9 \\u6f22 \\u2500 \\u2026'; print(text, end='')\n"
        "print(text, end='', file=sys.stderr)\n"
    )
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, env=environment, check=True)
    assert (done.stdout, done.stderr) == (written, written)


def test_every_lookalike_is_ascii():
    for character in "↑↓→±−–—×·≈≤≥‘’“”…█▀━βμσΔß│┃╭ñ漢🙂":
        assert lookalike(character).isascii(), character
