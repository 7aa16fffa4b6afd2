"""The sweep journey: the same trials whoever runs them and whatever is killed, true statuses, test opened once.

Most sweeps here run in this process (`Here`); those whose fact is a process are started through the real command.
"""

import contextlib
import csv
import html
import json
import math
import os
import queue
import random
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import sqlalchemy
from helpers import mlflow_client, quick_config, quick_toml
from optuna.trial import TrialState
from safetensors.torch import load_file, save_file

from pipeline import tracking
from pipeline.config.reading import build_config, read_toml
from pipeline.errors import StudyError
from pipeline.reporting.citation import cited_interval
from pipeline.stages.context import Context
from pipeline.stages.graph import run_key
from pipeline.stages.prepare import _loaded_data
from pipeline.store.files import read_json, sha256, write_json
from pipeline.store.home import Home
from pipeline.tracking import MlflowTracker
from sweeps.analysis.summary import SweepResult
from sweeps.driver import _Sweep, sweep
from sweeps.execution.jobs import EpochDone, Event, Job, JobDone, JobFailed, JobStopped
from sweeps.execution.local import LocalExecutor, _do
from sweeps.execution.population import PopulationExecutor
from sweeps.progress import SweepView
from sweeps.rebuilding import rebuild_report
from sweeps.study.closing import Closing
from sweeps.study.config import StudyConfig
from sweeps.study.ledger import Ledger, load_study
from sweeps.study.objective import chosen
from sweeps.study.space import DEFAULT_SPACE, build_space
from sweeps.tracked import TrackedJobs

pytestmark = pytest.mark.timeout(600)  # a fixture that starts the command three times counts with its first test
EPOCHS = 4


def study(**changes) -> StudyConfig:
    base = quick_config(train__epochs=EPOCHS)
    config = StudyConfig("s", base, DEFAULT_SPACE, chosen((), "cvae", base.sampling.prior))
    return replace(config, **changes)


class Here:
    """An executor in this process: one job at a time, in a thread, so that it can wait for an answer at a rung."""

    def __init__(self, home: Home) -> None:
        self.home = home
        self.submitted: list[Job] = []
        self._events: queue.Queue[Event] = queue.Queue()
        self._answers: queue.Queue[bool] = queue.Queue()
        self._busy = False

    @property
    def free(self) -> int:
        return 0 if self._busy else 1

    def submit(self, job: Job) -> None:
        self._busy = True
        self.submitted.append(job)
        connection = SimpleNamespace(send=self._events.put, recv=self._answers.get)
        thread = threading.Thread(target=lambda: self._events.put(_do(job, self.home, connection)), daemon=True)
        thread.start()

    def events(self, timeout: float) -> list[Event]:
        try:
            event = self._events.get(timeout=timeout)
        except queue.Empty:
            return []
        self._busy = isinstance(event, EpochDone)
        return [event]

    def answer(self, job: str, go_on: bool) -> None:
        self._answers.put(go_on)

    def close(self) -> None:
        pass


def run_sweep(
    home: Home,
    config: StudyConfig,
    trials: int,
    *,
    final_seeds: int = 0,
    closing: Closing | None = None,
    executor=None,
    on_update: Callable[[SweepView], None] = lambda view: None,
    warn: Callable[[str], None] = lambda text: None,
    timeout: float | None = None,
    workers: int = 1,
    retry_failed: bool = False,
) -> SweepResult:
    return sweep(
        Context(config.base, home),
        config,
        trials=trials,
        closing=closing or Closing(final_seeds),
        connect=lambda: MlflowTracker.connect(home, "cvae-pipe", on_warning=warn),
        make_executor=lambda home: executor or Here(home),
        workers=workers,
        timeout=timeout,
        retry_failed=retry_failed,
        on_update=on_update,
    )


def copy_of(root: Path, target: Path) -> Home:
    shutil.copytree(root, target, ignore=shutil.ignore_patterns("ready"))
    return Home(target, target / "data")


def ledger_of(home: Home, name: str = "s") -> list[tuple]:
    """Every trial of a study: params, values, state, exactly."""
    return [(t.params, t.values, t.state.name) for t in load_study(home, name).trials]


class Recorded:
    """What MLflow holds of the one study in a home."""

    def __init__(self, home: Home) -> None:
        self.client = mlflow_client(home)
        experiment = self.client.get_experiment_by_name("cvae-pipe")
        runs = self.client.search_runs([experiment.experiment_id])
        [self.parent] = [r for r in runs if r.data.tags["kind"] == "study"]
        children = [r for r in runs if r.data.tags.get("mlflow.parentRunId") == self.parent.info.run_id]
        assert len(children) == len(runs) - 1
        self.trials = sorted((r for r in children if "trial" in r.data.tags), key=lambda r: int(r.data.tags["trial"]))
        self.finals = [r for r in children if "final" in r.data.tags]
        self.retrained = [r for r in children if "retrained" in r.data.tags]
        assert len(self.trials) + len(self.retrained) + len(self.finals) == len(children)

    def statuses(self) -> list[str]:
        return [r.info.status for r in self.trials]

    def steps(self, run, key: str) -> list[int]:
        return [m.step for m in self.client.get_metric_history(run.info.run_id, key)]

    def artifacts(self, run, folder: str | None = None) -> set[str]:
        return {f.path for f in self.client.list_artifacts(run.info.run_id, folder)}


def assert_each_trial_is_recorded_once(home: Home, trials: int, epochs: int = EPOCHS) -> None:
    """Exactly one finished run per trial, and each epoch's step once in each of its curves."""
    recorded = Recorded(home)
    assert [r.data.tags["trial"] for r in recorded.trials] == [str(n) for n in range(trials)]
    assert recorded.statuses() == ["FINISHED"] * trials
    for run in recorded.trials:
        assert "reason" not in run.data.tags
        for key in ("train/loss", "val/neg_elbo"):
            expected = [
                *range(1, epochs + 1),
                *([epochs] if key == "val/neg_elbo" else []),
            ]  # the final number ends its curve
            assert sorted(recorded.steps(run, key)) == sorted(expected)
        images = recorded.artifacts(run, "images")
        assert len([p for p in images if "final~generated+" in p and p.endswith(".png")]) == 1


# ------------------------------------------------------------------------------------------- an undisturbed sweep


@dataclass
class Done:
    home: Home
    result: SweepResult


@pytest.fixture(scope="module")
def no_tracking_uri():
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        yield


@pytest.fixture(scope="module")
def undisturbed(warm_root, tmp_path_factory, no_tracking_uri):
    """Four trials by one worker process, and two finals."""
    home = copy_of(warm_root, tmp_path_factory.mktemp("undisturbed") / "home")
    return Done(home, run_sweep(home, study(), 4, final_seeds=2, executor=LocalExecutor(home, 1)))


@pytest.fixture
def quiet_report(monkeypatch):
    """No figures, where the report is not what is tested."""

    def write(home, summary, folder):
        for name in ("report.html", "report.md", "trials.csv"):
            (folder / name).touch()
        return folder / "report.html"

    monkeypatch.setattr("sweeps.driver.write_sweep_report", write)


def test_every_trial_is_finished_and_recorded_once(undisturbed):
    states = [state for _, _, state in ledger_of(undisturbed.home)]
    assert states == ["COMPLETE"] * 4
    assert_each_trial_is_recorded_once(undisturbed.home, 4)


@pytest.mark.soak
def test_two_workers_give_identical_trials(undisturbed, warm_root, tmp_path, quiet_report):
    home = copy_of(warm_root, tmp_path / "home")
    run_sweep(home, study(), 4, executor=LocalExecutor(home, 2), workers=2)
    assert ledger_of(home) == ledger_of(undisturbed.home)
    assert_each_trial_is_recorded_once(home, 4)


def test_a_population_gives_the_same_trials_to_rounding(undisturbed, warm_root, tmp_path, quiet_report):
    home = copy_of(warm_root, tmp_path / "home")
    run_sweep(home, study(), 4, executor=PopulationExecutor(home, 4))
    assert_each_trial_is_recorded_once(home, 4)
    for own, reference in zip(ledger_of(home), ledger_of(undisturbed.home), strict=True):
        assert own[0] == reference[0]
        assert own[1] == pytest.approx(reference[1], rel=5e-3)  # one image in a hundred


def test_only_the_finals_are_opened_on_test(undisturbed):
    recorded = Recorded(undisturbed.home)
    for run in recorded.trials:
        assert run.data.tags["split"] == "val"
        assert not [key for key in run.data.metrics if key.startswith("test/")]
        assert "val/conditional_accuracy" in run.data.metrics
    assert sorted(r.info.run_name for r in recorded.finals) == ["final seed 0", "final seed 1"]
    for run in recorded.finals:
        assert run.info.status == "FINISHED"
        assert run.data.tags["split"] == "test"
        assert {"test/conditional_accuracy", "test/neg_elbo", "test/coverage_relative"} <= set(run.data.metrics)
    chosen_params = undisturbed.result.document()["chosen"]["params"]
    for run in recorded.finals:
        assert float(run.data.params["train.beta"]) == chosen_params["beta"]
        assert int(run.data.params["model.latent_dim"]) == chosen_params["latent_dim"]
    assert sorted(run.data.params["train.seed"] for run in recorded.finals) == ["0", "1"]


def test_candidates_are_retrained_on_validation_and_the_choice_is_made_among_them(warm_home, quiet_report):
    longer = study(base=quick_config(train__epochs=20), pruner="none")  # after three epochs one trial is best in all
    summary = run_sweep(warm_home, longer, 8, final_seeds=2).summary
    recorded = Recorded(warm_home)
    assert len(summary.front) > 1
    assert summary.choice.candidates
    assert summary.choice.settled
    assert summary.chosen in summary.choice.candidates
    again = [(n, seed) for n in summary.choice.candidates for seed in (0, 1)]
    assert sorted(r.info.run_name for r in recorded.retrained) == sorted(
        f"trial {n:02d} again, seed {seed}" for n, seed in again
    )
    for run in recorded.retrained:
        assert (run.info.status, run.data.tags["split"]) == ("FINISHED", "val")
        assert not [key for key in run.data.metrics if key.startswith("test/")]
    means = {
        n: [np.mean([o.metrics[k.key] for o in own]) for k in summary.config.objectives]
        for n, own in summary.retrained.items()
    }
    scores = summary.pareto.scores(np.array([means[n] for n in summary.choice.candidates]))
    assert summary.chosen == summary.choice.candidates[scores.argmin()]
    document = summary.document()["chosen"]
    assert [c["trial"] for c in document["candidates"]] == list(summary.choice.candidates)
    assert document["noise"] == summary.choice.noise


def test_what_a_study_has_lost_is_trained_anew_and_the_choice_is_the_same(undisturbed, tmp_path, caplog, quiet_report):
    home = copy_of(undisturbed.home.root, tmp_path / "home")
    report = home.reports / "s" / "report.html"
    before = report.read_bytes()
    shutil.rmtree(home.root / ".cache" / "store" / "run")
    with pytest.raises(StudyError, match=r"no whole result for 4 of its trials, e\.g\. trial 0; its report stays"):
        rebuild_report(home, "s")
    assert report.read_bytes() == before
    lost = load_study(home, "s").trials[1].user_attrs["run_key"]
    healed = run_sweep(home, study(), 4, final_seeds=2)
    assert "4 trials have no whole result in the store any more" in caplog.text
    assert home.store.has("run", lost)
    assert healed.document() == undisturbed.result.document() | {
        "report": healed.document()["report"],
        "best": healed.document()["best"],
        "run_id": healed.document()["run_id"],
    }
    assert ledger_of(home) == ledger_of(undisturbed.home)
    assert_each_trial_is_recorded_once(home, 4)


def test_a_fault_of_the_machine_is_no_result_and_once_mended_the_sweep_is_an_undisturbed_one(
    undisturbed, warm_home, quiet_report
):
    in_the_way = warm_home.store.root / "train"
    in_the_way.touch()  # where a directory is to be
    with pytest.raises(StudyError, match="that is no result, and nothing is lost") as error:
        run_sweep(warm_home, study(), 4, final_seeds=2)
    assert "\n" not in str(error.value)
    assert {state for _, _, state in ledger_of(warm_home)} == {"RUNNING"}
    assert Recorded(warm_home).parent.info.status == "FAILED"
    in_the_way.unlink()
    mended = run_sweep(warm_home, study(), 4, final_seeds=2)
    assert ledger_of(warm_home) == ledger_of(undisturbed.home)
    assert mended.document()["chosen"] == undisturbed.result.document()["chosen"]
    assert_each_trial_is_recorded_once(warm_home, 4)
    assert Recorded(warm_home).parent.info.status == "FINISHED"


def test_a_ledger_that_cannot_be_written_is_one_line(warm_home, quiet_report, monkeypatch):
    def full(*arguments, **settings):
        raise sqlalchemy.exc.OperationalError("INSERT", {}, sqlite3.OperationalError("database or disk is full"))

    monkeypatch.setattr("sweeps.study.ledger.Ledger.tell", full)
    with pytest.raises(StudyError, match=r"optuna\.db cannot be written \(database or disk is full\)") as error:
        run_sweep(warm_home, study(), 2)
    assert "\n" not in str(error.value)


def test_the_choice_is_read_by_judges_of_other_seeds_that_train_beside_the_search(warm_home, quiet_report):
    closing = Closing(3, judges=2)
    summary = run_sweep(warm_home, study(), 2, closing=closing).summary
    assert [o.config.panel.judges for o in summary.finals] == [2, 2, 2]
    for final in summary.finals:
        for name in ("conditional_accuracy", "coverage_relative_expost"):
            own, other = (final.metrics[f"test/{n}"] for n in (name, f"{name}_judge2"))
            assert own != other
            assert own == pytest.approx(other, abs=0.4)
    assert not [key for o in summary.outcomes.values() for key in o.metrics if "_judge2" in key]
    low, high = cited_interval(summary.finals, "test/coverage_relative_expost").strip("[]").split(", ")
    assert float(low) <= np.mean([o.metrics["test/coverage_relative_expost"] for o in summary.finals]) <= float(high)
    opened = [o.facts["opened"] for o in summary.finals]
    assert opened == [1, 2, 3], "models of this data set and split that were opened on test"
    longer = run_sweep(warm_home, study(), 3, closing=closing).summary
    again = {o.config.train.seed: o.facts["opened"] for o in longer.finals}
    assert again == {0: 1, 1: 2, 2: 3} or min(again.values()) == 4, "the same choice, or another that came later"


def test_an_objective_that_has_no_score_is_refused_before_anything_is_trained(warm_home):
    base = quick_config(train__epochs=EPOCHS, score__per_class=9)
    with pytest.raises(StudyError, match="objective coverage_relative_expost needs 10 images of every class") as error:
        run_sweep(warm_home, study(base=base), 1)
    assert "\n" not in str(error.value)
    alone = study(base=base, objectives=chosen(("neg_elbo_expost",), "cvae", "mixture"))
    assert run_sweep(warm_home, alone, 1).summary.finished == 1


def test_the_parent_run_is_finished_and_shows_the_study(undisturbed):
    recorded = Recorded(undisturbed.home)
    parent, result = recorded.parent, undisturbed.result
    assert parent.info.status == "FINISHED"
    assert parent.info.run_id == result.run_id
    assert parent.data.metrics["trials/complete"] == 4
    assert parent.data.metrics["front/size"] == len(result.summary.front)
    mean, std = result.summary.final_spread()["test/neg_elbo"]
    assert parent.data.metrics["test/neg_elbo_mean"] == mean
    assert parent.data.metrics["test/neg_elbo_std"] == std
    assert parent.data.params["space.beta"] == "0.1 .. 10 log"
    assert parent.data.params["objectives"] == "conditional_accuracy_expost, coverage_relative_expost, neg_elbo_expost"
    assert f"trial {result.summary.chosen}" in parent.data.tags["mlflow.note.content"]
    assert {"report.html", "report.md", "trials.csv", "best.toml"} <= recorded.artifacts(parent)
    assert [d.dataset.name for d in parent.inputs.dataset_inputs] == ["digits"]


def test_the_document_names_the_study_its_front_its_choice_and_its_report(undisturbed):
    document = json.loads(json.dumps(undisturbed.result.document(), allow_nan=False))
    assert {"study", "finished", "front", "chosen", "report"} <= set(document)
    assert (document["study"], document["finished"], document["failed"]) == ("s", 4, 0)
    by_number = {n: (params, values) for n, (params, values, _) in enumerate(ledger_of(undisturbed.home))}
    assert document["front"]
    for point in [*document["front"], document["chosen"]]:
        params, values = by_number[point["trial"]]
        assert point["params"] == params
        assert list(point["values"].values()) == values
    assert document["chosen"]["trial"] in [point["trial"] for point in document["front"]]
    assert document["chosen"]["seeds"] == [0, 1]
    assert document["chosen"]["test"]["test/neg_elbo"]["std"] > 0
    assert Path(document["report"]).is_file()


def test_the_best_configuration_can_be_run_as_it_is(undisturbed):
    best = build_config(read_toml(undisturbed.result.best))
    assert best == undisturbed.result.summary.chosen_config
    assert best.train.seed == 0
    key = run_key(best, "test")
    assert undisturbed.home.store.has("run", key)  # it is the first of the finals


def test_a_report_is_rebuilt_from_the_store_alone(undisturbed, tmp_path):
    home = copy_of(undisturbed.home.root, tmp_path / "home")
    shutil.rmtree(home.reports)
    (home.mlruns / "mlflow.db").unlink()
    rebuilt = rebuild_report(home, "s")
    assert (home.reports / "s" / "best.toml").read_text() == undisturbed.result.best.read_text()
    assert rebuilt.summary.final_spread() == undisturbed.result.summary.final_spread()


def test_garbage_labels_in_the_test_split_change_no_trial_and_every_final(
    undisturbed, warm_root, tmp_path, quiet_report
):
    """Whatever the search reads of the test split would show: judges and references are made anew from the garbage."""
    home = copy_of(warm_root, tmp_path / "home")
    for stage in ("judge", "reference"):
        shutil.rmtree(home.store.root / stage)
    [tensors] = (home.store.root / "prepare").glob("*/*.safetensors")
    arrays = load_file(tensors)
    arrays["test.labels"] = (arrays["test.labels"] + 1) % 10
    save_file(arrays, tensors)
    manifest = read_json(tensors.with_name("manifest.json"))
    manifest["files"][tensors.name] = {"bytes": tensors.stat().st_size, "sha256": sha256(tensors)}
    write_json(tensors.with_name("manifest.json"), manifest)  # or it would be taken for damaged, and made anew
    _loaded_data.cache_clear()
    result = run_sweep(home, study(), 2, final_seeds=1)
    assert ledger_of(home) == ledger_of(undisturbed.home)[:2]
    [final] = result.summary.finals
    assert (
        final.metrics["test/judge_accuracy"] < 0.2 < undisturbed.result.summary.finals[0].metrics["test/judge_accuracy"]
    )


# ------------------------------------------------------------------------------------------------ repeated commands


@pytest.fixture
def again(undisturbed, tmp_path, no_tracking_uri) -> Home:
    """A copy of the undisturbed home, artifacts included."""
    return copy_of(undisturbed.home.root, tmp_path / "home")


def test_a_finished_sweep_repeated_runs_nothing_and_records_nothing_new(again, undisturbed, quiet_report):
    executor = Here(again)
    before = ledger_of(again)
    result = run_sweep(again, study(), 4, final_seeds=2, executor=executor)
    assert executor.submitted == []
    assert ledger_of(again) == before
    assert_each_trial_is_recorded_once(again, 4)
    assert len(Recorded(again).finals) == 2
    same = result.document(), undisturbed.result.document()
    assert all(a[key] == b[key] for a, b in [same] for key in ("front", "chosen", "finished", "run_id"))


def test_more_trials_are_added_to_those_that_are_there(again, undisturbed, quiet_report):
    executor = Here(again)
    run_sweep(again, study(), 6, executor=executor)
    assert [job.id for job in executor.submitted] == ["trial 04", "trial 05"]
    assert ledger_of(again)[:4] == ledger_of(undisturbed.home)
    recorded = Recorded(again)
    assert [r.data.tags["trial"] for r in recorded.trials] == [str(n) for n in range(6)]
    ends = {"COMPLETE": "FINISHED", "PRUNED": "KILLED"}
    assert recorded.statuses() == [ends[state] for _, _, state in ledger_of(again)]


def test_values_that_are_no_numbers_are_searched_and_shown_everywhere(warm_home):
    space = build_space(entries=["hidden=64|32,16", "learning_rate=off"])
    result = run_sweep(warm_home, study(space=space, pruner="none"), 8)
    widths = [params["hidden"] for params, _, _ in ledger_of(warm_home)]
    assert set(widths) == {"64", "32,16"}
    recorded = Recorded(warm_home)
    assert [run.data.params["model.hidden"].strip("[]()").replace(" ", "") for run in recorded.trials] == widths
    best = build_config(read_toml(result.best))
    assert ",".join(map(str, best.model.hidden)) == widths[result.summary.chosen]
    folder = result.report.parent
    assert {path.stem for path in (folder / "images").glob("*.png")} >= {"importances", "slices", "parallel"}
    with open(folder / "trials.csv", encoding="utf-8") as file:
        assert [row["hidden"] for row in csv.DictReader(file)] == widths
    assert "hidden 64 | 32,16" in result.report.with_name("report.md").read_text().replace("\\", "")
    assert "'model.hidden=64|32,16'" in html.unescape(result.report.read_text())


# ---------------------------------------------------------------------------------- statuses of what goes otherwise


def test_diverging_trials_are_failed_with_their_reason_and_end_the_sweep(warm_home, quiet_report):
    config = study(space=build_space(entries=["learning_rate=50:100"]), window=2)
    with pytest.raises(
        StudyError, match=r"2 trials of study s have failed, the last because: .*learning_rate="
    ) as error:
        run_sweep(warm_home, config, 1)
    assert "\n" not in str(error.value)
    assert [state for _, _, state in ledger_of(warm_home)] == ["FAIL", "FAIL"]
    recorded = Recorded(warm_home)
    assert recorded.statuses() == ["FAILED", "FAILED"]
    for run in recorded.trials:
        assert "not finite" in run.data.tags["reason"] or "loss is" in run.data.tags["reason"]
    assert recorded.parent.info.status == "FAILED"
    assert "have failed" in recorded.parent.data.tags["reason"]


class Interrupting:
    """An executor that is interrupted by the first job."""

    free = 1

    def submit(self, job: Job) -> None:
        raise KeyboardInterrupt

    def close(self) -> None:
        pass


def test_a_trial_whose_worker_died_is_trained_again_under_its_number_if_that_is_asked_for(
    undisturbed, warm_home, quiet_report, monkeypatch
):
    failures = {
        "trial 01": JobFailed("trial 01", "loss is nan"),
        "trial 02": JobFailed("trial 02", "its worker process died 3 times (exit code -9)", "Traceback ..", again=True),
    }
    real = _do
    monkeypatch.setitem(globals(), "_do", lambda job, home, line: failures.get(job.id) or real(job, home, line))
    run_sweep(warm_home, study(), 2)
    assert [state for _, _, state in ledger_of(warm_home)] == ["COMPLETE", "FAIL", "FAIL", "COMPLETE"]
    recorded = Recorded(warm_home)
    assert "traceback.txt" in recorded.artifacts(recorded.trials[2])
    del failures["trial 02"]
    executor = Here(warm_home)
    run_sweep(warm_home, study(), 2, executor=executor)
    assert executor.submitted == [], "not without being asked"
    with pytest.raises(KeyboardInterrupt):
        run_sweep(warm_home, study(), 2, executor=Interrupting(), retry_failed=True)
    run_sweep(warm_home, study(), 2, executor=executor)  # what was reopened is taken up by whoever comes next
    assert [job.id for job in executor.submitted] == ["trial 02"], "a loss that diverged would do so once more"
    expected = ledger_of(undisturbed.home)
    expected[1] = (expected[1][0], None, "FAIL")
    assert ledger_of(warm_home) == expected
    recorded = Recorded(warm_home)
    assert recorded.statuses() == ["FINISHED", "FAILED", "FINISHED", "FINISHED"]
    assert "reason" not in recorded.trials[2].data.tags
    assert "traceback.txt" not in recorded.artifacts(recorded.trials[2])
    assert "reason" not in load_study(warm_home, "s").trials[2].user_attrs


# ------------------------------------------------------------------------------------------------- halving at rungs


TEN_EPOCHS = quick_config(train__epochs=9, train__batch_size=32)
"""Rungs after epochs 1 and 3."""


def halved(**changes) -> StudyConfig:
    """A study in which trials are stopped soon: the third is compared with the first already."""
    space = build_space(entries=["learning_rate=1e-4:3e-2"])
    return study(**{"base": TEN_EPOCHS, "space": space, "window": 2, **changes})


def rungs_of(home: Home, name: str = "s") -> list[dict]:
    """What every trial was worth at its rungs, exactly."""
    return [t.user_attrs.get("rungs", {}) for t in load_study(home, name).trials]


@pytest.fixture(scope="module")
def halving(warm_root, tmp_path_factory, no_tracking_uri):
    """Ten trials by one worker process, some of them stopped."""
    home = copy_of(warm_root, tmp_path_factory.mktemp("halving") / "home")
    return Done(home, run_sweep(home, halved(), 10, executor=LocalExecutor(home, 1)))


def test_trials_are_stopped_at_rungs_and_stand_everywhere_as_what_they_are(halving):
    trials, rungs = load_study(halving.home, "s").trials, rungs_of(halving.home)
    stopped = [t for t in trials if t.state == TrialState.PRUNED]
    complete = [t for t in trials if t.state == TrialState.COMPLETE]
    assert len(complete) >= 2
    assert len(stopped) >= 3
    assert len(stopped) + len(complete) == 10
    assert all(list(rungs[t.number]) == ["1", "3"] for t in complete)
    recorded = Recorded(halving.home)
    with open(halving.home.reports / "s" / "trials.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    for trial in stopped:
        epoch = max(map(int, rungs[trial.number]))
        reason = f"stopped at epoch {epoch} (rung {[1, 3].index(epoch) + 1})"
        run, row = recorded.trials[trial.number], rows[trial.number]
        assert (run.info.status, run.data.tags["reason"]) == ("KILLED", reason)
        assert recorded.steps(run, "train/loss") == list(range(1, epoch + 1))
        assert (row["state"], row["reason"], row["neg_elbo"]) == ("pruned", reason, "")
    for trial in trials:
        objectives = ("conditional_accuracy_expost", "coverage_relative_expost", "neg_elbo_expost")
        for k, name in enumerate(objectives):
            history = recorded.client.get_metric_history(recorded.trials[trial.number].info.run_id, f"rung/{name}")
            expected = {int(epoch): values[k] for epoch, values in rungs[trial.number].items()}
            assert {m.step: m.value for m in history} == expected
    document = halving.result.document()
    assert (document["finished"], document["pruned"]) == (10, len(stopped))
    assert not {t.number for t in stopped} & {point["trial"] for point in document["front"]}


def test_who_goes_on_is_dominated_by_few_of_its_elders_and_who_dominates_all_goes_on(halving):
    rungs = [{epoch: (a, c, -b) for epoch, (a, c, b) in own.items()} for own in rungs_of(halving.home)]
    for n, own in enumerate(rungs):
        elders = [rungs[m]["1"] for m in range(n - 1)]
        pairs = [list(zip(elder, own["1"], strict=True)) for elder in elders]
        dominating = sum(all(a >= b for a, b in pair) and any(a > b for a, b in pair) for pair in pairs)
        if "3" in own and len(elders) >= 2:
            assert dominating < math.ceil((len(elders) + 1) / 3)
        if all(all(a <= b for a, b in pair) and any(a < b for a, b in pair) for pair in pairs):
            assert "3" in own


def test_two_workers_give_the_same_trials_stops_and_values(halving, warm_root, tmp_path, quiet_report):
    home = copy_of(warm_root, tmp_path / "home")
    run_sweep(home, halved(), 10, executor=LocalExecutor(home, 2), workers=2)
    assert (ledger_of(home), rungs_of(home)) == (ledger_of(halving.home), rungs_of(halving.home))


@pytest.mark.soak
def test_a_sweep_made_longer_stops_the_trials_of_one_that_was_begun_long(halving, warm_root, tmp_path, quiet_report):
    home = copy_of(warm_root, tmp_path / "home")
    for trials in (3, 6, 10):
        run_sweep(home, halved(), trials)
    assert (ledger_of(home), rungs_of(home)) == (ledger_of(halving.home), rungs_of(halving.home))


@pytest.mark.soak
def test_a_population_stops_the_same_trials(halving, warm_root, tmp_path, quiet_report):
    home = copy_of(warm_root, tmp_path / "home")
    run_sweep(home, halved(), 10, executor=PopulationExecutor(home, 2))
    assert [(p, state) for p, _, state in ledger_of(home)] == [(p, s) for p, _, s in ledger_of(halving.home)]
    for own, reference in zip(rungs_of(home), rungs_of(halving.home), strict=True):
        assert own.keys() == reference.keys()
        for epoch, values in own.items():
            assert values == pytest.approx(reference[epoch], rel=1e-2)


@pytest.mark.soak
def test_a_driver_killed_between_a_rungs_values_and_its_answer_goes_on_as_if_nothing_had_been(
    halving, warm_root, tmp_path, quiet_report
):
    class Dying(LocalExecutor):
        """Ends with its workers, as a kill -9 would end them, when its driver gives its sixth answer."""

        answers = 0

        def answer(self, job: str, go_on: bool) -> None:
            self.answers += 1
            if self.answers == 6:
                raise KeyboardInterrupt
            super().answer(job, go_on)

    home = copy_of(warm_root, tmp_path / "home")
    deaths = 0
    while True:
        try:
            run_sweep(home, halved(), 10, executor=Dying(home, 2), workers=2)
            break
        except KeyboardInterrupt:
            deaths += 1
    assert deaths >= 2
    assert (ledger_of(home), rungs_of(home)) == (ledger_of(halving.home), rungs_of(halving.home))


@pytest.mark.soak
def test_trainings_that_another_sweep_has_finished_are_stopped_where_they_would_have_been(
    halving, warm_root, tmp_path, quiet_report
):
    """By what they were worth at the rung, which nobody has written down and the finished model no longer shows."""
    home = copy_of(warm_root, tmp_path / "home")
    run_sweep(home, halved(name="whole", pruner="none"), 4)
    assert [state for _, _, state in ledger_of(home, "whole")] == ["COMPLETE"] * 4
    run_sweep(home, halved(), 10)
    assert (ledger_of(home), rungs_of(home)) == (ledger_of(halving.home), rungs_of(halving.home))


def test_without_a_pruner_every_trial_is_trained_to_its_end(halving, warm_root, tmp_path, quiet_report):
    home = copy_of(warm_root, tmp_path / "home")
    run_sweep(home, halved(pruner="none"), 4)
    assert [state for _, _, state in ledger_of(home)] == ["COMPLETE"] * 4
    assert rungs_of(home) == [{}] * 4
    assert [p for p, _, _ in ledger_of(home)] == [p for p, _, _ in ledger_of(halving.home)[:4]]


@pytest.mark.soak
def test_after_two_kill_9_in_mid_rung_the_same_command_gives_what_an_undisturbed_one_gives(
    warm_root, tmp_path, no_tracking_uri
):
    """Killed as soon as a rung's scores appear in the store: before the driver has heard of them, or just after."""
    longer = {"train__epochs": 90, "train__batch_size": 32, "runtime__grid_every": 100}  # rungs after 10 and 30
    undisturbed, home = (copy_of(warm_root, tmp_path / name) for name in ("undisturbed", "killed"))
    run_sweep(undisturbed, study(base=quick_config(**longer), window=2), 6, executor=LocalExecutor(undisturbed, 1))
    settings = quick_toml(tmp_path, **longer)
    command = [*COMMAND, "sweep", "--config", str(settings), "--trials", "6", "--name", "s", "--window", "2"]
    command += ["--workers", "2", "--final-seeds", "0", "--json"]
    options = {"env": {**os.environ, "CVAE_PIPE_HOME": str(home.root)}, "text": True}
    rungs = home.store.root / "rung"
    for more in (2, 3):
        before = len(list(rungs.glob("*"))) if rungs.exists() else 0
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, **options) as process:
            while not rungs.exists() or len(list(rungs.glob("*"))) < before + more:
                assert process.poll() is None, process.stderr.read()
                time.sleep(0.01)
            process.kill()
    assert "RUNNING" in [state for _, _, state in ledger_of(home)]
    finished = subprocess.run(command, capture_output=True, timeout=300, check=False, **options)
    assert finished.returncode == 0, finished.stderr
    assert "PRUNED" in [state for _, _, state in ledger_of(home)]
    assert (ledger_of(home), rungs_of(home)) == (ledger_of(undisturbed), rungs_of(undisturbed))


@pytest.mark.parametrize("after", [0, 1])
def test_a_time_limit_ends_the_sweep_with_a_report_of_what_there_is(warm_home, monkeypatch, after):
    clock = SimpleNamespace(time=lambda: now, monotonic=time.monotonic)
    now = 0.0
    monkeypatch.setattr("sweeps.tracked.time", clock)

    def on_update(view: SweepView) -> None:
        nonlocal now
        if view.finished >= after and len(view.trials) > after:
            now = float("inf")

    if after:
        result = run_sweep(warm_home, study(), 3, final_seeds=1, timeout=1.0, on_update=on_update)
        assert (result.summary.finished, result.summary.finals) == (after, ())
        assert result.report.is_file()
    else:
        with pytest.raises(StudyError, match="before any trial was finished; repeat the command to go on"):
            run_sweep(warm_home, study(), 3, final_seeds=1, timeout=1.0, on_update=on_update)
        assert not (warm_home.reports / "s").exists(), "a report on no trial"
    states = [state for _, _, state in ledger_of(warm_home)]
    assert states == ["COMPLETE"] * after + ["RUNNING"]
    recorded = Recorded(warm_home)
    assert recorded.statuses() == ["FINISHED"] * after + ["KILLED"]
    assert "time limit" in recorded.trials[-1].data.tags["reason"]


def test_an_interruption_right_after_a_trial_leaves_that_trial_finished(warm_home):
    def on_update(view: SweepView) -> None:
        if view.finished == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_sweep(warm_home, study(), 4, on_update=on_update)
    recorded = Recorded(warm_home)
    assert recorded.statuses() == ["FINISHED"]
    assert recorded.parent.info.status == "KILLED"


def test_a_final_that_an_earlier_choice_left_running_is_closed(again, quiet_report):
    client = mlflow_client(again)
    recorded = Recorded(again)
    left = client.create_run(
        recorded.parent.info.experiment_id,
        tags={"run_key": "gone", "mlflow.parentRunId": recorded.parent.info.run_id, "kind": "run", "final": "true"},
    )
    run_sweep(again, study(), 4)
    assert client.get_run(left.info.run_id).info.status == "KILLED"
    assert Recorded(again).statuses() == ["FINISHED"] * 4


# ------------------------------------------------------------------------------------- the search loop, untrained


class Imagined:
    """Four or fewer workers that train nothing and finish in any order; every sixth trial fails.

    A job announces its rungs one by one, with values that depend on its number alone, and stops where it is told.
    """

    def __init__(self, workers: int, order: random.Random) -> None:
        self.workers, self.order = workers, order
        self.jobs: list[Job] = []
        self.left: dict[str, list[int]] = {}
        self.stopped: set[str] = set()

    @property
    def free(self) -> int:
        return self.workers - len(self.jobs)

    def submit(self, job: Job) -> None:
        assert self.free
        self.jobs.append(job)
        self.left[job.id] = list(job.rungs)

    def events(self, timeout: float) -> list[Event]:
        job = self.jobs[self.order.randrange(len(self.jobs))]
        number = int(job.id.split()[1])
        if self.left[job.id] and job.id not in self.stopped:
            return [EpochDone(job.id, self.left[job.id].pop(0), {}, self.worth(job, number))]
        self.jobs.remove(job)
        if job.id in self.stopped:
            return [JobStopped(job.id, Path())]
        return [JobFailed(job.id, "imagined")] if number % 6 == 5 else [JobDone(job.id, str(number))]

    def worth(self, job: Job, number: int) -> dict[str, float]:
        rng = random.Random(number)
        values = {
            "conditional_accuracy_expost": rng.random(),
            "coverage_relative_expost": rng.random(),
            "neg_elbo_expost": 60 * rng.random(),
        }
        return {name: values[name] for name in job.objectives}

    def answer(self, job: str, go_on: bool) -> None:
        if not go_on:
            self.stopped.add(job)

    def close(self) -> None:
        pass


class Unrecorded:
    """A tracked run that nobody keeps."""

    id, finished, incomplete = "", False, False

    def together(self) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()

    def log_epochs(self, epochs: dict[int, dict[str, float]]) -> None:
        pass

    def close(self, status: str, reason: str = "") -> None:
        pass


@pytest.fixture
def search(home, monkeypatch):
    """search(name, target, workers, seed, die_after): the real loop and ledger over imagined trainings."""
    monkeypatch.setattr(TrackedJobs, "_opened", lambda *_: Unrecorded())
    monkeypatch.setattr(TrackedJobs, "record", lambda *_: None)
    monkeypatch.setattr("sweeps.rungs.data_ranges", lambda ctx, config: [(0.1, 1.0), (0.0, 1.0), (60.0, 0.0)])
    metrics = {
        str(n): {
            "val/conditional_accuracy_expost": 0.9 - 0.01 * n,
            "val/coverage_relative_expost": 0.5,
            "val/neg_elbo_expost": 99.0 + n,
        }
        for n in range(100)
    }
    monkeypatch.setattr("sweeps.driver.load_outcome", lambda home, key: SimpleNamespace(metrics=metrics[key]))

    def run(
        name: str, target: int, workers: int, seed: int = 0, die_after: int | None = None, pruner: str = "none"
    ) -> Imagined:
        config = study(name=name, window=4, base=quick_config(train__epochs=9), pruner=pruner)
        ledger = Ledger(home, config)
        executor = Imagined(workers, random.Random(seed))
        jobs = TrackedJobs(SimpleNamespace(home=home), None, executor, None, name, float("inf"))
        over = 0

        def on_update(view: SweepView) -> None:
            nonlocal over
            over = sum(t.state != "running" for t in view.trials.values())
            if over == die_after:
                raise KeyboardInterrupt

        try:
            there = SimpleNamespace(done=True)
            _Sweep(ledger, jobs, there, SweepView(config, target), on_update).search()
        except KeyboardInterrupt:
            assert die_after is not None
        finally:
            ledger.close()
        return executor

    return run


def test_the_search_is_the_same_for_any_number_of_workers_and_interruptions(search, home):
    search("alone", 10, workers=1)
    search("four", 10, workers=4, seed=1)
    search("killed", 10, workers=4, seed=2, die_after=3)
    assert "RUNNING" in [state for _, _, state in ledger_of(home, "killed")]
    search("killed", 10, workers=2, seed=3, die_after=6)
    search("killed", 10, workers=4, seed=4)
    alone = ledger_of(home, "alone")
    assert [state for _, _, state in alone].count("COMPLETE") == 10
    assert [state for _, _, state in alone].count("FAIL") == 1
    assert ledger_of(home, "four") == alone
    assert ledger_of(home, "killed") == alone


@pytest.mark.parametrize("seed", [0, 10, 20])
def test_the_stops_are_the_same_for_any_number_of_workers_and_interruptions(search, home, seed):
    search("alone", 30, workers=1, pruner="pareto")
    search("four", 30, workers=4, seed=seed + 1, pruner="pareto")
    for turn, die_after in enumerate((4, 9, 17, 22)):
        search("killed", 30, workers=4 - turn % 2, seed=seed + turn, die_after=die_after, pruner="pareto")
    search("killed", 30, workers=4, seed=seed + 5, pruner="pareto")
    for target in (2, 11, 30):
        search("longer", target, workers=3, seed=seed + target, pruner="pareto")
    alone = ledger_of(home, "alone")
    states = [state for _, _, state in alone]
    assert states.count("PRUNED") > 10
    assert states.count("COMPLETE") > 5
    for name in ("four", "killed", "longer"):
        # Work in hand when the target is reached is finished too, so a sweep may have a trial more than another.
        assert ledger_of(home, name)[: len(alone)] == alone[: len(ledger_of(home, name))]
        assert rungs_of(home, name)[: len(alone)] == rungs_of(home, "alone")


@pytest.mark.soak
def test_the_command_sweeps_as_a_population_and_keeps_its_window_when_repeated(warm_home):
    quick = str(quick_toml(warm_home.root))
    command = [sys.executable, "-c", "from pipeline.cli.main import main; main()", "sweep", "--config", quick, "--json"]
    command += ["--name", "stacked", "--final-seeds", "0", "--trials"]
    first = subprocess.run([*command, "3", "--executor", "population"], capture_output=True, text=True, timeout=200)
    assert first.returncode == 0, first.stderr
    assert load_study(warm_home, "stacked").user_attrs["spec"]["window"] == 16
    # as worker processes, whose own default window is 4
    again = subprocess.run([*command, "4", "--executor", "local"], capture_output=True, text=True, timeout=200)
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout)["finished"] == 4


def test_a_smaller_target_adopts_no_more_than_it_needs_and_leaves_nothing_under_way(search, home):
    search("s", 10, workers=4, seed=0, die_after=2)
    states = [state for _, _, state in ledger_of(home)]
    assert states.count("RUNNING") >= 2
    done = states.count("COMPLETE")
    executor = search("s", done + 1, workers=4)
    assert executor.jobs == []  # else its events would reach the finals
    assert [state for _, _, state in ledger_of(home)].count("COMPLETE") == done + 1


# -------------------------------------------------------------------------------- the real command, killed and killed


COMMAND = [str(Path(sys.executable).with_name("cvae-pipe"))]


@dataclass
class Story:
    """What was seen after a Ctrl-C, after a kill -9, and at the end."""

    home: Home
    interrupted: subprocess.CompletedProcess
    after_interrupt: "Recorded"
    ledger_after_interrupt: list[tuple]
    orphans: list[int]
    ledger_after_kill: list[tuple]
    finished: subprocess.CompletedProcess


def children_of(pid: int) -> list[int]:
    return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


LONG = {"train__epochs": 150, "runtime__grid_every": 100}
"""Trials of a second or two: what interrupts a sweep must find it at work."""


@pytest.fixture(scope="module")
def long_undisturbed(warm_root, tmp_path_factory, no_tracking_uri):
    """What the story below would be without its interruptions."""
    home = copy_of(warm_root, tmp_path_factory.mktemp("long") / "home")
    config = study(base=quick_config(**LONG))
    return Done(home, run_sweep(home, config, 4, final_seeds=2, executor=LocalExecutor(home, 2), workers=2))


@pytest.fixture(scope="module")
def story(warm_root, tmp_path_factory, no_tracking_uri):
    """`cvae-pipe sweep` three times over: Ctrl-C, kill -9, and to its end."""
    home = copy_of(warm_root, tmp_path_factory.mktemp("story") / "home")
    settings = quick_toml(tmp_path_factory.mktemp("settings"), **LONG)
    command = [*COMMAND, "sweep", "--config", str(settings), "--trials", "4", "--name", "s"]
    command += ["--workers", "2", "--final-seeds", "2", "--judges", "1", "--json"]
    environment = {**os.environ, "CVAE_PIPE_HOME": str(home.root)}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "env": environment}
    begun: list[subprocess.Popen] = []

    def begun_until(trials: int) -> subprocess.Popen:
        """The command, started, at the moment it has said that so many trials are complete."""
        process = subprocess.Popen(command, start_new_session=True, **pipes)
        begun.append(process)
        said = ""
        while said.count(" complete: ") < trials:
            line = process.stderr.readline()
            assert line, f"it ended before {trials} trials were complete:\n{said}"
            said += line
        return process

    try:
        process = begun_until(1)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: the workers too
        try:
            out, errors = process.communicate(timeout=8)
        except subprocess.TimeoutExpired:  # Python swallows one that comes inside a weakref's callback: press again
            os.killpg(process.pid, signal.SIGINT)
            out, errors = process.communicate(timeout=200)
        interrupted = subprocess.CompletedProcess(command, process.returncode, out, errors)
        after_interrupt, ledger_after_interrupt = Recorded(home), ledger_of(home)
        complete = [state for _, _, state in ledger_after_interrupt].count("COMPLETE")

        process = begun_until(complete + 1)
        workers = children_of(process.pid)
        process.kill()
        process.communicate()
        deadline = time.monotonic() + 15
        while any(alive(pid) for pid in workers) and time.monotonic() < deadline:
            time.sleep(0.05)
        orphans = [pid for pid in workers if alive(pid)]
        ledger_after_kill = ledger_of(home)
        assert len(workers) >= 2
    finally:
        for process in begun:
            if process.poll() is None:
                process.kill()
            process.communicate()  # closes its pipes too
    finished = subprocess.run(command, timeout=300, check=False, **pipes)
    return Story(home, interrupted, after_interrupt, ledger_after_interrupt, orphans, ledger_after_kill, finished)


@pytest.mark.soak
def test_ctrl_c_ends_with_130_says_how_to_go_on_and_leaves_no_run_open(story):
    assert story.interrupted.returncode == 130, story.interrupted.stderr
    assert "the same command goes on" in story.interrupted.stderr
    assert "Traceback" not in story.interrupted.stderr
    assert story.interrupted.stdout == ""
    assert "RUNNING" in [state for _, _, state in story.ledger_after_interrupt]
    recorded = story.after_interrupt
    assert recorded.parent.info.status == "KILLED"
    assert set(recorded.statuses()) == {"FINISHED", "KILLED"}
    assert all("repeat the command" in r.data.tags["reason"] for r in recorded.trials if r.info.status == "KILLED")


@pytest.mark.soak
def test_kill_9_leaves_no_worker_behind(story):
    assert story.orphans == []
    assert [state for _, _, state in story.ledger_after_kill].count("COMPLETE") < 4, "killed too late to test anything"


@pytest.mark.soak
def test_after_ctrl_c_and_kill_9_the_same_command_gives_what_an_undisturbed_one_gives(story, long_undisturbed):
    assert story.finished.returncode == 0, story.finished.stderr
    assert ledger_of(story.home) == ledger_of(long_undisturbed.home)
    assert_each_trial_is_recorded_once(story.home, 4, LONG["train__epochs"])
    recorded = Recorded(story.home)
    assert (recorded.parent.info.status, len(recorded.finals)) == ("FINISHED", 2)
    assert "reason" not in recorded.parent.data.tags
    document, expected = json.loads(story.finished.stdout), long_undisturbed.result.document()
    assert set(document) == set(expected)
    for key in ("study", "finished", "front", "chosen"):
        assert document[key] == expected[key]


# ----------------------------------------------------------------------------------------------- an outage of MLflow


class Server:
    """A real tracking server on loopback that can be killed and started again at the same address."""

    def __init__(self, home: Home) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.home = home

    def start(self) -> None:
        self.process = subprocess.Popen(
            tracking.ui_command(self.home, port=self.port),
            env=tracking.ui_environment(self.home),
            cwd=self.home.root,
            start_new_session=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for _ in range(400):
            try:
                urllib.request.urlopen(f"{self.url}/health", timeout=2).close()
                return
            except OSError:
                time.sleep(0.2)
        raise AssertionError("the server did not start")

    def kill(self) -> None:
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@pytest.mark.soak
def test_an_outage_of_the_tracking_server_stops_nothing_and_a_repeat_replays_what_was_missed(
    warm_home, warm_root, tmp_path, monkeypatch, quiet_report
):
    served = copy_of(warm_root, tmp_path / "served")
    server = Server(served)
    server.start()
    monkeypatch.setattr(tracking.link, "RETRY_SECONDS", 600.0)
    down, warned = False, []
    # Trial 2 fails: its run, too, is to have its true status in the end.
    failing = _do

    def sometimes_failing(job, home, connection):
        return JobFailed(job.id, "imagined") if job.id == "trial 02" else failing(job, home, connection)

    monkeypatch.setitem(globals(), "_do", sometimes_failing)

    def kill_after_the_first(view: SweepView) -> None:
        nonlocal down
        if view.finished == 1 and not down and view.trials.get(1) and view.trials[1].epoch == 2:
            down = True
            server.kill()

    try:
        command = tracking.ui_command(served, port=server.port)  # asked for before the variable is set
        assert command
        monkeypatch.setenv("MLFLOW_TRACKING_URI", server.url)
        first = run_sweep(warm_home, study(), 3, final_seeds=1, on_update=kill_after_the_first, warn=warned.append)
        assert down
        assert len(warned) == 1
        assert "repeat the command later to replay" in warned[0]
        assert first.summary.finished == 3
        assert len(first.summary.finals) == 1
        assert first.report.is_file()
        monkeypatch.delenv("MLFLOW_TRACKING_URI")
        server.start()
        monkeypatch.setenv("MLFLOW_TRACKING_URI", server.url)
        executor = Here(warm_home)
        run_sweep(warm_home, study(), 3, final_seeds=1, executor=executor, warn=warned.append)
        assert executor.submitted == []
        assert len(warned) == 1
        recorded = Recorded(warm_home)
        assert recorded.statuses() == ["FINISHED", "FINISHED", "FAILED", "FINISHED"]
        assert recorded.trials[2].data.tags["reason"] == "imagined"
        assert recorded.parent.info.status == "FINISHED"
        assert [r.info.status for r in recorded.finals] == ["FINISHED"]
        for run in recorded.trials[:2]:
            assert sorted(recorded.steps(run, "train/loss")) == list(range(1, EPOCHS + 1))
    finally:
        server.kill()


# ---------------------------------------------------------------------------------------------------- bad commands


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--objective", "accuracy"], "unknown objective accuracy; objectives are conditional_accuracy"),
        (["--objective", "neg_elbo", "--objective", "neg_elbo"], "an objective is named twice"),
        (["--trials", "0"], "--trials is 0; it must be 1 or more"),
        (["--trials", "many"], "--help lists what is allowed"),
        (["--workers", "0"], "--workers is 0; it must be 1 or more"),
        (["--executor", "rey"], "--executor is 'rey'; it must be one of auto, local, population, ray"),
        (["--workers", "5"], "--workers 5 is more than the proposal window 4"),
        (["--window", "0"], "--window is 0; it must be 1 or more"),
        (["--final-seeds", "-1"], "--final-seeds is -1; it must be 0 or more"),
        (["--timeout", "0"], "--timeout is 0 minutes; it must be above 0"),
        (["--timeout", "nan"], "--timeout is nan minutes; it must be above 0"),
        (["--space", "beta=4"], "write low:high, low:high:linear, one|another or off"),
        (["--space", "betta=1:2"], "--space betta names no setting"),
        (["--pruner", "median"], "unknown pruner median; pruners are pareto, none"),
        (["--eta", "1"], "--eta is 1; it must be 2 or more"),
        (["--first-rung", "3"], "--first-rung is 3; it must be 1 or more and below the 3 epochs of a trial"),
        (["--model", "vae", "--objective", "conditional_accuracy"], "conditional_accuracy needs --model cvae"),
        (["--model", "ae"], "a sweep needs --model vae or cvae"),
        (["--name", "../up"], "--name is '../up'; it names a folder"),
        (["--name", "x" * 300], "it names a folder: 1 to 100 characters"),
        (["--name", "😀" * 70], "it names a folder: 1 to 100 characters"),
        (["--epochs", "0"], "train.epochs is 0; it must be 1 or more"),
        (["--batch-size", "5000"], "train.batch_size is 5000, but digits has"),
    ],
)
def test_a_bad_command_is_exit_code_2_and_one_line(arguments, message, warm_home, capfd, monkeypatch):
    from pipeline.cli import main as cli

    handler = signal.getsignal(signal.SIGTERM)
    quick = str(quick_toml(warm_home.root))
    monkeypatch.setattr(sys, "argv", ["cvae-pipe", "sweep", "--config", quick, *arguments])
    try:
        with pytest.raises(SystemExit) as ended:
            cli.main()
    finally:
        signal.signal(signal.SIGTERM, handler)
    out, errors = capfd.readouterr()
    assert ended.value.code == 2
    assert out == ""
    [line] = [line for line in errors.splitlines() if not line.startswith(("prepare", "judge", "reference", "note: "))]
    assert line.startswith("error: ")
    assert message in line
