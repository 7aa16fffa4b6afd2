"""A folder of colour images of one's own, from path to report: names as they are, small classes without scores."""

import json
import shutil

import numpy as np
import pytest
from helpers import mlflow_client
from PIL import Image

from pipeline import api, tracking
from pipeline.config.flags import flags
from pipeline.config.reading import build_config, usual_config
from pipeline.config.settings import keyed
from pipeline.data.sources.own import look
from pipeline.errors import ConfigError, StudyError
from pipeline.runs.needs import family
from pipeline.runs.planning import Measured
from pipeline.runs.stored import Known
from pipeline.stages.graph import run_key

NAMES = {"null": 60, "#7 <b>|$x$_*": 60, "été 猫": 60, "rare": 5}
COLOURS = ((230, 40, 40), (40, 200, 60), (50, 80, 230), (240, 220, 60))
SETTINGS = {
    "model.hidden": [32],
    "model.latent_dim": 3,
    "train.epochs": 3,
    "judge.epochs": 4,
    "judge.mlp_epochs": 4,
    "evaluate.draws": 1,
    "score.per_class": 30,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Discs in a colour and place of their class on a light ground, 12 x 10."""
    root = tmp_path_factory.mktemp("own") / "my discs #1"
    noise = np.random.default_rng(0)
    y, x = np.mgrid[:12, :10]
    for (name, n), colour, at in zip(NAMES.items(), COLOURS, ((4, 3), (4, 6), (8, 3), (8, 6)), strict=True):
        (root / name).mkdir(parents=True)
        for i in range(n):
            image = np.full((12, 10, 3), 235) + noise.integers(-8, 9, (12, 10, 3))
            centre = noise.normal(at, 0.6)
            image[(y - centre[0]) ** 2 + (x - centre[1]) ** 2 < 6] = colour
            Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(root / name / f"{i}.png")
    (root / "rare" / "Thumbs.db").write_bytes(b"")
    return root


def test_a_run_on_a_folder_of_colour(folder, home, tmp_path):
    said = []
    config = api.configure(str(folder), SETTINGS)
    result = api.run(config, say=said.append)
    outcome = result.outcome
    assert "prepare: left out: 1 file (1 hidden)" in said
    assert outcome.facts["shape"] == [3, 12, 10]
    assert outcome.facts["too_small"] == ["rare"]
    assert result.name.startswith("my-discs-1-cvae-")
    assert api.samples(result, label="null", n=2).shape == (2, 12, 10, 3)
    assert outcome.per_class["table"]["class"] == ["#7 <b>|$x$_*", "null", "rare", "été 猫"]
    assert outcome.per_class["table"]["coverage"][2] is None
    assert result.metrics["test/coverage_images"] == 12
    with Image.open(outcome.picture) as grid:
        assert (grid.mode, grid.size) == ("RGB", (10 * 11 - 1, 4 * 13 - 1))
    moved = shutil.copytree(folder, tmp_path / "discs")
    step = api.plan_run(api.configure(str(moved), SETTINGS | {"train.epochs": 4})).to_do[0]
    assert step.why.startswith("epochs 4, against my-discs-1-cvae-")
    assert step.seconds is not None, "measured on the same images, elsewhere"

    assert outcome.facts["class_images"]["test"][2] == 1
    page = result.report.read_text()
    assert "Coverage and vendi on " in page
    assert "There are too few images to judge 1 of 4 classes by (rare)" in page
    assert "n/a" in page
    assert "left out: 1 file (1 hidden)" in page
    assert "<b>|$x$" not in page, "a name is text"
    assert f"--dataset '{folder}'" in page.replace("&#39;", "'")
    assert "data.content" not in page.split("[data]")[0]
    markdown = result.report.with_suffix(".md").read_text()
    assert "n/a" in markdown

    [run] = mlflow_client(home).search_runs(["1"])
    assert run.data.tags["dataset"] == "my discs #1"
    assert run.data.params["data.content"] == config.data.content
    table = json.loads(mlflow_text(home, run, "per_class.json"))
    assert table["data"][2][0] == "rare"
    assert None in table["data"][2]


def test_images_that_lie_elsewhere_by_now_are_the_same_images(folder, home, tmp_path):
    config = api.configure(str(folder), SETTINGS)
    moved = tmp_path / "elsewhere" / "discs"
    shutil.copytree(folder, moved)
    there = api.configure(str(moved), SETTINGS)
    assert there.data != config.data
    assert there.data.same_images(config.data)
    assert there.anywhere == config.anywhere
    assert keyed(there.flat()) == keyed(config.flat())
    assert family(there) == family(config)
    assert run_key(there, "test") == run_key(config, "test")

    near, far = Known(home, "b"), Known(home, "a")
    near.__dict__["config"], far.__dict__["config"] = config, there.with_settings({"model.latent_dim": 4})
    measured = Measured(home)
    measured.__dict__["runs"] = [far, near]
    assert measured.nearest(there) is near

    (next((moved / "null").glob("*.png"))).unlink()
    assert not api.configure(str(moved), SETTINGS).data.same_images(config.data)


def test_a_study_goes_on_wherever_its_images_lie_and_with_no_others(folder, home, tmp_path):
    config = api.configure(str(folder), SETTINGS)
    held = api.study(config, name="discs", objectives=("neg_elbo",), window=1)
    moved = tmp_path / "discs"
    shutil.copytree(folder, moved)
    assert api.continue_study(held, {"data.dataset": str(moved)}).base.data.dataset == str(moved)
    (next((moved / "null").glob("*.png"))).unlink()
    others = api.configure(str(moved), SETTINGS).data.content
    with pytest.raises(StudyError, match=rf"data\.content was {config.data.content[:16]}, now {others[:16]}; data\.im"):
        api.continue_study(held, {"data.dataset": str(moved)})


def mlflow_text(home, run, name: str) -> str:
    return tracking.mlflow_module().artifacts.load_text(f"{run.info.artifact_uri}/{name}")


def test_what_is_prepared_says_how_unequal_its_classes_are(folder, home, command):
    code, out, err = command("prepare", "--dataset", folder)
    assert code == 0, err
    assert "classes of 5 images (rare) to 60 (été 猫)" in out


def test_a_configuration_names_its_images_by_content_and_its_command_by_path(folder, home):
    config = api.configure(str(folder), SETTINGS)
    with pytest.raises(ConfigError, match=r"data\.content"):
        build_config({"data": {"dataset": str(folder), "content": "0" * 64}}, look=look)
    assert flags(config).startswith(f"--dataset '{folder}'")
    assert usual_config(config).data.content == config.data.content
