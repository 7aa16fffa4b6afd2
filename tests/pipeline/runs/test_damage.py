"""A stored run that is no longer what was written: named in one line, healed by the command that made it."""

import contextlib
import logging
import sqlite3

import optuna
import pytest
from helpers import quick_config

from pipeline.api import home_status
from pipeline.errors import ConfigError, DamageError
from pipeline.runs.execute import execute
from pipeline.runs.outcome import find_run, load_outcome
from pipeline.runs.stored import find_run_key, find_runs, is_whole
from pipeline.stages.context import Context
from pipeline.stages.graph import EVALUATE, JUDGE, PREPARE, TRAIN
from pipeline.store.store import MANIFEST
from sweeps.study.storage import quiet_optuna, storage


@pytest.fixture
def made(warm_home):
    return execute(Context(quick_config(), warm_home), "test")


def harm(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def files_of(home, outcome):
    """A file of every kind that a run rests on."""
    config, store = outcome.config, home.store
    return {
        "run": store.path("run", outcome.key) / "run.json",
        "train": store.path("train", TRAIN.key(config)) / "history.json",
        "evaluate": store.path("evaluate", EVALUATE.key(config, "test")) / "metrics.json",
    }


@pytest.mark.parametrize("part", ["run", "train", "evaluate"])
def test_a_damaged_part_is_named_and_the_same_command_heals_it(made, warm_home, part, caplog):
    harm(files_of(warm_home, made)[part])
    assert not is_whole(warm_home, made.key)
    with pytest.raises(DamageError, match=rf"{part} .*repeat the command that made it") as error:
        load_outcome(warm_home, made.key)
    assert "\n" not in str(error.value)
    with caplog.at_level(logging.WARNING, "cvae-pipe"):
        again = execute(Context(made.config, warm_home), "test")
    assert any(f"{part} " in record.getMessage() and "set aside" in record.getMessage() for record in caplog.records)
    assert is_whole(warm_home, made.key)
    assert again.metrics == made.metrics


@pytest.mark.parametrize(("stage", "file"), [(TRAIN, "model.safetensors"), (JUDGE, "a.safetensors"), (PREPARE, None)])
def test_a_flipped_bit_in_weights_or_images_is_not_used(made, warm_home, stage, file, caplog):
    folder = warm_home.store.path(stage.name, stage.key(made.config))
    target = folder / file if file else max(folder.iterdir(), key=lambda path: path.stat().st_size)
    before = target.read_bytes()
    harm(target)
    with caplog.at_level(logging.WARNING, "cvae-pipe"):
        execute(Context(made.config, warm_home, force={"score"}), "test")
    assert f"{stage.name} {folder.name} is damaged ({target.name})" in caplog.text
    assert target.read_bytes() == before, "the same bytes, built anew"


@pytest.mark.parametrize("file", ["run.json", MANIFEST])
def test_a_run_that_is_in_no_list_since_it_is_damaged_is_named(made, warm_home, file):
    path = warm_home.store.path("run", made.key) / file
    path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(ConfigError, match=r"none yet; 1 more is damaged: `cvae-pipe status`"):
        find_run_key(warm_home, "somebody")
    [said] = home_status(warm_home)["unreadable"]
    assert said == f"run {made.key[:16]} is damaged ({file}); repeat the command that made it"


def test_another_run_that_is_damaged_stands_in_nobodys_way(made, warm_home):
    other = execute(Context(quick_config(train__seed=1), warm_home), "test")
    files = files_of(warm_home, other)
    files["train"].write_text("{")
    assert set(find_runs(warm_home, "digits")) == {made.key, other.key}
    assert find_run(warm_home, made.name).metrics == made.metrics
    with pytest.raises(DamageError, match=r"history\.json"):
        find_run(warm_home, other.name)
    files["run"].write_text("")
    assert find_runs(warm_home, "digits") == [made.key]


@pytest.mark.parametrize("harm", ["no database", "another version", "damaged"])
def test_a_database_of_studies_that_cannot_be_read_is_one_line_and_no_run_needs_it(made, warm_home, command, harm):
    path = warm_home.mlruns / "optuna.db"
    with quiet_optuna():
        optuna.create_study(study_name="s", storage=storage(warm_home))
    if harm == "no database":
        path.write_text("no database at all" * 100)
    elif harm == "another version":
        with contextlib.closing(sqlite3.connect(path)) as database, database:
            database.execute("update alembic_version set version_num = 'v9.9.9.z'")
            database.execute("update version_info set schema_version = 99")
    else:
        content = bytearray(path.read_bytes())
        content[4096:] = bytes(len(content) - 4096)
        path.write_bytes(content)
    for words in (("report", "s"), ("sweep", "--dataset", "digits", "--name", "s", "--trials", "1")):
        code, out, err = command(*words)
        assert (code, out) == (2, ""), err
        assert err.startswith(f"error: {path} cannot be read as Optuna's database ("), err
        assert optuna.__version__ in err
        assert err.count("\n") == 1
    code, _, err = command("report", made.name)
    assert code == 0, err


def test_a_newer_tracking_database_is_not_answered_with_an_upgrade(made, warm_home, command):
    with contextlib.closing(sqlite3.connect(warm_home.mlruns / "mlflow.db")) as database, database:
        database.execute("update alembic_version set version_num = 'ffffffffffff'")
    code, _, err = command("run", "--dataset", "digits")
    assert code == 2
    assert "its schema ffffffffffff is of a newer MLflow than the" in err
    assert "db upgrade" not in err
    assert err.count("\n") == 1
