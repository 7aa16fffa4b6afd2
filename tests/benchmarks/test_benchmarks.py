"""The benchmarks run, on the same work, and the GPU's needs no more than a bare machine has."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from helpers import mnist_root

from pipeline.config.sections import DataConfig
from pipeline.data.preparing import prepare

ROOT = Path(__file__).parents[2]
ABSENT = (
    *("mlflow", "optuna", "sqlalchemy", "alembic", "matplotlib", "seaborn", "pandas", "typer", "rich", "tomli_w"),
    *("torchmetrics", "torchvision", "jinja2"),
)
"""What the environment has and a GPU machine with torch may not."""


@pytest.mark.soak
def test_the_gpu_benchmark_trains_scores_and_sweeps_on_a_bare_machine(tmp_path):
    program = (
        "import sys\n"
        "from importlib.machinery import PathFinder\n"
        "find = PathFinder.find_spec\n"
        "def bare(name, path=None, target=None):\n"
        f"    return None if name.partition('.')[0] in {ABSENT!r} else find(name, path, target)\n"
        "PathFinder.find_spec = bare\n"
        "sys.argv = ['gpu', '--tiny', '--out', 'out.json']\n"
        "from benchmarks.gpu import main\n"
        "main()\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "CVAE_PIPE_HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=200
    )
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "out.json").read_text())
    assert result["largest_relative_difference"] < 1e-4
    assert result["sweep"]["failed"] == 0
    assert list(result["population"]) == ["1", "3"]


@pytest.mark.mnist
def test_without_torchvision_the_raw_files_of_mnist_are_read_all_the_same():
    root = mnist_root()
    program = (
        "import sys; sys.modules['torchvision'] = None\n"
        "from pathlib import Path\n"
        "from pipeline.config.sections import DataConfig\n"
        "from pipeline.data.preparing import prepare\n"
        f"print(prepare(DataConfig(), Path({str(root)!r})).source_sha256)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert root is not None
    assert done.stdout.strip() == prepare(DataConfig(), root).source_sha256


@pytest.mark.mnist
def test_the_usual_loop_is_given_the_same_images_as_ours():
    from benchmarks.usual import usual_data

    root = mnist_root()
    assert root is not None
    data = prepare(DataConfig(), root)
    for own, usual in zip((data.train, data.val), usual_data(data, root), strict=True):
        assert len(usual) == len(own)
        for i in (0, 17, len(own) - 1):
            image, label = usual[i]
            assert torch.equal(image.flatten(), own.as_float(torch.tensor([i]))[0])
            assert label == own.labels[i]
