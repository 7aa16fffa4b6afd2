"""A population of jobs gives each job what it gets alone: same keys, same numbers to 1e-4, same events and files."""

import hashlib
import io
import os
import shutil
import signal
from pathlib import Path

import pytest
import torch
from helpers import copy_of, quick_config, run_jobs

from pipeline.errors import DivergedError, StudyError
from pipeline.runs.outcome import load_outcome
from pipeline.stages import populations as population_stage
from pipeline.stages.context import Context
from pipeline.stages.graph import TRAIN, run_key
from pipeline.stages.populations import StoppedError, train_population
from pipeline.stages.train import CHECKPOINT, train
from sweeps.execution.jobs import EpochDone, Event, Job, JobDone, JobFailed, JobStopped
from sweeps.execution.kinds import executor_kind
from sweeps.execution.local import LocalExecutor
from sweeps.execution.placement import place, trained_alone
from sweeps.execution.population import PopulationExecutor
from sweeps.study.space import build_space

EPOCHS = 4
JOBS = [
    Job(
        f"z {latent}",
        quick_config(model__latent_dim=latent, train__beta=beta, train__seed=latent, train__epochs=EPOCHS),
        "val",
    )
    for latent, beta in ((2, 4.0), (5, 1.0), (9, 0.3))
]
OTHERS = [
    Job("another architecture", quick_config(model__hidden="32", train__epochs=EPOCHS), "val"),
    Job("a vae", quick_config(model__kind="vae", train__epochs=EPOCHS), "val"),
    Job("opened on test", quick_config(train__epochs=EPOCHS, train__seed=8), "test"),
]


@pytest.fixture(scope="module")
def stacked(warm_root, tmp_path_factory):
    """A population executor, and its home."""
    home = copy_of(warm_root, tmp_path_factory.mktemp("stacked") / "home")
    executor = PopulationExecutor(home, 8)
    yield executor, home
    executor.close()


def test_a_population_of_jobs_gives_the_outcomes_that_worker_processes_give(stacked, warm_root, tmp_path):
    jobs = JOBS + OTHERS
    heard: list[EpochDone] = []
    ended = run_jobs(stacked[0], jobs, lambda e: heard.append(e) if isinstance(e, EpochDone) else None)
    assert ended == {job.id: JobDone(job.id, run_key(job.config, job.split)) for job in jobs}
    home = copy_of(warm_root, tmp_path / "home")
    local = LocalExecutor(home, 1)
    try:
        assert run_jobs(local, jobs) == ended
    finally:
        local.close()
    for job in jobs:
        own, reference = (load_outcome(h, ended[job.id].key) for h in (stacked[1], home))
        assert [e.epoch for e in heard if e.job == job.id] == [1, 2, 3, 4]
        assert own.metrics.keys() == reference.metrics.keys()
        for key, value in reference.metrics.items():
            tolerance = 5e-3 if "coverage" in key or "accuracy" in key else 1e-3  # one image in two hundred
            assert own.metrics[key] == pytest.approx(value, rel=tolerance, abs=tolerance), key
        for row, expected in zip(own.history, reference.history, strict=True):
            for key in expected.keys() - {"train/images_per_second"}:
                assert row[key] == pytest.approx(expected[key], rel=1e-4), key
        folder, expected_folder = (h.store.path("train", TRAIN.key(job.config)) for h in (stacked[1], home))
        assert sorted(p.name for p in folder.rglob("*")) == sorted(p.name for p in expected_folder.rglob("*"))


def test_jobs_wait_for_their_batch_and_a_batch_takes_no_more(stacked):
    executor = PopulationExecutor(stacked[1], 2)
    try:
        assert executor.free == 2
        executor.submit(JOBS[0])
        assert executor.free == 1
        executor.events(timeout=0)
        assert executor.free == 0
        while not any(isinstance(e, JobDone) for e in executor.events(timeout=1)):
            pass
        assert executor.free == 2
    finally:
        executor.close()


def test_a_killed_workers_jobs_go_on_and_end_with_the_same_numbers(stacked, warm_root, tmp_path):
    executor, home = stacked
    jobs = [
        Job(f"killed {s}", quick_config(train__seed=s, train__epochs=60, runtime__grid_every=20), "val")
        for s in (21, 22)
    ]
    killed: list[int] = []

    def kill_once(event: Event) -> None:
        if isinstance(event, EpochDone) and event.epoch == 20 and not killed:
            killed.extend(executor.pids)
            os.kill(killed[0], signal.SIGKILL)

    ended = run_jobs(executor, jobs, kill_once)
    assert killed
    assert executor.pids != killed
    other = PopulationExecutor(copy_of(warm_root, tmp_path / "home"), 8)
    try:
        assert run_jobs(other, jobs) == ended
    finally:
        other.close()
    for job in jobs:
        key = ended[job.id].key
        assert load_outcome(home, key).metrics == load_outcome(other._home, key).metrics


def test_diverged_jobs_say_why_and_leave_the_others_at_work(stacked):
    jobs = [
        Job("diverges", quick_config(train__learning_rate=1e30, train__seed=31), "val"),
        Job("fits", quick_config(train__seed=32), "val"),
    ]
    ended = run_jobs(stacked[0], jobs)
    assert isinstance(ended["fits"], JobDone)
    failed = ended["diverges"]
    assert isinstance(failed, JobFailed)
    assert "at epoch 1 (learning_rate=1e+30" in failed.reason
    assert failed.details == ""


def test_equal_trainings_in_one_batch_are_one_training(stacked):
    config = quick_config(train__seed=41)
    jobs = [Job("on val", config, "val"), Job("on test", config, "test")]
    ended = run_jobs(stacked[0], jobs)
    assert ended == {job.id: JobDone(job.id, run_key(config, job.split)) for job in jobs}


def test_a_finished_job_is_replayed_from_the_store(stacked):
    job = Job("again", quick_config(train__seed=51), "val")
    for _ in range(2):
        heard: list[Event] = []
        assert isinstance(run_jobs(stacked[0], [job], heard.append)["again"], JobDone)
        assert [e.epoch for e in heard if isinstance(e, EpochDone)] == [1, 2, 3]


def test_a_job_stops_at_the_rung_where_it_is_told_and_the_others_go_on(stacked):
    executor, home = stacked
    objectives = ("neg_elbo", "coverage_relative")
    jobs = [
        Job(name, quick_config(train__epochs=6, train__seed=61 + i), "val", rungs, objectives)
        for i, (name, rungs) in enumerate([("stopped", (1, 3)), ("kept", (1, 3)), ("free", ())])
    ]
    scored: list[EpochDone] = []

    def answer(event: Event) -> None:
        if isinstance(event, EpochDone) and event.rung:
            scored.append(event)
            executor.answer(event.job, go_on=event.epoch < 3 or event.job != "stopped")

    ended = run_jobs(executor, jobs, answer)
    assert isinstance(ended["stopped"], JobStopped)
    assert ended["stopped"].folder == home.store.partial("train", TRAIN.key(jobs[0].config))
    assert isinstance(ended["kept"], JobDone)
    assert isinstance(ended["free"], JobDone)
    assert sorted((e.job, e.epoch) for e in scored) == [("kept", 1), ("kept", 3), ("stopped", 1), ("stopped", 3)]
    assert all(tuple(e.rung) == objectives for e in scored)


def test_a_training_that_is_in_the_store_is_stopped_at_the_rung_where_it_would_have_been(stacked):
    """By the values that it had there, which its finished model does not have: it is trained again up to the rung."""
    executor, home = stacked
    config, objectives = quick_config(train__epochs=6, train__seed=66), ("conditional_accuracy", "coverage_relative")
    assert isinstance(run_jobs(executor, [Job("finished", config, "val")])["finished"], JobDone)
    scored: list[EpochDone] = []

    def stop(event: Event) -> None:
        if isinstance(event, EpochDone) and event.rung:
            scored.append(event)
            executor.answer(event.job, go_on=event.epoch < 3)

    ended = run_jobs(executor, [Job("again", config, "val", (2, 3, 4), objectives)], stop)["again"]
    assert isinstance(ended, JobStopped)
    assert ended.folder == home.store.path("train", TRAIN.key(config))
    assert [e.epoch for e in scored] == [2, 3]


def test_a_bug_of_ours_fails_every_job_of_its_batch_with_the_traceback(stacked):
    executor, home = stacked
    broken = quick_config(train__seed=71)
    folder = home.store.partial("train", TRAIN.key(broken))
    folder.mkdir(parents=True)
    nothing = io.BytesIO()
    torch.save({}, nothing)
    (folder / CHECKPOINT).write_bytes(hashlib.sha256(nothing.getvalue()).digest() + nothing.getvalue())
    ended = run_jobs(executor, [Job("broken", broken, "val")])["broken"]
    assert isinstance(ended, JobFailed)
    assert "Traceback (most recent call last)" in ended.details
    shutil.rmtree(folder)
    assert isinstance(run_jobs(executor, [Job("mended", broken, "val")])["mended"], JobDone)


def test_a_worker_that_keeps_dying_fails_its_jobs(warm_root, tmp_path):
    executor = PopulationExecutor(copy_of(warm_root, tmp_path / "home"), 2)
    try:
        executor.submit(Job("dies", quick_config(train__epochs=10_000), "val"))
        executor.events(timeout=0)
        ended: list[Event] = []
        for _ in range(3):
            os.kill(executor.pids[0], signal.SIGKILL)
            ended += executor.events(timeout=30)
        [failed] = ended
        assert isinstance(failed, JobFailed)
        assert "died 3 times (exit code -9)" in failed.reason
        assert executor.free == 2
    finally:
        executor.close()


# ---- the stage, in this process


def contexts(home) -> list[Context]:
    return [Context(job.config, home) for job in JOBS]


def test_checkpoints_are_kept_and_a_resumed_population_ends_in_the_same_bits(
    warm_home, warm_root, tmp_path, monkeypatch
):
    monkeypatch.setattr(population_stage, "CHECKPOINT_SECONDS", 0.0)
    ctxs = contexts(warm_home)

    class Interrupted(Exception):
        pass

    def stop_after_two(ends):
        if ends[0].record.epoch == 2:
            raise Interrupted
        return set()

    with pytest.raises(Interrupted):
        train_population(ctxs, stop_after_two, at_once=8)
    for ctx in ctxs:
        assert (warm_home.store.partial("train", TRAIN.key(ctx.config)) / CHECKPOINT).exists()
    heard = []
    train_population(ctxs, lambda ends: heard.append([e.record.epoch for e in ends]) or set(), at_once=8)
    assert heard == [[1] * 3, [2] * 3, [3] * 3, [4] * 3]
    undisturbed = copy_of(warm_root, tmp_path / "other")
    train_population(contexts(undisturbed), lambda ends: set(), at_once=8)
    for ctx in ctxs:
        key = TRAIN.key(ctx.config)
        one, other = (h.store.path("train", key) / "model.safetensors" for h in (warm_home, undisturbed))
        assert one.read_bytes() == other.read_bytes()


def test_the_size_of_the_populations_moves_no_number_beyond_rounding(warm_home, warm_root, tmp_path):
    other = copy_of(warm_root, tmp_path / "other")
    train_population(contexts(warm_home), lambda ends: set(), at_once=1)
    train_population(contexts(other), lambda ends: set(), at_once=3)
    for ctx in contexts(warm_home):
        ours, theirs = train(ctx).history, train(Context(ctx.config, other)).history
        for a, b in zip(ours, theirs, strict=True):
            assert a.metrics["val/neg_elbo"] == pytest.approx(b.metrics["val/neg_elbo"], rel=1e-4)


def test_out_of_memory_halves_the_population_and_everything_is_trained(warm_home, monkeypatch):
    import torch

    sizes = []

    class Small(population_stage.Population):
        def __init__(self, trainings, configs, data):
            sizes.append(len(trainings))
            if len(trainings) > 1:
                raise torch.OutOfMemoryError("too many")
            super().__init__(trainings, configs, data)

    monkeypatch.setattr(population_stage, "Population", Small)
    assert train_population(contexts(warm_home), lambda ends: set(), at_once=8) == {}
    assert sizes == [3, 1, 1, 1]
    for ctx in contexts(warm_home):
        assert warm_home.store.has("train", TRAIN.key(ctx.config))


def test_who_has_no_result_has_a_reason(warm_home):
    diverging = Context(quick_config(train__learning_rate=1e30), warm_home)
    failed = train_population([*contexts(warm_home), diverging], lambda ends: {0}, at_once=8)
    assert isinstance(failed[0], StoppedError)
    assert isinstance(failed[3], DivergedError)
    assert sorted(failed) == [0, 3]


def test_what_no_population_stacks_is_trained_alone_to_the_same_bits_and_stopped_where_it_is_told(
    warm_home, warm_root, tmp_path
):
    small = {"model__latent_dim": 3, "train__epochs": 2}
    configs = [
        quick_config(**small),
        quick_config(model__arch="conv", model__conv_channels="4", **small),
        quick_config(model__likelihood="gaussian", **small),
        quick_config(model__learned_prior=True, train__learning_rate=1e30, **small),
        quick_config(model__learned_prior=True, **small),
    ]
    said: list[str] = []
    ctxs = [Context(config, warm_home, said.append) for config in configs]
    heard = []

    def stop_the_gaussian(ends):
        heard.extend((end.member, end.record.epoch) for end in ends)
        return {2} & {end.member for end in ends}

    failed = train_population(ctxs, stop_the_gaussian, at_once=8)
    assert heard == [(0, 1), (0, 2), (1, 1), (1, 2), (2, 1), (4, 1), (4, 2)]
    assert isinstance(failed.pop(2), StoppedError)
    assert isinstance(failed.pop(3), DivergedError)
    assert not failed
    alone = [line for line in said if "not for a population" in line]
    assert [line.partition("(")[2].partition(")")[0] for line in alone] == [
        "arch conv",
        "likelihood gaussian",
        "learned_prior",
        "learned_prior",
    ]
    other = copy_of(warm_root, tmp_path / "other")
    train(Context(configs[1], other))
    one, same = (h.store.path("train", TRAIN.key(configs[1])) / "model.safetensors" for h in (warm_home, other))
    assert one.read_bytes() == same.read_bytes()


# ---- which executor


def test_auto_is_local_without_a_gpu_and_an_unknown_name_lists_what_there_is(warm_home):
    ctx = Context(quick_config(runtime__device="cpu"), warm_home)
    assert executor_kind(ctx.config, "auto") == "local"
    assert executor_kind(ctx.config, "population") == "population"
    with pytest.raises(StudyError, match="auto, local, population, ray"):
        executor_kind(ctx.config, "rey")


def test_it_is_said_what_a_population_trains_alone():
    plain, conv = quick_config(), quick_config(model__arch="conv")
    assert trained_alone("population", plain, build_space()) == ""
    assert trained_alone("local", conv) == ""
    for said in (
        trained_alone("population", conv),
        trained_alone("population", plain, build_space(entries=["arch=mlp|conv"])),
    ):
        assert "with arch conv a trial is trained alone" in said


def test_a_placement_makes_what_it_says(home: Path):
    assert isinstance(place("local", workers=2, at_once=8).make(home), LocalExecutor)
    stack = place("population", workers=2, at_once=8)
    assert stack.workers == 1
    assert stack.make(home).free == 8
