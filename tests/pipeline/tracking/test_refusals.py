"""A server that does not let us in, artifacts out of reach, a home that moved, values that a store cannot hold."""

import json
import os
import shutil
import sqlite3
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from pipeline.api import experiment_name
from pipeline.errors import ConfigError, TrackingError
from pipeline.store.home import Home
from pipeline.tracking import MlflowTracker, RunSpec, RunsView, serving
from pipeline.tracking.limits import CUT, Limits, fitted
from pipeline.tracking.serving import own_names, ui_command, ui_environment


@pytest.fixture
def stored_home(home, warm_root) -> Home:
    home.mlruns.mkdir(parents=True)
    shutil.copy(warm_root / "mlruns" / "mlflow.db", home.mlruns)
    return home


def connect(home: Home, experiment: str = "exp", on_warning=pytest.fail) -> MlflowTracker:
    return MlflowTracker.connect(home, experiment, on_warning=on_warning)


# ------------------------------------------------------------------------------------------------------ who asks


class Refusing:
    """A server that refuses: everything with 401, or only what writes with 403."""

    def __init__(self, status: int, body: str, *, reads: bool = False) -> None:
        outer = self
        self.asked: list[str] = []

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                outer.asked.append(f"{self.command} {self.path}")
                self.rfile.read(int(self.headers.get("Content-Length") or 0))
                code, text = status, body
                if reads and self.command == "GET" and "get-by-name" in self.path:
                    code = 200
                    held = {"experiment_id": "1", "name": "exp", "lifecycle_stage": "active"}
                    text = json.dumps({"experiment": held | {"artifact_location": "mlflow-artifacts:/1"}})
                self.send_response(code)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text.encode())

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = answer

            def log_message(self, *_: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://me:hidden-pw@127.0.0.1:{self.http.server_port}"
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    def __enter__(self) -> "Refusing":
        return self

    def __exit__(self, *_: object) -> None:
        self.http.shutdown()
        self.http.server_close()


@pytest.mark.parametrize(
    ("status", "body", "reads"),
    [
        (401, "You are not authenticated.", False),
        (401, '{"message": "Unauthorized"}', False),
        (403, "<html>Forbidden</html>", False),
        (403, '{"error_code": "PERMISSION_DENIED", "message": "Permission denied"}', True),
    ],
)
def test_a_refusal_is_no_outage_but_one_line_with_the_code_and_how_to_log_in(home, monkeypatch, status, body, reads):
    with Refusing(status, body, reads=reads) as server:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", server.url)
        with pytest.raises(TrackingError) as refusal:
            connect(home)
    said = str(refusal.value)
    assert f"answered {status}" in said
    assert "experiment exp" in said
    assert "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN" in said
    assert "hidden-pw" not in said
    assert "\n" not in said


def test_a_command_ends_before_it_trains_where_the_server_refuses(command, home, monkeypatch):
    with Refusing(401, "no") as server:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", server.url)
        code, out, err = command("run", "--dataset", "digits", "--experiment", "mine")
        links = command("ui", "--links")
    assert (code, out) == (2, "")
    assert "answered 401" in err
    assert "experiment mine" in err
    assert {folder.name for folder in home.store.root.iterdir()} <= {"locks"}
    assert (links[0], "answered 401" in links[2]) == (2, True)
    assert "hidden-pw" not in err + "".join(map(str, links))


def test_credentials_that_end_in_mid_run_cost_a_warning(stored_home):
    from pipeline.tracking import mlflow_module

    warned = []
    tracker = connect(stored_home, on_warning=warned.append)
    run = tracker.open_run(RunSpec("r", "k", {}))
    expired = mlflow_module().exceptions.MlflowException("token expired", error_code=mlflow_error("UNAUTHENTICATED"))

    class Expired:
        def __getattr__(self, name):
            def call(*arguments, **options):
                raise expired

            return call

    tracker._link.client = Expired()
    run.log_epoch(1, {"train/loss": 1.0})
    child = tracker.open_run(RunSpec("c", "c", {}, parent_id=run.id))
    assert (run.incomplete, child.id) == (True, "")
    assert len(warned) == 1
    assert "refuses with 401 (token expired); the run goes on" in warned[0]
    tracker._link._retry_at = 0
    with pytest.raises(TrackingError, match=r"does not let this user write runs \(401: token expired\)"):
        tracker.open_run(RunSpec("next", "next", {}))


def mlflow_error(name: str) -> int:
    from mlflow.protos.databricks_pb2 import ErrorCode

    return ErrorCode.Value(name)


# ----------------------------------------------------------------------------------------------------- artifacts


@pytest.mark.parametrize("location", ["s3://bucket/mlflow", "gs://bucket/x", "nonsense://x", "file:///proc/nowhere"])
def test_artifacts_out_of_reach_are_one_line_before_anything_is_trained(stored_home, location):
    connect(stored_home).client.create_experiment("away", artifact_location=location)
    with pytest.raises(TrackingError, match=f"experiment away keeps its artifacts in {location}") as away:
        connect(stored_home, "away")
    assert "cannot be written from here" in str(away.value)
    assert "\n" not in str(away.value)


def test_looking_whether_artifacts_can_be_written_leaves_nothing_behind(stored_home):
    connect(stored_home)
    connect(stored_home)
    assert list((stored_home.mlruns / "artifacts" / "exp").iterdir()) == []


# ---------------------------------------------------------------------------------------------------- experiments


def test_the_experiment_is_the_one_asked_for_or_the_environments(monkeypatch):
    monkeypatch.delenv("MLFLOW_EXPERIMENT_NAME", raising=False)
    assert experiment_name() == "cvae-pipe"
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "theirs")
    assert (experiment_name(), experiment_name("mine")) == ("theirs", "mine")
    with pytest.raises(ConfigError, match="--experiment is empty"):
        experiment_name(" ")


def test_an_experiment_may_be_called_like_a_path(stored_home):
    tracker = connect(stored_home, "/Users/me/../exp")
    run = tracker.open_run(RunSpec("r", "k", {}))
    run.log_text("x", "x.txt")
    [written] = stored_home.mlruns.rglob("x.txt")
    assert written.is_relative_to(stored_home.mlruns / "artifacts")


# ------------------------------------------------------------------------------------------------------- a new place


@pytest.mark.parametrize("move", [shutil.move, shutil.copytree])
def test_a_home_that_moved_finds_old_artifacts_and_writes_new_ones_where_it_is(stored_home, tmp_path, move):
    before = connect(stored_home).open_run(RunSpec("before", "k", {}))
    before.log_text("old", "note.txt")
    before.close("FINISHED")
    move(stored_home.root, tmp_path / "moved ä")
    there = Home(tmp_path / "moved ä", Path("data"))
    tracker = connect(there)
    old = tracker.client.get_run(before.id)
    assert Path(tracker.client.download_artifacts(before.id, "note.txt")).read_text() == "old"
    assert old.info.artifact_uri.startswith(there.mlruns.as_uri())
    tracker.client.log_text(before.id, "more", "more.txt")  # MLflow remembers folders by run id for the process
    assert len(list(there.mlruns.rglob("more.txt"))) == 1
    after = tracker.open_run(RunSpec("after", "k2", {}))
    after.log_text("new", "note.txt")
    assert len(list(there.mlruns.rglob("note.txt"))) == 2
    assert len(list(stored_home.root.rglob("note.txt"))) == (0 if move is shutil.move else 1)
    with sqlite3.connect(there.mlruns / "mlflow.db") as database:
        assert not database.execute(
            "SELECT * FROM runs WHERE artifact_uri LIKE ?", (f"%{stored_home.root}/%",)
        ).fetchall()


def test_another_homes_experiment_in_the_same_database_stays_where_it_is(stored_home, tmp_path, monkeypatch):
    other = Home(tmp_path / "other", Path("data"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{stored_home.mlruns / 'mlflow.db'}")
    run = connect(other, "theirs").open_run(RunSpec("r", "k", {}))
    run.log_text("x", "note.txt")
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    client = connect(stored_home).client
    assert client.get_run(run.id).info.artifact_uri.startswith(other.mlruns.as_uri())
    assert Path(client.download_artifacts(run.id, "note.txt")).read_text() == "x"
    again = connect(stored_home, "theirs").open_run(RunSpec("r2", "k2", {}))
    assert client.get_run(again.id).info.artifact_uri.startswith(other.mlruns.as_uri())


# -------------------------------------------------------------------------------------------------- other machines


def test_a_server_for_other_machines_knows_its_names_and_says_that_there_is_no_password(home, monkeypatch):
    monkeypatch.setattr("socket.gethostname", lambda: "box")
    monkeypatch.setattr("socket.getfqdn", lambda: "box.lab.example.org")
    assert {"box", "box.lab.example.org"} <= set(own_names("0.0.0.0"))
    assert "10.0.0.7" in own_names("10.0.0.7")
    environment = ui_environment(home, ("box",), 5055)
    assert (
        environment["MLFLOW_SERVER_ALLOWED_HOSTS"] == "localhost,localhost:5055,127.0.0.1,127.0.0.1:5055,box,box:5055"
    )
    assert environment["MLFLOW_SERVER_CORS_ALLOWED_ORIGINS"] == "http://box:5055,https://box:5055"
    assert "MLFLOW_SERVER_ALLOWED_HOSTS" not in {k: v for k, v in ui_environment(home).items() if k not in os.environ}
    said: list[str] = []
    monkeypatch.setattr(serving.subprocess, "Popen", lambda *a, **k: pytest.fail("not in this test"))
    home.mlruns.mkdir(parents=True)
    with pytest.raises(pytest.fail.Exception):
        serving.serve(
            home, {"all": "http://h"}, {}, host="0.0.0.0", names=("lab",), port=5077, say=said.append, show=said.append
        )
    assert said[0].startswith("warning: there is no password: whoever reaches port 5077")
    assert "lab" in said[0]


def test_a_password_is_on_no_command_line(home, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "postgresql://me:hidden-pw@localhost/mlflow")
    assert "hidden-pw" not in " ".join(ui_command(home))
    assert "hidden-pw" in ui_environment(home)["MLFLOW_BACKEND_STORE_URI"]


# ------------------------------------------------------------------------------------------------------- what fits


def test_a_long_text_is_cut_and_json_is_left_out():
    held = fitted({"note": "n" * 100, "state": "[" + "1," * 50 + "1]", "short": "s"}, 50)
    assert held["note"] == "n" * (50 - len(CUT)) + CUT
    assert "state" not in held
    assert held["short"] == "s"


class Small:
    """A client of a store that holds tags of 5,000 characters and parameters of 500."""

    def __init__(self, error) -> None:
        self.error, self.requests, self.held = error, 0, {}

    def log_batch(self, run_id, metrics, params, tags, synchronous):
        self.requests += 1
        if any(len(t.value) > 5000 for t in tags) or any(len(p.value) > 500 for p in params):
            raise self.error
        self.held |= {t.key: t.value for t in tags} | {p.key: p.value for p in params}


def test_what_a_store_holds_is_learned_once_and_said_once():
    from pipeline.tracking import mlflow_module

    refusal = mlflow_module().exceptions.MlflowException("too long", error_code=mlflow_error("INVALID_PARAMETER_VALUE"))
    client, warned = Small(refusal), []
    limits = Limits(warned.append)
    limits.log(client, "r", {"note": "n" * 7000}, {"p": "x" * 3000})
    assert {key: len(value) for key, value in client.held.items()} == {"note": 5000, "p": 500}
    client.requests = 0
    limits.log(client, "r", {"note": "n" * 7000}, {"p": "x" * 3000})
    assert client.requests == 1
    assert len(warned) == 1
    assert "tag note of 7000 characters is shortened" in warned[0]
    with pytest.raises(type(refusal)):  # what no shortening helps is not ours to hide
        limits.log(Always(refusal), "r", {"note": "n"})


class Always:
    def __init__(self, error) -> None:
        self.error = error

    def log_batch(self, *arguments, **options):
        raise self.error


def test_a_view_of_many_settings_and_objectives_is_saved_as_far_as_it_fits(stored_home):
    warned = []
    tracker = connect(stored_home, on_warning=warned.append)
    parent = tracker.open_run(RunSpec("s", "k", {}, description="d" * 30_000))
    metrics = tuple(f"val/objective_of_a_long_name_{i}" for i in range(7))
    params = tuple(f"section.setting_of_a_long_name_{i}" for i in range(6))
    view = RunsView("s", parent.id, "val", params, metrics, True, tuple((metrics[0], m) for m in metrics[1:]))
    tracker.save_view("key", view)
    held = tracker.client.get_experiment(tracker.experiment_id).tags["mlflow.sharedViewState.key"]
    assert 5000 < len(held) <= 20_000
    assert json.loads(json.loads(held)["state"])["compareRunCharts"]
    note = tracker.client.get_run(parent.id).data.tags["mlflow.note.content"]
    assert note.endswith(CUT)
    parent.close("KILLED", "because")
    note = tracker.client.get_run(parent.id).data.tags["mlflow.note.content"]
    assert note.endswith("ended KILLED: because")
    assert len(note) <= 8000
    assert len(warned) == 1
