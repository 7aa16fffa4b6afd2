"""A Ray cluster of two real nodes on loopback: the same jobs give the same outcomes as one worker process here,
whatever is killed on the way. The long forms are `soak`."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pytest
from helpers import copy_of, mlflow_client, quick_config, quick_toml, run_jobs

from pipeline.errors import StudyError
from pipeline.runs.execute import execute, set_up_process
from pipeline.runs.outcome import load_outcome
from pipeline.stages.context import Context
from pipeline.stages.graph import TRAIN, run_key
from pipeline.stages.train import CHECKPOINT
from pipeline.store.home import Home
from sweeps.execution import cluster as clusters
from sweeps.execution.cluster import Cluster
from sweeps.execution.jobs import EpochDone, Event, Job, JobDone, JobFailed, JobStopped
from sweeps.execution.local import LocalExecutor
from sweeps.stored import stored_summary
from sweeps.study.ledger import load_study, recorded_studies

pytestmark = pytest.mark.filterwarnings("default")  # Ray's own


def wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.2)
    return condition()


def facts(outcome) -> tuple:
    """What must be equal to the last bit; images per second are nobody's fact."""
    history = [{k: v for k, v in row.items() if k != "train/images_per_second"} for row in outcome.history]
    return outcome.metrics, history, outcome.per_class


# ---- without a cluster


def test_without_ray_one_line_says_how_to_install_it(monkeypatch):
    monkeypatch.setattr(clusters.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(StudyError, match=r"not installed here; install it with: pip install 'cvae-pipe\[ray\]'"):
        clusters.connect(Cluster())


def test_a_trial_takes_what_was_asked_for_and_shares_of_a_gpu_are_a_population():
    node = {"CPU": 10.0, "GPU": 2.0}
    assert Cluster().workers_of(node) == 10
    assert Cluster(cpus_per_trial=4).workers_of(node) == 2
    assert Cluster(cpus_per_trial=0.5).workers_of(node) == 20
    whole, quarter = Cluster(gpus_per_trial=1), Cluster(gpus_per_trial=0.25)
    assert (whole.workers_of(node), whole.at_once) == (2, 1)
    assert (quarter.workers_of(node), quarter.at_once) == (2, 4)
    assert quarter.resources == {"num_cpus": 1.0, "num_gpus": 1.0}
    assert Cluster(gpus_per_trial=1 / 3).at_once == 3
    assert Cluster(gpus_per_trial=2).workers_of({"CPU": 64.0}) == 0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"cpus_per_trial": 0}, "--cpus-per-trial is 0; it must be above 0"),
        ({"gpus_per_trial": 1.5}, "--gpus-per-trial is 1.5; it must be 0 to 1, or a whole number"),
        ({"address": "ray://head:10001"}, "not through Ray Client"),
    ],
)
def test_a_cluster_that_cannot_be_is_refused(options, said):
    with pytest.raises(StudyError, match=said):
        Cluster(**options)


@pytest.mark.parametrize("address", ["127.0.0.1:1", "nowhere"])
def test_an_address_where_nobody_listens_is_one_line_at_once(address):
    pytest.importorskip("ray", reason="ray is not installed; pip install 'cvae-pipe[ray]'")
    with pytest.raises(StudyError, match=f"there is no Ray cluster at {address}"):
        clusters.connect(Cluster(address))


# ---- on a cluster of this machine alone


@pytest.fixture
def near():
    """A directory of a short name: sockets lie in it, whose paths have at most 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="cp") as folder:
        yield folder


def test_a_worker_of_a_new_cluster_gives_what_this_process_gives(warm_root, tmp_path, near, monkeypatch):
    pytest.importorskip("ray", reason="ray is not installed; pip install 'cvae-pipe[ray]'")
    from sweeps.execution.ray import RayExecutor

    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(p for p in sys.path if p and "site-packages" not in p))
    monkeypatch.setenv("TMPDIR", near)
    monkeypatch.setattr(clusters, "OBJECT_STORE", 200 * 2**20)
    home, other = copy_of(warm_root, tmp_path / "home"), copy_of(warm_root, tmp_path / "other")
    handler = signal.getsignal(signal.SIGTERM)
    executor = RayExecutor(Context(quick_config(), home), Cluster("local"), 1)
    job = Job("one", quick_config(train__seed=3), "val", (1,), ("neg_elbo", "coverage_relative"))
    heard: list[Event] = []

    def on_event(event: Event) -> None:
        heard.append(event)
        _goes_on(executor, event)

    try:
        assert signal.getsignal(signal.SIGTERM) is handler
        ended = run_jobs(executor, [job], on_event)["one"]
    finally:
        executor.close()
    assert ended == JobDone("one", run_key(job.config, "val"))
    assert [event.epoch for event in heard[:-1]] == [1, 2, 3]
    set_up_process(1)
    assert facts(load_outcome(home, ended.key)) == facts(execute(Context(job.config, other), "val"))


# ---- on two nodes


class TwoNodes:
    """A Ray cluster on loopback whose nodes see no files of each other: each has its own directory for its workers."""

    def __init__(self, root: Path) -> None:
        from ray.cluster_utils import Cluster as LoopbackCluster

        self._root = root
        self.cluster = LoopbackCluster(initialize_head=True, head_node_args=self._node("head"))
        self.second = self.cluster.add_node(**self._node("second"))

    def _node(self, name: str) -> dict:
        place = self._root / name
        place.mkdir()
        return {
            "num_cpus": 1,
            "include_dashboard": False,
            "object_store_memory": 200 * 2**20,
            "node_ip_address": "127.0.0.1",
            "env_vars": {"TMPDIR": str(place)},
        }

    def add(self, name: str):
        return self.cluster.add_node(**self._node(name))

    def kill(self, node) -> None:
        """Every process of a node at once, as when its power fails."""
        self.cluster.remove_node(node, allow_graceful=False)


@pytest.fixture(scope="module")
def nodes(tmp_path_factory) -> Iterator[TwoNodes]:
    pytest.importorskip("ray", reason="ray is not installed; pip install 'cvae-pipe[ray]'")
    clusters.ray_module()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(p for p in sys.path if p and "site-packages" not in p))
        made = TwoNodes(tmp_path_factory.mktemp("nodes"))
        patch.setenv("RAY_ADDRESS", made.cluster.address)
        yield made
        made.cluster.shutdown()


@pytest.fixture
def executor_of(nodes):
    from sweeps.execution.ray import RayExecutor

    opened = []

    def make(home, config=None, *, limit=8, cluster=None):
        opened.append(RayExecutor(Context(config or quick_config(), home), cluster or Cluster(), limit))
        return opened[-1]

    yield make
    for executor in opened:
        executor.close()


JOBS = [
    Job("plain", quick_config(), "val"),
    Job("beta 4", quick_config(train__beta=4.0, train__seed=5), "val", (1,), ("neg_elbo", "coverage_relative")),
    Job("opened on test", quick_config(train__seed=7), "test"),
]


@pytest.mark.soak
def test_two_nodes_give_what_one_worker_here_gives_bit_for_bit(executor_of, nodes, warm_root, tmp_path):
    home, other = copy_of(warm_root, tmp_path / "home"), copy_of(warm_root, tmp_path / "other")
    executor = executor_of(home)
    assert executor.free == 2
    heard: dict[str, list[Event]] = {}

    def answered(by):
        def on_event(event: Event) -> None:
            heard.setdefault(by.__class__.__name__, []).append(event)
            if isinstance(event, EpochDone) and event.rung:
                by.answer(event.job, go_on=True)

        return on_event

    ended = run_jobs(executor, JOBS, answered(executor))
    assert ended == {job.id: JobDone(job.id, run_key(job.config, job.split)) for job in JOBS}
    assert all(event.cpu for event in ended.values())
    hosts = {worker.machine.node for worker in executor._workers}
    assert len(hosts) == 2
    local = LocalExecutor(other, 1)
    try:
        assert run_jobs(local, JOBS, answered(local)) == ended
    finally:
        local.close()
    for job in JOBS:
        ours, theirs = (load_outcome(h, ended[job.id].key) for h in (home, other))
        assert facts(ours) == facts(theirs)
        key = TRAIN.key(job.config)
        one, two = (h.store.path("train", key) / "model.safetensors" for h in (home, other))
        assert one.read_bytes() == two.read_bytes()
        assert ours.facts.get("opened") == theirs.facts.get("opened")

    def epochs(events, job):
        rows = [(e.epoch, e.metrics, e.rung) for e in events if isinstance(e, EpochDone) and e.job == job]
        return [(n, {k: v for k, v in m.items() if k != "train/images_per_second"}, r) for n, m, r in rows]

    for job in JOBS:
        assert epochs(heard["RayExecutor"], job.id) == epochs(heard["LocalExecutor"], job.id)
    shared = [nodes._root / name for name in ("head", "second")]
    assert all(len(list(place.glob("cvae-pipe-*/shared/prepare/*"))) == 1 for place in shared)
    assert not list(home.store.root.glob("partial/*"))


# ---- whatever is killed


LONG = {"train__epochs": 40, "runtime__grid_every": 10}
KILLED_AT = 25
"""Epoch of the kill. Checkpoints are sent at the rungs before it."""


def undisturbed(jobs: list[Job], root: Path, warm_root: Path):
    """The outcomes of one worker process here."""
    home = copy_of(warm_root, root)
    local = LocalExecutor(home, 1)
    try:
        ended = run_jobs(local, jobs, lambda e: _goes_on(local, e))
    finally:
        local.close()
    return [facts(load_outcome(home, event.key)) for event in ended.values()]


def _goes_on(executor, event: Event) -> None:
    if isinstance(event, EpochDone) and event.rung:
        executor.answer(event.job, go_on=True)


@pytest.mark.soak
@pytest.mark.parametrize("what", ["worker", "node"])
def test_a_job_whose_worker_or_node_is_killed_goes_on_from_its_checkpoint_elsewhere(
    executor_of, nodes, warm_root, tmp_path, what
):
    jobs = [
        Job(f"killed {s}", quick_config(train__seed=s, **LONG), "val", (5, 20), ("neg_elbo", "coverage_relative"))
        for s in (21, 22)
    ]
    home = copy_of(warm_root, tmp_path / "home")
    executor = executor_of(home)
    extra = nodes.add(f"extra {what}") if what == "node" else None
    killed: list[str] = []
    blamed: list[int] = []
    trained: dict[str, list[int]] = {}

    def kill_once(event: Event) -> None:
        _goes_on(executor, event)
        if isinstance(event, EpochDone):
            trained.setdefault(event.job, []).append(event.epoch)
            if event.job in killed:
                blamed.append(executor._restarts[event.job])
            if event.epoch == KILLED_AT and not killed:
                [worker] = [w for w in executor._workers if event.job in w.jobs]
                if what == "node":
                    victim = [n for n in (extra, nodes.second) if n.unique_id and _is_of(n, worker)]
                    if not victim:
                        return  # on the head: another job's turn
                    nodes.kill(victim[0])
                else:
                    os.kill(worker.machine.pid, signal.SIGKILL)
                killed.append(event.job)

    ended = run_jobs(executor, jobs, kill_once)
    assert killed
    assert all(isinstance(event, JobDone) for event in ended.values())
    # Told anew from the first epoch, as any resumed training is; but trained again only after the rung at 20.
    assert trained[killed[0]].count(KILLED_AT) == 2
    assert max(blamed) == (what == "worker")  # a node's death is not the job's fault
    assert [facts(load_outcome(home, e.key)) for e in ended.values()] == undisturbed(jobs, tmp_path / "one", warm_root)


def _is_of(node, worker) -> bool:
    return node.node_id == worker.machine.node


@pytest.mark.soak
def test_a_node_that_joins_is_used(executor_of, nodes, warm_root, tmp_path):
    """One job more than there was room for; at a rung all of them wait for each other, so that each has a worker."""
    home = copy_of(warm_root, tmp_path / "home")
    executor = executor_of(home)
    before = 2  # a core on each of two nodes; what Ray counts may have one still that a test before this has killed
    joined = nodes.add("joined")
    jobs = [Job(f"join {s}", quick_config(train__seed=s), "val", (1,), ("neg_elbo",)) for s in range(before + 1)]
    at_rung: dict[str, str] = {}  # job -> node

    def all_at_once(event: Event) -> None:
        if isinstance(event, EpochDone) and event.rung:
            [worker] = [w for w in executor._workers if event.job in w.jobs]
            at_rung[event.job] = worker.machine.node
            if len(at_rung) == len(jobs):
                for job in at_rung:
                    executor.answer(job, go_on=True)

    try:
        ended = run_jobs(executor, jobs, all_at_once)
        assert all(isinstance(event, JobDone) for event in ended.values())
        assert len(set(at_rung.values())) == before + 1
        assert joined.node_id in at_rung.values()
    finally:
        nodes.kill(joined)


@pytest.mark.soak
def test_a_job_that_keeps_killing_its_worker_fails_and_one_that_diverges_says_why(executor_of, warm_root, tmp_path):
    home = copy_of(warm_root, tmp_path / "home")
    executor = executor_of(home)
    endless = Job("dies", quick_config(train__epochs=10_000), "val")

    def kill(event: Event) -> None:
        if isinstance(event, EpochDone) and event.job == "dies":
            for worker in executor._workers:
                if "dies" in worker.jobs:
                    os.kill(worker.machine.pid, signal.SIGKILL)

    diverging = Job("diverges", quick_config(train__learning_rate=1e30), "val")
    ended = run_jobs(executor, [endless, diverging], kill)
    assert isinstance(ended["dies"], JobFailed)
    assert "died 3 times" in ended["dies"].reason
    assert isinstance(ended["diverges"], JobFailed)
    assert "at epoch 1 (learning_rate=1e+30" in ended["diverges"].reason


@pytest.mark.soak
def test_a_job_stops_at_a_rung_and_leaves_what_a_worker_here_would_leave(executor_of, warm_root, tmp_path):
    home = copy_of(warm_root, tmp_path / "home")
    executor = executor_of(home)
    job = Job("stopped", quick_config(train__epochs=6), "val", (2,), ("neg_elbo", "coverage_relative"))

    def stop(event: Event) -> None:
        if isinstance(event, EpochDone) and event.rung:
            executor.answer(event.job, go_on=False)

    ended = run_jobs(executor, [job], stop)["stopped"]
    assert isinstance(ended, JobStopped)
    assert ended.folder == home.store.partial("train", TRAIN.key(job.config))
    assert (ended.folder / CHECKPOINT).exists()
    assert (ended.folder / "grids" / "epoch-0001.png").exists()


@pytest.mark.soak
def test_trials_that_share_a_gpu_train_there_as_a_population(executor_of, nodes, warm_root, tmp_path):
    """Ray is told of a GPU; the arithmetic is the CPU's."""
    jobs = [
        Job(f"shared {s}", quick_config(train__seed=s, runtime__device="cpu"), "val", (1,), ("neg_elbo",))
        for s in range(3)
    ]
    node = nodes.cluster.add_node(**nodes._node("gpu") | {"num_gpus": 1})
    try:
        home = copy_of(warm_root, tmp_path / "home")
        executor = executor_of(home, cluster=Cluster(gpus_per_trial=0.25))
        assert executor.free == 4
        ended = run_jobs(executor, jobs, lambda e: _goes_on(executor, e))
        assert ended == {job.id: JobDone(job.id, run_key(job.config, job.split)) for job in jobs}
        assert len(executor._workers) == 1
    finally:
        nodes.kill(node)


# ---- whole commands


def _command(home: Home, nodes: TwoNodes, *arguments: str, **environment: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "pipeline", *arguments],
        env={**os.environ, "CVAE_PIPE_HOME": str(home.root), "RAY_ADDRESS": nodes.cluster.address, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def _after(driver: subprocess.Popen, condition: Callable[[], bool], stop: signal.Signals) -> str:
    """Wait for a condition, then stop the driver; what it said. One that ends before, or gets nowhere, says why."""
    reached = wait_until(lambda: driver.poll() is not None or condition(), 280)
    on_time = driver.poll() is None and reached
    if driver.poll() is None:
        os.killpg(driver.pid, stop if reached else signal.SIGKILL)
    said, _ = driver.communicate(timeout=60)
    assert on_time, said
    return said


def _values(home: Home, name: str):
    """What a study found, less what differs between any two times."""
    return stored_summary(home, name).frame.drop(columns=["seconds"])


@pytest.mark.soak
@pytest.mark.timeout(1500)
def test_a_sweep_whose_driver_is_killed_goes_on_on_other_nodes_to_the_values_of_one_worker(nodes, warm_root, tmp_path):
    home, other = copy_of(warm_root, tmp_path / "home"), copy_of(warm_root, tmp_path / "other")
    asked = [
        "--config",
        str(quick_toml(tmp_path, train__epochs=9)),
        "--name",
        "s",
        "--window",
        "4",
        "--final-seeds",
        "1",
    ]
    asked = ["sweep", *asked, "--judges", "1"]
    ray = ["--executor", "ray"]
    driver = _command(home, nodes, *asked, *ray, "--trials", "10")
    _after(driver, lambda: recorded_studies(home) == ["s"] and len(load_study(home, "s").trials) >= 3, signal.SIGKILL)
    begun = len(load_study(home, "s").trials)
    assert begun < 10

    interrupted = _command(home, nodes, *asked, *ray, "--trials", "10")
    said = _after(interrupted, lambda: len(load_study(home, "s").trials) > begun, signal.SIGINT)
    assert interrupted.returncode == 130, said

    finished = _command(home, nodes, *asked, *ray, "--trials", "10")
    said, _ = finished.communicate(timeout=500)
    assert finished.returncode == 0, said
    assert "Ray: 2 nodes" in said

    joined = nodes.add("for more")
    try:
        longer = _command(home, nodes, *asked, *ray, "--trials", "14")
        said, _ = longer.communicate(timeout=500)
        assert longer.returncode == 0, said
        assert "Ray: 3 nodes" in said
    finally:
        nodes.kill(joined)
    local = _command(other, nodes, *asked, "--workers", "1", "--trials", "14")
    said, _ = local.communicate(timeout=500)
    assert local.returncode == 0, said
    pd.testing.assert_frame_equal(_values(home, "s"), _values(other, "s"))
    runs = mlflow_client(home).search_runs(["1"], max_results=1000)
    keys = [run.data.tags["run_key"] for run in runs]
    assert len(keys) == len(set(keys))
    trials = [run for run in runs if "trial" in run.data.tags]
    assert len(trials) == 14
    assert all(run.data.tags["cpu"] for run in trials)
    assert {run.info.status for run in trials} <= {"FINISHED", "KILLED"}
