"""The blocks of docs/PYTHON.md run, in order, as one program."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "PYTHON.md"


@pytest.mark.slow
def test_the_page_runs_from_top_to_bottom_and_prints_nothing(warm_root, tmp_path):
    root = tmp_path / "home"
    shutil.copytree(warm_root, root)
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    program = tmp_path / "page.py"
    program.write_text("\n".join(blocks), encoding="utf-8")
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("CVAE_PIPE_", "MLFLOW_TRACKING"))}
    environment["PYTHONPATH"] = str(PAGE.parents[1])
    done = subprocess.run(
        [sys.executable, str(program)], cwd=root, env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert (root / "reports" / "quick" / "report.html").exists()
    assert len(blocks) == 8
