"""`cvae-pipe status`: what is in a home, in a second, without torch."""

import json
import sqlite3
import subprocess
import sys

import pytest
from helpers import quick_config

from pipeline.runs.execute import execute
from pipeline.stages.context import Context
from pipeline.store.use import at_work
from sweeps.study.ablation import AblationConfig, keep_definition


def test_an_empty_home_says_what_to_type(home, command):
    code, out, err = command("status")
    assert (code, out) == (0, "")
    assert "cvae-pipe run --dataset digits" in err
    document = json.loads(command("status", "--json")[1])
    assert [document[kind] for kind in ("studies", "ablations", "runs", "opened")] == [[], [], [], {}]


@pytest.fixture
def filled(warm_home):
    for settings in ({}, {"train__beta": 4.0}, {"model__kind": "vae"}):
        execute(Context(quick_config(**settings), warm_home), "test")
    execute(Context(quick_config(train__seed=5), warm_home), "val")
    grid = AblationConfig("two-betas", quick_config(), "train.beta", (1.0, 4.0, 8.0), seeds=1)
    keep_definition(warm_home, grid)
    return warm_home


def test_runs_are_listed_newest_first_with_what_is_no_default(filled, command):
    code, out, _ = command("status")
    assert code == 0
    lines = out.splitlines()
    names = [line.split()[0] for line in lines if line.startswith("digits-")]
    assert len(names) == 3, "those opened on test; the one on validation is a trial of nobody"
    assert any("beta 4" in line and "hidden 64" in line for line in lines)
    assert "two-betas  digits  train.beta  2 of 3" in out
    assert "test opened: digits (" in out
    runs = json.loads(command("status", "--json")[1])["runs"]
    assert [run["name"] for run in runs] == names
    assert {run["differs"].get("train.beta") for run in runs} == {None, 4.0}
    assert all(run["metrics"]["neg_elbo"] > 0 for run in runs)
    assert [run["finished"] for run in runs] == sorted((run["finished"] for run in runs), reverse=True)


def test_more_runs_than_are_shown_are_counted(filled, command, monkeypatch):
    monkeypatch.setattr("pipeline.cli.status.SHOWN", 1)
    out = command("status")[1]
    assert sum(line.startswith("digits-") for line in out.splitlines()) == 1
    assert "and 2 more runs; --all lists them" in out
    everything = command("status", "--all")[1].splitlines()
    assert sum(line.startswith("digits-") for line in everything) == 3


def test_a_damaged_run_and_a_database_that_cannot_be_read_are_said_and_stop_nothing(filled, command):
    key = next(iter(filled.store.keys("run")))
    (filled.store.path("run", key) / "run.json").write_text("{")
    (filled.mlruns / "optuna.db").write_text("nothing of the kind" * 100)
    code, out, _ = command("status")
    assert code == 0
    assert "damaged: " in out
    assert "optuna.db cannot be read" in out


def test_every_run_is_read_once(filled, monkeypatch):
    from pipeline.api import home_status
    from pipeline.runs import stored

    read, reader = [], stored.stored_config
    monkeypatch.setattr(stored, "stored_config", lambda folder: read.append(folder.name) or reader(folder))
    home_status(filled)
    assert sorted(read) == sorted(set(read))
    assert len(read) == 4


def test_it_needs_no_torch(filled):
    program = "import sys; from pipeline.api import home_status; home_status(); sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)


def test_what_is_unfinished_is_said_with_what_goes_on_with_it(kept, command):
    assert "next:" not in command("status")[1], "a home in which all is done"
    with sqlite3.connect(kept.mlruns / "optuna.db") as ledger:
        ledger.execute("UPDATE trials SET state = 'RUNNING' WHERE trial_id = 1")
    with sqlite3.connect(kept.mlruns / "mlflow.db") as records:
        own = "SELECT run_uuid FROM tags WHERE key = 'kind' AND value = 'run' AND run_uuid NOT IN "
        own += "(SELECT run_uuid FROM tags WHERE key = 'mlflow.parentRunId')"
        [(run,)] = records.execute(own).fetchall()
        records.execute("UPDATE runs SET status = 'FAILED' WHERE run_uuid = ?", [run])
        records.execute("INSERT INTO tags VALUES ('reason', 'loss is nan at epoch 3', ?)", [run])
    out = command("status")[1]
    assert "next: cvae-pipe sweep --name first --trials 2  would go on with 1 unfinished trial" in out
    assert "failed: run digits-cvae-z4-h64-e1-" in out
    assert "loss is nan at epoch 3" in out
    document = json.loads(command("status", "--json")[1])
    assert [study["next"] != "" for study in document["studies"] if study["name"] == "first"] == [True]
    assert document["unfinished_runs"][0]["status"] == "FAILED"


def test_who_is_at_work_is_said(kept, command):
    with at_work(kept, "sweep first"):
        assert "at work: sweep first (process" in command("status")[1]
