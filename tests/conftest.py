"""Fixtures shared by all tests: seeded generators, a home of its own per test, the real MNIST where it is at hand."""

import os
from pathlib import Path

import pytest

# Before matplotlib, torch or mlflow are imported anywhere.
os.environ.setdefault("MPLBACKEND", "agg")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")


@pytest.fixture
def generator():
    import torch

    return torch.Generator().manual_seed(0)


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A fresh CVAE_PIPE_HOME; the data directory stays as the environment gives it."""
    from pipeline.store import Home

    monkeypatch.setenv("CVAE_PIPE_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return Home.from_environment()


def mnist_root() -> Path | None:
    root = os.environ.get("CVAE_PIPE_DATA_DIR")
    if root and (Path(root) / "MNIST" / "raw" / "train-images-idx3-ubyte").exists():
        return Path(root).resolve()
    return None


def pytest_runtest_setup(item):
    if item.get_closest_marker("mnist") and mnist_root() is None:
        pytest.skip("the real MNIST is not at CVAE_PIPE_DATA_DIR")
    if item.get_closest_marker("gpu"):
        import torch

        if not torch.cuda.is_available():
            pytest.skip("no CUDA device")
