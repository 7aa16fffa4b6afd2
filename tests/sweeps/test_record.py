"""What MLflow shows of a sweep: readable names, the front marked as it moves, a champion that generates our images."""

import json
import os
import shutil
import subprocess
import sys
import time
import urllib.parse
from dataclasses import replace

import numpy as np
import optuna
import pandas as pd
import pytest
from helpers import assert_same_contents, mlflow_client, mlflow_contents, quick_config

from pipeline import tracking
from pipeline.api import Run, samples
from pipeline.config.sections import ModelConfig
from pipeline.experiments.record import served_model, setting_label
from pipeline.models.building import built
from pipeline.stages.context import Context
from pipeline.stages.train import train
from pipeline.store.home import Home
from pipeline.tracking import MlflowTracker, registered_name
from sweeps.driver import sweep
from sweeps.execution.local import LocalExecutor
from sweeps.record import project, trial_title
from sweeps.reporting.notebook import study_html
from sweeps.study.closing import Closing
from sweeps.study.config import StudyConfig
from sweeps.study.objective import chosen
from sweeps.study.space import DEFAULT_SPACE, build_space
from sweeps.sync import sync
from sweeps.tracked import TrackedJobs

CONFIG = StudyConfig('it\'s a "study"', quick_config(train__epochs=2), DEFAULT_SPACE, chosen((), "cvae", "standard"))
NAME = registered_name(CONFIG.name)


def run_sweep(home: Home, *, trials: int = 3, final_seeds: int = 1):
    return sweep(
        Context(CONFIG.base, home),
        CONFIG,
        trials=trials,
        closing=Closing(final_seeds),
        connect=lambda: MlflowTracker.connect(home, "cvae-pipe", on_warning=print),
        make_executor=lambda home: LocalExecutor(home, 1),
        workers=1,
    )


@pytest.fixture(scope="module")
def swept(warm_root, tmp_path_factory):
    """A home with a finished sweep of three trials and one final, and what the sweep handed back."""
    root = tmp_path_factory.mktemp("projection") / "home"
    shutil.copytree(warm_root, root)
    home = Home(root, root / "data")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        yield home, run_sweep(home)


@pytest.fixture
def copy(swept, tmp_path):
    """A copy of that home to change, artifacts included, with the sweep's summary."""
    home, result = swept
    shutil.copytree(home.root, tmp_path / "home")
    return Home(tmp_path / "home", tmp_path / "home" / "data"), result.summary


def jobs_of(home: Home, on_warning=print) -> TrackedJobs:
    tracker = MlflowTracker.connect(home, "cvae-pipe", on_warning=on_warning)
    [parent] = runs_of(home, "tags.kind = 'study'")
    run = tracking.MlflowRun(tracker._link, parent)
    return TrackedJobs(Context(CONFIG.base, home), tracker, None, run, CONFIG.name, float("inf"))


def runs_of(home: Home, query: str):
    client = mlflow_client(home)
    return client.search_runs([client.get_experiment_by_name("cvae-pipe").experiment_id], query)


def links_of(home: Home) -> dict[str, str]:
    return tracking.ui_links(home, "cvae-pipe", tracking.ui_base(home))


def tagged(home: Home, tag: str) -> set[int]:
    return {int(run.data.tags["trial"]) for run in runs_of(home, f"tags.{tag} = 'true'")}


# ------------------------------------------------------------------------------------------------------- names


def test_a_trials_name_is_its_number_and_what_it_tried():
    params = {"beta": 1.5987, "latent_dim": 9, "learning_rate": 0.004321}
    assert trial_title(7, params, DEFAULT_SPACE) == "trial 07 · β1.6 z9 lr0.0043"
    space = build_space(entries=["learning_rate=off", "latent_dim=off", "warmup_epochs=0:5:linear"])
    assert trial_title(123, {"beta": 10.0, "warmup_epochs": 2.0}, space) == "trial 123 · β10 warmup epochs 2"
    assert setting_label("train.batch_size", 128) == "batch size 128"


def test_trials_sort_by_number_and_say_what_they_scored(swept):
    home, _ = swept
    trials = sorted(runs_of(home, "tags.trial LIKE '%'"), key=lambda run: run.data.metrics["trial"])
    assert [run.info.run_name[:8] for run in trials] == ["trial 00", "trial 01", "trial 02"]
    for run in trials:
        note = run.data.tags["mlflow.note.content"]
        assert "2 epochs" in note
        assert "val/neg_elbo" in note
        assert f"{run.data.metrics['val/conditional_accuracy']:.4f}" in note


def test_the_table_of_runs_shows_the_numbers_that_the_study_compares(swept):
    home, result = swept
    for run in runs_of(home, "tags.trial LIKE '%'"):
        row = result.summary.row(int(run.data.tags["trial"]))
        for objective in CONFIG.objectives:
            assert run.data.metrics[objective.key] == pytest.approx(row[objective.name], abs=1e-12)


# -------------------------------------------------------------------------------------------------- front and view


def test_the_front_and_the_choice_are_tagged_and_untagged_when_they_move(copy):
    home, summary = copy
    assert tagged(home, "front") == set(summary.front)
    assert tagged(home, "chosen") == {summary.chosen}
    moved = replace(summary, front=(2,), chosen=2, finals=())
    for _ in range(2):  # repeated, it changes nothing
        project(jobs_of(home), moved)
        assert tagged(home, "front") == {2}
        assert tagged(home, "chosen") == {2}
    [trial] = runs_of(home, "tags.chosen = 'true'")
    assert trial.info.status == "FINISHED"


def test_the_parent_describes_the_choice_with_links_and_a_picture_that_exists(swept):
    home, result = swept
    [parent] = runs_of(home, "tags.kind = 'study'")
    note, client = parent.data.tags["mlflow.note.content"], mlflow_client(home)
    assert f"the balanced one is trial {result.summary.chosen}" in note
    assert f"get-artifact?path=generated.png&run_uuid={parent.info.run_id}" in note
    assert f"runs/{parent.info.run_id}/artifacts/report.html" in note
    assert f"#/models/{NAME}" in note
    [final] = runs_of(home, "tags.final = 'true'")
    assert f"runs/{final.info.run_id}?" in note
    assert all(f"\n| {n}" in note or f"| **{n}**" in note for n in result.summary.front)
    assert {"generated.png", "report.html"} <= {f.path for f in client.list_artifacts(parent.info.run_id)}


def test_a_view_of_the_trials_is_saved_once(swept):
    home, result = swept
    tags = mlflow_client(home).get_experiment_by_name("cvae-pipe").tags
    [view] = [value for key, value in tags.items() if key.startswith("mlflow.sharedViewState.")]
    run_sweep(home)
    tags = mlflow_client(home).get_experiment_by_name("cvae-pipe").tags
    assert [value for key, value in tags.items() if key.startswith("mlflow.sharedViewState.")] == [view]
    assert result.run_id in view
    # Re-trainings are children on validation, too; they are no trials, and do not stand among them.
    state = json.loads(json.loads(view)["state"])
    shown = runs_of(home, state["searchFilter"])
    assert {run.data.tags["trial"] for run in shown} == {"0", "1", "2"}
    [trials] = [link for name, link in links_of(home).items() if name == "trials"]
    assert "trial" in urllib.parse.unquote(trials).split("searchFilter=")[1].split("&")[0].split("LIKE")[0]


def test_optuna_opens_the_ledger_with_names_and_keys(swept):
    """What its own plots and its dashboard have to go by."""
    home, result = swept
    study = optuna.load_study(study_name=CONFIG.name, storage=f"sqlite:///{home.mlruns / 'optuna.db'}")
    assert study.metric_names == [objective.name for objective in CONFIG.objectives]
    for trial in study.trials:
        assert trial.user_attrs["run_key"] == result.summary.outcomes[trial.number].key
        run = mlflow_client(home).get_run(trial.user_attrs["run_id"])
        assert run.data.tags["run_key"] == trial.user_attrs["run_key"][:16]
        assert run.data.tags["trial"] == str(trial.number)
    assert study.trials_dataframe().columns.str.startswith("values_").sum() == len(CONFIG.objectives)


def test_a_reports_folder_has_its_numbers_for_programs(swept):
    home, result = swept
    found = json.loads((home.reports / CONFIG.name / "metrics.json").read_text())
    assert found["chosen"]["trial"] == result.summary.chosen
    assert found == json.loads(json.dumps(result.summary.document()))
    html = study_html(result.summary, result.report)  # what a notebook shows
    assert f"the balanced one is trial {result.summary.chosen}: beta " in html
    assert html.count("<table>") == 2
    assert all(f">{n}</td>" in html for n in result.summary.front)
    assert "data:image/png;base64," in html


# -------------------------------------------------------------------------------------------------- the champion


def champion_of(home: Home):
    return mlflow_client(home).get_model_version_by_alias(NAME, "champion")


def versions_of(home: Home) -> list[str]:
    return sorted(str(v.version) for v in mlflow_client(home).search_model_versions(f"name = '{NAME}'"))


def test_a_registered_name_fits_an_address_and_no_two_studies_share_one():
    assert registered_name("demo-1.b_C") == "demo-1.b_C"
    names = {registered_name(s) for s in ("a b", "a:b", "a/b", "<a b>", "é", "ü", "", "a-b", "a@b")}
    assert len(names) == 9
    assert all(name and set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-._") for name in names)


def test_the_champion_loads_by_its_alias_and_generates_exactly_our_samples(swept, monkeypatch):
    home, result = swept
    mlflow = tracking.mlflow_module()
    uri = tracking.tracking_uri(home)
    program = (
        "import sys, mlflow, numpy as np, pandas as pd; mlflow.set_tracking_uri(sys.argv[1])\n"
        "model = mlflow.pyfunc.load_model(sys.argv[2])\n"
        "labels = pd.DataFrame({'label': np.arange(10), 'n': 3, 'seed': 5})\n"
        "np.save(sys.argv[3], model.predict(labels))\n"
        "names = labels.astype({'label': str})\n"
        "np.save(sys.argv[4], model.predict(names))\n"
        "try: model.predict(pd.DataFrame({'label': [10]}))\n"
        "except Exception as error: assert 'label is 10; it must be 0 to 9' in str(error), error\n"
        "else: raise AssertionError('a label that is none')\n"
        "carried = sys.modules['pipeline.models.generation'].__file__\n"
        "assert '/code/pipeline/' in carried, f'{carried} is not the code that the model carries'\n"
    )
    files = [str(home.root / f"{name}.npy") for name in ("indices", "names")]
    environment = {k: v for k, v in os.environ.items() if "MLFLOW" not in k} | {"MLFLOW_DISABLE_TELEMETRY": "true"}
    model = f"models:/{NAME}@champion"
    subprocess.run([sys.executable, "-c", program, uri, model, *files], check=True, env=environment, cwd=home.root)
    [final] = result.summary.finals
    run = Run(final, home)
    ours = np.concatenate([samples(run, label, 3, seed=5) for label in range(10)])
    for file in files:
        served = np.load(file)
        assert served.shape == (30, 8, 8)
        np.testing.assert_allclose(served, ours, atol=1e-6)
    assert mlflow.get_tracking_uri() != uri  # nothing of ours sets it


def test_what_is_registered_holds_no_pickle(swept):
    home, _ = swept
    client, champion = mlflow_client(home), champion_of(home)
    folder = client.download_artifacts(champion.run_id, "model", str(home.root / ".cache"))
    names = [file for _, _, files in os.walk(folder) for file in files]
    assert "model.safetensors" in names
    assert "served_model.py" in names
    assert not [name for name in names if name.endswith((".pkl", ".pickle", ".pt", ".pth", ".bin"))]


def test_a_replay_registers_nothing_twice_and_another_choice_is_another_version(copy):
    home, summary = copy
    assert versions_of(home) == ["1"]
    first = champion_of(home)
    project(jobs_of(home), summary)
    assert versions_of(home) == ["1"]
    other = next(n for n in (0, 1, 2) if n != summary.chosen)
    started = time.monotonic()
    project(jobs_of(home), replace(summary, front=(other,), chosen=other, finals=()))
    assert time.monotonic() - started < 10
    assert versions_of(home) == ["1", "2"]
    assert (str(champion_of(home).version), champion_of(home).tags["trial"]) == ("2", str(other))
    project(jobs_of(home), summary)  # back again: the version that is there
    assert versions_of(home) == ["1", "2"]
    assert (str(champion_of(home).version), champion_of(home).run_id) == ("1", first.run_id)


def test_an_outage_of_the_registry_stops_nothing_and_a_repeat_makes_up_for_it(copy, monkeypatch):
    home, summary = copy
    client = mlflow_client(home)
    client.delete_registered_model(NAME)
    warned = []
    jobs = jobs_of(home, on_warning=warned.append)

    def away(*arguments, **options):
        raise ConnectionError("the registry is away")

    monkeypatch.setattr(type(jobs.tracker._link.client), "get_registered_model", away)
    project(jobs, summary)
    assert len(warned) == 1
    assert "the registry is away" in warned[0]
    monkeypatch.undo()
    project(jobs_of(home), summary)
    assert champion_of(home).tags["trial"] == str(summary.chosen)


def test_a_registry_that_refuses_is_a_warning(copy, monkeypatch):
    home, summary = copy
    mlflow_client(home).delete_registered_model(NAME)
    warned = []
    jobs = jobs_of(home, on_warning=warned.append)
    exceptions = tracking.mlflow_module().exceptions

    def refuse(*arguments, **options):
        raise exceptions.MlflowException("no such source", error_code=1000)  # INVALID_PARAMETER_VALUE

    monkeypatch.setattr(type(jobs.tracker._link.client), "create_model_version", refuse)
    project(jobs, summary)
    assert len(warned) == 1
    assert "could not be registered (no such source)" in warned[0]


def test_the_architecture_that_is_registered_is_the_models_own(swept):
    home, result = swept
    [final] = result.summary.finals
    model = served_model(final, home)
    trained = train(Context(final.config, home)).model
    settings = {name: value for name, value in model.architecture.items() if name != "classes"}
    built_again = built(ModelConfig(**settings), shape=model.shape, classes=model.architecture["classes"])
    assert {k: v.shape for k, v in built_again.state_dict().items()} == {
        k: v.shape for k, v in trained.state_dict().items()
    }
    assert (model.shape, model.class_names) == ((1, 8, 8), tuple("0123456789"))


def test_labels_can_be_of_any_integer_type_and_a_default_fills_what_a_row_leaves_out():
    from pipeline.tracking.served_model import ConditionalSampler

    sampler = ConditionalSampler()
    sampler.model, sampler.class_names = type("Model", (), {"classes": 3, "conditional": True})(), ["a", "b", "c"]
    rows = pd.DataFrame({"label": np.array([2, 0], dtype=np.uint8), "n": [4, None]}).to_dict("records")
    assert [sampler._request(row) for row in rows] == [(2, 4, 0, 1.0), (0, 1, 0, 1.0)]
    assert sampler._request({"label": "b", "temperature": 0}) == (1, 1, 0, 0.0)
    with pytest.raises(tracking.mlflow_module().exceptions.MlflowException, match="label is -1; it must be 0 to 2, or"):
        sampler._request({"label": -1})


def test_a_convolutional_gaussian_with_a_learned_prior_is_served_as_it_was_trained(warm_home, tmp_path):
    from pipeline.models.sampling import generation_grid
    from pipeline.runs.execute import execute
    from pipeline.tracking.registry import package

    settings = {"model__arch": "conv", "model__conv_channels": "4,8", "model__learned_prior": True}
    config = quick_config(**settings, model__likelihood="gaussian", train__epochs=1, sampling__prior="standard")
    ctx = Context(config, warm_home)
    package(served_model(execute(ctx, "val"), warm_home), tmp_path / "model")
    program = (
        "import sys, mlflow, numpy as np, pandas as pd; model = mlflow.pyfunc.load_model('model')\n"
        "np.save('images.npy', model.predict(pd.DataFrame({'label': np.arange(10), 'n': 2, 'seed': 3})))\n"
        "carried = sys.modules['pipeline.models.convolutional'].__file__\n"
        "assert '/code/pipeline/' in carried, f'{carried} is not the code that the model carries'\n"
    )
    environment = {k: v for k, v in os.environ.items() if "MLFLOW" not in k} | {"MLFLOW_DISABLE_TELEMETRY": "true"}
    subprocess.run([sys.executable, "-c", program], check=True, env=environment, cwd=tmp_path)
    expected = generation_grid(train(ctx).model, columns=10, seed=3).view(10, 10, -1)[:, :2]
    found = np.load(tmp_path / "images.npy").reshape(10, 2, -1)
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-6)


# ------------------------------------------------------------------------------------- a tracker that knows nothing


def test_an_empty_database_is_told_everything_there_was(copy, warm_root, monkeypatch):
    home, _ = copy
    MlflowTracker.connect(home, "cvae-pipe", on_warning=pytest.fail)  # a copied home's locations follow it
    original = mlflow_contents(home)
    began = {run.data.tags["run_key"]: run.info.start_time for run in runs_of(home, "tags.trial LIKE '%'")}
    shutil.copy(warm_root / "mlruns" / "mlflow.db", home.mlruns / "new.db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{home.mlruns / 'new.db'}")
    done = synced(home)
    assert (len(done.recorded), done.present, done.skipped) == (len(original["runs"]), 0, {})
    assert_same_contents(mlflow_contents(home), original)
    for run in runs_of(home, "tags.trial LIKE '%'"):  # when it was trained, not when it was recorded
        assert abs(run.info.start_time - began[run.data.tags["run_key"]]) < 5000
    told = synced(home)
    assert (told.recorded, told.present) == ([], len(original["runs"]))


def test_what_one_run_lacks_is_made_up_for(copy):
    home, _ = copy
    before = {run.data.tags["run_key"]: run.data.metrics for run in runs_of(home, "")}
    [second] = runs_of(home, "tags.trial = '1'")
    mlflow_client(home).delete_run(second.info.run_id)
    assert synced(home).recorded == [f"{CONFIG.name}: trial 01", CONFIG.name]
    assert {run.data.tags["run_key"]: run.data.metrics for run in runs_of(home, "")} == before
    assert {run.info.status for run in runs_of(home, "")} == {"FINISHED"}


def synced(home: Home, **options):
    tracker = MlflowTracker.connect(home, "cvae-pipe", on_warning=pytest.fail)
    return sync(home, tracker, **options)
