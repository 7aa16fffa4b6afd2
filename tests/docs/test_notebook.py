"""docs/notebook.ipynb: executed, small, its cells those of docs/notebook.py; they run in an empty home."""

import importlib.util
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "notebook.ipynb"
NOTEBOOK = json.loads(PAGE.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def made():
    spec = importlib.util.spec_from_file_location("notebook", ROOT / "docs" / "notebook.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_it_is_executed_small_and_what_its_maker_has(made):
    cells = NOTEBOOK["cells"]
    assert ["".join(cell["source"]) for cell in cells] == list(made.CELLS), "run python docs/notebook.py"
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    assert all(cell["outputs"] and cell["outputs"][-1]["output_type"] == "execute_result" for cell in code)
    kinds = {kind for cell in code for output in cell["outputs"] for kind in output["data"]}
    assert {"text/html", "image/png"} < kinds
    assert PAGE.stat().st_size < 200_000


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_its_cells_run_in_an_empty_home(tmp_path):
    """With a kernel where nbclient is installed; else as docs/notebook.py runs them."""
    try:
        import nbclient
        import nbformat
    except ImportError:
        copy = tmp_path / "docs" / "notebook.py"
        copy.parent.mkdir()
        shutil.copy(ROOT / "docs" / "notebook.py", copy)
        program = f"import sys; sys.path[:0] = [{str(ROOT)!r}]; sys.argv = ['notebook.py']\n"
        copy.write_text(program + copy.read_text(encoding="utf-8"), encoding="utf-8")
        subprocess.run([sys.executable, str(copy)], check=True, cwd=tmp_path)
        again = json.loads((tmp_path / "docs" / "notebook.ipynb").read_text(encoding="utf-8"))
    else:
        read = nbformat.read(PAGE, as_version=4)
        again = nbclient.NotebookClient(read, timeout=3600, resources={"metadata": {"path": str(tmp_path)}}).execute()
    assert [cell["source"] for cell in again["cells"]] == [cell["source"] for cell in NOTEBOOK["cells"]]
    assert all(cell["outputs"] for cell in again["cells"] if cell["cell_type"] == "code")
