"""Installed as people install: a wheel of a clean clone, in an environment of its own, used outside the clone."""

import fnmatch
import json
import os
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def test_what_the_packages_hold_besides_code_is_named_for_the_wheel():
    """A new template or asset that no pattern names works in a checkout and is missing in an installed program."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    named = {
        f"{package.replace('.', '/')}/{pattern}"
        for package, patterns in project["tool"]["setuptools"]["package-data"].items()
        for pattern in patterns
    }
    held = {
        path.relative_to(ROOT).as_posix()
        for top in ("pipeline", "sweeps")
        for path in (ROOT / top).rglob("*")
        if path.is_file() and path.suffix not in (".py", ".pyc")
    }
    assert {"pipeline/py.typed", "sweeps/py.typed"} < held
    for path in held:
        assert any(fnmatch.fnmatch(path, pattern) for pattern in named), path
    assert all((ROOT / name).exists() for name in (*project["project"]["license-files"], "CITATION.cff"))


def checked(*words: object, **how) -> str:
    done = subprocess.run([str(w) for w in words], capture_output=True, text=True, check=False, **how)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """The folder of the programs of an environment that has the wheel of HEAD, and the dependencies that are here."""
    place = tmp_path_factory.mktemp("installed")
    checked("git", "clone", "-q", ROOT, place / "clone")
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check")
    checked(*pip, "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", place / "dist", place / "clone")
    checked(sys.executable, "-m", "venv", "--without-pip", place / "env")
    python = place / "env" / "bin" / "python"
    [packages] = (place / "env" / "lib").glob("python3*/site-packages")
    # Below what is installed there, and without the files there that would lead to the checkout.
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    [wheel] = (place / "dist").glob("*.whl")
    checked(*pip, "--python", python, "install", "-q", "--no-deps", "--no-index", wheel)
    return python.parent


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_a_wheel_runs_outside_the_clone_and_needs_nothing_of_it(installed, tmp_path):
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "CVAE_PIPE", "MLFLOW_TRACKING"))}
    here = {"cwd": tmp_path, "env": {**environment, "PATH": f"{installed}:{environment['PATH']}"}}
    where = checked("python", "-c", "import pipeline, sweeps; print(pipeline.__file__, sweeps.__file__)", **here)
    assert all(Path(path).is_relative_to(installed.parent) for path in where.split())
    program = "cvae-pipe"
    assert checked(program, "--version", **here).startswith("cvae-pipe 0.1.0, Python ")
    assert "--trials" in checked(program, "sweep", "--help", **here)
    quick = ("--dataset", "digits", "--epochs", "2")
    document = json.loads(checked(program, "run", *quick, "--json", **here))
    report = Path(document["report"])
    assert report.is_relative_to(tmp_path)
    assert "<style>" in report.read_text(encoding="utf-8")
    checked(program, "sweep", *quick, "--trials", "2", "--final-seeds", "1", "--workers", "1", "--name", "s", **here)
    for word in ("s", document["name"]):
        checked(program, "verify", tmp_path / "reports" / word, **here)
    checked(program, "report", "s", **here)
    checked(program, "compare", "s", document["name"], "--html", **here)
    checked(program, "generate", "--run", "s", "--label", "3", "--n", "2", **here)
    assert "models:/s@champion" in checked(
        "python",
        "-c",
        "import mlflow, pandas as pd\n"
        "mlflow.set_tracking_uri('sqlite:///mlruns/mlflow.db')\n"
        "model = mlflow.pyfunc.load_model('models:/s@champion')\n"
        "assert model.predict(pd.DataFrame({'label': [1], 'n': 2})).shape == (2, 8, 8)\n"
        "print('models:/s@champion')",
        **here,
    )
    assert (tmp_path / "reports" / "index.html").exists()


@pytest.mark.soak
def test_types_reach_who_imports_it(installed, tmp_path):
    program = tmp_path / "theirs.py"
    program.write_text("from pipeline.config.reading import build_config\nreveal_type(build_config().train.beta)\n")
    mypy = Path(sys.executable).with_name("mypy")
    if not mypy.exists():
        pytest.skip("mypy is not installed; pip install '.[dev]'")
    said = checked(mypy, "--python-executable", installed / "python", "--follow-imports=silent", program, cwd=tmp_path)
    assert 'Revealed type is "float"' in said or "builtins.float" in said
