"""What tests of several rooms use: small configurations, readers of what was recorded, a watched page."""

import hashlib
import math
import os
import re
import shutil
import signal
import socket
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from pipeline import tracking
from pipeline.store.home import Home
from sweeps.execution.jobs import EpochDone, Event, Job
from sweeps.execution.local import LocalExecutor, _do

if TYPE_CHECKING:
    from sweeps.analysis.summary import Summary

QUICK: dict[str, dict[str, Any]] = {
    "data": {"dataset": "digits"},
    "model": {"hidden": [64], "latent_dim": 4},
    "train": {"epochs": 3},
    "judge": {"epochs": 4, "mlp_epochs": 4, "batch_size": 64},
    "evaluate": {"draws": 2},
    "score": {"per_class": 100},
}
"""Settings under which every stage takes less than a second, and the judges still read 95 % of the digits."""


def quick_config(**settings: Any):
    """QUICK with some settings replaced: quick_config(train__beta=4.0)."""
    from pipeline.config.reading import build_config

    return build_config(QUICK, flags={name.replace("__", "."): value for name, value in settings.items()})


def quick_toml(folder: Path, **settings: Any) -> Path:
    """A configuration file of `quick_config`, for commands."""
    path = folder / "quick.toml"
    path.write_text(quick_config(**settings).to_toml())
    return path


def mlflow_client(home):
    """MLflow's own client of a home's store, to look at what was recorded."""
    from pipeline import tracking

    return tracking.mlflow_module().MlflowClient(tracking_uri=tracking.tracking_uri(home))


CHROMIUM_FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def watched_page(browser, html: Path, width: int, **options):
    """A page opened from file://, with what the browser had to say about it: `complaints` and `requests`."""
    page = browser.new_page(viewport={"width": width, "height": 800}, **options)
    page.complaints, page.requests = [], []
    page.on("console", lambda message: page.complaints.append(message.text))
    page.on("pageerror", lambda error: page.complaints.append(str(error)))
    page.on("dialog", lambda dialog: page.complaints.append(dialog.message) or dialog.dismiss())
    page.on("request", lambda request: page.requests.append(request.url))
    page.goto(html.as_uri())
    return page


def mnist_root() -> Path | None:
    root = os.environ.get("CVAE_PIPE_DATA_DIR")
    if root and (Path(root) / "MNIST" / "raw" / "train-images-idx3-ubyte").exists():
        return Path(root).resolve()
    return None


class Here:
    """An executor in this process, one job at a time."""

    def __init__(self, home, limit=math.inf):
        self.home, self.limit, self.submitted, self.happened = home, limit, [], []

    @property
    def free(self):
        return 0 if self.happened else 1

    def submit(self, job):
        if len(self.submitted) == self.limit:
            raise KeyboardInterrupt
        self.submitted.append(job.id)
        self.happened.append(_do(job, self.home, SimpleNamespace(send=self.happened.append)))

    def events(self, timeout):
        happened, self.happened = self.happened, []
        return happened

    def close(self):
        pass


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Server:
    """The server of `ui_command` on a home, which can be stopped and started again at the same address."""

    def __init__(self, home: Home) -> None:
        self.home = home
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        with open(self.home.root / "server.log", "ab") as log:
            self.process = subprocess.Popen(
                tracking.ui_command(self.home, port=self.port),
                env=tracking.ui_environment(self.home),
                cwd=self.home.root,
                start_new_session=True,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        until = time.monotonic() + 180  # ten times what it takes: other work may have the processor
        while time.monotonic() < until:
            try:
                urllib.request.urlopen(f"{self.url}/health", timeout=2).close()
                return
            except OSError:
                assert self.process.poll() is None, (self.home.root / "server.log").read_text()
                time.sleep(0.2)
        self.stop()  # else it would outlive the tests
        raise AssertionError("the server did not start within three minutes")

    def stop(self) -> None:
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def chosen_on_values(summary: "Summary") -> "Summary":
    """The summary with the choice that its trials' own values name; nothing is re-trained."""
    from sweeps.analysis.choice import choose

    if summary.pareto is None:
        return replace(summary, chosen=summary.front[0] if summary.front else None)
    choice = choose(summary.pareto, lambda trial: None, seeds=0)
    return replace(summary, chosen=choice.trial, choice=choice)


def copy_of(warm_root: Path, root: Path) -> Home:
    shutil.copytree(warm_root, root)
    return Home(root, root / "data")


def run_jobs(executor: LocalExecutor, jobs: Iterable[Job], on_event: Callable[[Event], None] = lambda e: None) -> dict:
    """Every job's last event, by its id, in the order of the jobs."""
    waiting, ended = list(jobs), {}
    asked = [job.id for job in waiting]
    deadline = time.monotonic() + 200
    while len(ended) < len(asked):
        assert time.monotonic() < deadline, "the executor is stuck"
        while waiting and executor.free:
            executor.submit(waiting.pop(0))
        for event in executor.events(timeout=0.5):
            on_event(event)
            if not isinstance(event, EpochDone):
                ended[event.job] = event
    return {job: ended[job] for job in asked}


def mlflow_contents(home: Home, experiment: str = "cvae-pipe") -> dict[str, Any]:
    """Everything that MLflow holds of a home's experiment, in words that do not change when it is recorded anew.

    Runs are called by their key, under their parent's; ids, times and what MLflow packs into a model are left out, and
    the processor of a run that is no trial, which no ledger has.
    """
    client = mlflow_client(home)
    found = client.get_experiment_by_name(experiment)
    runs = client.search_runs([found.experiment_id], max_results=1000)
    called = {run.info.run_id: run.data.tags["run_key"] for run in runs}

    def plain(text: str) -> str:
        for run_id, key in called.items():
            text = text.replace(run_id, f"<{key}>")
        return re.sub(r'"(createdAt|updatedAt)": \d+', "", text)

    def files(run_id: str, folder: str | None = None) -> dict[str, str]:
        held: dict[str, str] = {}
        for entry in client.list_artifacts(run_id, folder):
            if entry.path.endswith("registered_model_meta"):  # of a registered model that somebody has loaded
                continue
            if entry.is_dir:
                if not entry.path.endswith("__pycache__"):  # of whoever has loaded the model since
                    held |= files(run_id, entry.path)
                continue
            name = re.sub(r"timestamp\+\d+", "timestamp", entry.path)
            content = Path(client.download_artifacts(run_id, entry.path)).read_bytes()
            packed = name.startswith("model/") and not name.endswith(".safetensors")
            held[name] = "" if packed else hashlib.sha256(content).hexdigest()
        return held

    def whole(run: Any) -> dict[str, Any]:
        return {
            "name": run.info.run_name,
            "status": run.info.status,
            "params": run.data.params,
            "tags": {
                key: plain(value) for key, value in run.data.tags.items() if key != "cpu" or "trial" in run.data.tags
            },
            "metrics": {
                # of a study the numbers as they are: what they were when it was shorter is nowhere but in MLflow
                key: value
                if run.data.tags.get("kind") == "study"
                else sorted((m.step, m.value) for m in client.get_metric_history(run.info.run_id, key))
                for key, value in run.data.metrics.items()
            },
            "inputs": [
                (i.dataset.name, i.dataset.digest, i.dataset.profile, [(t.key, t.value) for t in i.tags])
                for i in run.inputs.dataset_inputs
            ],
            "files": files(run.info.run_id),
        }

    models = {}
    for model in client.search_registered_models():
        versions = client.search_model_versions(f"name = '{model.name}'")
        models[model.name] = (
            model.description,
            {alias: str(version) for alias, version in model.aliases.items()},
            [(str(v.version), plain(v.source), called[v.run_id], v.description, v.tags) for v in versions],
        )
    by_key = {
        (called.get(run.data.tags.get("mlflow.parentRunId", "")), called[run.info.run_id]): whole(run) for run in runs
    }
    assert len(by_key) == len(runs), "a run is there twice"
    tags = {plain(key): plain(value) for key, value in found.tags.items()}
    return {"runs": by_key, "experiment": tags, "models": models}


def assert_same_contents(found: dict[str, Any], expected: dict[str, Any]) -> None:
    """Two `mlflow_contents` are equal; else the first thing that differs is shown, not all of it."""
    assert found["runs"].keys() == expected["runs"].keys()
    for key, run in expected["runs"].items():
        for what, value in run.items():
            other = found["runs"][key][what]
            if isinstance(value, dict) and isinstance(other, dict):
                differ = {k: (other.get(k), value.get(k)) for k in {*value, *other} if other.get(k) != value.get(k)}
                assert not differ, (run["name"], what, differ)
            assert other == value, (run["name"], what)
    for what in ("experiment", "models"):
        assert found[what] == expected[what]
