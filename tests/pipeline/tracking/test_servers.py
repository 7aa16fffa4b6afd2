"""Older MLflow servers, each real and in an environment of its own: what they hold is there, what not is one warning.

`make servers` installs them (network), into .mlflow-servers/ or wherever CVAE_PIPE_MLFLOW_SERVERS says.
"""

import math
import os
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from helpers import free_port

from pipeline.tracking import DatasetInfo, MlflowTracker, RunSpec, RunsView, ServedModel, view_key
from pipeline.tracking.limits import CUT

pytestmark = [pytest.mark.soak, pytest.mark.network, pytest.mark.timeout(600)]

FOLDER = Path(os.environ.get("CVAE_PIPE_MLFLOW_SERVERS") or Path(__file__).parents[3] / ".mlflow-servers")
VERSIONS = {"2.0.1": (5000, 500), "2.22.5": (5000, 6000), "3.5.1": (8000, 6000)}
"""Characters that a server holds of a tag and of a parameter; 2.0.1 is the oldest that installs on Python 3.11."""
BEFORE_DATASETS = ("2.0.1",)
IMAGE = np.arange(64, dtype=np.uint8).reshape(8, 8)
DATASET = DatasetInfo("digits", "ab" * 8, "training", "scikit-learn", (1200, 8, 8), 10)


@pytest.fixture(scope="module", params=VERSIONS)
def server(request, tmp_path_factory) -> Iterator[tuple[str, str]]:
    """(version, address) of a running server."""
    version = request.param
    python = FOLDER / version / "bin" / "python"
    if not python.exists():
        pytest.skip(f"no MLflow {version} in {FOLDER}; `make servers` installs it")
    root, port = tmp_path_factory.mktemp("server"), free_port()
    command = [str(python), "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{root}/mlflow.db", "--artifacts-destination", f"file://{root}/art"]
    if version == "2.0.1":
        command.append("--serve-artifacts")
    with open(root / "log", "wb") as log:
        process = subprocess.Popen(
            command,
            env={**os.environ, "PATH": f"{python.parent}:{os.environ['PATH']}"},
            cwd=root,
            start_new_session=True,
            stdout=log,
            stderr=log,
        )
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(600):
            try:
                urllib.request.urlopen(f"{address}/health", timeout=5).close()
                break
            except OSError:
                assert process.poll() is None, (root / "log").read_text()
                time.sleep(0.2)
        yield version, address
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.fixture
def tracked(server, home, monkeypatch):
    """(version, tracker, its warnings)."""
    version, address = server
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    warned: list[str] = []
    return version, MlflowTracker.connect(home, "exp", on_warning=warned.append), warned


def curve(tracker: MlflowTracker, run_id: str, key: str) -> list[tuple[int, float]]:
    return [(m.step, m.value) for m in tracker.client.get_metric_history(run_id, key)]


def test_a_run_arrives_whole_is_found_again_and_adds_nothing_when_repeated(tracked, home):
    version, tracker, warned = tracked
    parent = tracker.open_run(RunSpec("study", "s1", {"beta": 4.0}, {"kind": "study"}, dataset=DATASET))
    for _ in range(2):
        run = tracker.open_run(RunSpec("trial", "t1", {"beta": 1.0}, parent_id=parent.id))
        for step in (1, 2, 3):
            run.log_epoch(step, {"train/loss": 1 / step})
        run.log_metrics({"test/accuracy": 0.5, "test/bce": math.nan})
        run.log_image("final/generated", IMAGE, 0)
        run.log_table("per_class.json", {"label": [0, 1], "accuracy": [0.9, math.nan]})
        run.log_text("x", "notes/a.txt")
        assert not run.incomplete
    run.close("FINISHED")
    assert tracker.open_run(RunSpec("trial", "t1", {}, parent_id=parent.id)).finished
    alone = tracker.open_run(RunSpec("trial", "t1", {}))  # the same settings, run on their own
    assert alone.id != run.id
    client, stored = tracker.client, tracker.client.get_run(run.id)
    assert stored.info.status == "FINISHED"
    assert curve(tracker, run.id, "train/loss") == [(1, 1.0), (2, 1 / 2), (3, 1 / 3)]
    assert curve(tracker, run.id, "test/accuracy") == [(0, 0.5)]
    assert {f.path for f in client.list_artifacts(run.id)} == {"images", "notes", "per_class.json"}
    assert len(client.list_artifacts(run.id, "images")) == 2
    assert Path(client.download_artifacts(run.id, "notes/a.txt")).read_text() == "x"
    tracker.tag_children(parent.id, ("front",), {"t1": {"front": "true"}})
    assert client.get_run(run.id).data.tags["front"] == "true"
    assert set(tracker.mark_interrupted(keys=["s1", "t1"])) == {parent.id, alone.id}
    assert client.get_run(parent.id).data.tags["reason"] == "interrupted"
    assert [("data sets" in text) for text in warned] == ([True] if version in BEFORE_DATASETS else [])


def test_what_the_server_cannot_hold_is_shortened_with_one_warning(tracked):
    version, tracker, warned = tracked
    tag, param = VERSIONS[version]
    long = {"short": "s", "long": "x" * 5900}
    run = tracker.open_run(RunSpec("long", "long", long, description="d" * 30_000))
    run.set_description("e" * 7_000)
    tags, params = (tracker.client.get_run(run.id).data.tags, tracker.client.get_run(run.id).data.params)
    assert len(tags["mlflow.note.content"]) == min(7000, tag)
    assert tags["mlflow.note.content"].endswith(CUT if tag < 7000 else "e")
    assert (params["short"], len(params["long"])) == ("s", min(5900, param))
    metrics = tuple(f"val/objective_of_a_long_name_{i}" for i in range(7))
    settings = tuple(f"section.setting_of_a_long_name_{i}" for i in range(6))
    pairs = tuple((metrics[0], m) for m in metrics[1:])
    tracker.save_view(view_key(run.id), RunsView("s", run.id, "val", settings, metrics, True, pairs))
    assert "mlflow.sharedViewState." + view_key(run.id) in tracker.client.get_experiment(tracker.experiment_id).tags
    run.close("KILLED", "because")
    assert tracker.client.get_run(run.id).data.tags["mlflow.note.content"].endswith("ended KILLED: because")
    assert len(warned) == 1
    assert "cannot hold everything" in warned[0]


def test_a_champion_is_registered_or_one_warning_says_what_is_not(tracked, tmp_path):
    from safetensors.numpy import save_file

    version, tracker, warned = tracked
    save_file({"w": np.zeros(3, np.float32)}, tmp_path / "model.safetensors")
    model = ServedModel(tmp_path / "model.safetensors", {"kind": "cvae", "pixels": 64, "classes": 10}, 8, 8)
    run = tracker.open_run(RunSpec("final", "f1", {}))
    for _ in range(2):
        run.register_model("study", model, tags={"study": "s"}, description="trial 3")
    assert not run.incomplete
    versions = tracker.client.search_model_versions("name = 'study'")
    assert [v.run_id for v in versions] == [run.id]
    aliases = tracker.client.get_registered_model("study").aliases
    if version == "2.0.1":  # aliases came with 2.3
        assert len(warned) == 1
    else:
        assert (aliases, warned) == ({"champion": str(versions[0].version)}, [])


def test_a_whole_command_runs_against_it(server, command, warm_home, tmp_path, monkeypatch):
    from helpers import quick_toml

    _, address = server
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    arguments = ("--config", quick_toml(tmp_path), "--name", "s", "--experiment", "sweeps", "--final-seeds", "1")
    code, _, err = command("sweep", *arguments, "--trials", "2", "--workers", "1", "--judges", "1")
    assert code == 0, err
    assert "Traceback" not in err
    code, out, err = command("sync", "--experiment", "sweeps", "--json")
    assert code == 0, err
    assert '"recorded": []' in out
