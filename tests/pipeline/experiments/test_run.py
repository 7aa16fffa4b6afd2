"""Whole runs: one per configuration, of true status, recorded once, whatever interrupts them."""

import json
import signal
import threading
import tomllib
from pathlib import Path

import pytest
from helpers import mlflow_client, quick_config

from pipeline.api import Run
from pipeline.config.reading import build_config, read_toml
from pipeline.environment import environment_text
from pipeline.errors import DataError, DivergedError, TrackingError
from pipeline.experiments.record import closing, history_csv
from pipeline.experiments.run import prerequisites, run
from pipeline.reporting.run import write_run_report
from pipeline.runs.execute import execute
from pipeline.runs.outcome import find_run, load_outcome
from pipeline.stages.context import Context
from pipeline.stages.graph import run_key
from pipeline.store.store import KEY_LENGTH
from pipeline.tracking import MlflowTracker, uninterrupted

EXPERIMENT = "cvae-pipe"


@pytest.fixture
def context(warm_home):
    def build(*, force=(), progress=lambda *args: None, **settings):
        return Context(quick_config(**settings), warm_home, force=set(force), progress=progress)

    return build


@pytest.fixture
def connect(warm_home):
    return lambda: MlflowTracker.connect(warm_home, EXPERIMENT, on_warning=pytest.fail)


def recorded(home):
    client = mlflow_client(home)
    experiments = [e.experiment_id for e in client.search_experiments()]
    return client.search_runs(experiments, order_by=["attributes.start_time ASC"])


def artifacts(home, run_id, folder=""):
    client = mlflow_client(home)
    return sorted(f.path for f in client.list_artifacts(run_id, folder))


def text_of(home, run_id, path):
    from urllib.parse import unquote, urlsplit

    uri = mlflow_client(home).get_run(run_id).info.artifact_uri
    with open(f"{unquote(urlsplit(uri).path)}/{path}", encoding="utf-8") as file:
        return file.read()


def curve(home, run_id, key):
    return [(m.step, m.value) for m in mlflow_client(home).get_metric_history(run_id, key)]


def interrupted_at(epoch, error=KeyboardInterrupt):
    def progress(what, done, total, note):
        if what == "train" and done == epoch:
            raise error

    return progress


# ---- a finished run


def test_a_run_is_recorded_with_all_that_it_is(context, connect, warm_home):
    ctx = context(runtime__grid_every=2)
    result = run(ctx, connect)
    (tracked,) = recorded(warm_home)
    assert (tracked.info.run_id, tracked.info.status) == (result.run_id, "FINISHED")
    assert tracked.info.run_name == result.outcome.name
    assert tracked.data.params == {name: str(value) for name, value in ctx.config.flat().items()}
    assert {k: tracked.data.tags[k] for k in ("kind", "dataset", "model", "split")} == {
        "kind": "run",
        "dataset": "digits",
        "model": "cvae",
        "split": "test",
    }
    assert tracked.data.tags["run_key"] == run_key(ctx.config, "test")[:KEY_LENGTH]
    (dataset,) = tracked.inputs.dataset_inputs
    assert dataset.dataset.name == "digits"

    for key, value in result.outcome.metrics.items():
        assert tracked.data.metrics[key] == pytest.approx(value)
    for key in ("train/loss", "train/bce", "train/kl", "val/neg_elbo", "train/images_per_second"):
        expected = [(row["epoch"], row[key]) for row in result.outcome.history]
        assert curve(warm_home, result.run_id, key) == expected

    files = artifacts(warm_home, result.run_id)
    assert set(files) >= {
        "config.toml",
        "environment.txt",
        "history.csv",
        "images",
        "per_class.json",
        "report.html",
    }
    images = artifacts(warm_home, result.run_id, "images")
    for start in (
        "final~generated+step+0+",
        "final~reconstructed+step+0+",
        *(f"generated+step+{e}+" for e in (1, 2, 3)),
    ):
        assert [name.removeprefix("images/").startswith(start) for name in images].count(True) == 2, start
    config = build_config(tomllib.loads(text_of(warm_home, result.run_id, "config.toml")))
    assert config == ctx.config
    lines = text_of(warm_home, result.run_id, "history.csv").splitlines()
    assert len(lines) == 1 + 3
    assert text_of(warm_home, result.run_id, "environment.txt") == environment_text()
    assert len(json.loads(text_of(warm_home, result.run_id, "per_class.json"))["data"]) == 10


def test_the_report_lies_in_its_folder_with_the_configuration(context, connect, warm_home):
    result = run(context(), connect)
    folder = warm_home.reports / result.outcome.name
    assert result.report == folder / "report.html"
    assert {"report.html", "report.md", "config.toml"} <= {p.name for p in folder.iterdir()}
    assert build_config(read_toml(folder / "config.toml")) == quick_config()
    value = result.outcome.metrics["test/neg_elbo"]
    assert f"{value:.2f}" in (folder / "report.md").read_text()
    assert 'src="http' not in (folder / "report.html").read_text()


def test_the_document_says_what_a_run_is_of_and_what_it_took(context, connect, warm_home):
    result = run(context(), connect)
    document = json.loads(json.dumps(Run(result.outcome, warm_home, result.run_id).document(), allow_nan=False))
    assert {"cautions", "metrics", "name", "report", "run_id", "run_key", "settings"} <= document.keys()
    assert document["run_key"] == run_key(quick_config(), "test")[:KEY_LENGTH]
    assert document["metrics"]["test/bce"] > 0
    assert document["seconds"] > 0
    assert Path(document["paths"]["model"]).exists()
    assert all(isinstance(v, float) for v in document["metrics"].values())


def test_repeating_a_finished_configuration_adds_no_run_and_no_result(context, connect, warm_home):
    def everything():
        store = warm_home.store.root
        return sorted(
            (str(p), p.stat().st_mtime_ns) for p in store.rglob("*") if p.is_file() and "locks" not in p.parts
        )

    first = run(context(), connect)
    files, points = everything(), curve(warm_home, first.run_id, "train/loss")
    again = run(context(), connect)
    assert (again.run_id, again.outcome.metrics) == (first.run_id, first.outcome.metrics)
    assert everything() == files
    (tracked,) = recorded(warm_home)
    assert tracked.info.status == "FINISHED"
    assert curve(warm_home, first.run_id, "train/loss") == points


def test_another_device_or_gate_is_the_same_run_and_another_seed_is_not(context, connect, warm_home):
    first = run(context(), connect)
    assert run(context(runtime__device="cpu", gates__clean=0.5), connect).run_id == first.run_id
    assert run(context(train__seed=1), connect).run_id != first.run_id
    assert len(recorded(warm_home)) == 2


def test_a_forced_run_writes_every_result_anew_in_the_same_run(context, connect, warm_home):
    first = run(context(), connect)
    folder = warm_home.store.path("run", first.outcome.key)
    before = (folder / "run.json").stat().st_ino
    again = run(context(force={"train", "evaluate", "score"}), connect)
    assert (folder / "run.json").stat().st_ino != before
    assert (again.run_id, again.outcome.metrics) == (first.run_id, first.outcome.metrics)
    assert len(recorded(warm_home)) == 1


@pytest.mark.parametrize("kind", ["ae", "vae"])
def test_a_model_without_labels_runs_too_and_has_no_scores(context, connect, kind, warm_home):
    result = run(context(model__kind=kind), connect)
    assert result.outcome.per_class is None
    assert "test/conditional_accuracy" not in result.outcome.metrics
    assert result.report.exists()
    assert "per_class.json" not in artifacts(warm_home, result.run_id)


# ---- a run that does not finish


def test_an_interrupted_run_is_killed_and_goes_on_in_the_same_run_to_the_same_result(
    context, connect, warm_home, tmp_path
):
    with pytest.raises(KeyboardInterrupt):
        run(context(progress=interrupted_at(2)), connect)
    (tracked,) = recorded(warm_home)
    assert tracked.info.status == "KILLED"
    assert tracked.data.tags["reason"] == "interrupted; repeat the command to go on"
    assert list(warm_home.store.keys("run")) == []

    result = run(context(), connect)
    (tracked,) = recorded(warm_home)
    assert (tracked.info.run_id, tracked.info.status) == (result.run_id, "FINISHED")
    assert "reason" not in tracked.data.tags
    for key in ("train/loss", "val/neg_elbo", "train/beta", "train/learning_rate"):
        expected = [(row["epoch"], row[key]) for row in result.outcome.history]
        assert curve(warm_home, result.run_id, key) == expected, "each epoch once"
    images = artifacts(warm_home, result.run_id, "images")
    assert sum("/generated+step+1+" in name for name in images) == 2  # one image: the png and its thumbnail


def test_an_interruption_after_the_training_keeps_it(context, connect, warm_home, monkeypatch):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pipeline.stages.score.score_model", lambda *args: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            run(context(), connect)
    assert recorded(warm_home)[0].info.status == "KILLED"
    said = []
    ctx = Context(quick_config(), warm_home, say=said.append)
    result = run(ctx, connect)
    assert "train (cvae, 3 epochs): up to date" in said
    (tracked,) = recorded(warm_home)
    assert (tracked.info.run_id, tracked.info.status) == (result.run_id, "FINISHED")
    assert [step for step, _ in curve(warm_home, result.run_id, "train/loss")] == [1, 2, 3]


def test_a_diverged_run_is_failed_with_the_reason_and_stays_one_run(context, connect, warm_home):
    for _ in range(2):
        with pytest.raises(DivergedError) as error:
            run(context(train__learning_rate=1e30), connect)
        (tracked,) = recorded(warm_home)
        assert tracked.info.status == "FAILED"
        assert tracked.data.tags["reason"] == str(error.value)
        assert "learning_rate=1e+30" in str(error.value)
    assert list(warm_home.store.keys("run")) == []


def test_a_bug_of_ours_fails_the_run_with_its_name(context, connect, warm_home):
    with pytest.raises(ZeroDivisionError):
        run(context(progress=interrupted_at(1, ZeroDivisionError("ours"))), connect)
    (tracked,) = recorded(warm_home)
    assert (tracked.info.status, tracked.data.tags["reason"]) == ("FAILED", "ZeroDivisionError: ours")


def test_a_mistake_that_shows_before_training_leaves_no_run(context, connect, warm_home):
    with pytest.raises(DataError, match="batch_size is 99999"):
        run(context(train__batch_size=99999), connect)
    assert recorded(warm_home) == []


def test_a_tracking_server_that_is_away_is_known_before_anything_is_trained(home):
    def connect():
        raise TrackingError("no tracking server answers")

    with pytest.raises(TrackingError):
        run(Context(quick_config(), home), connect)
    assert not home.store.root.exists()


@pytest.fixture
def interruptible():
    """Ctrl-C raises KeyboardInterrupt, as in a program; a suite started with `&` would ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def press_ctrl_c_in_a_block(times):
    with uninterrupted():
        for _ in range(times):
            signal.raise_signal(signal.SIGINT)
            yield


def test_ctrl_c_waits_for_the_end_of_an_uninterrupted_block(interruptible):
    block = press_ctrl_c_in_a_block(1)
    next(block)
    with pytest.raises(KeyboardInterrupt):
        next(block)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_second_ctrl_c_does_not_wait(interruptible):
    block = press_ctrl_c_in_a_block(3)
    next(block)
    with pytest.raises(KeyboardInterrupt):
        next(block)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_block_without_a_signal_and_one_in_another_thread_change_nothing(interruptible):
    with uninterrupted():
        pass
    handlers = []

    def work():
        with uninterrupted():
            handlers.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert handlers == [signal.getsignal(signal.SIGINT)] == [signal.default_int_handler]


@pytest.mark.parametrize("moment", ["open_run", "log_epoch", "log_image", "log_table"])
def test_ctrl_c_in_the_middle_of_a_call_to_the_tracker_leaves_a_killed_run_that_goes_on(
    context, warm_home, moment, interruptible
):
    from pipeline import tracking

    owner = MlflowTracker if moment == "open_run" else tracking.MlflowRun
    called = getattr(owner, moment)

    def press_ctrl_c(*args, **options):
        signal.raise_signal(signal.SIGINT)
        return called(*args, **options)

    def connect():
        return MlflowTracker.connect(warm_home, EXPERIMENT, on_warning=pytest.fail)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(owner, moment, press_ctrl_c)
        with pytest.raises(KeyboardInterrupt):
            run(context(), connect)
    (tracked,) = recorded(warm_home)
    assert (tracked.info.status, tracked.data.tags["reason"]) == ("KILLED", "interrupted; repeat the command to go on")
    assert run(context(), connect).run_id == tracked.info.run_id
    assert recorded(warm_home)[0].info.status == "FINISHED"


def test_a_closed_run_has_the_status_that_is_true():
    class Spy:
        finished = False

        def __init__(self):
            self.closed = []

        def close(self, status, reason=""):
            self.closed.append((status, reason))

    def status(error):
        spy = Spy()
        with pytest.raises(type(error)) if error else closing(spy), closing(spy):
            if error:
                raise error
        return spy.closed[0]

    assert status(None) == ("FINISHED", "")
    assert status(DataError("too small")) == ("FAILED", "too small")
    assert status(ValueError("ours")) == ("FAILED", "ValueError: ours")
    assert status(KeyboardInterrupt())[0] == "KILLED"
    assert status(SystemExit())[0] == "KILLED"


# ---- what is stored


def test_execute_needs_no_tracker_and_its_outcome_is_read_back_equal(context, warm_home):
    outcome = execute(context(), "val")
    again = load_outcome(warm_home, outcome.key)
    assert again == outcome
    assert again.config == quick_config()
    assert sorted(again.epoch_grids) == [1, 3]
    assert all(path.exists() for path in (*again.grids.values(), *again.epoch_grids.values()))
    assert set(outcome.metrics) >= {"val/neg_elbo", "val/conditional_accuracy", "val/coverage_relative"}
    assert not any(key.startswith("test/") for key in outcome.metrics)


def test_a_run_is_found_by_name_by_key_and_by_the_beginning_of_either(context, warm_home):
    outcome = execute(context(), "val")
    for name in (outcome.name, outcome.key, outcome.key[:6], outcome.name[:-4]):
        assert find_run(warm_home, name).key == outcome.key


def test_a_report_can_be_written_anew_from_the_store_alone(context, connect, warm_home):
    result = run(context(), connect)
    first = result.report.read_text()
    result.report.unlink()
    assert write_run_report(find_run(warm_home, result.outcome.name), warm_home) == result.report
    assert result.report.read_text() == first


def test_the_history_as_csv_reads_back_to_the_same_numbers():
    rows = [{"epoch": 1, "train/loss": 0.1 + 0.2}, {"epoch": 2, "train/loss": 1e-7}]
    header, *lines = history_csv(rows).splitlines()
    assert header == "epoch,train/loss"
    assert [float(line.split(",")[1]) for line in lines] == [0.1 + 0.2, 1e-7]


def test_prerequisites_train_no_model(context, warm_home):
    prerequisites(context(), ("val", "test"))
    assert list(warm_home.store.keys("train")) == []
