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
