"""`rm` and `gc`: what is needed stays, what goes is gone everywhere, a kill in between loses nothing."""

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys

import pytest
from helpers import Server, copy_of, mlflow_client, quick_config
from keeping import everything, swept

from pipeline import api
from pipeline.errors import ConfigError, HomeError, TrackingError
from pipeline.store.trash import decide, pending
from pipeline.store.use import at_work, users
from pipeline.tracking.addresses import sqlite_file
from pipeline.tracking.rows import recorded_runs
from sweeps.keeping.holdings import Holdings
from sweeps.keeping.removal import carried_out, finish_pending, plan_collection, plan_removal
from sweeps.study.ledger import recorded_studies


def rows_that_mention(database, ids):
    """table.column of every cell of the database that holds one of these ids, wherever it may be."""
    found = set()
    with sqlite3.connect(database) as connection:
        for (table,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            columns = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
            for row in connection.execute(f"SELECT * FROM {table}"):
                found |= {f"{table}.{c}" for c, v in zip(columns, row, strict=True) if any(i in str(v) for i in ids)}
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
    return found


def test_a_plan_touches_nothing(kept):
    before = everything(kept)
    plan = plan_removal(kept, ["first"])
    assert plan.bytes > 0
    assert plan.studies == ("first",)
    plan_collection(kept, days=0)
    assert everything(kept) == before


def test_nothing_of_a_home_that_was_just_made_is_garbage(kept):
    assert plan_collection(kept, days=0).empty


def test_a_removed_study_is_gone_everywhere_and_the_others_stand(kept, command):
    others = [h for h in Holdings(kept).all if h.name != "first"]
    still = {e for h in others for e in h.needs if (kept.store.root / e[0] / e[1]).is_dir()}
    database = sqlite_file(kept)
    ids = [run.id for run in recorded_runs(database) if run.tags.get("study") == "first"]
    assert len(ids) == 4  # itself, two trials, the final
    assert command("rm", "first", "--yes")[0] == 0
    assert recorded_studies(kept) == ["second"]
    assert rows_that_mention(database, ids) == set()
    assert not any(folder.name in ids for folder in (kept.mlruns / "artifacts").glob("*/*"))
    assert not (kept.reports / "first").exists()
    assert all((kept.store.root / stage / key / "manifest.json").exists() for stage, key in still)
    assert plan_collection(kept, days=0).empty, "nothing of it is left over"
    assert command("verify", kept.reports / "second")[0] == 0
    assert command("rm", "first")[0] == 2


@pytest.mark.soak
def test_a_removed_study_can_be_swept_anew_with_the_same_numbers(kept):
    before = api.load_study("first", home=kept).trials
    api.remove(["first"], dry_run=False, home=kept)
    after = swept(kept, "first").summary.frame
    shown = [c for c in before.columns if c != "seconds"]
    assert before[shown].equals(after[shown])


def test_a_run_of_a_study_is_not_removed_by_itself(kept):
    holdings = Holdings(kept)
    key = next(key for stage, key in holdings.studies["first"].needs if stage == "run" and key in holdings.runs)
    with pytest.raises(ConfigError, match="belongs to study first"):
        plan_removal(kept, [key])


def test_a_removed_run_leaves_what_a_comparison_needs(kept, command):
    holdings = Holdings(kept)
    own = next(iter(holdings.single_runs.values()))
    final = next(run for run in holdings.runs.values() if run.split == "test" and run.name != own.name)
    assert command("compare", own.name, final.key, "--html")[0] == 0
    compared = next(kept.reports.glob("compare-*"))
    api.remove([own.name], dry_run=False, home=kept)
    assert not (kept.reports / own.name).exists()
    assert command("verify", compared)[0] == 0, "its runs are still there"
    api.remove([compared.name], dry_run=False, home=kept)
    api.remove([own.name], dry_run=False, home=kept)
    assert own.name not in {run.name for run in Holdings(kept).runs.values()}


def test_garbage_is_what_nobody_needs_and_is_old(kept):
    store = kept.store
    work = {"train": "f" * 64, "run": ""}
    store.build("train", work["train"], lambda folder: (folder / "model.safetensors").write_bytes(b"x" * 100))
    (store.root / "damaged" / "run-abc.1").mkdir(parents=True)
    (store.root / "partial" / "train-00000000deadbeef").mkdir(parents=True)
    database = sqlite_file(kept)
    trashed = recorded_runs(database)[-1].id
    with sqlite3.connect(database) as connection:
        connection.execute("UPDATE runs SET lifecycle_stage = 'deleted' WHERE run_uuid = ?", [trashed])
    orphan = kept.mlruns / "artifacts" / "cvae-pipe" / ("0" * 32)
    (orphan / "artifacts").mkdir(parents=True)
    young = {item.path for item in plan_collection(kept).items}
    assert not any(path.startswith(".cache/store/train") for path in young), "it may be somebody's `train`"
    assert str(orphan.relative_to(kept.root)) not in young
    plan = plan_collection(kept, days=0)
    going = {item.path for item in plan.items}
    begun = {".cache/store/train/" + "f" * 16, ".cache/store/partial/train-00000000deadbeef"}
    assert going == young | begun | {str(orphan.relative_to(kept.root))}
    assert ".cache/store/damaged/run-abc.1" in young
    assert plan.records == (trashed,)
    carried_out(kept, lambda: plan)
    assert plan_collection(kept, days=0).empty
    assert rows_that_mention(database, [trashed]) == set()


def test_nothing_is_removed_while_somebody_works(kept, command):
    with at_work(kept, "sweep second"):
        assert users(kept)[0].startswith("sweep second (process ")
        code, _, err = command("rm", "first", "--yes")
        assert (code, "sweep second" in err) == (2, True)
        assert command("rm", "first")[0] == 0, "a plan may be made"
    assert recorded_studies(kept) == ["first", "second"]
    assert users(kept) == []


KILLED = """
import os, signal, sys
from pipeline import api
from pipeline.store import trash
import sweeps.keeping.removal as removal

calls = 0
def counted(real):
    def call(*arguments, **named):
        global calls
        calls += 1
        if calls > int(sys.argv[1]):
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*arguments, **named)
    return call

trash.os = type(os)("os")
trash.os.__dict__.update(os.__dict__, rename=counted(os.rename))
trash._delete = counted(trash._delete)
trash.write_json = counted(trash.write_json)
removal.forget = counted(removal.forget)
removal.erase_studies = counted(removal.erase_studies)
api.remove(["first"], dry_run=False)
"""


@pytest.mark.parametrize("point", [3, *(pytest.param(n, marks=pytest.mark.soak) for n in (0, 1, 2, 4, 5, 20, 60, 90))])
def test_a_removal_that_is_killed_is_finished_by_the_next(kept, tmp_path, point):
    done = copy_of(kept.root, tmp_path / "done")
    api.remove(["first"], dry_run=False, home=done)
    killed = subprocess.run([sys.executable, "-c", KILLED, str(point)], env=os.environ, check=False)
    assert killed.returncode in (-signal.SIGKILL, 0)
    finish_pending(kept)
    if "first" in recorded_studies(kept):
        assert point == 0, "nothing was decided yet"
        api.remove(["first"], dry_run=False, home=kept)
    assert list(pending(kept)) == []
    assert everything(kept).keys() == everything(done).keys()


def test_files_of_runs_that_another_database_knows_are_no_orphans(kept, tmp_path, monkeypatch):
    """Whatever database MLFLOW_TRACKING_URI names, files are kept below the home."""
    shutil.copyfile(kept.mlruns / "mlflow.db", tmp_path / "other.db")
    with sqlite3.connect(tmp_path / "other.db") as connection:
        connection.execute("UPDATE runs SET run_uuid = 'x' || run_uuid")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'other.db'}")
    assert plan_collection(kept, days=0).empty


def test_nothing_outside_of_the_home_is_moved(home, tmp_path):
    home.check_writable()
    with pytest.raises(HomeError, match="not below"):
        decide(home, [tmp_path], {})
    with pytest.raises(HomeError, match="not below"):
        decide(home, [home.root / ".." / "elsewhere"], {})


def test_the_plan_as_a_document(kept, command):
    document = json.loads(command("rm", "first", "--json")[1])
    assert document["removed"] is False
    assert document["studies"] == ["first"]
    assert document["bytes"] == sum(item["bytes"] for item in document["items"]) > 0
    assert json.loads(command("gc", "--json")[1])["items"] == []


@pytest.mark.soak
def test_a_server_keeps_what_is_removed_in_its_trash(kept, monkeypatch):
    """MLflow's own `gc` empties it, where the server runs."""
    server = Server(kept)
    server.start()
    try:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", server.url)
        plan = plan_removal(kept, ["first"])
        assert len(plan.records) == 4
        carried_out(kept, lambda: plan)
        client = mlflow_client(kept)
        stages = [client.get_run(run_id).info.lifecycle_stage for run_id in plan.records]
        assert stages == ["deleted"] * 4
        assert client.search_registered_models("name = 'first'") == []
        assert len(client.search_registered_models("name = 'second'")) == 1
        assert recorded_studies(kept) == ["second"]
    finally:
        server.stop()
    with pytest.raises(TrackingError, match="does not answer"):
        plan_removal(kept, ["second"])
    assert recorded_studies(kept) == ["second"]


def test_commands_that_make_results_are_at_work(kept, monkeypatch):
    seen = []
    monkeypatch.setattr("pipeline.experiments.run.run", lambda *arguments, **options: seen.append(users(kept)) or 1 / 0)
    with pytest.raises(ZeroDivisionError):
        api.run(quick_config(), home=kept)
    assert seen[0][0].startswith("run (process ")
    assert users(kept) == []


def test_what_mlflow_was_copying_when_its_process_was_killed_goes_with_the_next_command(home):
    torn = home.mlruns / "artifacts" / "cvae-pipe" / ".artifact.uploading.abc"
    torn.parent.mkdir(parents=True)
    torn.touch()
    with api.working(home, "a sweep"):
        assert torn.exists(), "nobody was killed: it may be somebody's"
        [note] = (home.store.root / "locks").glob("in-use-*.json")
        left = note.read_bytes()
    note.write_bytes(left)  # as if it had been killed
    with at_work(home, "another sweep"), api.working(home, "a third"):
        assert torn.exists(), "it may be theirs"
    with api.working(home, "a fourth"):
        assert not torn.exists()
        assert len(list(note.parent.glob("in-use-*.json"))) == 1


def test_a_removal_that_was_cut_short_is_finished_before_results_are_made(kept, monkeypatch):
    """Else a study that is swept anew under the name could be taken by the old plan."""
    plan = plan_removal(kept, ["first"])
    decide(kept, [kept.root / i.path for i in plan.items], {"studies": ["first"], "records": [], "models": []})
    with api.working(kept, "sweep first"):
        assert recorded_studies(kept) == ["second"]
        assert list(pending(kept)) == []
