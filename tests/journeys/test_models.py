"""A finished run put to use: generated from, exported, served, and asked for its recipes; bad requests in one line.

One run of a cvae on digits is made for all of these; nothing here trains another one but the recipes.
"""

import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
import warnings
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import free_port, quick_config
from PIL import Image
from safetensors.torch import load_file, save_file

from pipeline import api
from pipeline.config.sections import ModelConfig
from pipeline.errors import ConfigError, DataError, ExportError
from pipeline.exporting import onnx_file
from pipeline.exporting.onnx_file import write_onnx
from pipeline.exporting.plain import write_plain
from pipeline.exporting.programs import inputs_of, programs
from pipeline.grids import read_grid
from pipeline.models.building import built
from pipeline.models.generation import class_images
from pipeline.models.priors import ClassMixtures
from pipeline.reporting.blocks import Report
from pipeline.reporting.sections.anomalies import anomalies_section
from pipeline.reporting.sections.denoise import denoise_section
from pipeline.reporting.writing import write_report
from pipeline.runs.execute import execute
from pipeline.runs.generated import folder_name
from pipeline.runs.generator import load_generator
from pipeline.runs.outcome import load_outcome
from pipeline.runs.requests import format_of
from pipeline.stages.context import Context
from pipeline.stages.graph import ANOMALIES, DENOISE, PRIOR, TRAIN
from pipeline.store.home import Home
from pipeline.tracking.contract import ServedModel
from pipeline.tracking.registry import package

SHAPE = (1, 8, 8)


@pytest.fixture(scope="module")
def made(warm_root, tmp_path_factory):
    """A home with one run, executed without a ledger."""
    root = tmp_path_factory.mktemp("models") / "home"
    shutil.copytree(warm_root, root)
    home = Home(root, root / "data")
    return api.Run(execute(Context(quick_config(), home), "test"), home)


@pytest.fixture
def used(made, monkeypatch):
    """The same, as the home that commands find."""
    monkeypatch.setenv("CVAE_PIPE_HOME", str(made.home.root))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return made


@pytest.fixture
def image(made, tmp_path):
    """A generated 3 as a file."""
    path = tmp_path / "three.png"
    Image.fromarray((api.samples(made, 3, 1)[0] * 255).round().astype(np.uint8)).save(path)
    return path


# ---- generate


def test_all_classes_are_the_grid_of_the_report_pixel_by_pixel(used, command, tmp_path):
    code, _, err = command("generate", "--scale", 1, "--out", tmp_path / "all.png")
    assert code == 0, err
    ours, stored = read_grid(tmp_path / "all.png"), read_grid(used.outcome.grids["generated_expost"])
    assert ours.shape == stored.shape
    assert np.abs(ours.astype(int) - stored).max() <= 1, "a float's last bit may round to the next grey"
    command("generate", "--prior", "standard", "--scale", 1, "--out", tmp_path / "standard.png")
    stored = read_grid(used.outcome.grids["generated"])
    assert np.abs(read_grid(tmp_path / "standard.png").astype(int) - stored).max() <= 1


def test_an_archive_has_what_samples_gives_and_says_what_made_it(used, command, tmp_path):
    out = tmp_path / "deep" / "eights.npz"
    code, printed, err = command(
        *("generate", "--label", "8,1", "--n", 12, "--seed", 4, "--temperature", 0.5, "--out", out, "--json")
    )
    assert code == 0, err
    with np.load(out, allow_pickle=False) as archive:
        stored = dict(archive)
    assert stored["y"].tolist() == [8] * 12 + [1] * 12
    assert stored["class_names"].tolist() == list("0123456789")
    expected = np.concatenate([api.samples(used, label, 12, seed=4, temperature=0.5) for label in (8, "1")])
    np.testing.assert_allclose(stored["x"], expected, atol=1e-6)
    facts = json.loads(str(stored["facts"]))
    assert facts == {"run": used.name, "form": "labels", "prior": "mixture", "seed": 4, "temperature": 0.5}
    assert json.loads(printed)["files"] == [str(out)]
    before = out.read_bytes()
    command("generate", "--label", "8,1", "--n", 12, "--seed", 4, "--temperature", 0.5, "--out", out)
    assert out.read_bytes() == before


def test_a_folder_has_a_sub_folder_per_class_of_images_as_they_are(used, command, tmp_path):
    code, _, err = command("generate", "--label", "3..4", "--n", 2, "--out", f"{tmp_path}/folder/")
    assert code == 0, err
    names = sorted(str(p.relative_to(tmp_path / "folder")) for p in (tmp_path / "folder").rglob("*.png"))
    assert names == ["3/0000.png", "3/0001.png", "4/0000.png", "4/0001.png"]
    pixels = np.asarray(Image.open(tmp_path / "folder" / "4" / "0001.png"))
    assert np.abs(pixels - api.samples(used, 4, 2)[1] * 255).max() <= 0.51


def test_names_of_classes_are_folders_that_never_meet():
    names = ("a/b", "a:b", "null", "#", "Ärmel lang", "..", "a" * 300)
    found = [folder_name(names, i) for i in range(len(names))]
    assert found[2:5] == ["null", "#", "Ärmel lang"]
    assert len(set(found)) == len(names)
    assert all("/" not in name and name not in ("", ".", "..") and len(name) < 100 for name in found)


def test_the_other_forms_end_where_they_should(used, command, image, tmp_path):
    out = tmp_path / "made.npz"

    def made(*words):
        code, _, err = command("generate", *words, "--out", out)
        assert code == 0, err
        with np.load(out) as archive:
            return archive["x"], err

    turning, _ = made("--from", 3, "--to", 8, "--n", 2, "--steps", 5)
    assert turning.shape == (10, 8, 8)
    np.testing.assert_allclose(turning[[0, 5]], api.samples(used, 3, 2), atol=1e-6)
    styled, said = made("--style", image, "--label", "0..9")
    assert styled.shape == (11, 8, 8)
    assert re.search(r"read three\.png as \d, under which the model finds it likeliest", said)
    np.testing.assert_allclose(styled[0], np.asarray(Image.open(image)) / 255, atol=1e-6)
    told, said = made("--style", image, "--image-label", 3, "--label", 3)
    assert "read" not in said
    between, _ = made("--between", image, image, "--image-label", 3, "--image-label", 3, "--steps", 4)
    assert between.shape == (6, 8, 8)
    np.testing.assert_allclose(between[[1, 4]], told[[1, 1]], atol=1e-5)
    moved, _ = made("--traverse", "--label", 2, "--dims", "1,0")
    assert moved.shape == (26, 8, 8)
    np.testing.assert_allclose(moved[6], moved[19], atol=1e-6)  # both rows pass through z = 0


def test_the_best_is_the_newest_run_where_there_is_no_study_and_a_name_is_enough(used, command):
    for words in ((), ("--run", used.name[:12]), ("--run", used.outcome.key[:9])):
        code, out, err = command("generate", "--label", "8", "--json", *words)
        assert code == 0, err
        document = json.loads(out)
        assert document["run"] == used.name
        assert Path(document["files"][0]).parent == used.home.root / "generated"


def test_the_python_of_the_page_runs(used):
    page = (Path(__file__).parents[2] / "docs" / "MODELS.md").read_text(encoding="utf-8")
    [block] = [b for b in re.findall(r"^```python\n(.*?)^```", page, re.M | re.S) if "load_run" in b]
    found = {}
    exec(block, found)
    assert found["images"].shape == (8, 8, 8)
    assert found["turning"].shape == (45, 8, 8)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--label", "10"), "label is '10'; it must be 0 to 9, or one of 0, 1"),
        (("--label", "ten"), "label is 'ten'"),
        (("--label", "0..12"), "label is '12'"),
        (("--n", "0"), "--n is 0; it must be 1 or more"),
        (("--n", "1000000"), "10,000,000 images; at most 100,000"),
        (("--run", "nothing"), "there is no run 'nothing'"),
        (("--temperature", "nan"), "--temperature is nan"),
        (("--temperature", "-1"), "--temperature is -1.0"),
        (("--seed", "-1"), "--seed is -1"),
        (("--prior", "gmm"), "--prior is 'gmm'; it must be one of standard, gaussian, mixture"),
        (("--out", "x.jpg"), "it must end in .png (a sheet), .npz (arrays) or / (a folder)"),
        (("--from", "3"), "--from and --to go together"),
        (("--from", "3", "--to", "8", "--traverse"), "--from and --traverse ask for different pictures"),
        (("--from", "3", "--to", "8", "--steps", "1"), "--steps is 1; it must be 2 or more"),
        (("--dims", "1"), "--dims goes with --traverse"),
        (("--traverse", "--dims", "one"), "--dims is 'one'"),
        (("--traverse", "--dims", "4"), "--dims names 4; the model has the latent dimensions 0 to 3"),
        (("--style", "none.png"), "there is no image none.png"),
        (("--style", str(Path(__file__))), "cannot be read as an image"),
    ],
)
def test_a_request_that_cannot_be_meant_is_one_line_and_writes_nothing(
    used, command, tmp_path, monkeypatch, words, said
):
    monkeypatch.chdir(tmp_path)
    code, out, err = command("generate", *(() if "--out" in words else ("--out", "made.png")), *words)
    assert (code, out, err.count("\n")) == (2, "", 1), err
    assert err.startswith("error: ")
    assert said in err
    assert not list(tmp_path.iterdir())


def test_an_image_of_another_size_is_named_with_both_sizes(made, tmp_path):
    path = tmp_path / "wide.png"
    Image.fromarray(np.zeros((8, 9), np.uint8)).save(path)
    with pytest.raises(
        DataError, match=r"wide\.png is 8 x 9 pixels \(height x width\), and the model's images are 8 x 8"
    ):
        made.generator.style_of(path, [1])


def test_a_file_in_the_way_of_a_folder_is_said(tmp_path):
    (tmp_path / "file.png").touch()
    for out in (tmp_path / "file.png" / "x.png", f"{tmp_path}/file.png/in/"):
        with pytest.raises(ConfigError, match=r"but .*file\.png is a file"):
            format_of(out)


@pytest.mark.parametrize("stage", [TRAIN, PRIOR])
def test_a_damaged_model_is_one_line_and_nothing_is_trained(made, tmp_path, monkeypatch, command, stage):
    root = tmp_path / "home"
    shutil.copytree(made.home.root, root)
    monkeypatch.setenv("CVAE_PIPE_HOME", str(root))
    [weights] = Home(root, root).store.path(stage.name, stage.key(made.config)).glob("*.safetensors")
    content = bytearray(weights.read_bytes())
    content[-5] ^= 1
    weights.write_bytes(content)
    code, out, err = command("generate", "--label", "3")
    assert (code, out, err.count("\n")) == (2, "", 1), err
    assert "damaged" in err
    assert f"({weights.name})" in err
    assert weights.read_bytes() == content


def test_a_prior_of_another_kind_is_fitted_when_it_is_asked_for(made):
    images = {name: api.samples(made, 3, 5, prior=name) for name in (None, "mixture", "gaussian", "standard")}
    assert np.array_equal(images[None], images["mixture"])
    assert not np.allclose(images["gaussian"], images["standard"])
    with pytest.raises(ConfigError, match="--prior is 'flow'"):
        load_generator(made.home, made.outcome, prior="flow")


# ---- export


@pytest.fixture(scope="module")
def exported(made, tmp_path_factory):
    """All programs in plain files, and one in ONNX."""
    folder = tmp_path_factory.mktemp("exported") / "model"
    files = api.export(made, folder, safetensors=True)
    generator = {"generator": programs(made.model, made.prior, SHAPE)["generator"]}
    facts = {"run": made.name, "class_names": list(made.generator.class_names)}
    return {path.name: path for path in [*files, *write_onnx(folder, generator, made.model, SHAPE, facts)]}


def test_the_twenty_lines_of_the_page_run_what_is_exported_without_this_package(made, exported, tmp_path):
    page = (Path(__file__).parents[2] / "docs" / "MODELS.md").read_text(encoding="utf-8")
    [program] = [block for block in re.findall(r"^```python\n(.*?)^```", page, re.M | re.S) if "def program" in block]
    body = program.split("def program")[1].split("generate =")[0]
    assert len([line for line in body.splitlines() if line.strip()]) <= 20
    check = (
        "import sys\n"
        "sys.modules['pipeline'] = None  # cannot be imported\n"
        f"{program}\n"
        "assert images.shape == (4, 1, 8, 8) and 0 <= images.min() and images.max() <= 1\n"
        "asked = torch.load('asked.pt')\n"
        "torch.save({name: program('model', name)(**inputs) for name, inputs in asked.items()}, 'found.pt')\n"
    )
    model = made.model
    asked = {name: inputs_of(name, model, SHAPE, 7, seed=1) for name in ("generator", "decoder", "encoder")}
    torch.save(asked, tmp_path / "asked.pt")
    shutil.copytree(exported["model.json"].parent, tmp_path / "model")
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run([sys.executable, "-c", check], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = torch.load(tmp_path / "found.pt")
    made_here = programs(model, made.prior, SHAPE)
    with torch.no_grad():
        for name, inputs in asked.items():
            ours = made_here[name](**inputs)
            for one, other in zip(
                (ours,) if isinstance(ours, torch.Tensor) else ours, found[name].values(), strict=True
            ):
                torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-5)


def test_the_exported_generator_makes_the_images_of_samples(made, exported):
    import onnxruntime

    from pipeline.models.generation import class_noise

    session = onnxruntime.InferenceSession(str(exported["generator.onnx"]), providers=["CPUExecutionProvider"])
    noise, uniform = class_noise(3, 12, classes=10, latent_dim=4, seed=7)
    asked = {"label": np.full(12, 3), "noise": noise.numpy(), "uniform": uniform.numpy()}
    [images] = session.run(["images"], asked)
    np.testing.assert_allclose(images[:, 0], api.samples(made, 3, 12, seed=7), atol=1e-5)
    names = session.get_modelmeta().custom_metadata_map
    assert json.loads(names["class_names"]) == list("0123456789")
    assert names["run"] == made.name


@pytest.mark.soak
def test_every_program_is_within_1e_5_and_a_file_that_says_something_else_is_not_kept(made, tmp_path, monkeypatch):
    said = []
    files = api.export(made, tmp_path / "all", onnx=True, say=said.append)
    assert [path.name for path in files] == ["generator.onnx", "decoder.onnx", "encoder.onnx"]
    assert all(float(re.search(r"within (\S+) of", line)[1]) <= 1e-5 for line in said)
    monkeypatch.setattr(onnx_file, "_apart", lambda *arguments: math.nan)
    decoder = {"decoder": programs(made.model, made.prior, SHAPE)["decoder"]}
    (tmp_path / "none").mkdir()
    with pytest.raises(ExportError, match=r"decoder\.onnx differs from the model"):
        write_onnx(tmp_path / "none", decoder, made.model, SHAPE, {})
    assert not list((tmp_path / "none").iterdir())


KINDS = {
    "conv gaussian colour learned": (
        {"arch": "conv", "likelihood": "gaussian", "learned_prior": True, "conv_channels": (4,)},
        (3, 8, 6),
    ),
    "continuous bernoulli grey": ({"likelihood": "continuous_bernoulli"}, (1, 5, 4)),
    "continuous bernoulli colour": (
        {"arch": "conv", "likelihood": "continuous_bernoulli", "conv_channels": (4,)},
        (3, 7, 5),
    ),
}
"""Likelihoods, architectures and channels, beside the Bernoulli perceptron of all the others."""


def untrained(settings, shape):
    """A model with random weights, and a mixture for each of three classes."""
    config = ModelConfig(hidden=(12,), latent_dim=2, **settings)
    torch.manual_seed(0)
    model = built(config, shape=shape, classes=3).eval()
    with torch.no_grad():
        for parameter in model.parameters():  # a learned prior begins at N(0, I)
            parameter.add_(0.1 * torch.randn(parameter.shape))
    roots = torch.eye(2) + 0.3 * torch.rand(3, 2, 2, 2).tril()
    return config, model, ClassMixtures(torch.full((3, 2), 0.5), torch.randn(3, 2, 2), roots)


@pytest.mark.parametrize("kind", KINDS)
def test_every_likelihood_and_colour_is_exported_as_it_is(kind, tmp_path):
    settings, shape = KINDS[kind]
    _, model, prior = untrained(settings, shape)
    write_plain(tmp_path, programs(model, prior, shape), model, shape, {})
    page = (Path(__file__).parents[2] / "docs" / "MODELS.md").read_text(encoding="utf-8")
    [code] = [block for block in re.findall(r"^```python\n(.*?)^```", page, re.M | re.S) if "def program" in block]
    there: dict = {}
    exec(code.split("generate = ")[0], there)
    for name, ours in programs(model, prior, shape).items():
        inputs = inputs_of(name, model, shape, 5, seed=1)
        found = there["program"](tmp_path, name)(**inputs)
        with torch.no_grad():
            made = ours(**inputs)
        for one, other in zip((made,) if isinstance(made, torch.Tensor) else made, found.values(), strict=True):
            torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)
        if name != "encoder":
            assert made.shape == (5, *shape)
            assert 0 <= made.min() < made.max() <= 1, "means of pixels"


@pytest.mark.soak
@pytest.mark.parametrize("kind", KINDS)
def test_every_likelihood_and_colour_is_the_same_in_onnxruntime_and_served(kind, tmp_path):
    import mlflow

    settings, shape = KINDS[kind]
    config, model, prior = untrained(settings, shape)
    written = write_onnx(tmp_path, programs(model, prior, shape), model, shape, {})
    assert all(apart <= 1e-5 for apart in written.values())

    weights, density = tmp_path / "model.safetensors", tmp_path / "prior.safetensors"
    save_file(model.state_dict(), weights)
    save_file({name: getattr(prior, name) for name in ("weights", "means", "roots")}, density)
    names = ("red", "été", "#3")
    served = ServedModel(weights, asdict(config) | {"classes": 3}, shape, names, density)
    package(served, tmp_path / "served")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", list(sys.path))
        sampler = mlflow.pyfunc.load_model(str(tmp_path / "served"))
        found = sampler.predict([{"label": "été", "n": 4, "seed": 2, "temperature": 0.7}])
    expected = class_images(model, prior, [1], 4, seed=2, temperature=0.7)[0].unflatten(1, shape)
    expected = expected[:, 0] if shape[0] == 1 else expected.movedim(1, -1)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_without_the_packages_or_a_format_export_is_one_line(used, command, monkeypatch):
    import importlib.util

    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "onnx" else found(name, *rest))
    code, _, err = command("export", "--onnx")
    assert (code, err.count("\n")) == (2, 1)
    assert "--onnx needs onnx: pip install onnx" in err
    code, _, err = command("export")
    assert (code, err.count("\n")) == (2, 1)
    assert "--onnx, --safetensors, or both" in err


# ---- serve


@pytest.fixture(scope="module")
def packaged(made, tmp_path_factory):
    return api.package(made, tmp_path_factory.mktemp("packaged") / "model")


def test_what_is_packaged_pins_nothing_that_no_index_has_and_holds_no_pickle(packaged):
    requirements = (packaged / "requirements.txt").read_text(encoding="utf-8").split()
    assert {line.partition("==")[0] for line in requirements} == {
        *("mlflow", "torch", "safetensors", "numpy", "pandas", "jaxtyping")
    }
    assert not any("+" in line or "cvae" in line for line in requirements)
    names = [path.name for path in packaged.rglob("*") if path.is_file()]
    assert not [name for name in names if name.endswith((".pkl", ".pickle", ".pt", ".pth", ".bin"))]


@pytest.fixture(scope="module")
def sampler(packaged):
    """The model as its file makes it, in this process."""
    import mlflow

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", list(sys.path))
        yield mlflow.pyfunc.load_model(str(packaged))


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        ({"n": 1}, "label is None; it must be 0 to 9"),
        ({"label": 10}, "label is 10; it must be 0 to 9, or one of 0, 1"),
        ({"label": "ten"}, "label is 'ten'"),
        ({"label": 1.5}, "label is 1.5"),
        ({"label": 3, "n": 0}, "n is 0; it must be a whole number, 1 or more"),
        ({"label": 3, "n": "four"}, "n is 'four'"),
        ({"label": 3, "n": 10_001}, "10,001 images are asked for; it must be 1 to 10,000"),
        ({"label": 3, "seed": -1}, "seed is -1; it must be a whole number, 0 or more"),
        ({"label": 3, "temperature": -0.5}, "temperature is -0.5; it must be a finite number"),
        ({"label": 3, "temprature": 1}, "there is no 'temprature' in a request; it has label, n, seed and temperature"),
    ],
)
def test_a_bad_request_is_refused_in_words(sampler, request_, said):
    from mlflow.exceptions import MlflowException

    with pytest.raises(MlflowException) as refused:
        sampler.predict([request_])
    assert said in str(refused.value)
    assert refused.value.get_http_status_code() == 400


def ask(port, body):
    """Status and body of the server's answer to a request."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/invocations", body.encode(), {"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


@pytest.fixture(scope="module")
def port(sampler):
    """MLflow's scoring server on the packaged model, in a thread of this process."""
    import uvicorn
    from mlflow.pyfunc.scoring_server import init

    port = free_port()
    with warnings.catch_warnings(), pytest.MonkeyPatch.context() as patch:
        warnings.simplefilter("ignore")  # of the server's own libraries
        patch.delenv("MLFLOW_SERVING_ENVIRONMENT", raising=False)
        server = uvicorn.Server(uvicorn.Config(init(sampler), host="127.0.0.1", port=port, log_level="error"))
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        deadline = time.monotonic() + 30
        while not server.started:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield port
        server.should_exit = True
        thread.join(timeout=20)


def test_images_over_http_are_those_of_samples(made, port):
    records = [{"label": 3, "n": 4, "seed": 1, "temperature": 0.8}, {"label": "8"}]
    status, answer = ask(port, json.dumps({"dataframe_records": records}))
    assert status == 200, answer
    expected = [api.samples(made, 3, 4, seed=1, temperature=0.8), api.samples(made, 8, 1)]
    np.testing.assert_allclose(answer["predictions"], np.concatenate(expected), atol=1e-5)
    status, answer = ask(port, json.dumps({"inputs": {"label": [5], "n": [2]}}))
    assert status == 200, answer
    np.testing.assert_allclose(answer["predictions"], api.samples(made, 5, 2), atol=1e-5)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ('{"dataframe_records": [{"label": 12}]}', "label is 12; it must be 0 to 9"),
        ('{"dataframe_records": [{"label": 1, "n": 0}]}', "n is 0; it must be a whole number, 1 or more"),
        ('{"dataframe_records": [{', "valid JSON"),
        ("[]", "dataframe_records"),
    ],
)
def test_a_bad_request_over_http_is_answered_with_400_and_a_sentence(port, body, words):
    status, answer = ask(port, body)
    assert status == 400, answer
    assert words in answer


@pytest.mark.soak
def test_the_command_serves_until_it_is_interrupted(used, tmp_path):
    number = free_port()
    process = subprocess.Popen(
        [str(Path(sys.executable).with_name("cvae-pipe")), "serve", "--run", used.name, "--port", str(number)],
        env={**os.environ, "CVAE_PIPE_HOME": str(used.home.root)},
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        said = ""
        while "curl" not in said:
            line = process.stderr.readline()
            assert line, said
            said += line
        [example] = re.findall(r"-d '(.*)'", said)
        status, answer = ask(number, example)
        assert status == 200, answer
        expected = api.samples(used, "9", 4, seed=0, temperature=0.8)
        np.testing.assert_allclose(answer["predictions"], expected, atol=1e-5)
        assert ask(number, '{"dataframe_records": [{"label": 12}]}')[0] == 400
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
    assert process.returncode == 0
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(f"http://127.0.0.1:{number}/ping", timeout=5)


# ---- recipes


@pytest.fixture(scope="module")
def with_recipes(made):
    """The run with two levels of noise and a class held out."""
    for stage, setting, values in ((DENOISE, "denoise.level", (10, 50)), (ANOMALIES, "anomalies.held_out", (3,))):
        for value in values:
            stage.build(Context(made.config.with_settings({setting: value}), made.home), "test")
    return load_outcome(made.home, made.outcome.key)


def test_every_number_of_the_recipes_sections_is_derived_again(made, with_recipes):
    from sweeps.reporting.verify import verify

    sections = denoise_section(with_recipes), anomalies_section(with_recipes)
    assert [len(section.blocks) for section in sections] == [4, 3]
    _, html = write_report(Report("recipes", "", sections), made.home.reports / "recipes")
    page = html.read_text(encoding="utf-8")
    assert "denoise/50/gain/filtered" in page
    assert "anomalies/3/scores/excess_bce/auroc" in page
    found = verify(made.home, html)
    assert found.sound
    assert found.numbers > 30
    assert with_recipes.key == made.outcome.key, "a recipe makes no run another run"


def test_a_run_without_recipes_has_no_section_of_them(made):
    assert not denoise_section(made.outcome).blocks
    assert not anomalies_section(made.outcome).blocks


def test_the_held_out_class_is_the_strange_one_and_the_others_are_the_known_ones(with_recipes):
    facts = json.loads((with_recipes.anomalies[0] / "anomalies.json").read_text(encoding="utf-8"))
    assert facts["held_out"] == 3
    labels = labels_on_test(with_recipes)
    assert facts["images"] == {"held_out": labels.count(3), "known": len(labels) - labels.count(3)}
    assert facts["scores"]["excess_bce"]["auroc"] > 0.5


def labels_on_test(outcome):
    """The labels of its test images."""
    [tensors] = (outcome.anomalies[0].parents[1] / "prepare").glob("*/tensors.safetensors")
    return load_file(tensors)["test.labels"].tolist()


@pytest.mark.soak
def test_the_commands_of_the_recipes_write_their_sections_into_the_report_of_the_run(used, command):
    code, _, err = command("denoise", "--run", used.name, "--noise", "20")
    assert code == 0, err
    code, out, err = command("anomalies", "--run", used.name, "--held-out", "5", "--json")
    assert code == 0, err
    report = Path(json.loads(out)["report"])
    page = report.read_text(encoding="utf-8")
    assert "denoise/20/gain/filtered" in page
    assert "anomalies/5/scores/neg_elbo/auroc" in page
    assert command("verify", report)[0] == 0


def test_a_recipe_that_cannot_be_is_one_line(used, command):
    for words, said in (
        (("anomalies", "--run", used.name, "--held-out", "ten"), "label is 'ten'; it must be 0 to 9"),
        (("denoise", "--run", used.name, "--beta", "3"), "--run takes every setting from a run"),
        (("denoise", "--run", "nothing"), "there is no run 'nothing'"),
        (("denoise", "--noise", "10,200"), "denoise.level is 200; it must be 1 to 100 per cent"),
        (("denoise", "--noise", "some"), "--noise is 'some'"),
    ):
        code, out, err = command(*words)
        assert (code, out) == (2, ""), err
        assert said in err.splitlines()[-1]
