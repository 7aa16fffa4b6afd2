"""Inputs that nobody would write, by hypothesis: each is accepted, or one clear error, in a time limit.

The short form draws some dozens of a kind, the long one thousands (`make soak`).
"""

import contextlib
import io
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest
import tomli_w
import typer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.cli import main as cli
from pipeline.config.reading import build_config, read_toml
from pipeline.config.settings import RunConfig
from pipeline.data.files import IDX_IMAGES, IDX_LABELS, IDX_QMNIST_LABELS, read_idx
from pipeline.errors import CvaePipeError
from pipeline.store.home import Home

SECONDS = 5.0
"""Of one input: hypothesis measures each."""


class Reached(Exception):
    """A command got past its input, to where it would begin to work."""


def fuzzed(short: int, long: int) -> Callable[..., Any]:
    """Two tests of one: some examples of each input, and thousands."""

    def both(test: Callable[..., None]) -> Any:
        quiet = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large]
        n = long if os.environ.get("CVAE_PIPE_SOAK_MINUTES") else short
        return settings(max_examples=n, deadline=SECONDS * 1000, suppress_health_check=quiet, database=None)(test)

    return both


# ---- flags -----------------------------------------------------------------------------------------------------------

COMMANDS: dict[str, click.Command] = typer.main.get_command(cli.app).commands  # type: ignore[attr-defined]
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30)
SETTINGS = st.sampled_from(sorted(build_config(flags={"data.dataset": "digits"}).flat()))
NUMBERS = st.one_of(
    st.integers().map(str),
    st.floats().map(str),
    st.sampled_from(["0", "-1", "1e400", "nan", "inf", "1_000", "0x10", ""]),
)
VALUES = st.one_of(
    TEXT,
    NUMBERS,
    st.sampled_from(
        ["digits", "mnist", "cvae", "vae", "ae", "beta", "64,32", "constant", "cpu", "val", "test", "true"]
    ),
    st.tuples(SETTINGS, VALUES_OF := st.one_of(TEXT, NUMBERS)).map("=".join),
    st.tuples(st.sampled_from(["beta", "latent_dim", "hidden", "x"]), NUMBERS, NUMBERS).map(
        "{0[0]}={0[1]}:{0[2]}".format
    ),
)


@st.composite
def command_lines(draw: st.DrawFn) -> list[str]:
    """A command with some of its options, each with a value that may be any."""
    name = draw(st.sampled_from(sorted(COMMANDS.keys() - {"ui"})))
    words = [name]
    for parameter in draw(st.lists(st.sampled_from(COMMANDS[name].params), max_size=5)):
        if not isinstance(parameter, click.Option):
            words.append(draw(VALUES))
        elif "help" not in parameter.name:
            words.append(parameter.opts[0])
            if not parameter.is_flag or draw(st.integers(0, 9)) == 0:
                words.append(draw(VALUES))
    return words


@pytest.fixture
def no_work(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Commands stop where their work would begin."""

    def reached(*arguments: object, **settings: object) -> None:
        raise Reached

    monkeypatch.setenv("CVAE_PIPE_HOME", str(tmp_path / "home"))
    for place in ("api", "api.runs", "api.studies"):
        monkeypatch.setattr(f"pipeline.{place}.open_context", reached)
    monkeypatch.chdir(tmp_path)


@fuzzed(20, 4000)
@given(words=command_lines())
def test_any_command_line_is_accepted_or_one_line(words: list[str], no_work: None) -> None:
    said = io.StringIO()
    with (
        contextlib.redirect_stderr(said),
        contextlib.redirect_stdout(io.StringIO()),
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setattr(sys, "argv", ["cvae-pipe", *words])
        try:
            cli.main()
        except Reached:
            return
        except SystemExit as ended:
            code = ended.code or 0
    assert code in (0, 1, 2, 3)
    if code == 2 and said.getvalue():
        errors = [line for line in said.getvalue().splitlines() if line.startswith("error: ")]
        assert len(errors) == 1, said.getvalue()


# ---- files -----------------------------------------------------------------------------------------------------------

PLAIN = st.one_of(st.integers(-(2**63), 2**63 - 1), st.floats(), st.booleans(), TEXT)
TOMLS = st.dictionaries(
    st.one_of(
        TEXT, st.sampled_from(["data", "model", "train", "judge", "score", "sampling", "space", "runtime", "gates"])
    ),
    st.one_of(
        PLAIN,
        st.dictionaries(
            st.one_of(TEXT, SETTINGS.map(lambda name: name.partition(".")[2])),
            st.one_of(PLAIN, st.lists(PLAIN, max_size=3)),
            max_size=4,
        ),
    ),
    max_size=4,
)


@fuzzed(60, 2000)
@given(document=st.one_of(TOMLS.map(lambda d: tomli_w.dumps(d).encode()), st.binary(max_size=200)))
def test_any_toml_is_read_or_refused(document: bytes, tmp_path: Path) -> None:
    path = tmp_path / "any.toml"
    path.write_bytes(document)
    with contextlib.suppress(CvaePipeError):
        build_config(read_toml(path))


@st.composite
def mutations(draw: st.DrawFn, whole: bytes) -> bytes:
    """A file with some bytes changed, cut off or added."""
    content = bytearray(whole)
    for at, byte in draw(st.lists(st.tuples(st.integers(0, max(0, len(whole) - 1)), st.integers(0, 255)), max_size=8)):
        content[at] = byte
    content = content[: draw(st.one_of(st.just(len(whole)), st.integers(0, len(whole))))]
    return bytes(content) + draw(st.one_of(st.just(b""), st.binary(max_size=20)))


IDX = b"\0\0\x08\x03" + b"".join(n.to_bytes(4, "big") for n in (3, 4, 4)) + bytes(48)


@fuzzed(60, 2000)
@given(
    content=st.one_of(mutations(IDX), st.binary(max_size=100)),
    magic=st.sampled_from([IDX_IMAGES, IDX_LABELS, IDX_QMNIST_LABELS]),
)
def test_any_idx_file_is_read_or_refused(content: bytes, magic: int, tmp_path: Path) -> None:
    path = tmp_path / "any-idx"
    path.write_bytes(content)
    with contextlib.suppress(CvaePipeError):
        assert read_idx(path, magic).ndim == magic % 256


@fuzzed(60, 1000)
@given(
    stored=st.dictionaries(
        st.one_of(TEXT, SETTINGS), st.one_of(PLAIN, st.none(), st.lists(PLAIN, max_size=3)), max_size=5
    )
)
def test_any_stored_configuration_is_read_or_refused(stored: dict[str, Any]) -> None:
    whole = build_config(flags={"data.dataset": "digits"}).flat()
    with contextlib.suppress(CvaePipeError):
        RunConfig.from_stored(whole | stored)


@pytest.fixture(scope="module")
def home_with_runs(warm_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A home with a run in it, whose entries are damaged one at a time."""
    from helpers import copy_of, quick_config

    from pipeline.runs.execute import execute, set_up_process
    from pipeline.stages.context import Context

    home = copy_of(warm_root, tmp_path_factory.mktemp("fuzz") / "home")
    set_up_process(1)
    execute(Context(quick_config(train__epochs=1), home), "test")
    return home


JSONS = st.recursive(
    st.one_of(st.none(), PLAIN),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=5,
)


@fuzzed(40, 1500)
@given(data=st.data())
def test_any_store_entry_is_read_or_refused(data: st.DataObject, home_with_runs: Home) -> None:
    """With bytes changed, or other JSON in place of its own, whether its manifest knows of that or not."""
    from pipeline.api import home_status, load_run
    from pipeline.runs.stored import find_runs

    files = [p for p in sorted((home_with_runs.store.root).rglob("*.json")) if "locks" not in p.parts]
    path = data.draw(st.sampled_from(files))
    whole = path.read_bytes()
    try:
        other = data.draw(st.one_of(mutations(whole), JSONS.map(lambda value: json.dumps(value).encode())))
        path.write_bytes(other)
        for look in (home_status, lambda home: find_runs(home, "d"), lambda home: load_run("d", home=home).metrics):
            with contextlib.suppress(CvaePipeError):
                look(home_with_runs) if look is not home_status else home_status(home_with_runs)
    finally:
        path.write_bytes(whole)


@pytest.mark.soak
@settings(max_examples=500, deadline=None, suppress_health_check=list(HealthCheck), database=None)
@given(data=st.data())
def test_any_report_is_verified_or_refused(data: st.DataObject, undisturbed: Any) -> None:
    from sweeps.reporting.verify import verify

    home = Home(undisturbed.home, undisturbed.home / "data")
    path = data.draw(st.sampled_from(sorted(p for p in (home.reports / "s").rglob("*") if p.is_file())))
    whole = path.read_bytes()
    try:
        path.write_bytes(data.draw(mutations(whole)))
        changed = path.read_bytes() != whole
        try:
            found = verify(home, home.reports / "s")
        except CvaePipeError:
            return
        assert found.sound is not changed, path
    finally:
        path.write_bytes(whole)
