"""Runs in real SQLite stores, and through a real tracking server on loopback."""

import importlib.util
import json
import math
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers import Server, free_port

from pipeline import environment as surroundings
from pipeline import tracking
from pipeline.cli import ui
from pipeline.environment import environment_text, git_commit
from pipeline.errors import ConfigError, TrackingError
from pipeline.store.home import Home
from pipeline.tracking import (
    DatasetInfo,
    MlflowTracker,
    RunSpec,
    RunsView,
    comparison_url,
    run_url,
    runs,
    serving,
    tracking_uri,
)
from pipeline.tracking.links import SHOWS
from pipeline.tracking.views import view_state

SPLITS = {"train": 1200, "val": 237, "test": 360}
DATASET = DatasetInfo("digits", "ab" * 32, "train", "scikit-learn", (1200, 8, 8), 10, SPLITS)
SPEC = RunSpec(
    name="cvae beta=4",
    key="k1",
    params={"train.beta": 4.0, "model.hidden": [400]},
    tags={"dataset": "digits"},
    description="**beta** is 4",
    dataset=DATASET,
)
IMAGE = np.arange(64, dtype=np.uint8).reshape(8, 8)
TABLE = {"label": [0, 1], "accuracy": [0.9, math.nan]}


def child_environment(home: Home, **more: str) -> dict[str, str]:
    return {**os.environ, "CVAE_PIPE_HOME": str(home.root), **more}


def run_python(home: Home, program: str) -> subprocess.Popen:
    """A process that runs `program` after connecting `tracker` to the home's store."""
    preamble = (
        "import os, signal\nfrom pipeline.store.home import Home\nfrom pipeline.tracking import *\n"
        "tracker = MlflowTracker.connect(Home.from_environment(), 'exp', on_warning=print)\n"
    )
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", preamble + program],
        env=child_environment(home),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory) -> Path:
    """A migrated SQLite file to copy: making one takes seconds."""
    home = Home(tmp_path_factory.mktemp("template"), Path("data"))
    home.mlruns.mkdir()
    (home.mlruns / "mlflow.db.new").write_text("what a kill during an earlier attempt left")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        tracking.prepare_store(home)
    return home.mlruns / "mlflow.db"


@pytest.fixture
def stored_home(home, empty_database) -> Home:
    home.mlruns.mkdir(parents=True)
    shutil.copy(empty_database, home.mlruns)
    return home


@pytest.fixture
def warned() -> list[str]:
    return []


@pytest.fixture
def tracker(stored_home, warned) -> MlflowTracker:
    return MlflowTracker.connect(stored_home, "exp", on_warning=warned.append)


@pytest.fixture
def client(tracker):
    return client_of(tracker)


def client_of(tracker: MlflowTracker):
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=tracker._link.uri)


def runs_of(client, tracker, query=""):
    return client.search_runs([tracker.experiment_id], query)


def curve(client, run, key: str) -> list[tuple[int, float]]:
    return [(m.step, m.value) for m in client.get_metric_history(run.id, key)]


def artifacts(client, run, folder: str | None = None) -> list[str]:
    return sorted(f.path for f in client.list_artifacts(run.id, folder))


def table(client, run, name: str) -> dict:
    return json.loads(Path(client.download_artifacts(run.id, name)).read_text())


def mlflow_data(features: np.ndarray, *, targets: np.ndarray):
    """MLflow's own description of arrays."""
    from mlflow.data.numpy_dataset import from_numpy

    return from_numpy(features, targets=targets)


def log_all(run) -> None:
    """What a training says about itself."""
    for step in (1, 2, 3):
        run.log_epoch(step, {"train/loss": 1 / step, "val/bce": 2 / step})
    run.log_metrics({"test/conditional_accuracy": 0.75})
    run.log_image("epoch/generated", IMAGE, 1)
    run.log_image("epoch/generated", IMAGE, 2)
    run.log_image("final/generated", IMAGE, 0)
    run.log_table("per_class.json", TABLE)
    run.log_text("python 3\n", "environment.txt")


# ---------------------------------------------------------------------------------------------------- where it is


def test_importing_the_module_does_not_import_mlflow():
    program = "import sys, pipeline.tracking; assert 'mlflow' not in sys.modules and 'PIL' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True)


def test_the_store_is_an_absolute_sqlite_file_of_the_home(home):
    assert tracking_uri(home) == f"sqlite:////{str(home.root / 'mlruns' / 'mlflow.db').lstrip('/')}"


def test_the_environment_names_another_store_and_a_relative_file_becomes_absolute(home, monkeypatch, tmp_path):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://tracking.example:5000")
    assert tracking_uri(home) == "http://tracking.example:5000"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///mine.db")
    assert tracking_uri(home) == f"sqlite:///{tmp_path}/mine.db"


@pytest.mark.parametrize("uri", ["./mlruns", "file:///tmp/mlruns", "mlruns"])
def test_a_directory_as_store_is_refused_with_the_sqlite_address(home, monkeypatch, uri):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    with pytest.raises(TrackingError, match=f"{re.escape(uri)}.*sqlite:///{home.mlruns}/mlflow.db"):
        MlflowTracker.connect(home, "exp", on_warning=print)


@pytest.mark.parametrize("uri", ["ftp://x", "htp://localhost:5000", "http://", "databricks", "sqlite://"])
def test_an_address_that_is_none_is_refused_with_those_that_are(home, monkeypatch, uri):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    with pytest.raises(TrackingError, match="MLFLOW_TRACKING_URI is") as error:
        MlflowTracker.connect(home, "exp", on_warning=print)
    assert "\n" not in str(error.value)


def test_a_server_that_is_not_there_is_an_error_within_seconds(home, monkeypatch):
    tracking.mlflow_module()  # importing it is not what is timed
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://me:secret@127.0.0.1:{free_port()}")
    started = time.monotonic()
    with pytest.raises(TrackingError, match=r"Connection refused.*MLFLOW_TRACKING_URI.*unset it to use") as error:
        MlflowTracker.connect(home, "exp", on_warning=print)
    assert time.monotonic() - started < 5
    assert "\n" not in str(error.value)
    assert "secret" not in str(error.value)


def test_a_server_that_accepts_and_says_nothing_is_an_error_too(home, monkeypatch):
    tracking.mlflow_module()
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    with socket.create_server(("127.0.0.1", 0)) as mute:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{mute.getsockname()[1]}")
        with pytest.raises(TrackingError, match="no tracking server answers"):
            MlflowTracker.connect(home, "exp", on_warning=print)


def test_a_file_that_is_no_database_is_an_error_within_seconds(home):
    tracking.mlflow_module()
    home.mlruns.mkdir(parents=True)
    (home.mlruns / "mlflow.db").write_text("a" * 5000)
    started = time.monotonic()
    with pytest.raises(TrackingError, match="file is not a database"):
        MlflowTracker.connect(home, "exp", on_warning=print)
    assert time.monotonic() - started < 5


def test_a_kill_while_the_database_was_made_leaves_nothing_in_the_way(empty_database):
    assert empty_database.read_bytes()[:15] == b"SQLite format 3"
    assert not empty_database.with_name("mlflow.db.new").exists()


def test_a_home_with_spaces_and_umlauts_works(tmp_path, empty_database, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    home = Home(tmp_path / "meine Läufe #1", Path("data"))
    home.mlruns.mkdir(parents=True)
    shutil.copy(empty_database, home.mlruns)
    tracker = MlflowTracker.connect(home, "my exp", on_warning=print)
    run = tracker.open_run(SPEC)
    run.log_text("hello", "note.txt")
    assert not run.incomplete
    assert [p.read_text() for p in (home.mlruns / "artifacts" / "my exp").rglob("note.txt")] == ["hello"]
    assert len(runs_of(client_of(tracker), tracker)) == 1


def test_connecting_leaves_the_environment_and_the_current_directory_alone(stored_home, monkeypatch, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    tracking.mlflow_module()
    before = dict(os.environ)
    log_all(MlflowTracker.connect(stored_home, "exp", on_warning=print).open_run(SPEC))
    assert dict(os.environ) == before
    assert "MLFLOW_TRACKING_URI" not in before
    assert list(Path.cwd().iterdir()) == []


@pytest.mark.slow
def test_three_processes_may_open_a_fresh_home_at_once(home):
    processes = [run_python(home, f"print(tracker.open_run(RunSpec('r{i}', 'key{i}', {{}})).id)") for i in range(3)]
    answers = [p.communicate(timeout=120) for p in processes]
    assert [p.returncode for p in processes] == [0, 0, 0], answers
    assert len({out for out, _ in answers}) == 3
    assert [err for _, err in answers] == ["", "", ""]
    tracker = MlflowTracker.connect(home, "exp", on_warning=print)
    assert len(runs_of(client_of(tracker), tracker)) == 3


def test_a_deleted_experiment_is_restored_and_said_to_be(tracker, client, stored_home):
    run = tracker.open_run(SPEC)
    client.delete_experiment(tracker.experiment_id)
    said = []
    again = MlflowTracker.connect(stored_home, "exp", on_warning=said.append)
    assert again.experiment_id == tracker.experiment_id
    assert again.open_run(SPEC).id == run.id
    assert [("trash" in s, "exp" in s) for s in said] == [(True, True)]


def test_an_experiment_of_a_server_is_not_written_past_it(tracker, client, stored_home):
    client.create_experiment("served", artifact_location="mlflow-artifacts:/7")
    with pytest.raises(TrackingError, match="experiment served was created through a tracking server"):
        MlflowTracker.connect(stored_home, "served", on_warning=print)


# ------------------------------------------------------------------------------------------------------- one run


def test_a_run_carries_what_identifies_and_describes_it(tracker, client, warned):
    run = tracker.open_run(SPEC)
    stored = client.get_run(run.id)
    assert stored.info.status == "RUNNING"
    assert stored.data.params == {"train.beta": "4.0", "model.hidden": "[400]"}
    assert (
        stored.data.tags.items()
        >= {
            "run_key": "k1",
            "dataset": "digits",
            "mlflow.runName": "cvae beta=4",
            "mlflow.source.name": "cvae-pipe",
            "mlflow.note.content": "**beta** is 4",
            "mlflow.user": tracking.tracker._user(),
        }.items()
    )
    assert "mlflow.parentRunId" not in stored.data.tags
    assert stored.data.tags.get("mlflow.source.git.commit") == git_commit()
    [data] = stored.inputs.dataset_inputs
    assert (data.dataset.name, data.dataset.digest) == ("digits", DATASET.digest[:36])
    profile = {"num_rows": 1200, "shape": [1200, 8, 8], "classes": 10, "splits": SPLITS}
    assert json.loads(data.dataset.profile) == profile
    theirs = mlflow_data(np.zeros((2, 8, 8), np.uint8), targets=np.zeros(2, np.int64))
    assert json.loads(data.dataset.schema) == theirs.schema.to_dict()  # as MLflow's own page of data sets reads it
    assert [(t.key, t.value) for t in data.tags] == [("mlflow.data.context", "train")]
    assert warned == []


def test_more_parameters_than_one_request_takes_are_all_there(tracker, client):
    run = tracker.open_run(RunSpec("many", "many", {f"section.key{i}": i for i in range(250)}))
    assert len(client.get_run(run.id).data.params) == 250


def test_a_finished_run_is_found_and_not_repeated(tracker, client, stored_home):
    run = tracker.open_run(SPEC)
    log_all(run)
    run.close("FINISHED")
    again = MlflowTracker.connect(stored_home, "exp", on_warning=print).open_run(SPEC)
    assert (again.id, again.finished) == (run.id, True)
    again.close("FAILED", "does not count")
    assert [r.info.status for r in runs_of(client, tracker)] == ["FINISHED"]


def test_a_finished_run_can_be_reopened_for_more(tracker, client):
    spec = RunSpec("study", "study", {})
    tracker.open_run(spec).close("FINISHED")
    more = tracker.open_run(spec, reopen=True)
    more.log_metrics({"study/best": 0.5})
    assert not more.finished
    assert client.get_run(more.id).info.status == "RUNNING"


def test_a_deleted_run_is_not_found_again(tracker, client):
    run = tracker.open_run(SPEC)
    run.close("FINISHED")
    client.delete_run(run.id)
    again = tracker.open_run(SPEC)
    assert again.id != run.id
    assert not again.finished


def test_the_duration_of_a_run_is_working_time(tracker, client, monkeypatch):
    """A pause between two invocations is none, nor is the time until somebody notices that a process was killed."""
    run = tracker.open_run(SPEC)
    run.close("KILLED", "interrupted")
    first = client.get_run(run.id).info.end_time
    later = runs._now_ms() + 3_600_000
    monkeypatch.setattr(runs, "_now_ms", lambda: later)
    again = tracker.open_run(SPEC)
    monkeypatch.setattr(runs, "_now_ms", lambda: later + 5000)
    again.close("FINISHED")
    assert client.get_run(run.id).info.end_time == first + 5000
    monkeypatch.undo()
    killed = tracker.open_run(RunSpec("killed", "b" * 16, {}))
    killed.log_epoch(1, {"train/loss": 1.0})
    [heard] = client.get_metric_history(killed.id, "train/loss")
    time.sleep(0.05)
    assert tracker.mark_interrupted(keys=["b" * 16]) == [killed.id]
    assert client.get_run(killed.id).info.end_time == heard.timestamp


def test_the_load_of_the_machine_is_told_where_mlflow_is_asked_for_it(tracker, client, warned, monkeypatch):
    run = tracker.open_run(SPEC)
    with run.watched():
        pass
    assert client.get_run(run.id).data.metrics == {}
    monkeypatch.setenv("MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING", "true")
    monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "0.1")
    if importlib.util.find_spec("psutil") is None:
        with run.watched():
            pass
        assert warned == [
            "MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING is set, but there is no psutil to read the machine's load with; "
            "pip install psutil"
        ]
        return
    deadline = time.monotonic() + 30
    with run.watched():
        while time.monotonic() < deadline and not client.get_run(run.id).data.metrics:
            time.sleep(0.1)
    assert "system/cpu_utilization_percentage" in client.get_run(run.id).data.metrics
    again = tracker.open_run(SPEC)
    again.close("FINISHED")
    assert warned == []


def test_a_failed_run_is_continued_with_its_parameters_and_without_its_reason(tracker, client):
    run = tracker.open_run(SPEC)
    run.close("FAILED", "loss is nan at epoch 3")
    failed = client.get_run(run.id)
    assert (failed.info.status, failed.data.tags["reason"]) == ("FAILED", "loss is nan at epoch 3")

    changed = RunSpec(SPEC.name, SPEC.key, {"train.beta": 9.0, "runtime.device": "cpu"}, dataset=DATASET)
    again = tracker.open_run(changed)
    stored = client.get_run(run.id)
    assert (again.id, again.finished) == (run.id, False)
    assert stored.info.status == "RUNNING"
    assert "reason" not in stored.data.tags
    assert stored.data.params == {"train.beta": "4.0", "model.hidden": "[400]", "runtime.device": "cpu"}
    assert len(stored.inputs.dataset_inputs) == 1


def test_replaying_a_whole_run_adds_nothing(tracker, client, stored_home, warned):
    run = tracker.open_run(SPEC)
    log_all(run)
    files = artifacts(client, run), artifacts(client, run, "images")
    for again in (run, MlflowTracker.connect(stored_home, "exp", on_warning=warned.append).open_run(SPEC)):
        log_all(again)
        assert curve(client, run, "train/loss") == [(1, 1.0), (2, 1 / 2), (3, 1 / 3)]
        assert curve(client, run, "test/conditional_accuracy") == [(0, 0.75)]
        assert (artifacts(client, run), artifacts(client, run, "images")) == files
        assert table(client, run, "per_class.json")["data"] == [[0, 0.9], [1, None]]
    assert warned == []


def test_a_resumed_run_gets_each_step_once(tracker, client):
    run = tracker.open_run(SPEC)
    for step in (1, 2, 3):
        run.log_epoch(step, {"train/loss": 1.0})
    resumed = tracker.open_run(SPEC)
    for step in (2, 3, 4, 5):  # the checkpoint was of epoch 1
        resumed.log_epoch(step, {"train/loss": 2.0})
    assert curve(client, run, "train/loss") == [(1, 1.0), (2, 1.0), (3, 1.0), (4, 2.0), (5, 2.0)]


def test_an_epoch_is_one_request(tracker, monkeypatch):
    run = tracker.open_run(SPEC)
    requests = []
    monkeypatch.setattr(type(tracker._link.client), "log_batch", lambda self, *a, **k: requests.append(k["metrics"]))
    run.log_epoch(1, {f"train/m{i}": float(i) for i in range(8)})
    assert [len(metrics) for metrics in requests] == [8]


def test_a_final_number_that_changed_is_the_one_shown(tracker, client):
    run = tracker.open_run(SPEC)
    run.log_metrics({"study/best": 0.5})
    time.sleep(0.002)  # MLflow's clock ticks in milliseconds
    run.log_metrics({"study/best": 0.4})
    assert client.get_run(run.id).data.metrics["study/best"] == 0.4


def test_nan_and_infinity_are_points_without_a_value(tracker, client):
    run = tracker.open_run(SPEC)
    run.log_epoch(1, {"train/loss": math.nan, "train/kl": math.inf})
    run.log_metrics({"test/bce": -math.inf})
    again = tracker.open_run(SPEC)
    again.log_metrics({"test/bce": -math.inf})
    for key in ("train/loss", "train/kl", "test/bce"):
        [(_, value)] = curve(client, run, key)
        assert math.isnan(value)
    assert not again.incomplete


def test_images_are_named_as_mlflow_names_them(tracker, client):
    """The UI reads key, step and time from the file name."""
    run = tracker.open_run(SPEC)
    run.log_image("final/generated", IMAGE, 7)
    ours = artifacts(client, run, "images")
    tags = client.get_run(run.id).data.tags
    other = tracker.open_run(RunSpec("other", "other", {}))
    client.log_image(other.id, IMAGE, key="final/generated", step=7, synchronous=True)
    theirs = artifacts(client, other, "images")

    def without_time_and_uuid(names):
        return [re.sub(r"timestamp\+\d+\+[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "T", name) for name in names]

    assert len(ours) == 2
    assert without_time_and_uuid(ours) == without_time_and_uuid(theirs)
    assert tags["mlflow.loggedImages"] == client.get_run(other.id).data.tags["mlflow.loggedImages"]


def test_an_image_keeps_its_pixels(tracker, client):
    from PIL import Image

    run = tracker.open_run(SPEC)
    run.log_image("final/generated", IMAGE, 0)
    [path] = [p for p in artifacts(client, run, "images") if p.endswith(".png")]
    with Image.open(client.download_artifacts(run.id, path)) as image:
        np.testing.assert_array_equal(np.asarray(image), IMAGE)


def test_a_table_is_the_one_mlflow_would_write(tracker, client):
    run, other = tracker.open_run(SPEC), tracker.open_run(RunSpec("other", "other", {}))
    run.log_table("per_class.json", {"label": np.arange(2), "accuracy": np.array([0.9, np.nan], np.float32)})
    run.log_table("trials.json", {"number": [0]})
    client.log_table(other.id, {"label": [0, 1], "accuracy": [0.9, None]}, "per_class.json")
    client.log_table(other.id, {"number": [0]}, "trials.json")
    ours, theirs = client.get_run(run.id).data.tags, client.get_run(other.id).data.tags
    assert json.loads(ours["mlflow.loggedArtifacts"]) == json.loads(theirs["mlflow.loggedArtifacts"])
    ours, theirs = table(client, run, "per_class.json"), table(client, other, "per_class.json")
    assert ours["columns"] == theirs["columns"]
    assert ours["data"] == [[0, pytest.approx(0.9)], [1, None]]
    assert theirs["data"] == [[0, 0.9], [1, None]]


def test_tables_can_be_compared_across_runs(tracker, client, monkeypatch):
    for i in range(3):
        tracker.open_run(RunSpec(f"r{i}", f"k{i}", {})).log_table("per_class.json", TABLE)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", tracker._link.uri)  # load_table asks the global store
    assert len(client.load_table(tracker.experiment_id, "per_class.json")) == 6


def test_a_table_logged_again_is_replaced(tracker, client):
    run = tracker.open_run(SPEC)
    run.log_table("trials.json", {"number": [0]})
    run.log_table("trials.json", {"number": [0, 1]})
    assert table(client, run, "trials.json")["data"] == [[0], [1]]


def test_files_texts_tags_and_description_arrive(tracker, client, tmp_path):
    run = tracker.open_run(SPEC)
    (tmp_path / "report.html").write_text("<p>hi")
    run.log_file(tmp_path / "report.html", "report")
    run.log_text("x", "notes/a.txt")
    run.set_tags({"pareto": "true"})
    run.set_description("# Best")
    assert artifacts(client, run, "report") == ["report/report.html"]
    assert artifacts(client, run, "notes") == ["notes/a.txt"]
    assert client.get_run(run.id).data.tags.items() >= {"pareto": "true", "mlflow.note.content": "# Best"}.items()


def test_children_are_found_by_their_parent_and_one_key_is_one_run_per_parent(tracker, client):
    study = tracker.open_run(RunSpec("study", "study", {}))
    other = tracker.open_run(RunSpec("other", "other", {}))
    ids = {tracker.open_run(RunSpec("trial", "t", {}, parent_id=p)).id for p in (study.id, other.id, None)}
    assert len(ids) == 3
    [child] = runs_of(client, tracker, f"tags.`mlflow.parentRunId` = '{study.id}'")
    assert child.info.run_id == tracker.open_run(RunSpec("trial", "t", {}, parent_id=study.id)).id
    assert child.data.tags["run_key"] == "t"


def test_the_store_is_not_searched_for_what_cannot_be_there(tracker, monkeypatch):
    searched = []
    search = type(tracker.client).search_runs
    monkeypatch.setattr(type(tracker.client), "search_runs", lambda *a, **k: searched.append(a[2]) or search(*a, **k))
    parent = tracker.open_run(RunSpec("study", "s", {}))
    del searched[:]
    first, second = (tracker.open_run(RunSpec(f"trial {n}", f"k{n}", {}, parent_id=parent.id)) for n in range(2))
    assert searched == [], "no other process can have opened a child of a run that was just made"
    assert first.id != second.id
    assert tracker.open_run(RunSpec("trial 0", "k0", {}, parent_id=parent.id)).id == first.id
    another = type(tracker)(tracker.link, tracker.experiment_id)
    assert another.open_run(RunSpec("trial 1", "k1", {}, parent_id=parent.id)).id == second.id


def test_our_own_mistakes_are_not_taken_for_an_outage(tracker):
    from mlflow.exceptions import MlflowException

    run = tracker.open_run(SPEC)
    with pytest.raises(MlflowException, match="Names may only contain"):
        run.log_epoch(1, {"train#loss": 1.0})
    assert not run.incomplete


# ----------------------------------------------------------------------------------------- interrupted and deleted


def test_a_killed_process_leaves_a_running_run_that_is_marked_killed(stored_home):
    program = (
        "parent = tracker.open_run(RunSpec('study', 'study', {}))\n"
        "trial = tracker.open_run(RunSpec('trial', 't0', {}, parent_id=parent.id))\n"
        "trial.log_epoch(1, {'train/loss': 1.0})\n"
        "print(parent.id, trial.id, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    process = run_python(stored_home, program)
    out, err = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL, err
    parent_id, trial_id = out.split()
    tracker = MlflowTracker.connect(stored_home, "exp", on_warning=print)
    client = client_of(tracker)
    assert {r.info.status for r in runs_of(client, tracker)} == {"RUNNING"}

    assert tracker.mark_interrupted(parent_id=parent_id, keys=["other"]) == []
    assert tracker.mark_interrupted(parent_id=parent_id, reason="the process was killed") == [trial_id]
    trial = client.get_run(trial_id)
    assert (trial.info.status, trial.data.tags["reason"]) == ("KILLED", "the process was killed")
    assert client.get_run(parent_id).info.status == "RUNNING"
    assert tracker.mark_interrupted() == [parent_id]


def test_runs_of_other_tools_are_not_marked(tracker, client):
    client.create_run(tracker.experiment_id)
    assert tracker.mark_interrupted() == []


def test_a_run_deleted_while_it_is_written_costs_a_warning(tracker, client, warned):
    run, other = tracker.open_run(SPEC), tracker.open_run(RunSpec("other", "other", {}))
    client.delete_run(run.id)
    log_all(run)
    run.close("FINISHED")
    assert run.incomplete
    assert len(warned) == 1
    assert "deleted" in warned[0]
    other.log_epoch(1, {"train/loss": 1.0})
    assert curve(client, other, "train/loss") == [(1, 1.0)]


# ------------------------------------------------------------------------------------------------------ an outage


class Unplugged:
    """A client whose every call fails as a broken connection does, and counts."""

    def __init__(self, error: Exception) -> None:
        self.calls = 0
        self.error = error

    def __getattr__(self, name):
        def call(*args, **kwargs):
            self.calls += 1
            raise self.error

        return call


@pytest.fixture
def clock(monkeypatch):
    """Seconds that pass only when told."""

    class Clock:
        now = 1000.0

        def monotonic(self):
            return self.now

    clock = Clock()
    monkeypatch.setattr(tracking.link.time, "monotonic", clock.monotonic)
    return clock


def outages() -> list[Exception]:
    from requests.exceptions import ConnectionError as RequestsConnectionError

    MlflowException = tracking.mlflow_module().exceptions.MlflowException
    locked = MlflowException("database is locked", error_code=2)  # TEMPORARILY_UNAVAILABLE
    assert locked.error_code == "TEMPORARILY_UNAVAILABLE"
    return [
        MlflowException("API request to http://x failed with exception Connection refused"),
        RequestsConnectionError("connection reset"),
        OSError(28, "No space left on device"),
        locked,
    ]


@pytest.mark.parametrize("which", range(4))
def test_every_way_of_being_away_is_one_warning_and_no_exception(tracker, client, warned, clock, which):
    run = tracker.open_run(SPEC)
    tracker._link.client = Unplugged(outages()[which])
    log_all(run)
    run.close("FINISHED")
    assert tracker._link.client.calls == 1, "one timeout, then quiet"
    assert run.incomplete
    assert len(warned) == 1
    assert "stopped answering" in warned[0]
    assert "\n" not in warned[0]
    assert client.get_run(run.id).info.status == "RUNNING"


def test_a_store_that_is_away_is_asked_again_after_half_a_minute(tracker, client, warned, clock):
    run = tracker.open_run(SPEC)
    plugged = tracker._link.client
    tracker._link.client = Unplugged(outages()[0])
    for step in range(1, 62):  # one epoch a second
        run.log_epoch(step, {"train/loss": 1.0})
        clock.now += 1
    assert tracker._link.client.calls == 3
    tracker._link.client = plugged
    clock.now += 30
    run.log_epoch(62, {"train/loss": 1.0})
    assert curve(client, run, "train/loss") == [(62, 1.0)]
    assert len(warned) == 1

    run.close("FINISHED")
    stored = client.get_run(run.id)
    assert (stored.info.status, "repeat the command" in stored.data.tags["reason"]) == ("KILLED", True)

    replay = tracker.open_run(SPEC)
    for step in range(1, 63):
        replay.log_epoch(step, {"train/loss": 1.0})
    replay.close("FINISHED")
    assert sorted(step for step, _ in curve(client, run, "train/loss")) == list(range(1, 63))
    stored = client.get_run(run.id)
    assert (stored.info.status, "reason" in stored.data.tags) == ("FINISHED", False)


def test_a_run_opened_while_the_store_is_away_swallows_everything(tracker, client, warned, clock):
    plugged = tracker._link.client
    tracker._link.client = Unplugged(outages()[0])
    parent = tracker.open_run(SPEC)
    assert (parent.id, parent.finished, parent.incomplete) == ("", False, True)
    assert tracker.mark_interrupted() == []
    tracker._link.client = plugged
    clock.now += 31
    child = tracker.open_run(RunSpec("trial", "t0", {}, parent_id=parent.id))
    for run in (parent, child):
        log_all(run)
        run.close("FINISHED")
        assert run.incomplete
    assert runs_of(client, tracker) == []
    assert len(warned) == 1


# ------------------------------------------------------------------------------------------------- a real server


@pytest.fixture(scope="module")
def server(tmp_path_factory, empty_database):
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        home = Home(tmp_path_factory.mktemp("served"), Path("data"))
        home.mlruns.mkdir()
        shutil.copy(empty_database, home.mlruns)
        server = Server(home)
        server.start()
    yield server
    server.stop()


@pytest.mark.slow
def test_the_server_of_the_ui_command_serves_the_images_of_directly_written_runs(server, warned):
    tracker = MlflowTracker.connect(server.home, "direct", on_warning=warned.append)
    run = tracker.open_run(SPEC)
    log_all(run)
    run.close("FINISHED")
    [path] = [p for p in artifacts(client_of(tracker), run, "images") if "final" in p and p.endswith(".png")]
    query = urllib.parse.urlencode({"run_uuid": run.id, "path": path})
    with urllib.request.urlopen(f"{server.url}/get-artifact?{query}", timeout=20) as answer:
        assert answer.read(8) == b"\x89PNG\r\n\x1a\n"
    with urllib.request.urlopen(tracking.ui_base(server.home, port=server.port), timeout=20) as answer:
        assert b"<title>MLflow" in answer.read()


@pytest.mark.slow
def test_a_server_that_stops_and_starts_costs_one_warning_and_a_replay(
    server, home, monkeypatch, warned, capfd, caplog
):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.url)
    tracker = MlflowTracker.connect(home, "remote", on_warning=warned.append)
    client = client_of(tracker)
    before = tracker.open_run(RunSpec("before", "before", {}))
    log_all(before)
    before.log_epoch(4, {"train/loss": math.nan})
    before.close("FINISHED")
    assert client.get_experiment(tracker.experiment_id).artifact_location.startswith("mlflow-artifacts:")
    assert len(artifacts(client, before, "images")) == 6
    assert math.isnan(curve(client, before, "train/loss")[-1][1])
    assert tracking.ui_command(home) == []
    assert tracking.ui_base(home) == server.url

    run = tracker.open_run(SPEC)
    run.log_epoch(1, {"train/loss": 1.0, "val/bce": 2.0})
    server.stop()
    started = time.monotonic()
    log_all(run)
    run.close("FINISHED")
    during = tracker.open_run(RunSpec("during", "during", {}))
    assert time.monotonic() - started < 5
    assert (run.incomplete, during.id) == (True, "")
    assert len(warned) == 1
    assert server.url in warned[0]

    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    server.start()
    assert client.get_run(run.id).info.status == "RUNNING"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.url)
    next_time = MlflowTracker.connect(home, "remote", on_warning=warned.append)
    assert next_time.open_run(RunSpec("before", "before", {})).finished
    replay = next_time.open_run(SPEC)
    log_all(replay)
    replay.close("FINISHED")
    assert replay.id == run.id
    assert client.get_run(run.id).info.status == "FINISHED"
    assert curve(client, run, "train/loss") == [(1, 1.0), (2, 1 / 2), (3, 1 / 3)]
    assert len(artifacts(client, run, "images")) == 6
    assert table(client, run, "per_class.json")["data"] == [[0, 0.9], [1, None]]
    assert len(warned) == 1
    assert capfd.readouterr() == ("", "")
    assert caplog.records == []


# ----------------------------------------------------------------------------------------- links and surroundings


def test_the_ui_command_serves_the_store_on_loopback(home):
    command = tracking.ui_command(home, port=5055)
    options = dict(zip(command[4::2], command[5::2], strict=True))
    assert command[:4] == [sys.executable, "-m", "mlflow", "server"]
    assert options == {
        "--artifacts-destination": f"file://{home.root}/mlruns/artifacts",
        "--host": "127.0.0.1",
        "--port": "5055",
        "--workers": "1",
    }
    environment = tracking.ui_environment(home)
    assert environment["MLFLOW_BACKEND_STORE_URI"] == tracking_uri(home)
    assert environment["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] == "false"


def test_links_lead_to_a_run_and_to_the_charts_of_a_study():
    assert run_url("http://h:1/", "3", "abc") == "http://h:1/#/experiments/3/runs/abc"
    link = comparison_url("http://h:1", "3", parent_id="abc", metric="test/bce")
    page, _, query = link.partition("?")
    assert page == "http://h:1/#/experiments/3/runs"
    assert " " not in link
    assert urllib.parse.parse_qs(query) == {
        "compareRunsMode": ["CHART"],
        "workflowType": ["machine_learning"],
        "searchFilter": ["tags.`mlflow.parentRunId` = 'abc'"],
        "orderByKey": ["metrics.`test/bce`"],
        "orderByAsc": ["true"],
        "startTime": ["ALL"],
        "lifecycleFilter": ["Active"],
        "modelVersionFilter": ["All Runs"],
        "datasetsFilter": ["W10="],
    }
    assert "searchFilter=&" in comparison_url("http://h:1", "3", parent_id=None, metric="test/bce")


def test_the_ui_links_lead_to_the_latest_study_or_to_the_one_asked_for(tracker, stored_home):
    everything = tracking.ui_links(stored_home, "exp", "http://h:1")
    assert [("searchFilter=&" in link) for link in everything.values()] == [True]
    ids = {}
    for i, name in enumerate(("first", "it's second")):
        spec = RunSpec(name, f"k{i}", {}, {"kind": "study", "study": name})
        ids[name] = tracker.open_run(spec).id
        time.sleep(0.002)
    for name, asked in (("it's second", None), ("it's second", "it's second"), ("first", "first")):
        links = tracking.ui_links(stored_home, "exp", "http://h:1", study=asked)
        assert list(links) == ["trials", "study"]
        assert links["study"].startswith(run_url("http://h:1", tracker.experiment_id, ids[name]))
        assert ids[name] in links["trials"]
    with pytest.raises(TrackingError, match="no study 'third' is recorded"):
        tracking.ui_links(stored_home, "exp", "http://h:1", study="third")


def test_the_metric_that_sorts_the_trials_can_be_chosen(tracker, stored_home):
    tracker.open_run(RunSpec("s", "k", {}, {"kind": "study", "study": "s"}))
    links = ui.links(stored_home, "exp", metric="coverage_relative")
    query = urllib.parse.parse_qs(links["trials"].partition("?")[2])
    assert query["orderByKey"] == ["metrics.`val/coverage_relative`"]
    assert query["orderByAsc"] == ["false"]  # higher is better, so the best come first
    assert urllib.parse.parse_qs(ui.links(stored_home, "exp")["trials"].partition("?")[2])["orderByAsc"] == ["true"]
    assert ui.metric_key("test/bce") == "test/bce"
    with pytest.raises(ConfigError, match="--metric is 'bcee'; it must be one of neg_elbo, "):
        ui.metric_key("bcee")


def test_the_links_can_be_had_without_starting_anything(command, stored_home, tracker):
    tracker = MlflowTracker.connect(stored_home, "cvae-pipe", on_warning=print)
    tracker.open_run(RunSpec("s", "k", {}, {"kind": "study", "study": "s"}))
    code, out, err = command("ui", "--links", "--json", "--port", "5077")
    assert (code, err) == (0, "")
    document = json.loads(out)
    links = {name: one["url"] for name, one in document["links"].items()}
    assert {name: document[name] for name in links} == links
    assert links["all"] == "http://127.0.0.1:5077"
    assert all(link.startswith(links["all"]) for link in links.values())
    code, out, _ = command("ui", "--links", "--port", "5077")
    told = [line.split("\t") for line in out.splitlines()]
    assert {name: link for name, link, _ in told} == links
    assert all(shows for _, _, shows in told)
    code, _, err = command("ui", "--links", "--metric", "nonsense")
    assert (code, err.startswith("error: --metric is 'nonsense'")) == (2, True)


def test_the_page_that_was_asked_for_is_opened_in_a_browser(stored_home, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")  # a server, so there is none to start
    opened, said = [], []
    monkeypatch.setattr("webbrowser.open", lambda address: opened.append(address) or False)
    found = {"all": "http://h", "view": "http://h/view"}
    for name in ("view", "trials", ""):
        shown = []
        assert serving.serve(stored_home, found, SHOWS, open_=name, say=said.append, show=shown.append) == 0
    assert opened == ["http://h/view", "http://h"]
    assert shown[:2] == ["all:     MLflow's whole interface", "  http://h"]
    assert shown[3] == "  http://h/view"
    assert "no web browser could be started" in said[0]


def test_an_empty_home_says_that_there_is_nothing_yet_and_what_to_type(command, home):
    code, out, err = command("ui", "--links")
    assert (code, out.count("\n")) == (0, 1)
    assert err.startswith("nothing is recorded in the experiment cvae-pipe yet; `cvae-pipe run --dataset digits`")


VIEW = RunsView(
    name="sweep s",
    parent_id="abc",
    split="val",
    params=("train.beta",),
    metrics=("val/neg_elbo", "val/coverage_relative"),
    ascending=True,
    pairs=(("val/kl", "val/bce"),),
    tags=("front",),
)


def test_a_view_has_what_varies_and_what_is_compared_as_columns_and_as_charts():
    state = view_state(VIEW)
    assert state["selectedColumns"] == [
        "tags.`front`",
        "metrics.`val/neg_elbo`",
        "metrics.`val/coverage_relative`",
        "params.`train.beta`",
    ]
    assert state["orderByKey"] == "metrics.`val/neg_elbo`"
    assert "'abc'" in state["searchFilter"]
    charts = state["compareRunCharts"]
    assert len({chart["uuid"] for chart in charts}) == len(charts)
    assert {chart["metricSectionId"] for chart in charts} == {s["uuid"] for s in state["compareRunSections"]}
    [images] = [chart for chart in charts if chart["type"] == "IMAGE"]
    assert images["imageKeys"] == ["final/generated"]
    pairs = [(chart["xaxis"]["key"], chart["yaxis"]["key"]) for chart in charts if chart["type"] == "SCATTER"]
    assert pairs == [("val/kl", "val/bce"), ("train.beta", "val/neg_elbo"), ("train.beta", "val/coverage_relative")]


def test_a_saved_view_is_replaced_when_it_changes_and_fits_a_tag(tracker, client):
    parent = tracker.open_run(RunSpec("s", "k", {}))
    for view in (replace(VIEW, parent_id=parent.id), replace(VIEW, parent_id=parent.id, tags=())):
        tracker.save_view("key", view)
        value = client.get_experiment(tracker.experiment_id).tags["mlflow.sharedViewState.key"]
        envelope = json.loads(value)
        assert envelope["name"] == "sweep s"
        assert json.loads(envelope["state"]) == view_state(view)
        assert len(value) < 20_000


def test_children_are_tagged_by_their_key_whatever_their_status(tracker, client):
    parent = tracker.open_run(RunSpec("s", "k", {}))
    children = {key: tracker.open_run(RunSpec(key, key, {}, {"mine": "1"}, parent_id=parent.id)) for key in ("a", "b")}
    other = tracker.open_run(RunSpec("other", "a", {}))
    for run in children.values():
        run.close("FINISHED")
    tracker.tag_children(parent.id, ("front", "chosen"), {"a": {"front": "true", "chosen": "true"}, "b": {}})
    tracker.tag_children(parent.id, ("front", "chosen"), {"b": {"front": "true"}})
    tags = {key: client.get_run(run.id).data.tags for key, run in children.items()}
    assert {key: (t.get("front"), t.get("chosen"), t["mine"]) for key, t in tags.items()} == {
        "a": (None, None, "1"),
        "b": ("true", None, "1"),
    }
    assert "front" not in client.get_run(other.id).data.tags


def test_a_description_says_why_a_run_ended_until_it_goes_on(tracker, client):
    def note(run) -> str:
        return client.get_run(run.id).data.tags["mlflow.note.content"]

    run = tracker.open_run(SPEC)
    run.close("KILLED", "interrupted")
    assert note(run) == "**beta** is 4\n\nended KILLED: interrupted"
    again = tracker.open_run(SPEC)
    assert note(again) == "**beta** is 4"
    again.set_description("**beta** was 4")
    again.close("FAILED", "loss is nan")
    assert note(again) == "**beta** was 4\n\nended FAILED: loss is nan"
    third = tracker.open_run(RunSpec("cvae beta=4", "k1", {}))  # without a description of its own
    assert note(third) == "**beta** was 4"


def test_a_final_number_ends_the_curve_of_its_key(tracker, client):
    run = tracker.open_run(SPEC)
    for _ in range(2):
        for step in (1, 2):
            run.log_epoch(step, {"val/neg_elbo": 100.0 / step})
        run.log_metrics({"val/neg_elbo": 48.0, "val/coverage": 0.5})
    run = tracker.open_run(SPEC)  # and a replay of all of it
    run.log_epoch(2, {"val/neg_elbo": 50.0})
    run.log_metrics({"val/neg_elbo": 48.0, "val/coverage": 0.5})
    assert curve(client, run, "val/neg_elbo") == [(1, 100.0), (2, 50.0), (2, 48.0)]
    assert curve(client, run, "val/coverage") == [(0, 0.5)]
    assert client.get_run(run.id).data.metrics["val/neg_elbo"] == 48.0


def test_what_belongs_together_is_one_request(tracker, client, monkeypatch):
    run = tracker.open_run(SPEC)
    requests = []
    real = type(run._link.client).log_batch
    monkeypatch.setattr(
        type(run._link.client),
        "log_batch",
        lambda self, *arguments, **named: (requests.append(named), real(self, *arguments, **named)),
    )
    with run.together():
        run.log_epochs({1: {"val/neg_elbo": 100.0}, 2: {"val/neg_elbo": 50.0}})
        run.log_metrics({"val/neg_elbo": 48.0})
        run.log_table("per_class.json", TABLE)
        run.log_table("gates.json", TABLE)
        run.log_image("generated", IMAGE, 1)
        run.log_text("x = 1\n", "config.toml")
        run.set_description("all of it")
        run.close("KILLED", "stopped at epoch 2")
        assert client.get_run(run.id).info.status == "RUNNING"  # not before the rest is there
    assert [len(request["metrics"]) for request in requests] == [3]
    kept = client.get_run(run.id)
    assert kept.info.status == "KILLED"
    assert kept.data.metrics["val/neg_elbo"] == 48.0
    assert curve(client, run, "val/neg_elbo") == [(1, 100.0), (2, 50.0), (2, 48.0)]
    assert [t["path"] for t in json.loads(kept.data.tags["mlflow.loggedArtifacts"])] == ["per_class.json", "gates.json"]
    assert kept.data.tags["mlflow.note.content"] == "all of it\n\nended KILLED: stopped at epoch 2"
    assert artifacts(client, run) == ["config.toml", "gates.json", "images", "per_class.json"]


def test_what_is_left_by_an_exception_is_not_sent_and_can_be_said_again(tracker, client):
    run = tracker.open_run(SPEC)

    def say_half() -> None:
        with run.together():
            run.log_epoch(1, {"val/kl": 3.0})
            run.set_tags({"half": "true"})
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        say_half()
    assert "half" not in client.get_run(run.id).data.tags
    with run.together():
        run.log_epoch(1, {"val/kl": 3.0})
    assert curve(client, run, "val/kl") == [(1, 3.0)]


def test_more_than_one_request_holds_arrives_in_several(tracker, client, monkeypatch):
    monkeypatch.setattr("pipeline.tracking.runs.MOST_ENTRIES", 10)
    run = tracker.open_run(SPEC)
    for steps in (range(1, 11), range(11, 36)):
        with run.together():
            run.log_epochs({step: {"val/kl": float(step)} for step in steps})
            run.set_tags({"full": str(steps)})
    assert len(client.get_metric_history(run.id, "val/kl")) == 35
    assert client.get_run(run.id).data.tags["full"] == "range(11, 36)"


def test_the_environment_text_names_versions():
    lines = environment_text().splitlines()
    assert lines[0] == f"python {sys.version.split()[0]}"
    assert f"numpy {np.__version__}" in lines


def test_the_commit_is_that_of_the_repository(tmp_path, monkeypatch):
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    (tmp_path / "pipeline.py").write_text("x = 1\n")
    monkeypatch.setattr(surroundings, "__file__", str(tmp_path / "pipeline.py"))
    monkeypatch.chdir(tmp_path)
    assert surroundings.git_commit.__wrapped__() is None
    subprocess.run([*git, "add", "."], check=True)
    subprocess.run([*git, "commit", "-qm", "one"], check=True)
    head = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
    assert surroundings.git_commit.__wrapped__() == head
    assert not surroundings.git_dirty.__wrapped__()
    (tmp_path / "pipeline.py").write_text("x = 2\n")
    assert surroundings.git_dirty.__wrapped__()


def test_an_installed_package_is_not_of_the_commit_of_the_repository_it_is_used_in(tmp_path, monkeypatch):
    """Say, in a virtual environment inside one, or beside one that is the current directory."""
    repository, installed = tmp_path / "theirs", tmp_path / "theirs" / ".venv" / "pipeline.py"
    installed.parent.mkdir(parents=True)
    installed.write_text("x = 1\n")
    (repository / ".gitignore").write_text(".venv\n")
    git = ["git", "-C", str(repository), "-c", "user.name=a", "-c", "user.email=a@b"]
    for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "one"]):
        subprocess.run([*git, *words], check=True)
    monkeypatch.chdir(repository)
    for file in (installed, tmp_path / "elsewhere.py"):
        monkeypatch.setattr(surroundings, "__file__", str(file))
        assert "commit" not in surroundings.code_version()
    monkeypatch.setattr(surroundings, "__file__", str(repository / ".gitignore"))  # git keeps this one
    assert "commit" in surroundings.code_version()
