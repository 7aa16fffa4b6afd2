"""A tracker that several machines share: MLflow on a real PostgreSQL, artifacts served, its password never shown."""

import os
import shutil
import signal
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from helpers import Server, free_port

from pipeline.errors import TrackingError
from pipeline.store.home import Home
from pipeline.tracking import MlflowTracker, RunSpec, prepare_store

pytestmark = [pytest.mark.soak, pytest.mark.timeout(600)]

PASSWORD = "s3cr@t/pw"
QUOTED = "s3cr%40t%2Fpw"


def as_postgres(*command: str) -> list[str]:
    """The command as a user who is not root: PostgreSQL refuses to run as one."""
    return ["runuser", "-u", "postgres", "--", *command] if os.getuid() == 0 else [*command]


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    """The address of an empty database, its password in it."""
    pytest.importorskip("psycopg", reason="psycopg is not installed; pip install '.[dev]'")
    if not all(map(shutil.which, ("initdb", "pg_ctl"))):
        pytest.skip("no PostgreSQL on the PATH; Debian's package is postgresql")
    root = Path(tempfile.mkdtemp(prefix="cvae-pipe-pg-"))  # pytest keeps its own folders to the user who runs it
    port, folder = free_port(), root / "data"
    (root / "pw").write_text(PASSWORD)
    if os.getuid() == 0:
        shutil.chown(root, "postgres")
    quiet = {"check": True, "capture_output": True, "cwd": root}
    login = ("--auth=scram-sha-256", "--username=me", f"--pwfile={root / 'pw'}")
    subprocess.run(as_postgres(shutil.which("initdb"), "-D", str(folder), "--no-sync", *login), **quiet)
    options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={root} -c fsync=off"
    control = as_postgres(shutil.which("pg_ctl"), "-D", str(folder))
    start = [*control, "-l", str(root / "log"), "-w", "-o", options, "start"]
    subprocess.run(start, check=True, stdout=subprocess.DEVNULL, cwd=root)
    try:
        import psycopg

        with psycopg.connect(
            host="127.0.0.1", port=port, user="me", password=PASSWORD, dbname="postgres", autocommit=True
        ) as connection:
            connection.execute("CREATE DATABASE mlflow")
        yield f"postgresql+psycopg://me:{QUOTED}@127.0.0.1:{port}/mlflow"
    finally:
        subprocess.run([*control, "-m", "immediate", "stop"], **quiet)
        shutil.rmtree(root)


@pytest.fixture(scope="module")
def served(database, tmp_path_factory) -> Iterator[Server]:
    """A running server on that database."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", database)
        home = Home(tmp_path_factory.mktemp("shared"), Path("data"))
        home.mlruns.mkdir()
        prepare_store(home)
        server = Server(home)
        server.start()
    yield server
    server.stop()


def homes(tmp_path: Path) -> list[Home]:
    return [Home(tmp_path / name, Path("data")) for name in ("one", "two")]


def test_two_homes_share_a_tracker(served, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", served.url)
    ids = []
    for home in homes(tmp_path):
        tracker = MlflowTracker.connect(home, "shared", on_warning=pytest.fail)
        run = tracker.open_run(RunSpec(home.root.name, home.root.name, {"beta": 1.0}, description="d" * 7000))
        for step in (1, 2):
            run.log_epoch(step, {"train/loss": 1 / step, "train/kl": float("nan")})
        run.log_image("final/generated", np.zeros((8, 8), np.uint8), 0)
        run.log_text("hello", "note.txt")
        run.close("FINISHED")
        assert not run.incomplete
        ids.append(run.id)
    for home in homes(tmp_path):
        tracker = MlflowTracker.connect(home, "shared", on_warning=pytest.fail)
        found = {run.info.run_id: run for run in tracker.client.search_runs([tracker.experiment_id])}
        assert set(found) == set(ids)
        assert {run.info.status for run in found.values()} == {"FINISHED"}
        for run_id in ids:
            assert Path(tracker.client.download_artifacts(run_id, "note.txt")).read_text() == "hello"
    assert list((served.home.mlruns / "artifacts").rglob("note.txt")), "the server keeps them"


def test_a_command_is_recorded_over_the_server_and_synced_to_the_database_behind_it(
    served, database, command, warm_home, tmp_path, monkeypatch
):
    from helpers import quick_toml

    monkeypatch.setenv("MLFLOW_TRACKING_URI", served.url)
    code, _, err = command("run", "--config", quick_toml(tmp_path), "--experiment", "runs")
    assert code == 0, err
    monkeypatch.setenv("MLFLOW_TRACKING_URI", database)
    code, _, err = command("sync", "--experiment", "direct")
    assert code == 0, err
    assert "1 runs recorded, 0 were there" in err
    assert PASSWORD not in err
    assert QUOTED not in err


def holding_secrets(*folders: Path) -> list[Path]:
    """The files below these folders that have a password in them."""
    secrets = [secret.encode() for secret in (PASSWORD, QUOTED)]
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    return [path for path in files if any(secret in path.read_bytes() for secret in secrets)]


def test_a_sweep_is_recorded_on_the_server_once_and_leaves_no_credentials_behind(
    served, command, warm_home, tmp_path, monkeypatch
):
    """Address, user and password by environment, as for any MLflow client; this server lets everybody in."""
    from helpers import quick_toml

    monkeypatch.setenv("MLFLOW_TRACKING_URI", served.url)
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "me")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", PASSWORD)
    few = ("--trials", "3", "--workers", "1", "--pruner", "none", "--final-seeds", "1", "--judges", "1")
    arguments = ("sweep", "--config", quick_toml(tmp_path, train__epochs=1), *few, "--experiment", "sweeps")
    said = [command(*arguments, "--name", "shared") for _ in range(2)]
    for code, out, err in said:
        assert code == 0, err
        assert PASSWORD not in out + err
        assert QUOTED not in out + err
    tracker = MlflowTracker.connect(warm_home, "sweeps", on_warning=pytest.fail)
    runs = tracker.client.search_runs([tracker.experiment_id])
    (study,) = (run for run in runs if run.data.tags["kind"] == "study")
    children = [run for run in runs if run.data.tags.get("mlflow.parentRunId") == study.info.run_id]
    assert len(children) == len(runs) - 1
    assert sorted(run.data.tags["trial"] for run in children if "trial" in run.data.tags) == ["0", "1", "2"]
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert "report.html" in {file.path for file in tracker.client.list_artifacts(study.info.run_id)}
    assert all(tracker.client.list_artifacts(run.info.run_id, "images") for run in children)
    assert not list((warm_home.mlruns / "artifacts").rglob("*.png")), "the server keeps them"
    assert not holding_secrets(warm_home.root, served.home.root)


def test_the_password_is_on_no_command_line_and_in_no_log(served):
    lines = [
        path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        for path in Path("/proc").glob("[0-9]*/cmdline")
        if path.exists()
    ]
    assert any("mlflow" in line and str(served.port) in line for line in lines)
    for text in (*lines, (served.home.root / "server.log").read_text()):
        assert PASSWORD not in text
        assert QUOTED not in text


def test_a_wrong_password_is_one_line_without_it(database, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", database.replace(QUOTED, "wr0ng%40pw"))
    with pytest.raises(TrackingError, match="password authentication failed") as refusal:
        MlflowTracker.connect(homes(tmp_path)[0], "shared", on_warning=pytest.fail)
    assert "wr0ng" not in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_the_interface_on_the_database_keeps_the_password_to_itself(database, tmp_path, monkeypatch):
    import sys

    home, port = homes(tmp_path)[0], free_port()
    environment = {**os.environ, "MLFLOW_TRACKING_URI": database, "CVAE_PIPE_HOME": str(home.root)}
    process = subprocess.Popen(
        [sys.executable, "-m", "pipeline", "ui", "--port", str(port)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        for _ in range(300):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2).close()
                break
            except OSError:
                assert process.poll() is None, process.stdout.read()
                time.sleep(0.3)
        seen = [p.read_bytes().decode(errors="replace") for p in Path("/proc").glob("[0-9]*/cmdline") if p.exists()]
    finally:
        process.send_signal(signal.SIGINT)
        said, _ = process.communicate(timeout=60)
    for text in (*seen, said, (home.mlruns / "ui.log").read_text()):
        assert PASSWORD not in text
        assert QUOTED not in text
