"""The Python API: the commands' own functions, with values in and out."""

import subprocess
import sys

import numpy as np
import pytest
from helpers import quick_config

from pipeline import api
from pipeline.config.flags import DAILY
from pipeline.config.reading import build_config
from pipeline.errors import ConfigError, DamageError, StudyError
from pipeline.models.sampling import generation_grid


def test_importing_it_loads_no_library():
    program = (
        "import sys, pipeline.api; print(sorted({'torch', 'mlflow', 'optuna', 'pandas', 'numpy'} & {*sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_configure_takes_the_names_of_the_flags_and_full_names():
    config = api.configure("digits", beta=2.0, lr=0.01, hidden="32,16", settings={"judge.epochs": 3})
    settings = {"train.beta": 2.0, "train.learning_rate": 0.01, "model.hidden": "32,16", "judge.epochs": 3}
    assert config == build_config(flags={"data.dataset": "digits"} | settings)


def test_configure_refuses_a_name_that_does_not_exist():
    with pytest.raises(ConfigError, match="unknown setting betta; there are dataset, model, arch, beta"):
        api.configure("digits", betta=2.0)
    with pytest.raises(ConfigError, match=r"train\.betta"):
        api.configure("digits", settings={"train.betta": 2.0})


def test_every_daily_flag_has_a_setting_of_its_own():
    assert len({f.setting for f in DAILY}) == len({f.option for f in DAILY}) == len(DAILY)
    assert {f.setting for f in DAILY} <= build_config().flat().keys()


@pytest.fixture
def ran(warm_home, capsys):
    result = api.run(quick_config(), home=warm_home)
    assert capsys.readouterr() == ("", "")
    return result


def test_a_run_is_its_numbers_its_history_its_model_and_is_found_again(ran, warm_home):
    assert ran.metrics["test/neg_elbo"] == pytest.approx(ran.metrics["test/bce"] + ran.metrics["test/kl"])
    assert ran.history["epoch"].tolist() == [1, 2, 3]
    assert ran.report.exists()
    again = api.load_run(ran.name, home=warm_home)
    assert (again.metrics, again.config) == (ran.metrics, ran.config)
    assert all(a.equal(b) for a, b in zip(ran.model.parameters(), again.model.parameters(), strict=True))


def test_samples_are_those_of_the_report_and_depend_on_the_seed_alone(ran):
    images = api.samples(ran, label=3, n=4, seed=5)
    assert images.shape == (4, 8, 8)
    assert images.min() >= 0
    assert images.max() <= 1
    assert np.array_equal(images, api.samples(ran, label="3", n=4, seed=5))
    assert not np.array_equal(images, api.samples(ran, label=3, n=4, seed=6))
    # Of each class they are the row of the report's grid, however many are asked for.
    grid = generation_grid(ran.model, columns=10, seed=0, prior=ran.prior).view(10, 10, 8, 8)
    for label in (0, 7):
        assert np.allclose(api.samples(ran, label=label, n=30)[:10], grid[label].numpy(), atol=1e-6)


def test_an_interrupted_call_leaves_what_the_next_one_goes_on_from(warm_home):
    """As a notebook's kernel is interrupted: in this process, in the middle of an epoch."""
    from helpers import mlflow_client

    def interrupt(what, done, total, note):
        if what == "train" and done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        api.run(quick_config(), home=warm_home, progress=interrupt)
    client = mlflow_client(warm_home)
    [run] = client.search_runs([client.get_experiment_by_name("cvae-pipe").experiment_id])
    assert run.info.status == "KILLED"
    seen = []
    again = api.run(quick_config(), home=warm_home, progress=lambda what, done, *_: seen.append((what, done)))
    assert min(done for what, done in seen if what == "train") >= 2, "epochs that were over are not trained again"
    assert again.run_id == run.info.run_id
    assert client.get_run(again.run_id).info.status == "FINISHED"
    assert [point.step for point in client.get_metric_history(again.run_id, "train/loss")] == [1, 2, 3]


def test_a_bar_draws_one_line_that_goes_away(monkeypatch):
    import types

    drawn = []
    handle = types.SimpleNamespace(update=drawn.append)
    shown = types.SimpleNamespace(HTML=str, display=lambda html, display_id: drawn.append(html) or handle)
    monkeypatch.setitem(sys.modules, "IPython", types.SimpleNamespace(display=shown))
    monkeypatch.setitem(sys.modules, "IPython.display", shown)
    bar = api.bar()
    for done in range(4):
        bar("train", done, 3, "val <bce> 20")
        bar._drawn = 0.0
    assert drawn[0] == '<progress max="3" value="0"></progress> train 0/3 val &lt;bce&gt; 20'
    assert (len(drawn), drawn[-1]) == (4, "")
    bar("writing", 0, 1, "")
    assert drawn[-1] == '<progress max="1"></progress> writing ..'


def test_mlflow_loads_its_model_and_has_it_as_a_child_of_ones_own_run(ran, warm_home, monkeypatch):
    import json

    import pandas as pd

    from pipeline.tracking import mlflow_module, surrounding_run, tracking_uri

    mlflow = mlflow_module()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", tracking_uri(warm_home))
    model = mlflow.pyfunc.load_model(f"runs:/{ran.run_id}/model")
    served = model.predict(pd.DataFrame({"label": [3], "n": 4, "seed": 5}))
    np.testing.assert_allclose(served, api.samples(ran, label=3, n=4, seed=5), atol=1e-6)
    # Inside one's own run it is a child of that, in its experiment; where that is in another store, it is said to be.
    client = mlflow.MlflowClient()
    with mlflow.start_run(experiment_id=client.create_experiment("mine")) as mine:
        child = api.run(ran.config, home=warm_home)
        assert api.run(ran.config, home=warm_home).run_id == child.run_id != ran.run_id
        said = []
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{warm_home.root / 'other.db'}")
            assert surrounding_run(warm_home, said.append) is None
        assert "is not in sqlite:///" in said[0]
    found = client.get_run(child.run_id)
    assert found.data.tags["mlflow.parentRunId"] == mine.info.run_id
    assert found.info.experiment_id == mine.info.experiment_id
    assert found.info.status == "FINISHED"
    assert found.data.metrics["test/neg_elbo"] == ran.metrics["test/neg_elbo"]
    assert api.run(ran.config, home=warm_home).run_id == ran.run_id
    # Its numbers lie beside its report, for programs.
    beside = json.loads(ran.report.with_name("metrics.json").read_text())
    assert beside["metrics"] == ran.metrics
    assert beside["settings"]["train.epochs"] == 3
    # In a notebook it shows itself.
    html = ran._repr_html_()
    assert "test/neg_elbo" in html
    assert f"{ran.metrics['test/neg_elbo_expost']:.2f}" in html
    assert '<img alt="generated images, one row per class" src="data:image/png;base64,' in html
    assert ran.generator.of_labels([3], 4)._repr_png_().startswith(b"\x89PNG")


@pytest.mark.parametrize("label", [-1, 10, "ten"])
def test_a_label_that_is_none_is_refused(ran, label):
    with pytest.raises(ConfigError, match="it must be 0 to 9, or one of 0, 1"):
        api.samples(ran, label=label, n=1)


def test_a_model_whose_weights_are_gone_is_not_trained_again_in_silence(ran, warm_home):
    import shutil

    shutil.rmtree(warm_home.root / ".cache" / "store" / "train")
    with pytest.raises(DamageError, match="are not in the store"):
        _ = api.Run(ran.outcome, warm_home).model


def test_a_study_that_is_not_there_is_named(warm_home):
    with pytest.raises(StudyError, match="there is no study 'nothing'; studies are none yet"):
        api.load_study("nothing", home=warm_home)
