"""A home with everything in it, and a tracker that knows nothing of it: told, it holds what the first one did."""

import json
import shutil

import pytest
from helpers import assert_same_contents, mlflow_client, mlflow_contents, quick_toml


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_a_new_database_equals_the_one_that_listened(warm_home, warm_root, command, tmp_path, monkeypatch):
    home = warm_home
    quick = ("--config", quick_toml(tmp_path), "--workers", "1", "--judges", "1")
    studies = ("sweep", *quick, "--name", "s", "--final-seeds", "1", "--epochs", "9", "--window", "2")
    space = ("--space", "learning_rate=0.003|1000")  # one of which diverges
    for arguments in (
        (*studies, *space, "--trials", "5"),
        (*studies, *space, "--trials", "7"),  # perhaps another choice, whose finals stand beside the old ones
        ("ablate", *quick, "--param", "beta", "--values", "1,4", "--seeds", "2", "--name", "grid"),
        ("run", "--config", home.reports / "s" / "best.toml"),  # settings that a final has, too
        ("run", "--config", quick_toml(tmp_path), "--model", "ae"),
    ):
        code, _, err = command(*arguments)
        assert code == 0, err
    original = mlflow_contents(home)
    statuses = {run["status"] for run in original["runs"].values()}
    assert statuses == {"FINISHED", "KILLED", "FAILED"}, "trials of every kind of ending"
    shutil.copy(warm_root / "mlruns" / "mlflow.db", home.mlruns / "new.db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{home.mlruns / 'new.db'}")
    reports = {path: path.read_bytes() for path in home.reports.rglob("*") if path.is_file()}
    code, out, err = command("sync", "--json")
    assert code == 0, err
    document = json.loads(out)
    assert (len(document["recorded"]), document["present"], document["skipped"]) == (len(original["runs"]), 0, {})
    assert {path: path.read_bytes() for path in home.reports.rglob("*") if path.is_file()} == reports
    assert_same_contents(mlflow_contents(home), original)
    code, out, _ = command("sync", "--json")
    assert (code, json.loads(out)["recorded"]) == (0, [])
    client = mlflow_client(home)
    [run] = client.search_runs(["1"], "tags.kind = 'study' and tags.study = 's'")
    trial = client.search_runs(["1"], f"tags.`mlflow.parentRunId` = '{run.info.run_id}'")[0]
    shutil.rmtree(home.mlruns / "artifacts" / "cvae-pipe" / trial.info.run_id)
    code, out, _ = command("sync", "s", "--all", "--json")
    assert code == 0
    assert_same_contents(mlflow_contents(home), original)  # what was finished is gone over with --all
