"""Worker processes: the same jobs give the same outcomes whoever runs them, and whatever is killed on the way."""

import hashlib
import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from filelock import FileLock
from helpers import copy_of, quick_config, run_jobs

from pipeline.errors import StudyError
from pipeline.runs.execute import execute, set_up_process
from pipeline.runs.outcome import load_outcome
from pipeline.stages.context import Context
from pipeline.stages.graph import TRAIN, run_key
from pipeline.stages.train import CHECKPOINT
from sweeps.execution import worker as workers
from sweeps.execution.jobs import EpochDone, Event, Job, JobDone, JobFailed, JobStopped
from sweeps.execution.local import MAX_RESTARTS, LocalExecutor
from sweeps.execution.worker import Worker, end_all, start_worker


def facts(outcome) -> tuple:
    """What must be equal to the last bit; images per second are nobody's fact."""
    history = [{k: v for k, v in row.items() if k != "train/images_per_second"} for row in outcome.history]
    return outcome.metrics, history, outcome.per_class


def alive(pid: int) -> bool:
    """Whether a process exists and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.05)
    return condition()


JOBS = [
    Job("plain", quick_config(), "val"),
    Job("beta 4", quick_config(train__beta=4.0, train__seed=5), "val"),
    Job("opened on test", quick_config(), "test"),
    Job("vae", quick_config(model__kind="vae"), "val"),
]


@pytest.fixture(scope="module")
def two(warm_root, tmp_path_factory):
    """An executor with two workers, and its home."""
    home = copy_of(warm_root, tmp_path_factory.mktemp("two") / "home")
    executor = LocalExecutor(home, 2)
    yield executor, home
    executor.close()


@pytest.fixture(scope="module")
def one(warm_root, tmp_path_factory):
    """An executor with one worker, and its home."""
    home = copy_of(warm_root, tmp_path_factory.mktemp("one") / "home")
    executor = LocalExecutor(home, 1)
    yield executor, home
    executor.close()


def test_one_worker_two_workers_and_this_process_give_bit_equal_outcomes(one, two, warm_root, tmp_path):
    by_one = run_jobs(one[0], JOBS)
    by_two = run_jobs(two[0], JOBS)
    assert by_one == by_two == {job.id: JobDone(job.id, run_key(job.config, job.split)) for job in JOBS}
    for event in by_one.values():
        assert facts(load_outcome(one[1], event.key)) == facts(load_outcome(two[1], event.key))
    set_up_process(1)
    here = execute(Context(JOBS[1].config, copy_of(warm_root, tmp_path / "here")), "val")
    assert facts(load_outcome(two[1], by_two["beta 4"].key)) == facts(here)


def test_every_epoch_is_heard_once_and_in_order_and_a_finished_job_is_replayed_from_the_store(two):
    config = quick_config(train__seed=11)
    for _ in range(2):
        heard = []
        [ended] = run_jobs(two[0], [Job("heard", config, "val")], heard.append).values()
        assert isinstance(ended, JobDone)
        epochs = heard[:-1]
        assert [e.epoch for e in epochs] == [1, 2, 3]
        assert [e.metrics for e in epochs] == [
            {k: v for k, v in row.items() if k != "epoch"} for row in load_outcome(two[1], ended.key).history
        ]
        assert all(e.rung == {} for e in epochs)


def test_a_killed_workers_job_goes_on_from_its_last_epoch_and_ends_with_the_same_numbers(one, warm_root, tmp_path):
    executor, home = one
    config = quick_config(train__epochs=40, train__seed=21)
    heard: list[int] = []
    killed: list[int] = []

    def kill_at_the_fifth(event: Event) -> None:
        if isinstance(event, EpochDone):
            heard.append(event.epoch)
            if len(heard) == 5:
                killed.extend(executor.pids)
                os.kill(executor.pids[0], signal.SIGKILL)

    ended = run_jobs(executor, [Job("killed", config, "val")], kill_at_the_fifth)["killed"]
    assert len(killed) == 1
    assert not alive(killed[0])
    assert executor.pids != killed
    assert isinstance(ended, JobDone)
    again = heard.index(1, 5)  # where the replacement begins to replay what the first worker had done
    assert 5 <= max(heard[:again]) < 40, "the worker was killed after its last epoch: nothing was tested"
    assert heard[again:] == list(range(1, 41))
    set_up_process(1)
    undisturbed = execute(Context(config, copy_of(warm_root, tmp_path / "undisturbed")), "val")
    assert facts(load_outcome(home, ended.key)) == facts(undisturbed)


def test_a_job_that_always_kills_its_worker_fails_and_the_next_one_is_done_deaf_to_ctrl_c(warm_root, tmp_path):
    executor = LocalExecutor(copy_of(warm_root, tmp_path / "home"), 1)
    try:
        killed = []
        executor.submit(Job("deadly", quick_config(), "val"))
        happened: list[Event] = []
        while not happened:
            killed += executor.pids
            os.kill(executor.pids[0], signal.SIGKILL)
            happened = executor.events(timeout=60)
        reason = f"its worker process died {MAX_RESTARTS + 1} times (exit code -9)"
        assert happened == [JobFailed("deadly", reason, again=True)]
        assert len(killed) == MAX_RESTARTS + 1
        assert executor.free == 1
        # The next one is done, Ctrl-C or not: a terminal sends it to the whole group, worker included.
        executor.submit(Job("harmless", quick_config(), "val"))
        for _ in range(20):
            os.kill(executor.pids[0], signal.SIGINT)
            time.sleep(0.01)
        before = executor.pids
        while not any(isinstance(event, JobDone) for event in executor.events(timeout=60)):
            pass
        assert executor.pids == before
    finally:
        executor.close()
    assert not any(alive(pid) for pid in executor.pids)


def test_no_worker_is_started_before_there_is_a_job(home):
    executor = LocalExecutor(home, 2)
    assert (executor.free, executor.pids, executor.events(timeout=0)) == (2, [], [])
    executor.close()


def test_a_worker_that_dies_without_a_job_is_replaced(two):
    executor, _ = two
    run_jobs(executor, [Job(f"start {seed}", quick_config(train__seed=seed), "val") for seed in (32, 33)])
    before = executor.pids
    os.kill(before[0], signal.SIGKILL)
    assert executor.events(timeout=60) == []
    assert executor.free == 2
    assert len(set(executor.pids) - set(before)) == 1
    assert isinstance(run_jobs(executor, [Job("after", quick_config(train__seed=31), "val")])["after"], JobDone)


def test_a_diverged_job_says_why_and_leaves_its_worker_at_work(two):
    jobs = [
        Job("diverges", quick_config(train__learning_rate=1e4), "val"),
        Job("fits", quick_config(train__seed=41), "val"),
        Job("too large", quick_config(train__batch_size=5000), "val"),
    ]
    pids = set(two[0].pids)
    ended = run_jobs(two[0], jobs)
    assert isinstance(ended["diverges"], JobFailed)
    assert "at epoch" in ended["diverges"].reason
    assert "learning_rate=10000" in ended["diverges"].reason
    assert ended["diverges"].details == ""  # a fact of the configuration, not a bug with a traceback
    assert "train.batch_size is 5000, but digits has" in ended["too large"].reason
    assert isinstance(ended["fits"], JobDone)
    assert pids <= set(two[0].pids)  # more, where so far one was enough


def test_a_bug_of_ours_fails_the_job_with_its_traceback(two, warm_root):
    executor, home = two
    broken = quick_config(train__seed=51)
    folder = home.store.partial("train", TRAIN.key(broken))
    folder.mkdir(parents=True)
    nothing = io.BytesIO()
    torch.save({}, nothing)
    (folder / CHECKPOINT).write_bytes(hashlib.sha256(nothing.getvalue()).digest() + nothing.getvalue())
    ended = run_jobs(executor, [Job("broken", broken, "val")])["broken"]
    assert isinstance(ended, JobFailed)
    assert "Traceback (most recent call last)" in ended.details
    assert "\n" not in ended.reason


OBJECTIVES = ("neg_elbo", "conditional_accuracy", "coverage_relative")


def test_a_job_waits_for_the_answer_at_its_rungs_alone_and_stops_at_no(two):
    executor, home = two
    config = quick_config(train__epochs=8, train__seed=61)
    heard: list[EpochDone] = []

    def answer(event: Event) -> None:
        if isinstance(event, EpochDone):
            heard.append(event)
            if event.rung:
                executor.answer(event.job, go_on=event.epoch < 5)

    ended = run_jobs(executor, [Job("stopped", config, "val", (2, 5), OBJECTIVES)], answer)["stopped"]
    assert isinstance(ended, JobStopped)
    assert ended.folder == home.store.partial("train", TRAIN.key(config))
    assert [e.epoch for e in heard] == [1, 2, 3, 4, 5]
    assert [e.epoch for e in heard if e.rung] == [2, 5]
    assert all(tuple(e.rung) == OBJECTIVES for e in heard if e.rung)
    assert all(e.rung["neg_elbo"] == e.metrics["val/neg_elbo"] for e in heard if e.rung)
    assert not home.store.has("run", run_key(config, "val"))


def test_a_rung_that_is_passed_moves_no_bit_of_the_outcome(one, two):
    config = quick_config(train__epochs=6, train__seed=62)
    executor, home = two

    def go_on(event: Event) -> None:
        if isinstance(event, EpochDone) and event.rung:
            executor.answer(event.job, go_on=True)

    [scored] = run_jobs(executor, [Job("scored", config, "val", (1, 3), OBJECTIVES)], go_on).values()
    [plain] = run_jobs(one[0], [Job("plain", config, "val")]).values()
    assert facts(load_outcome(home, scored.key)) == facts(load_outcome(one[1], plain.key))


def test_a_worker_killed_at_a_rung_announces_the_same_values_again(one):
    executor, _ = one
    config = quick_config(train__epochs=40, train__seed=63, runtime__grid_every=20)
    heard: list[EpochDone] = []
    killed = []

    def kill_first(event: Event) -> None:
        if not isinstance(event, EpochDone) or not event.rung:
            return
        heard.append(event)
        if event.epoch == 30 and not killed:
            killed.extend(executor.pids)
            os.kill(killed[0], signal.SIGKILL)
        else:
            executor.answer(event.job, go_on=True)

    [ended] = run_jobs(executor, [Job("killed", config, "val", (10, 30), OBJECTIVES)], kill_first).values()
    assert isinstance(ended, JobDone)
    assert killed
    assert [e.epoch for e in heard] == [10, 30, 10, 30]
    assert heard[:2] == heard[2:]


def test_workers_do_not_outlive_a_driver_that_is_killed(warm_root, tmp_path):
    """Whether they are still importing or in the middle of a long epoch, when they have nothing to say to it."""
    home = copy_of(warm_root, tmp_path / "home")
    program = (
        "import sys, time\nfrom pathlib import Path\nfrom pipeline.config.reading import build_config, read_toml\n"
        "from pipeline.store.home import Home\n"
        "from sweeps.execution.jobs import Job\nfrom sweeps.execution.local import LocalExecutor\n"
        "if __name__ == '__main__':\n"
        "    root = Path(sys.argv[1])\n"
        "    executor = LocalExecutor(Home(root, root / 'data'), 2)\n"
        "    config = build_config(read_toml(root / 'long.toml'))\n"
        "    for seed in (1, 2):\n"
        "        executor.submit(Job(f'long {seed}', config.with_settings({'train.seed': seed}), 'val'))\n"
        "    print(*executor.pids, flush=True)\n"
        "    time.sleep(600)\n"
    )
    long = quick_config(train__batch_size=1, model__hidden=[3000, 3000])  # minutes an epoch
    (home.root / "long.toml").write_text(long.to_toml())
    (tmp_path / "driver.py").write_text(program)
    for at_work in (False, True):
        command = [sys.executable, str(tmp_path / "driver.py"), str(home.root)]
        driver = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        pids = [int(pid) for pid in driver.stdout.readline().split()]
        assert len(pids) == 2
        if at_work:
            assert wait_until(lambda: len(list((home.store.root / "partial").glob("train-*"))) == 2, seconds=200)
        assert all(alive(pid) for pid in pids)
        driver.kill()
        driver.wait()
        driver.stdout.close()
        assert wait_until(lambda pids=pids: not any(alive(pid) for pid in pids), seconds=60 if not at_work else 15)


def test_the_drivers_own_threads_and_environment_are_left_alone(two):
    assert {name: os.environ.get(name) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")} == BEFORE


BEFORE = {name: os.environ.get(name) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}


def test_a_worker_that_hangs_is_named_and_replaced_and_its_job_ends_with_the_same_numbers(
    one, warm_root, tmp_path, monkeypatch, caplog
):
    monkeypatch.setattr(workers, "STILL_SECONDS", 8 * workers.BEAT_SECONDS)
    executor, home = one
    config = quick_config(train__epochs=40, train__seed=22)
    stopped: list[int] = []

    def stop_at_the_fifth(event: Event) -> None:
        if isinstance(event, EpochDone) and event.epoch == 5 and not stopped:
            stopped.extend(executor.pids)
            os.kill(stopped[0], signal.SIGSTOP)  # as a debugger or a stuck file system would

    ended = run_jobs(executor, [Job("stuck", config, "val")], stop_at_the_fifth)["stuck"]
    assert f"stuck: its worker process {stopped[0]} has not moved for 8 s; it is replaced" in caplog.text
    assert not alive(stopped[0])
    assert isinstance(ended, JobDone)
    set_up_process(1)
    undisturbed = execute(Context(config, copy_of(warm_root, tmp_path / "undisturbed")), "val")
    assert facts(load_outcome(home, ended.key)) == facts(undisturbed)


def test_a_worker_that_waits_for_a_lock_moves_and_one_that_waits_for_a_file_system_does_not(tmp_path, monkeypatch):
    """Neither says anything; the first asks again and again, the second is in the hands of the system."""
    pipe = tmp_path / "nobody-writes"
    os.mkfifo(pipe)
    with FileLock(tmp_path / "held.lock"):
        waiting = [start_worker(_wait_for_lock, tmp_path / "held.lock"), start_worker(_read, pipe)]
        try:
            assert wait_until(lambda: [w.listen() for w in waiting] and all(w._used for w in waiting), seconds=60)
            monkeypatch.setattr(workers, "STILL_SECONDS", 6 * workers.BEAT_SECONDS)
            for worker in waiting:
                worker.still = 0.0
            assert wait_until(lambda: [w.listen() for w in waiting] and any(w.hung for w in waiting), seconds=60)
            assert [w.hung for w in waiting] == [False, True]
        finally:
            end_all(waiting)


def _wait_for_lock(line, path):
    FileLock(path).acquire()


def _read(line, path):
    path.read_bytes()


def test_a_driver_that_was_stopped_itself_takes_no_worker_for_hung(monkeypatch):
    clock = SimpleNamespace(monotonic=lambda: now)
    now = 0.0
    monkeypatch.setattr(workers, "time", clock)
    silent = Worker(SimpleNamespace(), SimpleNamespace(poll=lambda: False))
    now = 3600.0  # Ctrl-Z, and fg an hour later
    silent.listen()
    assert not silent.hung
    for _ in range(int(workers.STILL_SECONDS)):
        now += 1.0
        silent.listen()
    assert silent.hung


def test_a_worker_that_not_even_the_system_ends_is_one_line_and_not_waited_for():
    class Stuck:
        pid = 7

        def kill(self):
            """Nothing comes of it."""

        def join(self, seconds):
            """It does not end."""

        def is_alive(self):
            return True

    stuck, connection = Stuck(), SimpleNamespace(close=lambda: None)
    with pytest.raises(StudyError, match="process 7 cannot be ended") as error:
        Worker(stuck, connection).end()
    assert "\n" not in str(error.value)
    end_all([Worker(stuck, connection)])
