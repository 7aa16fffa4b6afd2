"""Fixtures shared by all tests: seeded generators, a home of its own per test, a warm one to copy, the real MNIST."""

import os
import shutil
import signal
import sqlite3
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
from filelock import FileLock
from helpers import CHROMIUM_FLAGS, mnist_root, quick_config
from hypothesis import HealthCheck, settings

# Nothing is decided by a clock: a busy machine is slow at any example.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")

# Before matplotlib, torch, mlflow or ray are imported anywhere.
os.environ.setdefault("MPLBACKEND", "agg")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")  # nodes on 127.0.0.1 are taken at their word

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell lets its background jobs ignore Ctrl-C, and so would every command that a test starts and interrupts.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def subnormals_are_numbers():
    """Undo what a training in this process does to its arithmetic: hypothesis draws subnormal floats."""
    if "torch" in sys.modules:
        sys.modules["torch"].set_flush_denormal(False)


@pytest.fixture
def generator():
    import torch

    return torch.Generator().manual_seed(0)


@pytest.fixture
def command(monkeypatch, capsys):
    """Run a command in this process: (exit code, stdout, stderr). A slow machine adds no line on what takes long."""

    from pipeline.cli import main as cli

    for module in ("waiting", "progress"):
        monkeypatch.setattr(f"pipeline.cli.terminal.{module}.SILENT", 600.0)

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["cvae-pipe", *map(str, arguments)])
        before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
        capsys.readouterr()
        try:
            with pytest.raises(SystemExit) as left:
                cli.main()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
        return left.value.code or 0, *capsys.readouterr()

    return call


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A fresh CVAE_PIPE_HOME; the data directory stays as the environment gives it."""
    from pipeline.store.home import Home

    monkeypatch.setenv("CVAE_PIPE_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return Home.from_environment()


@contextmanager
def made_once(factory, name: str):
    """(path, whether it is there already) of what all worker processes of a session share; ready when left in peace."""
    shared = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    ready = shared / f"{name}.ready"
    with FileLock(shared / f"{name}.lock"):
        yield shared / name, ready.exists()
        ready.touch()


@pytest.fixture(scope="session")
def warm_root(tmp_path_factory) -> Path:
    """A home with digits prepared, quick judges trained, references measured and an empty MLflow database.

    Made once for all worker processes of a session; read only: copy it (`warm_home`) to write.
    """
    with made_once(tmp_path_factory, "warm-home") as (root, ready):
        if not ready:
            from pipeline import tracking
            from pipeline.runs.execute import set_up_process
            from pipeline.stages.context import Context
            from pipeline.stages.reference import reference
            from pipeline.store.home import Home

            set_up_process(1)
            home = Home(root, root / "data")
            ctx = Context(quick_config(), home)
            for split in ("val", "test"):
                reference(ctx, split)
            with pytest.MonkeyPatch.context() as patch:
                patch.delenv("MLFLOW_TRACKING_URI", raising=False)
                tracking.prepare_store(home)
    return root


@pytest.fixture
def warm_home(home, warm_root):
    """`home`, with a copy of everything in `warm_root`: a run there trains no judge and migrates no database."""
    from pipeline.runs.execute import set_up_process

    set_up_process(1)
    shutil.copytree(warm_root, home.root)
    return home


@pytest.fixture(scope="session")
def kept_root(warm_root, tmp_path_factory) -> Path:
    """A home with two studies of two trials and a run of its own; read only: copy it (`kept`) to write."""
    from helpers import copy_of
    from keeping import swept

    from pipeline import api

    with made_once(tmp_path_factory, "kept-home") as (root, ready), pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        if not ready:
            home = copy_of(warm_root, root)
            swept(home, "first")
            swept(home, "second", seed=1)
            api.run(quick_config(train__epochs=1), home=home)
    return root


@pytest.fixture
def kept(home, kept_root):
    """`home`, with a copy of everything in `kept_root`; its database of MLflow knows that its files have moved."""
    shutil.copytree(kept_root, home.root)
    with sqlite3.connect(home.mlruns / "mlflow.db") as database:
        for table, column in (("experiments", "artifact_location"), ("runs", "artifact_uri")):
            database.execute(
                f"UPDATE {table} SET {column} = replace({column}, ?, ?)", [kept_root.as_uri(), home.root.as_uri()]
            )
    return home


@pytest.fixture(scope="session")
def digits(warm_root):
    """scikit-learn's digits, prepared and split."""
    from pipeline.runs.execute import set_up_process
    from pipeline.stages.context import Context
    from pipeline.stages.prepare import prepare
    from pipeline.store.home import Home

    set_up_process(1)
    return prepare(Context(quick_config(), Home(warm_root, warm_root / "data")))


@pytest.fixture(scope="module")
def browser():
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("no chromium on the PATH; `make browser` installs Debian's")
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed; pip install '.[dev]'")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=CHROMIUM_FLAGS)
        yield browser
        browser.close()


def pytest_runtest_setup(item):
    if item.get_closest_marker("mnist") and mnist_root() is None:
        pytest.skip("the real MNIST is not at CVAE_PIPE_DATA_DIR")
    if item.get_closest_marker("gpu"):
        import torch

        if not torch.cuda.is_available():
            pytest.skip("no CUDA device")
