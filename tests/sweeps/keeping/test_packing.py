"""`pack` and `unpack`: a study arrives whole, and a file that means harm changes nothing."""

import hashlib
import json
import os
import re
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
import zipfile

import pytest
from helpers import mlflow_client
from keeping import everything, swept

from pipeline import api
from pipeline.errors import CvaePipeError, DamageError, PackError
from pipeline.runs.listing import times_opened
from pipeline.store.home import Home
from pipeline.store.sqlite import tables_of
from pipeline.tracking import registered_name
from pipeline.tracking.addresses import sqlite_file
from pipeline.tracking.exchange import check_runs
from pipeline.tracking.insertion import takes_rows
from pipeline.tracking.records import forget, records
from pipeline.tracking.rows import recorded_runs
from sweeps.keeping.holdings import Holdings
from sweeps.keeping.removal import plan_collection
from sweeps.reporting.verify import verify
from sweeps.study.exchange import same_study, study_document


@pytest.fixture(scope="session")
def packed(kept_root, tmp_path_factory):
    """The study `first`, packed."""
    path = tmp_path_factory.mktemp("pack") / "first.zip"
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        api.pack("first", path, home=Home(kept_root, kept_root / "data"))
    return path


@pytest.fixture
def elsewhere(home, warm_root):
    """Another home, which has nothing but an empty database of MLflow."""
    shutil.copytree(warm_root / "mlruns", home.mlruns)
    return home


def facts_of(home):
    """What MLflow has of a study's runs, less ids and dates."""
    client = mlflow_client(home)
    found = {}
    for run in recorded_runs(sqlite_file(home)):
        if run.tags.get("study") != "first":
            continue
        data = client.get_run(run.id).data
        curves = {key: [(m.step, m.value) for m in client.get_metric_history(run.id, key)] for key in data.metrics}
        files = sorted(f.path for f in client.list_artifacts(run.id) if f.path != "model")
        tags = {k: v for k, v in data.tags.items() if not k.startswith("mlflow.") and k != "unpacked"}
        found[run.key] = (run.name, run.status, data.params, tags, curves, files)
    return found


@pytest.mark.slow
def test_an_unpacked_study_is_the_study(packed, kept_root, elsewhere):
    there = Home(kept_root, kept_root / "data")
    found = api.unpack(packed, home=elsewhere)
    assert (found.study, found.runs) == ("first", 4)
    assert same_study(study_document(there, "first"), study_document(elsewhere, "first"))
    assert verify(elsewhere, elsewhere.reports / "first").sound
    assert facts_of(elsewhere) == facts_of(there)
    assert mlflow_client(elsewhere).search_registered_models() == [], "that takes MLflow"
    assert api.sync(["first"], everything=True, home=elsewhere).skipped == {}
    assert facts_of(elsewhere) == facts_of(there)
    version = mlflow_client(elsewhere).get_model_version_by_alias("first", "champion")
    assert version.run_id in {run.id for run in recorded_runs(sqlite_file(elsewhere))}
    assert list(times_opened(elsewhere).values()) == [1], "its final was opened on test"
    ledger = study_document(elsewhere, "first")["trials"]
    ours = {run.id for run in recorded_runs(sqlite_file(elsewhere))}
    assert {trial["user_attrs"]["run_id"] for trial in ledger} <= ours
    assert api.unpack(packed, home=elsewhere).was_here
    before = api.load_study("first", home=elsewhere).trials
    longer = swept(elsewhere, "first", trials=3).summary.frame
    assert longer["number"].tolist() == [0, 1, 2]
    assert before["neg_elbo"].tolist() == longer["neg_elbo"].tolist()[:2], "what was there is not trained again"


KILLED = """
import os, pathlib, signal, sys
from pipeline import api
from pipeline.store.store import Store
import sweeps.keeping.unpacking as unpacking

calls = 0
def counted(real):
    def call(*arguments, **named):
        global calls
        calls += 1
        if calls > int(sys.argv[2]):
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*arguments, **named)
    return call

Store.adopt = counted(Store.adopt)
unpacking._extract = counted(unpacking._extract)
unpacking._copied = counted(unpacking._copied)
unpacking.import_runs = counted(unpacking.import_runs)
unpacking.restore_study = counted(unpacking.restore_study)
mlflow = __import__("pipeline.tracking", fromlist=["x"]).mlflow_module()
mlflow.MlflowClient.set_terminated = counted(mlflow.MlflowClient.set_terminated)
api.unpack(pathlib.Path(sys.argv[1]))
"""


@pytest.mark.soak
@pytest.mark.parametrize("point", [1, 30, 100, 130, 160, 164, 166, 168])
def test_an_unpacking_that_is_killed_is_completed_by_the_next(packed, kept_root, elsewhere, point):
    there = Home(kept_root, kept_root / "data")
    program = [sys.executable, "-c", KILLED, str(packed), str(point)]
    killed = subprocess.run(program, env=os.environ, check=False)
    assert killed.returncode in (-signal.SIGKILL, 0)
    api.unpack(packed, home=elsewhere)
    assert same_study(study_document(there, "first"), study_document(elsewhere, "first"))
    assert facts_of(elsewhere) == facts_of(there), "each run once"
    assert verify(elsewhere, elsewhere.reports / "first").sound
    assert plan_collection(elsewhere, days=0).empty


def test_a_pack_holds_what_the_study_needs_and_no_code(packed, kept_root):
    needed = Holdings(Home(kept_root, kept_root / "data")).studies["first"].needs
    with zipfile.ZipFile(packed) as archive:
        names = archive.namelist()
        assert archive.testzip() is None
    stored = {tuple(name.split("/")[1:3]) for name in names if name.startswith("store/")}
    assert {e for e in stored if e[0] != "opened"} <= needed
    assert not any(name.endswith((".py", ".pkl", ".pt", ".db")) for name in names)


def test_a_damaged_study_is_not_packed(kept, tmp_path):
    model = next((kept.store.root / "train").glob("*/model.safetensors"))
    model.write_bytes(model.read_bytes()[:-1] + b"?")
    broken = [n for n in ("first", "second") if ("train", model.parent.name) in Holdings(kept).studies[n].needs]
    if not broken:
        pytest.skip("the model is the single run's")
    with pytest.raises(DamageError, match="repeat its sweep"):
        api.pack(broken[0], tmp_path / "out.zip", home=kept)
    assert list(tmp_path.glob("*.zip*")) == []


def test_another_study_of_that_name_is_not_touched(packed, kept):
    with sqlite3.connect(kept.mlruns / "optuna.db") as ledger:
        ledger.execute("UPDATE trial_values SET value = value + 1")
    before = everything(kept)
    with pytest.raises(PackError, match="another study first"):
        api.unpack(packed, home=kept)
    assert everything(kept) == before


# ---- files that mean harm ------------------------------------------------------------------------------------------


def altered(packed, tmp_path, change):
    """The pack with `change(members: name -> bytes, head)` done to it, listed as if it were meant so."""
    with zipfile.ZipFile(packed) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    head = json.loads(members.pop("pack.json"))
    change(members)
    head["files"] = {name: [len(data), hashlib.sha256(data).hexdigest()] for name, data in members.items()}
    path = tmp_path / "altered.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in {**members, "pack.json": json.dumps(head).encode()}.items():
            archive.writestr(name, data)
    return path


PLACES = (
    *("../evil", "store/../../evil", "/etc/evil", "reports/first/../../../evil", "C:/evil", "reports\\evil"),
    *("store/locks/0123456789abcdef/x", "store/train/short/x", "reports/other/report.html", "artifacts/x/y"),
    *("artifacts/" + "0" * 32 + "/model/MLmodel", "store/partial/0123456789abcdef/x"),
    *("reports/first/.hidden", "reports/first/nul\x01", "model.pkl", "reports/first/" + "x" * 300, "store//a"),
)


@pytest.mark.parametrize("place", PLACES)
def test_no_file_of_a_pack_leaves_its_place(packed, elsewhere, tmp_path, place):
    path = altered(packed, tmp_path, lambda members: members.update({place: b"evil"}))
    before = everything(elsewhere)
    with pytest.raises(PackError):
        api.unpack(path, home=elsewhere)
    assert everything(elsewhere) == before
    assert not list(tmp_path.rglob("evil"))


def test_links_bombs_twins_and_lies_are_refused(packed, elsewhere, tmp_path):
    before = everything(elsewhere)

    def refused(path, match, **named):
        with pytest.raises(PackError, match=match):
            api.unpack(path, home=elsewhere, **named)
        assert everything(elsewhere) == before

    path = altered(packed, tmp_path, lambda members: None)
    with zipfile.ZipFile(path, "a") as archive:
        link = zipfile.ZipInfo("reports/first/link")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/etc/passwd")
    refused(path, "link or a device")

    path = altered(packed, tmp_path, lambda members: members.update({"reports/first/Report.html": b"x"}))
    refused(path, "case alone")
    refused(packed, "more than --most-gb", most_gb=1e-6)

    path = altered(packed, tmp_path, lambda members: None)
    whole = bytearray(path.read_bytes())
    at = whole.find(b"reports/first/report.html") + 2000
    whole[at] ^= 0xFF
    path.write_bytes(whole)
    refused(path, "damaged|not what was packed")

    path = altered(packed, tmp_path, lambda members: members.pop("study.json"))
    refused(path, "no packed study")

    path = tmp_path / "none.zip"
    path.write_bytes(b"nothing of the kind")
    refused(path, "cannot be read as a pack")

    def oversized(members):
        members["mlflow.json"] = b"[" * 100_000

    refused(altered(packed, tmp_path, oversized), "cannot be read|makes no sense")


def test_records_that_make_no_sense_are_refused_before_anything_is_taken_in(packed, elsewhere, tmp_path):
    with zipfile.ZipFile(packed) as archive:
        runs, ledger = (json.loads(archive.read(name)) for name in ("mlflow.json", "study.json"))
    for wrong in ({}, [{}], None, [runs[0] | {"status": "?"}], [runs[0] | {"view": {"x": "y"}}]):
        with pytest.raises(ValueError, match="no list of runs"):
            check_runs(wrong)
    check_runs(runs)
    documents = [("mlflow.json", [runs[0] | {"metrics": [["a", 1.0, "x", 0]]}])]
    documents += [("study.json", {k: v for k, v in ledger.items() if k != "user_attrs"})]
    for name, document in documents:
        member = {name: json.dumps(document).encode()}
        with pytest.raises(PackError, match=r"no list of runs|cannot be read|makes no sense"):
            api.unpack(altered(packed, tmp_path, lambda members, member=member: members.update(member)), home=elsewhere)
    assert not list(elsewhere.reports.glob("*"))
    assert not (elsewhere.mlruns / "optuna.db").exists()


def test_a_member_is_never_larger_than_it_says(packed, elsewhere, tmp_path):
    """The size in the directory of a zip file is what somebody wrote there."""
    path = altered(packed, tmp_path, lambda members: members.update({"reports/first/big": b"0" * 10_000_000}))
    data = path.read_bytes()
    small = data.replace((10_000_000).to_bytes(4, "little"), (10).to_bytes(4, "little"))
    path.write_bytes(small.replace(b"[10000000, ", b"[10, "))
    with pytest.raises(PackError):
        api.unpack(path, home=elsewhere)
    assert not list(elsewhere.reports.glob("*"))


def test_a_result_that_the_study_does_not_need_stays_out(packed, elsewhere, tmp_path):
    def planted(members):
        for name in [n for n in members if n.startswith("store/score/")][:2]:
            members[f"store/judge/{'0' * 16}/{name.split('/')[3]}"] = members[name]

    with pytest.raises(PackError, match="no result that study first needs"):
        api.unpack(altered(packed, tmp_path, planted), home=elsewhere)
    assert not (elsewhere.store.root / "judge" / ("0" * 16)).exists()


def test_a_choice_that_is_not_whole_is_not_registered_and_that_is_said(packed, elsewhere, tmp_path):
    def without_priors(members):
        for name in [n for n in members if n.startswith("store/prior/")]:
            del members[name]

    api.unpack(altered(packed, tmp_path, without_priors), home=elsewhere)
    [reason] = api.sync(["first"], everything=True, home=elsewhere).skipped.values()
    assert "is not in the store; repeat the sweep, which makes it" in reason
    assert mlflow_client(elsewhere).search_registered_models() == []


def test_runs_written_as_rows_are_what_mlflow_writes(packed, kept, monkeypatch):
    """Every table, and every file; a schema that has moved on is left to MLflow, and this says so."""
    forget(kept, [run.id for run in records(kept)], [registered_name("first"), registered_name("second")])
    database, written = (kept.mlruns / "mlflow.db").read_bytes(), []
    assert takes_rows(kept, "cvae-pipe"), "MLflow's tables have changed: look at pipeline.tracking.insertion"
    for by_rows in (True, False):
        monkeypatch.setattr("sweeps.keeping.unpacking.takes_rows", lambda home, experiment, by_rows=by_rows: by_rows)
        (kept.mlruns / "optuna.db").unlink()
        (kept.mlruns / "mlflow.db").write_bytes(database)
        shutil.rmtree(kept.mlruns / "artifacts")
        assert api.unpack(packed, home=kept).runs == 4
        written.append(rows_and_files(kept))
    assert written[0] == written[1]


def rows_and_files(home):
    """Every table of MLflow's database and every artifact, without ids."""
    plain = {run.id: f"<{run.name}>" for run in records(home)}

    def named(text):
        for run_id, name in plain.items():
            text = text.replace(run_id, name)
        return re.sub(r"[0-9a-f]{32}", "<id>", text.replace(str(home.root), "<home>"))

    with sqlite3.connect(sqlite_file(home)) as connection:
        tables = tables_of(connection)
        found = {
            name: sorted(named(repr(row)) for row in connection.execute(f"SELECT * FROM {name}")) for name in tables
        }
    artifacts = (p for p in (home.mlruns / "artifacts").rglob("*") if p.is_file())
    return found | {named(str(p.relative_to(home.root))): p.read_bytes() for p in artifacts}


def test_a_result_that_is_here_is_not_replaced(packed, kept_root, elsewhere, tmp_path):
    """Content-addressed: what is here was made here."""
    there = Home(kept_root, kept_root / "data")
    stage, key = next(e for e in sorted(Holdings(there).studies["first"].needs) if e[0] == "prepare")
    folder = elsewhere.store.path(stage, key)
    shutil.copytree(there.store.path(stage, key), folder)
    inode = folder.stat().st_ino
    assert not elsewhere.store.adopt(stage, key, tmp_path / "never-looked-at")
    assert folder.stat().st_ino == inode


def test_commands_say_what_they_did(kept, command, tmp_path):
    code, out, _ = command("pack", "first", tmp_path / "out.zip", "--json")
    assert (code, json.loads(out)["runs"]) == (0, 4)
    code, out, _ = command("unpack", tmp_path / "out.zip", "--json")
    assert (code, json.loads(out)["was_here"]) == (0, True)
    assert command("pack", "nothing", tmp_path / "x.zip")[0] == 2
    assert command("pack", "first", tmp_path / "no" / "x.zip")[0] == 2
    assert command("unpack", tmp_path / "absent.zip")[0] == 2
    assert issubclass(PackError, CvaePipeError)
